//! The one ordered flusher of a database: what waits is made durable by one fsync.
//!
//! Promises: a waiter is answered after a sync that began after its writes returned, and
//! never before an older waiter. A failed sync is told to everyone waiting and stops the
//! node. Leaves the writes to their owners.

use super::engine::Engine;
use super::{Blocking, Error};
use crate::stop::Stop;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// Called once, with whether the sync succeeded.
pub type OnDurable = Box<dyn FnOnce(Result<(), Error>) + Send>;

/// Is told how long each sync took, for metrics.
pub type OnSync = Arc<dyn Fn(Duration) + Send + Sync>;

/// Cheap to clone; the flusher ends when the last clone is dropped.
#[derive(Clone)]
pub struct Flusher(mpsc::UnboundedSender<OnDurable>);

impl Flusher {
    /// `name` is the database's, for the message if the sync fails.
    pub fn start(
        name: &'static str,
        engine: Arc<dyn Engine>,
        blocking: Blocking,
        stop: Stop,
        on_sync: OnSync,
    ) -> Flusher {
        // Unbounded by count, but each waiter stands for a write that its own floor has
        // bounded (appends by openraft's channels, bodies by the uploads in flight).
        let (sender, mut queue) = mpsc::unbounded_channel::<OnDurable>();
        tokio::spawn(async move {
            while let Some(first) = queue.recv().await {
                let mut waiting = vec![first];
                while let Ok(next) = queue.try_recv() {
                    waiting.push(next);
                }
                let engine = engine.clone();
                let started = tokio::time::Instant::now();
                let result = blocking.run(move || engine.sync()).await;
                on_sync(started.elapsed());
                if let Err(error) = &result {
                    stop.broken(format!("fsync of the {name} database failed: {error}"));
                }
                for waiter in waiting {
                    waiter(result.clone());
                }
            }
        });
        Flusher(sender)
    }

    /// Calls back when all writes that have returned by now are durable.
    pub fn when_durable(&self, waiter: OnDurable) {
        if let Err(mpsc::error::SendError(waiter)) = self.0.send(waiter) {
            waiter(Err(Error::Stopped));
        }
    }

    /// Waits until all writes that have returned by now are durable.
    pub async fn durable(&self) -> Result<(), Error> {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        self.when_durable(Box::new(move |result| {
            // The waiter may have gone: durability does not depend on it.
            let _ = sender.send(result);
        }));
        receiver.await.unwrap_or(Err(Error::Stopped))
    }
}
