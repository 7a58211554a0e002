//! The verification, top to bottom: a receipt in one go, a bundle as it streams by.
//!
//! Promises: pure (no I/O, clock or randomness); every check of FORMAT.md in its order;
//! goes on after a fault where that makes sense, and reports every finding. A bundle
//! needs memory for one batch of records and a few bytes per record. Leaves reading
//! files, and the choice of the pin, to the caller.

use crate::account::Account;
use crate::bundle::{BundleError, BundleParser, Fault, Frame, Manifest, RecordFrame};
use crate::chain::Chain;
use crate::digest::Digest;
use crate::judge::{self, Opened};
use crate::ledger::Ledger;
use crate::note::Checkpoint;
use crate::opening::Document;
use crate::receipt::{Genesis, Receipt};
use crate::record::{Outcome, Record};
pub use crate::report::LEVEL_MAX;
use crate::report::{Class, Evidence, Finding, Report, UNFINISHED_MAX, Unfinished};
use crate::statement::Kind;
use crate::tree::{self, Frontier};
use crate::trust::Trust;

/// Records judged together: enough to keep all cores busy.
const BATCH_RECORDS_MAX: usize = 1024;
/// Bytes of openings held for one batch.
const BATCH_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Fewer records than this are not worth a thread.
const THREAD_RECORDS_MIN: usize = 64;

/// Verifies a receipt; `document` is the SHA-256 and length of a file that should be the
/// one of the record.
pub fn receipt(bytes: &[u8], trust: Option<&Trust>, document: Option<(&Digest, u64)>) -> Report {
    let mut report = Report::new(Evidence::Receipt, LEVEL_MAX, trust.is_some());
    report.document_matches = document.map(|_| false);

    let receipt = match Receipt::decode(bytes) {
        Ok(receipt) => receipt,
        Err(e) => {
            let detail = format!("this is not a receipt: {e}");
            report.find(Finding::whole(Class::Structure, detail));
            return report;
        }
    };
    let Some(ledger) = open_ledger(&receipt.genesis, trust, &mut report) else {
        return report;
    };
    let record = match Record::decode(&receipt.record) {
        Ok(record) => record,
        Err(e) => {
            let detail = format!("the record cannot be read: {e}");
            report.find(Finding::whole(Class::Structure, detail));
            return report;
        }
    };
    report.counts.add(&record);
    let index = record.index;
    let at = |(class, detail)| Finding::at(class, index, detail);
    judge::belongs(&ledger, &record)
        .map(at)
        .into_iter()
        .chain(judge::signature(&ledger, &record).map(at))
        .for_each(|finding| report.find(finding));
    let opened = judge::openings(
        &ledger,
        &record,
        receipt.document.as_ref(),
        receipt.actor.as_ref(),
    );
    for fault in opened.faults {
        report.find(at(fault));
    }
    match ledger.checkpoint(receipt.checkpoint.as_bytes()) {
        Ok(vouched) => {
            let Checkpoint { size, root, .. } = vouched.checkpoint;
            report.size = Some(size);
            report.root = Some(root);
            report.cosigners = vouched.cosigners;
            let leaf = tree::leaf_hash(&receipt.record);
            if !tree::verify_inclusion(&leaf, index, size, &receipt.path, &root) {
                let detail =
                    format!("the path does not lead from record {index} to the checkpoint's root");
                report.find(Finding::at(Class::BadTree, index, detail));
            }
        }
        Err(why) => {
            let detail = format!("the checkpoint {why}");
            report.find(Finding::whole(Class::Checkpoint, detail));
        }
    }
    if let Some(given) = document {
        match judge::same_bytes(opened.document.as_ref(), given) {
            Some(fault) => report.find(at(fault)),
            None => report.document_matches = Some(true),
        }
    }
    report.account = Some(Account {
        place: ledger
            .member(record.statement.node)
            .map(|member| (member.region.clone(), member.zone.clone())),
        record,
        document: opened.document,
        actor: opened.actor,
    });
    report
}

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
        report.find(Finding::whole(Class::Untrusted, detail));
    }
    report.origin = Some(ledger.origin.clone());
    report.ledger = Some(ledger.id);
    Some(ledger)
}

/// How a bundle is to be verified.
#[derive(Clone, Debug)]
pub struct Options {
    pub trust: Option<Trust>,
    /// A checkpoint note of the same ledger, kept from earlier; compared from level 3 on.
    pub head: Option<Vec<u8>>,
    /// 0 structure, 1 and signatures, 2 and checkpoint, 3 and the saved head, 4 and full
    /// replay, 5 and openings.
    pub level: u8,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            trust: None,
            head: None,
            level: LEVEL_MAX,
        }
    }
}

/// Verifies a bundle from pieces of any size.
pub struct BundleVerifier {
    options: Options,
    report: Report,
    parser: BundleParser,
    replay: Option<Replay>,
    batch: Vec<RecordFrame>,
    batch_bytes: usize,
    /// The stream is broken; nothing after it is read.
    broken: bool,
}

/// What is carried from record to record.
struct Replay {
    manifest: Manifest,
    /// `None` when the genesis does not hold.
    ledger: Option<Ledger>,
    chain: Chain,
    frontier: Frontier,
    /// The saved head, until it is compared.
    head: Option<Checkpoint>,
    checkpoints: u64,
    ends_unread: u64,
}

/// One record, judged by itself.
struct Judged {
    leaf: Digest,
    record: Result<Record, Finding>,
    opened: Opened,
    faults: Vec<judge::Fault>,
}

impl BundleVerifier {
    pub fn new(options: Options) -> BundleVerifier {
        let level = options.level.min(LEVEL_MAX);
        let report = Report::new(Evidence::Bundle, level, options.trust.is_some());
        BundleVerifier {
            options,
            report,
            parser: BundleParser::new(),
            replay: None,
            batch: Vec::new(),
            batch_bytes: 0,
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

    /// Call after the last piece.
    pub fn finish(mut self) -> Report {
        if !self.broken
            && let Err(e) = std::mem::take(&mut self.parser).finish()
        {
            self.break_off(&e);
        }
        self.judge_batch();
        if let Some(replay) = self.replay.take() {
            self.conclude(replay);
        }
        self.report
    }

    fn break_off(&mut self, error: &BundleError) {
        self.judge_batch();
        let class = match error.fault {
            Fault::Truncated | Fault::Count { .. } => Class::MissingData,
            _ => Class::Structure,
        };
        self.report.find(Finding::whole(class, error.to_string()));
        self.broken = true;
    }

    fn take(&mut self, frame: Frame) {
        match frame {
            Frame::Manifest(manifest) => self.begin(manifest),
            Frame::Record(frame) => {
                self.batch_bytes += frame
                    .document
                    .iter()
                    .chain(&frame.actor)
                    .map(|opening| opening.bytes.len())
                    .sum::<usize>();
                self.batch.push(frame);
                if self.batch.len() >= BATCH_RECORDS_MAX || self.batch_bytes >= BATCH_BYTES_MAX {
                    self.judge_batch();
                }
            }
            Frame::Checkpoint(note) => {
                self.judge_batch();
                self.checkpoint(&note);
            }
        }
    }

    /// The manifest, the genesis, the pin, and the saved head.
    fn begin(&mut self, manifest: Manifest) {
        let report = &mut self.report;
        report.range = Some((manifest.first, manifest.end));
        let ledger = open_ledger(&manifest.genesis, self.options.trust.as_ref(), report);
        if let Some(ledger) = &ledger
            && (ledger.id != manifest.ledger || ledger.origin != manifest.origin)
        {
            let detail = "the manifest names another ledger than its genesis";
            report.find(Finding::whole(Class::Structure, detail));
        }
        let head = match (&self.options.head, &ledger) {
            (Some(note), Some(ledger)) if report.level >= 3 => match ledger.checkpoint(note) {
                Ok(vouched) => Some(vouched.checkpoint),
                Err(why) => {
                    let detail = format!("the saved head {why}");
                    report.find(Finding::whole(Class::Checkpoint, detail));
                    None
                }
            },
            _ => None,
        };
        let frontier = Frontier::from_parts(manifest.first, manifest.peaks.clone())
            .expect("the parser takes no manifest with another number of peaks");
        // The last peak of an odd size is the leaf of the record before.
        let last = match manifest.first % 2 {
            1 => manifest.peaks.last().copied(),
            _ => None,
        };
        let mut replay = Replay {
            chain: Chain::new(manifest.first, last),
            manifest,
            ledger,
            frontier,
            head,
            checkpoints: 0,
            ends_unread: 0,
        };
        replay.compare_head(report);
        self.replay = Some(replay);
    }

    /// Judges the records at hand on all cores, then follows them one by one.
    fn judge_batch(&mut self) {
        let frames = std::mem::take(&mut self.batch);
        self.batch_bytes = 0;
        let (Some(replay), report) = (&mut self.replay, &mut self.report) else {
            return;
        };
        for judged in judge_all(replay.ledger.as_ref(), report.level, &frames) {
            replay.follow(judged, report);
        }
    }

    fn checkpoint(&mut self, note: &str) {
        let (Some(replay), report) = (&mut self.replay, &mut self.report) else {
            return;
        };
        replay.checkpoints += 1;
        let Some(ledger) = replay.ledger.as_ref().filter(|_| report.level >= 2) else {
            return;
        };
        let vouched = match ledger.checkpoint(note.as_bytes()) {
            Ok(vouched) => vouched,
            Err(why) => {
                let detail = format!("a checkpoint {why}");
                return report.find(Finding::whole(Class::Checkpoint, detail));
            }
        };
        let Checkpoint { size, root, .. } = vouched.checkpoint;
        if size != replay.manifest.end {
            let detail = format!(
                "a checkpoint is of size {size}, where the bundle ends at {}",
                replay.manifest.end
            );
            return report.find(Finding::whole(Class::Checkpoint, detail));
        }
        report.size = Some(size);
        report.root = Some(root);
        for cosigner in vouched.cosigners {
            if !report.cosigners.contains(&cosigner) {
                report.cosigners.push(cosigner);
            }
        }
        if replays_tree(report.level, &self.options)
            && replay.chain.is_whole()
            && replay.frontier.size() == size
            && replay.frontier.root() != root
        {
            let detail = format!(
                "the records lead to the root {}, the checkpoint says {root}",
                replay.frontier.root()
            );
            report.find(Finding::whole(Class::BadTree, detail));
        }
    }

    /// What shows only at the end.
    fn conclude(&mut self, replay: Replay) {
        let report = &mut self.report;
        let (next, end) = (replay.chain.next(), replay.manifest.end);
        if !self.broken && next != end {
            let class = if next < end {
                Class::MissingData
            } else {
                Class::Structure
            };
            let detail = format!("the records go up to {next}, the manifest says {end}");
            report.find(Finding::whole(class, detail));
        }
        if !self.broken && report.level >= 2 && replay.checkpoints == 0 {
            let detail = "the bundle has no checkpoint";
            report.find(Finding::whole(Class::Checkpoint, detail));
        }
        if let Some(head) = &replay.head
            && !self.broken
            && replay.chain.is_whole()
        {
            let detail = format!(
                "the saved head is of size {}, which lies outside of {} to {end}: this bundle \
                 cannot be compared with it",
                head.size, replay.manifest.first
            );
            report.find(Finding::whole(Class::MissingData, detail));
        }
        if report.level >= 5 && !self.broken && replay.chain.is_whole() {
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
        }
    }
}

impl Replay {
    fn follow(&mut self, judged: Judged, report: &mut Report) {
        match judged.record {
            Err(mut finding) => {
                finding.index = Some(self.chain.next());
                report.find(finding);
                self.chain.place_unreadable(&judged.leaf);
            }
            Ok(record) => {
                report.counts.add(&record);
                for (class, detail) in judged.faults {
                    report.find(Finding::at(class, record.index, detail));
                }
                let document = judged.opened.document.as_ref();
                let findings = if report.level >= 4 {
                    self.chain.follow(&record, &judged.leaf, document)
                } else {
                    self.chain.place(record.index).into_iter().collect()
                };
                for finding in findings {
                    report.find(finding);
                }
                for (class, detail) in judged.opened.faults {
                    report.find(Finding::at(class, record.index, detail));
                }
                let ends =
                    record.statement.kind == Kind::DownloadEnd && record.outcome == Outcome::Ok;
                if ends && !matches!(document, Some(Document::DownloadEnd(_))) {
                    self.ends_unread += 1;
                }
            }
        }
        if report.level >= 3 && self.chain.is_whole() {
            self.frontier.append(judged.leaf);
            self.compare_head(report);
        }
    }

    /// When the tree has just reached the saved head's size.
    fn compare_head(&mut self, report: &mut Report) {
        let Some(head) = self.head.take_if(|head| head.size == self.frontier.size()) else {
            return;
        };
        if head.root == self.frontier.root() {
            report.head_size = Some(head.size);
        } else {
            let detail = format!(
                "the ledger signed the root {} for its first {} records, and now shows {}",
                head.root,
                head.size,
                self.frontier.root()
            );
            report.find(Finding::whole(Class::Fork, detail));
        }
    }
}

/// The saved head says nothing unless the tree leads to the checkpoint.
fn replays_tree(level: u8, options: &Options) -> bool {
    level >= 4 || level == 3 && options.head.is_some()
}

/// Judges each record by itself, spread over the cores.
fn judge_all(ledger: Option<&Ledger>, level: u8, frames: &[RecordFrame]) -> Vec<Judged> {
    let judge = |frame| judge_one(ledger, level, frame);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = cores.min(frames.len() / THREAD_RECORDS_MIN);
    if threads <= 1 {
        return frames.iter().map(judge).collect();
    }
    std::thread::scope(|scope| {
        let parts: Vec<_> = frames
            .chunks(frames.len().div_ceil(threads))
            .map(|part| scope.spawn(move || part.iter().map(judge).collect::<Vec<_>>()))
            .collect();
        parts
            .into_iter()
            .flat_map(|part| part.join().expect("judging a record does not panic"))
            .collect()
    })
}

fn judge_one(ledger: Option<&Ledger>, level: u8, frame: &RecordFrame) -> Judged {
    let mut judged = Judged {
        leaf: tree::leaf_hash(&frame.record),
        record: Record::decode(&frame.record).map_err(|e| {
            let detail = format!("the record cannot be read: {e}");
            Finding::whole(Class::Structure, detail)
        }),
        opened: Opened::default(),
        faults: Vec::new(),
    };
    let (Ok(record), Some(ledger)) = (&judged.record, ledger) else {
        return judged;
    };
    if level >= 1 {
        judged.faults.extend(judge::belongs(ledger, record));
        judged.faults.extend(judge::signature(ledger, record));
    }
    if level >= 5 {
        judged.opened = judge::openings(
            ledger,
            record,
            frame.document.as_ref(),
            frame.actor.as_ref(),
        );
    }
    judged
}
