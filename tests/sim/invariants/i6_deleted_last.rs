//! I6: the state that stops naming a body is durable before the body is deleted.
//!
//! Checked when a sealed body is deleted: what a power cut would leave of this node's
//! ledger right now is two upload epochs past the body's stamp already. Otherwise the node
//! could come back to a state in which the body may still be named.

use super::Invariant;
use crate::facts::Fact;
use crate::mirror::Mirror;
use std::time::Duration;

#[derive(Default)]
pub struct DeletedLast {
    judged: u64,
}

impl Invariant for DeletedLast {
    fn name(&self) -> &'static str {
        "i6"
    }

    fn take(&mut self, mirror: &Mirror, fact: &Fact, _now: Duration) -> Result<(), String> {
        let Fact::BodyDeleted {
            node,
            sealed: true,
            stamp: Some(stamp),
            ..
        } = fact
        else {
            return Ok(());
        };
        let durable = mirror.nodes[node].durable_state().head.upload_epoch;
        if stamp + 2 > durable.get() {
            return Err(format!(
                "node {node} deletes a body of epoch {stamp}; durable is epoch {durable}"
            ));
        }
        self.judged += 1;
        Ok(())
    }

    fn judged(&self) -> u64 {
        self.judged
    }
}
