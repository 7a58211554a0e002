//! I1: a committed invoice's body is fsynced on at least a majority of the voters, which
//! meets the level's zones.
//!
//! Checked when a record with outcome OK is applied first: each body that it names must by
//! then have been durable, whole, on enough nodes, whatever the holdings say. A copy that
//! the world has destroyed or damaged since counts: the promise is about what was written.

use super::Invariant;
use crate::facts::Fact;
use crate::mirror::Mirror;
use std::collections::BTreeSet;
use std::time::Duration;

#[derive(Default)]
pub struct BodiesSafe {
    judged: u64,
}

impl Invariant for BodiesSafe {
    fn name(&self) -> &'static str {
        "i1"
    }

    fn take(&mut self, mirror: &Mirror, fact: &Fact, _now: Duration) -> Result<(), String> {
        let Fact::Recorded(recorded) = fact else {
            return Ok(());
        };
        if !recorded.is_ok() {
            return Ok(());
        }
        for rendition in recorded.renditions() {
            let nodes = mirror.nodes.keys().copied();
            let holders: BTreeSet<u64> = nodes
                .filter(|node| mirror.holds(*node, &rendition.body_id))
                .collect();
            if let Some(why) = recorded.unmet(&holders) {
                let index = recorded.record.index;
                return Err(format!("the body of record {index} is not safe: {why}"));
            }
            self.judged += 1;
        }
        Ok(())
    }

    fn judged(&self) -> u64 {
        self.judged
    }
}
