//! Reports in words and as JSON: nothing is said that is not proven.

#[path = "../../evidence/tests/ledger/mod.rs"]
mod ledger;

use ledger::{Ledger, seal};
use muniment_audit::report::{to_json, to_text};
use muniment_evidence::record::Outcome;
use muniment_evidence::report::Report;
use muniment_evidence::statement::Kind;
use muniment_evidence::verify::{self, BundleVerifier, Expected, VerifyOptions};

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

/// One broken export must not fill a terminal, and must not look better than it is.
#[test]
fn findings_that_were_not_kept_are_counted() {
    let mut report = bundle(b"", VerifyOptions::default());
    report.findings_count += 1;
    assert!(to_text(&report).contains("and 1 more"));
}
