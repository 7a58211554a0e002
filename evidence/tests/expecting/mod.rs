//! What the verifier is asked, and the gravest of what it says.

use muniment_evidence::class::FindingClass;
use muniment_evidence::ids::RecordIndex;
use muniment_evidence::report::{Report, Verdict};
use muniment_evidence::trust::Trust;
use muniment_evidence::verify::Expected;

/// Of this ledger, and nothing else is known.
pub fn pinned(trust: &Trust) -> Expected<'_> {
    Expected {
        trust: Some(trust),
        ..Expected::default()
    }
}

/// The gravest class, and the least index at which it shows.
pub fn gravest(report: &Report) -> (FindingClass, Option<u64>) {
    let (class, index) = *report.classes().first().expect("a finding");
    assert_eq!(report.verdict(), Verdict::Failed(class));
    assert_eq!(report.exit_code(), class.exit_code());
    (class, index.map(RecordIndex::get))
}
