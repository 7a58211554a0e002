//! Whether those who are up can complete a change of the members. Pure.
//!
//! Promises: a change is let begin only while a majority of the voters before it, a majority
//! of the voters after it, and every member that is to count for more answer. One that could
//! not end would stand between PREPARE and ABORT for minutes, with no other change allowed,
//! and where Raft has begun to change, with no write acknowledged. Leaves asking them to its
//! caller; who goes away later is met by the change itself.

use crate::domain::ids::NodeId;
use crate::ledger::roles::{ModeRow, Target};
use std::collections::BTreeSet;

/// Members that count for more afterwards: new voters, and learners that are to count.
pub fn rising(from: &[NodeId], row: &ModeRow, target: &Target) -> BTreeSet<NodeId> {
    let votes = target.voters.iter().filter(|node| !from.contains(node));
    let counted = |node: &&NodeId| from.contains(node) || row.sync_learners.contains(node);
    let counts = target.sync_learners.iter().filter(|node| !counted(node));
    votes.chain(counts).copied().collect()
}

/// Why a change could not be completed, if so.
pub fn judge(
    from: &[NodeId],
    target: &Target,
    rising: &BTreeSet<NodeId>,
    up: &BTreeSet<NodeId>,
) -> Result<(), String> {
    for (when, voters) in [("before", from), ("after", &target.voters[..])] {
        let answer = voters.iter().filter(|node| up.contains(node)).count();
        let needed = voters.len() / 2 + 1;
        if answer < needed {
            return Err(format!(
                "{answer} of the {} voters {when} the change answer, and {needed} are needed: {}",
                voters.len(),
                silent(voters, up)
            ));
        }
    }
    let coming: Vec<NodeId> = rising.iter().copied().collect();
    match coming.iter().all(|node| up.contains(node)) {
        true => Ok(()),
        false => Err(silent(&coming, up)),
    }
}

fn silent(nodes: &[NodeId], up: &BTreeSet<NodeId>) -> String {
    let silent = nodes.iter().filter(|node| !up.contains(node));
    let said: Vec<String> = silent
        .map(|node| format!("node {node} does not answer"))
        .collect();
    said.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(ids: &[u64]) -> Vec<NodeId> {
        ids.iter().copied().map(NodeId::new).collect()
    }

    /// A change from voters 1, 2, 3, with node 4 a learner.
    fn judged(voters: &[u64], sync: &[u64], up: &[u64]) -> Result<(), String> {
        let from = nodes(&[1, 2, 3]);
        let target = Target {
            voters: nodes(voters),
            sync_learners: nodes(sync),
            async_learners: Vec::new(),
        };
        let rising = rising(&from, &ModeRow::default(), &target);
        judge(&from, &target, &rising, &nodes(up).into_iter().collect())
    }

    #[test]
    fn a_change_begins_only_if_those_who_are_up_can_complete_it() {
        // A dead voter may be removed or replaced.
        assert_eq!(judged(&[1, 2], &[], &[1, 2]), Ok(()));
        assert_eq!(judged(&[1, 2, 4], &[], &[1, 2, 4]), Ok(()));
        // Not a living one beside it.
        let why = judged(&[1, 3], &[], &[1, 2]).unwrap_err();
        assert!(why.contains("1 of the 2 voters after"), "{why}");
        assert!(why.contains("node 3 does not answer"), "{why}");
        let why = judged(&[1, 2, 3, 4], &[], &[1, 4]).unwrap_err();
        assert!(why.contains("1 of the 3 voters before"), "{why}");
        // Who is to count for more has to be there; who only learns has not.
        let why = judged(&[1, 2, 3], &[4], &[1, 2, 3]).unwrap_err();
        assert_eq!(why, "node 4 does not answer");
        assert!(judged(&[1, 2, 3, 4], &[], &[1, 2, 3]).is_err());
        assert_eq!(judged(&[1, 2, 3], &[], &[1, 2]), Ok(()));
    }
}
