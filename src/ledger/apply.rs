//! A command becomes records: position, outcome, leaf, tree rows, head.
//!
//! Promises: the same command on the same state gives the same bytes on every replica;
//! every consumed seq leaves exactly one record, OK or not; `committed_at_ms` never goes
//! back. Leaves what each kind does to `invoices` and `founding`, and lanes to `lanes`.

use super::lanes::{self, Admission};
use super::rows::{DueRow, Head, Row as _, VotersRow};
use super::txn::Txn;
use super::{founding, invoices, keys, membership, policy};
use crate::domain::command::{Answer, Command, Submission};
use crate::store::Error;
use crate::store::engine::View;
use crate::store::keys::{Generation, StateKey, Table};
use muniment_evidence::digest::Digest;
use muniment_evidence::opening::{Document, commit_actor, commit_document};
use muniment_evidence::record::{Outcome, Reason, Record};
use muniment_evidence::statement::{Kind, Lane, Mode};
use muniment_evidence::tree::{Frontier, Rows, TILE_WIDTH, leaf_hash};
use std::cell::RefCell;
use std::collections::HashMap;
use std::collections::hash_map::Entry;

/// The feature level of this software: what it can apply. New behaviour is gated by the
/// level in replicated state, so that replicas of two versions stay equal.
pub const FEATURE_LEVEL: u64 = 2;

/// Which feature level a kind needs.
pub fn feature_level_of(kind: Kind) -> u64 {
    match kind {
        Kind::Mode | Kind::Policy | Kind::Scrub | Kind::Drill => 2,
        _ => 1,
    }
}

pub fn head_key() -> Vec<u8> {
    StateKey::of(Table::Head).build()
}

pub fn voters_key() -> Vec<u8> {
    StateKey::of(Table::Voters).build()
}

pub fn due_key(log_index: u64) -> Vec<u8> {
    StateKey::of(Table::Due).u64(log_index).build()
}

/// The part of the state that is kept in memory between applies.
#[derive(Clone, Debug, Default)]
pub struct Edge {
    pub head: Head,
    pub frontier: Frontier,
}

impl Edge {
    /// Reads the head and recomputes the tree's right edge from its rows; a root other
    /// than the stored one is damage: such a node must neither serve nor sign.
    pub fn load(view: &dyn View, generation: Generation) -> Result<Edge, Error> {
        let Some(bytes) = view.get(&generation.key(&head_key()))? else {
            return Ok(Edge::default());
        };
        let head = Head::decode(&bytes)?;
        let frontier = Frontier::load(&StoredRows::new(view, generation), head.size)?;
        if frontier.root() != head.root {
            return Err(Error::corrupt(format!(
                "the evidence tree of size {} has root {} but {} was stored",
                head.size,
                frontier.root(),
                head.root
            )));
        }
        Ok(Edge { head, frontier })
    }
}

/// The tree's rows in the state. A tile that was read once is kept as long as this value:
/// a proof asks for several parts of the same few tiles.
pub struct StoredRows<'a> {
    view: &'a dyn View,
    generation: Generation,
    tiles: RefCell<HashMap<(u8, u64), Vec<Digest>>>,
}

impl<'a> StoredRows<'a> {
    pub fn new(view: &'a dyn View, generation: Generation) -> StoredRows<'a> {
        StoredRows {
            view,
            generation,
            tiles: RefCell::default(),
        }
    }

    /// The rows of a tile that are stored, however many.
    fn tile(&self, level: u8, tile: u64) -> Result<Vec<Digest>, Error> {
        let key = |index| self.generation.key(&row_key(level, index));
        let first = tile * TILE_WIDTH;
        let (start, end) = (key(first), key(first + TILE_WIDTH));
        let found = self.view.scan(&start, &end, TILE_WIDTH as usize)?;
        found
            .into_iter()
            .map(|(_, hash)| match hash.try_into() {
                Ok(hash) => Ok(Digest(hash)),
                Err(_) => Err(Error::corrupt("a tree row is not 32 bytes")),
            })
            .collect()
    }
}

impl Rows for StoredRows<'_> {
    type Error = Error;

    fn rows(&self, level: u8, first: u64, count: u64) -> Result<Vec<Digest>, Error> {
        let tile = (level, first / TILE_WIDTH);
        let mut tiles = self.tiles.borrow_mut();
        let rows = match tiles.entry(tile) {
            Entry::Occupied(read) => read.into_mut(),
            Entry::Vacant(unread) => unread.insert(self.tile(tile.0, tile.1)?),
        };
        let start = (first % TILE_WIDTH) as usize;
        rows.get(start..start + count as usize)
            .map(<[Digest]>::to_vec)
            .ok_or_else(|| {
                let end = first + count;
                Error::corrupt(format!(
                    "tree rows {first}..{end} of level {level} are missing"
                ))
            })
    }
}

fn row_key(level: u8, index: u64) -> Vec<u8> {
    StateKey::of(Table::Row).u8(level).u64(index).build()
}

/// Applies one command that stands at `raft_index`; writes into `txn`, moves `edge`.
pub fn command(
    txn: &mut Txn<'_>,
    edge: &mut Edge,
    command: &Command,
    raft_index: u64,
) -> Result<Vec<Answer>, Error> {
    let size_before = edge.head.size;
    let mut answers = Vec::with_capacity(command.submissions.len());
    for submission in &command.submissions {
        answers.push(submit(txn, edge, submission, command.proposed_at_ms)?);
    }
    if edge.head.size > size_before {
        let key = StateKey::of(Table::EntryEnd).u64(edge.head.size).build();
        txn.put(key, raft_index.to_be_bytes().to_vec());
    }
    finish(txn, edge);
    Ok(answers)
}

/// A new leader's first entry: its office is due to be attested.
pub fn leader(txn: &mut Txn<'_>, edge: &mut Edge, term: u64, log_index: u64) {
    txn.put_row(due_key(log_index), &DueRow::Leader { term });
    finish(txn, edge);
}

/// A membership entry: judged by from here on, and due to be attested.
pub fn membership(
    txn: &mut Txn<'_>,
    edge: &mut Edge,
    log_index: u64,
    voters: Vec<Vec<u64>>,
    learners: Vec<u64>,
) {
    txn.put_row(voters_key(), &VotersRow(voters.clone()));
    txn.put_row(due_key(log_index), &DueRow::Membership { voters, learners });
    finish(txn, edge);
}

fn finish(txn: &mut Txn<'_>, edge: &mut Edge) {
    edge.head.root = edge.frontier.root();
    edge.head.state_hash = txn.hash_writes(&edge.head.state_hash);
    txn.put_row(head_key(), &edge.head);
}

fn submit(
    txn: &mut Txn<'_>,
    edge: &mut Edge,
    submission: &Submission,
    proposed_at_ms: u64,
) -> Result<Answer, Error> {
    let statement = &submission.statement;
    let founding = statement.kind == Kind::Genesis;
    if founding != (edge.head.size == 0) || statement.ledger != edge.head.ledger {
        return Ok(Answer::WrongLedger);
    }
    if !founding && txn.get(&founding::node_key(statement.node))?.is_none() {
        return Ok(Answer::WrongLedger);
    }
    let hash = statement.hash();
    if let Admission::Not(answer) = lanes::admit(txn, statement, &hash)? {
        return Ok(answer);
    }
    let index = edge.head.size;
    let (outcome, body_bytes) = judge(txn, &edge.head, submission, index)?;
    let record = Record {
        index,
        prev: edge.head.last_leaf,
        committed_at_ms: edge.head.committed_at_ms.max(proposed_at_ms),
        outcome,
        statement: statement.clone(),
        signature: submission.signature,
    };
    let bytes = record.encode();
    let leaf = leaf_hash(&bytes);
    let at = |table| StateKey::of(table).u64(index).build();
    txn.put(at(Table::Record), bytes.to_vec());
    txn.put_row(at(Table::Document), &submission.document);
    txn.put_row(at(Table::Actor), &submission.actor);
    for row in edge.frontier.append(leaf) {
        txn.put(row_key(row.level, row.index), row.hash.0.to_vec());
    }
    lanes::take(txn, statement, hash, index, outcome)?;
    edge.head.size += 1;
    edge.head.last_leaf = leaf;
    edge.head.committed_at_ms = record.committed_at_ms;
    if outcome == Outcome::Ok && edge.head.feature_level >= 2 {
        // A statement may lie about lengths; a sum must not stop apply.
        edge.head.body_bytes = edge.head.body_bytes.saturating_add(body_bytes);
    }
    if statement.kind == Kind::Key && outcome == Outcome::Ok {
        edge.head.key_serial += 1;
    }
    if statement.kind == Kind::Policy && outcome == Outcome::Ok {
        policy::take(&mut edge.head, &submission.document.bytes);
    }
    if founding {
        edge.head.ledger = leaf;
        edge.head.feature_level = FEATURE_LEVEL;
        edge.head.upload_epoch = 1;
        if let Ok(Document::Genesis(genesis)) = Document::decode(&submission.document.bytes) {
            edge.head.origin = genesis.origin;
        }
    }
    Ok(Answer::Recorded { index, outcome })
}

/// What the statement does, and its writes, with the bytes of the bodies that it names. A
/// statement that its kind does not allow to be so is refused; only storage can fail.
fn judge(
    txn: &mut Txn<'_>,
    head: &Head,
    submission: &Submission,
    index: u64,
) -> Result<(Outcome, u64), Error> {
    let statement = &submission.statement;
    let (document, actor) = (&submission.document, &submission.actor);
    let committed = commit_document(&document.salt, &document.bytes) == statement.document
        && commit_actor(&actor.salt, &actor.bytes) == statement.actor;
    let right_lane = match statement.kind {
        Kind::Genesis | Kind::Boot => statement.lane == Lane::Boot,
        kind => match statement.lane {
            Lane::Boot => false,
            Lane::Strict(_) => true,
            // Below feature level 2 no such lane is ever opened.
            Lane::Outbox(_) => kind == Kind::Download && statement.mode == Mode::Deferred,
        },
    };
    let content = match Document::decode(&document.bytes) {
        Ok(content) if committed && right_lane && content.kind() == statement.kind => content,
        _ => return Ok((Outcome::Refused(Reason::Malformed), 0)),
    };
    // What raises the level must be taken below it: all nodes run this software by then.
    let raises = matches!(&content, Document::Policy(policy) if policy::raises_level(policy));
    if statement.kind != Kind::Genesis
        && !raises
        && feature_level_of(statement.kind) > head.feature_level
    {
        return Ok((Outcome::Refused(Reason::FeatureLevel), 0));
    }
    let body_bytes = match &content {
        Document::Issue(d) | Document::Reverse(d) => {
            let lengths = d.renditions.iter().map(|r| r.length);
            lengths.fold(0, u64::saturating_add)
        }
        Document::AddRendition(d) => d.rendition.length,
        _ => 0,
    };
    let outcome = match content {
        Document::Genesis(genesis) => founding::genesis(txn, &genesis),
        Document::Boot(boot) => founding::boot(txn, head, statement.node, &boot, index),
        Document::Leader(leader) => founding::leader(txn, &leader),
        Document::Membership(membership) => founding::membership(txn, &membership),
        Document::Issue(issue) => invoices::issue(txn, head, statement, &issue, index),
        Document::Reverse(issue) => invoices::reverse(txn, head, statement, &issue, index),
        Document::AddRendition(add) => invoices::add_rendition(txn, head, statement, &add, index),
        Document::Void(void) => invoices::void(txn, &void, index),
        Document::Download(download) => invoices::download(txn, &download, index),
        Document::DownloadEnd(_)
        | Document::Anchor(_)
        | Document::Drill(_)
        | Document::Scrub(_) => Ok(Outcome::Ok),
        Document::Key(change) => keys::change(txn, &change, index),
        Document::Policy(policy) => Ok(policy::judge(head, &policy)),
        Document::Mode(mode) => membership::mode(txn, &mode, index),
    };
    Ok((outcome?, body_bytes))
}
