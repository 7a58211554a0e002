//! The one way to stop a node: on request, or because a promise was broken.
//!
//! Promises: the first broken promise wins and is what the process ends with; whoever
//! waits sees it at once. What calls in flight need goes on through a graceful stop until
//! they are drained. Leaves the exit code to the binary.

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
pub struct Stop(Arc<Inner>);

struct Inner {
    why: watch::Sender<Option<Why>>,
    drained: watch::Sender<bool>,
}

impl Default for Stop {
    fn default() -> Self {
        Stop(Arc::new(Inner {
            why: watch::channel(None).0,
            drained: watch::channel(false).0,
        }))
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
        if matches!(self.why(), Some(Why::Broken(_))) {
            // What fails because the node stops is no other reason.
            tracing::debug!(%what, "failed while stopping");
            return;
        }
        tracing::error!(%what, "a promise is broken, stopping");
        self.set(Why::Broken(what.into()));
    }

    fn set(&self, why: Why) {
        self.0.why.send_if_modified(|now| match (&now, &why) {
            (Some(Why::Broken(_)), _) | (Some(Why::Requested), Why::Requested) => false,
            _ => {
                *now = Some(why);
                true
            }
        });
    }

    pub fn why(&self) -> Option<Why> {
        self.0.why.borrow().clone()
    }

    /// Waits until a promise is broken; says which.
    pub async fn broke(&self) -> Arc<str> {
        let mut receiver = self.0.why.subscribe();
        loop {
            if let Some(Why::Broken(what)) = receiver.borrow_and_update().clone() {
                return what;
            }
            // The sender lives in `self`, which is borrowed here.
            if receiver.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// All calls have ended: what they needed may end too.
    pub fn drained(&self) {
        self.0.drained.send_replace(true);
    }

    /// For what calls in flight need: waits until they are drained, or a promise is broken.
    pub async fn over(&self) {
        let (mut why, mut drained) = (self.0.why.subscribe(), self.0.drained.subscribe());
        // The senders live in `self`, so neither wait ends before its time.
        tokio::select! {
            _ = why.wait_for(|why| matches!(why, Some(Why::Broken(_)))) => {}
            _ = drained.wait_for(|drained| *drained) => {}
        }
    }

    pub async fn stopped(&self) -> Why {
        let mut receiver = self.0.why.subscribe();
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
