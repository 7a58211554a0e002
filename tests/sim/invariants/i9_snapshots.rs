//! I9: a snapshot is replicated keys, never another node's vote, log or identity; install
//! writes a new generation and flips it in one synced batch.
//!
//! Checked: a batch that writes below a generation that is not in force writes nothing
//! else; the batch that flips writes nothing else, and flips to the newest generation begun;
//! a generation that was deleted, or that a newer one was begun after, is never written
//! again, whatever crashed meanwhile; the generation before goes only when the flip is durable; the index that is in force never goes back by an install. That the
//! installed state is the others' state is I12.

use super::Invariant;
use crate::facts::{Event, Fact};
use crate::mirror::Mirror;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

#[derive(Default)]
pub struct Snapshots {
    judged: u64,
    /// Node to the index that it has applied.
    applied: BTreeMap<u64, u64>,
    /// Node to the newest generation that it has written or flipped to.
    newest: BTreeMap<u64, u32>,
    /// Node and generation that is gone.
    gone: BTreeSet<(u64, u32)>,
}

impl Invariant for Snapshots {
    fn name(&self) -> &'static str {
        "i9"
    }

    fn take(&mut self, _mirror: &Mirror, fact: &Fact, _now: Duration) -> Result<(), String> {
        match fact {
            Fact::PieceWritten {
                node,
                generation,
                others,
            } if *others > 0 => Err(format!(
                "node {node} writes {others} other keys beside generation {generation}"
            )),
            Fact::PieceWritten {
                node, generation, ..
            } => {
                let newest = self.newest.entry(*node).or_default();
                if *generation < *newest || self.gone.contains(&(*node, *generation)) {
                    return Err(format!(
                        "node {node} writes generation {generation} again, after {newest}"
                    ));
                }
                *newest = *generation;
                Ok(())
            }
            Fact::Flipped {
                node,
                from,
                to,
                others,
            } => {
                if *others > 0 || *to <= *from || Some(to) != self.newest.get(node) {
                    return Err(format!(
                        "node {node} flips from {from} to {to} with {others} other keys"
                    ));
                }
                self.judged += 1;
                Ok(())
            }
            Fact::GenerationDeleted {
                node,
                generation,
                durable,
            } if generation == durable => Err(format!(
                "node {node} deletes generation {generation}, which is in force"
            )),
            Fact::GenerationDeleted {
                node, generation, ..
            } => {
                self.gone.insert((*node, *generation));
                Ok(())
            }
            Fact::Applied {
                node,
                raft_index,
                installed,
                ..
            } => {
                let before = self.applied.insert(*node, *raft_index).unwrap_or(0);
                if *installed && *raft_index < before {
                    return Err(format!(
                        "node {node} installs entry {raft_index} after {before}"
                    ));
                }
                Ok(())
            }
            // After a power cut entries are applied again.
            Fact::Raw(Event::Down { node, .. }) => {
                self.applied.remove(node);
                Ok(())
            }
            Fact::Raw(Event::Wiped { node }) => {
                self.applied.remove(node);
                self.newest.remove(node);
                self.gone.retain(|(of, _)| of != node);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn judged(&self) -> u64 {
        self.judged
    }
}
