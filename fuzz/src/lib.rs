//! What must hold of every input to the evidence crate, however it was made.
//!
//! One function for each target, which panics when a promise is broken: decoders accept
//! only what encoding writes, printers print what reads back, and a verifier with a pin
//! verifies nothing but the records of the pinned ledger. Leaves the making of inputs to
//! libFuzzer, and what it begins with to [`seeds`].

pub mod decoders;
pub mod seeds;
pub mod texts;
pub mod trees;
pub mod verifiers;

#[path = "../../evidence/tests/ledger/mod.rs"]
mod ledger;
#[path = "../../evidence/tests/rfc6962/mod.rs"]
mod rfc6962;

use ledger::{Ledger, NODES};
use libfuzzer_sys as _;
use muniment_evidence::ids::NodeId;
use muniment_evidence::key::{SecretKey, Signer as _};
use muniment_evidence::keychange::{Action, KeyChange, KeyDocument, Role};
use muniment_evidence::ledger::cosigner_key_name;
use muniment_evidence::note::VerifierKey;
use muniment_evidence::opening::{AnchorDocument, AnchoredBy, Document};
use muniment_evidence::policy::{Policy, Threshold};
use muniment_evidence::record::Outcome;
use std::sync::LazyLock;

/// The one ledger whose records are true here: small, and with a change of its keys
/// and an anchor.
pub(crate) static LEDGER: LazyLock<Ledger> = LazyLock::new(|| {
    let mut ledger = Ledger::small();
    let added = Ledger::found(2).cosignature_key(2);
    let mut document = KeyDocument {
        serial: 0,
        changes: vec![KeyChange {
            action: Action::Add,
            role: Role::Cosignature,
            node: NodeId::new(2),
            region: "r1".into(),
            zone: "z2".into(),
            key: added.public(),
        }],
        threshold: 0,
        endorsements: ledger.endorsements(),
    };
    ledger.endorse(&mut document);
    document.endorse(&ledger.id, &added);
    ledger.strict(1, Document::Key(document), Outcome::Ok);
    let last = ledger.issue(1, "A-2", Outcome::Ok);
    let deferred = ledger.download(1, last);
    ledger.end(1, &[deferred]);
    let size = ledger.len();
    let anchor = AnchorDocument {
        by: AnchoredBy::Witness(VerifierKey::cosigner(OUTSIDE, outside_key().public()).to_string()),
        note: ledger.note(size) + &ledger.checkpoint(size).cosign(OUTSIDE, &outside_key(), 99),
    };
    ledger.strict(1, Document::Anchor(anchor), Outcome::Ok);
    ledger
});

/// A witness that is not the operator's; it has left an anchor in [`LEDGER`].
const OUTSIDE: &str = "outside.example";

fn outside_key() -> SecretKey {
    SecretKey::from_seed(&[0x0e; 32])
}

/// The ledger's own log key, and two of its three cosigners. The witness outside may.
pub(crate) static POLICY: LazyLock<Policy> = LazyLock::new(|| {
    let ledger = &*LEDGER;
    let mut builder = Policy::builder();
    let log = VerifierKey::log(ledger::ORIGIN, ledger.log_key().public());
    builder.log(log, None).expect("a valid key");
    let names: Vec<String> = (1..=NODES).map(|node| format!("n{node}")).collect();
    for (node, name) in (1..=NODES).zip(&names) {
        let at = cosigner_key_name(ledger::ORIGIN, "r1", &format!("z{node}"), NodeId::new(node));
        let key = VerifierKey::cosigner(&at, ledger.cosignature_key(node).public());
        builder.witness(name, key, None).expect("a valid key");
    }
    let outside = VerifierKey::cosigner(OUTSIDE, outside_key().public());
    let added = builder.witness("outside", outside, None);
    added.expect("a valid key");
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let grouped = builder.group("zones", Threshold::AtLeast(2), &names);
    let quorum = grouped.and_then(|builder| builder.quorum("zones"));
    quorum
        .and_then(|builder| builder.build())
        .expect("the rules are kept")
});

/// Whether the bytes are a record of [`LEDGER`].
pub(crate) fn is_true_record(bytes: &[u8]) -> bool {
    let mut entries = LEDGER.entries.iter();
    entries.any(|entry| entry.record.encode() == bytes)
}
