//! The members change while invoices are issued.

use super::*;
use crate::domain::ids::{BodyId, LogIndex, NodeId, RecordIndex, UploadEpoch};
use crate::ledger::roles::Target;
use muniment_evidence::mode::Phase;
use muniment_evidence::opening::{
    Holding, HoldingKind, Identity, IssueDocument, Metadata, ModeDocument, Rendition,
};

impl TestLedger {
    /// Raft's members, as an entry of its log says.
    pub(super) fn members(&mut self, voters: &[&[u64]], learners: &[u64]) {
        self.raft_index += 1;
        let sets = voters.iter().map(|set| nodes(set)).collect();
        let mut txn = Txn::begin(self.engine.as_ref(), Generation(0));
        apply::membership(
            &mut txn,
            &mut self.tip,
            LogIndex::new(self.raft_index),
            sets,
            nodes(learners),
        );
        self.engine.write(txn.into_batch()).unwrap();
    }

    /// Node 4 becomes known by its key, and boots.
    fn admit_four(&mut self, lane: &mut TestSigner) {
        let key = SecretKey::from_seed(&[4; 32]);
        let add = statement_key(Action::Add, 4, &key);
        let change = change_keys(self, vec![add], &[&key]);
        let said = lane.write(self, &Document::Key(change));
        let index = self.tip.head.size;
        assert_eq!(self.apply(0, vec![said]), [ok(index.get())]);
    }

    fn say(&mut self, lane: &mut TestSigner, document: &Document) -> Answer {
        let said = lane.write(self, document);
        self.apply(0, vec![said])[0]
    }

    fn next_ok(&self) -> Answer {
        ok(self.tip.head.size.get())
    }

    fn next_refused(&self, reason: Reason) -> Answer {
        refused(self.tip.head.size.get(), reason)
    }
}

fn nodes(ids: &[u64]) -> Vec<NodeId> {
    ids.iter().copied().map(NodeId::new).collect()
}

fn step(phase: Phase, number: u64, prepared: u64, voters: &[u64], sync: &[u64]) -> Document {
    Document::Mode(ModeDocument {
        phase,
        number,
        voters: nodes(voters),
        sync_learners: nodes(sync),
        async_learners: Vec::new(),
        prepared: (phase != Phase::Prepare).then_some(RecordIndex::new(prepared)),
        reason: "a ledger".into(),
        order: None,
    })
}

/// A ledger whose nodes 1 to 3 vote and whose nodes 1 to 4 have booted.
pub(crate) fn four() -> (TestLedger, TestSigner) {
    let (mut ledger, _, mut lane) = TestLedger::booted();
    for node in [2, 3] {
        ledger.boot(&mut TestSigner::new(node, Lane::Boot));
    }
    ledger.members(&[&[1, 2, 3]], &[]);
    ledger.admit_four(&mut lane);
    ledger.boot(&mut TestSigner::new(4, Lane::Boot));
    (ledger, lane)
}

/// An ISSUE at a level, its body held by these nodes on these disks.
pub(crate) fn issue(
    ledger: &TestLedger,
    lane: &mut TestSigner,
    number: u64,
    level: Level,
    holders: &[(u64, u8)],
) -> Submission {
    issue_of(ledger, lane, level, named(ledger, number, holders))
}

/// An ISSUE of this document.
pub(crate) fn issue_of(
    ledger: &TestLedger,
    lane: &mut TestSigner,
    level: Level,
    document: IssueDocument,
) -> Submission {
    let mut said = lane.write(ledger, &Document::Issue(document));
    said.statement.level = level;
    said.signature = lane.key.sign(&said.statement.signed_bytes());
    lane.prev = said.statement.hash();
    said
}

/// Small numbers fill all of it.
pub(crate) fn uid_of(number: u64) -> [u8; 16] {
    let mut uid = [number as u8; 16];
    uid[..8].copy_from_slice(&number.to_be_bytes());
    match number {
        0..256 => [number as u8; 16],
        _ => uid,
    }
}

/// What issues the invoice of this number.
pub(crate) fn named(ledger: &TestLedger, number: u64, holders: &[(u64, u8)]) -> IssueDocument {
    let rendition = Rendition {
        role: "original".into(),
        media_type: "application/pdf".into(),
        length: 4,
        sha256: Digest([5; 32]),
        chunk_root: Digest([5; 32]),
        body_id: BodyId::new(uid_of(number)),
    };
    let holding = |(node, disk): &(u64, u8)| Holding {
        kind: HoldingKind::Node,
        ledger: ledger.tip.head.ledger,
        body_id: rendition.body_id,
        sha256: rendition.sha256,
        chunk_root: rendition.chunk_root,
        length: 4,
        node: NodeId::new(*node),
        incarnation: [*disk; 16],
        zone: format!("z{node}"),
        epoch: UploadEpoch::new(1),
        signature: muniment_evidence::key::Signature([0; 64]),
    };
    IssueDocument {
        uid: uid_of(number),
        request_id: format!("r-{number}"),
        metadata: Metadata {
            identity: Identity {
                tenant: "default".into(),
                scheme: "generic".into(),
                issuer: "local".into(),
                number: number.to_string(),
                period: String::new(),
            },
            ..Metadata::default()
        },
        holdings: holders.iter().map(holding).collect(),
        renditions: vec![rendition.clone()],
    }
}

#[test]
fn i8_voters_change_by_prepare_and_done_one_change_at_a_time() {
    let (mut ledger, mut lane) = four();
    let (now, then) = ([1, 2, 3], [1, 2, 4]);
    // Nobody is prepared for: nothing to be done or given up.
    let early = step(Phase::Done, 0, 7, &now, &[]);
    let refused = ledger.next_refused(Reason::NotDue);
    assert_eq!(ledger.say(&mut lane, &early), refused);
    // Nobody would vote; a stranger; a number out of turn; somebody twice.
    for (document, reason) in [
        (step(Phase::Prepare, 0, 0, &[], &[]), Reason::Malformed),
        (step(Phase::Prepare, 0, 0, &[1, 9], &[]), Reason::NotFound),
        (step(Phase::Prepare, 1, 0, &then, &[]), Reason::NotDue),
        (step(Phase::Prepare, 0, 0, &now, &[3]), Reason::Malformed),
    ] {
        let refused = ledger.next_refused(reason);
        assert_eq!(ledger.say(&mut lane, &document), refused);
    }
    let (prepared, answer) = (ledger.tip.head.size, ledger.next_ok());
    let prepare = step(Phase::Prepare, 0, 0, &then, &[]);
    assert_eq!(ledger.say(&mut lane, &prepare), answer);
    // Another must wait.
    let second = step(Phase::Prepare, 1, 0, &now, &[4]);
    let refused = ledger.next_refused(Reason::NotDue);
    assert_eq!(ledger.say(&mut lane, &second), refused);
    // Not done before Raft has changed, nor while both sets vote; nor given up then.
    let done = step(Phase::Done, 0, prepared.get(), &then, &[]);
    let abort = step(Phase::Abort, 0, prepared.get(), &then, &[]);
    let refused = ledger.next_refused(Reason::NotDue);
    assert_eq!(ledger.say(&mut lane, &done), refused);
    ledger.members(&[&now, &then], &[]);
    for document in [&done, &abort] {
        let refused = ledger.next_refused(Reason::NotDue);
        assert_eq!(ledger.say(&mut lane, document), refused);
    }
    ledger.members(&[&then], &[]);
    let refused = ledger.next_refused(Reason::NotDue);
    assert_eq!(ledger.say(&mut lane, &abort), refused);
    let other = step(Phase::Done, 0, prepared.get(), &now, &[]);
    let refused = ledger.next_refused(Reason::NotDue);
    assert_eq!(ledger.say(&mut lane, &other), refused);
    let answer = ledger.next_ok();
    assert_eq!(ledger.say(&mut lane, &done), answer);
    let row = ledger.tables().mode().unwrap();
    assert_eq!(
        (row.next, row.preparing, &row.gone[..]),
        (1, None, &[NodeId::new(3)][..])
    );
    // Done once.
    let refused = ledger.next_refused(Reason::NotDue);
    assert_eq!(ledger.say(&mut lane, &done), refused);
    // An id is never taken back.
    let back = step(Phase::Prepare, 1, 0, &now, &[]);
    let refused = ledger.next_refused(Reason::NotFound);
    assert_eq!(ledger.say(&mut lane, &back), refused);
}

#[test]
fn i8_a_change_is_given_up_while_the_voters_are_what_they_were() {
    let (mut ledger, mut lane) = four();
    let prepared = ledger.tip.head.size;
    let answer = ledger.next_ok();
    let prepare = step(Phase::Prepare, 0, 0, &[1, 2, 4], &[]);
    assert_eq!(ledger.say(&mut lane, &prepare), answer);
    let preparing = ledger.tables().mode().unwrap().preparing.unwrap();
    assert_eq!(
        (preparing.index, preparing.from),
        (prepared.next_index(), nodes(&[1, 2, 3]))
    );
    let target = Target {
        voters: [1, 2, 4].map(NodeId::new).to_vec(),
        ..Target::default()
    };
    assert_eq!(preparing.target, target);
    let answer = ledger.next_ok();
    let abort = step(Phase::Abort, 0, prepared.get(), &[1, 2, 4], &[]);
    assert_eq!(ledger.say(&mut lane, &abort), answer);
    let row = ledger.tables().mode().unwrap();
    assert_eq!((row.preparing, row.gone), (None, Vec::new()));
    // The next one may begin.
    let answer = ledger.next_ok();
    let again = step(Phase::Prepare, 1, 0, &[1, 2, 4], &[]);
    assert_eq!(ledger.say(&mut lane, &again), answer);
}

/// The word of a node that does not lead is proposed as refused by the one that does, and leaves
/// its record; whoever leads then can end the change all the same.
#[test]
fn i8_how_a_change_ended_is_the_word_of_who_leads() {
    let (mut ledger, mut lane) = four();
    let prepared = ledger.tip.head.size;
    let answer = ledger.next_ok();
    let prepare = step(Phase::Prepare, 0, 0, &[1, 2, 4], &[]);
    assert_eq!(ledger.say(&mut lane, &prepare), answer);
    let abort = step(Phase::Abort, 0, prepared.get(), &[1, 2, 4], &[]);
    let anothers = ProposedSubmission {
        refusal: Some(Reason::NotEntitled),
        ..lane.write(&ledger, &abort).into()
    };
    let command = Command {
        proposed_at_ms: 0,
        submissions: vec![anothers],
    };
    let refused = ledger.next_refused(Reason::NotEntitled);
    assert_eq!(ledger.apply_command(&command.into()), [refused]);
    assert!(ledger.tables().mode().unwrap().preparing.is_some());
    let answer = ledger.next_ok();
    assert_eq!(ledger.say(&mut lane, &abort), answer);
    assert!(ledger.tables().mode().unwrap().preparing.is_none());
}

#[test]
fn i8_a_voter_to_be_has_booted() {
    let (mut ledger, _, mut lane) = TestLedger::booted();
    ledger.members(&[&[1, 2, 3]], &[]);
    ledger.admit_four(&mut lane);
    let prepare = step(Phase::Prepare, 0, 0, &[1, 2, 4], &[]);
    let refused = ledger.next_refused(Reason::NotFound);
    assert_eq!(ledger.say(&mut lane, &prepare), refused);
    // It may learn before it boots: it cannot boot before it has learned.
    let learn = step(Phase::Prepare, 0, 0, &[1, 2, 3], &[4]);
    let answer = ledger.next_ok();
    assert_eq!(ledger.say(&mut lane, &learn), answer);
}

#[test]
fn i3_holdings_are_judged_by_both_sets_while_they_change() {
    let (mut ledger, mut lane) = four();
    let insufficient = |ledger: &TestLedger| ledger.next_refused(Reason::HoldingsInsufficient);
    let mut judged = |ledger: &mut TestLedger, number, holders: &[(u64, u8)], enough| {
        let expected = if enough {
            ledger.next_ok()
        } else {
            insufficient(ledger)
        };
        let said = issue(ledger, &mut lane, number, Level::Zones(2), holders);
        assert_eq!(ledger.apply(0, vec![said]), [expected], "{holders:?}");
    };
    // Who learns counts for nothing.
    judged(&mut ledger, 1, &[(1, 1), (4, 4)], false);
    judged(&mut ledger, 2, &[(2, 2), (3, 3)], true);
    ledger.members(&[&[1, 2, 3], &[1, 4]], &[]);
    // Enough for the old set, not for the new one; and the other way round.
    judged(&mut ledger, 3, &[(2, 2), (3, 3)], false);
    judged(&mut ledger, 4, &[(1, 1), (3, 3)], false);
    judged(&mut ledger, 5, &[(1, 1), (4, 4)], false);
    judged(&mut ledger, 6, &[(1, 1), (2, 2), (4, 4)], true);
    ledger.members(&[&[1, 4]], &[]);
    judged(&mut ledger, 7, &[(1, 1), (2, 2), (3, 3)], false);
    judged(&mut ledger, 8, &[(1, 1), (4, 4)], true);
}

#[test]
fn i3_from_prepare_on_the_target_must_be_met_as_well() {
    let (mut ledger, mut lane) = four();
    let prepared = ledger.tip.head.size;
    let answer = ledger.next_ok();
    let prepare = step(Phase::Prepare, 0, 0, &[1, 2, 4], &[]);
    assert_eq!(ledger.say(&mut lane, &prepare), answer);
    // One of them would be the only holder among those who vote afterwards.
    let old = issue(&ledger, &mut lane, 1, Level::Quorum, &[(2, 2), (3, 3)]);
    let expected = ledger.next_refused(Reason::HoldingsInsufficient);
    assert_eq!(ledger.apply(0, vec![old]), [expected]);
    let both = issue(&ledger, &mut lane, 2, Level::Quorum, &[(1, 1), (2, 2)]);
    let expected = ledger.next_ok();
    assert_eq!(ledger.apply(0, vec![both]), [expected]);
    // Given up: the old set alone decides again.
    let answer = ledger.next_ok();
    let abort = step(Phase::Abort, 0, prepared.get(), &[1, 2, 4], &[]);
    assert_eq!(ledger.say(&mut lane, &abort), answer);
    let old = issue(&ledger, &mut lane, 3, Level::Quorum, &[(2, 2), (3, 3)]);
    let expected = ledger.next_ok();
    assert_eq!(ledger.apply(0, vec![old]), [expected]);
}

#[test]
fn i2_a_holding_of_another_disk_counts_for_nothing() {
    let (mut ledger, mut lane) = four();
    let wiped = issue(&ledger, &mut lane, 1, Level::Quorum, &[(1, 1), (2, 77)]);
    let expected = ledger.next_refused(Reason::HoldingsInsufficient);
    assert_eq!(ledger.apply(0, vec![wiped]), [expected]);
    let right = issue(&ledger, &mut lane, 2, Level::Quorum, &[(1, 1), (2, 2)]);
    let expected = ledger.next_ok();
    assert_eq!(ledger.apply(0, vec![right]), [expected]);
}

#[test]
fn a_sync_learner_counts_for_all_once_its_change_is_done() {
    let (mut ledger, mut lane) = four();
    let three = [(1, 1), (2, 2), (3, 3)];
    let all = [(1, 1), (2, 2), (3, 3), (4, 4)];
    let prepared = ledger.tip.head.size;
    let answer = ledger.next_ok();
    let prepare = step(Phase::Prepare, 0, 0, &[1, 2, 3], &[4]);
    assert_eq!(ledger.say(&mut lane, &prepare), answer);
    ledger.members(&[&[1, 2, 3]], &[4]);
    let before = issue(&ledger, &mut lane, 1, Level::All, &three);
    let expected = ledger.next_ok();
    assert_eq!(ledger.apply(0, vec![before]), [expected]);
    let answer = ledger.next_ok();
    let done = step(Phase::Done, 0, prepared.get(), &[1, 2, 3], &[4]);
    assert_eq!(ledger.say(&mut lane, &done), answer);
    let without = issue(&ledger, &mut lane, 2, Level::All, &three);
    let expected = ledger.next_refused(Reason::HoldingsInsufficient);
    assert_eq!(ledger.apply(0, vec![without]), [expected]);
    let with = issue(&ledger, &mut lane, 3, Level::All, &all);
    let expected = ledger.next_ok();
    assert_eq!(ledger.apply(0, vec![with]), [expected]);
}

/// What is issued while the last learner of a region leaves would be in one region afterwards.
#[test]
fn i3_from_prepare_on_a_learner_that_leaves_does_not_count_for_the_target() {
    for (feature_level, counts) in [(1, true), (2, false)] {
        let (mut ledger, _, mut lane) = TestLedger::booted();
        for node in [2, 3] {
            ledger.boot(&mut TestSigner::new(node, Lane::Boot));
        }
        ledger.members(&[&[1, 2, 3]], &[]);
        let key = SecretKey::from_seed(&[4; 32]);
        let mut add = statement_key(Action::Add, 4, &key);
        add.region = "far".to_owned();
        let change = change_keys(&ledger, vec![add], &[&key]);
        let answer = ledger.next_ok();
        assert_eq!(ledger.say(&mut lane, &Document::Key(change)), answer);
        ledger.boot(&mut TestSigner::new(4, Lane::Boot));
        let prepared = ledger.tip.head.size.get();
        for said in [
            step(Phase::Prepare, 0, 0, &[1, 2, 3], &[4]),
            step(Phase::Done, 0, prepared, &[1, 2, 3], &[4]),
            step(Phase::Prepare, 1, 0, &[1, 2, 3], &[]),
        ] {
            let answer = ledger.next_ok();
            assert_eq!(ledger.say(&mut lane, &said), answer);
        }
        ledger.tip.head.feature_level = feature_level;
        let expected = match counts {
            true => ledger.next_ok(),
            false => ledger.next_refused(Reason::HoldingsInsufficient),
        };
        let holders = [(1, 1), (2, 2), (4, 4)];
        let said = issue(&ledger, &mut lane, 1, Level::Regions(2), &holders);
        assert_eq!(ledger.apply(0, vec![said]), [expected]);
    }
}
