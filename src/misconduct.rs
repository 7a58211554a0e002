//! What peers do that no honest member does: seen here, counted, told.
//!
//! A member with valid keys can be compromised, broken or set up wrongly. What it says is
//! held against what is known and refused where it does not fit; this says who it was.
//! Promises that each kind of misdeed of each peer is counted, in a metric and for the
//! status, and that the log names it, the first time and then ever more seldom, so that a
//! peer that repeats itself does not fill the log. Judges nobody: refusing is up to whoever
//! looks at what was said, and nothing here stops a node.

use crate::clock::SharedClock;
use crate::domain::ids::NodeId;
use crate::sync::Shared;
use prometheus::IntCounterVec;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// Peers that are remembered: a ledger has far fewer, and a number in a frame may be anything.
const PEERS_MAX: usize = 256;

/// A kind of misdeed. The label stands in metrics and status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Misdeed {
    /// It put another's number where its own belongs.
    SpokeAsAnother,
    /// It has left the ledger and asks for what is a member's.
    SpokeAfterLeaving,
    /// It speaks by two processes at a time.
    TwoProcesses,
    /// It signed for a body in a way that the ledger does not take.
    BadHolding,
    /// It submitted a statement that does not verify.
    BadStatement,
    /// It recorded what the ledger refuses whoever asks: a text beyond its limits, say.
    Inadmissible,
    /// It asked this node to stop without the proof of a majority.
    UnprovenNotice,
    /// It sent bytes that are not those whose digest it named.
    BadChunk,
    /// It sent a state that contradicts what this node knows.
    BadSnapshot,
    /// It proposed entries of a time that has not come.
    ClockAhead,
    /// It led while a record came that no verifier takes.
    BadRecord,
}

impl Misdeed {
    pub const ALL: [Misdeed; 11] = [
        Misdeed::SpokeAsAnother,
        Misdeed::SpokeAfterLeaving,
        Misdeed::TwoProcesses,
        Misdeed::BadHolding,
        Misdeed::BadStatement,
        Misdeed::Inadmissible,
        Misdeed::UnprovenNotice,
        Misdeed::BadChunk,
        Misdeed::BadSnapshot,
        Misdeed::ClockAhead,
        Misdeed::BadRecord,
    ];

    pub fn label(self) -> &'static str {
        match self {
            Misdeed::SpokeAsAnother => "spoke_as_another",
            Misdeed::SpokeAfterLeaving => "spoke_after_leaving",
            Misdeed::TwoProcesses => "two_processes",
            Misdeed::BadHolding => "bad_holding",
            Misdeed::BadStatement => "bad_statement",
            Misdeed::Inadmissible => "inadmissible",
            Misdeed::UnprovenNotice => "unproven_notice",
            Misdeed::BadChunk => "bad_chunk",
            Misdeed::BadSnapshot => "bad_snapshot",
            Misdeed::ClockAhead => "clock_ahead",
            Misdeed::BadRecord => "bad_record",
        }
    }
}

/// How often a peer did something since this node started, and when last by this node's
/// monotonic clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MisdeedCount {
    pub node: NodeId,
    pub misdeed: Misdeed,
    pub count: u64,
    pub last: Duration,
}

/// See the module. Cheap to clone.
#[derive(Clone)]
pub struct Misconduct {
    seen: Shared<BTreeMap<(NodeId, Misdeed), (u64, Duration)>>,
    metric: IntCounterVec,
    clock: SharedClock,
}

impl Misconduct {
    /// `metric` has the labels peer and misdeed.
    pub fn new(metric: IntCounterVec, clock: SharedClock) -> Misconduct {
        Misconduct {
            seen: Shared::default(),
            metric,
            clock,
        }
    }

    /// Notes one misdeed; `why` goes to the log alone.
    pub fn saw(&self, node: NodeId, misdeed: Misdeed, why: &dyn fmt::Display) {
        let last = self.clock.monotonic();
        let count = {
            let mut seen = self.seen.lock();
            let is_full = seen.len() >= PEERS_MAX * Misdeed::ALL.len();
            if is_full && !seen.contains_key(&(node, misdeed)) {
                return;
            }
            let entry = seen.entry((node, misdeed)).or_insert((0, last));
            *entry = (entry.0 + 1, last);
            entry.0
        };
        let labels = [&node.get().to_string(), misdeed.label()];
        self.metric.with_label_values(&labels).inc();
        if count.is_power_of_two() {
            let (node, misdeed) = (node.get(), misdeed.label());
            tracing::error!(node, misdeed, count, %why, "a peer does what no member does");
        }
    }

    /// All of it, by node.
    pub fn seen(&self) -> Vec<MisdeedCount> {
        let seen = self.seen.lock();
        let each = seen
            .iter()
            .map(|(&(node, misdeed), &(count, last))| MisdeedCount {
                node,
                misdeed,
                count,
                last,
            });
        each.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SeededClock;
    use crate::telemetry::Metrics;
    use std::sync::Arc;

    #[tokio::test]
    async fn each_misdeed_of_each_peer_is_counted_and_a_flood_of_numbers_is_bounded() {
        let metrics = Metrics::new();
        let seen = Misconduct::new(metrics.peer_misdeeds.clone(), Arc::new(SeededClock::new(1)));
        for _ in 0..3 {
            seen.saw(
                NodeId::new(2),
                Misdeed::BadHolding,
                &"signed for another ledger",
            );
        }
        seen.saw(NodeId::new(3), Misdeed::BadChunk, &"other bytes");
        let counted: Vec<_> = seen
            .seen()
            .iter()
            .map(|m| (m.node.get(), m.count))
            .collect();
        assert_eq!(counted, [(2, 3), (3, 1)]);
        for node in 10..10_000 {
            seen.saw(
                NodeId::new(node),
                Misdeed::SpokeAsAnother,
                &"a number out of the air",
            );
        }
        assert_eq!(seen.seen().len(), PEERS_MAX * Misdeed::ALL.len());
    }
}
