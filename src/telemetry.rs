//! Numbers and traces: one registry of metrics, one subscriber of logs.
//!
//! Promises stable names under `muniment_`. Leaves serving them to `http/`, and taking
//! most of them to those who know ([`Metrics`] fields are public).

use crate::config::node::{Log, LogFormat};
use prometheus::{
    Counter, Encoder as _, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter,
    IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};

/// Bounds of latency histograms, seconds: an fsync on a fast disk up to a deadline.
const SECONDS: &[f64] = &[
    0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0,
];

/// Declares [`Metrics`] from its table.
macro_rules! table {
    ($($field:ident: $kind:ident = $make:ident($name:literal, $help:literal $(, $labels:expr)?);)*) => {
        /// All metrics of a node.
        pub struct Metrics {
            registry: Registry,
            $(#[doc = $help] pub $field: $kind,)*
        }

        impl Default for Metrics {
            fn default() -> Metrics {
                let registry = Registry::new();
                let make = Maker(&registry);
                $(let $field = make.$make($name, $help $(, $labels)?);)*
                Metrics { registry, $($field,)* }
            }
        }
    };
}

// Each metric in one row: its field and type, how it is made, its name behind `muniment_`,
// what it tells, its labels. A time is in seconds and a counter ends in `_total`, as
// Prometheus wants it.
table! {
    requests: IntCounterVec = counters("requests_total", "Calls by outcome.", &["method", "code"]);
    latency: HistogramVec = histograms("request_seconds", "From the call's arrival to the end of its answer.", &["method"]);
    fsync: HistogramVec = histograms("fsync_seconds", "Time of one log sync.", &["db"]);
    raft_term: IntGauge = gauge("raft_term", "Present term.");
    raft_leader: IntGauge = gauge("raft_leader", "Node id of the leader, 0 if unknown.");
    raft_is_leader: IntGauge = gauge("raft_is_leader", "1 on the leader.");
    raft_last_log_index: IntGauge = gauge("raft_last_log_index", "Newest entry here.");
    raft_committed_index: IntGauge = gauge("raft_committed_index", "Newest committed entry.");
    raft_applied_index: IntGauge = gauge("raft_applied_index", "Newest applied entry.");
    raft_snapshot_index: IntGauge = gauge("raft_snapshot_index", "Newest entry in a snapshot.");
    clock_ahead_seconds: Gauge = fraction("clock_ahead_seconds", "This node's clock less the median of the voters' clocks; 0 while too few are known.");
    refused_for_time: IntCounter = counter("refused_for_time_total", "Append messages not taken in here because their entries are of a time to come.");
    raft_purged_index: IntGauge = gauge("raft_purged_index", "Newest entry that the log has no longer.");
    raft_peer_lag_entries: IntGaugeVec = gauges("raft_peer_lag_entries", "Entries a follower's durable log is behind; on the leader.", &["peer"]);
    evidence_size: IntGauge = gauge("evidence_size", "Records in the evidence log.");
    inadmissible: IntGaugeVec = gauges("inadmissible_submissions", "Submissions applied here since the start that no honest member of this version makes.", &["reason"]);
    verified_index: IntGauge = gauge("verified_index", "Records below which every one was verified here.");
    body_complete_index: IntGauge = gauge("body_complete_index", "Records below which every body is held here.");
    orphan_bytes: IntGauge = gauge("orphan_bytes", "Bytes of bodies that no record names, or not yet.");
    garbage_bytes: IntGauge = gauge("garbage_bytes", "Bytes on disk of bodies that were deleted, whose room has not come back yet.");
    cosigned_size: IntGauge = gauge("cosigned_size", "Size of the newest cosigned note.");
    peer_misdeeds: IntCounterVec = counters("peer_misdeeds_total", "What peers did that no honest member does; docs/runbooks.md has the kinds.", &["peer", "misdeed"]);
    divergence: IntCounter = counter("divergence_total", "Roots of other nodes that differed from this node's own.");
    strange_disks: IntCounter = counter("strange_disks_total", "Answers of nodes that showed another disk than the ledger knows.");
    store_bytes: IntGaugeVec = gauges("store_bytes", "Bytes on disk, roughly.", &["db"]);
    uploads_in_flight: IntGauge = gauge("uploads_in_flight", "Uploads being taken.");
    downloads_in_flight: IntGauge = gauge("downloads_in_flight", "Downloads being served.");
    body_reads: IntGauge = gauge("body_chunk_reads", "Chunks read from a disk or a peer.");
    bodies_missing: IntGauge = gauge("bodies_missing", "Bodies that records name and that are missing or damaged here.");
    repair_queue: IntGauge = gauge("repair_queue", "Of these, waiting for their turn.");
    bodies_repaired: IntCounter = counter("bodies_repaired_total", "Missing or damaged bodies made whole here from another holder.");
    chunks_quarantined: IntCounter = counter("chunks_quarantined_total", "Damaged chunks and manifests set aside.");
    scrub_bytes: IntCounter = counter("scrub_bytes_total", "Bytes that the scrub has read.");
    scrub_passes: IntCounter = counter("scrub_passes_total", "Passes of the scrub, to the end.");
    scrub_position: Gauge = fraction("scrub_position", "How far the pass of the scrub is, from 0 to 1.");
    scrub_last_pass_seconds: IntGauge = gauge("scrub_last_pass_seconds", "How long the last pass of the scrub took; 0 before the first.");
    open_fds: IntGauge = gauge("open_fds", "Open file descriptors.");
    max_fds: IntGauge = gauge("max_fds", "Limit of file descriptors.");
    disk_free_bytes: IntGauge = gauge("disk_free_bytes", "Free bytes of the data directory, less what the databases will take by themselves.");
    disk_slow: IntGauge = gauge("disk_slow", "1 while fsyncs outlast a heartbeat.");
    peer_round_trip: GaugeVec = fractions("peer_round_trip_seconds", "Median round trip to a member.", &["peer"]);
    ready: IntGauge = gauge("ready", "1 when this node may serve.");
    witness_size: IntGaugeVec = gauges("witness_size", "Size that an outside witness cosigned last; on the leader.", &["witness"]);
    witness_lag_seconds: IntGaugeVec = gauges("witness_lag_seconds", "How long records wait for an outside witness; on the leader.", &["witness"]);
    witness_failures: IntCounterVec = counters("witness_failures_total", "Submissions that an outside witness did not cosign.", &["witness"]);
    accepted_connections: IntCounter = counter("accepted_connections_total", "Client connections accepted.");
    failover: Histogram = histogram("failover_seconds", "From the last word of a leader to the next leader, as seen here.");
    leaderless: Counter = seconds("leaderless_seconds_total", "Time without a leader, as seen here.");
    zone_lag_records: IntGaugeVec = gauges("zone_lag_records", "Records that no node of the zone holds whole.", &["zone"]);
    zone_lag_bytes: IntGaugeVec = gauges("zone_lag_bytes", "Their bodies' bytes.", &["zone"]);
    zone_lag_seconds: GaugeVec = fractions("zone_lag_seconds", "Age of the oldest of them.", &["zone"]);
    zone_loss_records: IntGaugeVec = gauges("zone_loss_records", "Records that would be lost with the zone now.", &["zone"]);
    zone_loss_bytes: IntGaugeVec = gauges("zone_loss_bytes", "Their bodies' bytes.", &["zone"]);
    zone_loss_seconds: GaugeVec = fractions("zone_loss_seconds", "Age of the oldest of them: the recovery point.", &["zone"]);
    outbox_pending: IntGauge = gauge("outbox_pending", "Deferred downloads promised here and not recorded yet.");
    outbox_oldest_seconds: IntGauge = gauge("outbox_oldest_seconds", "How long the oldest of them has waited.");
    outbox_drained: IntCounter = counter("outbox_drained_total", "Deferred downloads recorded since the start.");
}

impl Metrics {
    pub fn new() -> Metrics {
        Metrics::default()
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

    fn fractions(&self, name: &str, help: &str, labels: &[&str]) -> GaugeVec {
        self.add(GaugeVec::new(Opts::new(full(name), help), labels).expect(UNIQUE))
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

/// The filter of logs cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("log.filter: {0}")]
pub struct FilterError(#[from] tracing_subscriber::filter::ParseError);

/// Sends logs to standard error; only the first call of a process has an effect.
pub fn start_logging(log: &Log) -> Result<(), FilterError> {
    let filter = tracing_subscriber::EnvFilter::try_new(&log.filter)?;
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
    use prometheus::proto::MetricType;

    /// What `promtool check metrics` says of names and help, where it is not installed.
    #[test]
    fn names_and_help_are_as_prometheus_wants_them() {
        let metrics = Metrics::new();
        for zone in [&metrics.zone_lag_seconds, &metrics.zone_loss_seconds] {
            zone.with_label_values(&["z"]).set(1.0);
        }
        metrics.requests.with_label_values(&["Get", "Ok"]).inc();
        for family in metrics.registry.gather() {
            let name = family.name();
            let is_counter = family.get_field_type() == MetricType::COUNTER;
            assert_eq!(name.ends_with("_total"), is_counter, "{name}");
            let units = ["ms", "us", "s", "milliseconds", "microseconds", "kb", "mb"];
            let mut words = name.split('_');
            assert!(words.all(|word| !units.contains(&word)), "{name}");
            assert!(family.help().ends_with('.'), "{name}: {}", family.help());
        }
    }

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
