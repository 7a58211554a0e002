//! Snapshots: the replicated keys of one generation, in pieces of bounded size.
//!
//! Promises: a snapshot is read from a checkpoint, so apply goes on meanwhile; it holds
//! replicated keys alone (I9); a receiver writes it as a new generation and flips to it
//! in one synced batch, so that a crash leaves either the old state or the new one.
//!
//! Crash order of an install: 1 write pieces under the next generation, 2 compare the
//! digest, 3 flip the generation and sync, 4 delete the old one. What a crash leaves of
//! 1 or 4 is deleted at start by [`sweep`].

use super::engine::{Batch, Engine, Pair, View};
use super::keys::{self, GENERATION_PREFIX_BYTES, Generation};
use super::{Blocking, StoreError};
use muniment_evidence::codec::{DecodeError, Reader, Writer};
use muniment_evidence::digest::{Digest, Hasher};
use std::path::PathBuf;
use std::sync::Arc;

/// Bytes of one piece: well below the message limit, large enough to be few.
pub const PIECE_BYTES: usize = 1 << 20;
/// Pairs taken from the engine at a time.
const PAGE_PAIRS: usize = 256;

/// One generation as it was at one moment; its directory is removed with the last clone.
#[derive(Clone)]
pub struct Snapshot(Arc<Checkpoint>);

struct Checkpoint {
    view: Arc<dyn View>,
    generation: Generation,
    dir: Option<PathBuf>,
}

impl Drop for Checkpoint {
    fn drop(&mut self) {
        if let Some(dir) = &self.dir
            && let Err(error) = std::fs::remove_dir_all(dir)
        {
            // Left-overs are swept at the next start; they cost space, not safety.
            tracing::warn!(dir = %dir.display(), %error, "an old snapshot stays on disk");
        }
    }
}

impl Snapshot {
    /// Takes one of now; `dir` must not exist and is `None` in memory.
    pub fn take(
        engine: &dyn Engine,
        generation: Generation,
        dir: Option<PathBuf>,
    ) -> Result<Snapshot, StoreError> {
        let view = engine.checkpoint(dir.as_deref().unwrap_or(std::path::Path::new("")))?;
        Ok(Snapshot(Arc::new(Checkpoint {
            view,
            generation,
            dir,
        })))
    }

    pub fn get(&self, state_key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.0.view.get(&self.0.generation.key(state_key))
    }

    /// Writes it as the next generation, as a receiver would.
    pub fn copy_into(&self, engine: Arc<dyn Engine>) -> Result<Received, StoreError> {
        let mut installer = Installer::begin(engine)?;
        let mut pieces = self.pieces();
        loop {
            match pieces.next()? {
                SnapshotPiece::Pairs(piece) => installer.write(&piece)?,
                SnapshotPiece::End(digest) => return installer.finish(digest),
            }
        }
    }

    pub fn pieces(&self) -> SnapshotPieces {
        let (next, end) = self.0.generation.range();
        SnapshotPieces {
            snapshot: self.clone(),
            next,
            end,
            hasher: Hasher::new(),
        }
    }
}

/// Reads a snapshot front to back.
pub struct SnapshotPieces {
    snapshot: Snapshot,
    next: Vec<u8>,
    end: Vec<u8>,
    hasher: Hasher,
}

impl SnapshotPieces {
    /// The next piece, or the digest of all pieces.
    #[allow(
        clippy::should_implement_trait,
        reason = "it fails, and ends with a digest"
    )]
    pub fn next(&mut self) -> Result<SnapshotPiece, StoreError> {
        let mut w = Writer::new();
        let (mut bytes, mut pairs) = (0, 0u32);
        'fill: loop {
            let page = self
                .snapshot
                .0
                .view
                .scan(&self.next, &self.end, PAGE_PAIRS)?;
            if page.is_empty() {
                break;
            }
            for (key, value) in page {
                w.bytes(&key[GENERATION_PREFIX_BYTES..]).bytes(&value);
                bytes += key.len() + value.len();
                pairs += 1;
                self.next = key;
                self.next.push(0);
                if bytes >= PIECE_BYTES {
                    break 'fill;
                }
            }
        }
        if pairs == 0 {
            return Ok(SnapshotPiece::End(self.hasher.clone().finish()));
        }
        let content = w.finish();
        self.hasher.update(&content);
        Ok(SnapshotPiece::Pairs(content))
    }
}

pub enum SnapshotPiece {
    Pairs(Vec<u8>),
    End(Digest),
}

/// Writes a received snapshot as the next generation.
pub struct Installer {
    engine: Arc<dyn Engine>,
    generation: Generation,
    hasher: Hasher,
}

impl Installer {
    /// Begins below the generation after the one in force; what lies there is removed.
    pub fn begin(engine: Arc<dyn Engine>) -> Result<Installer, StoreError> {
        let generation = current(engine.as_ref())?.next();
        let (start, end) = generation.range();
        let mut batch = Batch::new();
        batch.delete_range(start, end);
        engine.write(batch)?;
        Ok(Installer {
            engine,
            generation,
            hasher: Hasher::new(),
        })
    }

    pub fn write(&mut self, piece: &[u8]) -> Result<(), StoreError> {
        self.hasher.update(piece);
        let mut batch = Batch::new();
        for (key, value) in read_pairs(piece)? {
            batch.put(self.generation.key(&key), value);
        }
        self.engine.write(batch)
    }

    /// Checks the digest; the snapshot is complete but not in force.
    pub fn finish(self, digest: Digest) -> Result<Received, StoreError> {
        if self.hasher.finish() != digest {
            return Err(StoreError::corrupt("a received snapshot's digest differs"));
        }
        Ok(Received {
            generation: self.generation,
        })
    }
}

/// A complete snapshot under a generation that is not in force yet.
#[derive(Clone, Debug)]
pub struct Received {
    pub generation: Generation,
}

impl Received {
    /// Flips to the received generation, durably, then removes the old one.
    pub async fn flip(self, engine: Arc<dyn Engine>, blocking: Blocking) -> Result<(), StoreError> {
        blocking
            .run(move || {
                let old = current(engine.as_ref())?;
                let mut batch = Batch::new();
                batch.put(keys::GENERATION, self.generation.0.to_be_bytes());
                engine.write(batch)?;
                engine.sync()?;
                let (start, end) = old.range();
                let mut batch = Batch::new();
                batch.delete_range(start, end);
                engine.write(batch)
            })
            .await
    }
}

/// The generation in force.
pub fn current(engine: &dyn Engine) -> Result<Generation, StoreError> {
    match engine.get(keys::GENERATION)? {
        None => Ok(Generation(0)),
        Some(bytes) => match bytes.try_into() {
            Ok(bytes) => Ok(Generation(u32::from_be_bytes(bytes))),
            Err(_) => Err(StoreError::corrupt("the generation is not four bytes")),
        },
    }
}

/// Removes every generation but the one in force.
pub fn sweep(engine: &dyn Engine) -> Result<(), StoreError> {
    let (start, end) = current(engine)?.range();
    let mut batch = Batch::new();
    batch.delete_range(b"S".to_vec(), start);
    batch.delete_range(end, b"T".to_vec());
    engine.write(batch)
}

fn read_pairs(piece: &[u8]) -> Result<Vec<Pair>, StoreError> {
    let mut r = Reader::new(piece);
    let mut pairs = Vec::new();
    while !r.is_empty() {
        let pair = read_pair(&mut r);
        pairs.push(pair.map_err(|error| StoreError::corrupt_in("a snapshot piece", error))?);
    }
    Ok(pairs)
}

fn read_pair(r: &mut Reader<'_>) -> Result<Pair, DecodeError> {
    Ok((r.bytes()?.to_vec(), r.bytes()?.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::super::memory::MemoryEngine;
    use super::*;

    fn filled() -> MemoryEngine {
        let engine = MemoryEngine::new();
        let mut batch = Batch::new();
        for i in 0..5000u32 {
            batch.put(Generation(0).key(&i.to_be_bytes()), vec![7; 600]);
        }
        batch.put(keys::VOTE, *b"mine");
        engine.write(batch).unwrap();
        engine
    }

    #[tokio::test]
    async fn i9_a_snapshot_carries_replicated_keys_alone_and_flips_whole() {
        let source = filled();
        let snapshot = Snapshot::take(&source, Generation(0), None).unwrap();
        let target = Arc::new(MemoryEngine::new());
        let mut old = Batch::new();
        old.put(Generation(0).key(b"old"), *b"state");
        old.put(keys::VOTE, *b"its own");
        target.write(old).unwrap();
        let mut installer = Installer::begin(target.clone()).unwrap();
        let (mut pieces, mut count) = (snapshot.pieces(), 0);
        let received = loop {
            match pieces.next().unwrap() {
                SnapshotPiece::Pairs(piece) => {
                    assert!(piece.len() < 2 * PIECE_BYTES);
                    installer.write(&piece).unwrap();
                    count += 1;
                }
                SnapshotPiece::End(digest) => break installer.finish(digest).unwrap(),
            }
        };
        assert!(count > 1);
        // Until the flip the old state is in force.
        assert_eq!(current(target.as_ref()).unwrap(), Generation(0));
        received
            .flip(target.clone(), Blocking::Inline)
            .await
            .unwrap();
        target.crash();
        let generation = current(target.as_ref()).unwrap();
        let (start, end) = generation.range();
        assert_eq!(target.scan(&start, &end, 10_000).unwrap().len(), 5000);
        assert_eq!(target.get(keys::VOTE).unwrap().unwrap(), b"its own");
    }

    #[test]
    fn an_altered_piece_is_refused() {
        let source = filled();
        let snapshot = Snapshot::take(&source, Generation(0), None).unwrap();
        let mut installer = Installer::begin(Arc::new(MemoryEngine::new())).unwrap();
        let SnapshotPiece::Pairs(mut piece) = snapshot.pieces().next().unwrap() else {
            panic!("there is a first piece");
        };
        let good = Digest::of(&[&piece]);
        let last = piece.len() - 1;
        piece[last] ^= 1;
        installer.write(&piece).unwrap();
        assert!(installer.finish(good).is_err());
    }
}
