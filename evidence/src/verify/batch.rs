//! RecordCheckers records by themselves, on all cores, and gives them back in order.
//!
//! Promises: the order of what is given back is that of what was taken, however many
//! threads there are, and so is every word of it; threads are started once, by the first
//! full batch, and have ended when this value is dropped. While they check, the caller
//! reads on and follows what is checked. Leaves that to [`super::bundle`].

use crate::bundle::RecordFrame;
use crate::checks::Check;
use crate::digest::Digest;
use crate::ids::TreeSize;
use crate::ledger::Ledger;
use crate::record::Record;
use crate::record_checks::{self, Opened};
use crate::report::Finding;
use crate::tree;
use std::collections::{BTreeSet, VecDeque};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

/// Records checked in one go: some milliseconds, beside which handing them over is nothing;
/// a shorter bundle is not worth a thread.
const BATCH_RECORDS_MAX: usize = 64;
/// Bytes of openings in one batch, so that a few large ones are spread over the cores.
const BATCH_BYTES_MAX: usize = 256 * 1024;
/// Batches under way for each thread: it has the next ones while the caller is busy.
const BATCHES_PER_THREAD: usize = 4;
/// Batches under way in all, which bounds memory on machines with many cores.
const BATCHES_MAX: usize = 64;
/// Bytes of openings under way in all.
const BYTES_MAX: usize = 8 * 1024 * 1024;

/// A record of a bundle; of a selection, with its path.
pub(super) struct ShownRecord {
    pub frame: RecordFrame,
    pub path: Option<Vec<Digest>>,
}

/// One record, checked by itself.
pub(super) struct CheckedRecord {
    pub leaf: Digest,
    pub record: Result<Record, Finding>,
    pub opened: Opened,
    pub faults: Vec<record_checks::Fault>,
    /// No key but a retired one has signed what an outbox held back.
    pub by_retired: bool,
    /// Of a selection: where its path leads.
    pub led_to: Option<Option<Digest>>,
}

/// What records are checked by: the same for all records of a bundle.
pub(super) struct Rules {
    /// `None` when the genesis does not hold.
    pub ledger: Option<Ledger>,
    pub level: u8,
    /// Of the manifest.
    pub end: TreeSize,
    /// Leaf hashes of KEY records, whose statements were judged already.
    pub judged: BTreeSet<Digest>,
}

/// See the module.
#[derive(Default)]
pub(super) struct RecordCheckers {
    gathered: Vec<ShownRecord>,
    gathered_bytes: usize,
    /// Oldest first.
    under_way: VecDeque<Batch>,
    under_way_bytes: usize,
    threads: Option<Threads>,
}

/// What was handed over, until it is given back.
struct Batch {
    bytes: usize,
    checked: Receiver<Vec<CheckedRecord>>,
}

struct Job {
    shown: Vec<ShownRecord>,
    answer: SyncSender<Vec<CheckedRecord>>,
}

impl RecordCheckers {
    /// Takes the next record, and says whether to [`RecordCheckers::hand_over`] now.
    pub(super) fn gather(&mut self, shown: ShownRecord) -> bool {
        let openings = shown.frame.document.iter().chain(&shown.frame.actor);
        self.gathered_bytes += openings.map(|opening| opening.bytes.len()).sum::<usize>();
        self.gathered.push(shown);
        self.is_batch()
    }

    /// Has what was gathered checked.
    pub(super) fn hand_over(&mut self, rules: &Arc<Rules>) {
        if self.gathered.is_empty() {
            return;
        }
        if self.threads.is_none() && self.is_batch() {
            self.threads = Some(Threads::start(rules));
        }
        let shown = std::mem::take(&mut self.gathered);
        let bytes = std::mem::take(&mut self.gathered_bytes);
        let (answer, checked) = sync_channel(1);
        let job = Job { shown, answer };
        match &self.threads {
            Some(threads) => threads.take(job, rules),
            None => job.run(rules),
        }
        self.under_way_bytes += bytes;
        self.under_way.push_back(Batch { bytes, checked });
    }

    /// Whether to take some back before more is gathered.
    pub(super) fn is_full(&self) -> bool {
        let threads = self.threads.as_ref().map_or(0, |t| t.running.len());
        let batches_max = (BATCHES_PER_THREAD * threads).clamp(1, BATCHES_MAX);
        self.under_way.len() >= batches_max || self.under_way_bytes >= BYTES_MAX
    }

    /// Gives the oldest batch back, as soon as it is checked; `None` if there is none.
    pub(super) fn take_back(&mut self) -> Option<Vec<CheckedRecord>> {
        let batch = self.under_way.pop_front()?;
        self.under_way_bytes -= batch.bytes;
        let checked = batch.checked.recv();
        Some(checked.expect("checking a record does not panic"))
    }

    fn is_batch(&self) -> bool {
        self.gathered.len() >= BATCH_RECORDS_MAX || self.gathered_bytes >= BATCH_BYTES_MAX
    }
}

/// One thread per core, as long as a bundle takes.
struct Threads {
    /// `None` once they are to end.
    jobs: Option<SyncSender<Job>>,
    running: Vec<JoinHandle<()>>,
}

impl Threads {
    /// None on one core, or where the system has no threads to give.
    fn start(rules: &Arc<Rules>) -> Threads {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let (jobs, queue) = sync_channel(BATCHES_MAX);
        let queue = Arc::new(Mutex::new(queue));
        let start = |_| {
            let (rules, queue) = (rules.clone(), queue.clone());
            let thread = thread::Builder::new().name("check".to_owned());
            thread.spawn(move || run_all(&rules, &queue)).ok()
        };
        let wanted = if cores > 1 { cores } else { 0 };
        Threads {
            jobs: Some(jobs),
            running: (0..wanted).map_while(start).collect(),
        }
    }

    fn take(&self, job: Job, rules: &Rules) {
        match &self.jobs {
            Some(jobs) if !self.running.is_empty() => {
                let taken = jobs.send(job);
                taken.expect("the threads wait for jobs until they are dropped");
            }
            _ => job.run(rules),
        }
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.jobs = None;
        for thread in self.running.drain(..) {
            // That one panicked has shown where its batch was taken back.
            let _ = thread.join();
        }
    }
}

fn run_all(rules: &Rules, queue: &Mutex<Receiver<Job>>) {
    loop {
        // One thread waits for a job, and the others for that thread.
        let job = queue.lock().expect("waiting does not panic").recv();
        match job {
            Ok(job) => job.run(rules),
            Err(_) => return,
        }
    }
}

impl Job {
    fn run(self, rules: &Rules) {
        let checked = self.shown.iter().map(|shown| check_one(rules, shown));
        // Fails only when nobody is there to ask for it.
        let _ = self.answer.send(checked.collect());
    }
}

fn check_one(rules: &Rules, shown: &ShownRecord) -> CheckedRecord {
    let frame = &shown.frame;
    let mut checked = CheckedRecord {
        leaf: tree::leaf_hash(&frame.record),
        record: Record::decode(&frame.record).map_err(|e| {
            let detail = format!("the record cannot be read: {e}");
            Finding::whole(Check::RecordReads, detail)
        }),
        opened: Opened::default(),
        faults: Vec::new(),
        by_retired: false,
        led_to: None,
    };
    if let (Ok(record), Some(path)) = (&checked.record, &shown.path) {
        let led_to = tree::root_by_inclusion(&checked.leaf, record.index, rules.end, path);
        checked.led_to = Some(led_to);
    }
    let (Ok(record), Some(ledger)) = (&checked.record, &rules.ledger) else {
        return checked;
    };
    if rules.level >= 1 && !rules.judged.contains(&checked.leaf) {
        let faults = record_checks::statement(ledger, record);
        checked.faults.extend(faults);
        checked.by_retired = record_checks::is_by_retired(ledger, record);
    }
    if rules.level >= 5 {
        checked.opened = record_checks::openings(
            ledger,
            record,
            frame.document.as_ref(),
            frame.actor.as_ref(),
        );
    }
    checked
}
