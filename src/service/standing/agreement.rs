//! Whether replicas that applied the same have the same state (I12): pure counting.
//!
//! The leader compares each standing with its own rolling state hash at the same index.
//! Promises: nobody is believed alone. A node is astray only when a majority of the voters
//! agrees with the leader, and the leader is only when a majority differs from it. Leaves
//! acting on it to the caller.

use crate::service::cosigning::tally::is_majority;
use std::collections::{BTreeMap, BTreeSet};

/// What a comparison said last, by node.
#[derive(Clone, Debug, Default)]
pub struct Agreement(BTreeMap<u64, Compared>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Compared {
    same: bool,
    at: u64,
}

/// What follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Nothing,
    /// The node has another state than a majority, at this index.
    Astray(u64),
    /// The leader itself has.
    Outvoted(u64),
}

impl Agreement {
    /// Takes a comparison of a node with the leader, and judges.
    pub fn compare(
        &mut self,
        leader: u64,
        voters: &BTreeSet<u64>,
        node: u64,
        at: u64,
        same: bool,
    ) -> Verdict {
        self.0.insert(node, Compared { same, at });
        if same {
            return Verdict::Nothing;
        }
        let of = |same| {
            let chosen = self.0.iter().filter(move |(_, c)| c.same == same);
            chosen.map(|(node, _)| *node)
        };
        if is_majority(voters, of(true).chain([leader])) {
            Verdict::Astray(at)
        } else if is_majority(voters, of(false)) {
            Verdict::Outvoted(at)
        } else {
            Verdict::Nothing
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i12_a_divergent_node_is_named_only_by_a_majority() {
        let voters = BTreeSet::from([1, 2, 3]);
        let mut agreement = Agreement::default();
        // Two that differ, and no third voice yet: nobody is believed alone.
        assert_eq!(
            agreement.compare(1, &voters, 2, 10, false),
            Verdict::Nothing
        );
        assert_eq!(agreement.compare(1, &voters, 3, 10, true), Verdict::Nothing);
        assert_eq!(
            agreement.compare(1, &voters, 2, 11, false),
            Verdict::Astray(11)
        );
        // Both others differ: it is the leader.
        let mut agreement = Agreement::default();
        agreement.compare(1, &voters, 2, 10, false);
        assert_eq!(
            agreement.compare(1, &voters, 3, 12, false),
            Verdict::Outvoted(12)
        );
        // A learner's voice does not count.
        let mut agreement = Agreement::default();
        agreement.compare(1, &voters, 9, 10, true);
        assert_eq!(
            agreement.compare(1, &voters, 2, 10, false),
            Verdict::Nothing
        );
    }
}
