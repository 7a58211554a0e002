//! Orphans: bodies that no record names, collected by the order of the log.
//!
//! Promises (I5): a body is collected only when the upload epoch in the applied state
//! shows that no record can name it any more, now or later, on any node; never by a clock,
//! and never while it arrives. (I6) the state that does not name it is durable before its
//! bytes go. What a crash left of an upload is found by its stamp. Leaves moving the
//! epoch to the leader, and what a stamp is to [`crate::store::stamps`].
//! Tests: `src/bodies/orphans_tests.rs`.

use super::disk_budget::DiskBudget;
use super::inbound::InboundBodies;
use super::{Bodies, BodyError};
use crate::domain::ids::{BodyId, UploadEpoch};
use crate::ledger::policy;
use crate::ledger::state::State;
use crate::raft::machine::Applied;
use crate::stop::Stop;
use crate::store;
use crate::store::Blocking;
use crate::store::bodies::BodyStore;
use crate::store::flush::Flusher;
use crate::supervise::{self, Life};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::watch;

/// Between two looks at the stamps: one look serves all records of this time.
const SWEEP_PAUSE: Duration = Duration::from_secs(1);
/// ... when nothing is applied: an arrival may have ended meanwhile.
const LEFT_PAUSE: Duration = Duration::from_secs(10);
/// Stamps that are decided upon in one read.
const PAGE: usize = 256;

/// What was deleted and lies on the disk is left there until it is this much: a file of values
/// holds as much, and giving back its room moves all else in it.
const RECLAIM_BYTES_MIN: u64 = 256 << 20;

/// Bytes that no record names: for metrics. Cheap to clone.
#[derive(Clone, Default)]
pub struct Orphans {
    /// Held, as of the last look.
    held: Arc<AtomicU64>,
    /// Deleted since their room was last given back.
    deleted: Arc<AtomicU64>,
    /// What was left of them then.
    left: Arc<AtomicU64>,
}

impl Bodies {
    /// Bytes held here that no record names, as of the last look: of orphans, and of bodies
    /// whose record is on its way.
    pub fn orphan_bytes(&self) -> u64 {
        self.orphans.held.load(Ordering::Relaxed)
    }

    /// Bytes on disk here of bodies that were deleted, whose room has not come back yet.
    pub fn garbage_bytes(&self) -> u64 {
        self.orphans.garbage_bytes(&self.store)
    }
}

impl Orphans {
    /// The engine finds out about what was deleted when it compacts, which may be much later;
    /// what was deleted before the last start, it alone knows.
    fn garbage_bytes(&self, store: &BodyStore) -> u64 {
        let deleted = self.deleted.load(Ordering::Relaxed);
        deleted.max(store.garbage_bytes())
    }
}

/// Whether the room of what was deleted is given back now: when it is more than what stays, so that
/// no more is written once more than comes back, and a disk never holds twice what it has to.
fn is_due(garbage: u64, on_disk: u64) -> bool {
    garbage >= RECLAIM_BYTES_MIN && garbage > on_disk / 2
}

/// What becomes of a stamped body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// A record names it: it stays, and needs no stamp.
    Named,
    /// A record may still name it.
    Wait,
    /// No record names it or ever will.
    Collect,
}

/// Decides from the stamp's epoch and one applied state: pure.
pub fn fate(stamp: UploadEpoch, named: bool, present: UploadEpoch) -> Fate {
    match (named, policy::is_past(stamp, present)) {
        (true, _) => Fate::Named,
        (false, true) => Fate::Collect,
        (false, false) => Fate::Wait,
    }
}

/// Collects for as long as the node runs. `ledger` makes the applied state durable.
pub fn start(bodies: &Bodies, state: State, ledger: Flusher, stop: Stop) {
    let collector = Collector {
        store: bodies.store.clone(),
        inbound: bodies.inbound.clone(),
        orphans: bodies.orphans.clone(),
        disk: bodies.disk_budget.clone(),
        blocking: bodies.blocking,
        state,
        ledger,
    };
    let applied = bodies.group.watch_applied();
    let broken = stop.clone();
    supervise::keep(
        &stop,
        Life::UntilStopped,
        "the collection of orphans",
        async move {
            if let Err(error) = collector.follow(applied).await {
                broken.broken(format!("orphans cannot be collected: {error}"));
            }
        },
    );
}

pub(super) struct Collector {
    pub store: BodyStore,
    pub inbound: InboundBodies,
    pub orphans: Orphans,
    pub disk: DiskBudget,
    pub blocking: Blocking,
    pub state: State,
    pub ledger: Flusher,
}

impl Collector {
    /// Ends only with an error.
    async fn follow(&self, mut applied: watch::Receiver<Applied>) -> Result<(), BodyError> {
        let mut extents = HashMap::new();
        loop {
            applied.mark_unchanged();
            let left = self.sweep(&mut extents).await?;
            self.reclaim().await?;
            tokio::time::sleep(SWEEP_PAUSE).await;
            let again = async {
                match left {
                    0 => std::future::pending().await,
                    _ => tokio::time::sleep(LEFT_PAUSE).await,
                }
            };
            tokio::select! {
                changed = applied.changed() => if changed.is_err() {
                    // Raft has ended; so does the node.
                    std::future::pending::<()>().await;
                },
                () = again => {}
            }
        }
    }

    /// Looks at every stamp once; how many are left. `extents` remembers how long bodies
    /// are that were left before.
    pub async fn sweep(&self, extents: &mut HashMap<BodyId, u64>) -> Result<usize, BodyError> {
        let (mut last, mut left) = (None, HashMap::new());
        loop {
            let page = match self.store.stamps(last, PAGE).await {
                // What cannot be read costs room, and nothing else.
                Err(store::StoreError::Unreadable(why)) => {
                    tracing::error!(%why, "orphaned bodies cannot be looked for");
                    break;
                }
                page => page?,
            };
            let Some((body, _)) = page.last() else { break };
            last = Some(*body);
            let fates = self.decide(page).await?;
            let with = |wanted| fates.iter().filter(move |(_, _, fate)| *fate == wanted);
            let named: Vec<_> = with(Fate::Named).map(|(body, _, _)| *body).collect();
            if !named.is_empty() {
                self.store.unstamp(named).await?;
            }
            let past: Vec<_> = with(Fate::Collect)
                .map(|(b, stamp, _)| (*b, *stamp))
                .collect();
            let kept = self.collect(past).await?;
            let waiting = with(Fate::Wait).map(|(body, _, _)| *body);
            for body in waiting.chain(kept) {
                let length = match extents.get(&body) {
                    // Of one that arrives, the length is not known yet.
                    _ if self.inbound.has(body) => 0,
                    Some(length) => *length,
                    None => match self.store.extent(body).await {
                        Err(store::StoreError::Unreadable(_)) => 0,
                        extent => extent?,
                    },
                };
                left.insert(body, length);
            }
        }
        let held = left.values().sum();
        self.orphans.held.store(held, Ordering::Relaxed);
        let count = left.len();
        left.retain(|_, length| *length > 0);
        *extents = left;
        Ok(count)
    }

    /// Gives back the room of what was deleted, when it is time and there is room to move what
    /// stays. What a crash leaves of that is the engine's own, as of any compaction.
    async fn reclaim(&self) -> Result<(), BodyError> {
        let (garbage, on_disk) = (
            self.orphans.garbage_bytes(&self.store),
            self.store.size_bytes(),
        );
        // What did not come back does not come by trying again.
        let again = self.orphans.left.load(Ordering::Relaxed) + RECLAIM_BYTES_MIN <= garbage;
        let room = || self.disk.has(on_disk.saturating_sub(garbage));
        if !is_due(garbage, on_disk) || !again || !room() {
            return Ok(());
        }
        tracing::info!(garbage, on_disk, "the room of deleted bodies is given back");
        // Deleted while it goes on, a body counts for the next time.
        self.orphans.deleted.store(0, Ordering::Relaxed);
        self.store.reclaim().await?;
        let left = self.store.garbage_bytes();
        self.orphans.left.store(left, Ordering::Relaxed);
        Ok(())
    }

    /// Collects what no record will name; those that are kept after all.
    async fn collect(&self, past: Vec<(BodyId, UploadEpoch)>) -> Result<Vec<BodyId>, BodyError> {
        let mut kept = Vec::new();
        if past.is_empty() {
            return Ok(kept);
        }
        // 1 The applied state that does not name them was looked at. 2 It becomes durable.
        self.ledger.durable().await?;
        for (body, stamp) in past {
            // Nothing of the body may be written while it is removed.
            let Some(_guard) = self.inbound.enter(body) else {
                kept.push(body);
                continue;
            };
            // 3 It is looked at again: bytes may have come under an older stamp.
            match self.decide(vec![(body, stamp)]).await?[..] {
                [(_, _, Fate::Collect)] => {}
                _ => {
                    kept.push(body);
                    continue;
                }
            }
            // 4 Chunks, manifest and stamp go in one batch.
            let length = match self.store.extent(body).await {
                Err(store::StoreError::Unreadable(_)) => 0,
                extent => extent?,
            };
            self.store.delete(body).await?;
            self.orphans.deleted.fetch_add(length, Ordering::Relaxed);
            tracing::info!(stamp = stamp.get(), "an orphaned body was collected");
        }
        Ok(kept)
    }

    /// What becomes of each, by one applied state.
    async fn decide(
        &self,
        stamps: Vec<(BodyId, UploadEpoch)>,
    ) -> Result<Vec<(BodyId, UploadEpoch, Fate)>, BodyError> {
        let state = self.state.clone();
        let decided = self.blocking.run(move || {
            state.read(|tables| {
                let present = tables.head()?.upload_epoch;
                let decided = stamps.iter().map(|(body, stamp)| {
                    let named = tables.named(body)?.is_some();
                    Ok((*body, *stamp, fate(*stamp, named, present)))
                });
                decided.collect()
            })
        });
        Ok(decided.await?)
    }
}

#[cfg(test)]
mod reclaim_tests {
    use super::*;

    #[test]
    fn no_more_is_written_once_more_than_comes_back() {
        let mib = |n: u64| n << 20;
        assert!(!is_due(mib(100), mib(110)), "not worth it");
        assert!(
            !is_due(mib(400), mib(900)),
            "more would move than comes back"
        );
        assert!(is_due(mib(640), mib(781)));
    }
}
