//! One call on its way from endpoint to endpoint, until it is answered or must not be
//! repeated.
//!
//! The problem: a caller knows a few addresses, of which some may be gone, cut off or not
//! the leader, and a call that failed may have taken effect. What a loop does, attempt by
//! attempt:
//!
//! 1. It begins at the endpoint that answered last; a read at one of the caller's own zone.
//! 2. An attempt gets half of the time that is left (all of it at the only endpoint), so
//!    that a node which accepts and never answers leaves time for the others.
//! 3. An answer ends the loop, and so does a refusal that would be the same again.
//! 4. Otherwise it waits (10 ms, doubled per attempt up to 1 s, jittered by half) and tries
//!    the leader that the answer hinted at, or else the next endpoint, round and round.
//!
//! Example with endpoints a, b, c and leader c: a says "not the leader, c is" → 10 ms → c
//! answers. Had c been gone: → 20 ms → b (after one hint an endpoint comes next, since two
//! nodes may each hint at the other).
//!
//! Promises: nothing outlasts the deadline. Leaves to the verbs which calls may be repeated
//! at all: a verb that changes something has a request id, under which the ledger does it
//! once.

use crate::ClientError;
use crate::endpoints::{Endpoint, Endpoints};
use crate::error::is_of_transport;
use crate::services::AuthChannel;
use std::time::Duration;
use tokio::time::Instant;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// The first wait: a dead node must not cost more than a moment.
const BACKOFF_FIRST: Duration = Duration::from_millis(10);
/// The longest wait: about one election, so that a new leader is found soon.
const BACKOFF_MAX: Duration = Duration::from_secs(1);
/// An attempt is given at least this long before the next endpoint is tried.
const ATTEMPT_MIN: Duration = Duration::from_secs(1);

/// See the module.
pub(crate) struct RetryLoop<'a> {
    endpoints: &'a Endpoints,
    /// The longest time without progress.
    limit: Duration,
    deadline: Instant,
    /// Failed attempts since the last progress.
    failed: u32,
    /// Places of the endpoints in the order in which they are tried, round and round.
    order: Vec<usize>,
    /// Where in the order.
    at: usize,
    /// It began in the caller's zone, whatever other calls prefer.
    nearby: bool,
    /// Where an answer said that the leader is.
    hint: Option<Endpoint>,
    /// At most one hint between two endpoints: two nodes may each hint at the other.
    hint_followed: bool,
}

impl Endpoints {
    /// Starts at the endpoint that answered last.
    pub(crate) fn attempts(&self, limit: Duration) -> RetryLoop<'_> {
        let (first, count) = (self.preferred(), self.count());
        RetryLoop {
            endpoints: self,
            limit,
            deadline: Instant::now() + limit,
            failed: 0,
            order: (0..count).map(|i| (first + i) % count).collect(),
            at: 0,
            nearby: false,
            hint: None,
            hint_followed: false,
        }
    }

    /// Starts at an endpoint of the caller's zone, where one is known; `started` is when
    /// the deadline began to count.
    pub(crate) fn attempts_nearby(&self, limit: Duration, started: Instant) -> RetryLoop<'_> {
        let mut attempts = self.attempts(limit);
        let near = |place: usize| self.zones.is_near(&self.at(place).url, started);
        // Stable: within the zone and outside of it the order stays.
        attempts.order.sort_by_key(|place| !near(*place));
        attempts.nearby = near(attempts.order[0]);
        attempts.deadline = started + limit;
        attempts
    }
}

impl RetryLoop<'_> {
    fn endpoint(&self) -> &Endpoint {
        let next = self.endpoints.at(self.order[self.at]);
        self.hint.as_ref().unwrap_or(next)
    }

    pub(crate) fn url(&self) -> &str {
        &self.endpoint().url
    }

    /// For calls with one answer: the server learns how long the caller waits.
    pub(crate) fn channel(&self) -> AuthChannel {
        let limit = self.attempt_limit();
        self.endpoints.channel(self.endpoint(), Some(limit))
    }

    /// For streams of answers, which may take as long as they make progress.
    pub(crate) fn channel_for_stream(&self) -> AuthChannel {
        self.endpoints.channel(self.endpoint(), None)
    }

    /// Bounds one attempt; what does not answer in time counts as unavailable.
    pub(crate) async fn within<T>(
        &self,
        attempt: impl Future<Output = Result<T, Status>>,
    ) -> Result<T, Status> {
        let limit = self.attempt_limit();
        match tokio::time::timeout(limit, attempt).await {
            Ok(result) => result,
            Err(_) => {
                let limit_ms = limit.as_millis();
                Err(Status::unavailable(format!("no answer in {limit_ms} ms")))
            }
        }
    }

    /// The whole rest at the only endpoint; elsewhere half of it, so that one node that
    /// accepts and never answers leaves time for the others.
    pub(crate) fn attempt_limit(&self) -> Duration {
        let rest = self.deadline.saturating_duration_since(Instant::now());
        if self.endpoints.count() == 1 {
            rest
        } else {
            rest.min(ATTEMPT_MIN.max(rest / 2))
        }
    }

    /// The call succeeded here: the next one begins here.
    pub(crate) fn succeeded(&self) {
        if self.hint.is_none() && !self.nearby {
            self.endpoints.prefer(self.order[self.at]);
        }
    }

    /// Bytes arrived: the deadline bounds the time without progress.
    pub(crate) fn progressed(&mut self) {
        self.deadline = Instant::now() + self.limit;
        self.failed = 0;
    }

    /// Moves on to where the call may succeed, or gives the error to end with.
    pub(crate) async fn next(&mut self, status: Status) -> Result<(), ClientError> {
        let error = || ClientError::from_status(&status, self.url());
        let Some(wait_min) = wait_before_repeat(&status) else {
            return Err(error());
        };
        let mut wait = jittered(backoff(self.failed), self.endpoints.random());
        // A server asks for time on its own behalf: the others are tried at once.
        if (self.failed as usize + 1).is_multiple_of(self.endpoints.count()) {
            wait = wait.max(wait_min);
        }
        let now = Instant::now();
        self.endpoints.zones.failed(self.url(), now);
        if now + wait >= self.deadline {
            return Err(error());
        }
        tracing::debug!(endpoint = self.url(), %status, ?wait, "trying again");
        tokio::time::sleep(wait).await;
        self.failed = self.failed.saturating_add(1);
        // A hint goes with the credentials to an address that a server named: it is
        // believed because that server was given the credentials as well.
        let hint = leader_hint(&status).and_then(|address| self.endpoints.endpoint(&address).ok());
        match hint {
            Some(hint) if !self.hint_followed && hint.url != self.url() => {
                self.hint = Some(hint);
                self.hint_followed = true;
            }
            _ => {
                self.hint = None;
                self.hint_followed = false;
                self.at = (self.at + 1) % self.order.len();
            }
        }
        Ok(())
    }
}

/// `None`: the same call would fail again. Otherwise the wait that the server asks for.
pub(crate) fn wait_before_repeat(status: &Status) -> Option<Duration> {
    if let Some(retry) = status.get_details_retry_info() {
        return Some(retry.retry_delay.unwrap_or_default());
    }
    let passing = status.code() == Code::Unavailable || is_of_transport(status);
    passing.then_some(Duration::ZERO)
}

fn leader_hint(status: &Status) -> Option<String> {
    let mut info = status.get_details_error_info()?;
    info.metadata
        .remove("leader_address")
        .filter(|address| !address.is_empty())
}

/// Doubles per attempt, up to its bound.
pub(crate) fn backoff(attempts: u32) -> Duration {
    let factor = 1u32.checked_shl(attempts.min(31)).unwrap_or(u32::MAX);
    BACKOFF_FIRST.saturating_mul(factor).min(BACKOFF_MAX)
}

/// Between half and all of the wait: callers that failed together do not return together.
fn jittered(wait: Duration, random: u64) -> Duration {
    let half = wait / 2;
    half + half.mul_f64(random as f64 / u64::MAX as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic_types::ErrorDetails;

    #[test]
    fn waits_double_up_to_their_bound_and_never_vanish() {
        assert_eq!(backoff(0), BACKOFF_FIRST);
        assert_eq!(backoff(1), BACKOFF_FIRST * 2);
        assert_eq!(backoff(40), BACKOFF_MAX);
        for random in [0, u64::MAX / 2, u64::MAX] {
            let wait = jittered(BACKOFF_MAX, random);
            assert!(wait >= BACKOFF_MAX / 2 && wait <= BACKOFF_MAX, "{wait:?}");
        }
    }

    /// Only what may pass is tried again: anything else would fail the same way.
    #[test]
    fn a_refusal_is_not_repeated_but_a_fault_is() {
        assert_eq!(
            wait_before_repeat(&Status::unavailable("")),
            Some(Duration::ZERO)
        );
        assert_eq!(wait_before_repeat(&Status::invalid_argument("")), None);
        let mut details = ErrorDetails::new();
        details.set_retry_info(Some(Duration::from_millis(70)));
        let full = Status::with_error_details(Code::ResourceExhausted, "full", details);
        assert_eq!(wait_before_repeat(&full), Some(Duration::from_millis(70)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_visits_every_endpoint_and_a_hinted_leader_once() {
        let addresses = ["a:1".to_owned(), "b:1".to_owned()];
        let endpoints = Endpoints::new(&addresses, None, 7, None).unwrap();
        let mut attempts = endpoints.attempts(Duration::from_secs(5));
        assert_eq!(attempts.url(), "http://a:1");
        let hint = || {
            let mut details = ErrorDetails::new();
            let address = ("leader_address".to_owned(), "c:1".to_owned());
            details.set_error_info("NOT_LEADER", "muniment", [address]);
            Status::with_error_details(Code::Unavailable, "not the leader", details)
        };
        attempts.next(hint()).await.unwrap();
        assert_eq!(attempts.url(), "http://c:1");
        attempts.next(hint()).await.unwrap();
        assert_eq!(attempts.url(), "http://b:1");
        attempts.next(Status::unavailable("")).await.unwrap();
        assert_eq!(attempts.url(), "http://a:1");
        let refused = attempts.next(Status::not_found("")).await;
        assert!(matches!(refused, Err(ClientError::NotFound(_))));
    }

    #[tokio::test(start_paused = true)]
    async fn reads_begin_in_the_own_zone_and_other_calls_where_they_did() {
        let addresses = ["a:1", "b:1", "c:1"].map(str::to_owned);
        let limit = Duration::from_secs(5);
        let endpoints = Endpoints::new(&addresses, None, 7, Some("z".into())).unwrap();
        let nearby = || endpoints.attempts_nearby(limit, Instant::now());
        assert_eq!(nearby().url(), "http://a:1");
        endpoints.zones.answered("http://c:1", "z");
        let mut attempts = nearby();
        assert_eq!(attempts.url(), "http://c:1");
        attempts.succeeded();
        assert_eq!(endpoints.attempts(limit).url(), "http://a:1");
        // One that fails is passed by, also by the next read.
        attempts.next(Status::unavailable("")).await.unwrap();
        assert_eq!(attempts.url(), "http://a:1");
        assert_eq!(nearby().url(), "http://a:1");
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_ends_at_its_deadline() {
        let endpoints = Endpoints::new(&["a:1".to_owned()], None, 7, None).unwrap();
        let mut attempts = endpoints.attempts(Duration::from_secs(3));
        let started = Instant::now();
        while attempts.next(Status::unavailable("")).await.is_ok() {}
        assert!(started.elapsed() <= Duration::from_secs(3));
        assert!(started.elapsed() >= Duration::from_secs(2));
    }
}
