//! Who must hold a body before a record may name it, as stories.

use super::members::{four, issue};
use super::*;

/// A majority of the voters, and whatever else the level asks: nothing less is recorded.
#[test]
fn i1_an_issue_held_by_too_few_is_refused() {
    let (mut story, mut lane) = four();
    let cases: [(Level, &[(u64, u8)], bool); 9] = [
        (Level::Quorum, &[], false),
        (Level::Quorum, &[(1, 1)], false),
        // Saying it twice makes no second copy, and who does not vote is no majority.
        (Level::Quorum, &[(1, 1), (1, 1)], false),
        (Level::Quorum, &[(1, 1), (4, 4)], false),
        (Level::Quorum, &[(1, 1), (3, 3)], true),
        (Level::Zones(3), &[(1, 1), (3, 3)], false),
        (Level::Zones(3), &[(1, 1), (2, 2), (3, 3)], true),
        (Level::All, &[(2, 2), (3, 3)], false),
        (Level::All, &[(1, 1), (2, 2), (3, 3)], true),
    ];
    for (number, (level, holders, enough)) in (1..).zip(cases) {
        let said = issue(&story, &mut lane, number, level, holders);
        let index = story.edge.head.size;
        let expected = match enough {
            true => ok(index),
            false => refused(index, Reason::HoldingsInsufficient),
        };
        assert_eq!(
            story.tell(0, vec![said]),
            [expected],
            "{level:?} {holders:?}"
        );
    }
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
