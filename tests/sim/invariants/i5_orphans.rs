//! I5: orphans are collected by log order, never by wall clock: a commit needs an upload
//! epoch of E-1 at least, collection one of E-2 at most, and a holder refuses stamps below
//! its own E-1.
//!
//! Checked: a sealed body goes only once the state applied at its node is two epochs past
//! its stamp; no body that an OK record names is ever collected; no OK record names a body
//! by the holding of a node that has collected it.

use super::Invariant;
use crate::facts::{BodyId, Event, Fact};
use crate::mirror::Mirror;
use std::collections::BTreeSet;
use std::time::Duration;

#[derive(Default)]
pub struct Orphans {
    judged: u64,
    collected: BTreeSet<(u64, BodyId)>,
}

impl Invariant for Orphans {
    fn name(&self) -> &'static str {
        "i5"
    }

    fn take(&mut self, mirror: &Mirror, fact: &Fact, _now: Duration) -> Result<(), String> {
        match fact {
            Fact::BodyDeleted {
                node,
                body,
                sealed,
                stamp,
            } => {
                if let (true, Some(index)) = (*sealed, mirror.named.get(body)) {
                    return Err(format!("node {node} deletes the body of record {index}"));
                }
                self.collected.insert((*node, *body));
                let present = mirror.nodes[node].state().head.upload_epoch;
                if let (true, Some(stamp)) = (*sealed, *stamp) {
                    if stamp + 2 > present.get() {
                        return Err(format!(
                            "node {node} collects a body of epoch {stamp} in epoch {present}"
                        ));
                    }
                    self.judged += 1;
                }
            }
            Fact::BodyHeld { node, body } => drop(self.collected.remove(&(*node, *body))),
            Fact::Raw(Event::Wiped { node }) => self.collected.retain(|(of, _)| of != node),
            Fact::Recorded(recorded) if recorded.is_ok() => {
                for holding in recorded.holdings() {
                    if self
                        .collected
                        .contains(&(holding.node.get(), holding.body_id))
                    {
                        let (index, node) = (recorded.record.index, holding.node);
                        return Err(format!(
                            "record {index} names a body that node {node} has collected"
                        ));
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn judged(&self) -> u64 {
        self.judged
    }
}
