//! What a record may name and who must hold it.

use super::membership_tests::{four, issue, issue_of, named};
use super::*;
use crate::domain::ids::BodyId;
use muniment_evidence::opening::IssueDocument;

/// A majority of the voters, and whatever else the level asks: nothing less is recorded.
#[test]
fn i1_an_issue_held_by_too_few_is_refused() {
    let (mut ledger, mut lane) = four();
    let mut number = 0;
    let mut decided = |level, holders: &[(u64, u8)], enough| {
        number += 1;
        let said = issue(&ledger, &mut lane, number, level, holders);
        let index = ledger.tip.head.size.next_index();
        let expected = match enough {
            true => ok(index.get()),
            false => refused(index.get(), Reason::HoldingsInsufficient),
        };
        let written = ledger.apply(0, vec![said]);
        assert_eq!(written, [expected], "{level:?} {holders:?}");
    };
    decided(Level::Quorum, &[], false);
    decided(Level::Quorum, &[(1, 1)], false);
    // Saying it twice makes no second copy, and who does not vote is no majority.
    decided(Level::Quorum, &[(1, 1), (1, 1)], false);
    decided(Level::Quorum, &[(1, 1), (4, 4)], false);
    decided(Level::Quorum, &[(1, 1), (3, 3)], true);
    decided(Level::Zones(3), &[(1, 1), (3, 3)], false);
    decided(Level::Zones(3), &[(1, 1), (2, 2), (3, 3)], true);
    decided(Level::All, &[(2, 2), (3, 3)], false);
    decided(Level::All, &[(1, 1), (2, 2), (3, 3)], true);
}

/// Apply has the record alone: a body that exists nowhere is named like any other, by the
/// word of those who signed for it, and nothing waits or fails.
#[test]
fn i4_apply_names_a_body_that_it_cannot_read() {
    let (mut ledger, mut lane) = four();
    let said = issue(&ledger, &mut lane, 1, Level::Quorum, &[(1, 1), (2, 2)]);
    let index = ledger.tip.head.size.next_index();
    assert_eq!(ledger.apply(0, vec![said]), [ok(index.get())]);
    let named = ledger.tables().named(&BodyId::new([1; 16])).unwrap();
    assert_eq!(named.map(|row| row.index), Some(index));
}

/// One identity is issued once: the same again is the first outcome, under the same
/// request id or another; other content, and a request id that means something else, are
/// refused each with its own reason.
#[test]
fn i7_one_identity_is_issued_once() {
    let (mut ledger, mut lane) = four();
    let holders = [(1, 1), (2, 2)];
    let first = ledger.tip.head.size;
    let mut run = |change: &dyn Fn(&mut IssueDocument), outcome: Option<Outcome>| {
        let mut document = named(&ledger, 1, &holders);
        change(&mut document);
        let said = issue_of(&ledger, &mut lane, Level::Quorum, document);
        let index = ledger.tip.head.size.next_index();
        let expected = match outcome {
            None => ok(index.get()),
            Some(outcome) => Answer::Recorded { index, outcome },
        };
        assert_eq!(ledger.apply(0, vec![said]), [expected]);
    };
    run(&|_| {}, None);
    let again = Some(Outcome::DuplicateOf(first.next_index()));
    run(&|d| d.uid = [9; 16], again);
    run(&|d| d.request_id = "another".into(), again);
    let other_bytes = |d: &mut IssueDocument| {
        d.request_id = "other bytes".into();
        d.renditions[0].sha256 = Digest([6; 32]);
        d.holdings
            .iter_mut()
            .for_each(|h| h.sha256 = Digest([6; 32]));
    };
    run(&other_bytes, Some(Outcome::Refused(Reason::IdentityTaken)));
    let other_invoice = |d: &mut IssueDocument| d.metadata.identity.number = "2".into();
    run(
        &other_invoice,
        Some(Outcome::Refused(Reason::RequestIdReused)),
    );
}
