//! The rules of the ledger, replayed: what is taken off an invoice, how often; and that what is not
//! shown is never called broken. That each rule finds what breaks it, the frozen files show.

mod ledger;

use ledger::{Ledger, seal};
use muniment_evidence::bundle::Frame;
use muniment_evidence::class::FindingClass;
use muniment_evidence::limits::{RENDITIONS_MAX, REVERSALS_MAX};
use muniment_evidence::opening::{AddRenditionDocument, Document, Money};
use muniment_evidence::record::{Outcome, Reason};
use muniment_evidence::report::Report;
use muniment_evidence::rules::{InvoicePast, TakenOff, reversible};
use muniment_evidence::verify::{BundleVerifier, VerifyOptions};

fn verified(frames: &[Frame]) -> Report {
    let mut verifier = BundleVerifier::new(VerifyOptions::default());
    verifier.push(&seal(frames));
    verifier.finish()
}

fn broken(report: &Report) -> Vec<u64> {
    let rules = report.findings.iter();
    let rules = rules.filter(|finding| finding.class == FindingClass::Rule);
    rules
        .filter_map(|finding| Some(finding.index?.get()))
        .collect()
}

#[test]
fn what_is_not_shown_is_never_called_broken() {
    let ledger = Ledger::realistic(1);
    let whole = verified(&ledger.frames(0));
    assert_eq!(broken(&whole), []);
    assert!(whole.ruled > 20);
    for first in 1..ledger.len() {
        assert_eq!(broken(&verified(&ledger.frames(first))), [], "from {first}");
    }
    for hidden in 0..ledger.len() {
        let mut frames = ledger.frames(0);
        let records = frames.iter_mut().filter_map(|frame| match frame {
            Frame::Record(shown) => Some(shown),
            _ => None,
        });
        for shown in records.skip(hidden as usize).take(1) {
            shown.document = None;
        }
        let report = verified(&frames);
        assert_eq!(broken(&report), [], "without the opening of {hidden}");
        assert!(report.ruled <= whole.ruled);
    }
}

/// An invoice of enough to take off one at a time, for ever.
fn with_an_invoice() -> (Ledger, [u8; 16]) {
    let mut ledger = Ledger::found(1);
    for node in 1..=3 {
        ledger.boot(node);
    }
    let mut invoice = ledger.invoice("A-1");
    let total = invoice.metadata.total.as_mut().expect("it has a total");
    total.minor_units = i64::MAX;
    let uid = invoice.uid;
    ledger.strict(1, Document::Issue(invoice), Outcome::Ok);
    (ledger, uid)
}

#[test]
fn an_invoice_has_a_bounded_number_of_reversals() {
    let (mut ledger, uid) = with_an_invoice();
    for number in 0..=REVERSALS_MAX {
        let mut reversal = ledger.reversal_of(&format!("R-{number}"), uid, Some(1));
        reversal.uid[8] = 1;
        ledger.strict(1, Document::Reverse(reversal), Outcome::Ok);
    }
    let report = verified(&ledger.frames(0));
    assert_eq!(broken(&report), [ledger.len() - 1], "{report}");
}

#[test]
fn an_invoice_has_a_bounded_number_of_renditions() {
    let (mut ledger, uid) = with_an_invoice();
    for number in 0..RENDITIONS_MAX {
        let mut invoice = ledger.invoice("A-1");
        let mut rendition = invoice.renditions.remove(0);
        rendition.role = format!("role {number}");
        let added = Document::AddRendition(AddRenditionDocument {
            tenant: "default".into(),
            uid,
            request_id: rendition.role.clone(),
            rendition,
            holdings: invoice.holdings,
        });
        ledger.strict(1, added, Outcome::Ok);
    }
    let report = verified(&ledger.frames(0));
    assert_eq!(broken(&report), [ledger.len() - 1], "{report}");
}

fn row(total: Option<i64>, reversed: i64) -> InvoicePast {
    InvoicePast {
        total: total.map(euro),
        reversed_minor_units: reversed,
        renditions: 1,
        ..InvoicePast::default()
    }
}

fn euro(minor_units: i64) -> Money {
    Money {
        minor_units,
        currency: "EUR".into(),
        exponent: 2,
    }
}

/// 1.234 taken off an invoice in thousandths is exact; in hundredths it is not the same
/// number, and "exceeds" would send its caller looking for a sum that is right.
#[test]
fn an_amount_is_taken_off_in_the_exponent_of_the_total_and_in_no_other() {
    let thousandths = |minor_units| Money {
        exponent: 3,
        ..euro(minor_units)
    };
    let original = InvoicePast {
        total: Some(thousandths(1234)),
        ..row(None, 0)
    };
    let exact = reversible(&original, Some(&thousandths(234)));
    assert_eq!(exact, Ok(TakenOff::MinorUnits(234)));
    let other = reversible(&original, Some(&euro(100)));
    assert_eq!(other, Err(Reason::AmountExponent));
}

#[test]
fn an_invoice_of_nothing_is_reversed_once() {
    let original = row(Some(0), 0);
    assert_eq!(reversible(&original, None), Ok(TakenOff::Whole));
    assert_eq!(reversible(&original, Some(&euro(0))), Ok(TakenOff::Whole));
    let exceeds = Err(Reason::ReversalExceeds);
    assert_eq!(reversible(&original, Some(&euro(1))), exceeds);
    let reversed = InvoicePast {
        reversed_whole: true,
        ..original
    };
    assert_eq!(reversible(&reversed, None), exceeds);
}

#[test]
fn reversals_never_exceed_the_original() {
    assert_eq!(
        reversible(&row(Some(100), 0), None),
        Ok(TakenOff::MinorUnits(100))
    );
    assert_eq!(
        reversible(&row(Some(100), 60), None),
        Ok(TakenOff::MinorUnits(40))
    );
    let forty = euro(40);
    assert_eq!(
        reversible(&row(Some(100), 60), Some(&forty)),
        Ok(TakenOff::MinorUnits(40))
    );
    let exceeds = Err(Reason::ReversalExceeds);
    assert_eq!(reversible(&row(Some(100), 61), Some(&forty)), exceeds);
    assert_eq!(reversible(&row(Some(100), 0), Some(&euro(-1))), exceeds);
    assert_eq!(reversible(&row(Some(100), 0), Some(&euro(0))), exceeds);
    assert_eq!(reversible(&row(Some(100), 100), None), exceeds);
    assert_eq!(
        reversible(&row(Some(-100), -60), None),
        Ok(TakenOff::MinorUnits(-40))
    );
    assert_eq!(reversible(&row(None, 0), None), Ok(TakenOff::Whole));
    assert_eq!(reversible(&row(None, 0), Some(&forty)), exceeds);
    let in_yen = Money {
        currency: "JPY".into(),
        ..euro(40)
    };
    assert_eq!(reversible(&row(Some(100), 0), Some(&in_yen)), exceeds);
    let void = InvoicePast {
        void: true,
        ..row(Some(1), 0)
    };
    assert_eq!(reversible(&void, None), Err(Reason::AlreadyVoid));
}
