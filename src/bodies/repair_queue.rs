//! The queue of repairs: which bodies are missing or damaged here, and what came of them.
//!
//! Promises: a body stands in it once; it is bounded, and what does not fit is damage that
//! is marked on the disk or a missing body that is asked for again; while it is not known
//! which record names a damaged body, the low watermark of the body-complete index is 0. Leaves
//! the fetching to [`super::repair`].

use super::rate_limiter::RateLimiter;
use crate::config::Repair;
use crate::domain::ids::{BodyId, RecordIndex, TreeSize};
use crate::store::bodies::Content;
use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

/// Bodies in the queue: less than a MiB of memory, and more than are repaired in a minute.
const QUEUE_MAX: usize = 4096;

/// One body to be made whole.
#[derive(Clone, Debug)]
pub struct RepairJob {
    pub body: BodyId,
    /// As a record says; `None` while only damage is known.
    pub content: Option<Content>,
    /// A record at or below the one that names it, once that is known.
    pub record: Option<RecordIndex>,
    /// Held here before: the low watermark is below its record.
    damaged: bool,
    pub attempts: u64,
    due: Instant,
    running: bool,
    /// More was found while it was running.
    again: bool,
}

#[derive(Default)]
struct Jobs {
    all: HashMap<BodyId, RepairJob>,
    /// Those that do not run, in turn.
    waiting: VecDeque<BodyId>,
    /// Every mark on the disk is in `all`.
    loaded: bool,
    /// A mark did not fit since.
    overflown: bool,
}

/// Counted since the start.
#[derive(Default)]
pub struct RepairCounters {
    pub repaired: AtomicU64,
    pub quarantined: AtomicU64,
    pub scrubbed_bytes: AtomicU64,
    pub passes: AtomicU64,
    pub last_pass_s: AtomicU64,
    /// Of the pass under way, in millionths.
    pub progress: AtomicU64,
    pub scrubbing: AtomicU64,
}

/// What is to be repaired and what was done, for metrics and status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RepairHealth {
    /// Bodies that records name and that are missing or damaged here: under-replicated.
    pub missing: u64,
    /// Of these, damaged ones.
    pub damaged: u64,
    /// Of these, waiting for their turn.
    pub queue: u64,
    pub repaired: u64,
    pub quarantined: u64,
    pub scrubbed_bytes: u64,
    /// Passes of the scrub since the node started.
    pub passes: u64,
    /// How long the last whole pass took; 0 when there was none.
    pub last_pass_s: u64,
    /// Of the pass under way or broken off, in millionths.
    pub progress: u64,
    /// Whether a pass is under way.
    pub scrubbing: bool,
}

/// See the module.
pub struct RepairQueue {
    jobs: Mutex<Jobs>,
    /// A job came, or one may be tried again.
    wake: Notify,
    /// Counts what left the queue.
    done: watch::Sender<u64>,
    low_watermark: watch::Sender<TreeSize>,
    /// How far records were looked through for bodies, whatever the low watermark.
    pub seen: watch::Sender<TreeSize>,
    /// The scrub was asked for this often.
    pub asked: watch::Sender<u64>,
    /// Notes for the evidence log have come.
    pub notes: Notify,
    pub counters: RepairCounters,
    pub rate_limiter: RateLimiter,
    pub settings: Repair,
}

impl Default for RepairQueue {
    fn default() -> RepairQueue {
        RepairQueue::new(&Repair::default())
    }
}

impl RepairQueue {
    pub fn new(settings: &Repair) -> RepairQueue {
        RepairQueue {
            jobs: Mutex::default(),
            wake: Notify::new(),
            done: watch::Sender::new(0),
            // Nothing counts as whole before the marks on the disk are read.
            low_watermark: watch::Sender::new(TreeSize::EMPTY),
            seen: watch::Sender::new(TreeSize::EMPTY),
            asked: watch::Sender::new(0),
            notes: Notify::new(),
            counters: RepairCounters::default(),
            rate_limiter: RateLimiter::new(settings.repair_bytes_per_s),
            settings: settings.clone(),
        }
    }

    /// The body-complete index must not be above this.
    pub fn low_watermark(&self) -> watch::Receiver<TreeSize> {
        self.low_watermark.subscribe()
    }

    /// Follows what leaves the queue.
    pub fn done(&self) -> watch::Receiver<u64> {
        self.done.subscribe()
    }

    /// Has the scrub begin a pass now; false when one is under way, after which it begins
    /// another.
    pub fn ask_scrub(&self) -> bool {
        self.asked.send_modify(|asked| *asked += 1);
        self.counters.scrubbing.load(Ordering::Relaxed) == 0
    }

    pub fn health(&self) -> RepairHealth {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let c = &self.counters;
        let jobs = self.lock();
        RepairHealth {
            missing: jobs.all.len() as u64,
            damaged: jobs.all.values().filter(|job| job.damaged).count() as u64,
            queue: jobs.waiting.len() as u64,
            repaired: count(&c.repaired),
            quarantined: count(&c.quarantined),
            scrubbed_bytes: count(&c.scrubbed_bytes),
            passes: count(&c.passes),
            last_pass_s: count(&c.last_pass_s),
            progress: count(&c.progress),
            scrubbing: count(&c.scrubbing) > 0,
        }
    }

    /// A body that a record names is not here. False when there is no room for it now.
    pub fn missing(&self, body: BodyId, content: Content) -> bool {
        self.add(body, Some(content), false)
    }

    /// A body is marked as damaged here. False when there is no room: it is loaded later.
    pub fn damaged(&self, body: BodyId) -> bool {
        self.add(body, None, true)
    }

    /// New damage was set aside.
    pub fn quarantined(&self, body: BodyId) {
        self.counters.quarantined.fetch_add(1, Ordering::Relaxed);
        self.damaged(body);
        self.notes.notify_one();
    }

    /// Whether nothing is missing or damaged, as far as is known.
    pub fn is_idle(&self) -> bool {
        self.lock().all.is_empty()
    }

    /// Whether the mark of a body on the disk is worth a look.
    pub fn may_be_damaged(&self, body: BodyId) -> bool {
        let jobs = self.lock();
        let listed = jobs.all.get(&body).is_some_and(|job| job.damaged);
        listed || !jobs.loaded || jobs.overflown
    }

    fn add(&self, body: BodyId, content: Option<Content>, damaged: bool) -> bool {
        let mut jobs = self.lock();
        let full = jobs.all.len() >= QUEUE_MAX;
        if let Some(job) = jobs.all.get_mut(&body) {
            job.content = job.content.or(content);
            job.again |= job.running && damaged;
            job.damaged |= damaged;
        } else if full {
            jobs.overflown |= damaged;
        } else {
            let job = RepairJob {
                body,
                content,
                record: None,
                damaged,
                attempts: 0,
                due: Instant::now(),
                running: false,
                again: false,
            };
            jobs.all.insert(body, job);
            jobs.waiting.push_back(body);
        }
        let taken = jobs.all.contains_key(&body);
        self.set_low_watermark(jobs);
        self.wake.notify_one();
        taken
    }

    /// Every mark on the disk is queued.
    pub(super) fn loaded(&self) {
        let mut jobs = self.lock();
        (jobs.loaded, jobs.overflown) = (true, false);
        self.set_low_watermark(jobs);
    }

    /// Every body was looked at, and each that is marked was queued or did not fit.
    pub(super) fn looked_at_all(&self) {
        let mut jobs = self.lock();
        jobs.loaded = true;
        self.set_low_watermark(jobs);
    }

    /// Whether marks on the disk are not queued although there is room.
    pub(super) fn wants_loading(&self) -> bool {
        let jobs = self.lock();
        (jobs.overflown || !jobs.loaded) && jobs.all.len() < QUEUE_MAX / 2
    }

    /// A record at or below the one that names the body is known now.
    pub(super) fn named(&self, body: BodyId, record: RecordIndex) {
        let mut jobs = self.lock();
        if let Some(job) = jobs.all.get_mut(&body) {
            job.record = Some(record);
        }
        self.set_low_watermark(jobs);
    }

    /// The next body whose turn it is; it runs until `finished` or `again`.
    pub(super) async fn next(&self) -> RepairJob {
        loop {
            let due = {
                let mut jobs = self.lock();
                let now = Instant::now();
                let turn = |jobs: &Jobs| {
                    let due = |body: &BodyId| jobs.all.get(body).is_none_or(|j| j.due <= now);
                    jobs.waiting.iter().position(due)
                };
                while let Some(at) = turn(&jobs) {
                    let body = jobs.waiting.remove(at);
                    let job = body.and_then(|body| jobs.all.get_mut(&body));
                    if let Some(job) = job {
                        job.running = true;
                        let job = job.clone();
                        if !jobs.waiting.is_empty() {
                            // Another worker may be free.
                            self.wake.notify_one();
                        }
                        return job;
                    }
                }
                jobs.all
                    .values()
                    .filter(|j| !j.running)
                    .map(|j| j.due)
                    .min()
            };
            let woken = self.wake.notified();
            match due {
                Some(due) => until(due, woken).await,
                None => woken.await,
            }
        }
    }

    /// It is whole, or nothing names it.
    pub(super) fn finished(&self, body: BodyId) {
        let mut jobs = self.lock();
        let again = jobs.all.get(&body).is_some_and(|job| job.again);
        match again {
            true => self.put_back(jobs, body, Duration::ZERO),
            false => {
                jobs.all.remove(&body);
                self.set_low_watermark(jobs);
                self.done.send_modify(|done| *done += 1);
            }
        }
    }

    /// It is tried again after a pause.
    pub(super) fn again(&self, body: BodyId, pause: Duration) {
        self.put_back(self.lock(), body, pause);
    }

    fn put_back(&self, mut jobs: MutexGuard<'_, Jobs>, body: BodyId, pause: Duration) {
        if let Some(job) = jobs.all.get_mut(&body) {
            job.attempts += 1;
            job.due = Instant::now() + pause;
            (job.running, job.again) = (false, false);
            jobs.waiting.push_back(body);
        }
        drop(jobs);
        self.wake.notify_one();
    }

    fn set_low_watermark(&self, jobs: MutexGuard<'_, Jobs>) {
        let known = jobs.loaded && !jobs.overflown;
        let damaged = jobs.all.values().filter(|job| job.damaged);
        let lowest =
            damaged.map(|job| job.record.map_or(TreeSize::EMPTY, RecordIndex::size_before));
        let now = match known {
            true => lowest.min().unwrap_or(TreeSize::new(u64::MAX)),
            false => TreeSize::EMPTY,
        };
        // Under the lock, so that an older low watermark never replaces a newer one.
        self.low_watermark.send_if_modified(|low_watermark| {
            let moved = *low_watermark != now;
            *low_watermark = now;
            moved
        });
    }

    fn lock(&self) -> MutexGuard<'_, Jobs> {
        self.jobs.lock().expect("nobody panics with it")
    }
}

async fn until(due: Instant, woken: impl Future<Output = ()>) {
    tokio::select! {
        () = tokio::time::sleep_until(due) => {}
        () = woken => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use muniment_evidence::digest::Digest;

    const CONTENT: Content = (3, Digest([3; 32]));

    #[tokio::test(start_paused = true)]
    async fn a_body_is_in_the_queue_once_and_is_tried_again_after_its_pause() {
        let repairs = RepairQueue::default();
        assert!(repairs.missing(BodyId::new([1; 16]), CONTENT));
        assert!(repairs.missing(BodyId::new([1; 16]), CONTENT));
        assert!(repairs.missing(BodyId::new([2; 16]), CONTENT));
        assert_eq!(repairs.health().queue, 2);
        assert_eq!(repairs.next().await.body, BodyId::new([1; 16]));
        repairs.again(BodyId::new([1; 16]), Duration::from_secs(1));
        assert_eq!(repairs.next().await.body, BodyId::new([2; 16]));
        repairs.finished(BodyId::new([2; 16]));
        let waited = Instant::now();
        let job = repairs.next().await;
        assert_eq!((job.body, job.attempts), (BodyId::new([1; 16]), 1));
        assert_eq!(waited.elapsed(), Duration::from_secs(1));
        assert_eq!((repairs.health().missing, repairs.health().queue), (1, 0));
        repairs.finished(BodyId::new([1; 16]));
        assert_eq!(repairs.health().missing, 0);
        assert_eq!(*repairs.done().borrow(), 2);
    }

    /// The low watermark is what keeps a node from speaking for a body that is damaged here.
    #[tokio::test]
    async fn damage_holds_the_low_watermark_below_its_record_and_missing_bodies_do_not() {
        let repairs = RepairQueue::default();
        let low_watermark = repairs.low_watermark();
        assert_eq!(
            *low_watermark.borrow(),
            TreeSize::EMPTY,
            "the marks are not read yet"
        );
        repairs.loaded();
        assert_eq!(*low_watermark.borrow(), TreeSize::new(u64::MAX));
        repairs.missing(BodyId::new([1; 16]), CONTENT);
        assert_eq!(
            *low_watermark.borrow(),
            TreeSize::new(u64::MAX),
            "whoever waits for it holds the index"
        );
        repairs.damaged(BodyId::new([2; 16]));
        assert_eq!(
            *low_watermark.borrow(),
            TreeSize::EMPTY,
            "no record is known"
        );
        repairs.named(BodyId::new([2; 16]), RecordIndex::new(7));
        assert_eq!(*low_watermark.borrow(), TreeSize::new(7));
        repairs.damaged(BodyId::new([1; 16]));
        repairs.named(BodyId::new([1; 16]), RecordIndex::new(5));
        assert_eq!(*low_watermark.borrow(), TreeSize::new(5));
        for _ in 0..2 {
            let body = repairs.next().await.body;
            repairs.finished(body);
        }
        assert_eq!(*low_watermark.borrow(), TreeSize::new(u64::MAX));
    }

    #[tokio::test]
    async fn damage_found_during_a_repair_is_repaired_too() {
        let repairs = RepairQueue::default();
        repairs.loaded();
        repairs.quarantined(BodyId::new([1; 16]));
        let running = repairs.next().await;
        repairs.quarantined(BodyId::new([1; 16]));
        repairs.finished(running.body);
        assert_eq!(*repairs.low_watermark().borrow(), TreeSize::EMPTY);
        assert_eq!(repairs.next().await.body, BodyId::new([1; 16]));
        repairs.finished(BodyId::new([1; 16]));
        assert_eq!(*repairs.low_watermark().borrow(), TreeSize::new(u64::MAX));
        assert_eq!(repairs.health().quarantined, 2);
    }

    #[tokio::test]
    async fn a_full_queue_forgets_no_damage() {
        let repairs = RepairQueue::default();
        repairs.loaded();
        let body = |n: usize| {
            let mut body = [0; 16];
            body[..8].copy_from_slice(&(n as u64).to_be_bytes());
            body
        };
        for n in 0..QUEUE_MAX {
            assert!(repairs.missing(BodyId::new(body(n)), CONTENT));
        }
        assert!(!repairs.missing(BodyId::new(body(QUEUE_MAX)), CONTENT));
        assert!(!repairs.damaged(BodyId::new(body(QUEUE_MAX))));
        assert_eq!(
            *repairs.low_watermark().borrow(),
            TreeSize::EMPTY,
            "one is marked on the disk alone"
        );
        assert!(!repairs.wants_loading());
        for _ in 0..QUEUE_MAX {
            let body = repairs.next().await.body;
            repairs.finished(body);
        }
        assert!(repairs.wants_loading());
    }
}
