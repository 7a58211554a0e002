//! The only reader of OS time and randomness.
//!
//! Promises that whoever takes a [`SharedClock`] can be run from a seed. Leaves timers to
//! tokio, whose clock the simulator controls.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// See the module. Cheap to clone.
pub type SharedClock = Arc<dyn Clock>;

pub trait Clock: Send + Sync {
    /// Milliseconds since 1970: a claim, never compared between nodes.
    fn now_ms(&self) -> u64;
    /// Goes on through suspend; for ages and bounds.
    fn monotonic(&self) -> Duration;
    fn random(&self, bytes: &mut [u8]);

    /// RFC 9562 §5.7: time first, so that keys made later sort later.
    fn uuid_v7(&self) -> [u8; 16] {
        let mut tail = [0; 10];
        self.random(&mut tail);
        uuid::Builder::from_unix_timestamp_millis(self.now_ms(), &tail)
            .into_uuid()
            .into_bytes()
    }

    fn salt(&self) -> [u8; 32] {
        let mut salt = [0; 32];
        self.random(&mut salt);
        salt
    }
}

/// The machine's clocks and random source.
pub struct SystemClock;

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "this is the one reader")]
    fn now_ms(&self) -> u64 {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_millis() as u64)
    }

    fn monotonic(&self) -> Duration {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        Duration::new(now.tv_sec.unsigned_abs(), now.tv_nsec.unsigned_abs() as u32)
    }

    #[allow(clippy::disallowed_methods, reason = "this is the one reader")]
    fn random(&self, bytes: &mut [u8]) {
        getrandom::fill(bytes).expect("the machine's random source works");
    }
}

/// A clock that repeats from its seed: for the simulator and tests.
pub struct SeededClock {
    state: AtomicU64,
    started: tokio::time::Instant,
}

impl SeededClock {
    pub fn new(seed: u64) -> SeededClock {
        SeededClock {
            state: AtomicU64::new(seed),
            started: tokio::time::Instant::now(),
        }
    }
}

impl Clock for SeededClock {
    fn now_ms(&self) -> u64 {
        1_700_000_000_000 + self.monotonic().as_millis() as u64
    }

    fn monotonic(&self) -> Duration {
        self.started.elapsed()
    }

    fn random(&self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            // SplitMix64 (Steele, Lea and Flood, 2014).
            let mut z = self
                .state
                .fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^= z >> 31;
            chunk.copy_from_slice(&z.to_be_bytes()[..chunk.len()]);
        }
    }
}
