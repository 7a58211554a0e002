//! The verified index on small ledgers, some of them with records that nobody signed.

use super::*;
use crate::ledger::tests::{TestLedger, remark};
use muniment_evidence::key::Signature;
use muniment_evidence::opening::PlannedDocument;
use muniment_evidence::planned::WaiverDocument;

fn known(ledger: &TestLedger) -> KnownLedger {
    KnownLedger::read(&ledger.tables(), "test/0", &Signatures::default(), None).unwrap()
}

/// As a node does that starts with this mark.
fn look(ledger: &TestLedger, mark: Option<Mark>) -> Page {
    let look = Look {
        reached: mark.map(|mark| mark.reached()).unwrap_or_default(),
        mark,
        due: true,
    };
    look.read(&ledger.tables(), &known(ledger).ledger).unwrap()
}

#[test]
fn a_log_that_holds_is_verified_up_to_its_head() {
    let (mut ledger, _, mut lane) = TestLedger::booted();
    for bytes in 0..3 {
        let said = lane.write(&ledger, &remark(bytes));
        ledger.apply(0, vec![said]);
    }
    let first = look(&ledger, None);
    assert_eq!(first.bad, None);
    let mark = first.mark.expect("it was due");
    assert_eq!(
        (mark.size, mark.root),
        (ledger.head().size, ledger.head().root)
    );
    let said = lane.write(&ledger, &remark(9));
    ledger.apply(0, vec![said]);
    let next = look(&ledger, Some(mark));
    assert_eq!((next.bad, next.reached.size), (None, ledger.head().size));
}

/// Apply takes what the leader proposes: whether somebody signed it, followers look at here.
#[test]
fn a_record_that_nobody_signed_ends_it_and_names_who_led() {
    let (mut ledger, _, mut lane) = TestLedger::booted();
    ledger.lead(&mut lane, 7);
    let mut forged = lane.write(&ledger, &remark(1));
    forged.signature = Signature([9; 64]);
    let index = ledger.head().size.next_index();
    let more = lane.write(&ledger, &remark(2));
    ledger.apply(0, vec![forged, more]);
    let seen = look(&ledger, None);
    let bad = seen.bad.expect("a bad record");
    assert_eq!((bad.index, bad.leader), (index, Some(NodeId::new(1))));
    assert!(bad.why.starts_with("BAD_SIGNATURE"), "{}", bad.why);
    assert_eq!(seen.reached.size, index.size_before());
    assert_eq!(seen.applied, ledger.head().size);
}

#[test]
fn a_mark_of_another_log_is_not_believed() {
    let (mut ledger, _, mut lane) = TestLedger::booted();
    let mut forged = lane.write(&ledger, &remark(1));
    forged.signature = Signature([9; 64]);
    ledger.apply(0, vec![forged]);
    let head = ledger.head();
    let right = Mark {
        ledger: head.ledger,
        size: head.size,
        root: head.root,
        leadership: None,
    };
    assert_eq!(look(&ledger, Some(right)).bad, None);
    for wrong in [
        Mark {
            root: Digest([1; 32]),
            ..right
        },
        Mark {
            ledger: Digest([1; 32]),
            ..right
        },
        Mark {
            size: head.size.next_index().size_through(),
            ..right
        },
    ] {
        assert!(look(&ledger, Some(wrong)).bad.is_some(), "{wrong:?}");
    }
}

#[test]
fn a_mark_reads_back_and_another_version_is_none() {
    for leadership in [None, Some((NodeId::new(2), Term::new(7)))] {
        let mark = Mark {
            ledger: Digest([7; 32]),
            size: TreeSize::new(1_000_000),
            root: Digest([8; 32]),
            leadership,
        };
        let mut bytes = mark.encode();
        assert_eq!(Mark::decode(&bytes), Ok(mark));
        bytes[0] = 9;
        assert!(Mark::decode(&bytes).is_err());
    }
}

#[tokio::test(start_paused = true)]
async fn being_behind_is_said_once_and_only_after_a_while() {
    let mut pace = Pace::default();
    let (one, two) = (TreeSize::new(1), TreeSize::new(2));
    pace.note(one, two);
    tokio::time::advance(BEHIND_MAX).await;
    pace.note(one, two);
    assert!(!pace.said);
    tokio::time::advance(Duration::from_millis(1)).await;
    pace.note(one, two);
    assert!(pace.said);
    pace.note(two, two);
    assert!(!pace.said && pace.since.is_none());
}

/// Waived on record, it fails all the same for an auditor; the nodes vouch for what follows.
#[test]
fn a_bad_record_that_is_waived_is_gone_past() {
    let (mut ledger, mut lane) = TestLedger::voting();
    let mut forged = lane.write(&ledger, &remark(1));
    forged.signature = Signature([9; 64]);
    let index = ledger.head().size.next_index();
    ledger.apply(0, vec![forged]);
    let bad = look(&ledger, None).bad.expect("a bad record");
    let record = ledger.tables().record_bytes(index).unwrap().unwrap();
    let waiver = WaiverDocument {
        index,
        leaf: muniment_evidence::tree::leaf_hash(&record),
        check: bad.check.into(),
        reason: "looked into".into(),
        endorsements: ledger.endorsements(),
    };
    let waiver = Document::Planned(PlannedDocument::Waiver(waiver));
    let said = lane.write(&ledger, &waiver);
    ledger.apply(0, vec![said]);
    let seen = look(&ledger, None);
    assert_eq!((seen.bad, seen.reached.size), (None, ledger.head().size));
}
