//! What every disk holds, followed write by write: now, and after a power cut.
//!
//! Promises that nothing is read from the disks: all follows from the events, so that a
//! check after each step costs what the step did and not what the run holds. Rot is no
//! event: a body that was held and then rotted still counts as held here, as the
//! invariants mean it. Leaves judging to them, and reading bytes to [`crate::rows`].

use crate::disk::{Visit, Which};
use crate::facts::{BodyId, Event, Fact, Recorded};
use crate::rows::{self, BodyImage, Generation, LedgerImage};
use crate::trace::digest;
use muniment::ledger::policy;
use muniment::ledger::rows::Row as _;
use muniment::raft::codec;
use muniment::raft::types::{Entry, EntryPayload};
use muniment::store::engine::{Batch, Op};
use muniment::store::keys;
use muniment_evidence::keychange::Action;
use muniment_evidence::mode::{ModeDocument, Phase};
use muniment_evidence::opening::{Document, Opening};
use muniment_evidence::record::{Outcome, Record};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

#[derive(Clone, Debug, Default)]
pub struct NodeMirror {
    now: LedgerImage,
    durable: LedgerImage,
    bodies: BTreeMap<BodyId, BodyImage>,
    durable_bodies: BTreeMap<BodyId, BodyImage>,
    /// What was durable on a disk that the world has taken away since.
    taken_away: LedgerImage,
    unsynced_ledger: VecDeque<Arc<Batch>>,
    unsynced_bodies: VecDeque<Arc<Batch>>,
    /// Bodies that were whole and durable here once, and were not deleted since.
    pub held: BTreeSet<BodyId>,
    pub up: bool,
    pub full: bool,
}

impl NodeMirror {
    pub fn state(&self) -> Generation {
        self.now.state()
    }

    pub fn durable_state(&self) -> Generation {
        self.durable.state()
    }

    /// Term of an entry in the log here.
    pub fn term_of(&self, index: u64) -> Option<u64> {
        self.now.log.get(&index).copied()
    }

    /// Whether a power cut leaves this entry here, in the log or in the state.
    pub fn has_durably(&self, index: u64, term: u64) -> bool {
        self.durable.has_entry(index, term)
    }

    /// Whether it was so when the world took the disk away.
    pub fn had_durably(&self, index: u64, term: u64) -> bool {
        self.taken_away.has_entry(index, term)
    }

    fn cut_power(&mut self, ledger: usize, bodies: usize) -> Result<(), String> {
        for batch in self.unsynced_ledger.drain(..).take(ledger) {
            self.durable.apply(&batch)?;
        }
        for batch in self.unsynced_bodies.drain(..).take(bodies) {
            for body in rows::apply_bodies(&mut self.durable_bodies, &batch)? {
                if self
                    .durable_bodies
                    .get(&body)
                    .is_some_and(BodyImage::is_whole)
                {
                    self.held.insert(body);
                }
            }
        }
        self.now = self.durable.clone();
        self.bodies = self.durable_bodies.clone();
        Ok(())
    }
}

/// What the records so far come to.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    pub upload_epoch: u64,
    /// Region and zone of each node.
    pub places: BTreeMap<u64, (String, String)>,
    /// The disk of each node's newest BOOT.
    pub disks: BTreeMap<u64, [u8; 16]>,
    /// The change of members in preparation: its PREPARE and what it says.
    pub preparing: Option<(u64, ModeDocument)>,
    pub sync_learners: Vec<u64>,
}

/// See the module.
#[derive(Default)]
pub struct Mirror {
    pub nodes: BTreeMap<u64, NodeMirror>,
    /// Digest of every record, as it was applied first.
    pub records: Vec<u64>,
    pub ledger: Ledger,
    /// Body to the index of the OK record that names it.
    pub named: BTreeMap<BodyId, u64>,
    /// The node whose state the world has changed, until another's is installed there.
    pub diverged: Option<u64>,
    logged: BTreeSet<(u64, u64)>,
}

impl Mirror {
    /// Follows one event; what it means, in order.
    pub fn follow(&mut self, event: &Event) -> Result<Vec<Fact>, String> {
        let mut facts = Vec::new();
        match event {
            Event::Wrote {
                node,
                which: Which::Ledger,
                visit,
                batch,
            } => {
                self.ledger_written(*node, *visit, batch, &mut facts)?;
                self.node(*node).unsynced_ledger.push_back(batch.clone());
            }
            Event::Wrote {
                node,
                which: Which::Bodies,
                visit,
                batch,
            } => {
                self.bodies_written(*node, batch, &mut facts)?;
                self.node(*node).unsynced_bodies.push_back(batch.clone());
                let (node, visit) = (*node, *visit);
                facts.push(Fact::Raw(Event::BodiesVisited { node, visit }));
            }
            Event::Synced { node, which } => self.synced(*node, *which, &mut facts)?,
            Event::Down { node, kept } => {
                let mirror = self.node(*node);
                mirror.up = false;
                if let Some((ledger, bodies)) = kept {
                    mirror.cut_power(*ledger, *bodies)?;
                }
            }
            Event::Up { node } => self.node(*node).up = true,
            Event::Wiped { node } => {
                let before = std::mem::take(self.node(*node));
                // A copy that is destroyed later was there when it counted.
                let fresh = NodeMirror {
                    held: before.held,
                    taken_away: before.durable,
                    ..NodeMirror::default()
                };
                self.nodes.insert(*node, fresh);
                self.diverged.take_if(|diverged| diverged == node);
            }
            Event::Diverged { node } => self.diverged = Some(*node),
            Event::Full { node, full } => self.node(*node).full = *full,
            _ => {}
        }
        if !matches!(event, Event::Wrote { .. }) {
            facts.push(Fact::Raw(event.clone()));
        }
        Ok(facts)
    }

    pub fn node(&mut self, node: u64) -> &mut NodeMirror {
        self.nodes.entry(node).or_default()
    }

    pub fn holds(&self, node: u64, body: &BodyId) -> bool {
        self.nodes
            .get(&node)
            .is_some_and(|mirror| mirror.held.contains(body))
    }

    fn synced(&mut self, node: u64, which: Which, facts: &mut Vec<Fact>) -> Result<(), String> {
        let mirror = self.node(node);
        match which {
            Which::Ledger => {
                mirror.durable = mirror.now.clone();
                mirror.unsynced_ledger.clear();
            }
            Which::Bodies => {
                for batch in std::mem::take(&mut mirror.unsynced_bodies) {
                    for body in rows::apply_bodies(&mut mirror.durable_bodies, &batch)? {
                        let image = mirror.durable_bodies.get(&body);
                        if image.is_some_and(BodyImage::is_whole) && mirror.held.insert(body) {
                            facts.push(Fact::BodyHeld { node, body });
                        }
                    }
                }
            }
        }
        Ok(())
    }

    fn bodies_written(
        &mut self,
        node: u64,
        batch: &Batch,
        facts: &mut Vec<Fact>,
    ) -> Result<(), String> {
        for op in &batch.ops {
            match op {
                Op::Put(key, value) if key.first() == Some(&b'c') => {
                    let body = key[1..].first_chunk().ok_or("a chunk of no body")?;
                    let body = BodyId::new(*body);
                    let number = rows::chunk(key)?;
                    facts.push(Fact::ChunkWritten {
                        node,
                        body,
                        number,
                        digest: digest(value),
                    });
                }
                Op::DeleteRange(start, _) if start.first() == Some(&b'c') => {
                    let body = start[1..].first_chunk().ok_or("chunks of no body")?;
                    let body = BodyId::new(*body);
                    let mirror = self.node(node);
                    mirror.held.remove(&body);
                    let image = mirror.bodies.get(&body).cloned().unwrap_or_default();
                    facts.push(Fact::BodyDeleted {
                        node,
                        body,
                        sealed: image.chunks.is_some(),
                        stamp: image.stamp,
                    });
                }
                _ => {}
            }
        }
        rows::apply_bodies(&mut self.node(node).bodies, batch)?;
        Ok(())
    }

    fn ledger_written(
        &mut self,
        node: u64,
        visit: Visit,
        batch: &Batch,
        facts: &mut Vec<Fact>,
    ) -> Result<(), String> {
        let image = &self.node(node).now;
        let (from, before) = (image.current, image.state());
        let durable = self.node(node).durable.current;
        let mut records: BTreeMap<u64, (&[u8], &[u8])> = BTreeMap::new();
        let (mut applied, mut piece, mut in_piece, mut flipped) = (false, None, 0, None);
        for op in &batch.ops {
            match op {
                Op::Put(key, value) if key == keys::GENERATION => {
                    flipped = Some(rows::generation(value)?);
                }
                Op::Put(key, _) if key == keys::VOTE => facts.push(Fact::VoteWritten { node }),
                Op::Put(key, value) if key.first() == Some(&b'L') => self.logged(value, facts)?,
                Op::Put(key, value) if key.first() == Some(&b'S') => {
                    let (generation, table, rest) = rows::state_key(key)?;
                    let is_record = table == rows::RECORD;
                    if generation != from {
                        (piece, in_piece) = (Some(generation), in_piece + 1);
                        if is_record {
                            self.same(node, rows::number(rest)?, value)?;
                        }
                        continue;
                    }
                    applied |= table == rows::APPLIED;
                    if is_record {
                        records.entry(rows::number(rest)?).or_default().0 = value;
                    } else if table == rows::DOCUMENT {
                        records.entry(rows::number(rest)?).or_default().1 = value;
                    }
                }
                Op::DeleteRange(start, end) if start.first() == Some(&b'S') => {
                    let numbers: Vec<u32> =
                        self.node(node).now.generations.keys().copied().collect();
                    for generation in numbers {
                        if rows::covers(start, end, generation) {
                            facts.push(Fact::GenerationDeleted {
                                node,
                                generation,
                                durable,
                            });
                        }
                    }
                }
                _ => {}
            }
        }
        if let Some(generation) = piece {
            let others = batch.ops.len() - in_piece;
            facts.push(Fact::PieceWritten {
                node,
                generation,
                others,
            });
        }
        self.node(node).now.apply(batch)?;
        let state = self.node(node).now.state();
        for (index, (record, document)) in records {
            if (index as usize) < self.records.len() {
                self.same(node, index, record)?;
            } else {
                let recorded = self.recorded(index, record, document, &before)?;
                facts.push(Fact::Recorded(recorded));
            }
        }
        if let Some(to) = flipped {
            self.diverged.take_if(|diverged| *diverged == node);
            facts.push(Fact::Flipped {
                node,
                from,
                to,
                others: batch.ops.len() - 1,
            });
        }
        if applied || flipped.is_some() {
            facts.push(Fact::Applied {
                node,
                visit,
                raft_index: state.raft_index,
                size: state.head.size.get(),
                state_hash: state.head.state_hash.0,
                installed: flipped.is_some(),
            });
        }
        Ok(())
    }

    /// A record that was applied before must be the same on every node.
    fn same(&self, node: u64, index: u64, record: &[u8]) -> Result<(), String> {
        match self.records.get(index as usize) {
            Some(first) if *first == digest(record) => Ok(()),
            _ => Err(format!(
                "node {node} has another record {index} than was applied first"
            )),
        }
    }

    fn recorded(
        &mut self,
        index: u64,
        record: &[u8],
        document: &[u8],
        before: &Generation,
    ) -> Result<Arc<Recorded>, String> {
        if index as usize != self.records.len() {
            return Err(format!(
                "record {index} follows {} records",
                self.records.len()
            ));
        }
        self.records.push(digest(record));
        let record = Record::decode(record).map_err(|error| error.to_string())?;
        let opening = Opening::decode(document).map_err(|error| error.to_string())?;
        let recorded = Arc::new(Recorded {
            document: Document::decode(&opening.bytes).ok(),
            ledger: self.ledger.clone(),
            members: before.members.clone(),
            record,
        });
        if recorded.record.outcome == Outcome::Ok
            && let Some(document) = &recorded.document
        {
            self.ledger
                .take(index, recorded.record.statement.node.get(), document);
            for rendition in recorded.renditions() {
                self.named.insert(rendition.body_id, index);
            }
        }
        Ok(recorded)
    }

    fn logged(&mut self, value: &[u8], facts: &mut Vec<Fact>) -> Result<(), String> {
        let entry: Entry = codec::decode(value).map_err(|error| format!("a log entry: {error}"))?;
        if let EntryPayload::Membership(membership) = &entry.payload {
            let (term, raft_index) = (
                entry.log_id.committed_leader_id().term,
                entry.log_id.index(),
            );
            if self.logged.insert((term, raft_index)) {
                let members = rows::members(membership);
                facts.push(Fact::MembersLogged { members });
            }
        }
        Ok(())
    }
}

impl Ledger {
    /// Takes an OK record in.
    fn take(&mut self, index: u64, node: u64, document: &Document) {
        match document {
            Document::Genesis(genesis) => {
                self.upload_epoch = 1;
                for member in &genesis.members {
                    let place = (member.region.clone(), member.zone.clone());
                    self.places.insert(member.node.get(), place);
                }
            }
            Document::Key(change) => {
                for change in &change.changes {
                    if change.action == Action::Add && change.role.is_nodes() {
                        let place = (change.region.clone(), change.zone.clone());
                        self.places.insert(change.node.get(), place);
                    }
                }
            }
            Document::Boot(boot) => drop(self.disks.insert(node, boot.incarnation)),
            Document::Policy(policy) => {
                for setting in &policy.settings {
                    if setting.name == policy::UPLOAD_EPOCH {
                        self.upload_epoch = setting.value;
                    }
                }
            }
            Document::Mode(mode) => match mode.phase {
                Phase::Prepare => self.preparing = Some((index, mode.clone())),
                Phase::Abort => self.preparing = None,
                Phase::Done => {
                    self.preparing = None;
                    let learners = mode.sync_learners.iter();
                    self.sync_learners = learners.map(|node| node.get()).collect();
                }
            },
            _ => {}
        }
    }
}
