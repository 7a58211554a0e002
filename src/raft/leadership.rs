//! Who leads, and handing leadership over.
//!
//! Promises: leadership goes to a voter that has caught up, or stays; whoever waits for a
//! change of leader, term or members sees each that matters. Leaves when to hand over to
//! its callers, and whether to campaign to [`super::elections`].

use super::group::{APPEND_ENTRIES_MAX, RaftGroup};
use super::proposals::GroupRefusal;
use super::types::Peer;
use crate::domain::ids::{LogIndex, NodeId, Term};
use openraft::async_runtime::WatchReceiver as _;
use openraft::vote::RaftLeaderId as _;
use std::time::Duration;
use tokio::time::Instant;

/// How long a leadership hand-over may take before it is given up.
const TRANSFER_MAX: Duration = Duration::from_secs(5);

/// Who leads whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leadership {
    pub leader: Option<NodeId>,
    pub term: Term,
    pub members_at: Option<LogIndex>,
}

/// Why leadership was not handed over.
#[derive(Clone, Debug, thiserror::Error)]
pub enum TransferError {
    #[error("node {0} is not a voter")]
    NotVoter(NodeId),
    #[error("node {0} has not caught up")]
    Behind(NodeId),
    #[error("node {0} did not take over in time")]
    NotInTime(NodeId),
    #[error("{0}")]
    Raft(#[from] GroupRefusal),
}

impl RaftGroup {
    /// The leader as this node knows it.
    pub fn leader(&self) -> Option<(NodeId, Peer)> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let leader = metrics.current_leader?;
        let peer = metrics.membership_config.get_node(&leader)?;
        Some((leader, peer.clone()))
    }

    pub fn is_leader(&self) -> bool {
        self.raft.is_leader()
    }

    /// When this node heard a leader last, as a follower.
    pub fn leader_last_seen(&self) -> Option<Instant> {
        *self.leader_seen.lock().expect("nobody panics with it")
    }

    /// Waits until term, leader or members differ from `seen`; returns what they are.
    pub async fn leadership_changed(&self, seen: Option<Leadership>) -> Leadership {
        let mut metrics = self.raft.server_metrics();
        loop {
            let now = {
                let metrics = metrics.borrow_watched();
                Leadership {
                    leader: metrics.current_leader,
                    term: Term::new(metrics.vote.leader_id().term()),
                    members_at: metrics
                        .membership_config
                        .log_id()
                        .as_ref()
                        .map(|id| LogIndex::new(id.index())),
                }
            };
            if Some(now) != seen {
                return now;
            }
            if metrics.changed().await.is_err() {
                // The library has ended; the node is on its way out.
                std::future::pending::<()>().await;
            }
        }
    }

    /// Hands leadership to `to`, which must be a caught-up voter.
    pub async fn transfer(&self, to: NodeId) -> Result<(), TransferError> {
        let status = self.status();
        if to == self.node {
            return Ok(());
        }
        if !status.voters.contains(&to) {
            return Err(TransferError::NotVoter(to));
        }
        match status.matched.get(&to).copied().flatten() {
            Some(matched) if status.last_log_index.count_since(matched) <= APPEND_ENTRIES_MAX => {}
            _ => return Err(TransferError::Behind(to)),
        }
        let asked = self.raft.trigger().transfer_leader(to).await;
        asked.map_err(|fatal| TransferError::Raft(GroupRefusal::unknown(fatal)))?;
        let mut metrics = self.raft.server_metrics();
        let changed = async {
            while metrics.borrow_watched().current_leader != Some(to) {
                if metrics.changed().await.is_err() {
                    break;
                }
            }
        };
        tokio::time::timeout(TRANSFER_MAX, changed)
            .await
            .map_err(|_| TransferError::NotInTime(to))
    }

    /// Hands leadership to the most advanced follower, if this node leads.
    pub async fn hand_over(&self) {
        self.hand_over_to_one_of(&self.status().voters).await;
    }

    /// The same, to the most advanced of `nodes`; one that does not take over is followed by
    /// the next.
    pub async fn hand_over_to_one_of(&self, nodes: &[NodeId]) {
        if !self.is_leader() {
            return;
        }
        let status = self.status();
        let mut able: Vec<_> = status
            .matched
            .iter()
            .filter(|(node, _)| **node != self.node && status.voters.contains(node))
            .filter(|(node, _)| nodes.contains(node))
            .collect();
        able.sort_unstable_by_key(|(_, matched)| std::cmp::Reverse(**matched));
        for (to, _) in able {
            match self.transfer(*to).await {
                Ok(()) => return,
                Err(why) => tracing::warn!(%why, "leadership could not be handed over"),
            }
            if !self.is_leader() {
                return;
            }
        }
    }
}
