//! Answers that are whole, below and far above what is read at a time.

use super::*;
use crate::domain::ids::Uid;
use crate::ledger::state::{EVENTS_AT_A_TIME, Status};
use crate::ledger::tables;
use muniment_evidence::limits::{RENDITIONS_MAX, REVERSALS_MAX};
use muniment_evidence::opening::{AddRenditionDocument, Money, Reference, VoidDocument};
use muniment_evidence::rules::REVERSES;

const HOLDERS: [(u64, u8); 2] = [(1, 1), (2, 2)];

fn euro(minor_units: i64) -> Money {
    Money {
        minor_units,
        currency: "EUR".into(),
        exponent: 2,
    }
}

/// An invoice of so many cents, under number 0.
fn issue_total(ledger: &mut TestLedger, lane: &mut TestSigner, cents: i64) -> Uid {
    let mut document = named(ledger, 0, &HOLDERS);
    document.metadata.total = Some(euro(cents));
    let said = issue_of(ledger, lane, Level::Quorum, document);
    assert_eq!(ledger.outcomes(vec![said]), [Outcome::Ok]);
    Uid(uid_of(0))
}

/// Takes one cent off it, by the reversal of this number.
fn cent_off(ledger: &TestLedger, lane: &mut TestSigner, number: u64) -> Submission {
    let mut document = named(ledger, number, &HOLDERS);
    document.metadata.references = vec![Reference {
        relation: REVERSES.into(),
        target: Uid(uid_of(0)).to_string(),
        sha256: None,
        amount: Some(euro(1)),
    }];
    let mut said = lane.write(ledger, &Document::Reverse(document));
    said.statement.level = Level::Quorum;
    lane.prev = said.statement.hash();
    said
}

/// Whoever adds up what was taken off must not stop at some number of reversals: an invoice
/// that is reversed in full would be told as in force.
#[test]
fn an_invoice_is_folded_from_all_its_events() {
    for reversals in [EVENTS_AT_A_TIME as u64, 3 * EVENTS_AT_A_TIME as u64 + 1] {
        let (mut ledger, mut lane) = four();
        let uid = issue_total(&mut ledger, &mut lane, reversals as i64);
        for first in (1..=reversals).step_by(256) {
            let last = reversals.min(first + 255);
            let said = (first..=last).map(|n| cent_off(&ledger, &mut lane, n));
            let said = said.collect();
            let outcomes = ledger.outcomes(said);
            assert!(outcomes.iter().all(|outcome| *outcome == Outcome::Ok));
        }
        let head = ledger.head().size;
        let at = |size| ledger.tables().invoice(uid, size).unwrap().unwrap();
        let now = at(head);
        assert_eq!(now.status, Status::Reversed);
        assert_eq!(now.reversed_by.len() as u64, reversals);
        // One record ago a cent was left.
        let before = at(head.last().unwrap().size_before());
        assert_eq!(before.status, Status::PartlyReversed);
        assert_eq!(before.reversed_minor_units, reversals as i64 - 1);
    }
}

/// One invoice that cannot be sent any more would end lists and watches of its whole tenant.
#[test]
fn an_invoice_has_no_more_renditions_and_reversals_than_an_answer_can_show() {
    let (mut ledger, mut lane) = four();
    let uid = issue_total(&mut ledger, &mut lane, 1_000_000);
    let row = ledger.tables().invoice_row(uid).unwrap().unwrap();
    assert_eq!((row.renditions, row.reversals), (1, 0));
    let mut almost = row;
    (almost.renditions, almost.reversals) = (RENDITIONS_MAX - 1, REVERSALS_MAX - 1);
    let mut txn = Txn::begin(ledger.engine.as_ref(), Generation(0));
    txn.put(tables::invoice(uid), &almost);
    ledger.engine.write(txn.into_batch()).unwrap();
    let limit = Outcome::Refused(Reason::LimitReached);
    for (number, outcome) in [(1, Outcome::Ok), (2, limit)] {
        let said = cent_off(&ledger, &mut lane, number);
        assert_eq!(ledger.outcomes(vec![said]), [outcome]);
    }
    for (number, outcome) in [(11, Outcome::Ok), (12, limit)] {
        let of = named(&ledger, number, &HOLDERS);
        let mut rendition = of.renditions[0].clone();
        rendition.role = format!("role-{number}");
        let document = Document::AddRendition(AddRenditionDocument {
            tenant: "default".into(),
            uid: uid.0,
            request_id: format!("add-{number}"),
            rendition,
            holdings: of.holdings,
        });
        let mut said = lane.write(&ledger, &document);
        said.statement.level = Level::Quorum;
        lane.prev = said.statement.hash();
        assert_eq!(ledger.outcomes(vec![said]), [outcome]);
    }
    // It can be read, and be declared void were it not reversed.
    assert!(ledger.tables().invoice(uid, ledger.head().size).is_ok());
    let void = Document::Void(VoidDocument {
        tenant: "default".into(),
        uid: uid.0,
        request_id: "void".into(),
        reason: String::new(),
    });
    let said = lane.write(&ledger, &void);
    let reversed = Outcome::Refused(Reason::AlreadyReversed);
    assert_eq!(ledger.outcomes(vec![said]), [reversed]);
}
