//! What a feature level brings is refused unread below it, and taken from it on.

use super::order_tests::{hear, operated, operator};
use super::*;
use crate::ledger::policy::{FEATURE_LEVEL, RAISED_LEVEL};
use muniment_evidence::opening::{PlannedDocument, PolicyDocument, Setting};
use muniment_evidence::tenancy::{ConfigDocument, ConfigMoment, NamedText};

/// As the version before this one founded it.
const BEFORE: u64 = 1;
const REFUSED: Outcome = Outcome::Refused(Reason::FeatureLevel);
const MALFORMED: Outcome = Outcome::Refused(Reason::Malformed);

fn config() -> Document {
    Document::Planned(PlannedDocument::Config(ConfigDocument {
        moment: ConfigMoment::Start,
        digest: Digest([7; 32]),
        changed: vec![NamedText {
            name: "cluster.profile".into(),
            value: "wan".into(),
        }],
    }))
}

/// Says these bytes as a CONFIG, salted; what becomes of it, and whether its opening is kept.
fn say(ledger: &mut TestLedger, lane: &mut TestSigner, bytes: &[u8]) -> (Outcome, bool) {
    let mut said = lane.write(ledger, &config());
    said.document = Opening {
        salt: [7; 32],
        bytes: bytes.to_vec(),
    };
    said.statement.document = commit_document(&said.document.salt, &said.document.bytes);
    lane.prev = said.statement.hash();
    let index = RecordIndex::new(ledger.head().size.get());
    let outcome = ledger.outcomes(vec![said])[0];
    let (document, _) = ledger.tables().openings(index).unwrap();
    (outcome, document.is_some())
}

fn raise(level: u64) -> PolicyDocument {
    PolicyDocument {
        settings: vec![Setting {
            name: RAISED_LEVEL.to_owned(),
            value: level,
        }],
        order: None,
    }
}

/// The version before knows no opening of the kind: what it cannot read and what this one can
/// must leave the same record, and keep the same opening.
#[test]
fn a_config_is_refused_unread_below_its_level_and_taken_from_it_on() {
    let (mut ledger, mut lane) = TestLedger::voting();
    ledger.tip.head.feature_level = BEFORE;
    let good = config().encode();
    let bad = &good[..good.len() - 1];
    for bytes in [&good[..], bad, &[0xff; 9]] {
        assert_eq!(say(&mut ledger, &mut lane, bytes), (REFUSED, true));
    }
    let raised = hear(&mut ledger, &mut lane, &Document::Policy(raise(2)));
    assert_eq!((raised, ledger.head().feature_level), (Outcome::Ok, 2));
    assert_eq!(say(&mut ledger, &mut lane, &good), (Outcome::Ok, true));
    assert_eq!(say(&mut ledger, &mut lane, bad), (MALFORMED, true));
    // There is no way back, and none beyond what is known.
    for level in [BEFORE, 2, FEATURE_LEVEL + 1, u64::MAX] {
        let refused = hear(&mut ledger, &mut lane, &Document::Policy(raise(level)));
        assert_eq!((refused, ledger.head().feature_level), (MALFORMED, 2));
    }
}

/// Where there are operators, the level is theirs to raise.
#[test]
fn a_level_is_raised_on_an_operators_order() {
    let (mut ledger, mut lane) = operated();
    ledger.tip.head.feature_level = BEFORE;
    let unordered = hear(&mut ledger, &mut lane, &Document::Policy(raise(2)));
    assert_eq!(unordered, Outcome::Refused(Reason::NotEntitled));
    assert_eq!(hear(&mut ledger, &mut lane, &config()), REFUSED);
    let mut order = ledger.endorsements();
    let wanted = raise(2);
    order.sign(&ledger.tip.head.ledger, &wanted, &operator(0));
    let ordered = Document::Policy(PolicyDocument {
        order: Some(order),
        ..wanted
    });
    assert_eq!(hear(&mut ledger, &mut lane, &ordered), Outcome::Ok);
    assert_eq!(hear(&mut ledger, &mut lane, &config()), Outcome::Ok);
}

/// What stays without a level is refused on the newest ledger too, unread.
#[test]
fn a_kind_that_no_level_has_is_refused_at_every_level() {
    let (mut ledger, mut lane) = TestLedger::voting();
    assert_eq!(ledger.head().feature_level, FEATURE_LEVEL);
    for kind in Kind::ALL.into_iter().chain([Kind::Later(99)]) {
        if kind.first_level().is_some() {
            continue;
        }
        let mut said = lane.write(&ledger, &config());
        said.statement.kind = kind;
        said.document.bytes = vec![0xff; 9];
        said.statement.document = commit_document(&said.document.salt, &said.document.bytes);
        lane.prev = said.statement.hash();
        assert_eq!(ledger.outcomes(vec![said]), [REFUSED], "{kind}");
    }
}

/// Every replica applies GENESIS by itself, and one that joins later by later software: a ledger
/// at another level from its first record on would be another ledger.
#[test]
fn a_ledger_begins_at_its_founders_level_whoever_applies_it() {
    for (founded_at, level) in [(None, BEFORE), (Some(BEFORE), BEFORE), (Some(2), 2)] {
        let mut ledger = TestLedger::begin();
        let genesis = TestSigner::new(1, Lane::Boot).write(&ledger, &genesis());
        let founding = ProposedSubmission {
            founded_at,
            ..genesis.into()
        };
        let command = Command {
            proposed_at_ms: 0,
            submissions: vec![founding],
        };
        let command = Command::decode(&command.encode()).unwrap();
        assert_eq!(ledger.apply_command(&command), [ok(0)]);
        assert_eq!(ledger.head().feature_level, level);
    }
    for unknown in [0, FEATURE_LEVEL + 1] {
        let mut ledger = TestLedger::begin();
        let genesis = TestSigner::new(1, Lane::Boot).write(&ledger, &genesis());
        let founding = ProposedSubmission {
            founded_at: Some(unknown),
            ..genesis.into()
        };
        let command = Command {
            proposed_at_ms: 0,
            submissions: vec![founding],
        };
        assert_eq!(ledger.apply_command(&command.into()), [Answer::Unreadable]);
    }
}
