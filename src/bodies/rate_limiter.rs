//! A bound on bytes per second, for what goes on in the background.
//!
//! Promises: over any time no more passes than the rate allows, and one piece beyond; who
//! comes first goes first. Unused time is not saved up, so that no burst follows a pause.

use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// See the module.
pub struct RateLimiter {
    bytes_per_s: u64,
    /// When the next piece may pass.
    next: Mutex<Option<Instant>>,
}

impl RateLimiter {
    pub fn new(bytes_per_s: u64) -> RateLimiter {
        RateLimiter {
            bytes_per_s: bytes_per_s.max(1),
            next: Mutex::default(),
        }
    }

    /// Returns when a piece of this length may pass.
    pub async fn take(&self, length: u64) {
        let mut next = self.next.lock().await;
        let now = Instant::now();
        let at = next.map_or(now, |next| next.max(now));
        // The lock is held meanwhile: those behind wait for their turn anyway.
        tokio::time::sleep_until(at).await;
        let nanos = u128::from(length) * 1_000_000_000 / u128::from(self.bytes_per_s);
        *next = Some(at + Duration::from_nanos(nanos.min(u128::from(u64::MAX)) as u64));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_rate_is_kept_and_a_pause_saves_nothing_up() {
        let rate_limiter = RateLimiter::new(1 << 20);
        let started = Instant::now();
        for _ in 0..5 {
            rate_limiter.take(1 << 20).await;
        }
        assert_eq!(started.elapsed().as_secs(), 4);
        tokio::time::sleep(Duration::from_secs(60)).await;
        let started = Instant::now();
        for _ in 0..3 {
            rate_limiter.take(1 << 20).await;
        }
        assert_eq!(started.elapsed().as_secs(), 2);
    }
}
