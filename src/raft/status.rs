//! How the group is, as this node sees it: role, term, members, how far each is.
//!
//! Promises: one consistent look at what the library knows at a moment; nothing is asked
//! of other nodes. Leaves how other nodes see themselves to `status/`.

use super::group::RaftGroup;
use super::progress::AppliedMembers;
use super::types::{LogId, Peer};
use crate::domain::ids::{LogIndex, NodeId, Term};
use crate::ledger::roles::ModeRow;
use crate::objective::write::{LevelMember, MemberRole};
use futures::stream::{self, BoxStream, StreamExt as _};
use openraft::ServerState;
use openraft::async_runtime::WatchReceiver as _;
use std::collections::BTreeMap;
use std::sync::Arc;

/// How the group is, as this node sees it.
#[derive(Clone, Debug, Default)]
pub struct GroupStatus {
    pub role: &'static str,
    pub term: Term,
    pub leader: Option<NodeId>,
    pub last_log_index: LogIndex,
    pub committed_index: LogIndex,
    pub applied_index: LogIndex,
    pub snapshot_index: LogIndex,
    /// The newest entry that the log has no longer.
    pub purged_index: LogIndex,
    /// Voters and learners.
    pub members: BTreeMap<NodeId, Peer>,
    pub voters: Vec<NodeId>,
    /// Durable log index per follower; only the leader knows.
    pub matched: BTreeMap<NodeId, Option<LogIndex>>,
}

impl AppliedMembers {
    /// All members, as levels see them.
    pub fn level_members(&self) -> Vec<LevelMember> {
        let target = self.roles.preparing.as_ref().map(|to| &to.target.voters);
        let voters: Vec<NodeId> = self.membership.voter_ids().collect();
        let votes = |node: &NodeId| {
            // Who is to vote counts as if it did: apply asks for both sets.
            voters.contains(node) || target.is_some_and(|to| to.contains(node))
        };
        self.membership
            .nodes()
            .map(|(node, peer)| LevelMember {
                node: *node,
                zone: peer.zone.clone(),
                region: peer.region.clone(),
                role: match votes(node) {
                    true => MemberRole::Voter,
                    false if self.roles.sync_learners.contains(node) => MemberRole::SyncLearner,
                    false => MemberRole::AsyncLearner,
                },
            })
            .collect()
    }

    /// Those who are to be members by a change in preparation, as far as they are members
    /// already: who is left to meet a level.
    pub fn target_members(&self) -> Option<Vec<LevelMember>> {
        let target = &self.roles.preparing.as_ref()?.target;
        let mut members = self.level_members();
        members.retain(|member| target.nodes().any(|node| node == member.node));
        for member in &mut members {
            member.role = match member.node {
                node if target.voters.contains(&node) => MemberRole::Voter,
                node if target.sync_learners.contains(&node) => MemberRole::SyncLearner,
                _ => MemberRole::AsyncLearner,
            };
        }
        Some(members)
    }
}

impl RaftGroup {
    /// What learners count for, and the change of members in preparation, as applied here.
    pub fn roles(&self) -> Arc<ModeRow> {
        self.progress.members.borrow().roles.clone()
    }

    /// All members, as levels see them: of the entries applied here alone, since apply
    /// judges by them. What Raft has only appended may never come in force, and would be
    /// taken together with the roles of before.
    pub fn level_members(&self) -> Vec<LevelMember> {
        self.applied_members().level_members()
    }

    /// Who is what, as of the last entry applied here.
    pub fn applied_members(&self) -> AppliedMembers {
        self.progress.members.borrow().clone()
    }

    pub fn member(&self, node: NodeId) -> Option<Peer> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        metrics.membership_config.get_node(&node).cloned()
    }

    pub fn status(&self) -> GroupStatus {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let index = |id: &Option<LogId>| LogIndex::new(id.as_ref().map_or(0, LogId::index));
        let members = &metrics.membership_config;
        GroupStatus {
            role: match metrics.state {
                ServerState::Learner => "learner",
                ServerState::Follower => "follower",
                ServerState::Candidate => "candidate",
                ServerState::Leader => "leader",
                ServerState::Shutdown => "stopping",
            },
            term: Term::new(metrics.current_term),
            leader: metrics.current_leader,
            last_log_index: LogIndex::new(metrics.last_log_index.unwrap_or(0)),
            committed_index: index(&metrics.local_committed),
            applied_index: index(&metrics.last_applied),
            snapshot_index: index(&metrics.snapshot),
            purged_index: index(&metrics.purged),
            members: members.nodes().map(|(n, p)| (*n, p.clone())).collect(),
            voters: members.voter_ids().collect(),
            matched: metrics
                .replication
                .iter()
                .flatten()
                .map(|(node, matched)| {
                    let matched = matched.as_ref().map(|id| LogIndex::new(id.index()));
                    (*node, matched)
                })
                .collect(),
        }
    }

    /// Tells whenever something about the group has changed, such as how far others have
    /// flushed; at least once. Ends with the library.
    pub fn changes(&self) -> BoxStream<'static, ()> {
        let metrics = self.raft.metrics();
        stream::unfold(metrics, |mut metrics| async move {
            metrics.changed().await.ok().map(|()| ((), metrics))
        })
        .boxed()
    }
}
