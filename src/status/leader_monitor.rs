//! Keeps watch over leadership: how long there was none, as this node saw it.
//!
//! Promises: a time without a leader begins with the last word of the one before, not with
//! the moment at which it was noticed; each is measured once, when the next leader is
//! known. Leaves doing something about it to Raft.

use crate::raft::context::Context;
use crate::raft::group::RaftGroup;
use crate::supervise;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::Instant;

/// Is told each time without a leader, once it is over.
pub type OnOver = Arc<dyn Fn(Duration) + Send + Sync>;

/// Cheap to clone.
#[derive(Clone)]
pub struct LeaderMonitor(Arc<Inner>);

struct Inner {
    group: RaftGroup,
    /// From here on silence counts as none leading: the longest election timeout.
    silence_max: Duration,
    /// Since when no leader is known, as far as Raft says so.
    since: Mutex<Option<Instant>>,
}

impl LeaderMonitor {
    /// Watches for as long as the node runs.
    pub fn start(context: &Context, silence_max: Duration, on_over: OnOver) -> LeaderMonitor {
        let monitor = LeaderMonitor(Arc::new(Inner {
            group: context.group.clone(),
            silence_max,
            since: Mutex::default(),
        }));
        let (watching, stop) = (monitor.clone(), context.stop.clone());
        supervise::restart(&stop, "the watch over leadership", move || {
            let (watching, on_over) = (watching.clone(), on_over.clone());
            async move { watching.watch(on_over).await }
        });
        monitor
    }

    async fn watch(&self, on_over: OnOver) {
        // Nothing is over before there was a first leader.
        let (mut seen, mut led) = (None, false);
        loop {
            let now = self.0.group.leadership_changed(seen).await;
            seen = Some(now);
            let mut since = self.0.since.lock().expect("nobody panics with it");
            match (now.leader, *since) {
                (None, None) if led => {
                    *since = Some(self.0.group.leader_last_seen().unwrap_or_else(Instant::now));
                }
                (Some(_), Some(began)) => {
                    *since = None;
                    on_over(began.elapsed());
                }
                _ => {}
            }
            led |= now.leader.is_some();
        }
    }

    /// How long there has been no leader by now; zero while there is one.
    pub fn leaderless(&self) -> Duration {
        if self.0.group.is_leader() {
            return Duration::ZERO;
        }
        if let Some(since) = *self.0.since.lock().expect("nobody panics with it") {
            return since.elapsed();
        }
        // Who is cut off goes on believing in the leader it had.
        let heard = self.0.group.leader_last_seen();
        let silence = heard.map_or(Duration::ZERO, |heard| heard.elapsed());
        if silence > self.0.silence_max {
            silence
        } else {
            Duration::ZERO
        }
    }
}
