//! Damage on an engine whose bytes can be changed, lost, or made unreadable.

use super::*;
use crate::domain::ids::{BodyId, NodeId, UploadEpoch};
use crate::stop::Stop;
use crate::store::Blocking;
use crate::store::engine::{Op, Pair, View, Visit};
use crate::store::flush::Flusher;
use crate::store::memory::MemoryEngine;
use std::collections::HashSet;
use std::path::Path;
use std::sync::{Arc, Mutex};

/// Memory of which some keys cannot be read until they are written again.
#[derive(Default)]
struct Rotten {
    memory: MemoryEngine,
    unreadable: Mutex<HashSet<Vec<u8>>>,
}

impl Rotten {
    fn rot(&self, key: Vec<u8>) {
        self.unreadable.lock().unwrap().insert(key);
    }

    fn put(&self, key: Vec<u8>, value: Vec<u8>) {
        let mut batch = Batch::new();
        batch.put(key, value);
        self.memory.write(batch).unwrap();
    }
}

impl View for Rotten {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        match self.unreadable.lock().unwrap().contains(key) {
            true => Err(StoreError::unreadable("checksum")),
            false => self.memory.get(key),
        }
    }

    fn scan(&self, start: &[u8], end: &[u8], limit: usize) -> Result<Vec<Pair>, StoreError> {
        let unreadable = self.unreadable.lock().unwrap();
        if unreadable.iter().any(|k| &k[..] >= start && &k[..] < end) {
            return Err(StoreError::unreadable("checksum"));
        }
        self.memory.scan(start, end, limit)
    }

    fn scan_back(&self, start: &[u8], end: &[u8], limit: usize) -> Result<Vec<Pair>, StoreError> {
        self.scan(start, end, usize::MAX)?;
        self.memory.scan_back(start, end, limit)
    }
}

impl Engine for Rotten {
    fn write(&self, batch: Batch) -> Result<(), StoreError> {
        for op in &batch.ops {
            if let Op::Put(key, _) | Op::Delete(key) = op {
                self.unreadable.lock().unwrap().remove(key);
            }
        }
        self.memory.write(batch)
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.memory.sync()
    }

    fn at_one_moment(&self, visit: &mut Visit<'_>) -> Result<(), StoreError> {
        self.memory.at_one_moment(visit)
    }

    fn checkpoint(&self, dir: &Path) -> Result<Arc<dyn View>, StoreError> {
        self.memory.checkpoint(dir)
    }

    fn size_bytes(&self) -> u64 {
        self.memory.size_bytes()
    }
}

const BODY: BodyId = BodyId::new([7; 16]);

fn store() -> (Arc<Rotten>, BodyStore) {
    let engine = Arc::new(Rotten::default());
    (engine.clone(), opened(&engine))
}

fn opened(engine: &Arc<Rotten>) -> BodyStore {
    let engine: Arc<dyn Engine> = engine.clone();
    let (blocking, unobserved) = (Blocking::Inline, Arc::new(|_| {}));
    let flusher = Flusher::start("bodies", engine.clone(), blocking, Stop::new(), unobserved);
    BodyStore::new(engine, blocking, flusher)
}

/// A body of three chunks.
async fn stored(store: &BodyStore) -> BodyManifest {
    let chunks = [b"one".to_vec(), b"two".to_vec(), b"three".to_vec()];
    for (number, chunk) in (0..).zip(&chunks) {
        store
            .put_chunk(BODY, number, chunk.clone().into())
            .await
            .unwrap();
    }
    let whole: Vec<u8> = chunks.concat();
    let manifest = BodyManifest {
        length: whole.len() as u64,
        sha256: Digest::of(&[&whole]),
        epoch: UploadEpoch::new(1),
        chunks: chunks
            .iter()
            .map(|c| (c.len() as u32, Digest::of(&[c])))
            .collect(),
    };
    store.seal(BODY, manifest.clone(), None).await.unwrap();
    manifest
}

fn content(manifest: &BodyManifest) -> Content {
    (manifest.length, manifest.sha256)
}

fn suspect(manifest: &BodyManifest, number: u32) -> Suspect {
    Suspect::Chunk(number, manifest.chunks[number as usize].1)
}

async fn held(store: &BodyStore, manifest: &BodyManifest) -> bool {
    store.held(&[(BODY, content(manifest))]).await.unwrap() == [true]
}

fn scrubs(notes: &[(u64, Document)]) -> Vec<ScrubDocument> {
    let scrub = |(_, document): &(u64, Document)| match document {
        Document::Scrub(scrub) => *scrub,
        other => panic!("{other:?}"),
    };
    notes.iter().map(scrub).collect()
}

#[tokio::test]
async fn i10_a_bad_chunk_is_set_aside_and_its_body_is_not_held_until_it_is_mended() {
    let (engine, store) = store();
    let manifest = stored(&store).await;
    assert!(held(&store, &manifest).await);
    engine.put(chunk_key(&BODY, 1), b"tw0".to_vec());
    let digest = manifest.chunks[1].1;
    let bad = store.chunk(BODY, 1, digest).await.unwrap();
    assert_eq!(bad, Chunk::Bad(DamageKind::Mismatch));
    let finding = store
        .quarantine(BODY, suspect(&manifest, 1), How::Read)
        .await
        .unwrap();
    let finding = finding.expect("a second look finds it too");
    assert_eq!(
        (finding.chunk, finding.found),
        (Some(1), DamageKind::Mismatch)
    );
    // Whoever meets it again changes nothing.
    let again = store.quarantine(BODY, suspect(&manifest, 1), How::Serve);
    assert_eq!(again.await.unwrap(), None);
    // It outlives a power cut, and so does the note.
    engine.memory.crash();
    let store = opened(&engine);
    assert!(!held(&store, &manifest).await);
    assert_eq!(store.damaged(None, 10).await.unwrap(), [BODY]);
    let damage = store.damage(BODY).await.unwrap().unwrap();
    assert_eq!(damage.content, Some(content(&manifest)));
    assert_eq!(damage.findings, [finding]);
    let aside = store.set_aside().await.unwrap();
    assert_eq!(
        (aside[0].chunk, &aside[0].bytes[..]),
        (Some(1), &b"tw0"[..])
    );
    // The rest of it stays.
    let good = store.chunk(BODY, 0, manifest.chunks[0].1).await.unwrap();
    assert_eq!(good, Chunk::Good("one".into()));
    store.put_chunk(BODY, 1, "two".into()).await.unwrap();
    assert!(!held(&store, &manifest).await, "not before it is mended");
    assert!(
        store
            .mend(BODY, None, vec![finding], NodeId::new(3))
            .await
            .unwrap()
    );
    engine.memory.crash();
    let store = opened(&engine);
    assert!(held(&store, &manifest).await);
    assert_eq!(store.damage(BODY).await.unwrap(), None);
    let chunk = store.chunk(BODY, 1, digest).await.unwrap();
    assert_eq!(chunk, Chunk::Good("two".into()));
    let notes = store.notes(10).await.unwrap();
    let outcomes: Vec<_> = scrubs(&notes).iter().map(|note| note.outcome).collect();
    let repaired = ScrubOutcome::Repaired {
        from: NodeId::new(3),
    };
    assert_eq!(outcomes, [ScrubOutcome::Quarantined, repaired]);
    for (seq, _) in notes {
        store.noted(seq).await.unwrap();
    }
    assert!(store.notes(10).await.unwrap().is_empty());
}

#[tokio::test]
async fn i10_chunks_that_are_gone_or_give_no_bytes_are_damage_too() {
    let (engine, store) = store();
    let manifest = stored(&store).await;
    let mut batch = Batch::new();
    batch.delete(chunk_key(&BODY, 0));
    engine.write(batch).unwrap();
    engine.rot(chunk_key(&BODY, 2));
    for (number, found) in [(0, DamageKind::Missing), (2, DamageKind::Unreadable)] {
        let finding = store.quarantine(BODY, suspect(&manifest, number), How::Scrub);
        assert_eq!(finding.await.unwrap().unwrap().found, found);
    }
    // One that is good is left alone, whatever is said of it.
    let good = store.quarantine(BODY, suspect(&manifest, 1), How::Scrub);
    assert_eq!(good.await.unwrap(), None);
    // Mended in part: the rest stays marked.
    let findings = store.damage(BODY).await.unwrap().unwrap().findings;
    store.put_chunk(BODY, 0, "one".into()).await.unwrap();
    let part = vec![findings[0]];
    assert!(!store.mend(BODY, None, part, NodeId::new(2)).await.unwrap());
    assert!(!held(&store, &manifest).await);
    store.put_chunk(BODY, 2, "three".into()).await.unwrap();
    assert!(
        store
            .mend(BODY, None, findings, NodeId::new(2))
            .await
            .unwrap()
    );
    assert!(held(&store, &manifest).await);
    assert_eq!(scrubs(&store.notes(10).await.unwrap()).len(), 4);
}

/// An unreadable manifest, or one of another body, is damage of that body, not of the node.
#[tokio::test]
async fn i10_a_bad_manifest_is_damage_of_its_body() {
    for how_bad in 0..4 {
        let (engine, store) = store();
        let manifest = stored(&store).await;
        let key = manifest_key(&BODY);
        let named = content(&manifest);
        match how_bad {
            0 => engine.rot(key),
            1 => engine.put(key, b"\x01short".to_vec()),
            2 => {
                let length = manifest.length + 1;
                let other = BodyManifest {
                    length,
                    ..manifest.clone()
                };
                engine.put(key, other.encode());
            }
            _ => {
                let mut batch = Batch::new();
                batch.delete(key);
                engine.write(batch).unwrap();
            }
        }
        // A restart: nothing is known by heart.
        let store = opened(&engine);
        assert!(!held(&store, &manifest).await);
        let suspect = Suspect::Manifest(Some(named));
        let finding = store.quarantine(BODY, suspect, How::Scrub).await.unwrap();
        let finding = finding.expect("it is damage");
        assert_eq!(finding.chunk, None);
        assert_eq!(store.manifest(BODY).await.unwrap(), None);
        let damage = store.damage(BODY).await.unwrap().unwrap();
        assert_eq!(damage.content, Some(named));
        let mended = vec![finding];
        let whole = store.mend(BODY, Some(manifest.clone()), mended, NodeId::new(2));
        assert!(whole.await.unwrap());
        assert!(held(&store, &manifest).await);
    }
}

/// A mark that cannot be read hides no damage, and does not keep a note from being made.
#[tokio::test]
async fn marks_and_notes_that_cannot_be_read_stop_nothing() {
    let (engine, store) = store();
    let manifest = stored(&store).await;
    engine.rot(damage_key(&BODY));
    engine.rot(note_key(0));
    let store_again = opened(&engine);
    assert!(!held(&store_again, &manifest).await);
    engine.put(chunk_key(&BODY, 1), b"tw0".to_vec());
    let finding = store.quarantine(BODY, suspect(&manifest, 1), How::Read);
    assert!(finding.await.unwrap().is_some());
    engine.put(chunk_key(&BODY, 2), b"thr33".to_vec());
    let finding = store.quarantine(BODY, suspect(&manifest, 2), How::Read);
    assert!(finding.await.unwrap().is_some());
    let mut batch = Batch::new();
    batch.delete(note_key(0));
    engine.write(batch).unwrap();
    assert_eq!(store.notes(10).await.unwrap().len(), 2);
}

/// What is deleted is not damaged: an upload that was given up leaves no finding.
#[tokio::test]
async fn a_body_that_was_deleted_is_not_damaged() {
    let (_, store) = store();
    let manifest = stored(&store).await;
    store.delete(BODY).await.unwrap();
    for suspect in [suspect(&manifest, 0), Suspect::Manifest(None)] {
        let finding = store.quarantine(BODY, suspect, How::Serve).await.unwrap();
        assert_eq!(finding, None);
    }
    assert!(store.damaged(None, 10).await.unwrap().is_empty());
}

#[tokio::test]
async fn what_is_set_aside_is_bounded() {
    let (engine, store) = store();
    let manifest = stored(&store).await;
    for n in 0..SET_ASIDE_MAX + 5 {
        let bad = format!("bad {n}").into_bytes();
        engine.put(chunk_key(&BODY, 1), bad);
        let finding = store.quarantine(BODY, suspect(&manifest, 1), How::Read);
        let finding = finding.await.unwrap().unwrap();
        store.put_chunk(BODY, 1, "two".into()).await.unwrap();
        store
            .mend(BODY, None, vec![finding], NodeId::new(2))
            .await
            .unwrap();
    }
    let aside = store.set_aside().await.unwrap();
    assert_eq!(aside.len() as u64, SET_ASIDE_MAX);
    assert!(aside.iter().all(|aside| aside.bytes != b"bad 4"));
    assert!(aside.iter().any(|aside| aside.bytes == b"bad 5"));
}
