//! I10: each chunk is checked before it is sent; a bad one is quarantined, served from
//! another holder, repaired, and recorded (SCRUB).
//!
//! Checked: every chunk that a node gives to another, and every chunk that a node writes,
//! is what was written first of it. That a reader is never given a wrong byte is compared
//! by the callers; that what was found is repaired and recorded is judged at the end.

use super::Invariant;
use crate::facts::{BodyId, Event, Fact};
use crate::mirror::Mirror;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

#[derive(Default)]
pub struct ChunksChecked {
    judged: u64,
    first: BTreeMap<(BodyId, u32), u64>,
    good: BTreeSet<u64>,
}

impl Invariant for ChunksChecked {
    fn name(&self) -> &'static str {
        "i10"
    }

    fn take(&mut self, _mirror: &Mirror, fact: &Fact, _now: Duration) -> Result<(), String> {
        match fact {
            Fact::ChunkWritten {
                node,
                body,
                number,
                digest,
                ..
            } => {
                let first = *self.first.entry((*body, *number)).or_insert(*digest);
                self.good.insert(*digest);
                if first != *digest {
                    return Err(format!(
                        "node {node} writes another chunk {number} of a body"
                    ));
                }
            }
            Fact::Raw(Event::ChunkSent { node, digest }) => {
                if !self.good.contains(digest) {
                    return Err(format!("node {node} gives out a chunk that nobody wrote"));
                }
                self.judged += 1;
            }
            _ => {}
        }
        Ok(())
    }

    fn judged(&self) -> u64 {
        self.judged
    }
}
