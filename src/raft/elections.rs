//! Whether this node campaigns to lead, and whether it may vote.
//!
//! Promises: a node that has lost log which it had acknowledged neither votes nor
//! campaigns until the leader has sent that log again, since its vote could help to elect
//! a leader without it; a node whose disk is slow, or that is about to go, leaves
//! elections to others and still votes. Leaves to its callers when that is so.

use super::group::RaftGroup;
use super::log::watermark_id;
use crate::store::watermark::LogPosition;
use crate::supervise::{self, Life};
use crate::transport::Failure;
use openraft::async_runtime::WatchReceiver as _;
use std::sync::atomic::{AtomicBool, Ordering};

/// The reasons not to campaign.
#[derive(Default)]
pub(super) struct Campaign {
    /// The log is shorter than what was acknowledged.
    below_watermark: AtomicBool,
    /// Others would lead better, for now.
    suppressed: AtomicBool,
    /// This node is about to go.
    stepped_down: AtomicBool,
}

impl Campaign {
    fn is_free(&self) -> bool {
        let reasons = [&self.below_watermark, &self.suppressed, &self.stepped_down];
        reasons.iter().all(|reason| !reason.load(Ordering::SeqCst))
    }
}

impl RaftGroup {
    /// The engine has lost log that was durable: no vote and no candidacy until the
    /// leader has sent it again.
    pub(super) fn wait_for_watermark(
        &self,
        recovered: Option<LogPosition>,
        watermark: LogPosition,
    ) {
        tracing::warn!(
            ?recovered,
            ?watermark,
            "the log's tail is lost; not voting until the leader has sent it again"
        );
        self.campaign.below_watermark.store(true, Ordering::SeqCst);
        self.update_campaigning();
        let (group, raft) = (self.clone(), self.raft.clone());
        let watch = "the watch for the watermark";
        supervise::keep(&self.stop, Life::UntilUnused, watch, async move {
            let mut metrics = raft.metrics();
            loop {
                let (last, committed) = {
                    let now = metrics.borrow_watched();
                    (now.last_log_index, now.local_committed)
                };
                let refilled = last.is_some_and(|last| last >= watermark.index.get());
                // A leader of a later term was elected without this node's vote: what it has
                // not, no majority had, and its log may be shorter for good.
                let overtaken = committed.is_some_and(|id| watermark_id(&id) >= watermark);
                if refilled || overtaken {
                    tracing::info!(last, "the log is above its watermark again");
                    group
                        .campaign
                        .below_watermark
                        .store(false, Ordering::SeqCst);
                    group.update_campaigning();
                    return;
                }
                if metrics.changed().await.is_err() {
                    return;
                }
            }
        });
    }

    /// Whether this node leaves elections to others; it votes as before.
    pub fn suppress_elections(&self, yes: bool) {
        if self.campaign.suppressed.swap(yes, Ordering::SeqCst) != yes {
            self.update_campaigning();
        }
    }

    /// This node is about to go: it does not campaign until it is started again.
    pub fn step_down(&self) {
        self.campaign.stepped_down.store(true, Ordering::SeqCst);
        self.update_campaigning();
    }

    /// Campaigns when no leader is heard, unless there is a reason not to.
    fn update_campaigning(&self) {
        self.raft.runtime_config().elect(self.campaign.is_free());
    }

    pub(super) fn may_vote(&self) -> Result<(), Failure> {
        if self.campaign.below_watermark.load(Ordering::SeqCst) {
            return Err(Failure::Refused(
                "this node's log is below its watermark".into(),
            ));
        }
        Ok(())
    }
}
