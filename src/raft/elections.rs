//! Whether this node campaigns to lead, and whether it may vote.
//!
//! Promises: a node that has lost log which it had acknowledged neither votes nor
//! campaigns until the leader has sent that log again, since its vote could help to elect
//! a leader without it; a node whose disk is slow, whose clock is off, or that is about to
//! go, leaves elections to others and still votes, and stands as before when they elect
//! nobody. Leaves to its callers when that is so.

use super::group::RaftGroup;
use super::log::watermark_id;
use crate::store::watermark::LogPosition;
use crate::supervise::{self, Life};
use crate::transport::Failure;
use openraft::async_runtime::WatchReceiver as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// So many of the longest election timeouts without a leader, and a node stands that would
/// rather not lead: the others have had their turns, and nobody of them can.
const TURNS_OF_OTHERS: u32 = 5;

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
    /// The others elect nobody: what is merely better does not count.
    needed: AtomicBool,
}

impl Campaign {
    fn is_free(&self) -> bool {
        let is = |reason: &AtomicBool| reason.load(Ordering::SeqCst);
        !is(&self.below_watermark) && (is(&self.needed) || !self.is_reluctant())
    }

    fn is_reluctant(&self) -> bool {
        let reasons = [&self.suppressed, &self.clock_off, &self.stepped_down];
        reasons.iter().any(|reason| reason.load(Ordering::SeqCst))
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

    /// Whether this node does not stand because its clock is off; it votes as before.
    pub fn clock_off(&self, yes: bool) {
        if self.campaign.clock_off.swap(yes, Ordering::SeqCst) != yes {
            self.update_campaigning();
        }
    }

    /// Whether this node is about to go: it leaves elections to others, for as long as they
    /// elect somebody.
    pub fn step_down(&self, yes: bool) {
        self.campaign.stepped_down.store(yes, Ordering::SeqCst);
        self.update_campaigning();
    }

    /// Whether this node is about to go.
    pub fn has_stepped_down(&self) -> bool {
        self.campaign.stepped_down.load(Ordering::SeqCst)
    }

    /// Watches whether the others elect anybody.
    pub(super) fn stand_when_needed(&self, election_max: Duration) {
        let group = self.clone();
        supervise::restart(&self.stop, "the watch over elections", move || {
            let group = group.clone();
            async move { group.watch_elections(election_max).await }
        });
    }

    async fn watch_elections(&self, election_max: Duration) {
        // Their turns begin when this node leaves them to the others.
        let mut since = Instant::now();
        loop {
            tokio::time::sleep(election_max).await;
            if self.is_leader() || !self.campaign.is_reluctant() {
                since = Instant::now();
            }
            let led = self.leader_last_seen().map_or(since, |led| led.max(since));
            let needed = led.elapsed() > TURNS_OF_OTHERS * election_max;
            if self.campaign.needed.swap(needed, Ordering::SeqCst) != needed {
                if needed {
                    tracing::warn!("the others elect nobody: this node stands, as it is");
                }
                self.update_campaigning();
            }
        }
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
