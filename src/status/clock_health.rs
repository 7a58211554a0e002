//! A node whose clock is off leaves leading to others.
//!
//! Promises: once a second this node's wall clock is compared with those that the voters told
//! lately; one that is off the median does not stand for election, and hands leadership over to
//! a voter whose clock is not, at most once a minute. A voter whose clock is so far ahead that
//! nobody would take in what it proposes is named as one that does what no member does; only a
//! node whose own clock is right names others. Clocks are compared for nothing else: what
//! is recorded does not depend on it. Leaves the judgement to `objective/clock`, and entries of
//! a time to come to `raft/`.

use super::peer_monitor::{PeerMonitor, PeerView};
use crate::domain::ids::NodeId;
use crate::misconduct::Misdeed;
use crate::objective::clock;
use crate::raft::context::Context;
use crate::supervise;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::Instant;

/// Statuses come as often.
const EVERY: Duration = Duration::from_secs(1);
/// Between two hand-overs: leadership must not travel with every step of a clock.
const HAND_OVER_EVERY: Duration = Duration::from_secs(60);

/// What watching a clock needs.
#[derive(Clone)]
pub struct ClockWatch {
    pub context: Context,
    pub peers: PeerMonitor,
}

impl ClockWatch {
    /// Watches the clock until the node stops.
    pub fn start(self) {
        let stop = self.context.stop.clone();
        supervise::restart(&stop, "the watch on the clock", move || self.clone().run());
    }

    async fn run(self) {
        let group = &self.context.group;
        let (mut was_off, mut handed_over) = (false, None::<Instant>);
        let mut ahead = BTreeSet::new();
        loop {
            tokio::time::sleep(EVERY).await;
            let voters = group.status().voters;
            let mut others = self.peers.recent_peers();
            others.retain(|peer| voters.contains(&peer.status.node()));
            let ahead_ms = ahead_of_median_ms(&others);
            group.note_clock(ahead_ms);
            // Where nobody can tell, what was told counts.
            let off = ahead_ms.map_or(group.was_told_ahead(), clock::is_off);
            group.clock_off(off);
            if off != was_off {
                let ahead_ms = ahead_ms.unwrap_or_default();
                match off {
                    true => {
                        tracing::error!(ahead_ms, "this node's clock is off: it does not stand");
                    }
                    false => tracing::info!(ahead_ms, "this node's clock is right again"),
                }
                was_off = off;
            }
            let now_ahead = too_far_ahead(&others, ahead_ms);
            for (node, ahead_ms) in now_ahead.iter().filter(|(node, _)| !ahead.contains(*node)) {
                let why = format!("its clock is {ahead_ms} ms ahead of the median");
                group.misconduct().saw(*node, Misdeed::ClockAhead, &why);
            }
            ahead = now_ahead.into_keys().collect();
            let right = in_step(&others, ahead_ms);
            let again = handed_over.is_none_or(|at| at.elapsed() >= HAND_OVER_EVERY);
            if off && again && !right.is_empty() && group.is_leader() {
                handed_over = Some(Instant::now());
                group.hand_over_to_one_of(&right).await;
            }
        }
    }
}

fn ahead_of_median_ms(others: &[PeerView]) -> Option<i64> {
    let clocks: Vec<i64> = others.iter().map(|peer| peer.clock_ahead_ms).collect();
    clock::ahead_of_median_ms(&clocks)
}

/// Those of the others that are further ahead of the median than an entry may be, as far as
/// this node can tell.
fn too_far_ahead(others: &[PeerView], own_ahead_ms: Option<i64>) -> BTreeMap<NodeId, u64> {
    let Some(own_ahead_ms) = own_ahead_ms.filter(|ahead| !clock::is_off(*ahead)) else {
        return BTreeMap::new();
    };
    let ahead = others.iter().filter_map(|peer| {
        let ahead_ms = peer.clock_ahead_ms.saturating_add(own_ahead_ms);
        let ahead_ms = clock::too_far_ahead(u64::try_from(ahead_ms).ok()?, 0)?;
        Some((peer.status.node(), ahead_ms))
    });
    ahead.collect()
}

/// Those of the others whose clocks are not off.
fn in_step(others: &[PeerView], own_ahead_ms: Option<i64>) -> Vec<NodeId> {
    let Some(own_ahead_ms) = own_ahead_ms else {
        return Vec::new();
    };
    let in_step = others.iter().filter(|peer| {
        let ahead_ms = peer.clock_ahead_ms.saturating_add(own_ahead_ms);
        !clock::is_off(ahead_ms)
    });
    in_step.map(|peer| peer.status.node()).collect()
}
