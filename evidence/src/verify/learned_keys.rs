//! The changes of a ledger's keys, as the evidence brings them along.
//!
//! Promises: a key is known only from GENESIS or from a KEY record that those endorse who
//! may, every KEY record that is shown is among those that were learned, and none below a
//! checkpoint was left out: each record counts those before it, and the last one under the
//! checkpoint is shown. Leaves the rules of a change to [`crate::keys`].

use crate::checks::Check;
use crate::digest::Digest;
use crate::genesis::Genesis;
use crate::ids::{RecordIndex, TreeSize};
use crate::keychange::RecordedChange;
use crate::keys::KeyHistory;
use crate::ledger::Ledger;
use crate::opening::{Document, PUBLIC_SALT, commit_document};
use crate::receipt::{KeyRecord, LastRecord};
use crate::record::{Outcome, Record};
use crate::record_checks;
use crate::report::{Finding, Report};
use crate::statement::Kind;
use crate::tree;
use std::collections::BTreeMap;

/// How far the last record may be ahead of the members' own clocks: voters acknowledge 5 s, and
/// whoever cosigns may be as much behind; the rest is room for clocks that are worse than that, as
/// what is found here stays found.
const AHEAD_MS_MAX: u64 = 60_000;

/// The KEY records that taught a ledger its keys.
#[derive(Default)]
pub(super) struct LearnedKeys {
    /// By index.
    leaves: BTreeMap<RecordIndex, Digest>,
    /// Where the path of each leads, in the tree of the size given when it was taken.
    led_to: Vec<(RecordIndex, Option<Digest>)>,
    records: Vec<Record>,
    /// What is wrong with their statements, by the keys that were in force there: who may
    /// change keys, the endorsements say, and a later revocation takes back no change.
    faults: Vec<Finding>,
    keys: Vec<RecordedChange>,
}

impl LearnedKeys {
    pub(super) fn leaf(&self, index: RecordIndex) -> Option<&Digest> {
        self.leaves.get(&index)
    }

    pub(super) fn leaves(&self) -> impl Iterator<Item = &Digest> {
        self.leaves.values()
    }

    pub(super) fn indexes(&self) -> impl Iterator<Item = RecordIndex> {
        self.leaves.keys().copied()
    }

    /// The history as the records below `index` left it.
    pub(super) fn before(&self, genesis: &Genesis, index: RecordIndex) -> Option<KeyHistory> {
        let founded = KeyHistory::founded(&genesis.document().ok()?);
        let mut below = self.keys.iter().take_while(|change| change.index < index);
        below.try_fold(founded, |history, change| {
            history.changed(change.index, &change.document).ok()
        })
    }

    /// The size after the last of them.
    pub(super) fn size(&self) -> TreeSize {
        let last = self.leaves.last_key_value();
        last.map_or(TreeSize::EMPTY, |(index, _)| index.size_through())
    }

    /// Takes the next KEY record; `size` is that of the tree of its path.
    pub(super) fn take(
        &mut self,
        ledger: &mut Ledger,
        key: &KeyRecord,
        size: TreeSize,
    ) -> Result<(), Finding> {
        let record = Record::decode(&key.record).map_err(|e| {
            let detail = format!("a KEY record cannot be read: {e}");
            Finding::whole(Check::KeyRecordReads, detail)
        })?;
        let index = record.index;
        let last = self.leaves.last_key_value().map(|(index, _)| *index);
        let in_order = last.is_none_or(|last| last < index) && size.contains(index);
        if let Some((check, detail)) = record_checks::understood(&record).filter(|_| in_order) {
            return Err(Finding::at(check, index, detail));
        }
        let is_key = record.statement.kind == Kind::Key && record.outcome == Outcome::Ok;
        if Check::KeyRecordInTurn.fails(!in_order || !is_key) {
            let detail = "stands among the KEY records, and is none or not the next";
            return Err(Finding::at(Check::KeyRecordInTurn, index, detail));
        }
        let committed = commit_document(&PUBLIC_SALT, &key.opening);
        if Check::KeyOpeningIsCommitted.fails(committed != record.statement.document) {
            let detail = "the document opening is not what the record commits to";
            return Err(Finding::at(Check::KeyOpeningIsCommitted, index, detail));
        }
        let document = match Document::decode(&key.opening) {
            Ok(Document::Key(document)) => document,
            Ok(_) => {
                let detail = "the document opening is of another kind";
                return Err(Finding::at(Check::KeyOpeningReads, index, detail));
            }
            Err(e) => {
                let detail = format!("the document opening cannot be read: {e}");
                return Err(Finding::at(Check::KeyOpeningReads, index, detail));
            }
        };
        let faults = record_checks::statement(ledger, &record);
        let faults: Vec<Finding> = faults
            .map(|(check, detail)| Finding::at(check, index, detail))
            .collect();
        ledger.learn(record.place(), &document).map_err(|why| {
            let detail = format!("the change of keys cannot be believed: {why}");
            Finding::at(why.check(), index, detail)
        })?;
        self.faults.extend(faults);
        let leaf = tree::leaf_hash(&key.record);
        self.leaves.insert(index, leaf);
        let led_to = tree::root_by_inclusion(&leaf, index, size, &key.path);
        self.led_to.push((index, led_to));
        self.keys.push(RecordedChange {
            index,
            leaf,
            committed_at_ms: record.committed_at_ms,
            document,
        });
        self.records.push(record);
        Ok(())
    }

    /// The statements of the KEY records.
    pub(super) fn check(&self, report: &mut Report) {
        report.keys.clone_from(&self.keys);
        for fault in &self.faults {
            report.find(fault.clone());
        }
    }

    /// Whether this very record is one of them, whose statement was judged there.
    pub(super) fn has(&self, record: &Record, leaf: &Digest) -> bool {
        self.leaves.get(&record.index) == Some(leaf)
    }

    /// An OK KEY record that the evidence shows, but taught nothing by, is hidden.
    pub(super) fn unlisted(&self, record: &Record, leaf: &Digest) -> Option<Finding> {
        let taught = record.statement.kind != Kind::Key
            || record.outcome != Outcome::Ok
            || self.has(record, leaf);
        (!taught).then(|| {
            let detail = "this KEY record is not among those that the evidence begins with";
            Finding::at(Check::KeyRecordListed, record.index, detail)
        })
    }

    /// A record counts the KEY records before it; another number is not theirs.
    pub(super) fn miscounted(&self, record: &Record) -> Option<Finding> {
        let below = self.records.partition_point(|key| key.index < record.index);
        (record.keys != below as u64).then(|| {
            let detail = format!(
                "counts {} KEY records before it; of those shown, {below} are",
                record.keys
            );
            let check = match record.keys > below as u64 {
                true => Check::KeysBeforeShown,
                false => Check::KeysBeforeNotInvented,
            };
            Finding::at(check, record.index, detail)
        })
    }

    /// Whether what was learned is all that there is under a checkpoint of this size and
    /// root, as its last record says. `shown` is a record that is proven there already: it
    /// may be the last one itself, which is given back.
    pub(super) fn tie(
        &self,
        last: Option<&LastRecord>,
        shown: Option<&Record>,
        size: TreeSize,
        root: &Digest,
    ) -> Result<Record, Finding> {
        let is_last = |record: &Record| size.last() == Some(record.index);
        let last = match (last, shown) {
            (Some(last), shown) => {
                let record = Record::decode(&last.record).map_err(|e| {
                    let detail = format!("the last record cannot be read: {e}");
                    Finding::whole(Check::LastRecordReads, detail)
                })?;
                let stands = is_last(&record) && !shown.is_some_and(is_last);
                if Check::LastRecordIsLast.fails(!stands) {
                    let detail = format!("stands for the last of {size} records, and is not it");
                    return Err(Finding::at(Check::LastRecordIsLast, record.index, detail));
                }
                let leaf = tree::leaf_hash(&last.record);
                let leads = tree::verify_inclusion(&leaf, record.index, size, &last.path, root);
                if Check::LastRecordInTree.fails(!leads) {
                    let detail = "the path of the last record does not lead to the checkpoint's \
                                  root";
                    return Err(Finding::at(Check::LastRecordInTree, record.index, detail));
                }
                record
            }
            (None, Some(shown)) if is_last(shown) => shown.clone(),
            (None, _) => {
                let detail = "the last record under the checkpoint is not shown, so nobody can \
                              tell whether a change of keys was left out";
                return Err(Finding::whole(Check::LastRecordShown, detail));
            }
        };
        let (counted, learned) = (last.keys_through(), self.records.len() as u64);
        if counted == learned {
            return Ok(last);
        }
        let detail = format!(
            "{counted} KEY records are under the checkpoint, {learned} are shown: what was left \
             out may revoke a key"
        );
        let check = match counted > learned {
            true => Check::KeysAllShown,
            false => Check::KeysNoneInvented,
        };
        Err(Finding::whole(check, detail))
    }

    /// Whether a last record is of later than a majority of the members' clocks allows, by which
    /// its checkpoint was cosigned.
    pub(super) fn late(last: &Record, cosigned_at_ms: Option<u64>) -> Option<Finding> {
        let now_ms = cosigned_at_ms?;
        let is_late = last.committed_at_ms > now_ms.saturating_add(AHEAD_MS_MAX);
        is_late.then(|| {
            let detail = format!(
                "committed at {} ms, and the members cosigned it at {now_ms} ms",
                last.committed_at_ms
            );
            Finding::at(Check::LastRecordInTime, last.index, detail)
        })
    }

    /// Whether all of them are in the tree.
    pub(super) fn compare(&self, root: &Digest, report: &mut Report) -> bool {
        for (index, led_to) in &self.led_to {
            if *led_to != Some(*root) {
                let detail = "the path of the KEY record does not lead to the checkpoint's root";
                report.find(Finding::at(Check::KeyRecordInTree, *index, detail));
            }
        }
        self.led_to.iter().all(|(_, led_to)| *led_to == Some(*root))
    }
}
