//! The Raft log and vote as bytes: one ordered writer on the ledger database.
//!
//! Promises: what `append` wrote is readable when it returns and durable when its
//! callback runs, and callbacks never overtake each other; a vote is durable, in the
//! database and in the floor file, before `save_vote` returns; the log is one run of
//! indexes without holes. Leaves the meaning of the bytes to `raft/`.

use super::engine::{Batch, Engine};
use super::floor::{Floor, FloorFile, FloorLogId, FloorVote, TRAIL};
use super::flush::{Flusher, OnDurable};
use super::{Blocking, Error, keys};
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::sync::watch;

/// Pairs read from the engine at a time; a page is bounded by bytes as well.
const PAGE_ENTRIES: usize = 64;

/// One entry as stored.
pub struct Stored {
    pub id: FloorLogId,
    pub bytes: Vec<u8>,
}

/// What the log holds.
#[derive(Clone, Debug, Default)]
pub struct Extent {
    /// The opaque id of the newest purged entry.
    pub purged: Option<Vec<u8>>,
    /// The newest entry: index and bytes.
    pub last: Option<(u64, Vec<u8>)>,
}

/// Cheap to clone.
#[derive(Clone)]
pub struct LogStore {
    engine: Arc<dyn Engine>,
    blocking: Blocking,
    flusher: Flusher,
    floor: Arc<Mutex<FloorFile>>,
    /// What the floor file should say soon.
    synced: Arc<watch::Sender<Option<FloorLogId>>>,
}

impl LogStore {
    pub fn start(
        engine: Arc<dyn Engine>,
        blocking: Blocking,
        flusher: Flusher,
        floor: FloorFile,
        stop: crate::stop::Stop,
    ) -> LogStore {
        let store = LogStore {
            engine,
            blocking,
            flusher,
            synced: Arc::new(watch::channel(floor.get().last_log).0),
            floor: Arc::new(Mutex::new(floor)),
        };
        let mut synced = store.synced.subscribe();
        let (floor, blocking) = (store.floor.clone(), store.blocking);
        tokio::spawn(async move {
            while synced.changed().await.is_ok() {
                // The trail: many syncs, one floor write.
                tokio::time::sleep(TRAIL).await;
                let Some(last) = *synced.borrow_and_update() else {
                    continue;
                };
                let floor = floor.clone();
                let raised = blocking.run(move || {
                    let mut file = lock(&floor);
                    let now = file.get();
                    file.set(Floor {
                        last_log: Some(last),
                        ..now
                    })
                });
                if let Err(error) = raised.await {
                    stop.broken(format!("the floor file cannot be written: {error}"));
                    return;
                }
            }
        });
        store
    }

    pub fn floor(&self) -> Floor {
        lock(&self.floor).get()
    }

    pub async fn extent(&self) -> Result<Extent, Error> {
        let engine = self.engine.clone();
        self.blocking
            .run(move || {
                let (start, end) = (keys::log_entry(0), keys::log_entry(u64::MAX));
                let last = engine.scan_back(&start, &end, 1)?.pop();
                Ok(Extent {
                    purged: engine.get(keys::PURGED)?,
                    last: match last {
                        None => None,
                        Some((key, bytes)) => {
                            let index = keys::log_index(&key)
                                .ok_or_else(|| Error::corrupt("a log key has no index"))?;
                            Some((index, bytes))
                        }
                    },
                })
            })
            .await
    }

    /// Entries `start..end` until `bytes_max` is passed, at least one if there is one.
    /// Fewer than asked without reaching the limit means that the log ends there.
    pub async fn read(
        &self,
        start: u64,
        end: u64,
        bytes_max: usize,
    ) -> Result<Vec<Vec<u8>>, Error> {
        let engine = self.engine.clone();
        self.blocking
            .run(move || {
                let mut entries = Vec::new();
                let (mut next, mut bytes) = (start, 0);
                while next < end && bytes < bytes_max {
                    let limit = PAGE_ENTRIES.min((end - next) as usize);
                    let page = engine.scan(&keys::log_entry(next), &keys::log_entry(end), limit)?;
                    if page.is_empty() {
                        break;
                    }
                    if entries.is_empty() {
                        next = begin(engine.as_ref(), next, &page[0].0)?;
                    }
                    for (key, value) in page {
                        if keys::log_index(&key) != Some(next) {
                            return Err(Error::corrupt(format!(
                                "log entry {next} is missing before a later one"
                            )));
                        }
                        bytes += value.len();
                        next += 1;
                        entries.push(value);
                        if bytes >= bytes_max {
                            break;
                        }
                    }
                }
                Ok(entries)
            })
            .await
    }

    /// Appends in order; `on_durable` runs after the entries were synced.
    pub async fn append(&self, entries: Vec<Stored>, on_durable: OnDurable) -> Result<(), Error> {
        let last = entries.last().map(|entry| entry.id);
        let engine = self.engine.clone();
        let written = self
            .blocking
            .run(move || {
                let mut batch = Batch::new();
                for entry in entries {
                    batch.put(keys::log_entry(entry.id.index), entry.bytes);
                }
                engine.write(batch)
            })
            .await;
        if let Err(error) = written {
            on_durable(Err(error.clone()));
            return Err(error);
        }
        let synced = self.synced.clone();
        self.flusher.when_durable(Box::new(move |result| {
            if result.is_ok() && last.is_some() {
                synced.send_replace(last);
            }
            on_durable(result);
        }));
        Ok(())
    }

    /// Removes everything after `last` (everything, for `None`).
    pub async fn truncate_after(&self, last: Option<FloorLogId>) -> Result<(), Error> {
        let (engine, floor) = (self.engine.clone(), self.floor.clone());
        self.synced.send_replace(last);
        self.blocking
            .run(move || {
                {
                    let mut file = lock(&floor);
                    let now = file.get();
                    let lowered = match (now.last_log, last) {
                        (Some(floor), Some(last)) => Some(floor.min(last)),
                        _ => None,
                    };
                    file.set(Floor {
                        last_log: lowered,
                        ..now
                    })?;
                }
                let mut batch = Batch::new();
                let first = last.map_or(0, |id| id.index + 1);
                batch.delete_range(keys::log_entry(first), keys::log_entry(u64::MAX));
                engine.write(batch)
            })
            .await
    }

    /// Removes everything up to and including `index`; `id` is the opaque log id.
    pub async fn purge(&self, index: u64, id: Vec<u8>) -> Result<(), Error> {
        let engine = self.engine.clone();
        self.blocking
            .run(move || {
                let mut batch = Batch::new();
                batch.put(keys::PURGED, id);
                batch.delete_range(keys::log_entry(0), keys::log_entry(index + 1));
                engine.write(batch)
            })
            .await
    }

    /// Durable in the database, then in the floor file, before it returns.
    pub async fn save_vote(&self, vote: FloorVote, bytes: Vec<u8>) -> Result<(), Error> {
        let engine = self.engine.clone();
        self.blocking
            .run(move || {
                let mut batch = Batch::new();
                batch.put(keys::VOTE, bytes);
                engine.write(batch)
            })
            .await?;
        self.flusher.durable().await?;
        let floor = self.floor.clone();
        self.blocking
            .run(move || {
                let mut file = lock(&floor);
                let now = file.get();
                file.set(Floor {
                    vote: Some(vote),
                    ..now
                })
            })
            .await
    }

    pub async fn read_vote(&self) -> Result<Option<Vec<u8>>, Error> {
        self.read_key(keys::VOTE).await
    }

    /// Not synced: it only saves work at start.
    pub async fn save_committed(&self, id: Vec<u8>) -> Result<(), Error> {
        let engine = self.engine.clone();
        self.blocking
            .run(move || {
                let mut batch = Batch::new();
                batch.put(keys::COMMITTED, id);
                engine.write(batch)
            })
            .await
    }

    pub async fn read_committed(&self) -> Result<Option<Vec<u8>>, Error> {
        self.read_key(keys::COMMITTED).await
    }

    async fn read_key(&self, key: &'static [u8]) -> Result<Option<Vec<u8>>, Error> {
        let engine = self.engine.clone();
        self.blocking.run(move || engine.get(key)).await
    }
}

/// Where reading from `start` begins: at the first entry found, if all before it was
/// purged; else at `start`, which then must be there.
fn begin(engine: &dyn Engine, start: u64, found: &[u8]) -> Result<u64, Error> {
    let (first, end) = (keys::log_entry(0), keys::log_entry(start));
    if engine.scan(&first, &end, 1)?.is_empty() {
        return Ok(keys::log_index(found).unwrap_or(start));
    }
    Ok(start)
}

fn lock(floor: &Mutex<FloorFile>) -> MutexGuard<'_, FloorFile> {
    floor.lock().expect("no holder of the floor file panics")
}
