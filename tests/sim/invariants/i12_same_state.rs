//! I12: replicas at the same index have the same rolling state hash; a divergent node stops.
//!
//! Checked whenever a node applies an entry or installs a snapshot: size and state hash
//! after that entry are those of whoever came there first, but for a node whose state the
//! world has changed. That such a node stops is seen to by the world, which waits for that.
//! That the records are the same is checked by the mirror, byte for byte.

use super::Invariant;
use crate::facts::Fact;
use crate::mirror::Mirror;
use std::collections::BTreeMap;
use std::time::Duration;

#[derive(Default)]
pub struct SameState {
    judged: u64,
    first: BTreeMap<u64, (u64, [u8; 32], u64)>,
}

impl Invariant for SameState {
    fn name(&self) -> &'static str {
        "i12"
    }

    fn take(&mut self, mirror: &Mirror, fact: &Fact, _now: Duration) -> Result<(), String> {
        let Fact::Applied {
            node,
            raft_index,
            size,
            state_hash,
            ..
        } = fact
        else {
            return Ok(());
        };
        if mirror.diverged == Some(*node) {
            return Ok(());
        }
        let state = (*size, *state_hash, *node);
        let first = *self.first.entry(*raft_index).or_insert(state);
        if (first.0, first.1) != (state.0, state.1) {
            return Err(format!(
                "after entry {raft_index} nodes {} and {node} differ (sizes {} and {size})",
                first.2, first.0
            ));
        }
        self.judged += u64::from(first.2 != *node);
        Ok(())
    }

    fn judged(&self) -> u64 {
        self.judged
    }
}
