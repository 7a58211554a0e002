//! Level 6: what outside witnesses have cosigned must be what the records lead to.
//!
//! Promises: an ANCHOR counts only by a witness that the auditor's own policy names and
//! whose key is not the operator's. Keeps the tree's rows (32 bytes for each record),
//! since an ANCHOR speaks of a size that has gone by.

use crate::checks::Check;
use crate::ids::{RecordIndex, TreeSize};
use crate::ledger::Ledger;
use crate::note::{Checkpoint, Note, VerifierKey, Vouch};
use crate::opening::{AnchorDocument, AnchoredBy};
use crate::policy::Policy;
use crate::report::{Finding, OutsideCosigner, Report};
use crate::tree::{self, MemoryRows, TreeRow};

/// See the module.
pub(super) struct Anchors {
    /// Where the records begin: in a slice the rows before are not there.
    first: RecordIndex,
    rows: MemoryRows,
    noted: Vec<(RecordIndex, AnchorDocument)>,
}

impl Anchors {
    pub(super) fn new(first: RecordIndex) -> Anchors {
        Anchors {
            first,
            rows: MemoryRows::new(),
            noted: Vec::new(),
        }
    }

    pub(super) fn keep(&mut self, rows: Vec<TreeRow>) {
        if self.first == RecordIndex::FIRST {
            self.rows.extend(rows);
        }
    }

    pub(super) fn note(&mut self, index: RecordIndex, anchor: &AnchorDocument) {
        self.noted.push((index, anchor.clone()));
    }

    pub(super) fn conclude(self, policy: &Policy, ledger: Option<&Ledger>, report: &mut Report) {
        let Some(ledger) = ledger else {
            return;
        };
        if self.first != RecordIndex::FIRST {
            let detail = "anchors can be compared in a bundle from record 0 only";
            return report.find(Finding::whole(Check::AnchorsComparable, detail));
        }
        let (mut agreeing, mut newest) = (0, None);
        for (index, anchor) in &self.noted {
            let Some((checkpoint, witness)) = outside(anchor, policy, ledger) else {
                continue;
            };
            // Within the log, by the checks of level 5.
            let Ok(root) = tree::root_at(&self.rows, checkpoint.size.min(index.size_before()));
            if root == checkpoint.root {
                agreeing += 1;
                newest = newest.max(Some(checkpoint.size));
                if !report.outside.contains(&witness) {
                    report.outside.push(witness);
                }
            } else {
                let detail = format!(
                    "the witness {} saw the root {} for the first {} records, which lead to \
                     {root}",
                    witness.name, checkpoint.root, checkpoint.size
                );
                report.find(Finding::at(Check::AnchorOfRecords, *index, detail));
            }
        }
        report.anchors = Some(agreeing);
        report.anchored = newest;
        if agreeing == 0 {
            let detail = "no witness of the policy outside of the operator has left an anchor";
            report.find(Finding::whole(Check::AnchorThere, detail));
        }
    }
}

/// The checkpoint of an ANCHOR by a witness that the auditor trusts.
fn outside(
    anchor: &AnchorDocument,
    policy: &Policy,
    ledger: &Ledger,
) -> Option<(Checkpoint, OutsideCosigner)> {
    let AnchoredBy::Witness(witness) = &anchor.by else {
        return None;
    };
    let key = VerifierKey::parse(witness).ok()?;
    let name = policy.name_of(&key)?;
    if ledger.is_own_cosigner(&key) {
        return None;
    }
    let note = Note::parse(anchor.note.as_bytes()).ok()?;
    let checkpoint = Checkpoint::parse(&note.text).ok()?;
    // Everybody agrees about no records.
    let says_something = checkpoint.size != TreeSize::EMPTY;
    match note.vouch(&key) {
        Vouch::Cosigned { time_s } if says_something && checkpoint.origin == ledger.origin => {
            Some((
                checkpoint,
                OutsideCosigner {
                    name: name.to_owned(),
                    time_s,
                },
            ))
        }
        _ => None,
    }
}
