//! What a record may name and who must hold it, as stories.

use super::members::{four, issue, issue_of, named};
use super::*;
use muniment_evidence::opening::IssueDocument;

/// A majority of the voters, and whatever else the level asks: nothing less is recorded.
#[test]
fn i1_an_issue_held_by_too_few_is_refused() {
    let (mut story, mut lane) = four();
    let mut number = 0;
    let mut judged = |level, holders: &[(u64, u8)], enough| {
        number += 1;
        let said = issue(&story, &mut lane, number, level, holders);
        let index = story.edge.head.size;
        let expected = match enough {
            true => ok(index),
            false => refused(index, Reason::HoldingsInsufficient),
        };
        let told = story.tell(0, vec![said]);
        assert_eq!(told, [expected], "{level:?} {holders:?}");
    };
    judged(Level::Quorum, &[], false);
    judged(Level::Quorum, &[(1, 1)], false);
    // Saying it twice makes no second copy, and who does not vote is no majority.
    judged(Level::Quorum, &[(1, 1), (1, 1)], false);
    judged(Level::Quorum, &[(1, 1), (4, 4)], false);
    judged(Level::Quorum, &[(1, 1), (3, 3)], true);
    judged(Level::Zones(3), &[(1, 1), (3, 3)], false);
    judged(Level::Zones(3), &[(1, 1), (2, 2), (3, 3)], true);
    judged(Level::All, &[(2, 2), (3, 3)], false);
    judged(Level::All, &[(1, 1), (2, 2), (3, 3)], true);
}

/// Apply has the record alone: a body that exists nowhere is named like any other, by the
/// word of those who signed for it, and nothing waits or fails.
#[test]
fn i4_apply_names_a_body_that_it_cannot_read() {
    let (mut story, mut lane) = four();
    let said = issue(&story, &mut lane, 1, Level::Quorum, &[(1, 1), (2, 2)]);
    let index = story.edge.head.size;
    assert_eq!(story.tell(0, vec![said]), [ok(index)]);
    let named = story.tables().named(&[1; 16]).unwrap();
    assert_eq!(named.map(|row| row.index), Some(index));
}

/// One identity is issued once: the same again is the first outcome, under the same
/// request id or another; other content, and a request id that means something else, are
/// refused each with its own reason.
#[test]
fn i7_one_identity_is_issued_once() {
    let (mut story, mut lane) = four();
    let holders = [(1, 1), (2, 2)];
    let first = story.edge.head.size;
    let mut tell = |change: &dyn Fn(&mut IssueDocument), outcome: Option<Outcome>| {
        let mut document = named(&story, 1, &holders);
        change(&mut document);
        let said = issue_of(&story, &mut lane, Level::Quorum, document);
        let index = story.edge.head.size;
        let expected = match outcome {
            None => ok(index),
            Some(outcome) => Answer::Recorded { index, outcome },
        };
        assert_eq!(story.tell(0, vec![said]), [expected]);
    };
    tell(&|_| {}, None);
    let again = Some(Outcome::DuplicateOf(first));
    tell(&|d| d.uid = [9; 16], again);
    tell(&|d| d.request_id = "another".into(), again);
    let other_bytes = |d: &mut IssueDocument| {
        d.request_id = "other bytes".into();
        d.renditions[0].sha256 = Digest([6; 32]);
        d.holdings
            .iter_mut()
            .for_each(|h| h.sha256 = Digest([6; 32]));
    };
    tell(&other_bytes, Some(Outcome::Refused(Reason::IdentityTaken)));
    let other_invoice = |d: &mut IssueDocument| d.metadata.identity.number = "2".into();
    tell(
        &other_invoice,
        Some(Outcome::Refused(Reason::RequestIdReused)),
    );
}
