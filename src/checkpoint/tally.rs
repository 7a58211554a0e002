//! What a round's answers come to: pure counting.
//!
//! Promises: nobody is believed alone. A root other than the leader's counts against the
//! leader only when a majority of the voters has that one root, and against a follower
//! only when a majority has cosigned the leader's. Leaves acting on it to
//! [`super::rounds`].

use super::cosigners::Lines;
use crate::domain::ids::NodeId;
use crate::objective::majority::is_majority;
use muniment_evidence::digest::Digest;
use std::collections::{BTreeMap, BTreeSet};

/// The answers of one round.
#[derive(Clone, Debug)]
pub struct Tally {
    root: Digest,
    voters: BTreeSet<NodeId>,
    lines: Lines,
    others: BTreeMap<NodeId, Digest>,
}

impl Tally {
    /// `lines` are those known before the round.
    pub fn new(root: Digest, voters: BTreeSet<NodeId>, lines: Lines) -> Tally {
        Tally {
            root,
            voters,
            lines,
            others: BTreeMap::new(),
        }
    }

    /// The node has cosigned.
    pub fn agrees(&mut self, node: NodeId, lines: Vec<String>) {
        self.lines.insert(node, lines);
    }

    /// The node has as many records under another root.
    pub fn differs(&mut self, node: NodeId, root: Digest) {
        if root != self.root {
            self.others.insert(node, root);
        }
    }

    pub fn lines(&self) -> &Lines {
        &self.lines
    }

    /// Whether a majority has cosigned the leader's root.
    pub fn is_agreed(&self) -> bool {
        is_majority(&self.voters, self.lines.keys().copied())
    }

    /// The one root, if any, that a majority has and the leader has not; and who has it.
    pub fn leader_diverged(&self) -> Option<(Digest, Vec<NodeId>)> {
        self.others.values().find_map(|root| {
            let with = self.others.iter().filter(|(_, other)| *other == root);
            let nodes: Vec<NodeId> = with.map(|(node, _)| *node).collect();
            is_majority(&self.voters, nodes.iter().copied()).then_some((*root, nodes))
        })
    }

    /// The nodes that differ from what a majority has cosigned.
    pub fn diverged(&self) -> Vec<(NodeId, Digest)> {
        if !self.is_agreed() {
            return Vec::new();
        }
        self.others.iter().map(|(n, root)| (*n, *root)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: Digest = Digest([1; 32]);
    const THEIRS: Digest = Digest([2; 32]);

    fn tally(voters: u64) -> Tally {
        Tally::new(OURS, (1..=voters).map(NodeId::new).collect(), Lines::new())
    }

    fn line() -> Vec<String> {
        vec!["line\n".into()]
    }

    #[test]
    fn a_majority_of_voters_agrees_and_a_learner_does_not_count() {
        let mut tally = tally(3);
        tally.agrees(NodeId::new(1), line());
        tally.agrees(NodeId::new(9), line());
        assert!(!tally.is_agreed());
        tally.agrees(NodeId::new(3), line());
        assert!(tally.is_agreed());
        assert_eq!(tally.lines().len(), 3);
    }

    #[test]
    fn one_node_that_differs_has_diverged_once_a_majority_has_cosigned() {
        let mut tally = tally(3);
        tally.differs(NodeId::new(2), THEIRS);
        tally.agrees(NodeId::new(1), line());
        assert!(tally.diverged().is_empty() && tally.leader_diverged().is_none());
        tally.agrees(NodeId::new(3), line());
        assert_eq!(tally.diverged(), [(NodeId::new(2), THEIRS)]);
        assert!(tally.leader_diverged().is_none());
    }

    #[test]
    fn a_majority_with_one_other_root_outvotes_the_leader() {
        let mut tally = tally(5);
        tally.agrees(NodeId::new(1), line());
        tally.differs(NodeId::new(2), THEIRS);
        tally.differs(NodeId::new(3), THEIRS);
        tally.differs(NodeId::new(4), Digest([3; 32]));
        // Three differ, but no three have the same root: nobody knows who is right.
        assert!(tally.leader_diverged().is_none() && tally.diverged().is_empty());
        tally.differs(NodeId::new(5), THEIRS);
        assert_eq!(
            tally.leader_diverged(),
            Some((THEIRS, [2, 3, 5].map(NodeId::new).to_vec()))
        );
    }

    /// Of two voters neither can be believed against the other.
    #[test]
    fn two_voters_cannot_convict_each_other() {
        let mut tally = tally(2);
        tally.agrees(NodeId::new(1), line());
        tally.differs(NodeId::new(2), THEIRS);
        assert!(!tally.is_agreed());
        assert!(tally.leader_diverged().is_none() && tally.diverged().is_empty());
    }

    #[test]
    fn the_leaders_own_root_is_no_other_root() {
        let mut tally = tally(1);
        tally.differs(NodeId::new(1), OURS);
        assert!(tally.leader_diverged().is_none());
    }
}
