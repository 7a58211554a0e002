//! Singleflight: a call that is the same as one under way waits for that one's outcome.
//!
//! Promises: of calls with the same tenant, request id and content, one at a time goes on
//! here; the others wait before their first byte is read, and then look for its record like
//! any repetition; if it failed, the next goes on by itself. Nobody waits for ever, and a
//! call that does not join is safe all the same: apply decides. Leaves the same call at two
//! nodes at once to apply.

use muniment_evidence::digest::Digest;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::watch;

/// Calls under way that are known here: above the uploads that a node takes at once.
const CALLS_MAX: usize = 4096;
/// How long a call waits for another: as long as a client that has died may keep that one
/// open (`limits.idle_timeout_ms`).
const JOIN_MAX: Duration = Duration::from_secs(30);

/// What makes two calls the same: tenant, request id and content.
pub type FlightKey = (String, String, Digest);

/// Cheap to clone.
#[derive(Clone, Default)]
pub struct Singleflight(Arc<Mutex<HashMap<FlightKey, watch::Receiver<()>>>>);

/// The call that goes on; over when it is dropped.
pub struct Flight {
    all: Singleflight,
    call: Option<FlightKey>,
    /// Whoever waits sees it closed.
    _over: watch::Sender<()>,
}

impl Singleflight {
    /// Waits until no such call is under way, and is it then.
    pub async fn enter(&self, call: FlightKey) -> Flight {
        let joined = tokio::time::timeout(JOIN_MAX, async {
            loop {
                let mut first = match self.begin(&call) {
                    Ok(flight) => return flight,
                    Err(first) => first,
                };
                // It never sends: it is over when its sender is gone.
                while first.changed().await.is_ok() {}
            }
        });
        joined.await.unwrap_or_else(|_| self.alone())
    }

    /// Begins the call, or finds the one under way.
    fn begin(&self, call: &FlightKey) -> Result<Flight, watch::Receiver<()>> {
        let mut calls = self.lock();
        if let Some(first) = calls.get(call) {
            return Err(first.clone());
        }
        if calls.len() >= CALLS_MAX {
            drop(calls);
            return Ok(self.alone());
        }
        let (over, watched) = watch::channel(());
        calls.insert(call.clone(), watched);
        Ok(Flight {
            all: self.clone(),
            call: Some(call.clone()),
            _over: over,
        })
    }

    /// A call that nobody joins.
    fn alone(&self) -> Flight {
        Flight {
            all: self.clone(),
            call: None,
            _over: watch::channel(()).0,
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<FlightKey, watch::Receiver<()>>> {
        self.0.lock().expect("nobody panics with it")
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        if let Some(call) = self.call.take() {
            self.all.lock().remove(&call);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt as _;

    fn call(request_id: &str) -> FlightKey {
        ("t".into(), request_id.into(), Digest::ZERO)
    }

    #[tokio::test]
    async fn the_same_call_waits_for_the_first_and_then_goes_on() {
        let flights = Singleflight::default();
        let first = flights.enter(call("a")).await;
        let mut second = Box::pin(flights.enter(call("a")));
        assert!(second.as_mut().now_or_never().is_none());
        let _other = flights.enter(call("b")).await;
        drop(first);
        let second = second.await;
        let mut third = Box::pin(flights.enter(call("a")));
        assert!(third.as_mut().now_or_never().is_none());
        drop(second);
        drop(third.await);
        assert_eq!(flights.lock().len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_ever() {
        let flights = Singleflight::default();
        let _first = flights.enter(call("a")).await;
        let second = flights.enter(call("a")).await;
        assert!(second.call.is_none(), "it goes on by itself");
        drop(second);
        assert_eq!(flights.lock().len(), 1, "the first is still known");
    }
}
