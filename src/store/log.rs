//! The Raft log and vote as bytes: one ordered writer on the ledger database.
//!
//! Promises: what `append` wrote is readable when it returns and durable when its
//! callback runs, and callbacks never overtake each other; a vote is durable, in the
//! database and in the watermark, before `save_vote` returns. Two things it does not write,
//! whoever asks: an entry that does not follow on the one before it, and a vote that goes
//! back. Either would contradict what was acknowledged, so the process ends. Leaves the
//! meaning of the bytes to `raft/`.

use super::engine::{Batch, Engine};
use super::flush::{Flusher, OnDurable};
use super::watermark::{DurableVote, LogPosition, TRAIL, Watermark, WatermarkFile};
use super::{Blocking, StoreError, keys};
use crate::domain::ids::LogIndex;
use crate::supervise::{self, Life};
use crate::sync::Shared;
use std::sync::Arc;
use tokio::sync::watch;

/// Pairs read from the engine at a time; a page is bounded by bytes as well.
const PAGE_ENTRIES: usize = 64;

/// One entry as stored.
pub struct StoredEntry {
    pub id: LogPosition,
    pub bytes: Vec<u8>,
}

/// What the log holds.
#[derive(Clone, Debug, Default)]
pub struct Extent {
    /// The opaque id of the newest purged entry.
    pub purged: Option<Vec<u8>>,
    /// The newest entry: index and bytes.
    pub last: Option<(LogIndex, Vec<u8>)>,
}

/// The watermark, and how often the log was cut since the start.
struct Marked {
    file: WatermarkFile,
    truncations: u64,
}

/// The newest entry that was synced, and after how many truncations it was appended: one
/// from before a truncation may have been cut off by it.
#[derive(Clone, Copy)]
struct Synced {
    truncations: u64,
    last: Option<LogPosition>,
}

/// Cheap to clone.
#[derive(Clone)]
pub struct LogStore {
    engine: Arc<dyn Engine>,
    blocking: Blocking,
    flusher: Flusher,
    watermark: Shared<Marked>,
    /// What the watermark should say soon.
    synced: Arc<watch::Sender<Synced>>,
    /// The index that the next entry must have, once it is known.
    next: Shared<Option<LogIndex>>,
}

impl Marked {
    /// Names an entry, unless it was appended before a truncation.
    fn raise(&mut self, synced: Synced) -> Result<(), StoreError> {
        if synced.truncations != self.truncations || synced.last.is_none() {
            return Ok(());
        }
        let now = self.file.get();
        self.file.set(Watermark {
            last_log: synced.last,
            ..now
        })
    }

    /// Names nothing after `last` from now on; says how often the log was cut.
    fn cut(&mut self, last: Option<LogPosition>) -> Result<u64, StoreError> {
        self.truncations += 1;
        let now = self.file.get();
        let lowered = match (now.last_log, last) {
            (Some(marked), Some(last)) => Some(marked.min(last)),
            _ => None,
        };
        self.file.set(Watermark {
            last_log: lowered,
            ..now
        })?;
        Ok(self.truncations)
    }
}

impl LogStore {
    pub fn start(
        engine: Arc<dyn Engine>,
        blocking: Blocking,
        flusher: Flusher,
        watermark: WatermarkFile,
        stop: crate::stop::Stop,
    ) -> LogStore {
        let synced = Synced {
            truncations: 0,
            last: watermark.get().last_log,
        };
        let marked = Marked {
            file: watermark,
            truncations: 0,
        };
        let store = LogStore {
            engine,
            blocking,
            flusher,
            synced: Arc::new(watch::channel(synced).0),
            watermark: Shared::new(marked),
            next: Shared::default(),
        };
        let mut synced = store.synced.subscribe();
        let (watermark, blocking) = (store.watermark.clone(), store.blocking);
        let kept = stop.clone();
        supervise::keep(&kept, Life::UntilUnused, "the log's trail", async move {
            while synced.changed().await.is_ok() {
                // The trail: many syncs, one write of the file.
                tokio::time::sleep(TRAIL).await;
                let synced = *synced.borrow_and_update();
                let watermark = watermark.clone();
                let raised = blocking.run(move || watermark.lock().raise(synced));
                if let Err(error) = raised.await {
                    stop.broken(format!("the watermark cannot be written: {error}"));
                    return;
                }
            }
        });
        store
    }

    pub fn watermark(&self) -> Watermark {
        self.watermark.lock().file.get()
    }

    pub async fn extent(&self) -> Result<Extent, StoreError> {
        let engine = self.engine.clone();
        self.blocking
            .run(move || {
                Ok(Extent {
                    purged: engine.get(keys::PURGED)?,
                    last: last_entry(engine.as_ref())?,
                })
            })
            .await
    }

    /// Entries `start..end` until `bytes_max` is passed, at least one if there is one.
    /// Fewer than asked without reaching the limit means that the log ends there.
    pub async fn read(
        &self,
        start: LogIndex,
        end: LogIndex,
        bytes_max: usize,
    ) -> Result<Vec<Vec<u8>>, StoreError> {
        let engine = self.engine.clone();
        self.blocking
            .run(move || {
                let mut entries = Vec::new();
                let (mut next, mut bytes) = (start, 0);
                while next < end && bytes < bytes_max {
                    let limit = PAGE_ENTRIES.min((end.count_since(next)) as usize);
                    let page = engine.scan(&keys::log_entry(next), &keys::log_entry(end), limit)?;
                    if page.is_empty() {
                        break;
                    }
                    if entries.is_empty() {
                        next = begin(engine.as_ref(), next, &page[0].0)?;
                    }
                    for (key, value) in page {
                        if keys::log_index(&key) != Some(next) {
                            return Err(StoreError::corrupt(format!(
                                "log entry {next} is missing before a later one"
                            )));
                        }
                        bytes += value.len();
                        next = next.next();
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

    /// Appends entries that follow on; `on_durable` runs after they were synced.
    pub async fn append(
        &self,
        entries: Vec<StoredEntry>,
        on_durable: OnDurable,
    ) -> Result<(), StoreError> {
        let truncations = self.watermark.lock().truncations;
        let last = entries.last().map(|entry| entry.id);
        let (engine, next) = (self.engine.clone(), self.next.clone());
        let written = self
            .blocking
            .run(move || {
                let mut next = next.lock();
                if next.is_none() {
                    *next = last_entry(engine.as_ref())?.map(|(index, _)| index.next());
                }
                let mut batch = Batch::new();
                for StoredEntry { id, bytes } in entries {
                    assert!(
                        next.is_none_or(|next| next == id.index),
                        "log entry {} does not follow on: the next is {next:?}",
                        id.index
                    );
                    *next = Some(id.index.next());
                    batch.put(keys::log_entry(id.index), bytes);
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
                synced.send_if_modified(|now| {
                    let newer = truncations >= now.truncations;
                    if newer {
                        *now = Synced { truncations, last };
                    }
                    newer
                });
            }
            on_durable(result);
        }));
        Ok(())
    }

    /// Removes everything after `last` (everything, for `None`).
    pub async fn truncate_after(&self, last: Option<LogPosition>) -> Result<(), StoreError> {
        let (engine, watermark) = (self.engine.clone(), self.watermark.clone());
        let next = self.next.clone();
        let synced = self.synced.clone();
        self.blocking
            .run(move || {
                let truncations = watermark.lock().cut(last)?;
                synced.send_replace(Synced { truncations, last });
                let mut batch = Batch::new();
                let first = last.map_or(LogIndex::START, |id| id.index.next());
                batch.delete_range(
                    keys::log_entry(first),
                    keys::log_entry(LogIndex::new(u64::MAX)),
                );
                *next.lock() = last.map(|id| id.index.next());
                engine.write(batch)
            })
            .await
    }

    /// Removes everything up to and including `index`; `id` is the opaque log id.
    pub async fn purge(&self, index: LogIndex, id: Vec<u8>) -> Result<(), StoreError> {
        let (engine, next) = (self.engine.clone(), self.next.clone());
        self.blocking
            .run(move || {
                // A snapshot may stand for more than was here.
                let mut next = next.lock();
                *next = next.map(|next| next.max(index.next()));
                let mut batch = Batch::new();
                batch.put(keys::PURGED, id);
                batch.delete_range(
                    keys::log_entry(LogIndex::START),
                    keys::log_entry(index.next()),
                );
                engine.write(batch)
            })
            .await
    }

    /// Durable in the database, then in the watermark, before it returns.
    pub async fn save_vote(&self, vote: DurableVote, bytes: Vec<u8>) -> Result<(), StoreError> {
        let (engine, watermark) = (self.engine.clone(), self.watermark.clone());
        self.blocking
            .run(move || {
                let given = watermark.lock().file.get().vote;
                assert!(
                    given.is_none_or(|given| vote.may_follow(&given)),
                    "a vote never goes back: {vote:?} after {given:?}"
                );
                let mut batch = Batch::new();
                batch.put(keys::VOTE, bytes);
                engine.write(batch)
            })
            .await?;
        self.flusher.durable().await?;
        let watermark = self.watermark.clone();
        self.blocking
            .run(move || {
                let file = &mut watermark.lock().file;
                let now = file.get();
                file.set(Watermark {
                    vote: Some(vote),
                    ..now
                })
            })
            .await
    }

    pub async fn read_vote(&self) -> Result<Option<Vec<u8>>, StoreError> {
        self.read_key(keys::VOTE).await
    }

    /// Not synced: it only saves work at start.
    pub async fn save_committed(&self, id: Vec<u8>) -> Result<(), StoreError> {
        let engine = self.engine.clone();
        self.blocking
            .run(move || {
                let mut batch = Batch::new();
                batch.put(keys::COMMITTED, id);
                engine.write(batch)
            })
            .await
    }

    pub async fn read_committed(&self) -> Result<Option<Vec<u8>>, StoreError> {
        self.read_key(keys::COMMITTED).await
    }

    async fn read_key(&self, key: &'static [u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let engine = self.engine.clone();
        self.blocking.run(move || engine.get(key)).await
    }
}

/// Where reading from `start` begins: at the first entry found, if all before it was
/// purged; else at `start`, which then must be there.
fn begin(engine: &dyn Engine, start: LogIndex, found: &[u8]) -> Result<LogIndex, StoreError> {
    let (first, end) = (keys::log_entry(LogIndex::START), keys::log_entry(start));
    if engine.scan(&first, &end, 1)?.is_empty() {
        return Ok(keys::log_index(found).unwrap_or(start));
    }
    Ok(start)
}

/// The newest entry: index and bytes.
fn last_entry(engine: &dyn Engine) -> Result<Option<(LogIndex, Vec<u8>)>, StoreError> {
    let (start, end) = (
        keys::log_entry(LogIndex::START),
        keys::log_entry(LogIndex::new(u64::MAX)),
    );
    let Some((key, bytes)) = engine.scan_back(&start, &end, 1)?.pop() else {
        return Ok(None);
    };
    let index =
        keys::log_index(&key).ok_or_else(|| StoreError::corrupt("a log key has no index"))?;
    Ok(Some((index, bytes)))
}

#[cfg(test)]
mod tests {
    use super::super::memory::MemoryEngine;
    use super::*;
    use crate::domain::ids::{NodeId, Term};
    use crate::stop::Stop;

    fn start(engine: Arc<MemoryEngine>) -> LogStore {
        let (unobserved, stop) = (Arc::new(|_| {}), Stop::new());
        let blocking = Blocking::Inline;
        let flusher = Flusher::start("l", engine.clone(), blocking, stop.clone(), unobserved);
        LogStore::start(engine, blocking, flusher, WatermarkFile::in_memory(), stop)
    }

    fn entries(indexes: std::ops::Range<u64>) -> Vec<StoredEntry> {
        let entry = |index| StoredEntry {
            id: LogPosition {
                term: Term::new(1),
                index: LogIndex::new(index),
            },
            bytes: vec![index as u8],
        };
        indexes.map(entry).collect()
    }

    async fn append(log: &LogStore, indexes: std::ops::Range<u64>) {
        log.append(entries(indexes), Box::new(|_| {}))
            .await
            .unwrap();
    }

    fn vote(term: u64, node: u64) -> DurableVote {
        DurableVote {
            term: Term::new(term),
            node: NodeId::new(node),
            committed: false,
        }
    }

    #[tokio::test]
    async fn entries_follow_on_after_a_start_a_truncation_and_a_snapshot() {
        let engine = Arc::new(MemoryEngine::new());
        append(&start(engine.clone()), 0..3).await;
        let log = start(engine);
        append(&log, 3..5).await;
        let kept = LogPosition {
            term: Term::new(1),
            index: LogIndex::new(1),
        };
        log.truncate_after(Some(kept)).await.unwrap();
        append(&log, 2..4).await;
        assert_eq!(
            log.read(LogIndex::START, LogIndex::new(9), 100)
                .await
                .unwrap(),
            [[0], [1], [2], [3]]
        );
        // A snapshot of more than was here: what comes next follows on it.
        log.purge(LogIndex::new(20), Vec::new()).await.unwrap();
        append(&log, 21..22).await;
    }

    /// What was appended before a truncation is told to be synced after it. A watermark that
    /// names what was cut off keeps its node from voting after the next start.
    #[tokio::test(start_paused = true)]
    async fn the_watermark_never_names_what_was_truncated() {
        let log = start(Arc::new(MemoryEngine::new()));
        append(&log, 0..5).await;
        let kept = LogPosition {
            term: Term::new(1),
            index: LogIndex::new(2),
        };
        log.truncate_after(Some(kept)).await.unwrap();
        tokio::time::sleep(10 * TRAIL).await;
        assert!(
            log.watermark().last_log <= Some(kept),
            "{:?}",
            log.watermark()
        );
        // What is appended from then on is named.
        append(&log, 3..4).await;
        tokio::time::sleep(10 * TRAIL).await;
        let last = log.watermark().last_log.map(|at| at.index);
        assert_eq!(last, Some(LogIndex::new(3)));
    }

    #[tokio::test]
    #[should_panic(expected = "log entry 4 does not follow on")]
    async fn a_hole_is_not_written() {
        let log = start(Arc::new(MemoryEngine::new()));
        append(&log, 0..3).await;
        append(&log, 4..5).await;
    }

    #[tokio::test]
    #[should_panic(expected = "log entry 2 does not follow on")]
    async fn what_is_there_is_not_written_over() {
        let engine = Arc::new(MemoryEngine::new());
        append(&start(engine.clone()), 0..3).await;
        append(&start(engine), 2..4).await;
    }

    #[tokio::test]
    #[should_panic(expected = "a vote never goes back")]
    async fn a_second_vote_in_a_term_is_not_given() {
        let log = start(Arc::new(MemoryEngine::new()));
        log.save_vote(vote(4, 1), vec![1]).await.unwrap();
        log.save_vote(vote(5, 2), vec![2]).await.unwrap();
        log.save_vote(vote(5, 3), vec![3]).await.unwrap();
    }
}
