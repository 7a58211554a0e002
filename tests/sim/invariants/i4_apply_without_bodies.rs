//! I4: apply never reads, waits for or panics on a body.
//!
//! Checked: the visit to the disk that applies an entry touches no body, neither before nor
//! after the entry's own batch. That apply does not wait for bodies either shows in how
//! often a replica applies an ISSUE whose body it does not hold: a run without that has
//! checked nothing, which the count of all runs tells.

use super::Invariant;
use crate::disk::Visit;
use crate::facts::{Event, Fact};
use crate::mirror::Mirror;
use std::collections::BTreeMap;
use std::time::Duration;

#[derive(Default)]
pub struct ApplyWithoutBodies {
    judged: u64,
    /// The last visit of each node that touched bodies, and the last that applied.
    bodies: BTreeMap<u64, Visit>,
    applying: BTreeMap<u64, Visit>,
}

impl Invariant for ApplyWithoutBodies {
    fn name(&self) -> &'static str {
        "i4"
    }

    fn take(&mut self, mirror: &Mirror, fact: &Fact, _now: Duration) -> Result<(), String> {
        match fact {
            Fact::Raw(Event::BodiesVisited { node, visit }) => {
                if self.applying.get(node) == Some(visit) {
                    return Err(format!("node {node} touches a body while it applies"));
                }
                self.bodies.insert(*node, *visit);
            }
            Fact::Applied { node, visit, .. } => {
                if self.bodies.get(node) == Some(visit) {
                    return Err(format!("node {node} has touched a body to apply an entry"));
                }
                self.applying.insert(*node, *visit);
            }
            Fact::Recorded(recorded) if recorded.is_ok() => {
                let without = mirror.nodes.values().filter(|node| {
                    let mut renditions = recorded.renditions().iter();
                    renditions.any(|rendition| !node.held.contains(&rendition.body_id))
                });
                self.judged += u64::from(without.count() > 0);
            }
            _ => {}
        }
        Ok(())
    }

    fn judged(&self) -> u64 {
        self.judged
    }
}
