//! The changes of a ledger's keys, as the evidence brings them along.
//!
//! Promises: a key is known only from GENESIS or from a KEY record that those endorse who
//! may, and every KEY record that is shown is among those that were learned. Leaves the
//! rules of a change to [`crate::keys`].

use crate::class::FindingClass;
use crate::digest::Digest;
use crate::ids::{RecordIndex, TreeSize};
use crate::ledger::Ledger;
use crate::opening::{Document, PUBLIC_SALT, commit_document};
use crate::receipt::KeyRecord;
use crate::record::{Outcome, Record};
use crate::record_checks;
use crate::report::{Finding, Report};
use crate::statement::Kind;
use crate::tree;
use std::collections::BTreeMap;

/// The KEY records that taught a ledger its keys.
#[derive(Default)]
pub(super) struct LearnedKeys {
    /// By index.
    leaves: BTreeMap<RecordIndex, Digest>,
    /// Where the path of each leads, in the tree of the size given when it was taken.
    led_to: Vec<(RecordIndex, Option<Digest>)>,
    /// CheckedRecord once all keys are known: a later record may revoke the key of an earlier.
    records: Vec<Record>,
}

impl LearnedKeys {
    /// Takes the next KEY record; `size` is that of the tree of its path.
    pub(super) fn take(
        &mut self,
        ledger: &mut Ledger,
        key: &KeyRecord,
        size: TreeSize,
    ) -> Result<(), Finding> {
        let record = Record::decode(&key.record).map_err(|e| {
            let detail = format!("a KEY record cannot be read: {e}");
            Finding::whole(FindingClass::Structure, detail)
        })?;
        let index = record.index;
        let last = self.leaves.last_key_value().map(|(index, _)| *index);
        let in_order = last.is_none_or(|last| last < index) && size.contains(index);
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
    pub(super) fn check(&self, ledger: &Ledger, report: &mut Report) {
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
    pub(super) fn unlisted(&self, record: &Record, leaf: &Digest) -> Option<Finding> {
        let taught = record.statement.kind != Kind::Key
            || record.outcome != Outcome::Ok
            || self.leaves.get(&record.index) == Some(leaf);
        (!taught).then(|| {
            let detail = "this KEY record is not among those that the evidence begins with";
            Finding::at(FindingClass::BrokenChain, record.index, detail)
        })
    }

    /// Whether all of them are in the tree.
    pub(super) fn compare(&self, root: &Digest, report: &mut Report) {
        for (index, led_to) in &self.led_to {
            if *led_to != Some(*root) {
                let detail = "the path of the KEY record does not lead to the checkpoint's root";
                report.find(Finding::at(FindingClass::BadTree, *index, detail));
            }
        }
    }
}
