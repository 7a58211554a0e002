//! The ledger told as stories: commands in, records out, on memory.

use super::apply::{self, Edge};
use super::lanes::WINDOW;
use super::txn::Txn;
use crate::domain::command::{Answer, Command, Submission};
use crate::ledger::state::State;
use crate::store::engine::Engine as _;
use crate::store::keys::Generation;
use crate::store::memory::MemoryEngine;
use muniment_evidence::digest::Digest;
use muniment_evidence::key::{SecretKey, Signer as _};
use muniment_evidence::keychange::{Action, KeyChange, KeyDocument, Role};
use muniment_evidence::opening::{
    Actor, BootDocument, Delivered, Document, GenesisDocument, LeaderDocument, Member, Opening,
    commit_actor, commit_document,
};
use muniment_evidence::record::{Outcome, Reason};
use muniment_evidence::statement::{Lane, Level, Mode, Statement};
use std::sync::Arc;

mod holdings;
mod members;

pub(crate) struct Story {
    pub(crate) engine: Arc<MemoryEngine>,
    edge: Edge,
    raft_index: u64,
}

/// One node's pen, for one lane.
pub(crate) struct Hand {
    node: u64,
    key: SecretKey,
    lane: Lane,
    seq: u64,
    prev: Digest,
}

impl Hand {
    pub(crate) fn new(node: u64, lane: Lane) -> Hand {
        Hand {
            node,
            key: SecretKey::from_seed(&[node as u8; 32]),
            lane,
            seq: 0,
            prev: Digest::ZERO,
        }
    }

    pub(crate) fn write(&mut self, story: &Story, document: &Document) -> Submission {
        self.write_in(story, document, Mode::None)
    }

    pub(crate) fn write_in(
        &mut self,
        story: &Story,
        document: &Document,
        mode: Mode,
    ) -> Submission {
        let (document, actor) = (
            Opening::public(document.encode()),
            Opening::public(Actor::default().encode()),
        );
        let kind = document.bytes[1];
        let statement = Statement {
            kind: muniment_evidence::statement::Kind::from_code(kind).unwrap(),
            mode,
            level: Level::None,
            ledger: story.edge.head.ledger,
            node: self.node,
            lane: self.lane,
            seq: self.seq,
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

impl Story {
    fn begin() -> Story {
        Story {
            engine: Arc::new(MemoryEngine::new()),
            edge: Edge::default(),
            raft_index: 0,
        }
    }

    /// A founded ledger of nodes 1 to 3; the boot hand of node 1 has written GENESIS.
    fn founded() -> (Story, Hand) {
        let mut story = Story::begin();
        let mut hand = Hand::new(1, Lane::Boot);
        let genesis = hand.write(&story, &genesis());
        assert_eq!(story.tell(0, vec![genesis]), [ok(0)]);
        (story, hand)
    }

    /// ... and node 1 has booted: its strict lane.
    pub(crate) fn booted() -> (Story, Hand, Hand) {
        let (mut story, mut boots) = Story::founded();
        let lane = story.boot(&mut boots);
        (story, boots, lane)
    }

    fn boot(&mut self, boots: &mut Hand) -> Hand {
        let boot = boots.write(self, &boot(boots.node));
        let index = self.edge.head.size;
        assert_eq!(self.tell(0, vec![boot]), [ok(index)]);
        Hand::new(boots.node, Lane::Strict(index))
    }

    pub(crate) fn tell(
        &mut self,
        proposed_at_ms: u64,
        submissions: Vec<Submission>,
    ) -> Vec<Answer> {
        self.raft_index += 1;
        let command = Command {
            proposed_at_ms,
            submissions,
        };
        let mut txn = Txn::begin(self.engine.as_ref(), Generation(0));
        let answers = apply::command(&mut txn, &mut self.edge, &command, self.raft_index).unwrap();
        self.engine.write(txn.into_batch()).unwrap();
        // What is kept in memory is what a restart would read.
        let read = Edge::load(self.engine.as_ref(), Generation(0)).unwrap();
        assert_eq!(read.head, self.edge.head);
        assert_eq!(read.frontier, self.edge.frontier);
        answers
    }

    pub(crate) fn edge(&self) -> &Edge {
        &self.edge
    }

    pub(crate) fn head(&self) -> &super::rows::Head {
        &self.edge.head
    }

    /// As if older software had founded it.
    pub(crate) fn set_feature_level(&mut self, level: u64) {
        self.edge.head.feature_level = level;
    }

    /// What became of each, all being recorded.
    pub(crate) fn outcomes(&mut self, submissions: Vec<Submission>) -> Vec<Outcome> {
        let told = self.tell(0, submissions);
        let outcome = |answer| match answer {
            Answer::Recorded { outcome, .. } => outcome,
            other => panic!("not recorded: {other:?}"),
        };
        told.into_iter().map(outcome).collect()
    }

    pub(crate) fn tables(&self) -> crate::ledger::state::Tables {
        State::new(self.engine.clone()).tables().unwrap()
    }
}

fn genesis() -> Document {
    Document::Genesis(GenesisDocument {
        origin: "story/0".into(),
        log_key: SecretKey::from_seed(&[9; 32]).public(),
        members: (1..=3u64)
            .map(|node| {
                let key = SecretKey::from_seed(&[node as u8; 32]).public();
                Member {
                    node,
                    region: "r".into(),
                    zone: format!("z{node}"),
                    statement_key: key,
                    cosignature_key: key,
                }
            })
            .collect(),
        threshold: 0,
        root_keys: Vec::new(),
    })
}

pub(crate) fn boot(node: u64) -> Document {
    Document::Boot(BootDocument {
        incarnation: [node as u8; 16],
        statement_key: SecretKey::from_seed(&[node as u8; 32]).public(),
        software: "story".into(),
        outboxes: Vec::new(),
    })
}

/// Something harmless to say.
pub(crate) fn remark(bytes: u64) -> Document {
    Document::DownloadEnd(vec![Delivered {
        download: 0,
        bytes,
        complete: false,
    }])
}

pub(crate) fn ok(index: u64) -> Answer {
    Answer::Recorded {
        index,
        outcome: Outcome::Ok,
    }
}

pub(crate) fn refused(index: u64, reason: Reason) -> Answer {
    Answer::Recorded {
        index,
        outcome: Outcome::Refused(reason),
    }
}

#[test]
fn nothing_is_taken_before_genesis_and_genesis_once() {
    let mut story = Story::begin();
    let mut hand = Hand::new(1, Lane::Boot);
    let early = Hand::new(1, Lane::Boot).write(&story, &boot(1));
    assert_eq!(story.tell(0, vec![early]), [Answer::WrongLedger]);
    let first = hand.write(&story, &genesis());
    assert_eq!(story.tell(0, vec![first]), [ok(0)]);
    let second = hand.write(&story, &genesis());
    assert_eq!(story.tell(0, vec![second]), [Answer::WrongLedger]);
    assert_eq!(story.edge.head.size, 1);
    assert_eq!(story.edge.head.feature_level, apply::FEATURE_LEVEL);
}

#[test]
fn a_lane_takes_exactly_its_next_and_remembers_what_it_took() {
    let (mut story, _, mut lane) = Story::booted();
    let said: Vec<_> = (0..3).map(|n| lane.write(&story, &remark(n))).collect();
    assert_eq!(story.tell(0, vec![said[0].clone()]), [ok(2)]);
    // A gap consumes nothing; the same again is seen; what was missing follows.
    assert_eq!(
        story.tell(0, vec![said[2].clone()]),
        [Answer::Gap { next: 1 }]
    );
    let answers = story.tell(0, said.clone());
    assert_eq!(answers, [ok(2), ok(3), ok(4)]);
    assert_eq!(story.tell(0, said), [ok(2), ok(3), ok(4)]);
    assert_eq!(story.edge.head.size, 5);
}

#[test]
fn another_statement_under_a_taken_number_is_an_equivocation() {
    let (mut story, _, mut lane) = Story::booted();
    let first = lane.write(&story, &remark(1));
    let mut twin = Hand::new(1, lane.lane);
    let other = twin.write(&story, &remark(2));
    assert_eq!(story.tell(0, vec![first]), [ok(2)]);
    assert_eq!(story.tell(0, vec![other]), [Answer::Equivocation]);
    // The right number after another past is one too.
    let after_other = twin.write(&story, &remark(3));
    assert_eq!(story.tell(0, vec![after_other]), [Answer::Equivocation]);
    assert_eq!(story.edge.head.size, 3);
}

#[test]
fn a_boot_closes_the_older_lane_and_a_wiped_disk_may_not_boot() {
    let (mut story, mut boots, mut old) = Story::booted();
    let unsent = old.write(&story, &remark(1));
    let mut new = story.boot(&mut boots);
    assert_eq!(story.tell(0, vec![unsent]), [Answer::LaneClosed]);
    let said = new.write(&story, &remark(2));
    let size = story.edge.head.size;
    assert_eq!(story.tell(0, vec![said]), [ok(size)]);
    let Document::Boot(mut wiped) = boot(1) else {
        unreachable!("a boot document");
    };
    wiped.incarnation = [77; 16];
    let wiped = boots.write(&story, &Document::Boot(wiped));
    let answers = story.tell(0, vec![wiped]);
    assert_eq!(answers, [refused(size + 1, Reason::Malformed)]);
    // A lane that no boot opened, and a node that is no member.
    let stray = Hand::new(1, Lane::Strict(12345)).write(&story, &remark(1));
    assert_eq!(story.tell(0, vec![stray]), [Answer::LaneClosed]);
    let stranger = Hand::new(9, Lane::Boot).write(&story, &boot(9));
    assert_eq!(story.tell(0, vec![stranger]), [Answer::WrongLedger]);
}

#[test]
fn the_window_forgets_and_says_so() {
    let (mut story, _, mut lane) = Story::booted();
    let first = lane.write(&story, &remark(0));
    assert_eq!(story.tell(0, vec![first.clone()]), [ok(2)]);
    let many = (1..=WINDOW)
        .map(|n| lane.write(&story, &remark(n)))
        .collect();
    let answers = story.tell(0, many);
    assert_eq!(answers.last(), Some(&ok(2 + WINDOW)));
    assert_eq!(story.tell(0, vec![first]), [Answer::Forgotten]);
}

#[test]
fn time_never_goes_back_and_what_is_due_is_attested_once() {
    let (mut story, _, mut lane) = Story::booted();
    let late = lane.write(&story, &remark(1));
    story.tell(5_000, vec![late]);
    let earlier = lane.write(&story, &remark(2));
    story.tell(4_000, vec![earlier]);
    let tables = story.tables();
    let times = [2, 3].map(|i| tables.expect_record(i).unwrap().committed_at_ms);
    assert_eq!(times, [5_000, 5_000]);

    let mut txn = Txn::begin(story.engine.as_ref(), Generation(0));
    apply::leader(&mut txn, &mut story.edge, 7, 40);
    story.engine.write(txn.into_batch()).unwrap();
    let office = |term| {
        Document::Leader(LeaderDocument {
            term,
            leader: 1,
            log_index: 40,
        })
    };
    let wrong = lane.write(&story, &office(8));
    let right = lane.write(&story, &office(7));
    let again = lane.write(&story, &office(7));
    let answers = story.tell(6_000, vec![wrong, right, again]);
    let expected = [
        refused(4, Reason::NotDue),
        ok(5),
        refused(6, Reason::NotDue),
    ];
    assert_eq!(answers, expected);
    assert!(story.tables().due(10).unwrap().is_empty());
}

#[test]
fn a_feature_above_the_ledgers_level_is_refused_not_applied() {
    let (mut story, _, mut lane) = Story::booted();
    story.edge.head.feature_level = 0;
    let said = lane.write(&story, &remark(1));
    let mut txn = Txn::begin(story.engine.as_ref(), Generation(0));
    let command = Command {
        proposed_at_ms: 0,
        submissions: vec![said],
    };
    let answers = apply::command(&mut txn, &mut story.edge, &command, 9).unwrap();
    assert_eq!(answers, [refused(2, Reason::FeatureLevel)]);
}

#[test]
fn an_opening_that_does_not_match_its_commitment_is_malformed() {
    let (mut story, _, mut lane) = Story::booted();
    let mut said = lane.write(&story, &remark(1));
    said.document.bytes = remark(2).encode();
    assert_eq!(story.tell(0, vec![said]), [refused(2, Reason::Malformed)]);
}

#[test]
fn i12_replicas_that_apply_the_same_have_the_same_state_hash() {
    let tell = |batches: &[usize]| {
        let (mut story, _, mut lane) = Story::booted();
        let mut hashes = Vec::new();
        for batch in batches {
            let said = (0..*batch as u64)
                .map(|n| lane.write(&story, &remark(n)))
                .collect();
            story.tell(3, said);
            hashes.push(story.edge.head.state_hash);
        }
        hashes
    };
    assert_eq!(tell(&[1, 2, 3]), tell(&[1, 2, 3]));
    assert_ne!(tell(&[1, 2])[1], tell(&[1, 3])[1]);
}

/// A change of keys, endorsed by the log key and by the keys that are added.
fn change_keys(story: &Story, changes: Vec<KeyChange>, added: &[&SecretKey]) -> KeyDocument {
    let mut document = KeyDocument {
        serial: story.edge.head.key_serial,
        changes,
        threshold: 0,
        endorsements: Vec::new(),
    };
    let log = SecretKey::from_seed(&[9; 32]);
    for key in added.iter().copied().chain([&log]) {
        document.endorse(&story.edge.head.ledger, key);
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
        node,
        region: place("r".into()),
        zone: place(format!("z{node}")),
        key: key.public(),
    }
}

#[test]
fn a_change_of_keys_is_taken_once_and_only_from_those_who_may() {
    let (mut story, _, mut lane) = Story::booted();
    let fresh = SecretKey::from_seed(&[21; 32]);
    let add = statement_key(Action::Add, 1, &fresh);
    let good = change_keys(&story, vec![add.clone()], &[&fresh]);
    let mut unendorsed = good.clone();
    unendorsed.endorsements.pop();
    let mut late = good.clone();
    late.serial = 7;
    let twice = change_keys(&story, vec![add.clone(), add], &[&fresh]);
    let told = [unendorsed, late, twice, good.clone(), good].map(Document::Key);
    let told = told.iter().map(|document| lane.write(&story, document));
    let told: Vec<_> = told.collect();
    assert_eq!(
        story.tell(0, told),
        [
            refused(2, Reason::KeyEndorsement),
            refused(3, Reason::KeySerial),
            refused(4, Reason::KeyChange),
            ok(5),
            refused(6, Reason::KeySerial),
        ]
    );
    assert_eq!(story.edge.head.key_serial, 1);
    let tables = story.tables();
    assert_eq!(tables.key_changes().unwrap(), [5]);
    let history = tables.key_history().unwrap();
    assert_eq!(history.statement_keys(1)[1].added, Some(5));
}

#[test]
fn a_key_in_use_is_not_retired_and_a_revoked_one_says_no_more() {
    let (mut story, mut boots, mut lane) = Story::booted();
    // Node 1 votes.
    let mut txn = Txn::begin(story.engine.as_ref(), Generation(0));
    apply::membership(
        &mut txn,
        &mut story.edge,
        2,
        vec![vec![1, 2, 3]],
        Vec::new(),
    );
    story.engine.write(txn.into_batch()).unwrap();
    let (old, fresh) = (
        SecretKey::from_seed(&[1; 32]),
        SecretKey::from_seed(&[21; 32]),
    );
    let retire = change_keys(&story, vec![statement_key(Action::Retire, 1, &old)], &[]);
    let retire = lane.write(&story, &Document::Key(retire));
    assert_eq!(story.tell(0, vec![retire]), [refused(2, Reason::KeyInUse)]);
    // A stranger's key starts nothing; one that was added does.
    let mut stranger = boot(1);
    if let Document::Boot(boot) = &mut stranger {
        boot.statement_key = fresh.public();
    }
    let early = boots.write(&story, &stranger);
    assert_eq!(story.tell(0, vec![early]), [refused(3, Reason::Malformed)]);
    let revoke = statement_key(Action::Revoke { trusted_until: 3 }, 1, &old);
    let changes = vec![revoke, statement_key(Action::Add, 1, &fresh)];
    let change = change_keys(&story, changes, &[&fresh]);
    let change = lane.write(&story, &Document::Key(change));
    assert_eq!(story.tell(0, vec![change]), [ok(4)]);
    let more = lane.write(&story, &remark(1));
    assert_eq!(story.tell(0, vec![more]), [Answer::LaneClosed]);
    let again = boots.write(&story, &boot(1));
    assert_eq!(story.tell(0, vec![again]), [refused(5, Reason::Malformed)]);
    let under_fresh = boots.write(&story, &stranger);
    assert_eq!(story.tell(0, vec![under_fresh]), [ok(6)]);
}
