//! Reports in words and as JSON: nothing is said that is not proven.

#[path = "../../evidence/tests/ledger/mod.rs"]
mod ledger;

use ledger::{Ledger, seal};
use muniment_audit::report::{to_json, to_text};
use muniment_audit::summary;
use muniment_evidence::bundle::Frame;
use muniment_evidence::digest::Digest;
use muniment_evidence::ids::RecordIndex;
use muniment_evidence::record::Outcome;
use muniment_evidence::report::{OpenedRecord, Report};
use muniment_evidence::statement::Kind;
use muniment_evidence::verify::{
    self, BundleVerifier, Expected, Observer, SeenRecord, VerifyOptions,
};

fn bundle(bytes: &[u8], options: VerifyOptions) -> Report {
    let mut verifier = BundleVerifier::new(options);
    verifier.push(bytes);
    verifier.finish()
}

#[test]
fn only_ok_is_called_issued() {
    let ledger = Ledger::realistic(1);
    let trust = ledger.trust();
    for index in 0..ledger.len() {
        let bytes = ledger.receipt(index).encode();
        let expected = Expected {
            trust: Some(&trust),
            ..Expected::default()
        };
        let report = verify::receipt(&bytes, expected);
        assert_eq!(report.findings, [], "record {index}");
        let text = to_text(&report) + &to_json(&report);
        let record = &ledger.entries[index as usize].record;
        let issue = record.statement.kind == Kind::Issue && record.outcome == Outcome::Ok;
        assert_eq!(
            text.contains("was issued at"),
            issue,
            "record {index}: {text}"
        );
        if record.outcome != Outcome::Ok {
            assert!(!text.contains("valid"), "{text}");
            // Holdings of what was refused are not checked, so not told.
            assert!(!text.contains("held by") && !text.contains("incarnation"));
        }
    }
}

#[test]
fn a_receipt_with_a_flipped_byte_calls_nothing_issued() {
    let ledger = Ledger::small();
    let trust = ledger.trust();
    let mut receipt = ledger.receipt(2);
    receipt.checkpoint = ledger.note(ledger.len());
    let bytes = receipt.encode();
    for at in 0..bytes.len() {
        for bit in [0x01, 0x80] {
            let mut flipped = bytes.clone();
            flipped[at] ^= bit;
            let expected = Expected {
                trust: Some(&trust),
                ..Expected::default()
            };
            let report = verify::receipt(&flipped, expected);
            assert!(!to_text(&report).contains("was issued"), "byte {at}");
        }
    }
}

#[test]
fn a_shallow_check_does_not_read_like_a_deep_one() {
    let ledger = Ledger::realistic(1);
    for level in 0..=5 {
        let options = VerifyOptions {
            trust: Some(ledger.trust()),
            level,
            ..VerifyOptions::default()
        };
        let text = to_text(&bundle(&ledger.bundle(), options));
        assert_eq!(text.contains("Only the checks"), level < 5, "{text}");
        let untied = "No checkpoint was looked at";
        assert_eq!(text.contains(untied), level < 2, "{text}");
        assert!(text.contains("Self-attested"), "{text}");
    }
}

#[test]
fn a_selection_says_that_it_may_leave_records_out() {
    let ledger = Ledger::realistic(1);
    let options = VerifyOptions {
        trust: Some(ledger.trust()),
        ..VerifyOptions::default()
    };
    let report = bundle(&seal(&ledger.selection(&[0, 1, 5])), options);
    assert_eq!(report.findings, []);
    assert!(to_text(&report).contains("not that nothing was left out"));
}

/// The words of a selection, and where it begins, are in no signature: whoever hands it on can
/// write others there, and a reader must not take them for proven.
#[test]
fn the_words_of_a_selection_are_said_to_be_unsigned() {
    let ledger = Ledger::realistic(1);
    let mut frames = ledger.selection(&[5, 7]);
    let Frame::Manifest(manifest) = &mut frames[0] else {
        panic!("a bundle begins with its manifest");
    };
    manifest.selection = "all invoices of 2026".into();
    manifest.first = RecordIndex::new(4);
    manifest.peaks = vec![Digest([9; 32])];
    let options = VerifyOptions {
        trust: Some(ledger.trust()),
        ..VerifyOptions::default()
    };
    let report = bundle(&seal(&frames), options);
    assert_eq!(report.findings, [], "nobody signed what was changed");
    let text = to_text(&report);
    let line = text
        .lines()
        .find(|line| line.contains("all invoices of 2026"));
    assert!(line.unwrap().contains("Not signed by anybody"), "{text}");
    assert!(!text.contains("from 4"), "{text}");
    let json: serde_json::Value = serde_json::from_str(&to_json(&report)).unwrap();
    assert_eq!(json["unsigned"]["selection"], "all invoices of 2026");
    assert_eq!(
        (&json["selects"], &json["first"]),
        (&true.into(), &serde_json::Value::Null)
    );
    assert_eq!(to_json(&report).matches("all invoices of 2026").count(), 1);
    let range = bundle(&ledger.bundle(), VerifyOptions::default());
    let json: serde_json::Value = serde_json::from_str(&to_json(&range)).unwrap();
    assert_eq!(
        (&json["selects"], &json["first"]),
        (&false.into(), &0.into())
    );
    assert_eq!(json["unsigned"], serde_json::Value::Null);
}

/// Of whom the time stamp is, and that a body is in a store, a node says alone.
#[test]
fn what_a_node_says_of_others_is_not_told_as_theirs() {
    let mut seen = String::new();
    for opened in &each_record("bundle-planned.bin") {
        seen += &format!("{:?}\n", summary::lines(opened));
        seen += &summary::to_value(opened, true, true).to_string();
    }
    assert!(
        seen.contains("whose time stamp is not checked here"),
        "{seen}"
    );
    assert!(seen.contains("\"authority_not_checked\":\""), "{seen}");
    assert!(
        seen.contains("in the store") && seen.contains(", says node"),
        "{seen}"
    );
    assert!(seen.contains("\"kind\":\"STORE\""), "{seen}");
}

/// Whoever looks on, to keep each record.
#[derive(Default)]
struct Each(Vec<OpenedRecord>);

impl Observer for Each {
    fn see(&mut self, seen: SeenRecord<'_>) {
        self.0.push(seen.opened_record());
    }
}

fn each_record(name: &str) -> Vec<OpenedRecord> {
    let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let bytes = std::fs::read(directory.join("../evidence/testdata/v2").join(name)).unwrap();
    let mut verifier = BundleVerifier::observed(VerifyOptions::default(), Each::default());
    verifier.push(&bytes);
    let (report, each) = verifier.finish_observed();
    assert_eq!(report.findings, []);
    each.0
}

/// One broken export must not fill a terminal, and must not look better than it is.
#[test]
fn findings_that_were_not_kept_are_counted() {
    let mut report = bundle(b"", VerifyOptions::default());
    report.findings_count += 1;
    assert!(to_text(&report).contains("and 1 more"));
}
