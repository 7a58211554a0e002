//! A ledger for tests: commands in, records out, on memory.
//!
//! Each file beside tries one part of what apply decides, by scenarios.

use super::apply::{self, EntryPlace};
use super::policy::FEATURE_LEVEL;
use super::rows::LedgerHead;
use super::state::Tables;
use super::tip::Tip;
use super::txn::Txn;
use crate::domain::command::{Answer, Command, ProposedSubmission, ReceivedCommand, Submission};
use crate::domain::ids::{BodyId, LogIndex, NodeId, RecordIndex, Sequence, Term};
use crate::store::engine::Engine as _;
use crate::store::keys::Generation;
use crate::store::memory::MemoryEngine;
use muniment_evidence::digest::Digest;
use muniment_evidence::endorsement::Endorsements;
use muniment_evidence::key::{SecretKey, Signer as _};
use muniment_evidence::keychange::{Action, KeyChange, KeyDocument, Role};
use muniment_evidence::opening::{
    Actor, BootDocument, DamageKind, Delivered, Document, GenesisDocument, How, LeaderDocument,
    Member, Opening, ScrubDocument, ScrubOutcome, commit_actor, commit_document,
};
use muniment_evidence::record::{Outcome, Reason};
use muniment_evidence::statement::{Kind, Lane, Level, Mode, Statement};
use std::sync::Arc;

mod arbitrary_tests;
mod entitled_tests;
mod exception_tests;
mod holding_tests;
mod level_tests;
pub(crate) mod membership_tests;
mod name_tests;
mod order_tests;
mod outbox_tests;
mod pages_tests;
mod scenario_tests;

pub(crate) use arbitrary_tests::Random;
pub(crate) use membership_tests::{four, issue, issue_of, named, uid_of};

pub(crate) struct TestLedger {
    pub(crate) engine: Arc<MemoryEngine>,
    tip: Tip,
    raft_index: u64,
    term: Term,
}

/// Signs as one node, in one lane.
pub(crate) struct TestSigner {
    node: u64,
    key: SecretKey,
    lane: Lane,
    seq: u64,
    prev: Digest,
}

impl TestSigner {
    pub(crate) fn new(node: u64, lane: Lane) -> TestSigner {
        TestSigner {
            node,
            key: SecretKey::from_seed(&[node as u8; 32]),
            lane,
            seq: 0,
            prev: Digest::ZERO,
        }
    }

    /// Signs what was changed since it was written, and what its holders say in it.
    pub(crate) fn sign(&mut self, submission: &mut Submission, holdings: bool) {
        let (statement, document) = (&mut submission.statement, &mut submission.document);
        let mut content = Document::decode(&document.bytes).ok();
        let held = match &mut content {
            Some(Document::Issue(d) | Document::Reverse(d)) => Some(&mut d.holdings),
            Some(Document::AddRendition(d)) => Some(&mut d.holdings),
            _ => None,
        };
        if let Some(held) = held.filter(|_| holdings) {
            for holding in held {
                let key = SecretKey::from_seed(&[holding.node.get() as u8; 32]);
                holding.signature = key.sign(&holding.signed_bytes());
            }
            document.bytes = content.expect("it was read just above").encode();
            statement.document = commit_document(&document.salt, &document.bytes);
        }
        submission.signature = self.key.sign(&statement.signed_bytes());
        self.prev = statement.hash();
    }

    /// Goes on where the ledger says; `false` if the lane is closed.
    pub(crate) fn follow(&mut self, ledger: &TestLedger) -> bool {
        let row = ledger.tables().lane(NodeId::new(self.node), self.lane);
        let Some(row) = row.unwrap().filter(|row| !row.closed) else {
            return false;
        };
        (self.seq, self.prev) = (row.next_seq.get(), row.last);
        true
    }

    pub(crate) fn write(&mut self, ledger: &TestLedger, document: &Document) -> Submission {
        self.write_in(ledger, document, Mode::None)
    }

    pub(crate) fn write_in(
        &mut self,
        ledger: &TestLedger,
        document: &Document,
        mode: Mode,
    ) -> Submission {
        let (document, actor) = (
            Opening::public(document.encode()),
            Opening::public(Actor::default().encode()),
        );
        let kind = document.bytes[1];
        let statement = Statement {
            kind: Kind::from_code(kind).unwrap(),
            mode,
            level: Level::None,
            ledger: ledger.tip.head.ledger,
            node: NodeId::new(self.node),
            lane: self.lane,
            seq: Sequence::new(self.seq),
            prev: self.prev,
            witnessed_at_ms: 1,
            document: commit_document(&document.salt, &document.bytes),
            actor: commit_actor(&actor.salt, &actor.bytes),
        };
        self.seq += 1;
        self.prev = statement.hash();
        Submission {
            signature: self.key.sign(&statement.signed_bytes()),
            statement,
            document,
            actor,
        }
    }
}

impl TestLedger {
    fn begin() -> TestLedger {
        TestLedger {
            engine: Arc::new(MemoryEngine::new()),
            tip: Tip::default(),
            raft_index: 0,
            term: Term::new(1),
        }
    }

    /// A founded ledger of nodes 1 to 3; the boot signer of node 1 has signed GENESIS.
    fn founded() -> (TestLedger, TestSigner) {
        let mut ledger = TestLedger::begin();
        let mut signer = TestSigner::new(1, Lane::Boot);
        let genesis = signer.write(&ledger, &genesis());
        assert_eq!(ledger.apply(0, vec![genesis]), [ok(0)]);
        (ledger, signer)
    }

    /// ... and node 1 has booted: its strict lane.
    pub(crate) fn booted() -> (TestLedger, TestSigner, TestSigner) {
        let (mut ledger, mut boots) = TestLedger::founded();
        let lane = ledger.boot(&mut boots);
        (ledger, boots, lane)
    }

    /// ... and nodes 1 to 3 vote.
    pub(crate) fn voting() -> (TestLedger, TestSigner) {
        let (mut ledger, _, lane) = TestLedger::booted();
        ledger.members(&[&[1, 2, 3]], &[]);
        (ledger, lane)
    }

    fn boot(&mut self, boots: &mut TestSigner) -> TestSigner {
        let boot = boots.write(self, &boot(boots.node));
        let index = self.tip.head.size;
        assert_eq!(self.apply(0, vec![boot]), [ok(index.get())]);
        TestSigner::new(boots.node, Lane::Strict(index.next_index()))
    }

    pub(crate) fn apply(
        &mut self,
        proposed_at_ms: u64,
        submissions: Vec<Submission>,
    ) -> Vec<Answer> {
        let proposed = submissions.into_iter().map(|submission| {
            let founds = submission.statement.kind == Kind::Genesis;
            ProposedSubmission {
                founded_at: founds.then_some(FEATURE_LEVEL),
                ..submission.into()
            }
        });
        let command = Command {
            proposed_at_ms,
            submissions: proposed.collect(),
        };
        self.apply_command(&command.into())
    }

    /// The same by way of the bytes of an entry.
    pub(crate) fn apply_bytes(&mut self, submissions: Vec<Submission>) -> Vec<Answer> {
        let submissions = submissions.into_iter().map(ProposedSubmission::from);
        let command = Command {
            proposed_at_ms: 0,
            submissions: submissions.collect(),
        };
        let bytes = command.encode();
        self.apply_command(&Command::decode(&bytes).unwrap())
    }

    pub(crate) fn apply_command(&mut self, command: &ReceivedCommand) -> Vec<Answer> {
        self.raft_index += 1;
        let mut txn = Txn::begin(self.engine.as_ref(), Generation(0));
        let answers = apply::command(
            &mut txn,
            &mut self.tip,
            command,
            EntryPlace {
                index: LogIndex::new(self.raft_index),
                term: self.term,
            },
        )
        .unwrap();
        self.engine.write(txn.into_batch()).unwrap();
        // What is kept in memory is what a restart would read.
        let read = Tip::load(self.engine.as_ref(), Generation(0)).unwrap();
        assert_eq!(read.head, self.tip.head);
        assert_eq!(read.frontier, self.tip.frontier);
        answers
    }

    /// A change that revokes a node's key, endorsed by who may.
    pub(crate) fn revocation(&self, node: NodeId, key: &SecretKey) -> KeyDocument {
        let trusted_until = self.tip.head.size.next_index();
        let fresh = SecretKey::from_seed(&[200 + node.get() as u8; 32]);
        let changes = vec![
            statement_key(Action::Revoke { trusted_until }, node.get(), key),
            statement_key(Action::Add, node.get(), &fresh),
        ];
        change_keys(self, changes, &[&fresh])
    }

    /// None yet, to hold from here on without an end.
    pub(crate) fn endorsements(&self) -> Endorsements {
        let head = &self.tip.head;
        let last = head.size.last().expect("a ledger that is founded");
        Endorsements::new(last, head.last_leaf, u64::MAX)
    }

    /// Node 1 boots anew and has this revoked; its lane.
    pub(crate) fn revoke(&mut self, node: NodeId, key: &SecretKey) -> TestSigner {
        let mut boots = TestSigner::new(1, Lane::Boot);
        let row = self.tables().lane(NodeId::new(1), Lane::Boot).unwrap();
        let row = row.unwrap();
        (boots.seq, boots.prev) = (row.next_seq.get(), row.last);
        let mut lane = self.boot(&mut boots);
        let change = Document::Key(self.revocation(node, key));
        let said = lane.write(self, &change);
        assert_eq!(self.outcomes(vec![said]), [Outcome::Ok]);
        lane
    }

    pub(crate) fn head(&self) -> &LedgerHead {
        &self.tip.head
    }

    /// What became of each, all being recorded.
    pub(crate) fn outcomes(&mut self, submissions: Vec<Submission>) -> Vec<Outcome> {
        let written = self.apply(0, submissions);
        let outcome = |answer| match answer {
            Answer::Recorded { outcome, .. } => outcome,
            other => panic!("not recorded: {other:?}"),
        };
        written.into_iter().map(outcome).collect()
    }

    /// A new leader's first entry, and the record in which it says that it leads.
    pub(crate) fn lead(&mut self, lane: &mut TestSigner, term: u64) {
        let (term, log_index) = (Term::new(term), LogIndex::new(self.raft_index));
        let mut txn = Txn::begin(self.engine.as_ref(), Generation(0));
        apply::leader(&mut txn, &mut self.tip, term, log_index).unwrap();
        self.term = term;
        self.engine.write(txn.into_batch()).unwrap();
        let leader = NodeId::new(lane.node);
        let said = Document::Leader(LeaderDocument {
            term,
            leader,
            log_index,
        });
        let said = lane.write(self, &said);
        let at = self.tip.head.size.get();
        assert_eq!(self.apply(0, vec![said]), [ok(at)]);
    }

    pub(crate) fn tables(&self) -> Tables<'_> {
        Tables::of(self.engine.as_ref()).unwrap()
    }
}

fn genesis() -> Document {
    Document::Genesis(GenesisDocument {
        origin: "ledger/0".into(),
        log_key: SecretKey::from_seed(&[9; 32]).public(),
        members: (1..=3u64)
            .map(|node| {
                let key = SecretKey::from_seed(&[node as u8; 32]).public();
                Member {
                    node: NodeId::new(node),
                    region: "r".into(),
                    zone: format!("z{node}"),
                    statement_key: key,
                    cosignature_key: SecretKey::from_seed(&[100 + node as u8; 32]).public(),
                }
            })
            .collect(),
        threshold: 0,
        root_keys: Vec::new(),
        operator_keys: Vec::new(),
    })
}

pub(crate) fn boot(node: u64) -> Document {
    Document::Boot(BootDocument {
        incarnation: [node as u8; 16],
        statement_key: SecretKey::from_seed(&[node as u8; 32]).public(),
        software: "ledger".into(),
        outboxes: Vec::new(),
    })
}

/// Something harmless to say.
pub(crate) fn remark(bytes: u64) -> Document {
    Document::Scrub(ScrubDocument {
        body_id: BodyId::new([7; 16]),
        chunk: Some(bytes as u32),
        found: DamageKind::ALL[0],
        how: How::ALL[0],
        outcome: ScrubOutcome::Quarantined,
    })
}

pub(crate) fn ok(index: u64) -> Answer {
    Answer::Recorded {
        index: RecordIndex::new(index),
        outcome: Outcome::Ok,
    }
}

pub(crate) fn refused(index: u64, reason: Reason) -> Answer {
    Answer::Recorded {
        index: RecordIndex::new(index),
        outcome: Outcome::Refused(reason),
    }
}

/// A change of keys, endorsed by a majority of the members and by the keys that are added.
fn change_keys(ledger: &TestLedger, changes: Vec<KeyChange>, added: &[&SecretKey]) -> KeyDocument {
    let mut document = KeyDocument {
        serial: ledger.tip.head.key_serial,
        changes,
        threshold: 0,
        endorsements: ledger.endorsements(),
    };
    let members = [2, 3].map(|node| SecretKey::from_seed(&[node; 32]));
    for key in added.iter().copied().chain(&members) {
        document.endorse(&ledger.tip.head.ledger, key);
    }
    document
}

fn statement_key(action: Action, node: u64, key: &SecretKey) -> KeyChange {
    let place = |text: String| match action {
        Action::Add => text,
        _ => String::new(),
    };
    KeyChange {
        action,
        role: Role::Statement,
        node: NodeId::new(node),
        region: place("r".into()),
        zone: place(format!("z{node}")),
        key: key.public(),
    }
}
