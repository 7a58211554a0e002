//! The verification, top to bottom: a receipt in one go, a bundle as it streams by.
//!
//! Promises: pure (no I/O, clock or randomness); every check of FORMAT.md in its order;
//! goes on after a fault where that makes sense, and reports every finding. Leaves
//! reading files, and the choice of pin and policy, to the caller.
//!
//! * [`receipt`]: one record
//! * [`promise`]: one that is to come
//! * [`bundle`]: a range or a selection of records
//! * [`Observer`]: who looks on meanwhile
//! * here: what both begin with, the ledger and its keys

mod anchors;
mod batch;
pub mod bundle;
mod checkpoints;
mod observer;
mod promise;
mod receipt;

pub use crate::report::{LEVEL_DEFAULT, LEVEL_MAX};
pub use bundle::{BundleVerifier, VerifyOptions};
pub use observer::{Observer, SeenRecord};
pub use promise::{Promised, promise};
pub use receipt::{Expected, receipt};

use crate::class::FindingClass;
use crate::digest::Digest;
use crate::genesis::Genesis;
use crate::keys::KeyValidity;
use crate::ledger::Ledger;
use crate::note::{Checkpoint, Note};
use crate::opening::{Document, PUBLIC_SALT, commit_document};
use crate::policy::Policy;
use crate::receipt::KeyRecord;
use crate::record::{Outcome, Record};
use crate::record_checks;
use crate::report::{Finding, OutsideCosigner, Report};
use crate::statement::Kind;
use crate::tree;
use crate::trust::Trust;
use std::collections::BTreeMap;

/// Genesis and pin: what the rest relies on. A genesis of another ledger is still used,
/// so that the report can say what is wrong inside as well.
fn open_ledger(genesis: &Genesis, trust: Option<&Trust>, report: &mut Report) -> Option<Ledger> {
    let ledger = match Ledger::open(genesis) {
        Ok(ledger) => ledger,
        Err(e) => {
            report.find(Finding::whole(e.class(), e.to_string()));
            return None;
        }
    };
    if let Some(trust) = trust
        && (trust.genesis != ledger.id || trust.origin != ledger.origin)
    {
        let detail = format!(
            "the pin names the ledger {} with genesis {}; this evidence is of {} with \
             genesis {}",
            trust.origin, trust.genesis, ledger.origin, ledger.id
        );
        report.find(Finding::whole(FindingClass::Untrusted, detail));
    }
    report.origin = Some(ledger.origin.clone());
    report.ledger = Some(ledger.id);
    Some(ledger)
}

/// The KEY records that taught a ledger its keys.
#[derive(Default)]
struct LearnedKeys {
    /// By index.
    leaves: BTreeMap<u64, Digest>,
    /// Where the path of each leads, in the tree of the size given when it was taken.
    led_to: Vec<(u64, Option<Digest>)>,
    /// CheckedRecord once all keys are known: a later record may revoke the key of an earlier.
    records: Vec<Record>,
}

impl LearnedKeys {
    /// Takes the next KEY record; `size` is that of the tree of its path.
    fn take(&mut self, ledger: &mut Ledger, key: &KeyRecord, size: u64) -> Result<(), Finding> {
        let record = Record::decode(&key.record).map_err(|e| {
            let detail = format!("a KEY record cannot be read: {e}");
            Finding::whole(FindingClass::Structure, detail)
        })?;
        let index = record.index;
        let last = self.leaves.last_key_value().map(|(index, _)| *index);
        let in_order = last.is_none_or(|last| last < index) && index < size;
        let is_key = record.statement.kind == Kind::Key && record.outcome == Outcome::Ok;
        if !in_order || !is_key {
            let detail = "stands among the KEY records, and is none or not the next";
            return Err(Finding::at(FindingClass::BrokenChain, index, detail));
        }
        if commit_document(&PUBLIC_SALT, &key.opening) != record.statement.document {
            let detail = "the document opening is not what the record commits to";
            return Err(Finding::at(FindingClass::Opening, index, detail));
        }
        let document = match Document::decode(&key.opening) {
            Ok(Document::Key(document)) => document,
            Ok(_) => {
                let detail = "the document opening is of another kind";
                return Err(Finding::at(FindingClass::Opening, index, detail));
            }
            Err(e) => {
                let detail = format!("the document opening cannot be read: {e}");
                return Err(Finding::at(FindingClass::Opening, index, detail));
            }
        };
        ledger.learn(index, &document).map_err(|why| {
            let detail = format!("the change of keys cannot be believed: {why}");
            Finding::at(FindingClass::UnknownKey, index, detail)
        })?;
        let leaf = tree::leaf_hash(&key.record);
        self.leaves.insert(index, leaf);
        let led_to = tree::root_by_inclusion(&leaf, index, size, &key.path);
        self.led_to.push((index, led_to));
        self.records.push(record);
        Ok(())
    }

    /// The statements of the KEY records, under the keys as they are known now.
    fn check(&self, ledger: &Ledger, report: &mut Report) {
        report.key_records = self.records.len() as u64;
        for record in &self.records {
            let faults = record_checks::belongs(ledger, record)
                .into_iter()
                .chain(record_checks::signature(ledger, record));
            for (class, detail) in faults {
                report.find(Finding::at(class, record.index, detail));
            }
        }
    }

    /// An OK KEY record that the evidence shows, but taught nothing by, is hidden.
    fn unlisted(&self, record: &Record, leaf: &Digest) -> Option<Finding> {
        let taught = record.statement.kind != Kind::Key
            || record.outcome != Outcome::Ok
            || self.leaves.get(&record.index) == Some(leaf);
        (!taught).then(|| {
            let detail = "this KEY record is not among those that the evidence begins with";
            Finding::at(FindingClass::BrokenChain, record.index, detail)
        })
    }

    /// Whether all of them are in the tree.
    fn compare(&self, root: &Digest, report: &mut Report) {
        for (index, led_to) in &self.led_to {
            if *led_to != Some(*root) {
                let detail = "the path of the KEY record does not lead to the checkpoint's root";
                report.find(Finding::at(FindingClass::BadTree, *index, detail));
            }
        }
    }
}

/// What the auditor's policy says of a note that is the ledger's: whether it is met, or
/// why not. Notes the witnesses that are not the operator's own.
fn by_policy(
    policy: &Policy,
    ledger: &Ledger,
    note: &str,
    report: &mut Report,
) -> Result<(), String> {
    let mut note = Note::parse(note.as_bytes()).map_err(|e| e.to_string())?;
    // A policy may be older than the retirement of a member's key.
    let size = Checkpoint::parse(&note.text).map_or(0, |checkpoint| checkpoint.size);
    for (_, _, life, key) in ledger.cosigners() {
        if life.at_size(size) != KeyValidity::InForce {
            let id = key.id();
            note.signatures
                .retain(|line| line.name != key.name || line.id != id);
        }
    }
    let verdict = policy.evaluate(&note);
    for cosigned in &verdict.cosigned {
        let outside = policy
            .witness(&cosigned.name)
            .is_some_and(|witness| !ledger.is_own(&witness.key));
        let witness = OutsideCosigner {
            name: cosigned.name.clone(),
            time_s: cosigned.time_s,
        };
        if outside && !report.outside.contains(&witness) {
            report.outside.push(witness);
        }
    }
    match verdict.missing {
        None => Ok(()),
        Some(why) => Err(why),
    }
}
