//! A ledger with an operator key, and orders that are none.
//!
//! Promises one change each, as in `negative`: everything but the order or the endorsement is
//! right, and rightly signed by its node.

use super::key_of_turn;
use crate::ledger::Ledger;
use crate::planning::planned;
use muniment_evidence::digest::Digest;
use muniment_evidence::endorsement::Endorsements;
use muniment_evidence::ids::{NodeId, RecordIndex};
use muniment_evidence::key::SecretKey;
use muniment_evidence::keychange::{Action, KeyDocument, Role};
use muniment_evidence::mode::Phase;
use muniment_evidence::opening::{Document, ModeDocument, PolicyDocument, Setting};
use muniment_evidence::planned::PlannedDocument as Planned;
use muniment_evidence::record::Outcome;

/// A change of the members is prepared and given up, a level raised, the operator key exchanged,
/// another change prepared under the new one; an upload epoch needs no order.
pub fn operated() -> Ledger {
    let mut ledger = Ledger::found_with_operators(1, 2, 1);
    ledger.boot(1);
    ledger.boot(2);
    let (old, new) = (ledger.operator_key(0), ledger.operator_key(1));
    let prepare = ledger.prepare(0, &old);
    let at = ledger.strict(1, Document::Mode(prepare.clone()), Outcome::Ok);
    let abort = ModeDocument {
        phase: Phase::Abort,
        prepared: Some(RecordIndex::new(at)),
        order: None,
        ..prepare
    };
    ledger.strict(1, Document::Mode(abort), Outcome::Ok);
    let mut level = setting("feature_level", 2);
    level.order = ledger.order(&level, &old);
    ledger.strict(2, Document::Policy(level), Outcome::Ok);
    let changes = vec![
        ledger.ledger_change(Action::Add, Role::Operator, &new),
        ledger.ledger_change(Action::RETIRE, Role::Operator, &old),
    ];
    ledger.change_keys(changes, std::slice::from_ref(&new));
    let epoch = setting("upload_epoch", 2);
    ledger.strict(1, Document::Policy(epoch), Outcome::Ok);
    let prepare = ledger.prepare(1, &new);
    ledger.strict(2, Document::Mode(prepare), Outcome::Ok);
    ledger
}

fn setting(name: &str, value: u64) -> PolicyDocument {
    let name = name.to_owned();
    PolicyDocument {
        settings: vec![Setting { name, value }],
        order: None,
    }
}

impl Ledger {
    /// A change of the members, as the operator wills it here and now.
    fn prepare(&self, number: u64, operator: &SecretKey) -> ModeDocument {
        let mut prepare = ModeDocument {
            phase: Phase::Prepare,
            number,
            voters: vec![NodeId::new(1), NodeId::new(2)],
            sync_learners: Vec::new(),
            async_learners: Vec::new(),
            prepared: None,
            reason: "remove node 3".into(),
            order: None,
        };
        prepare.order = self.order(&prepare, operator);
        prepare
    }
}

/// As [`operated`], and a change of the members whose order is wrong.
fn ordered(change: &dyn Fn(&Ledger, &mut ModeDocument)) -> Ledger {
    let mut ledger = operated();
    let mut prepare = ledger.prepare(2, &ledger.operator_key(1));
    change(&ledger, &mut prepare);
    ledger.strict(1, Document::Mode(prepare), Outcome::Ok);
    ledger
}

/// Signed anew, to hold elsewhere.
fn placed(change: &dyn Fn(&mut Endorsements)) -> Ledger {
    ordered(&|ledger, prepare| {
        let mut order = ledger.endorsements();
        change(&mut order);
        order.sign(&ledger.id, prepare, &ledger.operator_key(1));
        prepare.order = Some(order);
    })
}

/// A change of the log key in a ledger without roots, endorsed by whoever is said.
fn endorsed(change: &dyn Fn(&Ledger, &mut KeyDocument)) -> Ledger {
    let mut ledger = Ledger::found(1);
    ledger.boot(1);
    let next = ledger.log_key_of(1);
    let add = ledger.log_change(Action::Add, &next);
    let mut document = KeyDocument {
        serial: 0,
        changes: vec![add],
        threshold: 0,
        endorsements: ledger.endorsements(),
    };
    change(&ledger, &mut document);
    document.endorse(&ledger.id, &next);
    ledger.strict(1, Document::Key(document), Outcome::Ok);
    ledger
}

pub fn all() -> Vec<(&'static str, Ledger)> {
    let mut all = Vec::from(orders());
    all.extend(endorsements());
    all
}

/// A member says on its own word what only an operator can.
fn unordered(is_it: fn(&Planned) -> bool) -> Ledger {
    let mut ledger = operated();
    let document = planned()
        .into_iter()
        .find(is_it)
        .expect("a planned document");
    let document = Document::Planned(document).under(ledger.endorsements());
    ledger.strict(1, document, Outcome::Ok);
    ledger
}

fn waived(document: &Planned) -> bool {
    matches!(document, Planned::Waiver(_))
}

fn lost(document: &Planned) -> bool {
    matches!(document, Planned::BodyLost(_))
}

fn orders() -> [(&'static str, Ledger); 11] {
    let by = |signer: &dyn Fn(&Ledger) -> SecretKey| {
        ordered(&|ledger, prepare| prepare.order = ledger.order(prepare, &signer(ledger)))
    };
    let mut level = operated();
    let raise = setting("feature_level", 3);
    level.strict(1, Document::Policy(raise), Outcome::Ok);
    [
        (
            "order-missing.bin",
            ordered(&|_, prepare| prepare.order = None),
        ),
        ("order-of-level-missing.bin", level),
        ("order-of-waiver-missing.bin", unordered(waived)),
        ("order-of-loss-missing.bin", unordered(lost)),
        ("order-foreign.bin", by(&|ledger| ledger.key(1))),
        ("order-retired.bin", by(&|ledger| ledger.operator_key(0))),
        (
            "order-ledger.bin",
            ordered(&|ledger, prepare| {
                let mut order = ledger.endorsements();
                order.sign(&Digest([5; 32]), prepare, &ledger.operator_key(1));
                prepare.order = Some(order);
            }),
        ),
        (
            "order-target.bin",
            ordered(&|_, prepare| prepare.voters = vec![NodeId::new(2)]),
        ),
        (
            "order-early.bin",
            placed(&|order| order.after = order.after.next()),
        ),
        (
            "order-expired.bin",
            placed(&|order| order.expires_ms -= 3_600_000),
        ),
        ("order-leaf.bin", placed(&|order| order.leaf.0[3] ^= 1)),
    ]
}

fn endorsements() -> [(&'static str, Ledger); 8] {
    let members = |ledger: &Ledger, document: &mut KeyDocument| ledger.endorse(document);
    let mut early = Ledger::found(1);
    early.boot(1);
    early.boot(2);
    let (stolen, fresh) = (early.key(2), key_of_turn(&early, 2, 1));
    let action = Action::Revoke {
        trusted_until: RecordIndex::new(2),
    };
    let changes = vec![
        early.node_change(action, Role::Statement, 2, &stolen),
        early.node_change(Action::Add, Role::Statement, 2, &fresh),
    ];
    early.change_keys(changes, &[fresh]);
    let mut none_left = operated();
    let key = none_left.operator_key(1);
    let retire = none_left.ledger_change(Action::RETIRE, Role::Operator, &key);
    none_left.change_keys(vec![retire], &[]);
    [
        (
            "key-by-log.bin",
            endorsed(&|ledger, document| document.endorse(&ledger.id, &ledger.log_key())),
        ),
        (
            "key-by-one-member.bin",
            endorsed(&|ledger, document| document.endorse(&ledger.id, &ledger.key(1))),
        ),
        (
            "key-early.bin",
            endorsed(&|ledger, document| {
                document.endorsements.after = document.endorsements.after.next();
                members(ledger, document);
            }),
        ),
        (
            "key-expired.bin",
            endorsed(&|ledger, document| {
                document.endorsements.expires_ms -= 3_600_000;
                members(ledger, document);
            }),
        ),
        (
            "key-leaf.bin",
            endorsed(&|ledger, document| {
                document.endorsements.leaf.0[3] ^= 1;
                members(ledger, document);
            }),
        ),
        (
            "key-ledger.bin",
            endorsed(&|ledger, document| {
                document.endorse(&Digest([5; 32]), &ledger.key(1));
                document.endorse(&ledger.id, &ledger.key(2));
            }),
        ),
        ("key-revoked-early.bin", early),
        ("key-no-operator-left.bin", none_left),
    ]
}
