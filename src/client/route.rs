//! Where a call goes, and where it goes next when that fails.
//!
//! Promises: endpoints are tried in order from the one that answered last, reads those of
//! the caller's zone first; a hint at the leader is followed; waits grow, are jittered and
//! bounded; nothing outlasts the deadline. Leaves to the verbs which calls may be repeated
//! at all.

use super::Error;
use super::error::is_of_transport;
use super::zones::Zones;
use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::Instant;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use tonic_types::StatusExt as _;

/// Over the longest round trip between regions, TCP and HTTP/2 need below a second.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// A peer that vanished without a word shows within interval + timeout: 5 s.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(3);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(2);
/// Bytes in flight per stream: 100 Mbit/s over 300 ms round trips.
const STREAM_WINDOW_BYTES: u32 = 4 * 1024 * 1024;
/// Several such streams share a connection.
const CONNECTION_WINDOW_BYTES: u32 = 16 * 1024 * 1024;
/// The first wait: a dead node must not cost more than a moment.
const BACKOFF_FIRST: Duration = Duration::from_millis(10);
/// The longest wait: about one election, so that a new leader is found soon.
const BACKOFF_MAX: Duration = Duration::from_secs(1);
/// An attempt is given at least this long before the next endpoint is tried.
const ATTEMPT_MIN: Duration = Duration::from_secs(1);
/// Leaders hinted at outside of the endpoints; a ledger has few voters.
const HINTED_MAX: usize = 16;

/// A connection that adds the caller's credentials and the time left.
pub(super) type Line = InterceptedService<Channel, Dress>;

/// Adds to each request what every request carries.
#[derive(Clone)]
pub(super) struct Dress {
    token: Option<MetadataValue<Ascii>>,
    timeout: Option<Duration>,
}

impl Interceptor for Dress {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &self.token {
            request
                .metadata_mut()
                .insert("authorization", token.clone());
        }
        if let Some(timeout) = self.timeout {
            request.set_timeout(timeout);
        }
        Ok(request)
    }
}

#[derive(Clone)]
struct Site {
    url: String,
    channel: Channel,
}

/// The endpoints, and which of them answered last.
pub(super) struct Route {
    sites: Vec<Site>,
    preferred: AtomicUsize,
    pub(super) zones: Zones,
    hinted: Mutex<HashMap<String, Site>>,
    token: Option<MetadataValue<Ascii>>,
    jitter: AtomicU64,
}

impl Route {
    pub(super) fn new(
        endpoints: &[String],
        token: Option<MetadataValue<Ascii>>,
        seed: u64,
        zone: Option<String>,
    ) -> Result<Route, Error> {
        if endpoints.is_empty() {
            return Err(Error::Usage("no endpoint is given".into()));
        }
        let sites = endpoints.iter().map(|text| site(text));
        Ok(Route {
            sites: sites.collect::<Result<_, _>>()?,
            preferred: AtomicUsize::new(0),
            zones: Zones::new(zone),
            hinted: Mutex::new(HashMap::new()),
            token,
            jitter: AtomicU64::new(seed),
        })
    }

    pub(super) fn urls(&self) -> Vec<String> {
        self.sites.iter().map(|site| site.url.clone()).collect()
    }

    /// Starts at the endpoint that answered last.
    pub(super) fn journey(&self, patience: Duration) -> Journey<'_> {
        let first = self.preferred.load(Ordering::Relaxed);
        let count = self.sites.len();
        Journey {
            route: self,
            patience,
            deadline: Instant::now() + patience,
            attempts: 0,
            order: (0..count).map(|i| (first + i) % count).collect(),
            at: 0,
            nearby: false,
            hint: None,
            hint_followed: false,
        }
    }

    /// Starts at an endpoint of the caller's zone, where one is known; `started` is when
    /// the deadline began to count.
    pub(super) fn journey_nearby(&self, patience: Duration, started: Instant) -> Journey<'_> {
        let mut journey = self.journey(patience);
        let near = |at: usize| self.zones.is_near(&self.sites[at].url, started);
        // Stable: within the zone and outside of it the order stays.
        journey.order.sort_by_key(|at| !near(*at));
        journey.nearby = near(journey.order[0]);
        journey.deadline = started + patience;
        journey
    }

    /// A line to one address, whether or not it is among the endpoints.
    pub(super) fn line_to(&self, address: &str, timeout: Duration) -> Result<Line, Error> {
        Ok(self.dressed(&self.site(address)?, Some(timeout)))
    }

    fn dressed(&self, site: &Site, timeout: Option<Duration>) -> Line {
        let token = self.token.clone();
        InterceptedService::new(site.channel.clone(), Dress { token, timeout })
    }

    fn site(&self, address: &str) -> Result<Site, Error> {
        let wanted = url(address)?;
        if let Some(known) = self.sites.iter().find(|site| site.url == wanted) {
            return Ok(known.clone());
        }
        let mut hinted = self.hinted.lock().expect("no code panics under this lock");
        if let Some(known) = hinted.get(&wanted) {
            return Ok(known.clone());
        }
        if hinted.len() >= HINTED_MAX {
            hinted.clear();
        }
        let new = site(&wanted)?;
        hinted.insert(wanted, new.clone());
        Ok(new)
    }

    /// SplitMix64 (Steele, Lea and Flood, 2014): the same seed gives the same waits.
    fn random(&self) -> u64 {
        let mut z = self
            .jitter
            .fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// One call on its way from endpoint to endpoint.
pub(super) struct Journey<'a> {
    route: &'a Route,
    patience: Duration,
    deadline: Instant,
    attempts: u32,
    /// The sites in the order in which they are tried, round and round.
    order: Vec<usize>,
    /// Where in the order.
    at: usize,
    /// It began in the caller's zone, whatever other calls prefer.
    nearby: bool,
    /// Where an answer said that the leader is.
    hint: Option<Site>,
    /// At most one hint between two endpoints: two nodes may each hint at the other.
    hint_followed: bool,
}

impl Journey<'_> {
    fn site(&self) -> &Site {
        let site = &self.route.sites[self.order[self.at]];
        self.hint.as_ref().unwrap_or(site)
    }

    pub(super) fn url(&self) -> &str {
        &self.site().url
    }

    /// For calls with one answer: the server learns how long the caller waits.
    pub(super) fn line(&self) -> Line {
        self.route.dressed(self.site(), Some(self.attempt_limit()))
    }

    /// For streams of answers, which may take as long as they make progress.
    pub(super) fn line_for_stream(&self) -> Line {
        self.route.dressed(self.site(), None)
    }

    /// Bounds one attempt; what does not answer in time counts as unavailable.
    pub(super) async fn within<T>(
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
    pub(super) fn attempt_limit(&self) -> Duration {
        let rest = self.deadline.saturating_duration_since(Instant::now());
        if self.route.sites.len() == 1 {
            rest
        } else {
            rest.min(ATTEMPT_MIN.max(rest / 2))
        }
    }

    /// The call succeeded here: the next one begins here.
    pub(super) fn arrived(&self) {
        if self.hint.is_none() && !self.nearby {
            let site = self.order[self.at];
            self.route.preferred.store(site, Ordering::Relaxed);
        }
    }

    /// Bytes arrived: the deadline bounds the time without progress.
    pub(super) fn renew(&mut self) {
        self.deadline = Instant::now() + self.patience;
        self.attempts = 0;
    }

    /// Moves on to where the call may succeed, or gives the error to end with.
    pub(super) async fn onward(&mut self, status: Status) -> Result<(), Error> {
        let error = || Error::from_status(&status, self.url());
        let Some(wait_min) = wait_before_repeat(&status) else {
            return Err(error());
        };
        let mut wait = jittered(backoff(self.attempts), self.route.random());
        // A server asks for time on its own behalf: the others are tried at once.
        if (self.attempts as usize + 1).is_multiple_of(self.route.sites.len()) {
            wait = wait.max(wait_min);
        }
        let now = Instant::now();
        self.route.zones.failed(self.url(), now);
        if now + wait >= self.deadline {
            return Err(error());
        }
        tracing::debug!(endpoint = self.url(), %status, ?wait, "trying again");
        tokio::time::sleep(wait).await;
        self.attempts = self.attempts.saturating_add(1);
        // A hint goes with the credentials to an address that a server named: it is
        // believed because that server was given the credentials as well.
        let hint = leader_hint(&status).and_then(|address| self.route.site(&address).ok());
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
pub(super) fn wait_before_repeat(status: &Status) -> Option<Duration> {
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
pub(super) fn backoff(attempts: u32) -> Duration {
    let factor = 1u32.checked_shl(attempts.min(31)).unwrap_or(u32::MAX);
    BACKOFF_FIRST.saturating_mul(factor).min(BACKOFF_MAX)
}

/// Between half and all of the wait: callers that failed together do not return together.
fn jittered(wait: Duration, random: u64) -> Duration {
    let half = wait / 2;
    half + half.mul_f64(random as f64 / u64::MAX as f64)
}

fn site(text: &str) -> Result<Site, Error> {
    let url = url(text)?;
    let usage = |e| Error::Usage(format!("{text:?} is not an endpoint: {e}"));
    let endpoint = Endpoint::from_shared(url.clone())
        .and_then(|endpoint| endpoint.user_agent(concat!("muniment/", env!("CARGO_PKG_VERSION"))))
        .map_err(usage)?
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES);
    let channel = endpoint.connect_lazy();
    Ok(Site { url, channel })
}

/// `host:port` is short for `http://host:port`.
fn url(text: &str) -> Result<String, Error> {
    let text = text.trim().trim_end_matches('/');
    if text.is_empty() {
        return Err(Error::Usage("an endpoint is empty".into()));
    }
    if text.starts_with("https://") {
        let why = format!("{text}: TLS is not supported by this build yet");
        return Err(Error::Usage(why));
    }
    if text.starts_with("http://") {
        return Ok(text.to_owned());
    }
    if text.contains("://") {
        return Err(Error::Usage(format!("{text:?} is not an http URL")));
    }
    Ok(format!("http://{text}"))
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

    #[test]
    fn endpoints_may_leave_out_the_scheme_but_not_ask_for_tls() {
        assert_eq!(url("127.0.0.1:7401").unwrap(), "http://127.0.0.1:7401");
        assert_eq!(url(" http://a:1/ ").unwrap(), "http://a:1");
        assert!(matches!(url("https://a:1"), Err(Error::Usage(_))));
        assert!(matches!(url("ftp://a:1"), Err(Error::Usage(_))));
        assert!(matches!(url(""), Err(Error::Usage(_))));
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
    async fn a_journey_visits_every_endpoint_and_a_hinted_leader_once() {
        let endpoints = ["a:1".to_owned(), "b:1".to_owned()];
        let route = Route::new(&endpoints, None, 7, None).unwrap();
        let mut journey = route.journey(Duration::from_secs(5));
        assert_eq!(journey.url(), "http://a:1");
        let hint = || {
            let mut details = ErrorDetails::new();
            let address = ("leader_address".to_owned(), "c:1".to_owned());
            details.set_error_info("NOT_LEADER", "muniment", [address]);
            Status::with_error_details(Code::Unavailable, "not the leader", details)
        };
        journey.onward(hint()).await.unwrap();
        assert_eq!(journey.url(), "http://c:1");
        journey.onward(hint()).await.unwrap();
        assert_eq!(journey.url(), "http://b:1");
        journey.onward(Status::unavailable("")).await.unwrap();
        assert_eq!(journey.url(), "http://a:1");
        let refused = journey.onward(Status::not_found("")).await;
        assert!(matches!(refused, Err(Error::NotFound(_))));
    }

    #[tokio::test(start_paused = true)]
    async fn reads_begin_in_the_own_zone_and_other_calls_where_they_did() {
        let endpoints = ["a:1", "b:1", "c:1"].map(str::to_owned);
        let patience = Duration::from_secs(5);
        let route = Route::new(&endpoints, None, 7, Some("z".into())).unwrap();
        let nearby = || route.journey_nearby(patience, Instant::now());
        assert_eq!(nearby().url(), "http://a:1");
        route.zones.answered("http://c:1", "z");
        let mut journey = nearby();
        assert_eq!(journey.url(), "http://c:1");
        journey.arrived();
        assert_eq!(route.journey(patience).url(), "http://a:1");
        // One that fails is passed by, also by the next read.
        journey.onward(Status::unavailable("")).await.unwrap();
        assert_eq!(journey.url(), "http://a:1");
        assert_eq!(nearby().url(), "http://a:1");
    }

    #[tokio::test(start_paused = true)]
    async fn a_journey_ends_at_its_deadline() {
        let route = Route::new(&["a:1".to_owned()], None, 7, None).unwrap();
        let mut journey = route.journey(Duration::from_secs(3));
        let started = Instant::now();
        while journey.onward(Status::unavailable("")).await.is_ok() {}
        assert!(started.elapsed() <= Duration::from_secs(3));
        assert!(started.elapsed() >= Duration::from_secs(2));
    }
}
