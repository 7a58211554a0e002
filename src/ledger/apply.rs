//! A command becomes records: position, outcome, leaf, tree rows, head.
//!
//! Promises: the same command on the same state gives the same bytes on every replica;
//! every consumed seq leaves exactly one record, OK or not; no bytes of a command make it
//! fail, and what cannot be read keeps nothing beside it from being applied;
//! `committed_at_ms` never goes back; a step that would leave head and tree apart ends the
//! process. Leaves whether a kind may take effect to [`muniment_evidence::rules`], what it leaves
//! behind to `invoices` and its neighbours, lanes to `lanes`, and whether an opening can be read
//! to `openings`.
//!
//! Tests: `src/ledger/tests/scenario_tests.rs`, `src/ledger/tests/arbitrary_tests.rs`.

use super::lanes::{self, Admission};
use super::openings::{Shown, readable};
use super::past::Applied;
use super::rows::{DueRow, LedgerHead, VotersRow};
use super::tip::Tip;
use super::txn::Txn;
use super::{downloads, exceptions, founding, invoices, keys, membership, orders, policy, tables};
use crate::domain::command::{Answer, ProposedSubmission, ReceivedCommand};
use crate::domain::ids::{LogIndex, NodeId, RecordIndex, Term, TreeSize, UploadEpoch};
use crate::store::StoreError;
use muniment_evidence::endorsement::Place;
use muniment_evidence::opening::{Document, PlannedDocument};
use muniment_evidence::record::{Outcome, Reason, Record};
use muniment_evidence::rules;
use muniment_evidence::statement::{Kind, Statement};
use muniment_evidence::tree::leaf_hash;

/// Items due at one time: one leadership, and changes of members, which are rare.
const DUES_MAX: usize = 1024;

/// Where an entry stands in Raft's log, and the term that it was proposed in.
#[derive(Clone, Copy, Debug)]
pub struct EntryPlace {
    pub index: LogIndex,
    pub term: Term,
}

/// Applies one command that stands there; writes into `txn`, moves `tip`.
pub fn command(
    txn: &mut Txn<'_>,
    tip: &mut Tip,
    command: &ReceivedCommand,
    place: EntryPlace,
) -> Result<Vec<Answer>, StoreError> {
    let size_before = tip.head.size;
    let mut answers = Vec::with_capacity(command.submissions.len());
    for submission in &command.submissions {
        answers.push(match submission {
            Ok(proposed) => submit(txn, tip, proposed, command.proposed_at_ms, place.term)?,
            Err(_) => Answer::Unreadable,
        });
    }
    if tip.head.size > size_before {
        txn.put(tables::entry_end(tip.head.size), &place.index);
    }
    finish(txn, tip, size_before);
    Ok(answers)
}

/// A new leader's first entry: its leadership is due to be attested, and that of nobody
/// before it any more, since only the leader of a term can say so in an entry of the term.
pub fn leader(
    txn: &mut Txn<'_>,
    tip: &mut Tip,
    term: Term,
    log_index: LogIndex,
) -> Result<(), StoreError> {
    let size_before = tip.head.size;
    for (key, row) in txn.scan(&tables::dues(), DUES_MAX)? {
        if matches!(row, DueRow::Leader { .. }) {
            txn.delete(tables::due(LogIndex::new(key.number()?)));
        }
    }
    txn.put(tables::due(log_index), &DueRow::Leader { term });
    finish(txn, tip, size_before);
    Ok(())
}

/// A membership entry: the members are these from here on, and due to be attested.
pub fn membership(
    txn: &mut Txn<'_>,
    tip: &mut Tip,
    log_index: LogIndex,
    voters: Vec<Vec<NodeId>>,
    learners: Vec<NodeId>,
) {
    let size_before = tip.head.size;
    txn.put(tables::voters(), &VotersRow(voters.clone()));
    txn.put(
        tables::due(log_index),
        &DueRow::Membership { voters, learners },
    );
    finish(txn, tip, size_before);
}

/// Ends a step that began at this size: what the head says of the tree is so.
fn finish(txn: &mut Txn<'_>, tip: &mut Tip, size_before: TreeSize) {
    let (root_before, root) = (tip.head.root, tip.frontier.root());
    let grew = tip.head.size > size_before;
    assert_eq!(
        tip.frontier.size(),
        tip.head.size,
        "the tree has one leaf for each record"
    );
    assert!(
        size_before == TreeSize::EMPTY || grew == (root != root_before),
        "the root changes exactly when a record is added"
    );
    tip.head.root = root;
    tip.head.state_hash = txn.hash_writes(&tip.head.state_hash);
    txn.put(tables::head(), &tip.head);
}

fn submit(
    txn: &mut Txn<'_>,
    tip: &mut Tip,
    proposed: &ProposedSubmission,
    proposed_at_ms: u64,
    term: Term,
) -> Result<Answer, StoreError> {
    let submission = &proposed.submission;
    let statement = &submission.statement;
    let founding = statement.kind == Kind::Genesis;
    if founding != (tip.head.size == TreeSize::EMPTY) || statement.ledger != tip.head.ledger {
        return Ok(Answer::WrongLedger);
    }
    if !founding && !txn.has(&tables::node(statement.node))? {
        return Ok(Answer::WrongLedger);
    }
    let hash = statement.hash();
    if let Admission::Not(answer) = lanes::admit(txn, statement, &hash)? {
        return Ok(answer);
    }
    let index = tip.head.size.next_index();
    let mut record = Record {
        index,
        prev: tip.head.last_leaf,
        committed_at_ms: tip.head.committed_at_ms.max(proposed_at_ms),
        keys: tip.head.key_serial,
        outcome: Outcome::Ok,
        statement: statement.clone(),
        signature: submission.signature,
    };
    let founded_at = proposed.founded_at.unwrap_or(policy::FIRST_LEVEL);
    let founds =
        || policy::is_known_level(founded_at) && founding::is_sound(&record, &submission.document);
    if founding && !founds() {
        // A first record that is refused would be a ledger that nothing can be added to, and
        // one that no verifier takes a ledger without a proof.
        return Ok(Answer::Unreadable);
    }
    let shown = Shown::of(submission, &tip.head);
    let now = Now {
        index,
        committed_at_ms: record.committed_at_ms,
        term,
    };
    let (outcome, body_bytes) = decide(txn, &tip.head, proposed, shown, now)?;
    record.outcome = outcome;
    let leaf = leaf_hash(&record.encode());
    tip.head.key_serial = record.keys_through();
    txn.put(tables::record(index), &record);
    if let Some(document) = shown.document {
        txn.put(tables::document(index), document);
    }
    if let Some(actor) = shown.actor {
        txn.put(tables::actor(index), actor);
    }
    for row in tip.frontier.append(leaf) {
        txn.put(tables::tree_row(row.level, row.number), &row.hash);
    }
    lanes::take(txn, statement, hash, index, outcome)?;
    tip.head.size = index.size_through();
    tip.head.last_leaf = leaf;
    tip.head.committed_at_ms = record.committed_at_ms;
    if outcome == Outcome::Ok {
        // A statement may lie about lengths; a sum must not stop apply.
        tip.head.body_bytes = tip.head.body_bytes.saturating_add(body_bytes);
    }
    if statement.kind == Kind::Policy && outcome == Outcome::Ok {
        policy::take(
            &mut tip.head,
            &submission.document.bytes,
            record.committed_at_ms,
        );
    }
    if founding && outcome == Outcome::Ok {
        tip.head.ledger = leaf;
        // Not this replica's own: one that joins later applies this entry by other software.
        tip.head.feature_level = founded_at;
        tip.head.upload_epoch = UploadEpoch::default().next();
        if let Ok(Document::Genesis(genesis)) = Document::decode(&submission.document.bytes) {
            tip.head.origin = genesis.origin;
        }
    }
    Ok(Answer::Recorded { index, outcome })
}

/// The record that is being made.
#[derive(Clone, Copy)]
struct Now {
    index: RecordIndex,
    committed_at_ms: u64,
    /// Of its entry: whoever led it has proposed it.
    term: Term,
}

/// What the statement does, and its writes, with the bytes of the bodies that it names. A
/// statement that its kind does not allow to be so is refused; only storage can fail.
fn decide(
    txn: &mut Txn<'_>,
    head: &LedgerHead,
    proposed: &ProposedSubmission,
    shown: Shown<'_>,
    now: Now,
) -> Result<(Outcome, u64), StoreError> {
    let statement = &proposed.submission.statement;
    let content = match readable(head, statement, shown) {
        Ok(content) => content,
        Err(reason) => return Ok((Outcome::Refused(reason), 0)),
    };
    if let Some(reason) = proposed.refusal {
        return Ok((Outcome::Refused(reason), 0));
    }
    let place = Place {
        index: now.index,
        committed_at_ms: now.committed_at_ms,
    };
    let by_voters =
        content.needs_order() || matches!(content, Document::Policy(_) | Document::Mode(_));
    let entitled = !by_voters
        || (membership::votes(txn, statement.node)?
            && orders::is_willed(txn, head, &content, place)?);
    if !entitled {
        return Ok((Outcome::Refused(Reason::NotEntitled), 0));
    }
    let body_bytes = match &content {
        Document::Issue(d) | Document::Reverse(d) => {
            let lengths = d.renditions.iter().map(|r| r.length);
            lengths.fold(0, u64::saturating_add)
        }
        Document::AddRendition(d) => d.rendition.length,
        _ => 0,
    };
    let past = Applied {
        txn,
        head,
        term: now.term,
    };
    let decided = rules::decide(&past, statement, &content, place)?;
    let outcome = match decided {
        Outcome::Ok => take_effect(txn, head, statement, &content, place)?,
        Outcome::DuplicateOf(of) => {
            if let Document::Issue(issue) | Document::Reverse(issue) = &content {
                invoices::repeat(txn, statement.kind, issue, of)?;
            }
            decided
        }
        Outcome::Refused(_) => decided,
    };
    Ok((outcome, body_bytes))
}

/// What a statement that the rules let through leaves behind; some kinds have a say of their own.
fn take_effect(
    txn: &mut Txn<'_>,
    head: &LedgerHead,
    statement: &Statement,
    content: &Document,
    place: Place,
) -> Result<Outcome, StoreError> {
    let (node, index) = (statement.node, place.index);
    match content {
        Document::Genesis(genesis) => founding::genesis(txn, genesis),
        Document::Boot(boot) => return founding::boot(txn, node, boot, index),
        Document::Leader(leader) => founding::attest(txn, leader.log_index),
        Document::Membership(membership) => founding::attest(txn, membership.log_index),
        Document::Issue(issue) => invoices::enter(txn, issue, index, Kind::Issue),
        Document::Reverse(issue) => invoices::reverse(txn, issue, index)?,
        Document::AddRendition(add) => invoices::add_rendition(txn, add, index)?,
        Document::Void(void) => invoices::void(txn, void, index)?,
        Document::Download(download) => downloads::begin(txn, node, download, index),
        Document::DownloadEnd(ends) => downloads::end(txn, ends),
        Document::Anchor(_) | Document::Drill(_) | Document::Scrub(_) => {}
        Document::Key(change) => return keys::change(txn, change, index),
        Document::Policy(policy) => return Ok(policy::decide(head, policy, place.committed_at_ms)),
        Document::Mode(mode) => return membership::mode(txn, mode, index),
        Document::Planned(PlannedDocument::BodyLost(lost)) => exceptions::lose(txn, lost, index)?,
        Document::Planned(PlannedDocument::Waiver(waiver)) => exceptions::waive(txn, waiver, index),
        // What a node goes by is its own to say.
        Document::Planned(PlannedDocument::Config(_)) => {}
        // None of the other kinds is of a level that a ledger can have reached.
        Document::Planned(_) => return Ok(Outcome::Refused(Reason::FeatureLevel)),
    }
    Ok(Outcome::Ok)
}
