//! What HTTP shows of a node.
//!
//! Promises numbers as of now, and tiles that are whole. Leaves routes to `listen`.
//! Tests: `tests/cluster/http.rs`.

use super::tiles::Tile;
use crate::domain::call_error::CallError;
use crate::domain::ids::{LogIndex, NodeId, RecordIndex, TreeSize};
use crate::ledger::state::Tables;
use crate::service::{Parts, prove, status};
use crate::store::StoreError;
use crate::store::engine::Engine;
use crate::telemetry::Metrics;
use bytes::Bytes;
use muniment_evidence::tree::Rows as _;
use prometheus::{IntCounter, IntGauge};
use std::sync::Arc;
use std::time::Duration;

/// See the module.
pub struct NodeSource {
    pub parts: Arc<Parts>,
    pub engines: [(&'static str, Arc<dyn Engine>); 2],
}

impl NodeSource {
    /// The newest cosigned note of this replica, or its newest checkpoint: a prefix of the
    /// leader's at worst.
    pub async fn checkpoint(&self) -> Result<String, CallError> {
        prove::published(&self.parts).await
    }

    /// `None` beyond the log.
    pub async fn tile(&self, tile: Tile) -> Result<Option<Bytes>, StoreError> {
        let context = &self.parts.reads.context;
        let state = context.state.clone();
        let tile = move |tables: &Tables<'_>| {
            // From the tables, as for the checkpoint: who was shown a size finds its tiles.
            let size = tables.head()?.size;
            let Some(first) = tile.first().filter(|_| tile.is_within(size)) else {
                return Ok(None);
            };
            let mut bytes = Vec::new();
            match tile.level {
                Some(level) => {
                    for hash in tables.tree_rows().rows(level, first, tile.width)? {
                        bytes.extend_from_slice(&hash.0);
                    }
                }
                None => {
                    let (first, count) = (RecordIndex::new(first), tile.width as usize);
                    let records = tables.record_range(first, first.after(tile.width), count)?;
                    // Caches keep what is shown here for good.
                    if records.len() != count {
                        return Err(StoreError::corrupt(format!(
                            "records from {first} on are missing"
                        )));
                    }
                    for record in records {
                        let length = u16::try_from(record.len())
                            .map_err(|_| StoreError::corrupt("a record of 64 KiB"))?;
                        bytes.extend_from_slice(&length.to_be_bytes());
                        bytes.extend_from_slice(&record);
                    }
                }
            }
            Ok(Some(Bytes::from(bytes)))
        };
        context.blocking.run(move || state.read(tile)).await
    }

    pub fn ready(&self) -> Result<(), Vec<String>> {
        status::ready(&self.parts)
    }

    /// Takes the numbers that nobody pushes.
    pub fn refresh(&self, metrics: &Metrics) {
        let size = self.parts.reads.context.group.applied().size;
        set(&metrics.evidence_size, size.get());
        self.refresh_raft(metrics);
        self.refresh_evidence(metrics);
        self.refresh_witnesses(metrics, size);
        self.refresh_zones(metrics);
        self.refresh_machine(metrics);
        self.refresh_repairs(metrics);
        self.refresh_outbox(metrics);
        self.refresh_peers(metrics);
        set(&metrics.ready, u64::from(self.ready().is_ok()));
    }

    fn refresh_raft(&self, metrics: &Metrics) {
        let group = &self.parts.reads.context.group;
        let status = group.status();
        set(&metrics.raft_term, status.term.get());
        set(
            &metrics.raft_leader,
            status.leader.unwrap_or(NodeId::NONE).get(),
        );
        set(&metrics.raft_is_leader, u64::from(group.is_leader()));
        set(&metrics.raft_last_log_index, status.last_log_index.get());
        set(&metrics.raft_committed_index, status.committed_index.get());
        set(&metrics.raft_applied_index, status.applied_index.get());
        set(&metrics.raft_snapshot_index, status.snapshot_index.get());
        let inadmissible = group.applied().inadmissible;
        for (reason, count) in [
            ("unreadable", inadmissible.unreadable),
            ("malformed", inadmissible.malformed),
            ("above_level", inadmissible.above_level),
        ] {
            let gauge = &metrics.inadmissible;
            set(&gauge.with_label_values(&[reason]), count);
        }
        let ahead_ms = group.ahead_of_median_ms().unwrap_or_default();
        metrics.clock_ahead_seconds.set(ahead_ms as f64 / 1000.0);
        raise(&metrics.refused_for_time, group.refused_for_time());
        set(&metrics.raft_purged_index, status.purged_index.get());
        metrics.raft_peer_lag_entries.reset();
        for (node, matched) in &status.matched {
            let lag = status
                .last_log_index
                .count_since(matched.unwrap_or(LogIndex::START));
            let labels = [node.to_string()];
            let gauge = metrics.raft_peer_lag_entries.with_label_values(&labels);
            set(&gauge, lag);
        }
        raise(&metrics.strange_disks, group.disks().refused());
    }

    fn refresh_evidence(&self, metrics: &Metrics) {
        let cosigning = &self.parts.cosigning;
        set(
            &metrics.body_complete_index,
            cosigning.body_complete().get(),
        );
        set(&metrics.verified_index, cosigning.verified().size.get());
        set(&metrics.orphan_bytes, self.parts.bodies.orphan_bytes());
        set(&metrics.garbage_bytes, self.parts.bodies.garbage_bytes());
        set(&metrics.cosigned_size, cosigning.newest_size().get());
        let divergences = cosigning.divergences() + self.parts.cluster.status.divergences();
        raise(&metrics.divergence, divergences);
    }

    /// Databases, calls under way, descriptors, disk.
    fn refresh_machine(&self, metrics: &Metrics) {
        for (name, engine) in &self.engines {
            let gauge = metrics.store_bytes.with_label_values(&[name]);
            set(&gauge, engine.size_bytes());
        }
        let admission = &self.parts.admission;
        let (uploads, downloads) = (
            admission.uploads_in_flight(),
            admission.downloads_in_flight(),
        );
        set(&metrics.uploads_in_flight, uploads as u64);
        set(&metrics.downloads_in_flight, downloads as u64);
        set(&metrics.body_reads, self.parts.bodies.chunk_cache.reads());
        // /proc is Linux's own; elsewhere the gauge stays at zero.
        let open = std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
        set(&metrics.open_fds, open as u64);
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        set(&metrics.max_fds, limit.current.unwrap_or(0));
        set(
            &metrics.disk_free_bytes,
            self.parts.bodies.disk_budget.free(),
        );
    }

    fn refresh_outbox(&self, metrics: &Metrics) {
        let booted = self.parts.writes.booted().ok();
        if let Some(outbox) = booted.and_then(|booted| booted.outbox) {
            let stats = outbox.stats();
            set(&metrics.outbox_pending, stats.pending);
            let oldest = stats.oldest.map_or(0, |age| age.as_secs());
            set(&metrics.outbox_oldest_seconds, oldest);
            raise(&metrics.outbox_drained, stats.drained);
        }
    }

    fn refresh_peers(&self, metrics: &Metrics) {
        let timing = self.parts.cluster.peers.view();
        set(&metrics.disk_slow, u64::from(timing.slow));
        metrics.peer_round_trip.reset();
        for peer in &timing.peers {
            let labels = [peer.status.node().to_string()];
            let gauge = metrics.peer_round_trip.with_label_values(&labels);
            gauge.set(peer.round_trip_median.as_secs_f64());
        }
    }

    /// Lags and losses by zone, from what nodes say of themselves.
    fn refresh_zones(&self, metrics: &Metrics) {
        for zone in status::zones(&self.parts) {
            let set = |gauges: &prometheus::IntGaugeVec, value: u64| {
                gauges
                    .with_label_values(&[&zone.loss.zone])
                    .set(value as i64);
            };
            let set_ms = |gauges: &prometheus::GaugeVec, ms: u64| {
                let gauge = gauges.with_label_values(&[&zone.loss.zone]);
                gauge.set(Duration::from_millis(ms).as_secs_f64());
            };
            set(&metrics.zone_lag_records, zone.behind.records);
            set(&metrics.zone_lag_bytes, zone.behind.bytes);
            set_ms(&metrics.zone_lag_seconds, zone.behind.ms);
            set(&metrics.zone_loss_records, zone.lost.records);
            set(&metrics.zone_loss_bytes, zone.lost.bytes);
            set_ms(&metrics.zone_loss_seconds, zone.lost.ms);
        }
    }

    fn refresh_repairs(&self, metrics: &Metrics) {
        let health = self.parts.bodies.repairs.health();
        set(&metrics.bodies_missing, health.missing);
        set(&metrics.repair_queue, health.queue);
        raise(&metrics.bodies_repaired, health.repaired);
        raise(&metrics.chunks_quarantined, health.quarantined);
        raise(&metrics.scrub_bytes, health.scrubbed_bytes);
        raise(&metrics.scrub_passes, health.passes);
        metrics.scrub_position.set(health.progress as f64 / 1e6);
        set(&metrics.scrub_last_pass_seconds, health.last_pass_s);
    }

    /// Only who leads submits, and so knows; the others show nothing rather than zero.
    fn refresh_witnesses(&self, metrics: &Metrics, size: TreeSize) {
        metrics.witness_size.reset();
        metrics.witness_lag_seconds.reset();
        let now = self.parts.reads.context.clock.monotonic();
        for (name, progress) in &self.parts.witnesses.progress {
            let progress = progress.now();
            // From the start on, so that a first failure is a change.
            metrics.witness_failures.with_label_values(&[name]);
            if let Some(lag) = progress.lag(now, size) {
                let witnessed = progress.size.unwrap_or(TreeSize::EMPTY).get() as i64;
                metrics
                    .witness_size
                    .with_label_values(&[name])
                    .set(witnessed);
                let lag = lag.as_secs() as i64;
                metrics
                    .witness_lag_seconds
                    .with_label_values(&[name])
                    .set(lag);
            }
        }
    }
}

fn set(gauge: &IntGauge, value: u64) {
    gauge.set(value as i64);
}

/// Brings a counter up to what was counted elsewhere.
fn raise(counter: &IntCounter, to: u64) {
    counter.inc_by(to.saturating_sub(counter.get()));
}
