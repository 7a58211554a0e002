//! A range or a selection of records, verified as it streams by.
//!
//! Promises: memory for the records under way, and a few bytes for each record; every
//! finding is reported, in the order of the bundle. Leaves the frames to
//! [`crate::bundle`], one record to `record_checks`, the cores to `batch`, and one record after
//! another to [`crate::chain`].
//!
//! Tests: `evidence/tests/tamper.rs`, `evidence/tests/parallel.rs`, `evidence/tests/bounded.rs`.

use super::anchors::Anchors;
use super::batch::{CheckedRecord, RecordCheckers, Rules, ShownRecord};
use super::checkpoints::Checkpoints;
use super::expectations::{agree, by_policy, open_ledger};
use super::known_keys::KnownKeys;
use super::learned_keys::LearnedKeys;
use super::observer::{Observer, SeenRecord};
use crate::bundle::{BundleError, BundleParser, CheckpointFrame, Frame, Manifest};
use crate::chain::Chain;
use crate::checks::Check;
use crate::digest::Digest;
use crate::ids::{RecordIndex, TreeSize};
use crate::ledger::Ledger;
use crate::note::Checkpoint;
use crate::opening::Document;
use crate::policy::Policy;
use crate::receipt::LastRecord;
use crate::record::Outcome;
use crate::record_checks;
use crate::report::{
    EvidenceKind, Finding, LEVEL_DEFAULT, LEVEL_MAX, Report, UNFINISHED_MAX, Unfinished,
};
use crate::statement::Kind;
use crate::tree::Frontier;
use crate::trust::Trust;
use std::collections::HashMap;
use std::sync::Arc;

/// How a bundle is to be verified.
#[derive(Clone, Debug)]
pub struct VerifyOptions {
    pub trust: Option<Trust>,
    /// Whose signatures a checkpoint must carry; from level 2 on.
    pub policy: Option<Policy>,
    /// The changes of keys that are known already.
    pub keys: Option<KnownKeys>,
    /// A checkpoint note of the same ledger, kept from earlier; compared from level 3 on.
    pub head: Option<Vec<u8>>,
    /// 0 structure, 1 and signatures, 2 and checkpoints, 3 and the saved head, 4 and full
    /// replay, 5 and openings, 6 and outside anchors.
    pub level: u8,
}

impl Default for VerifyOptions {
    fn default() -> VerifyOptions {
        VerifyOptions {
            trust: None,
            policy: None,
            keys: None,
            head: None,
            level: LEVEL_DEFAULT,
        }
    }
}

/// Verifies a bundle from pieces of any size.
///
/// ```
/// use muniment_evidence::trust::Trust;
/// use muniment_evidence::verify::{BundleVerifier, VerifyOptions};
///
/// # let bundle = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/v2/bundle-small.bin"));
/// # let trust = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/v2/trust"));
/// # let kept = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/v2/head"));
/// let mut verifier = BundleVerifier::new(VerifyOptions {
///     trust: Some(Trust::parse(trust).expect("three lines")),
///     // A checkpoint that you kept from earlier: the ledger cannot have been rewritten since.
///     head: Some(kept.to_vec()),
///     ..VerifyOptions::default()
/// });
/// for piece in bundle.chunks(4096) {
///     verifier.push(piece);
/// }
/// let report = verifier.finish();
/// assert_eq!(report.exit_code(), 0);
/// assert_eq!(report.range.map(|(first, end)| (first.get(), end.get())), Some((0, report.counts.total())));
/// assert!(report.head_size.is_some());
/// ```
pub struct BundleVerifier<O: Observer = ()> {
    options: VerifyOptions,
    observer: O,
    report: Report,
    parser: BundleParser,
    replay: Option<Replay>,
    checkers: RecordCheckers,
    /// The stream is broken; nothing after it is read.
    broken: bool,
}

/// What is carried from record to record.
struct Replay {
    manifest: Manifest,
    /// `None` when the genesis does not hold.
    ledger: Option<Ledger>,
    learned: LearnedKeys,
    /// The record before the head.
    last: Option<LastRecord>,
    /// A record counts other KEY records than those shown.
    miscounted: bool,
    /// Once all KEY records were taken, and what needs the keys was begun.
    rules: Option<Arc<Rules>>,
    chain: Chain,
    frontier: Frontier,
    /// Of a selection: the roots to which paths led, the first record and their number.
    led_to: HashMap<Option<Digest>, (RecordIndex, u64)>,
    /// The saved head, until it is compared.
    head: Option<Checkpoint>,
    checkpoints: Checkpoints,
    anchors: Option<Anchors>,
    ends_unread: u64,
}

impl BundleVerifier {
    pub fn new(options: VerifyOptions) -> BundleVerifier {
        BundleVerifier::observed(options, ())
    }

    /// Call after the last piece.
    pub fn finish(self) -> Report {
        self.finish_observed().0
    }
}

impl<O: Observer> BundleVerifier<O> {
    /// The observer sees every record that can be read, in the order of the bundle.
    pub fn observed(options: VerifyOptions, observer: O) -> BundleVerifier<O> {
        let level = options.level.min(LEVEL_MAX);
        let mut report = Report::new(EvidenceKind::Bundle, level, options.trust.is_some());
        report.policy_met = options
            .policy
            .as_ref()
            .filter(|_| level >= 2)
            .map(|_| false);
        BundleVerifier {
            options,
            observer,
            report,
            parser: BundleParser::new(),
            replay: None,
            checkers: RecordCheckers::default(),
            broken: false,
        }
    }

    /// Takes the next bytes of the bundle.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.broken {
            return;
        }
        self.parser.push(bytes);
        loop {
            match self.parser.next() {
                Ok(Some(frame)) => self.take(frame),
                Ok(None) => return,
                Err(e) => return self.break_off(&e),
            }
        }
    }

    /// Call after the last piece: the report, and the observer back.
    pub fn finish_observed(mut self) -> (Report, O) {
        if !self.broken
            && let Err(e) = std::mem::take(&mut self.parser).finish()
        {
            self.break_off(&e);
        }
        self.check_all();
        if let Some(mut replay) = self.replay.take() {
            replay.begin(&self.options, &mut self.report);
            self.observer.end(replay.ledger.as_ref());
            self.conclude(replay);
        }
        (self.report, self.observer)
    }

    fn break_off(&mut self, error: &BundleError) {
        self.check_all();
        let check = error.fault.check();
        self.report.find(Finding::whole(check, error.to_string()));
        self.broken = true;
    }

    fn take(&mut self, frame: Frame) {
        let (frame, path) = match frame {
            Frame::Manifest(manifest) => return self.open(manifest),
            Frame::Key(key) => {
                if let Some(replay) = &mut self.replay
                    && let Some(ledger) = &mut replay.ledger
                    && let Err(finding) = replay.learned.take(ledger, &key, replay.manifest.head)
                {
                    self.report.find(finding);
                }
                return;
            }
            Frame::Last(last) => {
                if let Some(replay) = &mut self.replay {
                    replay.last = Some(last);
                }
                return;
            }
            Frame::Checkpoint(frame) => {
                self.check_all();
                return self.checkpoint(&frame);
            }
            Frame::Record(frame) => (frame, None),
            Frame::Proven(frame, path) => (frame, Some(path)),
        };
        if self.checkers.gather(ShownRecord { frame, path }) {
            self.check_on(RecordCheckers::is_full);
        }
    }

    /// The manifest, the genesis and the pin.
    fn open(&mut self, manifest: Manifest) {
        let report = &mut self.report;
        self.observer.begin(&manifest);
        report.range = Some((manifest.first, manifest.end));
        let selects = !manifest.selection.is_empty();
        report.selection = selects.then(|| manifest.selection.clone());
        let ledger = open_ledger(&manifest.genesis, self.options.trust.as_ref(), report);
        if let Some(ledger) = &ledger
            && (ledger.id != manifest.ledger || ledger.origin != manifest.origin)
        {
            let detail = "the manifest names another ledger than its genesis";
            report.find(Finding::whole(Check::ManifestLedger, detail));
        }
        let frontier = Frontier::from_parts(manifest.first.size_before(), manifest.peaks.clone())
            .expect("the parser takes no manifest with another number of peaks");
        // The last peak of an odd size is the leaf of the record before.
        let last = match manifest.first.get() % 2 {
            1 => manifest.peaks.last().copied(),
            _ => None,
        };
        let anchored = report.level >= 6 && !selects;
        self.replay = Some(Replay {
            chain: Chain::new(manifest.first, last),
            anchors: anchored.then(|| Anchors::new(manifest.first)),
            manifest,
            ledger,
            learned: LearnedKeys::default(),
            last: None,
            miscounted: false,
            rules: None,
            frontier,
            led_to: HashMap::new(),
            head: None,
            checkpoints: Checkpoints::default(),
            ends_unread: 0,
        });
    }

    /// Has the records at hand checked, and follows what is checked while `more` says so.
    fn check_on(&mut self, more: impl Fn(&RecordCheckers) -> bool) {
        let (Some(replay), report) = (&mut self.replay, &mut self.report) else {
            return;
        };
        let rules = replay.begin(&self.options, report);
        self.checkers.hand_over(&rules);
        while more(&self.checkers)
            && let Some(batch) = self.checkers.take_back()
        {
            for checked in batch {
                replay.follow(checked, report, &mut self.observer);
            }
        }
    }

    /// Until every record so far was checked and followed.
    fn check_all(&mut self) {
        self.check_on(|_| true);
    }

    fn checkpoint(&mut self, frame: &CheckpointFrame) {
        let (Some(replay), report) = (&mut self.replay, &mut self.report) else {
            return;
        };
        replay.checkpoints.count += 1;
        let Some(ledger) = replay.ledger.as_ref().filter(|_| report.level >= 2) else {
            return;
        };
        let vouched = match ledger.checkpoint(frame.note.as_bytes()) {
            Ok(vouched) => vouched,
            Err((check, why)) => {
                let detail = format!("a checkpoint {why}");
                return report.find(Finding::whole(check, detail));
            }
        };
        let checkpoint = vouched.checkpoint;
        if let Err((check, detail)) =
            replay
                .checkpoints
                .take(&replay.manifest, &checkpoint, &frame.consistency)
        {
            return report.find(Finding::whole(check, detail));
        }
        let Checkpoint { size, root, .. } = checkpoint;
        if size == replay.manifest.end {
            report.size = Some(size);
            report.root = Some(root);
        }
        for cosigner in vouched.cosigners {
            if !report.cosigners.contains(&cosigner) {
                report.cosigners.push(cosigner);
            }
        }
        if let Some(policy) = &self.options.policy {
            match by_policy(policy, ledger, &frame.note, report) {
                Ok(_) => report.policy_met = Some(true),
                Err(why) => replay.checkpoints.policy_missing = Some(why.to_string()),
            }
        }
        replay.compare_saved(&checkpoint, report);
        if size == replay.manifest.end
            && report.selection.is_none()
            && replay.chain.is_whole()
            && replay.frontier.size() == size
            && replay.frontier.root() != root
        {
            let detail = format!(
                "the records lead to the root {}, the checkpoint says {root}",
                replay.frontier.root()
            );
            report.find(Finding::whole(Check::RecordsLeadToRoot, detail));
        }
    }

    /// What shows only at the end.
    fn conclude(&mut self, mut replay: Replay) {
        let report = &mut self.report;
        report.unplaced = replay.unplaced(report.level);
        let (next, end) = (replay.chain.next(), replay.manifest.end);
        let selects = report.selection.is_some();
        if !self.broken && !selects && next.size_before() != end {
            let check = match end.contains(next) {
                true => Check::RangeComplete,
                false => Check::RangeNotExceeded,
            };
            let detail = format!("the records go up to {next}, the manifest says {end}");
            report.find(Finding::whole(check, detail));
        }
        if !self.broken && report.level >= 2 {
            replay.conclude_checkpoints(report);
        }
        if let Some(head) = &replay.head
            && !self.broken
            && replay.chain.is_whole()
        {
            let detail = format!(
                "the saved head is of size {}, to which this bundle of the records {} to \
                 {end} has nothing to compare",
                head.size, replay.manifest.first
            );
            report.find(Finding::whole(Check::HeadCompared, detail));
        }
        if self.broken || !replay.chain.is_whole() || selects {
            return;
        }
        if report.level >= 5 {
            let mut unfinished = Unfinished {
                ends_unread: replay.ends_unread,
                ..Unfinished::default()
            };
            for index in replay.chain.unfinished() {
                unfinished.count += 1;
                if unfinished.indexes.len() < UNFINISHED_MAX {
                    unfinished.indexes.push(index);
                }
            }
            report.unfinished = Some(unfinished);
            report.open_outboxes = replay.chain.open_outboxes();
        }
        if let (Some(anchors), Some(policy)) = (replay.anchors.take(), &self.options.policy) {
            anchors.conclude(policy, replay.ledger.as_ref(), report);
        }
    }
}

impl Replay {
    /// Once, when all KEY records were taken: their statements, and the saved head.
    fn begin(&mut self, options: &VerifyOptions, report: &mut Report) -> Arc<Rules> {
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

    fn follow(
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
            None if report.level >= 4 => self.chain.follow(&record, &checked.leaf, document),
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

    /// Endorsements whose place in the log was not compared.
    fn unplaced(&self, level: u8) -> u64 {
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
    fn compare_saved(&mut self, checkpoint: &Checkpoint, report: &mut Report) {
        if let Some(head) = self.head.take_if(|head| says_of(head, checkpoint.size)) {
            agree(Check::HeadOfCheckpoint, &head, checkpoint.root, report);
        }
    }

    fn conclude_checkpoints(&self, report: &mut Report) {
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
                    Ok(()) => report.keys_tied = in_tree,
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
