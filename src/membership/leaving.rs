//! A node that leaves has its promises recorded first, or they are given up on record.
//!
//! Promises: before Raft changes, whoever leaves has applied the PREPARE, promises nothing more
//! from there on, and has nothing left in its outboxes; a node that does not say so is waited for
//! as long as one that comes in, and then the change is given up, unless its operator accepts
//! that the promises are lost. Leaves refusing further promises to the outbox itself
//! ([`crate::recorder::outbox`]).
//!
//! Tests: `tests/cluster/costs.rs`, `src/recorder/leaving_tests.rs`, `tests/sim/invariants/promised.rs`.

use super::accepted::{Accepted, Cost};
use super::change::{ChangeWait, LOOK_PAUSE, SAY_PAUSE, Stuck};
use super::plan::Wanted;
use super::{MembershipChanges, Progress};
use crate::domain::call_error::CallError;
use crate::domain::ids::{NodeId, TreeSize};
use crate::ledger::roles::{ModeRow, Preparing};
use crate::ledger::state::Tables;
use tokio::time::Instant;

/// What a node that leaves says of its promises; `None` when it says nothing.
type Left = (NodeId, Option<u64>);

impl MembershipChanges {
    /// Refuses to remove a node that does not say what it has promised, unless the operator
    /// accepts that this is lost.
    pub(super) async fn must_have_a_word(&self, wanted: &Wanted) -> Result<(), CallError> {
        let Some(node) = wanted.wish.leaves() else {
            return Ok(());
        };
        if wanted.accepted.has(Cost::Outbox) || !self.may_have_promised(node).await? {
            return Ok(());
        }
        let status = &self.0.parts.status;
        match status.ask_promised(node, TreeSize::EMPTY).await {
            Some(_) => Ok(()),
            None => Err(CallError::NotNow {
                reason: "OUTBOX_UNKNOWN",
                detail: format!(
                    "{}: node {node} does not say which deferred downloads it has promised and \
                     not recorded yet; bring it back, or where these are lost, it is said on \
                     record with --accept {}",
                    wanted.wish.describe(),
                    Cost::Outbox.name()
                ),
            }),
        }
    }

    /// Whether the ledger knows outboxes of the node: one that never booted has none.
    async fn may_have_promised(&self, node: NodeId) -> Result<bool, CallError> {
        let reads = &self.0.parts.reads;
        let outboxes = reads.read(move |tables: &Tables<'_>| tables.outboxes(node));
        Ok(!outboxes.await?.is_empty())
    }

    /// Waits until everything is recorded that those who leave have promised.
    pub(super) async fn wait_until_recorded(
        &self,
        preparing: &Preparing,
        row: &ModeRow,
        accepted: &Accepted,
        wait: ChangeWait,
        progress: &Progress,
    ) -> Result<(), Stuck> {
        let mut leaving = Vec::new();
        for node in preparing.leaving(row) {
            if self.may_have_promised(node).await? {
                leaving.push(node);
            }
        }
        let since = preparing.index.size_through();
        let (started, mut moved, mut said) = (Instant::now(), Instant::now(), None::<Instant>);
        let mut least = (usize::MAX, u64::MAX);
        loop {
            if !self.group().is_leader() {
                let why = "leadership was lost; the next leader goes on";
                return Err(self.unavailable(why).into());
            }
            let status = &self.0.parts.status;
            let asked = leaving.iter().map(|node| async move {
                let waiting = status.ask_promised(*node, since).await;
                (*node, waiting)
            });
            let mut left: Vec<Left> = futures::future::join_all(asked).await;
            left.retain(|(_, waiting)| *waiting != Some(0));
            let silent = left.iter().filter(|(_, waiting)| waiting.is_none()).count();
            let given_up = accepted.has(Cost::Outbox) && silent == left.len();
            if left.is_empty() || given_up {
                return Ok(());
            }
            let now = (
                silent,
                left.iter().filter_map(|(_, waiting)| *waiting).sum(),
            );
            if now < least {
                (least, moved) = (now, Instant::now());
            }
            if started.elapsed() > wait.whole || moved.elapsed() > wait.stalled {
                return match accepted.has(Cost::Outbox) {
                    true => Ok(()),
                    false => Err(Stuck::GiveUp(describe(&left))),
                };
            }
            if said.is_none_or(|at| at.elapsed() >= SAY_PAUSE) {
                progress.say("outbox", describe(&left));
                said = Some(Instant::now());
            }
            tokio::time::sleep(LOOK_PAUSE).await;
        }
    }
}

fn describe(left: &[Left]) -> String {
    let each = left.iter().map(|(node, waiting)| match waiting {
        Some(waiting) => format!("{waiting} promises of node {node} are not recorded yet"),
        None => format!("node {node} does not say what it has promised"),
    });
    each.collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_waited_for_is_named_with_what_is_left() {
        let left = [(NodeId::new(3), Some(12)), (NodeId::new(4), None)];
        let why = describe(&left);
        assert!(why.contains("12 promises of node 3"), "{why}");
        assert!(why.contains("node 4 does not say"), "{why}");
    }
}
