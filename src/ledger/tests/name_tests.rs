//! Names of invoices: which apply takes, and which look alike.

use super::membership_tests::{four, issue_of, named};
use super::*;
use crate::domain::ids::Uid;

const LEVEL: Level = Level::Quorum;

/// Each of these was a second invoice whose number looks like the first's.
#[test]
fn a_number_that_looks_like_another_is_refused_whoever_lets_it_in() {
    let (mut ledger, mut lane) = four();
    let mut issue = |ledger: &mut TestLedger, n: u64, number: &str| {
        let mut document = named(ledger, n, &[(1, 1), (2, 2)]);
        document.metadata.identity.number = number.into();
        let said = issue_of(ledger, &mut lane, LEVEL, document);
        ledger.outcomes(vec![said])[0]
    };
    assert_eq!(issue(&mut ledger, 1, "INV-1"), Outcome::Ok);
    let unfit = [
        "INV-1 ",
        "INV-1\u{a0}",
        "INV-\u{200b}1",
        "INV\u{ad}-1",
        "\u{feff}INV-1",
        "\u{202e}INV-1",
        "Re\u{301}-1",
    ];
    for (n, number) in unfit.into_iter().enumerate() {
        let refused = Outcome::Refused(Reason::Malformed);
        assert_eq!(
            issue(&mut ledger, 2 + n as u64, number),
            refused,
            "{number:?}"
        );
    }
}

#[test]
fn numbers_that_differ_in_case_or_width_are_two_invoices_and_each_is_told_of_the_other() {
    let (mut ledger, mut lane) = four();
    let numbers = ["INV-1", "inv-1", "ＩＮＶ-1", "INV-2"];
    for (n, number) in numbers.into_iter().enumerate() {
        let mut document = named(&ledger, n as u64, &[(1, 1), (2, 2)]);
        document.metadata.identity.number = number.into();
        let said = issue_of(&ledger, &mut lane, LEVEL, document);
        assert_eq!(ledger.outcomes(vec![said]), [Outcome::Ok], "{number}");
    }
    let look_alikes = |n: u64, limit| {
        let mut document = named(&ledger, n, &[(1, 1), (2, 2)]);
        document.metadata.identity.number = numbers[n as usize].into();
        let (identity, uid) = (&document.metadata.identity, Uid(document.uid));
        let mut found = ledger.tables().look_alikes(identity, uid, limit).unwrap();
        found.sort();
        found
    };
    assert_eq!(look_alikes(0, 8), ["inv-1", "ＩＮＶ-1"]);
    assert_eq!(look_alikes(1, 8), ["INV-1", "ＩＮＶ-1"]);
    assert_eq!(look_alikes(3, 8), [""; 0]);
    assert_eq!(look_alikes(0, 1).len(), 1);
}
