//! What the auditor knows of a ledger's keys already, from evidence that he verified before.
//!
//! Promises: a change that is known counts, also for evidence from before it, so that a
//! revocation holds for older receipts; and evidence of a later size that lacks a known
//! change is of another history. Leaves it to the caller to have verified what this was
//! taken from, under the same pin.

use super::learned_keys::LearnedKeys;
use crate::checks::Check;
use crate::class::FindingClass;
use crate::digest::Digest;
use crate::ids::TreeSize;
use crate::keychange::RecordedChange;
use crate::ledger::Ledger;
use crate::report::{Finding, Report};

/// The changes of keys up to some size, all of them, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownKeys {
    /// Leaf hash of the genesis record.
    pub ledger: Digest,
    pub keys: Vec<RecordedChange>,
}

impl KnownKeys {
    /// From the report of evidence of the ledger that is meant; `None` where it does not
    /// show that no change was left out. What else is wrong with it does not matter: it may
    /// hold what a stolen key has signed.
    pub fn of(report: &Report) -> Option<KnownKeys> {
        let mut findings = report.findings.iter();
        let is_meant = !findings.any(|finding| finding.class == FindingClass::Untrusted);
        let ledger = report.ledger.filter(|_| is_meant && report.keys_tied)?;
        let keys = report.keys.clone();
        Some(KnownKeys { ledger, keys })
    }

    /// Brings what is known to what the evidence shows under a checkpoint of this size.
    pub(super) fn join(
        &self,
        shown: &LearnedKeys,
        size: TreeSize,
        ledger: &mut Ledger,
        report: &mut Report,
    ) {
        let mut fork = |check, index, detail: &str| {
            report.find(Finding::at(check, index, detail));
        };
        if self.ledger != ledger.id {
            // The pin says which one is meant.
            return;
        }
        for known in &self.keys {
            if size.contains(known.index) {
                if shown.leaf(known.index) != Some(&known.leaf) {
                    fork(
                        Check::KnownChangeShown,
                        known.index,
                        "is a change of keys that you know, and not shown here",
                    );
                }
            } else {
                // It is not believed only where an earlier one is missing or a stranger, of
                // which the one is told above and the other below.
                let _ = ledger.learn(known.place(), &known.document);
            }
        }
        let last = self.keys.last().map(|known| known.index);
        let stranger = shown.indexes().find(|index| {
            last.is_some_and(|last| *index < last)
                && self.keys.iter().all(|known| known.index != *index)
        });
        if let Some(index) = stranger {
            fork(
                Check::ShownChangeKnown,
                index,
                "changes keys before a change that you know, and you do not know it",
            );
        }
    }
}
