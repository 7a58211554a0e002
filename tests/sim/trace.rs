//! The trace of a run: everything that happens, hashed in the order in which it happens.
//!
//! Messages, visits to the disk, writes, syncs, readings of the clock, random draws, faults,
//! and after each step how often each node's runtime was woken: a timer that fires elsewhere
//! changes that. Promises that two runs with the same hash did the same at the same
//! simulated times. Keeps the last events in words where they are asked for. Leaves
//! comparing to whoever runs a seed twice.

use std::collections::VecDeque;
use std::fmt;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What happened.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    Sent,
    Received,
    Write,
    Sync,
    SyncFailed,
    Visit,
    Draw,
    Clock,
    Woken,
    Fault,
    Call,
}

/// Events shown before and after two runs part.
const BEFORE_PARTING: usize = 30;
const AFTER_PARTING: usize = 8;

#[derive(Debug, Hash, PartialEq, Eq)]
struct Event {
    at_us: u64,
    what: What,
    node: u64,
    /// The other node, the disk, the method: as `what` has it.
    about: u64,
    digest: u64,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:>10.3} ms  node {} {:?} {:#x} {:016x}",
            self.at_us as f64 / 1000.0,
            self.node,
            self.what,
            self.about,
            self.digest
        )
    }
}

struct Inner {
    hasher: DefaultHasher,
    events: u64,
    tail: VecDeque<Event>,
    kept: usize,
    /// Simulated time between two steps, when no node has any.
    between: Duration,
}

/// Shared by all parts of one run. Cheap to clone.
#[derive(Clone)]
pub struct Trace(Arc<Mutex<Inner>>);

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Trace")
    }
}

/// The same bytes have the same digest in every process.
pub fn digest(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}

impl Trace {
    /// Keeps this many events in words.
    pub fn new(kept: usize) -> Trace {
        Trace(Arc::new(Mutex::new(Inner {
            hasher: DefaultHasher::new(),
            events: 0,
            tail: VecDeque::new(),
            kept,
            between: Duration::ZERO,
        })))
    }

    /// A step has ended, so late in the run.
    pub fn stepped(&self, elapsed: Duration) {
        self.0.lock().unwrap().between = elapsed;
    }

    pub fn note(&self, what: What, node: u64, about: u64, digest: u64) {
        let mut inner = self.0.lock().unwrap();
        let now = turmoil::sim_elapsed().unwrap_or(inner.between);
        let event = Event {
            at_us: now.as_micros() as u64,
            what,
            node,
            about,
            digest,
        };
        event.hash(&mut inner.hasher);
        inner.events += 1;
        if inner.kept > 0 {
            if inner.tail.len() == inner.kept {
                inner.tail.pop_front();
            }
            inner.tail.push_back(event);
        }
    }

    /// The hash of everything so far, and how much that is.
    pub fn sum(&self) -> (u64, u64) {
        let inner = self.0.lock().unwrap();
        (inner.hasher.finish(), inner.events)
    }

    /// The last events in words.
    pub fn tail(&self) -> Vec<String> {
        let inner = self.0.lock().unwrap();
        inner.tail.iter().map(ToString::to_string).collect()
    }

    /// Where two runs part that kept all their events, with what came before, in words.
    pub fn parting(&self, other: &Trace) -> Vec<String> {
        let (one, other) = (self.0.lock().unwrap(), other.0.lock().unwrap());
        let mut pairs = one.tail.iter().zip(&other.tail);
        let Some(at) = pairs.position(|(a, b)| a != b) else {
            return Vec::new();
        };
        let before = one.tail.range(at.saturating_sub(BEFORE_PARTING)..at);
        let mut lines: Vec<String> = before.map(ToString::to_string).collect();
        for (name, events) in [("first", &one.tail), ("again", &other.tail)] {
            let after = events.iter().skip(at).take(AFTER_PARTING);
            lines.extend(after.map(|event| format!("{name}: {event}")));
        }
        lines
    }
}
