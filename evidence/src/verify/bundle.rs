//! A range or a selection of records, verified as it streams by.
//!
//! Promises: memory for the records under way, and a few bytes for each record; every
//! finding is reported, in the order of the bundle. Leaves the frames to
//! [`crate::bundle`], one record to `record_checks`, the cores to `batch`, and one record after
//! another to [`crate::chain`].
//!
//! Tests: `evidence/tests/tamper.rs`, `evidence/tests/parallel.rs`, `evidence/tests/bounded.rs`.

use super::anchors::Anchors;
use super::batch::{RecordCheckers, ShownRecord};
use super::checkpoints::Checkpoints;
use super::expectations::{by_policy, open_ledger};
use super::known_keys::KnownKeys;
use super::learned_keys::LearnedKeys;
use super::observer::Observer;
use super::replay::Replay;
use crate::bundle::{BundleError, BundleParser, CheckpointFrame, Frame, Manifest};
use crate::chain::Chain;
use crate::checks::Check;
use crate::note::Checkpoint;
use crate::policy::Policy;
use crate::report::{
    EvidenceKind, Finding, LEVEL_DEFAULT, LEVEL_MAX, Report, UNFINISHED_MAX, Unfinished,
};
use crate::rules::Memory;
use crate::tree::Frontier;
use crate::trust::Trust;
use std::collections::HashMap;

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
            memory: Memory::new(manifest.first),
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
        let checkpoint = vouched.checkpoint.clone();
        if let Err((check, detail)) =
            replay
                .checkpoints
                .take(&replay.manifest, &checkpoint, &frame.consistency)
        {
            return report.find(Finding::whole(check, detail));
        }
        replay.checkpoints.cosigned_at_ms = ledger.cosigned_at_ms(&vouched);
        let Checkpoint { size, root, .. } = vouched.checkpoint;
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
