//! What the verifier is asked, and what it says first.

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

/// The class and index of the first finding.
pub fn first(report: &Report) -> (FindingClass, Option<u64>) {
    let first = report.findings.first().expect("a finding");
    assert_eq!(report.verdict(), Verdict::Failed(first.class));
    assert_eq!(report.exit_code(), first.class.exit_code());
    (first.class, first.index.map(RecordIndex::get))
}
