//! A ledger that takes commands, each held against what its lanes say beforehand.
//!
//! Promises: what has a readable statement, a lane that is open and the lane's next number
//! leaves exactly one record, which is that statement; all else uses up no number and leaves
//! the ledger as it was, but for the hash of its steps; a command leaves the records that its
//! submissions leave one by one. What lanes say is read here anew, by the glossary's words,
//! and not asked of the code that decides. Leaves making commands to [`super::program`].

use crate::Reached;
use muniment::domain::command::{Answer, ProposedSubmission, ReceivedCommand};
use muniment::domain::ids::{LogIndex, NodeId, RecordIndex, Term, TreeSize};
use muniment::ledger::apply::{self, EntryPlace};
use muniment::ledger::rows::{LaneRow, LedgerHead};
use muniment::ledger::state::Tables;
use muniment::ledger::tables;
use muniment::ledger::tip::Tip;
use muniment::ledger::txn::Txn;
use muniment::store::engine::{Batch, Engine as _, Pair, View as _};
use muniment::store::keys::Generation;
use muniment::store::memory::MemoryEngine;
use muniment_evidence::digest::Digest;
use muniment_evidence::opening::{Document, commit_actor, commit_document};
use muniment_evidence::record::Outcome;
use muniment_evidence::statement::{Kind, Lane, Statement};
use muniment_evidence::tree::Frontier;

/// No state is installed over another here, so that there is one generation.
const GENERATION: Generation = Generation(0);

pub(crate) struct Running {
    engine: MemoryEngine,
    pub tip: Tip,
    log_index: u64,
    pub term: u64,
    /// Where the input began: records and their tree up to here are known to be whole.
    begun: Tip,
}

impl Running {
    pub fn empty() -> Running {
        Running {
            engine: MemoryEngine::new(),
            tip: Tip::default(),
            log_index: 0,
            term: 1,
            begun: Tip::default(),
        }
    }

    /// Another of the same state, which begins here.
    pub fn copy(&self) -> Running {
        let (mut batch, engine) = (Batch::new(), MemoryEngine::new());
        for (key, value) in self.rows() {
            batch.put(key, value);
        }
        engine.write(batch).expect("memory takes it");
        Running {
            engine,
            tip: self.tip.clone(),
            begun: self.tip.clone(),
            ..*self
        }
    }

    fn rows(&self) -> Vec<Pair> {
        let (start, end) = GENERATION.range();
        let rows = self.engine.scan(&start, &end, usize::MAX);
        rows.expect("memory is read")
    }

    pub fn tables(&self) -> Tables<'_> {
        Tables::of(&self.engine).expect("memory is read")
    }

    pub fn head(&self) -> &LedgerHead {
        &self.tip.head
    }

    /// The lane as it stands; what was never opened is closed.
    pub fn lane(&self, node: NodeId, lane: Lane) -> LaneRow {
        let row = self.tables().lane(node, lane).expect("a row that reads");
        row.unwrap_or(LaneRow {
            closed: lane != Lane::Boot,
            ..LaneRow::default()
        })
    }

    /// Raft's members, as an entry of its log says.
    pub fn members(&mut self, voters: Vec<Vec<NodeId>>, learners: Vec<NodeId>) -> LogIndex {
        let at = self.next_entry();
        let mut txn = Txn::begin(&self.engine, GENERATION);
        apply::membership(&mut txn, &mut self.tip, at, voters, learners);
        self.engine
            .write(txn.into_batch())
            .expect("memory takes it");
        at
    }

    /// A new leader's first entry.
    pub fn lead(&mut self, term: u64) -> LogIndex {
        let at = self.next_entry();
        self.term = term;
        let mut txn = Txn::begin(&self.engine, GENERATION);
        apply::leader(&mut txn, &mut self.tip, Term::new(term), at).expect("memory does not fail");
        self.engine
            .write(txn.into_batch())
            .expect("memory takes it");
        at
    }

    fn next_entry(&mut self) -> LogIndex {
        self.log_index += 1;
        LogIndex::new(self.log_index)
    }

    /// A command, in one piece and by its submissions.
    pub fn take(&mut self, command: &ReceivedCommand) {
        let whole = (command.submissions.len() > 1).then(|| {
            let mut whole = self.copy();
            let answers = whole.commit(command);
            (answers, whole)
        });
        let alone = command
            .submissions
            .iter()
            .map(|submission| ReceivedCommand {
                proposed_at_ms: command.proposed_at_ms,
                submissions: vec![submission.clone()],
            });
        let alone: Vec<Answer> = alone.map(|one| self.take_one(&one)).collect();
        if let Some((answers, whole)) = whole {
            assert_eq!(answers, alone, "the neighbours in an entry count");
            assert_eq!(in_steps(whole.head()), in_steps(self.head()));
            assert_eq!(whole.tip.frontier, self.tip.frontier);
        }
        if command.submissions.is_empty() {
            let before = self.head().clone();
            assert!(self.commit(command).is_empty());
            assert_eq!(in_steps(self.head()), in_steps(&before));
        }
    }

    fn take_one(&mut self, command: &ReceivedCommand) -> Answer {
        let submission = command.submissions[0].as_ref().ok();
        let statement = submission.map(|proposed| &proposed.submission.statement);
        let takes = submission.is_some_and(|proposed| self.is_next(proposed));
        let lane = |running: &Running| {
            statement.map(|statement| running.lane(statement.node, statement.lane))
        };
        let (before, lane_before) = (self.head().clone(), lane(self));
        let answers = self.commit(command);
        let [answer] = answers[..] else {
            panic!("one submission has {} answers", answers.len());
        };
        let after = self.head();
        if let (true, Some(statement)) = (takes, statement) {
            let index = before.size.next_index();
            assert_eq!(
                after.size,
                index.size_through(),
                "{answer:?} to {statement:?}"
            );
            let recorded = matches!(answer, Answer::Recorded { index: at, .. } if at == index);
            assert!(recorded, "{answer:?} to {statement:?}");
            self.is_at(index, statement);
            let row = self.lane(statement.node, statement.lane);
            let taken = (statement.seq.next(), statement.hash());
            assert_eq!((row.next_seq, row.last), taken);
        } else {
            assert_eq!(in_steps(after), in_steps(&before), "{answer:?}");
            assert_eq!(lane(self), lane_before);
            if let (Answer::Recorded { index, .. }, Some(statement)) = (answer, statement) {
                assert!(before.size.contains(index));
                self.is_at(index, statement);
            }
        }
        answer
    }

    fn is_at(&self, index: RecordIndex, statement: &Statement) {
        let record = self.tables().expect_record(index).expect("the record");
        assert_eq!(record.statement, *statement);
    }

    pub fn commit(&mut self, command: &ReceivedCommand) -> Vec<Answer> {
        let place = EntryPlace {
            index: self.next_entry(),
            term: Term::new(self.term),
        };
        let mut txn = Txn::begin(&self.engine, GENERATION);
        let answers = apply::command(&mut txn, &mut self.tip, command, place);
        let answers = answers.expect("memory does not fail, and nothing else may");
        self.engine
            .write(txn.into_batch())
            .expect("memory takes it");
        answers
    }

    /// Whether a statement is its lane's next: of a node of this founded ledger, in a lane that
    /// is open, under its next number, after its last, and what its outbox was said to hold.
    fn is_next(&self, proposed: &ProposedSubmission) -> bool {
        let statement = &proposed.submission.statement;
        let known = self
            .tables()
            .node(statement.node)
            .expect("a row that reads");
        let lane = self.lane(statement.node, statement.lane);
        known.is_some()
            && self.head().size > TreeSize::EMPTY
            && statement.kind != Kind::Genesis
            && statement.ledger == self.head().ledger
            && !lane.closed
            && (statement.seq, statement.prev) == (lane.next_seq, lane.last)
            && self.is_as_its_boot_said(statement)
    }

    fn is_as_its_boot_said(&self, statement: &Statement) -> bool {
        let Lane::Outbox(id) = statement.lane else {
            return true;
        };
        let row = tables::outbox(statement.node, id).read(&self.engine, GENERATION);
        let Some(row) = row.expect("a row that reads") else {
            return true;
        };
        let Document::Boot(boot) = self.tables().document(row.boot).expect("of a BOOT") else {
            panic!(
                "an outbox is named by record {}, which is no BOOT",
                row.boot
            );
        };
        let named = boot.outboxes.iter().find(|outbox| outbox.id == id);
        let named = named.expect("the BOOT that names it");
        named.next != statement.seq.next() || named.last == statement.hash()
    }

    /// Holds the records that came since the beginning against head and tree.
    pub fn check(&self) -> Reached {
        let read = Tip::load(&self.engine, GENERATION).expect("a tree with the head's root");
        assert_eq!(read.head, self.tip.head);
        assert_eq!(read.frontier, self.tip.frontier);
        let (head, tables, mut reached) = (self.head(), self.tables(), Reached::default());
        let mut frontier: Frontier = self.begun.frontier.clone();
        let begun = &self.begun.head;
        let (mut last, mut time_ms, mut keys) =
            (begun.last_leaf, begun.committed_at_ms, begun.key_serial);
        for index in begun.size.get()..head.size.get() {
            let index = RecordIndex::new(index);
            let record = tables.expect_record(index).expect("every record");
            let (document, actor) = tables.openings(index).expect("openings that read");
            let statement = &record.statement;
            assert_eq!(
                (record.index, record.prev, record.keys),
                (index, last, keys)
            );
            assert!(
                record.committed_at_ms >= time_ms,
                "time goes back at {index}"
            );
            let committed = document.as_ref().is_none_or(|opening| {
                commit_document(&opening.salt, &opening.bytes) == statement.document
            });
            let committed = committed
                && actor.is_none_or(|opening| {
                    commit_actor(&opening.salt, &opening.bytes) == statement.actor
                });
            assert!(committed, "record {index} shows what nobody committed to");
            reached.records += 1;
            if record.outcome == Outcome::Ok {
                reached.ok += 1;
                let document = tables.document(index).expect("the document of what is OK");
                assert_eq!(document.kind(), statement.kind);
                self.reads(&document);
            }
            (last, time_ms, keys) = (
                record.leaf_hash(),
                record.committed_at_ms,
                record.keys_through(),
            );
            frontier.append(last);
        }
        let seen: (Digest, Digest, u64, u64) = (frontier.root(), last, time_ms, keys);
        let said = (
            head.root,
            head.last_leaf,
            head.committed_at_ms,
            head.key_serial,
        );
        assert_eq!(seen, said);
        tables.key_history().expect("keys that read");
        reached
    }

    /// What was taken can be read by those who ask for it.
    fn reads(&self, document: &Document) {
        let uid = match document {
            Document::Issue(d) | Document::Reverse(d) => d.uid,
            Document::AddRendition(d) => d.uid,
            Document::Void(d) => d.uid,
            Document::Download(d) => d.uid,
            _ => return,
        };
        let uid = muniment::domain::ids::Uid(uid);
        let invoice = self.tables().invoice(uid, self.head().size);
        let invoice = invoice.expect("an invoice that folds");
        assert!(invoice.is_some(), "{uid} is named and was never issued");
    }
}

/// The head, but for what tells one way to cut the log from another.
fn in_steps(head: &LedgerHead) -> LedgerHead {
    LedgerHead {
        state_hash: Digest::ZERO,
        ..head.clone()
    }
}
