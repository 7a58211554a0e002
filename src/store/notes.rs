//! The cosigned notes that a node keeps: one per second that had any, by tree size; and the
//! mark of how far it has verified its log, which says what it may cosign.
//!
//! Promises: notes are found by the smallest size above an index; none is kept for longer
//! than [`KEPT_S_MAX`]. They are this node's own: no snapshot carries them, the state hash
//! knows nothing of them, and a node that lost them works. Not synced: what a power cut
//! takes is made again with the next round. Leaves judging notes to `service/`.

use super::engine::{Batch, Engine};
use super::{Blocking, StoreError, keys};
use crate::domain::ids::{RecordIndex, TreeSize};
use std::sync::Arc;

/// How long a note is kept, in seconds: a week, at most 604,800 notes or about 500 MB, and
/// 2 GB more for each ML-DSA key that cosigns. Any later note proves an older record as well; the old one only spares the longer proof.
pub const KEPT_S_MAX: u64 = 7 * 24 * 3600;

/// Notes looked through at a time.
const PAGE_NOTES: usize = 64;
/// Old notes removed with each that is added: more than one, so that a backlog shrinks.
const REMOVED_AT_A_TIME: usize = 4;

/// A kept note.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptNote {
    pub size: TreeSize,
    pub note: String,
}

/// Cheap to clone.
#[derive(Clone)]
pub struct NoteStore {
    engine: Arc<dyn Engine>,
    blocking: Blocking,
}

impl NoteStore {
    pub fn new(engine: Arc<dyn Engine>, blocking: Blocking) -> NoteStore {
        NoteStore { engine, blocking }
    }

    /// Keeps a note, in place of an older one of the same size, and removes what is too
    /// old. `now_s` is this node's own clock, compared with itself alone.
    pub async fn keep(&self, kept: KeptNote, now_s: u64) -> Result<(), StoreError> {
        let engine = self.engine.clone();
        self.blocking
            .run(move || {
                let mut batch = Batch::new();
                let (start, end) = (keys::kept_note(TreeSize::EMPTY), keys::kept_note(kept.size));
                for (key, value) in engine.scan(&start, &end, REMOVED_AT_A_TIME)? {
                    if kept_at_s(&value)? + KEPT_S_MAX < now_s {
                        batch.delete(key);
                    }
                }
                let value = [&now_s.to_be_bytes()[..], kept.note.as_bytes()].concat();
                batch.put(keys::kept_note(kept.size), value);
                engine.write(batch)
            })
            .await
    }

    /// The first notes with a size above `index`, in order; one page.
    pub async fn above(&self, index: RecordIndex) -> Result<Vec<KeptNote>, StoreError> {
        let engine = self.engine.clone();
        self.blocking
            .run(move || {
                let first = index.size_through();
                let (start, end) = (
                    keys::kept_note(first),
                    keys::kept_note(TreeSize::new(u64::MAX)),
                );
                let found = engine.scan(&start, &end, PAGE_NOTES)?.into_iter();
                found
                    .map(|(key, value)| {
                        let size = keys::trailing_u64(&key);
                        Ok(KeptNote {
                            size: TreeSize::new(
                                size.ok_or_else(|| StoreError::corrupt("the key of a kept note"))?,
                            ),
                            note: text(&value)?,
                        })
                    })
                    .collect()
            })
            .await
    }

    /// The newest note that is kept.
    pub async fn newest(&self) -> Result<Option<KeptNote>, StoreError> {
        let engine = self.engine.clone();
        self.blocking
            .run(move || {
                let (start, end) = (
                    keys::kept_note(TreeSize::EMPTY),
                    keys::kept_note(TreeSize::new(u64::MAX)),
                );
                let Some((key, value)) = engine.scan_back(&start, &end, 1)?.pop() else {
                    return Ok(None);
                };
                let size = keys::trailing_u64(&key);
                Ok(Some(KeptNote {
                    size: TreeSize::new(
                        size.ok_or_else(|| StoreError::corrupt("the key of a kept note"))?,
                    ),
                    note: text(&value)?,
                }))
            })
            .await
    }

    /// How far this node has verified its log, as its owner wrote it last.
    pub async fn verified_mark(&self) -> Result<Option<Vec<u8>>, StoreError> {
        let engine = self.engine.clone();
        self.blocking.run(move || engine.get(keys::VERIFIED)).await
    }

    /// Moves that mark; not durable, it only saves work after a start.
    pub async fn set_verified_mark(&self, mark: Vec<u8>) -> Result<(), StoreError> {
        let engine = self.engine.clone();
        self.blocking
            .run(move || {
                let mut batch = Batch::new();
                batch.put(keys::VERIFIED.to_vec(), mark);
                engine.write(batch)
            })
            .await
    }
}

fn kept_at_s(value: &[u8]) -> Result<u64, StoreError> {
    let first = value.first_chunk::<8>();
    let first = first.ok_or_else(|| StoreError::corrupt("a kept note without a time"))?;
    Ok(u64::from_be_bytes(*first))
}

fn text(value: &[u8]) -> Result<String, StoreError> {
    kept_at_s(value)?;
    let note = String::from_utf8(value[8..].to_vec());
    note.map_err(|_| StoreError::corrupt("a kept note is not text"))
}

#[cfg(test)]
mod tests {
    use super::super::memory::MemoryEngine;
    use super::*;

    fn note(size: u64) -> KeptNote {
        KeptNote {
            size: TreeSize::new(size),
            note: format!("note of {size}"),
        }
    }

    #[tokio::test]
    async fn the_smallest_note_above_an_index_comes_first() {
        let notes = NoteStore::new(Arc::new(MemoryEngine::new()), Blocking::Inline);
        assert_eq!(notes.newest().await.unwrap(), None);
        for size in [3, 700, 12] {
            notes.keep(note(size), 1000).await.unwrap();
        }
        assert_eq!(notes.above(RecordIndex::new(2)).await.unwrap()[0], note(3));
        assert_eq!(
            notes.above(RecordIndex::new(3)).await.unwrap(),
            [note(12), note(700)]
        );
        assert_eq!(notes.above(RecordIndex::new(700)).await.unwrap(), []);
        assert_eq!(notes.newest().await.unwrap(), Some(note(700)));
    }

    #[tokio::test]
    async fn what_is_too_old_goes_when_something_new_comes() {
        let notes = NoteStore::new(Arc::new(MemoryEngine::new()), Blocking::Inline);
        for size in 1..=10 {
            notes.keep(note(size), 1000 + size).await.unwrap();
        }
        notes.keep(note(11), 1006 + KEPT_S_MAX).await.unwrap();
        // Those of 1001 to 1004; the others go with the next.
        assert_eq!(notes.above(RecordIndex::FIRST).await.unwrap()[0], note(5));
        notes.keep(note(12), 1006 + KEPT_S_MAX).await.unwrap();
        assert_eq!(notes.above(RecordIndex::FIRST).await.unwrap()[0], note(6));
    }
}
