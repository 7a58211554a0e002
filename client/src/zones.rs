//! Which endpoints are in the caller's own zone.
//!
//! Promises: reads begin there, while an endpoint there answers; one that did not is left
//! alone for a while. Zones are what nodes say of themselves. Leaves the order of all
//! other calls as it is.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;
use tokio::time::Instant;

/// How often endpoints of unknown zone are asked, while none is known to be near.
const ASK_EVERY: Duration = Duration::from_secs(30);
/// How long reads pass by a near endpoint that failed: a node that restarts is back by
/// then, and one that is gone costs little.
const AVOID_FOR: Duration = Duration::from_secs(5);

/// See the module.
#[derive(Default)]
pub(crate) struct Zones {
    own: Option<String>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// By URL. As many as there are endpoints.
    known: HashMap<String, String>,
    failed: HashMap<String, Instant>,
    asked: Option<Instant>,
}

impl Zones {
    pub(crate) fn new(own: Option<String>) -> Zones {
        Zones {
            own,
            state: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no code panics under this lock")
    }

    /// The endpoint at `url` answered, from this zone.
    pub(crate) fn answered(&self, url: &str, zone: &str) {
        if self.own.is_none() || zone.is_empty() {
            return;
        }
        let mut state = self.lock();
        state.failed.remove(url);
        if state.known.get(url).is_none_or(|known| known != zone) {
            state.known.insert(url.to_owned(), zone.to_owned());
        }
    }

    pub(crate) fn failed(&self, url: &str, now: Instant) {
        if self.own.is_some() {
            self.lock().failed.insert(url.to_owned(), now);
        }
    }

    /// The endpoints to ask for their zones; none where one is near already, or they were
    /// asked of late.
    pub(crate) fn to_ask(&self, urls: &[String], now: Instant) -> Vec<String> {
        let Some(own) = &self.own else {
            return Vec::new();
        };
        let mut state = self.lock();
        let is_near = |url: &String| state.known.get(url) == Some(own);
        let of_late = state.asked.is_some_and(|asked| now < asked + ASK_EVERY);
        if of_late || urls.iter().any(is_near) {
            return Vec::new();
        }
        state.asked = Some(now);
        let mut unknown = urls.to_vec();
        unknown.retain(|url| !state.known.contains_key(url));
        unknown
    }

    pub(crate) fn is_near(&self, url: &str, now: Instant) -> bool {
        let Some(own) = &self.own else {
            return false;
        };
        let state = self.lock();
        let failed = state.failed.get(url);
        state.known.get(url) == Some(own) && failed.is_none_or(|at| now >= *at + AVOID_FOR)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn endpoints_are_asked_until_one_is_near_and_a_failed_one_is_passed_by() {
        let zones = Zones::new(Some("b".into()));
        let urls = ["u1", "u2", "u3"].map(str::to_owned);
        let now = Instant::now();
        assert_eq!(zones.to_ask(&urls, now), urls);
        assert!(zones.to_ask(&urls, now).is_empty());
        zones.answered("u1", "a");
        assert_eq!(zones.to_ask(&urls, now + ASK_EVERY), ["u2", "u3"]);
        zones.answered("u2", "b");
        assert!(zones.to_ask(&urls, now + 2 * ASK_EVERY).is_empty());
        assert!(zones.is_near("u2", now) && !zones.is_near("u1", now));
        zones.failed("u2", now);
        assert!(!zones.is_near("u2", now));
        assert!(zones.is_near("u2", now + AVOID_FOR));
        zones.answered("u2", "b");
        assert!(zones.is_near("u2", now));
    }

    #[test]
    fn without_a_zone_nothing_is_near_and_nobody_is_asked() {
        let zones = Zones::default();
        zones.answered("u1", "a");
        assert!(!zones.is_near("u1", Instant::now()));
        assert!(zones.to_ask(&["u2".to_owned()], Instant::now()).is_empty());
    }
}
