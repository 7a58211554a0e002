//! One record, proven: the checks of a receipt in their order.
//!
//! Tests: `evidence/tests/receipts.rs`.

use super::expectations::{agree, by_policy, open_ledger};
use super::known_keys::KnownKeys;
use super::learned_keys::LearnedKeys;
use crate::checks::Check;
use crate::digest::Digest;
use crate::ids::TreeSize;
use crate::ledger::Ledger;
use crate::note::Checkpoint;
use crate::policy::Policy;
use crate::receipt::Receipt;
use crate::record::{Outcome, Record};
use crate::record_checks;
use crate::report::{EvidenceKind, Finding, LEVEL_DEFAULT, OpenedRecord, Report};
use crate::statement::Kind;
use crate::tree;
use crate::trust::Trust;

/// What the holder of a receipt expects of it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Expected<'a> {
    /// The ledger that is meant.
    pub trust: Option<&'a Trust>,
    /// Whose signatures there must be.
    pub policy: Option<&'a Policy>,
    /// The changes of keys that are known already.
    pub keys: Option<&'a KnownKeys>,
    /// SHA-256 and length of a file that should be the one of the record.
    pub document: Option<(&'a Digest, u64)>,
    /// That the record is an invoice, and that it was issued.
    pub issued: bool,
    /// A checkpoint note of the same ledger, kept from earlier.
    pub head: Option<&'a [u8]>,
    /// How old the newest cosignature by a witness of the policy may be.
    pub age: Option<MaxAge>,
}

/// A bound on the age of a checkpoint, by the clock of its newest cosignature that the policy
/// asks for. What time it is, the caller says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaxAge {
    /// Seconds since 1970.
    pub now_s: u64,
    pub most_s: u64,
}

/// Verifies the bytes of a receipt file.
///
/// A receipt of an honest ledger holds in itself; only the pin says that it is of the ledger
/// which you mean. With `policy` the signatures must be those that you ask for; with `keys`
/// what was revoked since counts: without both it is UNWITNESSED. With
/// `document` the record must speak of the very bytes that you have.
///
/// ```
/// use muniment_evidence::digest::Digest;
/// use muniment_evidence::policy::Policy;
/// use muniment_evidence::trust::Trust;
/// use muniment_evidence::verify::{self, Expected};
///
/// # let receipt = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/v2/receipt-issue.bin"));
/// # let trust = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/v2/trust"));
/// # let policy = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/v2/policy"));
/// # let invoice = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/v2/invoice.pdf"));
/// let trust = Trust::parse(trust).expect("three lines");
/// let policy = Policy::parse(policy).expect("a policy");
/// let digest = Digest::of(&[invoice]);
/// let report = verify::receipt(
///     receipt,
///     Expected {
///         trust: Some(&trust),
///         policy: Some(&policy),
///         keys: None,
///         document: Some((&digest, invoice.len() as u64)),
///         issued: true,
///         ..Expected::default()
///     },
/// );
/// assert_eq!(report.exit_code(), 0);
/// assert_eq!((report.policy_met, report.document_matches), (Some(true), Some(true)));
///
/// // Without a pin everything holds, and nobody says that it is the right ledger; and without
/// // a policy nobody but the ledger's own key says that it is the only one.
/// assert_eq!(verify::receipt(receipt, Expected::default()).exit_code(), 3);
/// let expected = Expected { trust: Some(&trust), ..Expected::default() };
/// assert_eq!(verify::receipt(receipt, expected).exit_code(), 29);
/// ```
pub fn receipt(bytes: &[u8], expected: Expected<'_>) -> Report {
    let trust = expected.trust;
    let mut report = Report::new(EvidenceKind::Receipt, LEVEL_DEFAULT, trust.is_some());
    report.document_matches = expected.document.map(|_| false);
    report.policy_met = expected.policy.map(|_| false);
    report.witnessed = expected.policy.is_some() || expected.keys.is_some();

    let receipt = match Receipt::decode(bytes) {
        Ok(receipt) => receipt,
        Err(e) => {
            let detail = format!("this is not a receipt: {e}");
            report.find(Finding::whole(Check::ReceiptReads, detail));
            return report;
        }
    };
    let Some(mut ledger) = open_ledger(&receipt.genesis, trust, &mut report) else {
        return report;
    };
    // The size is only claimed here; the signatures that make it more need the keys.
    let claimed = Checkpoint::parse(receipt.checkpoint_text()).map_or(TreeSize::EMPTY, |c| c.size);
    let mut learned = LearnedKeys::default();
    for key in &receipt.keys {
        if let Err(finding) = learned.take(&mut ledger, key, claimed) {
            report.find(finding);
            return report;
        }
    }
    if let Some(known) = expected.keys {
        known.join(&learned, claimed, &mut ledger, &mut report);
    }
    learned.check(&mut report);
    let record = match Record::decode(&receipt.record) {
        Ok(record) => record,
        Err(e) => {
            let detail = format!("the record cannot be read: {e}");
            report.find(Finding::whole(Check::ReceiptRecordReads, detail));
            return report;
        }
    };
    report.counts.add(&record);
    let index = record.index;
    let at = |(check, detail)| Finding::at(check, index, detail);
    if !learned.has(&record, &tree::leaf_hash(&receipt.record)) {
        let faults = record_checks::statement(&ledger, &record);
        faults.map(at).for_each(|finding| report.find(finding));
    }
    let opened = record_checks::openings(
        &ledger,
        &record,
        receipt.document.as_ref(),
        receipt.actor.as_ref(),
    );
    for fault in opened.faults {
        report.find(at(fault));
    }
    if let Some(fault) = record_checks::understood(&record) {
        report.find(at(fault));
    }
    if let Some(fault) = learned.unlisted(&record, &tree::leaf_hash(&receipt.record)) {
        report.find(fault);
    }
    if let Some(fault) = learned.miscounted(&record) {
        report.find(fault);
    }
    under_checkpoint(&receipt, &record, &ledger, &learned, &expected, &mut report);
    if let Some(fault) = not_done(&record, &expected) {
        report.find(at(fault));
    }
    if let Some(given) = expected.document {
        match record_checks::same_bytes(opened.document.as_ref(), given) {
            Some(fault) => report.find(at(fault)),
            None => report.document_matches = Some(record.outcome == Outcome::Ok),
        }
    }
    let order = opened.document.as_ref().is_some_and(|document| {
        record.outcome == Outcome::Ok
            && record.statement.kind != Kind::Key
            && document.endorsements().is_some()
    });
    report.unplaced = receipt.keys.len() as u64 + u64::from(order);
    report.record = Some(OpenedRecord {
        place: ledger
            .member(record.statement.node)
            .map(|member| (member.region.clone(), member.zone.clone())),
        record,
        document: opened.document,
        actor: opened.actor,
    });
    report
}

/// A refusal proves no issue, though it speaks of the very same bytes.
fn not_done(record: &Record, expected: &Expected<'_>) -> Option<record_checks::Fault> {
    let kind = record.statement.kind;
    let issues = matches!(kind, Kind::Issue | Kind::Reverse);
    if Check::RecordIssues.fails(expected.issued && !issues) {
        let detail = format!("the record is of kind {kind}, which issues nothing");
        return Some((Check::RecordIssues, detail));
    }
    let asked = expected.issued || expected.document.is_some();
    (asked && record.outcome != Outcome::Ok).then(|| {
        let outcome = record.outcome;
        let detail = format!("the {kind} had the outcome {outcome}: it did not happen");
        (Check::RecordIsOk, detail)
    })
}

/// A receipt has one root, and can be compared with a saved head of its size alone.
fn compare_head(note: &[u8], ledger: &Ledger, shown: &Checkpoint, report: &mut Report) {
    match ledger.checkpoint(note) {
        Err((check, why)) => {
            let detail = format!("the saved head {why}");
            report.find(Finding::whole(check, detail));
        }
        Ok(saved) if saved.checkpoint.size == shown.size && shown.size != TreeSize::EMPTY => {
            agree(
                Check::HeadOfCheckpoint,
                &saved.checkpoint,
                shown.root,
                report,
            );
        }
        Ok(saved) => {
            let detail = format!(
                "the saved head is of size {}, the checkpoint of {}: a bundle of the records \
                 between them compares the two",
                saved.checkpoint.size, shown.size
            );
            report.find(Finding::whole(Check::HeadCompared, detail));
        }
    }
}

/// Whether the signatures are those that are asked for, and young enough.
fn ask_policy(
    policy: &Policy,
    age: Option<MaxAge>,
    ledger: &Ledger,
    note: &str,
    report: &mut Report,
) {
    let newest_s = match by_policy(policy, ledger, note, report) {
        Ok(newest_s) => {
            report.policy_met = Some(true);
            newest_s
        }
        Err(why) => {
            let detail = format!("the checkpoint does not meet the policy: {why}");
            return report.find(Finding::whole(Check::PolicyMet, detail));
        }
    };
    let Some(MaxAge { now_s, most_s }) = age else {
        return;
    };
    match newest_s.map(|newest_s| now_s.saturating_sub(newest_s)) {
        None => {
            let detail = "no witness of the policy has cosigned, so nobody says how old this is";
            report.find(Finding::whole(Check::AgeKnown, detail));
        }
        Some(age_s) if age_s > most_s => {
            let detail = format!(
                "the newest cosignature that the policy asks for is {age_s} seconds old, at \
                 most {most_s} are asked for"
            );
            report.find(Finding::whole(Check::RecentEnough, detail));
        }
        Some(_) => {}
    }
}

/// What needs a checkpoint: the paths, that no change of keys was left out, the policy.
fn under_checkpoint(
    receipt: &Receipt,
    record: &Record,
    ledger: &Ledger,
    learned: &LearnedKeys,
    expected: &Expected<'_>,
    report: &mut Report,
) {
    let index = record.index;
    match ledger.checkpoint(receipt.checkpoint.as_bytes()) {
        Ok(vouched) => {
            let Checkpoint { size, root, .. } = vouched.checkpoint;
            report.size = Some(size);
            report.root = Some(root);
            report.cosigners.clone_from(&vouched.cosigners);
            let in_tree = learned.compare(&root, report);
            let leaf = tree::leaf_hash(&receipt.record);
            if !tree::verify_inclusion(&leaf, index, size, &receipt.path, &root) {
                let detail =
                    format!("the path does not lead from record {index} to the checkpoint's root");
                report.find(Finding::at(Check::ReceiptRecordInTree, index, detail));
            }
            match learned.tie(receipt.last.as_ref(), Some(record), size, &root) {
                Ok(last) => {
                    report.keys_tied = in_tree;
                    let late = LearnedKeys::late(&last, ledger.cosigned_at_ms(&vouched));
                    late.into_iter().for_each(|late| report.find(late));
                }
                Err(fault) => report.find(fault),
            }
            if let Some(note) = expected.head {
                compare_head(note, ledger, &vouched.checkpoint, report);
            }
            if let Some(policy) = expected.policy {
                ask_policy(policy, expected.age, ledger, &receipt.checkpoint, report);
            }
        }
        Err((check, why)) => {
            let detail = format!("the checkpoint {why}");
            report.find(Finding::whole(check, detail));
        }
    }
}
