//! Lanes, boots, keys and levels: what apply takes, refuses and remembers.

use super::*;
use crate::domain::ids::{LogIndex, NodeId, RecordIndex, Sequence, Term, TreeSize, UploadEpoch};
use crate::ledger::lanes::WINDOW;
use crate::ledger::policy;
use muniment_evidence::opening::LeaderDocument;

#[test]
fn nothing_is_taken_before_genesis_and_genesis_once() {
    let mut ledger = TestLedger::begin();
    let mut signer = TestSigner::new(1, Lane::Boot);
    let early = TestSigner::new(1, Lane::Boot).write(&ledger, &boot(1));
    assert_eq!(ledger.apply(0, vec![early]), [Answer::WrongLedger]);
    let first = signer.write(&ledger, &genesis());
    assert_eq!(ledger.apply(0, vec![first]), [ok(0)]);
    let second = signer.write(&ledger, &genesis());
    assert_eq!(ledger.apply(0, vec![second]), [Answer::WrongLedger]);
    assert_eq!(ledger.tip.head.size, TreeSize::new(1));
    assert_eq!(ledger.tip.head.feature_level, policy::FEATURE_LEVEL);
}

#[test]
fn a_lane_takes_exactly_its_next_and_remembers_what_it_took() {
    let (mut ledger, _, mut lane) = TestLedger::booted();
    let said: Vec<_> = (0..3).map(|n| lane.write(&ledger, &remark(n))).collect();
    assert_eq!(ledger.apply(0, vec![said[0].clone()]), [ok(2)]);
    // A gap consumes nothing; the same again is seen; what was missing follows.
    assert_eq!(
        ledger.apply(0, vec![said[2].clone()]),
        [Answer::Gap {
            next: Sequence::new(1)
        }]
    );
    let answers = ledger.apply(0, said.clone());
    assert_eq!(answers, [ok(2), ok(3), ok(4)]);
    assert_eq!(ledger.apply(0, said), [ok(2), ok(3), ok(4)]);
    assert_eq!(ledger.tip.head.size, TreeSize::new(5));
}

#[test]
fn another_statement_under_a_taken_number_is_an_equivocation() {
    let (mut ledger, _, mut lane) = TestLedger::booted();
    let first = lane.write(&ledger, &remark(1));
    let mut twin = TestSigner::new(1, lane.lane);
    let other = twin.write(&ledger, &remark(2));
    assert_eq!(ledger.apply(0, vec![first]), [ok(2)]);
    assert_eq!(ledger.apply(0, vec![other]), [Answer::Equivocation]);
    // The right number after another past is one too.
    let after_other = twin.write(&ledger, &remark(3));
    assert_eq!(ledger.apply(0, vec![after_other]), [Answer::Equivocation]);
    assert_eq!(ledger.tip.head.size, TreeSize::new(3));
}

#[test]
fn a_boot_closes_the_older_lane_and_a_wiped_disk_may_not_boot() {
    let (mut ledger, mut boots, mut old) = TestLedger::booted();
    let unsent = old.write(&ledger, &remark(1));
    let mut new = ledger.boot(&mut boots);
    assert_eq!(ledger.apply(0, vec![unsent]), [Answer::LaneClosed]);
    let said = new.write(&ledger, &remark(2));
    let size = ledger.tip.head.size;
    assert_eq!(ledger.apply(0, vec![said]), [ok(size.get())]);
    let Document::Boot(mut wiped) = boot(1) else {
        unreachable!("a boot document");
    };
    wiped.incarnation = [77; 16];
    let wiped = boots.write(&ledger, &Document::Boot(wiped));
    let answers = ledger.apply(0, vec![wiped]);
    assert_eq!(answers, [refused(size.get() + 1, Reason::Malformed)]);
    // A lane that no boot opened, and a node that is no member.
    let stray =
        TestSigner::new(1, Lane::Strict(RecordIndex::new(12345))).write(&ledger, &remark(1));
    assert_eq!(ledger.apply(0, vec![stray]), [Answer::LaneClosed]);
    let stranger = TestSigner::new(9, Lane::Boot).write(&ledger, &boot(9));
    assert_eq!(ledger.apply(0, vec![stranger]), [Answer::WrongLedger]);
}

#[test]
fn the_window_forgets_and_says_so() {
    let (mut ledger, _, mut lane) = TestLedger::booted();
    let first = lane.write(&ledger, &remark(0));
    assert_eq!(ledger.apply(0, vec![first.clone()]), [ok(2)]);
    let many = (1..=WINDOW)
        .map(|n| lane.write(&ledger, &remark(n)))
        .collect();
    let answers = ledger.apply(0, many);
    assert_eq!(answers.last(), Some(&ok(2 + WINDOW)));
    assert_eq!(ledger.apply(0, vec![first]), [Answer::Forgotten]);
}

#[test]
fn time_never_goes_back_and_what_is_due_is_attested_once() {
    let (mut ledger, _, mut lane) = TestLedger::booted();
    let late = lane.write(&ledger, &remark(1));
    ledger.apply(5_000, vec![late]);
    let earlier = lane.write(&ledger, &remark(2));
    ledger.apply(4_000, vec![earlier]);
    let tables = ledger.tables();
    let times = [2, 3].map(|i| {
        tables
            .expect_record(RecordIndex::new(i))
            .unwrap()
            .committed_at_ms
    });
    assert_eq!(times, [5_000, 5_000]);

    let mut txn = Txn::begin(ledger.engine.as_ref(), Generation(0));
    apply::leader(&mut txn, &mut ledger.tip, Term::new(7), LogIndex::new(40)).unwrap();
    ledger.term = Term::new(7);
    ledger.engine.write(txn.into_batch()).unwrap();
    let leadership = |term| {
        Document::Leader(LeaderDocument {
            term,
            leader: NodeId::new(1),
            log_index: LogIndex::new(40),
        })
    };
    let wrong = lane.write(&ledger, &leadership(Term::new(8)));
    let right = lane.write(&ledger, &leadership(Term::new(7)));
    let again = lane.write(&ledger, &leadership(Term::new(7)));
    let answers = ledger.apply(6_000, vec![wrong, right, again]);
    let expected = [
        refused(4, Reason::NotDue),
        ok(5),
        refused(6, Reason::NotDue),
    ];
    assert_eq!(answers, expected);
    assert!(ledger.tables().due(10).unwrap().is_empty());
}

#[test]
fn a_feature_above_the_ledgers_level_is_refused_not_applied() {
    let (mut ledger, _, mut lane) = TestLedger::booted();
    ledger.tip.head.feature_level = 0;
    let said = lane.write(&ledger, &remark(1));
    let mut txn = Txn::begin(ledger.engine.as_ref(), Generation(0));
    let command = Command {
        proposed_at_ms: 0,
        submissions: vec![said.into()],
    };
    let command = command.into();
    let place = EntryPlace {
        index: LogIndex::new(9),
        term: Term::new(1),
    };
    let answers = apply::command(&mut txn, &mut ledger.tip, &command, place).unwrap();
    assert_eq!(answers, [refused(2, Reason::FeatureLevel)]);
}

#[test]
fn an_opening_that_does_not_match_its_commitment_is_malformed() {
    let (mut ledger, _, mut lane) = TestLedger::booted();
    let mut said = lane.write(&ledger, &remark(1));
    said.document.bytes = remark(2).encode();
    assert_eq!(ledger.apply(0, vec![said]), [refused(2, Reason::Malformed)]);
}

#[test]
fn i12_replicas_that_apply_the_same_have_the_same_state_hash() {
    let run = |batches: &[usize]| {
        let (mut ledger, _, mut lane) = TestLedger::booted();
        let mut hashes = Vec::new();
        for batch in batches {
            let said = (0..*batch as u64)
                .map(|n| lane.write(&ledger, &remark(n)))
                .collect();
            ledger.apply(3, said);
            hashes.push(ledger.tip.head.state_hash);
        }
        hashes
    };
    assert_eq!(run(&[1, 2, 3]), run(&[1, 2, 3]));
    assert_ne!(run(&[1, 2])[1], run(&[1, 3])[1]);
}

fn seeded(seed: u8) -> SecretKey {
    SecretKey::from_seed(&[seed; 32])
}

#[test]
fn a_change_of_keys_is_taken_once_and_only_from_those_who_may() {
    let (mut ledger, _, mut lane) = TestLedger::booted();
    let fresh = SecretKey::from_seed(&[21; 32]);
    let add = statement_key(Action::Add, 1, &fresh);
    let good = change_keys(&ledger, vec![add.clone()], &[&fresh]);
    let mut unendorsed = good.clone();
    unendorsed.endorsements.list.pop();
    let mut late = good.clone();
    late.serial = 7;
    late.endorsements.list.clear();
    for key in [&fresh, &seeded(2), &seeded(3)] {
        late.endorse(&ledger.tip.head.ledger, key);
    }
    let twice = change_keys(&ledger, vec![add.clone(), add], &[&fresh]);
    let written = [unendorsed, late, twice, good.clone(), good].map(Document::Key);
    let written = written.iter().map(|document| lane.write(&ledger, document));
    let written: Vec<_> = written.collect();
    assert_eq!(
        ledger.apply(0, written),
        [
            refused(2, Reason::KeyEndorsement),
            refused(3, Reason::KeySerial),
            refused(4, Reason::KeyChange),
            ok(5),
            refused(6, Reason::KeySerial),
        ]
    );
    assert_eq!(ledger.tip.head.key_serial, 1);
    let tables = ledger.tables();
    assert_eq!(tables.key_changes().unwrap(), [5].map(RecordIndex::new));
    let history = tables.key_history().unwrap();
    assert_eq!(
        history.statement_keys(NodeId::new(1))[1].added,
        Some(RecordIndex::new(5))
    );
}

#[test]
fn a_key_in_use_is_not_retired_and_a_revoked_one_says_no_more() {
    let (mut ledger, mut boots, mut lane) = TestLedger::booted();
    // Node 1 votes.
    let mut txn = Txn::begin(ledger.engine.as_ref(), Generation(0));
    apply::membership(
        &mut txn,
        &mut ledger.tip,
        LogIndex::new(2),
        vec![[1, 2, 3].map(NodeId::new).to_vec()],
        Vec::new(),
    );
    ledger.engine.write(txn.into_batch()).unwrap();
    let (old, fresh) = (
        SecretKey::from_seed(&[1; 32]),
        SecretKey::from_seed(&[21; 32]),
    );
    let retire = change_keys(
        &ledger,
        vec![statement_key(
            Action::Retire {
                last_epoch: UploadEpoch::new(1),
            },
            1,
            &old,
        )],
        &[],
    );
    let retire = lane.write(&ledger, &Document::Key(retire));
    assert_eq!(
        ledger.apply(0, vec![retire]),
        [refused(2, Reason::KeyInUse)]
    );
    // A stranger's key starts nothing; one that was added does.
    let mut stranger = boot(1);
    if let Document::Boot(boot) = &mut stranger {
        boot.statement_key = fresh.public();
    }
    let early = boots.write(&ledger, &stranger);
    assert_eq!(
        ledger.apply(0, vec![early]),
        [refused(3, Reason::Malformed)]
    );
    let revoke = statement_key(
        Action::Revoke {
            trusted_until: RecordIndex::new(4),
        },
        1,
        &old,
    );
    let changes = vec![revoke, statement_key(Action::Add, 1, &fresh)];
    let change = change_keys(&ledger, changes, &[&fresh]);
    let change = lane.write(&ledger, &Document::Key(change));
    assert_eq!(ledger.apply(0, vec![change]), [ok(4)]);
    let more = lane.write(&ledger, &remark(1));
    assert_eq!(ledger.apply(0, vec![more]), [Answer::LaneClosed]);
    let again = boots.write(&ledger, &boot(1));
    assert_eq!(
        ledger.apply(0, vec![again]),
        [refused(5, Reason::Malformed)]
    );
    let under_fresh = boots.write(&ledger, &stranger);
    assert_eq!(ledger.apply(0, vec![under_fresh]), [ok(6)]);
}
