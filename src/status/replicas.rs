//! The replicas compared: every node judges itself by what the others say of themselves.
//!
//! Whoever tells this node its status tells its state at a few Raft indexes. Promises: a
//! node stops because of its state only when a majority of the voters, each in its own
//! voice, had another one at one index; what somebody says about a third node is not heard.
//! Leaves the counting to [`super::agreement`].

use super::agreement::{Agreement, NodeState, StateComparison};
use super::messages::NodeStatus;
use crate::domain::ids::{LogIndex, NodeId};
use crate::raft::context::Context;
use crate::sync::Shared;
use muniment_evidence::digest::Digest;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A node tells its state at the newest index, and at the newest that each of these
/// divides: replicas that are some entries apart have one of them in common. The largest
/// is far below the state hashes that are kept.
const MARKS_EVERY: [u64; 3] = [16, 128, 1024];

/// See the module. Cheap to clone.
#[derive(Clone)]
pub struct ReplicaComparison(Arc<Inner>);

struct Inner {
    context: Context,
    agreement: Shared<Agreement>,
    /// Where each node that was found with another state was found so last.
    diverged: Shared<BTreeMap<NodeId, LogIndex>>,
    divergences: AtomicU64,
}

/// The states that a node tells, the newest first: the applied index, and before it.
pub fn marks(applied: LogIndex) -> impl Iterator<Item = LogIndex> {
    let last = applied.get();
    let before = MARKS_EVERY.map(|every| last - last % every);
    let mut told = BTreeSet::from(before);
    told.remove(&last);
    told.into_iter().rev().map(LogIndex::new)
}

impl ReplicaComparison {
    pub fn new(context: Context) -> ReplicaComparison {
        ReplicaComparison(Arc::new(Inner {
            context,
            agreement: Shared::default(),
            diverged: Shared::default(),
            divergences: AtomicU64::new(0),
        }))
    }

    /// How often a replica was found with another state than a majority, this one included.
    pub fn divergences(&self) -> u64 {
        self.0.divergences.load(Ordering::Relaxed)
    }

    /// This node's own state at the marks before `applied`, as far as it is remembered.
    pub fn own_marks(&self, applied: LogIndex) -> Vec<(LogIndex, Digest)> {
        let group = &self.0.context.group;
        let at = |index| Some((index, group.state_hash_at(index)?));
        marks(applied).filter_map(at).collect()
    }

    /// Hears the status of a member, by its own word; stops this node if a majority
    /// contradicts it.
    pub fn hear(&self, status: &NodeStatus) {
        let progress = &status.progress;
        let newest = (progress.applied_index, progress.state_hash);
        for (at, hash) in status.marks.iter().copied().chain([newest]) {
            self.compare(status.node(), at, hash);
        }
    }

    fn compare(&self, node: NodeId, at: LogIndex, hash: Digest) {
        let context = &self.0.context;
        if at == LogIndex::START {
            // Nothing is applied there, or the first entry alone: the index does not tell.
            return;
        }
        let applied = context.group.applied();
        let own = match at == applied.raft_index {
            // Also of a node that has just started and applied nothing since.
            true => Some(applied.state_hash),
            false => context.group.state_hash_at(at),
        };
        let Some(own) = own else {
            // Not applied here yet, or too long ago.
            return;
        };
        let voters: BTreeSet<NodeId> = context.group.status().voters.into_iter().collect();
        let own = NodeState {
            node: context.group.node(),
            hash: own,
        };
        let other = NodeState { node, hash };
        let compared = self.0.agreement.lock().compare(&voters, at, own, other);
        match compared {
            StateComparison::Agrees => {}
            StateComparison::PeerDiverged(at) => {
                if self.0.diverged.lock().insert(node, at) < Some(at) {
                    self.0.divergences.fetch_add(1, Ordering::Relaxed);
                    let (node, at) = (node.get(), at.get());
                    tracing::error!(node, at, "a replica has another state");
                }
            }
            StateComparison::Diverged(at) => {
                self.0.divergences.fetch_add(1, Ordering::Relaxed);
                context.stop.broken(format!(
                    "this node's replicated state has diverged: at Raft index {at} a majority \
                     of the voters has another state hash; keep its disk for the inquiry, \
                     remove the node and let it join under a new id"
                ));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raft::group_tests::{LONG, TestCluster};

    fn told(applied: u64) -> Vec<u64> {
        marks(LogIndex::new(applied)).map(LogIndex::get).collect()
    }

    #[test]
    fn replicas_that_are_some_entries_apart_share_a_mark() {
        assert_eq!(told(2050), [2048]);
        assert_eq!(told(3000), [2992, 2944, 2048]);
        assert_eq!(told(3005), [2992, 2944, 2048]);
        assert_eq!(told(16), [0]);
    }

    fn state_of(node: u64, at: LogIndex, hash: Digest) -> NodeStatus {
        let mut status = super::super::messages::status_for_tests(NodeId::new(node));
        status.progress.applied_index = at;
        status.progress.state_hash = hash;
        status
    }

    /// One peer that lies about its own state stops nobody; a majority of the voters does.
    #[tokio::test(start_paused = true)]
    async fn i12_one_peer_stops_nobody_and_a_majority_stops_the_node_that_differs() {
        let cluster = TestCluster::start(3).await;
        let node = cluster.node(1);
        assert!(node.group.wait_applied(LogIndex::new(1), LONG).await);
        let comparison = ReplicaComparison::new(node.context());
        let at = node.group.applied().raft_index;
        let other = Digest([0xee; 32]);
        for _ in 0..10 {
            comparison.hear(&state_of(2, at, other));
        }
        // A learner or stranger is no second voice.
        comparison.hear(&state_of(9, at, other));
        assert_eq!(node.stop.why(), None);
        comparison.hear(&state_of(3, at, other));
        assert!(matches!(node.stop.why(), Some(crate::stop::Why::Broken(_))));
    }
}
