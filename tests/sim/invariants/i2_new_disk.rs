//! I2: a wiped or restored disk has a new incarnation; its old holdings are void; it joins
//! under a new node id.
//!
//! Checked: no node is ever on record with two disks, so a wiped one does not come back
//! under its old id; no record with outcome OK needs a holding of another disk than that of
//! its node's BOOT; what a wiped disk says counts for nothing in Raft: an entry is applied
//! anywhere only once it is durable on a majority of the voters, where a wiped one counts
//! with what its lost disk had; and a wiped node that is started again is told and ends.

use super::Invariant;
use crate::facts::{Event, Fact};
use crate::mirror::Mirror;
use muniment_evidence::opening::Document;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// A wiped node that is up has met the others by then, and is told.
const TOLD_MAX: Duration = Duration::from_secs(20);

#[derive(Default)]
pub struct NewDisk {
    judged: u64,
    disks: BTreeMap<u64, [u8; 16]>,
    /// Wiped nodes, and since when they are up again.
    wiped: BTreeMap<u64, Option<Duration>>,
    /// The highest entry that was applied anywhere.
    applied: u64,
    /// The voters of the membership entry logged last.
    logged: Vec<BTreeSet<u64>>,
}

impl NewDisk {
    /// An entry is applied for the first time: enough disks have it.
    fn committed(&mut self, mirror: &Mirror, node: u64, index: u64) -> Result<(), String> {
        if index <= self.applied {
            return Ok(());
        }
        self.applied = index;
        let Some(term) = mirror.nodes[&node].term_of(index) else {
            return Ok(());
        };
        let has = |of: &&u64| {
            let image = mirror.nodes.get(of);
            image.is_some_and(|image| match self.wiped.contains_key(of) {
                true => image.had_durably(index, term),
                false => image.has_durably(index, term),
            })
        };
        let majority = |set: &BTreeSet<u64>| 2 * set.iter().filter(has).count() > set.len();
        let sets = mirror.nodes[&node].state().members.voters;
        self.judged += 1;
        if sets.iter().all(majority) || self.logged.iter().any(majority) {
            return Ok(());
        }
        Err(format!(
            "node {node} applies entry {index} of term {term}, which no majority of {sets:?} \
             has durably"
        ))
    }
}

impl Invariant for NewDisk {
    fn name(&self) -> &'static str {
        "i2"
    }

    fn take(&mut self, mirror: &Mirror, fact: &Fact, now: Duration) -> Result<(), String> {
        match fact {
            Fact::Raw(Event::Wiped { node }) => drop(self.wiped.insert(*node, None)),
            Fact::Raw(Event::Up { node }) => {
                self.wiped
                    .entry(*node)
                    .and_modify(|since| *since = Some(now));
            }
            Fact::Raw(Event::Down { node, .. }) => {
                self.wiped.entry(*node).and_modify(|since| *since = None);
            }
            Fact::MembersLogged { members, .. } => self.logged.clone_from(&members.voters),
            Fact::Recorded(recorded) if recorded.is_ok() => {
                let node = recorded.record.statement.node;
                if let Some(Document::Boot(boot)) = &recorded.document {
                    let first = *self.disks.entry(node.get()).or_insert(boot.incarnation);
                    if first != boot.incarnation {
                        return Err(format!("node {node} has booted from two disks"));
                    }
                    self.judged += 1;
                }
                let void: BTreeSet<u64> = recorded
                    .holdings()
                    .iter()
                    .filter(|h| recorded.ledger.disks.get(&h.node.get()) != Some(&h.incarnation))
                    .map(|holding| holding.node.get())
                    .collect();
                let good: BTreeSet<u64> = recorded
                    .holdings()
                    .iter()
                    .map(|holding| holding.node.get())
                    .filter(|node| !void.contains(node))
                    .collect();
                if !recorded.holdings().is_empty()
                    && let Some(why) = recorded.unmet(&good)
                {
                    let index = recorded.record.index;
                    return Err(format!("record {index} counts holdings of {void:?}: {why}"));
                }
            }
            Fact::Applied {
                node, raft_index, ..
            } => {
                return self.committed(mirror, *node, *raft_index);
            }
            _ => {}
        }
        Ok(())
    }

    fn step(&mut self, _mirror: &Mirror, now: Duration) -> Result<(), String> {
        let told = |since: &Option<Duration>| since.is_none_or(|since| now <= since + TOLD_MAX);
        match self.wiped.iter().find(|(_, since)| !told(since)) {
            Some((node, _)) => Err(format!("node {node} runs on with a new disk")),
            None => Ok(()),
        }
    }

    fn judged(&self) -> u64 {
        self.judged
    }
}
