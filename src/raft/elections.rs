//! Whether this node campaigns to lead, and whether it may vote.
//!
//! Promises: a node that has lost log which it had acknowledged neither votes nor
//! campaigns until the leader has sent that log again, since its vote could help to elect
//! a leader without it; a node whose disk is slow, whose clock is off, or that is about to
//! go, leaves elections to others and still votes. Leaves to its callers when that is so.

use super::group::RaftGroup;
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
    /// This node's clock is not the others'.
    clock_off: AtomicBool,
    /// This node is about to go.
    stepped_down: AtomicBool,
}

impl Campaign {
    fn is_free(&self) -> bool {
        let reasons = [
            &self.below_watermark,
            &self.suppressed,
            &self.clock_off,
            &self.stepped_down,
        ];
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
                let last = metrics.borrow_watched().last_log_index;
                if last.is_some_and(|last| last >= watermark.index.get()) {
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

    /// Whether this node does not stand because its clock is off; it votes as before.
    pub fn clock_off(&self, yes: bool) {
        if self.campaign.clock_off.swap(yes, Ordering::SeqCst) != yes {
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
