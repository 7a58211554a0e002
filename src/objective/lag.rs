//! Lag: how far a holder is behind, in records, bytes and time.
//!
//! Pure. A history of the log's growth, sampled at one node by that node's own clock,
//! answers since when a size has been passed and how many body bytes were named by then.
//! Promises upper bounds: what lies between two samples counts in full. No clocks of two
//! nodes are compared. Leaves taking samples to `service/`.

use crate::domain::ids::TreeSize;
use std::collections::VecDeque;
use std::time::Duration;

/// Samples kept: some minutes of a busy log at the pace of the reports; an older lag is
/// told as at least as old as the oldest sample.
const SAMPLES_MAX: usize = 2048;

/// How the log stood at a moment of this node's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Records in the log.
    pub size: TreeSize,
    /// Bytes of the bodies that they name.
    pub body_bytes: u64,
    pub at: Duration,
}

/// How far behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lag {
    pub records: u64,
    /// Of bodies; upper bound.
    pub bytes: u64,
    /// Since the oldest record that is not held was in the log; upper bound.
    pub ms: u64,
}

/// The log's growth, oldest first.
#[derive(Clone, Debug, Default)]
pub struct History(VecDeque<Sample>);

impl History {
    /// Takes a sample; one without growth only moves the newest in time.
    pub fn note(&mut self, sample: Sample) {
        if let [.., before, last] = self.0.make_contiguous()
            && before.size == last.size
            && last.size == sample.size
        {
            *last = sample;
            return;
        }
        self.0.push_back(sample);
        if self.0.len() > SAMPLES_MAX {
            self.0.pop_front();
        }
    }

    /// The lag of somebody who holds everything below `complete`.
    pub fn lag(&self, complete: TreeSize, now: Duration) -> Lag {
        let Some(head) = self.0.back() else {
            return Lag::default();
        };
        if complete >= head.size {
            return Lag::default();
        }
        // The newest sample that the holder covers: what came after it may be missing.
        let covered = self.0.iter().rev().find(|sample| sample.size <= complete);
        let oldest = self.0.front().unwrap_or(head);
        let (bytes, since) = match covered {
            Some(sample) => (sample.body_bytes, sample.at),
            None => (0, oldest.at),
        };
        Lag {
            records: head.size.count_since(complete),
            bytes: head.body_bytes.saturating_sub(bytes),
            ms: now.saturating_sub(since).as_millis() as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(size: u64, ms: u64) -> Sample {
        Sample {
            size: TreeSize::new(size),
            body_bytes: size * 100,
            at: Duration::from_millis(ms),
        }
    }

    #[test]
    fn a_lag_is_bounded_from_above_and_none_is_none() {
        let mut history = History::default();
        assert_eq!(history.lag(TreeSize::EMPTY, Duration::ZERO), Lag::default());
        for (size, ms) in [(10, 0), (10, 100), (10, 200), (15, 300), (20, 400)] {
            history.note(sample(size, ms));
        }
        let now = Duration::from_millis(500);
        assert_eq!(history.lag(TreeSize::new(20), now), Lag::default());
        assert_eq!(history.lag(TreeSize::new(25), now), Lag::default());
        // It covers the sample of 15 and not that of 20: missing since 300 at the worst.
        let lag = Lag {
            records: 3,
            bytes: 500,
            ms: 200,
        };
        assert_eq!(history.lag(TreeSize::new(17), now), lag);
        // Older than the history: all that it knows of.
        assert_eq!(history.lag(TreeSize::new(5), now).bytes, 2000);
        assert_eq!(history.lag(TreeSize::new(5), now).ms, 500);
        // Quiet time does not age the lag of one who held everything then.
        assert_eq!(history.lag(TreeSize::new(10), now).ms, 300);
    }

    #[test]
    fn the_history_is_bounded() {
        let mut history = History::default();
        for n in 0..10_000 {
            history.note(sample(n, n));
        }
        assert_eq!(history.0.len(), SAMPLES_MAX);
    }
}
