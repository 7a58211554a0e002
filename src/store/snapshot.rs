//! Snapshots: the replicated keys of one generation, in pieces of bounded size.
//!
//! Promises: a snapshot is read from a checkpoint, so apply goes on meanwhile; it holds
//! replicated keys alone (I9); a receiver writes it as a new generation and flips to it
//! in one synced batch, so that a crash leaves either the old state or the new one; a
//! generation's number is used once, also after installs that were given up; and two
//! installs never overlap, for who holds an [`Installer`] or a [`Received`] holds the only
//! [`InstallPermit`]. Whether what was received is true is for who flips to ask.
//!
//! Crash order of an install: 1 note the number of a new generation as begun, delete what
//! earlier installs left, and sync, 2 write pieces under it, 3 compare the digest, 4 flip the
//! generation and sync, 5 delete the old one. What a crash leaves of 2 or 5 is deleted at
//! start by [`sweep`]. Readers need not be waited for in 5: each looks at one moment of the
//! engine ([`Engine::at_one_moment`]), in which the old generation stays whole until the last
//! such reader has gone.

use super::engine::{Batch, Engine, Pair, View};
use super::keys::{self, GENERATION_PREFIX_BYTES, Generation};
use super::{Blocking, StoreError};
use muniment_evidence::codec::{DecodeError, Reader, Writer};
use muniment_evidence::digest::{Digest, Hasher};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::{Mutex, OwnedMutexGuard};

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
    pub fn copy_into(
        &self,
        engine: Arc<dyn Engine>,
        permit: InstallPermit,
    ) -> Result<Received, StoreError> {
        let mut installer = Installer::begin(engine, permit)?;
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

/// Lets one install at a time into a database. Cheap to clone.
#[derive(Clone, Default)]
pub struct Installs(Arc<Mutex<()>>);

impl Installs {
    /// `None` while another install is under way.
    pub fn begin(&self) -> Option<InstallPermit> {
        let sole = self.0.clone().try_lock_owned().ok()?;
        Some(InstallPermit { _sole: sole })
    }
}

/// Goes with what is installed, from its first byte until it is in force or given up.
#[derive(Debug)]
pub struct InstallPermit {
    _sole: OwnedMutexGuard<()>,
}

/// Writes a received snapshot as a new generation.
pub struct Installer {
    engine: Arc<dyn Engine>,
    permit: InstallPermit,
    generation: Generation,
    hasher: Hasher,
}

impl Installer {
    /// Begins a generation whose number was never used; what installs that were given up
    /// left is removed.
    pub fn begin(engine: Arc<dyn Engine>, permit: InstallPermit) -> Result<Installer, StoreError> {
        let current = current(engine.as_ref())?;
        let begun = number(engine.as_ref(), keys::GENERATION_BEGUN)?;
        let last = begun.map_or(current, |begun| begun.max(current));
        let generation = last.0.checked_add(1).map(Generation);
        let generation =
            generation.ok_or_else(|| StoreError::corrupt("all generations are used up"))?;
        let mut batch = Batch::new();
        batch.put(keys::GENERATION_BEGUN, generation.0.to_be_bytes());
        delete_but(&mut batch, current);
        engine.write(batch)?;
        engine.sync()?;
        Ok(Installer {
            engine,
            permit,
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
            permit: self.permit,
        })
    }
}

/// A complete snapshot under a generation that is not in force yet.
#[derive(Debug)]
pub struct Received {
    generation: Generation,
    permit: InstallPermit,
}

impl Received {
    /// Where it lies, for who asks whether it is true.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// Flips to the received generation, durably, then removes the old one. Its room comes
    /// back beside what follows.
    pub async fn flip(self, engine: Arc<dyn Engine>, blocking: Blocking) -> Result<(), StoreError> {
        let reclaimed = engine.clone();
        let (start, end) = blocking
            .run(move || {
                let Received { generation, permit } = self;
                let old = current(engine.as_ref())?;
                assert!(
                    old < generation,
                    "a generation in force is never flipped to"
                );
                let mut batch = Batch::new();
                batch.put(keys::GENERATION, generation.0.to_be_bytes());
                engine.write(batch)?;
                engine.sync()?;
                let (start, end) = old.range();
                let mut batch = Batch::new();
                batch.delete_range(start.clone(), end.clone());
                engine.write(batch)?;
                drop(permit);
                Ok((start, end))
            })
            .await?;
        tokio::spawn(blocking.run(move || {
            reclaimed.reclaim(&start, &end);
            Ok(())
        }));
        Ok(())
    }
}

/// The generation in force.
pub fn current(view: &dyn View) -> Result<Generation, StoreError> {
    Ok(number(view, keys::GENERATION)?.unwrap_or(Generation(0)))
}

fn number(view: &dyn View, key: &[u8]) -> Result<Option<Generation>, StoreError> {
    match view.get(key)?.map(<[u8; 4]>::try_from) {
        None => Ok(None),
        Some(Ok(bytes)) => Ok(Some(Generation(u32::from_be_bytes(bytes)))),
        Some(Err(_)) => Err(StoreError::corrupt("a generation is not four bytes")),
    }
}

/// Removes every generation but the one in force.
pub fn sweep(engine: &dyn Engine) -> Result<(), StoreError> {
    let mut batch = Batch::new();
    delete_but(&mut batch, current(engine)?);
    engine.write(batch)
}

fn delete_but(batch: &mut Batch, kept: Generation) {
    let (start, end) = kept.range();
    batch.delete_range(b"S".to_vec(), start);
    batch.delete_range(end, b"T".to_vec());
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

    fn permit() -> InstallPermit {
        Installs::default().begin().unwrap()
    }

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
        let mut installer = Installer::begin(target.clone(), permit()).unwrap();
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

    fn begun(engine: &Arc<MemoryEngine>) -> Installer {
        Installer::begin(engine.clone(), permit()).unwrap()
    }

    /// What is kept beside the database by generation must never meet another of its name.
    #[tokio::test]
    async fn a_generations_number_is_used_once_whatever_became_of_its_install() {
        let engine = Arc::new(filled());
        engine.sync().unwrap();
        drop(begun(&engine));
        engine.crash();
        let mut aborted = begun(&engine);
        let mut w = Writer::new();
        w.bytes(b"left").bytes(b"over");
        aborted.write(&w.finish()).unwrap();
        let left = aborted.generation;
        drop(aborted);
        let installer = begun(&engine);
        assert_eq!((left, installer.generation), (Generation(2), Generation(3)));
        assert_eq!(engine.get(&left.key(b"left")).unwrap(), None);
        let received = installer.finish(Hasher::new().finish()).unwrap();
        received
            .flip(engine.clone(), Blocking::Inline)
            .await
            .unwrap();
        engine.crash();
        sweep(engine.as_ref()).unwrap();
        assert_eq!(begun(&engine).generation, Generation(4));
    }

    /// Its keys are never written again: nothing would ever make the engine look at them.
    #[tokio::test(start_paused = true)]
    async fn the_room_of_a_state_that_was_replaced_comes_back() {
        let engine = Arc::new(filled());
        let received = begun(&engine).finish(Hasher::new().finish()).unwrap();
        let flipped = received.flip(engine.clone(), Blocking::Inline);
        flipped.await.unwrap();
        // Beside what follows, which does not wait for it.
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        assert_eq!(engine.reclaimed(), [Generation(0).range()]);
    }

    /// The permit lies in what was received: it outlives the stream that brought it.
    #[tokio::test]
    async fn the_next_install_begins_when_the_last_one_is_in_force_or_given_up() {
        let (engine, installs) = (Arc::new(filled()), Installs::default());
        let installer = Installer::begin(engine.clone(), installs.begin().unwrap()).unwrap();
        assert!(installs.begin().is_none());
        let received = installer.finish(Hasher::new().finish()).unwrap();
        assert!(installs.begin().is_none());
        received
            .flip(engine.clone(), Blocking::Inline)
            .await
            .unwrap();
        let given_up = Installer::begin(engine, installs.begin().unwrap()).unwrap();
        assert!(installs.begin().is_none());
        drop(given_up);
        assert!(installs.begin().is_some());
    }

    /// After each prefix of an install's writes the old state is in force, or the new one.
    #[tokio::test]
    async fn a_crash_between_any_two_steps_leaves_one_whole_state() {
        for kept in 0..3 {
            let engine = Arc::new(filled());
            engine.sync().unwrap();
            let mut installer = begun(&engine);
            let mut w = Writer::new();
            w.bytes(b"new").bytes(b"state");
            installer.write(&w.finish()).unwrap();
            let (digest, new) = (installer.hasher.clone().finish(), installer.generation);
            let received = installer.finish(digest).unwrap();
            let crashes_before_the_flip = kept < 2;
            if crashes_before_the_flip {
                engine.crash_keeping(kept);
            } else {
                received
                    .flip(engine.clone(), Blocking::Inline)
                    .await
                    .unwrap();
                engine.crash();
            }
            sweep(engine.as_ref()).unwrap();
            let (first, end) = current(engine.as_ref()).unwrap().range();
            let rows = engine.scan(&first, &end, 10_000).unwrap().len();
            let all = engine.scan(b"S", b"T", 10_000).unwrap().len();
            assert_eq!(rows, if crashes_before_the_flip { 5000 } else { 1 });
            assert_eq!(all, rows, "the other generation is collected");
            assert_eq!(
                current(engine.as_ref()).unwrap() == new,
                !crashes_before_the_flip
            );
        }
    }

    #[test]
    fn an_altered_piece_is_refused() {
        let source = filled();
        let snapshot = Snapshot::take(&source, Generation(0), None).unwrap();
        let mut installer = Installer::begin(Arc::new(MemoryEngine::new()), permit()).unwrap();
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
