//! Orders and endorsements hold for one change, one ledger, one history, and a time.

mod ledger;

use ledger::{Ledger, seal};
use muniment_evidence::endorsement::{Place, willed};
use muniment_evidence::ids::{NodeId, RecordIndex};
use muniment_evidence::keychange::{Action, Role};
use muniment_evidence::keys::KeyHistory;
use muniment_evidence::mode::Phase;
use muniment_evidence::opening::{Document, ModeDocument};
use muniment_evidence::record::Outcome;
use muniment_evidence::report::Report;
use muniment_evidence::verify::{self, BundleVerifier, Expected, VerifyOptions};

fn prepare() -> ModeDocument {
    ModeDocument {
        phase: Phase::Prepare,
        number: 0,
        voters: vec![NodeId::new(1)],
        sync_learners: Vec::new(),
        async_learners: Vec::new(),
        prepared: None,
        reason: String::new(),
        order: None,
    }
}

fn ordered(ledger: &Ledger) -> Document {
    let mut step = prepare();
    step.order = ledger.order(&step, &ledger.operator_key(0));
    Document::Mode(step)
}

fn bundle(ledger: &Ledger, first: u64) -> Report {
    let mut verifier = BundleVerifier::new(VerifyOptions {
        trust: Some(ledger.trust()),
        ..VerifyOptions::default()
    });
    verifier.push(&seal(&ledger.frames(first)));
    verifier.finish()
}

/// What was ordered stays ordered when the key that did it is revoked later, however far back:
/// a theft would make the ledger unverifiable for ever otherwise.
#[test]
fn a_later_revocation_takes_back_no_order() {
    let mut ledger = Ledger::found_with_operators(1, 2, 1);
    ledger.boot(1);
    let order = ordered(&ledger);
    ledger.strict(1, order, Outcome::Ok);
    let (stolen, fresh) = (ledger.operator_key(0), ledger.operator_key(1));
    let trusted_until = RecordIndex::new(1);
    let changes = vec![
        ledger.ledger_change(Action::Revoke { trusted_until }, Role::Operator, &stolen),
        ledger.ledger_change(Action::Add, Role::Operator, &fresh),
    ];
    ledger.change_keys(changes, &[fresh]);
    assert_eq!(bundle(&ledger, 0).findings, []);
    let late = ordered(&ledger);
    ledger.strict(1, late, Outcome::Ok);
    assert_eq!(bundle(&ledger, 0).findings.len(), 1);
}

/// Whoever does not hold the record that an order names says so, and finds no fault.
#[test]
fn what_cannot_be_compared_is_told() {
    let mut ledger = Ledger::found_with_operators(1, 2, 1);
    ledger.boot(1);
    let order = ordered(&ledger);
    let at = ledger.strict(1, order, Outcome::Ok);
    assert_eq!(bundle(&ledger, 0).unplaced, 0);
    let slice = bundle(&ledger, at);
    assert_eq!((slice.findings.len(), slice.unplaced), (0, 1));
    let receipt = verify::receipt(&ledger.receipt(at).encode(), Expected::default());
    assert_eq!((receipt.findings.len(), receipt.unplaced), (0, 1));
}

/// What the ledger asks when it decides is what the verifier asks later.
#[test]
fn an_order_is_asked_for_where_an_operator_key_is_active() {
    let place = Place {
        index: RecordIndex::new(2),
        committed_at_ms: 0,
    };
    for operators in [0, 1] {
        let ledger = Ledger::found_with_operators(1, 2, operators);
        let Ok(Document::Genesis(genesis)) = Document::decode(&ledger.genesis().opening) else {
            panic!("a genesis");
        };
        let history = KeyHistory::founded(&genesis);
        let asked = |document: &Document| willed(&history, &ledger.id, place, document);
        assert_eq!(asked(&Document::Mode(prepare())).is_ok(), operators == 0);
        assert_eq!(asked(&ordered(&ledger)), Ok(()));
    }
}
