//! Raft's own membership: learners come and go, voters change in two steps.
//!
//! Promises: one change at a time from this node; each ends within a limit, after which
//! its outcome is unknown and is read from the voters in force; whoever stops voting is no
//! member any longer; a member that moved is reached at its new address at once. Leaves to
//! its callers when a change is safe (I8).

use super::group::RaftGroup;
use super::proposals::{GroupRefusal, leader_of};
use super::types::{Peer, TypeConfig};
use crate::domain::ids::NodeId;
use openraft::ChangeMembers;
use openraft::errors::{ClientWriteError, RaftError};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// A change is two entries on a majority; a slow disk or an election may come between.
const CHANGE_MAX: Duration = Duration::from_secs(10);

impl RaftGroup {
    /// Replicates to a further node, which does not vote.
    pub async fn add_learner(&self, node: NodeId, peer: Peer) -> Result<(), GroupRefusal> {
        self.change(ChangeMembers::AddNodes(BTreeMap::from([(node, peer)])))
            .await
    }

    /// Stops replicating to nodes that do not vote.
    pub async fn remove_learners(&self, nodes: BTreeSet<NodeId>) -> Result<(), GroupRefusal> {
        self.change(ChangeMembers::RemoveNodes(nodes)).await
    }

    /// Makes these the voters; each is a member already.
    pub async fn change_voters(&self, voters: BTreeSet<NodeId>) -> Result<(), GroupRefusal> {
        self.change(ChangeMembers::ReplaceAllVoters(voters)).await
    }

    /// Reaches a member elsewhere from now on. Who votes stays.
    pub async fn set_address(&self, node: NodeId, peer: Peer) -> Result<(), GroupRefusal> {
        // Before it is agreed on: its answer may be needed for the majority that agrees.
        self.addresses.lock().insert(node, peer.address.clone());
        self.change(ChangeMembers::SetNodes(BTreeMap::from([(node, peer)])))
            .await
    }

    async fn change(&self, change: ChangeMembers<NodeId, Peer>) -> Result<(), GroupRefusal> {
        let Ok(_single) = self.changing.try_lock() else {
            return Err(GroupRefusal::unknown("another change is under way"));
        };
        let changed = self.raft.change_membership(change, false);
        match tokio::time::timeout(CHANGE_MAX, changed).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(refusal(error)),
            Err(_) => Err(GroupRefusal::unknown("no majority answered in time")),
        }
    }
}

fn refusal(error: RaftError<TypeConfig, ClientWriteError<TypeConfig>>) -> GroupRefusal {
    match error {
        RaftError::APIError(ClientWriteError::ForwardToLeader(to)) => {
            GroupRefusal::NotLeader(leader_of(to))
        }
        RaftError::APIError(error) => GroupRefusal::unknown(error),
        RaftError::Fatal(_) => GroupRefusal::Stopped,
    }
}
