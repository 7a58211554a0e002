//! The one way to stop a node: on request, or because a promise was broken.
//!
//! Promises: the first broken promise wins and is what the process ends with; whoever
//! waits sees it at once. Leaves the exit code to the binary.

use std::sync::Arc;
use tokio::sync::watch;

/// Why the node ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// Asked to, by a signal or by its owner.
    Requested,
    /// Going on could lose or contradict what was acknowledged.
    Broken(Arc<str>),
}

/// Cheap to clone.
#[derive(Clone)]
pub struct Stop(Arc<watch::Sender<Option<Why>>>);

impl Default for Stop {
    fn default() -> Self {
        Stop(Arc::new(watch::channel(None).0))
    }
}

impl Stop {
    pub fn new() -> Stop {
        Stop::default()
    }

    pub fn request(&self) {
        self.set(Why::Requested);
    }

    /// Says what promise was broken, in words for the person who is woken by it.
    pub fn broken(&self, what: String) {
        tracing::error!(%what, "a promise is broken, stopping");
        self.set(Why::Broken(what.into()));
    }

    fn set(&self, why: Why) {
        self.0.send_if_modified(|now| match (&now, &why) {
            (Some(Why::Broken(_)), _) | (Some(Why::Requested), Why::Requested) => false,
            _ => {
                *now = Some(why);
                true
            }
        });
    }

    pub fn why(&self) -> Option<Why> {
        self.0.borrow().clone()
    }

    pub async fn stopped(&self) -> Why {
        let mut receiver = self.0.subscribe();
        loop {
            if let Some(why) = receiver.borrow_and_update().clone() {
                return why;
            }
            // The sender lives in `self`, so a change always comes or nobody waits.
            if receiver.changed().await.is_err() {
                return Why::Requested;
            }
        }
    }
}
