//! Whether replicas that applied the same have the same state (I12): pure counting.
//!
//! The leader compares each status with its own rolling state hash at the same index.
//! Promises: nobody is believed alone. A node has diverged only when a majority of the voters
//! agrees with the leader, and the leader is only when a majority differs from it. Leaves
//! acting on it to the caller.

use crate::domain::ids::{LogIndex, NodeId};
use std::collections::{BTreeMap, BTreeSet};

/// Whether these nodes are more than half of the voters.
pub fn is_majority(voters: &BTreeSet<NodeId>, nodes: impl IntoIterator<Item = NodeId>) -> bool {
    let agreeing: BTreeSet<NodeId> = nodes.into_iter().filter(|n| voters.contains(n)).collect();
    2 * agreeing.len() > voters.len()
}

/// What a comparison said last, by node.
#[derive(Clone, Debug, Default)]
pub struct Agreement(BTreeMap<NodeId, Compared>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Compared {
    same: bool,
    at: LogIndex,
}

/// What follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateComparison {
    Agrees,
    /// The node has another state than a majority, at this index.
    Diverged(LogIndex),
    /// The leader itself has.
    LeaderDiverged(LogIndex),
}

impl Agreement {
    /// Takes a comparison of a node with the leader, and says what follows.
    pub fn compare(
        &mut self,
        leader: NodeId,
        voters: &BTreeSet<NodeId>,
        node: NodeId,
        at: LogIndex,
        same: bool,
    ) -> StateComparison {
        self.0.insert(node, Compared { same, at });
        if same {
            return StateComparison::Agrees;
        }
        let of = |same| {
            let chosen = self.0.iter().filter(move |(_, c)| c.same == same);
            chosen.map(|(node, _)| *node)
        };
        if is_majority(voters, of(true).chain([leader])) {
            StateComparison::Diverged(at)
        } else if is_majority(voters, of(false)) {
            StateComparison::LeaderDiverged(at)
        } else {
            StateComparison::Agrees
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i12_a_divergent_node_is_named_only_by_a_majority() {
        let voters = BTreeSet::from([1, 2, 3].map(NodeId::new));
        // Node 1 leads; what it says of another at an index, and what follows.
        let compare = |agreement: &mut Agreement, node, at, same| {
            let (node, at) = (NodeId::new(node), LogIndex::new(at));
            agreement.compare(NodeId::new(1), &voters, node, at, same)
        };
        let at = LogIndex::new;
        let mut agreement = Agreement::default();
        // Two that differ, and no third voice yet: nobody is believed alone.
        let first = compare(&mut agreement, 2, 10, false);
        assert_eq!(first, StateComparison::Agrees);
        let third = compare(&mut agreement, 3, 10, true);
        assert_eq!(third, StateComparison::Agrees);
        let named = compare(&mut agreement, 2, 11, false);
        assert_eq!(named, StateComparison::Diverged(at(11)));
        // Both others differ: it is the leader.
        let mut agreement = Agreement::default();
        compare(&mut agreement, 2, 10, false);
        let named = compare(&mut agreement, 3, 12, false);
        assert_eq!(named, StateComparison::LeaderDiverged(at(12)));
        // A learner's voice does not count.
        let mut agreement = Agreement::default();
        compare(&mut agreement, 9, 10, true);
        let named = compare(&mut agreement, 2, 10, false);
        assert_eq!(named, StateComparison::Agrees);
    }
}
