//! What an operator wills needs an operator, whatever a member says.

use super::*;
use crate::ledger::policy::{FEATURE_LEVEL, RAISED_LEVEL, UPLOAD_EPOCH};
use muniment_evidence::endorsement::Endorsable;
use muniment_evidence::mode::Phase;
use muniment_evidence::opening::{ModeDocument, PolicyDocument, Setting};

pub(super) fn operator(turn: u8) -> SecretKey {
    SecretKey::from_seed(&[50 + turn; 32])
}

/// Founded with one operator key; nodes 1 to 3 vote and have booted.
pub(super) fn operated() -> (TestLedger, TestSigner) {
    let Document::Genesis(mut document) = genesis() else {
        unreachable!("a genesis document");
    };
    document.operator_keys = vec![operator(0).public()];
    let mut ledger = TestLedger::begin();
    let mut boots = TestSigner::new(1, Lane::Boot);
    let founding = boots.write(&ledger, &Document::Genesis(document));
    assert_eq!(ledger.apply(0, vec![founding]), [ok(0)]);
    let lane = ledger.boot(&mut boots);
    for node in [2, 3] {
        ledger.boot(&mut TestSigner::new(node, Lane::Boot));
    }
    ledger.members(&[&[1, 2, 3]], &[]);
    (ledger, lane)
}

fn prepare(number: u64, voters: [u64; 2]) -> ModeDocument {
    ModeDocument {
        phase: Phase::Prepare,
        number,
        voters: voters.map(NodeId::new).to_vec(),
        sync_learners: Vec::new(),
        async_learners: Vec::new(),
        prepared: None,
        reason: "one less".into(),
        order: None,
    }
}

impl TestLedger {
    fn order(&self, what: &dyn Endorsable, key: &SecretKey) -> Endorsements {
        let mut order = self.endorsements();
        order.sign(&self.tip.head.ledger, what, key);
        order
    }

    fn ordered(&self, mut step: ModeDocument, key: &SecretKey) -> Document {
        step.order = Some(self.order(&step, key));
        Document::Mode(step)
    }

    fn hear(&mut self, lane: &mut TestSigner, document: &Document) -> Outcome {
        hear(self, lane, document)
    }
}

pub(super) fn hear(ledger: &mut TestLedger, lane: &mut TestSigner, document: &Document) -> Outcome {
    let said = lane.write(ledger, document);
    ledger.outcomes(vec![said])[0]
}

const NOT_ENTITLED: Outcome = Outcome::Refused(Reason::NotEntitled);

/// A voter that is out for the whole ledger prepares a change to itself.
#[test]
fn a_change_of_the_members_is_prepared_on_an_operators_order_alone() {
    let (mut ledger, mut lane) = operated();
    let wanted = || prepare(0, [1, 2]);
    let with = |order: Endorsements| {
        Document::Mode(ModeDocument {
            order: Some(order),
            ..wanted()
        })
    };
    let good = ledger.order(&wanted(), &operator(0));
    let placed = |change: &dyn Fn(&mut Endorsements)| {
        let mut order = ledger.endorsements();
        change(&mut order);
        order.sign(&ledger.head().ledger, &wanted(), &operator(0));
        with(order)
    };
    let mut elsewhere = ledger.endorsements();
    elsewhere.sign(&Digest([5; 32]), &wanted(), &operator(0));
    let mut twice = good.clone();
    twice.list.push(good.list[0]);
    let mut forged = good.clone();
    forged.list[0].signature.0[7] ^= 1;
    let other_target = ModeDocument {
        order: Some(good.clone()),
        ..prepare(0, [1, 3])
    };
    let wrong = [
        ("none", Document::Mode(wanted())),
        (
            "a member's",
            ledger.ordered(wanted(), &SecretKey::from_seed(&[1; 32])),
        ),
        ("of another ledger", with(elsewhere)),
        ("for another target", Document::Mode(other_target)),
        ("twice signed", with(twice)),
        ("forged", with(forged)),
        ("expired", placed(&|order| order.expires_ms = 9)),
        ("of another history", placed(&|order| order.leaf.0[3] ^= 1)),
        (
            "for later",
            placed(&|order| order.after = RecordIndex::new(90)),
        ),
    ];
    for (what, document) in wrong {
        let said = lane.write(&ledger, &document);
        let at = ledger.head().size.get();
        let answers = ledger.apply(10, vec![said]);
        assert_eq!(answers, [refused(at, Reason::NotEntitled)], "{what}");
    }
    assert_eq!(ledger.hear(&mut lane, &with(good)), Outcome::Ok);
}

/// An order is good for one change: whoever kept it cannot have it again.
#[test]
fn an_order_is_taken_once() {
    let (mut ledger, mut lane) = operated();
    let order = ledger.ordered(prepare(0, [1, 2]), &operator(0));
    assert_eq!(ledger.hear(&mut lane, &order), Outcome::Ok);
    let prepared = ledger.head().size.last();
    let given_up = Document::Mode(ModeDocument {
        phase: Phase::Abort,
        prepared,
        ..prepare(0, [1, 2])
    });
    assert_eq!(ledger.hear(&mut lane, &given_up), Outcome::Ok);
    let not_due = Outcome::Refused(Reason::NotDue);
    assert_eq!(ledger.hear(&mut lane, &order), not_due);
}

/// A key that was retired, or revoked, orders nothing from then on; the new one does.
#[test]
fn an_operator_key_that_is_not_active_orders_nothing() {
    for revoked in [false, true] {
        let (mut ledger, mut lane) = operated();
        let trusted_until = ledger.head().size.next_index();
        let change = |action, turn| KeyChange {
            action,
            role: Role::Operator,
            node: NodeId::NONE,
            region: String::new(),
            zone: String::new(),
            key: operator(turn).public(),
        };
        let ending = match revoked {
            false => Action::RETIRE,
            true => Action::Revoke { trusted_until },
        };
        let retire = change_keys(&ledger, vec![change(ending, 0)], &[]);
        let none_left = Outcome::Refused(Reason::KeyChange);
        assert_eq!(ledger.hear(&mut lane, &Document::Key(retire)), none_left);
        let trusted_until = ledger.head().size.next_index();
        let ending = match revoked {
            false => Action::RETIRE,
            true => Action::Revoke { trusted_until },
        };
        let changes = vec![change(Action::Add, 1), change(ending, 0)];
        let exchange = change_keys(&ledger, changes, &[&operator(1)]);
        assert_eq!(
            ledger.hear(&mut lane, &Document::Key(exchange)),
            Outcome::Ok
        );
        let old = ledger.ordered(prepare(0, [1, 2]), &operator(0));
        assert_eq!(ledger.hear(&mut lane, &old), NOT_ENTITLED);
        let new = ledger.ordered(prepare(0, [1, 2]), &operator(1));
        assert_eq!(ledger.hear(&mut lane, &new), Outcome::Ok);
    }
}

/// Epochs are the leader's to move; any other setting is an operator's.
#[test]
fn a_setting_is_an_operators_and_an_epoch_a_leaders() {
    let (mut ledger, mut lane) = operated();
    let setting = |name: &str, value| PolicyDocument {
        settings: vec![Setting {
            name: name.to_owned(),
            value,
        }],
        order: None,
    };
    let raise = setting(RAISED_LEVEL, FEATURE_LEVEL + 1);
    let unordered = Document::Policy(raise.clone());
    assert_eq!(ledger.hear(&mut lane, &unordered), NOT_ENTITLED);
    let order = Some(ledger.order(&raise, &operator(0)));
    let ordered = Document::Policy(PolicyDocument { order, ..raise });
    // This software knows no such level; what an operator may ask is another question.
    let malformed = Outcome::Refused(Reason::Malformed);
    assert_eq!(ledger.hear(&mut lane, &ordered), malformed);
    let epoch = setting(UPLOAD_EPOCH, ledger.head().upload_epoch.next().get());
    let said = lane.write(&ledger, &Document::Policy(epoch));
    let at = ledger.head().size.get();
    assert_eq!(ledger.apply(60_000, vec![said]), [ok(at)]);
}

/// Whoever founded it without operator keys said that a voter's word is to do.
#[test]
fn without_operator_keys_a_voters_word_does_and_a_learners_does_not() {
    let (mut ledger, mut lane) = four();
    let mut boots = TestSigner::new(4, Lane::Boot);
    assert!(boots.follow(&ledger));
    let mut learner = ledger.boot(&mut boots);
    let wanted = Document::Mode(prepare(0, [1, 2]));
    assert_eq!(ledger.hear(&mut learner, &wanted), NOT_ENTITLED);
    assert_eq!(ledger.hear(&mut lane, &wanted), Outcome::Ok);
}

/// No key that every voter holds decides over keys, and none over the past.
#[test]
fn keys_are_changed_by_a_majority_for_this_place_and_not_in_retrospect() {
    let (ledger, _) = TestLedger::voting();
    let apply = |change: &dyn Fn(&mut KeyDocument)| {
        let (mut ledger, mut lane) = TestLedger::voting();
        let mut document = ledger.revocation(NodeId::new(3), &SecretKey::from_seed(&[3; 32]));
        document.endorsements.list.truncate(1);
        change(&mut document);
        ledger.hear(&mut lane, &Document::Key(document))
    };
    let id = ledger.head().ledger;
    let key = |seed| SecretKey::from_seed(&[seed; 32]);
    let not_endorsed = Outcome::Refused(Reason::KeyEndorsement);
    // The log key is that of seed 9.
    assert_eq!(apply(&|change| change.endorse(&id, &key(9))), not_endorsed);
    assert_eq!(apply(&|change| change.endorse(&id, &key(2))), not_endorsed);
    let both = |change: &mut KeyDocument| {
        change.endorse(&id, &key(1));
        change.endorse(&id, &key(2));
    };
    assert_eq!(apply(&both), Outcome::Ok);
    let again = |change: &mut KeyDocument, endorse: &dyn Fn(&mut KeyDocument)| {
        change.endorsements.list.clear();
        change.endorse(&id, &key(203));
        endorse(change);
    };
    let forged = apply(&|change| {
        both(change);
        change.endorsements.list[1].signature.0[7] ^= 1;
    });
    assert_eq!(forged, not_endorsed);
    let elsewhere = apply(&|change| {
        change.endorsements.leaf.0[3] ^= 1;
        again(change, &both);
    });
    assert_eq!(elsewhere, not_endorsed);
    let in_retrospect = apply(&|change| {
        let trusted_until = RecordIndex::new(1);
        change.changes[0].action = Action::Revoke { trusted_until };
        again(change, &both);
    });
    assert_eq!(in_retrospect, Outcome::Refused(Reason::KeyChange));
}
