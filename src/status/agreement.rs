//! Whether replicas that applied the same have the same state (I12): pure counting.
//!
//! Each node compares the states that others say they had with its own, at the same Raft
//! index. Promises: nobody is believed alone, and nothing is concluded from two indexes: a
//! node has diverged only when a majority of the voters had one and the same other state at
//! one index. What a node said at another index says nothing here, however lately. Leaves
//! acting on it to the caller.

use crate::domain::ids::{LogIndex, NodeId};
use crate::objective::majority::is_majority;
use muniment_evidence::digest::Digest;
use std::collections::{BTreeMap, BTreeSet};

/// Indexes remembered: some a report, ten reports a second of each of a few members, for
/// much longer than the slowest of them takes to come to the same index.
const INDEXES_MAX: usize = 1024;

/// What each node said its state was, by index.
#[derive(Clone, Debug, Default)]
pub struct Agreement(BTreeMap<LogIndex, BTreeMap<NodeId, Digest>>);

/// The rolling state hash of a node after one entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeState {
    pub node: NodeId,
    pub hash: Digest,
}

/// What follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateComparison {
    Agrees,
    /// This node has another state than a majority, at this index.
    Diverged(LogIndex),
    /// The other one has.
    PeerDiverged(LogIndex),
}

impl Agreement {
    /// Takes what another node's state was at an index at which this node's own is known,
    /// and says what follows.
    pub fn compare(
        &mut self,
        voters: &BTreeSet<NodeId>,
        at: LogIndex,
        own: NodeState,
        other: NodeState,
    ) -> StateComparison {
        let states = self.0.entry(at).or_default();
        states.insert(own.node, own.hash);
        states.insert(other.node, other.hash);
        let majority = states.values().copied().find(|hash| {
            let with = states.iter().filter(|(_, state)| *state == hash);
            is_majority(voters, with.map(|(node, _)| *node))
        });
        while self.0.len() > INDEXES_MAX {
            self.0.pop_first();
        }
        match majority {
            Some(hash) if own.hash != hash => StateComparison::Diverged(at),
            Some(hash) if other.hash != hash => StateComparison::PeerDiverged(at),
            _ => StateComparison::Agrees,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: Digest = Digest([1; 32]);
    const THEIRS: Digest = Digest([2; 32]);
    const THIRD: Digest = Digest([3; 32]);

    /// Node 1 of some voters compares.
    struct Comparing {
        agreement: Agreement,
        voters: BTreeSet<NodeId>,
    }

    impl Comparing {
        fn among(voters: u64) -> Comparing {
            Comparing {
                agreement: Agreement::default(),
                voters: (1..=voters).map(NodeId::new).collect(),
            }
        }

        fn hear(&mut self, at: u64, own: Digest, node: u64, hash: Digest) -> StateComparison {
            let state = |node, hash| NodeState {
                node: NodeId::new(node),
                hash,
            };
            let at = LogIndex::new(at);
            let (own, other) = (state(1, own), state(node, hash));
            self.agreement.compare(&self.voters, at, own, other)
        }
    }

    #[test]
    fn i12_a_divergent_node_is_named_only_by_a_majority() {
        let mut three = Comparing::among(3);
        // Two that differ, and no third voice yet: nobody is believed alone.
        assert_eq!(three.hear(10, OURS, 2, THEIRS), StateComparison::Agrees);
        assert_eq!(three.hear(10, OURS, 3, OURS), StateComparison::Agrees);
        let named = three.hear(10, OURS, 2, THEIRS);
        assert_eq!(named, StateComparison::PeerDiverged(LogIndex::new(10)));
        // Both others have another state, and the same: it is this node.
        let mut three = Comparing::among(3);
        three.hear(10, OURS, 2, THEIRS);
        let named = three.hear(10, OURS, 3, THEIRS);
        assert_eq!(named, StateComparison::Diverged(LogIndex::new(10)));
        // Three states of three nodes: nobody knows who is right.
        let mut three = Comparing::among(3);
        three.hear(10, OURS, 2, THEIRS);
        assert_eq!(three.hear(10, OURS, 3, THIRD), StateComparison::Agrees);
        // A learner's voice does not count.
        let mut three = Comparing::among(3);
        three.hear(10, OURS, 9, OURS);
        assert_eq!(three.hear(10, OURS, 2, THEIRS), StateComparison::Agrees);
    }

    /// Node 2 has been away since 1,000 and was like the others then; this node goes astray
    /// at 1,500. What node 2 said of 1,000 convicts nobody at 1,500: node 3, which is right,
    /// goes on, and node 2 decides once it is there.
    #[test]
    fn i12_what_a_node_said_at_another_index_convicts_nobody() {
        let mut three = Comparing::among(3);
        assert_eq!(three.hear(1000, OURS, 2, OURS), StateComparison::Agrees);
        for at in 1500..1600 {
            assert_eq!(three.hear(at, OURS, 3, THEIRS), StateComparison::Agrees);
        }
        let named = three.hear(1550, OURS, 2, THEIRS);
        assert_eq!(named, StateComparison::Diverged(LogIndex::new(1550)));
    }

    /// Two that differ at different indexes are not a majority at either.
    #[test]
    fn i12_voices_at_two_indexes_are_not_added_up() {
        let mut three = Comparing::among(3);
        assert_eq!(three.hear(10, OURS, 2, THEIRS), StateComparison::Agrees);
        assert_eq!(three.hear(12, OURS, 3, THEIRS), StateComparison::Agrees);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut three = Comparing::among(3);
        for at in 0..2 * INDEXES_MAX as u64 {
            three.hear(at, OURS, 2, OURS);
        }
        assert_eq!(three.agreement.0.len(), INDEXES_MAX);
    }
}
