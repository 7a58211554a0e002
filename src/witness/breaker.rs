//! When to try a witness again: a circuit breaker, pure.
//!
//! Promises: after a failure nobody is asked before the pause is over; pauses double up to
//! [`PAUSE_MAX`]; one success closes the circuit at once. The caller tells the time and
//! throws the dice, so a run repeats.

use std::time::Duration;

/// After the first failure: a restart takes about so long.
pub const PAUSE_FIRST: Duration = Duration::from_secs(1);
/// A witness that was away for a day is found again within a minute.
pub const PAUSE_MAX: Duration = Duration::from_secs(60);
/// Doublings until the pause is above its maximum.
const DOUBLINGS_MAX: u32 = 6;

/// See the module. Times are those of one monotonic clock.
#[derive(Clone, Debug, Default)]
pub struct Breaker {
    failures_in_row: u32,
    closed_at: Duration,
}

impl Breaker {
    /// How long to wait before the next attempt; zero while the circuit is closed.
    pub fn pause(&self, now: Duration) -> Duration {
        self.closed_at.saturating_sub(now)
    }

    pub fn succeeded(&mut self) {
        *self = Breaker::default();
    }

    /// `dice` is any number: it shortens the pause by up to a quarter, so that the nodes
    /// and ledgers that lost one witness together do not all come back together.
    pub fn failed(&mut self, now: Duration, dice: u8) {
        let doubled = PAUSE_FIRST * (1 << self.failures_in_row.min(DOUBLINGS_MAX));
        let pause = doubled.min(PAUSE_MAX);
        self.failures_in_row = self.failures_in_row.saturating_add(1);
        self.closed_at = now + pause - pause * u32::from(dice) / 1024;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_maximum_and_end_with_a_success() {
        let mut breaker = Breaker::default();
        let mut now = Duration::from_secs(100);
        assert_eq!(breaker.pause(now), Duration::ZERO);
        for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
            breaker.failed(now, 0);
            assert_eq!(breaker.pause(now), Duration::from_secs(seconds));
            now += Duration::from_secs(seconds);
            assert_eq!(breaker.pause(now), Duration::ZERO);
        }
        breaker.failed(now, 0);
        breaker.succeeded();
        assert_eq!(breaker.pause(now), Duration::ZERO);
        breaker.failed(now, 0);
        assert_eq!(breaker.pause(now), PAUSE_FIRST);
    }

    #[test]
    fn the_dice_shorten_a_pause_by_a_quarter_at_most() {
        for dice in [0, 1, 128, 255] {
            let mut breaker = Breaker::default();
            for _ in 0..1000 {
                breaker.failed(Duration::ZERO, dice);
            }
            let pause = breaker.pause(Duration::ZERO);
            assert!(pause <= PAUSE_MAX && pause > PAUSE_MAX * 3 / 4, "{pause:?}");
        }
    }
}
