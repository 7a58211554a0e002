//! One node's clocks and random source, driven by the run.
//!
//! Promises: the monotonic clock is the simulated time and never goes back; the wall clock
//! is off by what the world has set, forwards or backwards; draws repeat from the seed, and
//! differ from one start of the node to the next.

use crate::rng::Rng;
use crate::trace::{Trace, What, digest};
use muniment::clock::Clock;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

/// When all runs begin.
pub const EPOCH_MS: i64 = 1_700_000_000_000;

/// What is left of a node's clocks when its process ends. Cheap to clone.
#[derive(Clone, Default)]
pub struct WallClock(Arc<AtomicI64>);

impl WallClock {
    /// Moves the wall clock from now on, forwards or backwards.
    pub fn jump_ms(&self, by: i64) {
        self.0.fetch_add(by, Ordering::SeqCst);
    }
}

pub struct SimClock {
    node: u64,
    wall: WallClock,
    rng: Mutex<Rng>,
    /// Read outside of a step (when a crash drops tasks) it stands still.
    last_us: AtomicU64,
    trace: Trace,
}

impl SimClock {
    pub fn new(node: u64, rng: Rng, wall: WallClock, trace: Trace) -> SimClock {
        SimClock {
            node,
            wall,
            rng: Mutex::new(rng),
            last_us: AtomicU64::new(0),
            trace,
        }
    }
}

impl Clock for SimClock {
    fn now_ms(&self) -> u64 {
        let elapsed = self.monotonic().as_millis() as i64;
        (EPOCH_MS + elapsed + self.wall.0.load(Ordering::SeqCst)) as u64
    }

    fn monotonic(&self) -> Duration {
        let now = turmoil::sim_elapsed().map_or(0, |elapsed| elapsed.as_micros() as u64);
        let last = self.last_us.fetch_max(now, Ordering::SeqCst).max(now);
        self.trace.note(What::Clock, self.node, 0, last);
        Duration::from_micros(last)
    }

    fn random(&self, bytes: &mut [u8]) {
        self.rng.lock().unwrap().fill(bytes);
        self.trace
            .note(What::Draw, self.node, bytes.len() as u64, digest(bytes));
    }
}
