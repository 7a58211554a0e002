//! A slow disk gives leadership up.
//!
//! Promises: once a second the syncs of the ledger are judged; a leader whose disk is slow
//! hands over to the best follower whose disk is not, at most once a minute; a slow node
//! does not stand for election while another voter could lead, and stands as before when
//! none could. Leaves the judgement to `objective/disk`.

use super::messages::NodeHealth;
use super::peer_monitor::PeerMonitor;
use crate::domain::ids::NodeId;
use crate::objective::disk::{Judge, Window};
use crate::raft::context::Context;
use crate::store::StoreError;
use crate::store::flush::Flusher;
use crate::supervise;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::Instant;

/// One window.
const EVERY: Duration = Duration::from_secs(1);
/// Between two hand-overs: leadership must not travel with every hiccup.
const HAND_OVER_EVERY: Duration = Duration::from_secs(60);

/// Writes a little, syncs it, and says how long that took; blocks.
pub type Probe = Arc<dyn Fn() -> std::io::Result<Duration> + Send + Sync>;

/// What others are told of this node's disk. Cheap to clone.
#[derive(Clone, Default)]
pub struct DiskHealth(Arc<Mutex<(Option<Duration>, bool)>>);

impl DiskHealth {
    /// The p99 of the last window in which something was synced, and whether the disk is
    /// slow.
    pub fn now(&self) -> (Option<Duration>, bool) {
        *self.0.lock().expect("nobody panics with it")
    }

    fn set(&self, p99: Option<Duration>, slow: bool) {
        *self.0.lock().expect("nobody panics with it") = (p99, slow);
    }
}

/// What watching a disk needs.
#[derive(Clone)]
pub struct DiskWatch {
    pub context: Context,
    pub peers: PeerMonitor,
    /// Of the ledger database.
    pub flusher: Flusher,
    pub health: DiskHealth,
    /// The longest usual fsync of the profile.
    pub limit: Duration,
    /// Asked while a slow disk has nothing else to sync.
    pub probe: Probe,
}

impl DiskWatch {
    /// Watches the disk until the node stops.
    pub fn start(self) {
        let stop = self.context.stop.clone();
        supervise::restart(&stop, "the watch on the disk", move || self.clone().run());
    }

    async fn run(self) {
        let mut judge = Judge::new(self.limit);
        let mut handed_over: Option<Instant> = None;
        loop {
            tokio::time::sleep(EVERY).await;
            let was = judge.slow();
            let window = self.look(was).await;
            let slow = judge.note(&window);
            let last = self.health.now().0;
            self.health.set(window.worst().or(last), slow);
            if slow != was {
                let worst_ms = window.worst().unwrap_or_default().as_millis() as u64;
                let limit_ms = self.limit.as_millis() as u64;
                if slow {
                    tracing::warn!(worst_ms, limit_ms, "this node's disk is slow");
                } else {
                    tracing::info!(worst_ms, limit_ms, "this node's disk is quick again");
                }
            }
            let better = if slow { self.better() } else { Vec::new() };
            self.context
                .group
                .suppress_elections(slow && !better.is_empty());
            if better.is_empty() || !self.context.group.is_leader() {
                continue;
            }
            if handed_over.is_none_or(|at| at.elapsed() >= HAND_OVER_EVERY) {
                handed_over = Some(Instant::now());
                self.context.group.hand_over_to_one_of(&better).await;
            }
        }
    }

    /// The syncs since the last look; of a slow disk that has none, a probe.
    async fn look(&self, slow: bool) -> Window {
        let pulse = self.flusher.sync_stats();
        let window = Window::of(pulse.took, pulse.stuck);
        if !slow || window != Window::default() {
            return window;
        }
        let probe = self.probe.clone();
        let probed = self
            .context
            .blocking
            .run(move || probe().map_err(StoreError::beside))
            .await;
        match probed {
            Ok(took) => Window::of(vec![took], None),
            Err(error) => {
                // The databases will meet the same fault, and stop the node: not this.
                tracing::warn!(%error, "the disk cannot be probed");
                window
            }
        }
    }

    /// Voters that answered lately, stay, and whose disks are not slow.
    fn better(&self) -> Vec<NodeId> {
        let voters = self.context.group.status().voters;
        let quick = |health: &NodeHealth| {
            !health.leaving
                && !health.disk_slow
                && health.fsync_p99.is_none_or(|p99| p99 <= self.limit)
        };
        let peers = self.peers.recent_peers().into_iter();
        peers
            .map(|peer| peer.status)
            .filter(|status| voters.contains(&status.node()) && quick(&status.health))
            .map(|status| status.node())
            .collect()
    }
}
