//! The one ordered flusher of a database: what waits is made durable by one fsync.
//!
//! Promises: a waiter is answered after a sync that began after its writes returned, and
//! never before an older waiter. A failed sync is told to everyone waiting and stops the
//! node. Remembers how long syncs took, and since when one has not returned. Leaves the
//! writes to their owners, judging the times to `status/disk_health`.

use super::engine::Engine;
use super::{Blocking, StoreError};
use crate::stop::Stop;
use crate::supervise::{self, Life};
use crate::sync::Shared;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// Called once, with whether the sync succeeded.
pub type OnDurable = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

/// Is told how long each sync took, for metrics.
pub type OnSync = Arc<dyn Fn(Duration) + Send + Sync>;

/// Times remembered until they are taken: some seconds of a fast disk.
const TIMES_MAX: usize = 4096;

/// Cheap to clone; the flusher ends when the last clone is dropped.
#[derive(Clone)]
pub struct Flusher {
    queue: mpsc::UnboundedSender<OnDurable>,
    times: Shared<Times>,
}

#[derive(Default)]
struct Times {
    took: VecDeque<Duration>,
    /// When the sync under way began.
    began: Option<Instant>,
}

/// How the syncs went since somebody looked last.
#[derive(Clone, Debug, Default)]
pub struct SyncStats {
    /// Of those that returned.
    pub took: Vec<Duration>,
    /// Age of the one that has not.
    pub stuck: Option<Duration>,
}

impl Flusher {
    /// `name` is the database's, for the message if the sync fails.
    pub fn start(
        name: &'static str,
        engine: Arc<dyn Engine>,
        blocking: Blocking,
        stop: Stop,
        on_sync: OnSync,
    ) -> Flusher {
        // Unbounded by count, but each waiter stands for a write that its own layer has
        // bounded (appends by openraft's channels, bodies by the uploads in flight).
        let (sender, mut queue) = mpsc::unbounded_channel::<OnDurable>();
        let times = Shared::<Times>::default();
        let noted = times.clone();
        let kept = stop.clone();
        supervise::keep(&kept, Life::UntilUnused, "a flusher", async move {
            while let Some(first) = queue.recv().await {
                let mut waiting = vec![first];
                while let Ok(next) = queue.try_recv() {
                    waiting.push(next);
                }
                let engine = engine.clone();
                let started = Instant::now();
                noted.lock().began = Some(started);
                let result = blocking.run(move || engine.sync()).await;
                let took = started.elapsed();
                noted.lock().ended(took);
                on_sync(took);
                if let Err(error) = &result {
                    stop.broken(format!("fsync of the {name} database failed: {error}"));
                }
                for waiter in waiting {
                    waiter(result.clone());
                }
            }
        });
        Flusher {
            queue: sender,
            times,
        }
    }

    /// How the syncs went since this was asked last.
    pub fn sync_stats(&self) -> SyncStats {
        let mut times = self.times.lock();
        SyncStats {
            took: times.took.drain(..).collect(),
            stuck: times.began.map(|began| began.elapsed()),
        }
    }

    /// Calls back when all writes that have returned by now are durable.
    pub fn when_durable(&self, waiter: OnDurable) {
        if let Err(mpsc::error::SendError(waiter)) = self.queue.send(waiter) {
            waiter(Err(StoreError::Stopped));
        }
    }

    /// Waits until all writes that have returned by now are durable.
    pub async fn durable(&self) -> Result<(), StoreError> {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        self.when_durable(Box::new(move |result| {
            // The waiter may have gone: durability does not depend on it.
            let _ = sender.send(result);
        }));
        receiver.await.unwrap_or(Err(StoreError::Stopped))
    }
}

impl Times {
    fn ended(&mut self, took: Duration) {
        self.began = None;
        if self.took.len() == TIMES_MAX {
            self.took.pop_front();
        }
        self.took.push_back(took);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stop::Why;
    use crate::store::engine::{Batch, Engine, Pair, View, Visit};
    use crate::store::memory::MemoryEngine;
    use std::path::Path;
    use std::sync::atomic::{AtomicBool, Ordering};

    /// An engine whose disk fails when it is told to.
    #[derive(Default)]
    struct Failing {
        engine: MemoryEngine,
        fails: AtomicBool,
    }

    impl View for Failing {
        fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
            self.engine.get(key)
        }

        fn scan(&self, start: &[u8], end: &[u8], limit: usize) -> Result<Vec<Pair>, StoreError> {
            self.engine.scan(start, end, limit)
        }

        fn scan_back(
            &self,
            start: &[u8],
            end: &[u8],
            limit: usize,
        ) -> Result<Vec<Pair>, StoreError> {
            self.engine.scan_back(start, end, limit)
        }
    }

    impl Engine for Failing {
        fn write(&self, batch: Batch) -> Result<(), StoreError> {
            self.engine.write(batch)
        }

        fn sync(&self) -> Result<(), StoreError> {
            if self.fails.load(Ordering::SeqCst) {
                return Err(StoreError::engine("no such luck"));
            }
            self.engine.sync()
        }

        fn at_one_moment(&self, visit: &mut Visit<'_>) -> Result<(), StoreError> {
            self.engine.at_one_moment(visit)
        }

        fn checkpoint(&self, dir: &Path) -> Result<Arc<dyn View>, StoreError> {
            self.engine.checkpoint(dir)
        }

        fn size_bytes(&self) -> u64 {
            self.engine.size_bytes()
        }
    }

    /// After a failed fsync nobody knows what is on disk: nobody is told that it is, and
    /// the node stops.
    #[tokio::test]
    async fn i11_a_failed_fsync_stops_the_node_and_tells_everyone_waiting() {
        let engine = Arc::new(Failing::default());
        let stop = Stop::new();
        let flusher = Flusher::start(
            "ledger",
            engine.clone(),
            Blocking::Pool,
            stop.clone(),
            Arc::new(|_| {}),
        );
        flusher.durable().await.unwrap();
        assert!(stop.why().is_none());
        engine.fails.store(true, Ordering::SeqCst);
        let (one, two) = futures::join!(flusher.durable(), flusher.durable());
        assert!(one.is_err() && two.is_err());
        let Some(Why::Broken(what)) = stop.why() else {
            panic!("the node goes on after a failed fsync");
        };
        assert!(
            what.contains("fsync of the ledger database failed"),
            "{what}"
        );
    }

    #[tokio::test]
    async fn the_stats_have_each_sync_once() {
        let engine = Arc::new(MemoryEngine::new());
        let unobserved = Arc::new(|_| {});
        let flusher = Flusher::start("x", engine, Blocking::Inline, Stop::new(), unobserved);
        flusher.durable().await.unwrap();
        flusher.durable().await.unwrap();
        let stats = flusher.sync_stats();
        assert_eq!((stats.took.len(), stats.stuck), (2, None));
        assert!(flusher.sync_stats().took.is_empty());
    }
}
