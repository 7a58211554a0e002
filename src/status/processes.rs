//! Which processes speak as a node, told apart by what each drew when it started.
//!
//! A node that is started again is another process, and the one before is heard no more. Where
//! both go on, two run under one identity, such as a node and a copy of its disk. Promises: that
//! is noticed wherever both are heard, and nothing is concluded from a word that was late. Leaves
//! to its caller whom to hear, to the ledger which of them booted last, and to an operator
//! which is the copy.

use crate::domain::ids::NodeId;
use crate::sync::Shared;
use std::collections::{BTreeMap, VecDeque};

/// What a process drew when it started.
pub type Process = [u8; 16];

/// Processes remembered of a node: more than it is started between two looks of an operator.
const KEPT_MAX: usize = 8;
/// Words of a process after which it surely runs beside its successor: one or two may have been
/// on their way when it ended.
const LATE_MAX: u32 = 3;

/// Of each node, oldest first: the processes, and how often each was heard after its successor.
#[derive(Clone, Default)]
pub struct Processes(Shared<BTreeMap<NodeId, VecDeque<(Process, u32)>>>);

impl Processes {
    /// Hears a process of a node; whether it runs beside one that was started later.
    pub fn hear(&self, node: NodeId, process: Process) -> bool {
        let mut all = self.0.lock();
        let of_node = all.entry(node).or_default();
        let newest = of_node.back().map(|(newest, _)| *newest);
        if newest == Some(process) {
            return false;
        }
        if let Some((_, late)) = of_node.iter_mut().find(|(known, _)| *known == process) {
            *late += 1;
            return *late > LATE_MAX;
        }
        if of_node.len() == KEPT_MAX {
            of_node.pop_front();
        }
        of_node.push_back((process, 0));
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restart_is_one_process_after_the_other_and_a_copy_is_two_at_a_time() {
        let (processes, node) = (Processes::default(), NodeId::new(3));
        let hear = |process: u8| processes.hear(node, [process; 16]);
        for process in 0..20 {
            assert!(!hear(process) && !hear(process));
        }
        // Two words of the one before were on their way.
        assert!(!hear(18) && !hear(18) && !hear(19));
        // Another node's process is another matter.
        assert!(!processes.hear(NodeId::new(2), [18; 16]));
        let twins: Vec<bool> = (0..10).map(|n| hear(19 - n % 2)).collect();
        assert!(twins[3..].contains(&true), "{twins:?}");
    }
}
