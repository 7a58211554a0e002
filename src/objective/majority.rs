//! What a majority of the voters says: nobody is believed alone.
//!
//! Promises that learners and strangers do not count, and nobody twice. Leaves what follows
//! from a majority to whoever asks.

use crate::domain::ids::NodeId;
use std::collections::BTreeSet;

/// Whether these nodes are more than half of the voters.
pub fn is_majority(voters: &BTreeSet<NodeId>, nodes: impl IntoIterator<Item = NodeId>) -> bool {
    let agreeing: BTreeSet<NodeId> = nodes.into_iter().filter(|n| voters.contains(n)).collect();
    2 * agreeing.len() > voters.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn learners_do_not_count_and_nobody_twice() {
        let nodes = |of: &[u64]| of.iter().copied().map(NodeId::new).collect::<Vec<_>>();
        let voters: BTreeSet<NodeId> = nodes(&[1, 2, 3]).into_iter().collect();
        assert!(is_majority(&voters, nodes(&[1, 3])));
        assert!(!is_majority(&voters, nodes(&[1, 1, 9])));
        assert!(!is_majority(&BTreeSet::new(), nodes(&[1])));
    }
}
