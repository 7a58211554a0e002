//! Numbers and traces: one registry of metrics, one subscriber of logs.
//!
//! Promises stable names under `muniment_`. Leaves serving them to `http/`, and taking
//! most of them to those who know ([`Metrics`] fields are public).

use crate::config::node::{Log, LogFormat};
use prometheus::{
    Counter, Encoder as _, Gauge, Histogram, HistogramOpts, HistogramVec, IntCounter,
    IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};

/// Bounds of latency histograms, seconds: an fsync on a fast disk up to a deadline.
const SECONDS: &[f64] = &[
    0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0,
];

/// All metrics of a node.
pub struct Metrics {
    registry: Registry,
    pub requests: IntCounterVec,
    pub latency: HistogramVec,
    pub fsync: HistogramVec,
    pub raft_term: IntGauge,
    pub raft_leader: IntGauge,
    pub raft_is_leader: IntGauge,
    pub raft_last_log_index: IntGauge,
    pub raft_committed_index: IntGauge,
    pub raft_applied_index: IntGauge,
    pub raft_snapshot_index: IntGauge,
    pub raft_peer_lag_entries: IntGaugeVec,
    pub evidence_size: IntGauge,
    pub body_complete_index: IntGauge,
    pub orphan_bytes: IntGauge,
    pub cosigned_size: IntGauge,
    pub divergence: IntCounter,
    pub strange_disks: IntCounter,
    pub store_bytes: IntGaugeVec,
    pub uploads_in_flight: IntGauge,
    pub downloads_in_flight: IntGauge,
    pub body_reads: IntGauge,
    pub bodies_missing: IntGauge,
    pub repair_queue: IntGauge,
    pub bodies_repaired: IntCounter,
    pub chunks_quarantined: IntCounter,
    pub scrub_bytes: IntCounter,
    pub scrub_passes: IntCounter,
    pub scrub_position: Gauge,
    pub scrub_last_pass_seconds: IntGauge,
    pub open_fds: IntGauge,
    pub max_fds: IntGauge,
    pub disk_free_bytes: IntGauge,
    pub disk_slow: IntGauge,
    pub peer_round_trip: IntGaugeVec,
    pub ready: IntGauge,
    pub witness_size: IntGaugeVec,
    pub witness_lag_seconds: IntGaugeVec,
    pub witness_failures: IntCounterVec,
    pub accepted_connections: IntCounter,
    pub failover: Histogram,
    pub leaderless: Counter,
    pub zone_lag_records: IntGaugeVec,
    pub zone_lag_bytes: IntGaugeVec,
    pub zone_lag_ms: IntGaugeVec,
    pub zone_loss_records: IntGaugeVec,
    pub zone_loss_bytes: IntGaugeVec,
    pub zone_loss_ms: IntGaugeVec,
    pub outbox_pending: IntGauge,
    pub outbox_oldest_seconds: IntGauge,
    pub outbox_drained: IntCounter,
}

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics::new()
    }
}

impl Metrics {
    pub fn new() -> Metrics {
        let registry = Registry::new();
        let make = Maker(&registry);
        Metrics {
            requests: make.counters("requests_total", "Calls by outcome.", &["method", "code"]),
            latency: make.histograms(
                "request_seconds",
                "From the call's arrival to the end of its answer.",
                &["method"],
            ),
            fsync: make.histograms("fsync_seconds", "Time of one log sync.", &["db"]),
            raft_term: make.gauge("raft_term", "Present term."),
            raft_leader: make.gauge("raft_leader", "Node id of the leader, 0 if unknown."),
            raft_is_leader: make.gauge("raft_is_leader", "1 on the leader."),
            raft_last_log_index: make.gauge("raft_last_log_index", "Newest entry here."),
            raft_committed_index: make.gauge("raft_committed_index", "Newest committed entry."),
            raft_applied_index: make.gauge("raft_applied_index", "Newest applied entry."),
            raft_snapshot_index: make.gauge("raft_snapshot_index", "Newest entry in a snapshot."),
            raft_peer_lag_entries: make.gauges(
                "raft_peer_lag_entries",
                "Entries a follower's durable log is behind; on the leader.",
                &["peer"],
            ),
            evidence_size: make.gauge("evidence_size", "Records in the evidence log."),
            body_complete_index: make.gauge(
                "body_complete_index",
                "Records below which every body is held here.",
            ),
            orphan_bytes: make.gauge(
                "orphan_bytes",
                "Bytes of bodies that no record names, or not yet.",
            ),
            cosigned_size: make.gauge("cosigned_size", "Size of the newest cosigned note."),
            divergence: make.counter(
                "divergence_total",
                "Roots of other nodes that differed from this node's own.",
            ),
            strange_disks: make.counter(
                "strange_disks_total",
                "Answers of nodes that showed another disk than the ledger knows.",
            ),
            store_bytes: make.gauges("store_bytes", "Bytes on disk, roughly.", &["db"]),
            uploads_in_flight: make.gauge("uploads_in_flight", "Uploads being taken."),
            downloads_in_flight: make.gauge("downloads_in_flight", "Downloads being served."),
            body_reads: make.gauge("body_chunk_reads", "Chunks read from a disk or a peer."),
            bodies_missing: make.gauge(
                "bodies_missing",
                "Bodies that records name and that are missing or damaged here.",
            ),
            repair_queue: make.gauge("repair_queue", "Of these, waiting for their turn."),
            bodies_repaired: make.counter(
                "bodies_repaired_total",
                "Missing or damaged bodies made whole here from another holder.",
            ),
            chunks_quarantined: make.counter(
                "chunks_quarantined_total",
                "Damaged chunks and manifests set aside.",
            ),
            scrub_bytes: make.counter("scrub_bytes_total", "Bytes that the scrub has read."),
            scrub_passes: make.counter("scrub_passes_total", "Passes of the scrub, to the end."),
            scrub_position: make.fraction(
                "scrub_position",
                "How far the pass of the scrub is, from 0 to 1.",
            ),
            scrub_last_pass_seconds: make.gauge(
                "scrub_last_pass_seconds",
                "How long the last pass of the scrub took; 0 before the first.",
            ),
            open_fds: make.gauge("open_fds", "Open file descriptors."),
            max_fds: make.gauge("max_fds", "Limit of file descriptors."),
            disk_free_bytes: make.gauge("disk_free_bytes", "Free bytes of the data directory, less what the databases will take by themselves."),
            disk_slow: make.gauge("disk_slow", "1 while fsyncs outlast a heartbeat."),
            peer_round_trip: make.gauges(
                "peer_round_trip_microseconds",
                "Median round trip to a member.",
                &["peer"],
            ),
            ready: make.gauge("ready", "1 when this node may serve."),
            witness_size: make.gauges(
                "witness_size",
                "Size that an outside witness cosigned last; on the leader.",
                &["witness"],
            ),
            witness_lag_seconds: make.gauges(
                "witness_lag_seconds",
                "How long records wait for an outside witness; on the leader.",
                &["witness"],
            ),
            witness_failures: make.counters(
                "witness_failures_total",
                "Submissions that an outside witness did not cosign.",
                &["witness"],
            ),
            accepted_connections: make
                .counter("accepted_connections_total", "Client connections accepted."),
            failover: make.histogram(
                "failover_seconds",
                "From the last word of a leader to the next leader, as seen here.",
            ),
            leaderless: make.seconds(
                "leaderless_seconds_total",
                "Time without a leader, as seen here.",
            ),
            zone_lag_records: make.gauges(
                "zone_lag_records",
                "Records that no node of the zone holds whole.",
                &["zone"],
            ),
            zone_lag_bytes: make.gauges("zone_lag_bytes", "Their bodies' bytes.", &["zone"]),
            zone_lag_ms: make.gauges("zone_lag_ms", "Age of the oldest of them.", &["zone"]),
            zone_loss_records: make.gauges(
                "zone_loss_records",
                "Records that would be lost with the zone now.",
                &["zone"],
            ),
            zone_loss_bytes: make.gauges("zone_loss_bytes", "Their bodies' bytes.", &["zone"]),
            zone_loss_ms: make.gauges(
                "zone_loss_ms",
                "Age of the oldest of them: the recovery point.",
                &["zone"],
            ),
            outbox_pending: make.gauge(
                "outbox_pending",
                "Deferred downloads promised here and not recorded yet.",
            ),
            outbox_oldest_seconds: make.gauge(
                "outbox_oldest_seconds",
                "How long the oldest of them has waited.",
            ),
            outbox_drained: make.counter(
                "outbox_drained_total",
                "Deferred downloads recorded since the start.",
            ),
            registry,
        }
    }

    /// The text that Prometheus reads.
    pub fn render(&self) -> String {
        let mut text = Vec::new();
        let encoded = TextEncoder::new().encode(&self.registry.gather(), &mut text);
        if let Err(error) = encoded {
            tracing::error!(%error, "metrics cannot be rendered");
        }
        String::from_utf8(text).unwrap_or_default()
    }

    /// The histogram of one database's syncs.
    pub fn fsync_of(&self, db: &str) -> Histogram {
        self.fsync.with_label_values(&[db])
    }
}

/// Makes and registers; names are constants of this file, so a clash is a mistake here.
struct Maker<'a>(&'a Registry);

const UNIQUE: &str = "metric names in this file are unique and well formed";

impl Maker<'_> {
    fn add<M: prometheus::core::Collector + Clone + 'static>(&self, metric: M) -> M {
        self.0.register(Box::new(metric.clone())).expect(UNIQUE);
        metric
    }

    fn gauge(&self, name: &str, help: &str) -> IntGauge {
        self.add(IntGauge::new(full(name), help).expect(UNIQUE))
    }

    fn fraction(&self, name: &str, help: &str) -> Gauge {
        self.add(Gauge::new(full(name), help).expect(UNIQUE))
    }

    fn counter(&self, name: &str, help: &str) -> IntCounter {
        self.add(IntCounter::new(full(name), help).expect(UNIQUE))
    }

    fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        self.add(IntGaugeVec::new(Opts::new(full(name), help), labels).expect(UNIQUE))
    }

    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        self.add(IntCounterVec::new(Opts::new(full(name), help), labels).expect(UNIQUE))
    }

    fn histogram(&self, name: &str, help: &str) -> Histogram {
        let opts = HistogramOpts::new(full(name), help).buckets(SECONDS.to_vec());
        self.add(Histogram::with_opts(opts).expect(UNIQUE))
    }

    fn seconds(&self, name: &str, help: &str) -> Counter {
        self.add(Counter::new(full(name), help).expect(UNIQUE))
    }

    fn histograms(&self, name: &str, help: &str, labels: &[&str]) -> HistogramVec {
        let opts = HistogramOpts::new(full(name), help).buckets(SECONDS.to_vec());
        self.add(HistogramVec::new(opts, labels).expect(UNIQUE))
    }
}

fn full(name: &str) -> String {
    format!("muniment_{name}")
}

/// Sends logs to standard error; only the first call of a process has an effect.
pub fn start_logging(log: &Log) -> Result<(), String> {
    let filter = tracing_subscriber::EnvFilter::try_new(&log.filter)
        .map_err(|error| format!("log.filter: {error}"))?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let started = match log.format {
        LogFormat::Text => builder.with_ansi(false).try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
    // A second node in one process (tests) shares the first one's subscriber.
    drop(started);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_render_under_their_names() {
        let metrics = Metrics::new();
        metrics.raft_term.set(7);
        metrics.requests.with_label_values(&["Get", "Ok"]).inc();
        let text = metrics.render();
        assert!(text.contains("muniment_raft_term 7"));
        assert!(text.contains("muniment_requests_total{code=\"Ok\",method=\"Get\"} 1"));
    }
}
