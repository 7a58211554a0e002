//! The library's runtime: tokio, with a random source that belongs to the node.
//!
//! openraft draws its election timeouts from a random source that its runtime names by a
//! type alone, so the source cannot be handed to it. Here it travels with the tasks:
//! whoever starts the library does so within [`drawing_from`], and every task that it
//! spawns from there draws from the same clock. Promises that nothing started so draws
//! from anywhere else; what runs outside (the library's own test suite) draws from the
//! machine. Leaves timers and channels to tokio.

use crate::clock::{SharedClock, SystemClock};
use openraft::{AsyncRuntime, OptionalSend, TokioRuntime};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

tokio::task_local! {
    static CLOCK: SharedClock;
}

/// Runs `work`, which starts the library: it and its tasks draw from `clock`.
pub async fn drawing_from<F: Future>(clock: SharedClock, work: F) -> F::Output {
    CLOCK.scope(clock, work).await
}

/// See the module.
#[derive(Debug)]
pub struct Runtime(TokioRuntime);

/// Random numbers from a clock.
pub struct Draws(SharedClock);

impl rand_core::TryRng for Draws {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.0.random(&mut bytes);
        Ok(u32::from_be_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.0.random(&mut bytes);
        Ok(u64::from_be_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        self.0.random(bytes);
        Ok(())
    }
}

type Tokio = TokioRuntime;

impl AsyncRuntime for Runtime {
    type JoinError = <Tokio as AsyncRuntime>::JoinError;
    type JoinHandle<T: OptionalSend + 'static> = <Tokio as AsyncRuntime>::JoinHandle<T>;
    type Sleep = <Tokio as AsyncRuntime>::Sleep;
    type Instant = <Tokio as AsyncRuntime>::Instant;
    type TimeoutError = <Tokio as AsyncRuntime>::TimeoutError;
    type Timeout<R, T: Future<Output = R> + OptionalSend> = <Tokio as AsyncRuntime>::Timeout<R, T>;
    type ThreadLocalRng = Draws;
    type Mpsc = <Tokio as AsyncRuntime>::Mpsc;
    type Watch = <Tokio as AsyncRuntime>::Watch;
    type Oneshot = <Tokio as AsyncRuntime>::Oneshot;
    type Mutex<T: OptionalSend + 'static> = <Tokio as AsyncRuntime>::Mutex<T>;

    fn spawn<T>(future: T) -> Self::JoinHandle<T::Output>
    where
        T: Future + OptionalSend + 'static,
        T::Output: OptionalSend + 'static,
    {
        match CLOCK.try_with(Clone::clone) {
            Ok(clock) => Tokio::spawn(CLOCK.scope(clock, future)),
            Err(_) => Tokio::spawn(future),
        }
    }

    fn sleep(duration: Duration) -> Self::Sleep {
        Tokio::sleep(duration)
    }

    fn sleep_until(deadline: Self::Instant) -> Self::Sleep {
        Tokio::sleep_until(deadline)
    }

    fn timeout<R, F: Future<Output = R> + OptionalSend>(
        duration: Duration,
        future: F,
    ) -> Self::Timeout<R, F> {
        Tokio::timeout(duration, future)
    }

    fn timeout_at<R, F: Future<Output = R> + OptionalSend>(
        deadline: Self::Instant,
        future: F,
    ) -> Self::Timeout<R, F> {
        Tokio::timeout_at(deadline, future)
    }

    fn is_panic(join_error: &Self::JoinError) -> bool {
        Tokio::is_panic(join_error)
    }

    fn thread_rng() -> Draws {
        let own = CLOCK.try_with(Clone::clone);
        Draws(own.unwrap_or_else(|_| Arc::new(SystemClock)))
    }

    fn new(threads: usize) -> Self {
        Runtime(Tokio::new(threads))
    }

    fn block_on<F, T>(&mut self, future: F) -> T
    where
        F: Future<Output = T>,
    {
        self.0.block_on(future)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SeededClock;
    use rand_core::Rng as _;

    /// Four numbers, the last two of them drawn by a task that the first one spawned.
    async fn draws() -> Vec<u64> {
        let own = (0..2).map(|_| Runtime::thread_rng().next_u64());
        let mut all: Vec<u64> = own.collect();
        let child = Runtime::spawn(async {
            let own = (0..2).map(|_| Runtime::thread_rng().next_u64());
            own.collect::<Vec<u64>>()
        });
        all.extend(child.await.expect("it does not panic"));
        all
    }

    #[tokio::test]
    async fn a_task_and_those_it_spawns_draw_from_its_clock_alone() {
        let seeded = |seed| drawing_from(Arc::new(SeededClock::new(seed)), draws());
        let (first, again, other) = (seeded(1).await, seeded(1).await, seeded(2).await);
        assert_eq!(first, again);
        assert_ne!(first, other);
        assert_ne!(
            draws().await,
            draws().await,
            "outside, the machine is asked"
        );
    }
}
