//! A node's disk: two databases in memory, which are slow, fail and forget on request.
//!
//! Promises the contract of the engine seam: what was not synced when the power is cut is
//! lost but for a prefix; a sync that fails makes nothing durable. Tells the observer of
//! every write and sync, in order, and of reads of bodies. Leaves deciding what goes wrong
//! to the world.

use crate::facts::{Event, Events};
use crate::rng::Rng;
use crate::trace::{Trace, What, digest};
use muniment::store::engine::{self, Batch, Engine, Op, Pair, View};
use muniment::store::memory::MemoryEngine;
use muniment::store::{Pace, StoreError};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// One visit in so many takes a while even on a good disk.
const SLOW_VISIT_ONCE_IN: u64 = 6;
/// How long such a visit takes, at most.
const VISIT_MS_MAX: u64 = 4;
/// Bytes that are free on a disk that is not full.
const FREE_BYTES: u64 = 1 << 40;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Which {
    Ledger,
    Bodies,
}

/// What a visit to the disk is known by: the task that makes it, and the how many-th visit
/// of the node it is.
pub type Visit = (Option<u64>, u64);

/// How a node's disk behaves; the world changes it.
#[derive(Debug)]
pub struct Mood {
    node: u64,
    /// The longest pause of a slow disk; 0 for a good one.
    slow_ms: AtomicU64,
    full: AtomicBool,
    sync_fails: AtomicBool,
    visits: AtomicU64,
    rng: Mutex<Rng>,
    trace: Trace,
}

impl Mood {
    pub fn new(node: u64, rng: Rng, trace: Trace) -> Mood {
        Mood {
            node,
            slow_ms: AtomicU64::new(0),
            full: AtomicBool::new(false),
            sync_fails: AtomicBool::new(false),
            visits: AtomicU64::new(0),
            rng: Mutex::new(rng),
            trace,
        }
    }

    pub fn set_slow_ms(&self, most: u64) {
        self.slow_ms.store(most, Ordering::SeqCst);
    }

    pub fn set_full(&self, full: bool) {
        self.full.store(full, Ordering::SeqCst);
    }

    pub fn is_full(&self) -> bool {
        self.full.load(Ordering::SeqCst)
    }

    /// The next sync fails, and every one after it.
    pub fn set_sync_fails(&self, fails: bool) {
        self.sync_fails.store(fails, Ordering::SeqCst);
    }

    pub fn free_bytes(&self) -> u64 {
        if self.is_full() { 0 } else { FREE_BYTES }
    }

    fn visit(&self) -> Visit {
        let task = tokio::task::try_id().map(|id| digest(id.to_string().as_bytes()));
        (task, self.visits.load(Ordering::SeqCst))
    }

    fn note(&self, what: What, about: u64, digest: u64) {
        self.trace.note(what, self.node, about, digest);
    }
}

impl Pace for Mood {
    fn pause(&self) -> Duration {
        self.visits.fetch_add(1, Ordering::SeqCst);
        let slow_ms = self.slow_ms.load(Ordering::SeqCst);
        let mut rng = self.rng.lock().unwrap();
        let pause_ms = match slow_ms {
            0 if rng.once_in(SLOW_VISIT_ONCE_IN) => 1 + rng.below(VISIT_MS_MAX),
            0 => 0,
            most => rng.below(most),
        };
        drop(rng);
        self.note(What::Visit, 0, pause_ms);
        Duration::from_millis(pause_ms)
    }
}

/// One of a node's databases.
pub struct Disk {
    node: u64,
    which: Which,
    pub memory: MemoryEngine,
    mood: &'static Mood,
    events: Events,
}

impl Disk {
    pub fn new(node: u64, which: Which, mood: &'static Mood, events: Events) -> Disk {
        Disk {
            node,
            which,
            memory: MemoryEngine::new(),
            mood,
            events,
        }
    }

    fn note_read(&self) {
        if self.which == Which::Bodies {
            let visit = self.mood.visit();
            let node = self.node;
            self.events.push(Event::BodiesVisited { node, visit });
        }
    }
}

impl View for Disk {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.note_read();
        self.memory.get(key)
    }

    fn scan(&self, start: &[u8], end: &[u8], limit: usize) -> Result<Vec<Pair>, StoreError> {
        self.note_read();
        self.memory.scan(start, end, limit)
    }

    fn scan_back(&self, start: &[u8], end: &[u8], limit: usize) -> Result<Vec<Pair>, StoreError> {
        self.note_read();
        self.memory.scan_back(start, end, limit)
    }
}

impl Engine for Disk {
    fn write(&self, batch: Batch) -> Result<(), StoreError> {
        self.mood.note(What::Write, self.which as u64, of(&batch));
        let visit = self.mood.visit();
        self.events.push(Event::Wrote {
            node: self.node,
            which: self.which,
            visit,
            batch: Arc::new(batch.clone()),
        });
        self.memory.write(batch)
    }

    fn sync(&self) -> Result<(), StoreError> {
        let (node, which) = (self.node, self.which);
        if self.mood.sync_fails.load(Ordering::SeqCst) {
            self.mood.note(What::SyncFailed, which as u64, 0);
            self.events.push(Event::SyncFailed { node });
            return Err(StoreError::engine(std::io::Error::other("the disk fails")));
        }
        self.mood.note(What::Sync, which as u64, 0);
        self.events.push(Event::Synced { node, which });
        self.memory.sync()
    }

    fn at_one_moment(&self, visit: &mut engine::Visit<'_>) -> Result<(), StoreError> {
        self.note_read();
        self.memory.at_one_moment(visit)
    }

    fn checkpoint(&self, dir: &Path) -> Result<Arc<dyn View>, StoreError> {
        self.memory.checkpoint(dir)
    }

    fn size_bytes(&self) -> u64 {
        self.memory.size_bytes()
    }
}

fn of(batch: &Batch) -> u64 {
    let mut hasher = DefaultHasher::new();
    for op in &batch.ops {
        match op {
            Op::Put(key, value) => (0u8, key, value).hash(&mut hasher),
            Op::Delete(key) => (1u8, key).hash(&mut hasher),
            Op::DeleteRange(start, end) => (2u8, start, end).hash(&mut hasher),
        }
    }
    hasher.finish()
}
