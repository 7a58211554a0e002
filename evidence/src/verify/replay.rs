//! One record of a bundle after another: what is carried from each to the next.
//!
//! Promises: each record's findings come together, in the order of FORMAT.md, section 10. Leaves
//! the stream, its frames and what shows at the end of it to [`super::bundle`].
//!
//! Tests: `evidence/tests/tamper.rs`, `evidence/tests/rules.rs`.

use super::anchors::Anchors;
use super::batch::{CheckedRecord, Rules};
use super::bundle::VerifyOptions;
use super::checkpoints::Checkpoints;
use super::expectations::agree;
use super::learned_keys::LearnedKeys;
use super::observer::{Observer, SeenRecord};
use crate::bundle::Manifest;
use crate::chain::Chain;
use crate::checks::Check;
use crate::digest::Digest;
use crate::ids::{RecordIndex, TreeSize};
use crate::ledger::Ledger;
use crate::note::Checkpoint;
use crate::opening::Document;
use crate::receipt::LastRecord;
use crate::record::{Outcome, Record};
use crate::record_checks;
use crate::report::{Finding, Report};
use crate::rules::{Memory, Replayed};
use crate::statement::Kind;
use crate::tree::Frontier;
use std::collections::HashMap;
use std::sync::Arc;

/// What is carried from record to record.
pub(super) struct Replay {
    pub(super) manifest: Manifest,
    /// `None` when the genesis does not hold.
    pub(super) ledger: Option<Ledger>,
    pub(super) learned: LearnedKeys,
    /// The record before the head.
    pub(super) last: Option<LastRecord>,
    /// A record counts other KEY records than those shown.
    pub(super) miscounted: bool,
    /// Once all KEY records were taken, and what needs the keys was begun.
    pub(super) rules: Option<Arc<Rules>>,
    pub(super) chain: Chain,
    pub(super) memory: Memory,
    pub(super) frontier: Frontier,
    /// Of a selection: the roots to which paths led, the first record and their number.
    pub(super) led_to: HashMap<Option<Digest>, (RecordIndex, u64)>,
    /// The saved head, until it is compared.
    pub(super) head: Option<Checkpoint>,
    pub(super) checkpoints: Checkpoints,
    pub(super) anchors: Option<Anchors>,
    pub(super) ends_unread: u64,
}

impl Replay {
    /// Once, when all KEY records were taken: their statements, and the saved head.
    pub(super) fn begin(&mut self, options: &VerifyOptions, report: &mut Report) -> Arc<Rules> {
        if let Some(rules) = &self.rules {
            return rules.clone();
        }
        if let (Some(ledger), Some(known)) = (&mut self.ledger, &options.keys) {
            known.join(&self.learned, self.manifest.head, ledger, report);
        }
        let mut ready = self.ledger.clone();
        ready.iter_mut().for_each(Ledger::make_ready);
        let rules = Arc::new(Rules {
            ledger: ready,
            level: report.level,
            end: self.manifest.end,
            judged: self.learned.leaves().copied().collect(),
        });
        self.rules = Some(rules.clone());
        let Some(ledger) = &self.ledger else {
            return rules;
        };
        if report.level >= 1 {
            self.learned.check(report);
        }
        if let Some(note) = &options.head
            && report.level >= 3
        {
            match ledger.checkpoint(note) {
                Ok(vouched) => self.head = Some(vouched.checkpoint),
                Err((check, why)) => {
                    let detail = format!("the saved head {why}");
                    report.find(Finding::whole(check, detail));
                }
            }
        }
        self.compare_head(report);
        rules
    }

    pub(super) fn follow(
        &mut self,
        checked: CheckedRecord,
        report: &mut Report,
        observer: &mut impl Observer,
    ) {
        let before = report.findings_count;
        let record = match checked.record {
            Err(mut finding) => {
                finding.index = Some(self.chain.next());
                report.find(finding);
                self.chain.place_unreadable(&checked.leaf);
                self.memory.miss();
                self.grow(checked.leaf, report);
                return;
            }
            Ok(record) => record,
        };
        let index = record.index;
        report.counts.add(&record);
        let understood = record_checks::understood(&record).into_iter();
        for (check, detail) in understood.chain(checked.faults) {
            report.find(Finding::at(check, index, detail));
        }
        let document = checked.opened.document.as_ref();
        let findings = match checked.led_to {
            Some(led_to) => self.select(index, led_to),
            None if report.level >= 4 => {
                self.chain
                    .follow(&record, &checked.leaf, document, checked.by_retired)
            }
            None => self.chain.place(index).into_iter().collect(),
        };
        for finding in findings {
            report.find(finding);
        }
        for (check, detail) in checked.opened.faults {
            report.find(Finding::at(check, index, detail));
        }
        let ok = record.outcome == Outcome::Ok;
        let kind = record.statement.kind;
        let learned = &self.learned;
        if let Some(fault) = learned.unlisted(&record, &checked.leaf) {
            report.find(fault);
        }
        if let Some(fault) = learned.miscounted(&record)
            && self.ledger.is_some()
            && !std::mem::replace(&mut self.miscounted, true)
        {
            // One that is left out is missed by all records after it.
            report.find(fault);
        }
        if ok && kind == Kind::DownloadEnd && !matches!(document, Some(Document::DownloadEnd(_))) {
            self.ends_unread += 1;
        }
        if checked.led_to.is_none() && report.level >= 5 && self.chain.is_whole() {
            let holds = report.findings_count == before;
            self.rule(&record, document, holds, report);
        }
        if let (true, Some(anchors), Some(Document::Anchor(anchor))) =
            (ok, &mut self.anchors, document)
        {
            anchors.note(index, anchor);
        }
        if checked.led_to.is_none() {
            self.grow(checked.leaf, report);
        }
        observer.see(SeenRecord {
            record: &record,
            leaf: &checked.leaf,
            document,
            actor: checked.opened.actor.as_ref(),
            ledger: self.ledger.as_ref(),
            sound: report.findings_count == before,
        });
    }

    /// Whether the rules of the ledger make of a record what it says, where all else about it
    /// `holds`; and what it leaves behind.
    fn rule(
        &mut self,
        record: &Record,
        document: Option<&Document>,
        holds: bool,
        report: &mut Report,
    ) {
        let Some(ledger) = &self.ledger else {
            return;
        };
        let keys = || self.learned.before(&self.manifest.genesis, record.index);
        let leaf = |index| self.chain.leaf(index).filter(|_| index < record.index);
        let past = Replayed {
            memory: &self.memory,
            ledger: ledger.id,
            history: ledger.keys(),
            keys: &keys,
            leaf: &leaf,
        };
        if holds && let Some(ruling) = past.judge(record, document) {
            report.rule(record.index, ruling);
        }
        self.memory.take(record, document);
    }

    /// Endorsements whose place in the log was not compared.
    pub(super) fn unplaced(&self, level: u8) -> u64 {
        let followed = level >= 5 && self.manifest.selection.is_empty();
        let first = self.manifest.first;
        let keys = self.learned.indexes().filter(|at| !followed || *at < first);
        keys.count() as u64 + self.chain.unplaced()
    }

    /// A record of a selection: within the range, after the one before.
    fn select(&mut self, index: RecordIndex, led_to: Option<Digest>) -> Vec<Finding> {
        let (_, count) = self.led_to.entry(led_to).or_insert((index, 0));
        *count += 1;
        if !self.manifest.end.contains(index) || index < self.chain.next() {
            let detail = "repeated, out of order, or not within the range";
            return vec![Finding::at(Check::SelectionInOrder, index, detail)];
        }
        self.chain.skip_to(index.next());
        Vec::new()
    }

    fn grow(&mut self, leaf: Digest, report: &mut Report) {
        if report.level >= 2 && self.chain.is_whole() {
            let rows = self.frontier.append(leaf);
            if let Some(anchors) = &mut self.anchors {
                anchors.keep(rows);
            }
            self.compare_head(report);
        }
    }

    /// When the tree has just reached the saved head's size.
    fn compare_head(&mut self, report: &mut Report) {
        if report.selection.is_some() || self.frontier.size() < self.manifest.first.size_before() {
            return;
        }
        let (size, root) = (self.frontier.size(), || self.frontier.root());
        let Some(head) = self.head.take_if(|head| says_of(head, size)) else {
            return;
        };
        agree(Check::HeadOfRecords, &head, root(), report);
    }

    /// A checkpoint of the saved head's size says enough too.
    pub(super) fn compare_saved(&mut self, checkpoint: &Checkpoint, report: &mut Report) {
        if let Some(head) = self.head.take_if(|head| says_of(head, checkpoint.size)) {
            agree(Check::HeadOfCheckpoint, &head, checkpoint.root, report);
        }
    }

    pub(super) fn conclude_checkpoints(&self, report: &mut Report) {
        let Checkpoints { count, newest, .. } = self.checkpoints;
        if count == 0 {
            let detail = "the bundle has no checkpoint";
            report.find(Finding::whole(Check::CheckpointShown, detail));
            return;
        }
        match newest {
            Some((size, root)) if size == self.manifest.head => {
                let in_tree = self.learned.compare(&root, report);
                match self.learned.tie(self.last.as_ref(), None, size, &root) {
                    Ok(last) => {
                        report.keys_tied = in_tree;
                        let late = LearnedKeys::late(&last, self.checkpoints.cosigned_at_ms);
                        late.into_iter().for_each(|late| report.find(late));
                    }
                    Err(fault) => report.find(fault),
                }
            }
            Some((size, _)) => {
                let detail = format!(
                    "the checkpoints go up to size {size}, the manifest says {}",
                    self.manifest.head
                );
                report.find(Finding::whole(Check::CheckpointOfHead, detail));
            }
            // What was wrong with them was said.
            None => {}
        }
        if let Some(end_root) = self.checkpoints.end_root {
            let mut elsewhere: Vec<_> = self
                .led_to
                .iter()
                .filter(|(led_to, _)| **led_to != Some(end_root))
                .map(|(_, at)| *at)
                .collect();
            elsewhere.sort_unstable();
            for (first, count) in elsewhere {
                let detail = match count {
                    1 => "the path does not lead to the checkpoint's root".to_owned(),
                    _ => format!(
                        "the paths of {count} records, this one first, do not lead to the \
                         checkpoint's root"
                    ),
                };
                report.find(Finding::at(Check::SelectedInTree, first, detail));
            }
        }
        if report.policy_met == Some(false)
            && let Some(why) = &self.checkpoints.policy_missing
        {
            let detail = format!("no checkpoint meets the policy: {why}");
            report.find(Finding::whole(Check::PolicyMet, detail));
        }
    }
}

/// Whether a saved head says something of this size; of no records nothing can be said.
fn says_of(head: &Checkpoint, size: TreeSize) -> bool {
    head.size == size && size != TreeSize::EMPTY
}
