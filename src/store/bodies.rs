//! Bodies as chunks with a manifest, in their own database.
//!
//! Promises: a body exists when its manifest does; the manifest is written after all its
//! chunks and names the digest of each, so that every chunk is checked before it is
//! used. A chunk that does not match is never returned. Beside the bodies lies the mark of
//! how far they are complete: whoever loses the bodies loses the mark with them. Stamps
//! are in [`super::stamps`]. Leaves fan-out, repair and collection to `bodies/`.
//!
//! Tests: `src/store/damage_tests.rs`, `tests/cluster/bodies.rs`.

use super::damage::{self, Chunk};
use super::engine::{Batch, Engine, prefix_end};
use super::flush::Flusher;
use super::{Blocking, StoreError, stamps};
use crate::domain::cause::AnyError;
use crate::domain::ids::{BodyId, UploadEpoch};
use crate::sync::Shared;
use bytes::Bytes;
use muniment_evidence::codec::{DecodeError, Reader, Writer};
use muniment_evidence::digest::Digest;
use muniment_evidence::opening::Rendition;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, MutexGuard};

const VERSION: u8 = 1;

/// Bodies sealed last whose durability is remembered: some seconds of a busy node, so that
/// the check that follows each record finds them without a visit to the disk.
const SEALED_KEPT: usize = 4096;

/// The mark of completeness: one row.
const MARK: &[u8] = b"w";

/// What a stored body is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BodyManifest {
    pub length: u64,
    pub sha256: Digest,
    /// Replicated upload epoch in which it was stored.
    pub epoch: UploadEpoch,
    /// Length and SHA-256 of each chunk, in order.
    pub chunks: Vec<(u32, Digest)>,
}

impl BodyManifest {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut w = Writer::new();
        w.u8(VERSION).u64(self.length).digest(&self.sha256);
        w.u64(self.epoch.get())
            .list(&self.chunks, |w, (length, digest)| {
                w.u32(*length).digest(digest);
            });
        w.finish()
    }

    fn decode(bytes: &[u8]) -> Result<BodyManifest, DecodeError> {
        let mut r = Reader::new(bytes);
        if r.u8()? != VERSION {
            return Err(r.error("body manifest version 1"));
        }
        let manifest = BodyManifest {
            length: r.u64()?,
            sha256: r.digest()?,
            epoch: UploadEpoch::read(&mut r)?,
            chunks: r.list(|r| Ok((r.u32()?, r.digest()?)))?,
        };
        r.end()?;
        Ok(manifest)
    }
}

/// Cheap to clone.
#[derive(Clone)]
pub struct BodyStore {
    pub(super) engine: Arc<dyn Engine>,
    pub(super) blocking: Blocking,
    pub(super) flusher: Flusher,
    sealed: Shared<Sealed>,
    /// Held while damage is noted or mended: one change at a time.
    pub(super) mending: Shared<()>,
}

/// What a body is, whatever its name: length and digest.
pub type Content = (u64, Digest);

/// What a rendition is, whatever its name.
pub fn content(rendition: &Rendition) -> Content {
    (rendition.length, rendition.sha256)
}

/// Bodies known to be durable, oldest first.
#[derive(Default)]
pub(super) struct Sealed {
    pub(super) content: HashMap<BodyId, Content>,
    order: VecDeque<BodyId>,
}

impl Sealed {
    pub(super) fn insert(&mut self, body: BodyId, content: Content) {
        if self.content.insert(body, content).is_none() {
            self.order.push_back(body);
        }
        while self.order.len() > SEALED_KEPT
            && let Some(oldest) = self.order.pop_front()
        {
            self.content.remove(&oldest);
        }
    }
}

impl BodyStore {
    pub fn new(engine: Arc<dyn Engine>, blocking: Blocking, flusher: Flusher) -> BodyStore {
        BodyStore {
            engine,
            blocking,
            flusher,
            sealed: Shared::default(),
            mending: Shared::default(),
        }
    }

    pub(super) fn sealed(&self) -> MutexGuard<'_, Sealed> {
        self.sealed.lock()
    }

    /// Writes one chunk, not yet durable.
    pub async fn put_chunk(
        &self,
        body: BodyId,
        number: u32,
        bytes: Bytes,
    ) -> Result<(), StoreError> {
        let engine = self.engine.clone();
        self.blocking
            .run(move || {
                let mut batch = Batch::new();
                batch.put(chunk_key(&body, number), bytes);
                engine.write(batch)
            })
            .await
    }

    /// Writes the last chunk, the manifest and the stamp, and makes the body durable: after this it
    /// is held here.
    pub async fn seal(
        &self,
        body: BodyId,
        manifest: BodyManifest,
        last: Option<Bytes>,
    ) -> Result<(), StoreError> {
        let engine = self.engine.clone();
        let content = (manifest.length, manifest.sha256);
        self.blocking
            .run(move || {
                let mut batch = Batch::new();
                if let Some(chunk) = last {
                    let number = manifest.chunks.len().saturating_sub(1) as u32;
                    batch.put(chunk_key(&body, number), chunk);
                }
                batch.put(manifest_key(&body), manifest.encode());
                stamps::put(&mut batch, &body, manifest.epoch);
                engine.write(batch)
            })
            .await?;
        self.flusher.durable().await?;
        self.sealed().insert(body, content);
        Ok(())
    }

    /// Which of these bodies are held here, durably and as what they are said to be.
    pub async fn held(&self, bodies: &[(BodyId, Content)]) -> Result<Vec<bool>, StoreError> {
        let known: Vec<bool> = {
            let sealed = self.sealed();
            let is = |(body, content)| sealed.content.get(body) == Some(content);
            bodies
                .iter()
                .map(|(body, content)| is((body, content)))
                .collect()
        };
        if known.iter().all(|known| *known) {
            return Ok(known);
        }
        let (engine, asked) = (self.engine.clone(), bodies.to_vec());
        let held = self
            .blocking
            .run(move || {
                let looked = asked.iter().zip(known).map(|((body, content), known)| {
                    if known {
                        return Ok(true);
                    }
                    whole(engine.as_ref(), body, content)
                });
                looked.collect::<Result<Vec<_>, StoreError>>()
            })
            .await?;
        // A manifest can be read before it is durable.
        self.flusher.durable().await?;
        Ok(held)
    }

    /// The mark of completeness, as its owner wrote it last.
    pub async fn mark(&self) -> Result<Option<Vec<u8>>, StoreError> {
        let engine = self.engine.clone();
        self.blocking.run(move || engine.get(MARK)).await
    }

    /// Moves the mark; not durable, it only saves work after a start.
    pub async fn set_mark(&self, mark: Vec<u8>) -> Result<(), StoreError> {
        let engine = self.engine.clone();
        self.blocking
            .run(move || {
                let mut batch = Batch::new();
                batch.put(MARK, mark);
                engine.write(batch)
            })
            .await
    }

    pub async fn manifest(&self, body: BodyId) -> Result<Option<BodyManifest>, StoreError> {
        let engine = self.engine.clone();
        self.blocking
            .run(move || read_manifest(engine.as_ref(), &body))
            .await
    }

    /// One chunk that matches its digest, or what is wrong with it.
    pub async fn chunk(
        &self,
        body: BodyId,
        number: u32,
        digest: Digest,
    ) -> Result<Chunk, StoreError> {
        let engine = self.engine.clone();
        self.blocking
            .run(move || damage::look(engine.as_ref(), &body, number, &digest))
            .await
    }

    /// Forgets a body that nothing refers to, or what an aborted upload left.
    pub async fn delete(&self, body: BodyId) -> Result<(), StoreError> {
        self.sealed().content.remove(&body);
        let (engine, mending) = (self.engine.clone(), self.mending.clone());
        self.blocking
            .run(move || {
                let _mending = mending.lock();
                let mut batch = Batch::new();
                batch.delete(manifest_key(&body));
                stamps::delete(&mut batch, &body);
                batch.delete(damage::damage_key(&body));
                let start = chunk_prefix(&body);
                batch.delete_range(start.clone(), prefix_end(&start));
                engine.write(batch)
            })
            .await
    }

    pub fn size_bytes(&self) -> u64 {
        self.engine.size_bytes()
    }

    /// Bytes on disk of bodies that were deleted, as far as the engine has found out.
    pub fn garbage_bytes(&self) -> u64 {
        self.engine.garbage_bytes()
    }

    /// Gives back the room of bodies that were deleted. What is still held is written once more.
    pub async fn reclaim(&self) -> Result<(), StoreError> {
        let engine = self.engine.clone();
        let all = ([0], [u8::MAX; 2]);
        self.blocking
            .run(move || {
                engine.reclaim(&all.0, &all.1);
                Ok(())
            })
            .await
    }
}

pub(super) fn read_manifest(
    engine: &dyn Engine,
    body: &BodyId,
) -> Result<Option<BodyManifest>, StoreError> {
    let Some(bytes) = engine.get(&manifest_key(body))? else {
        return Ok(None);
    };
    let manifest = BodyManifest::decode(&bytes).map_err(unreadable)?;
    let lengths = manifest.chunks.iter().map(|(length, _)| u64::from(*length));
    if lengths.sum::<u64>() != manifest.length {
        return Err(unreadable("its chunks are not as long as it is"));
    }
    Ok(Some(manifest))
}

fn unreadable(error: impl Into<Box<AnyError>>) -> StoreError {
    StoreError::unreadable_in("manifest of a body", error)
}

pub(super) fn chunk_key(body: &BodyId, number: u32) -> Vec<u8> {
    [&b"c"[..], body.as_bytes(), &number.to_be_bytes()].concat()
}

/// All chunks of a body.
pub(super) fn chunk_prefix(body: &BodyId) -> Vec<u8> {
    [&b"c"[..], body.as_bytes()].concat()
}

pub(super) fn manifest_key(body: &BodyId) -> Vec<u8> {
    [&b"m"[..], body.as_bytes()].concat()
}

/// Whether the body is here as what it is said to be, and undamaged.
fn whole(engine: &dyn Engine, body: &BodyId, content: &Content) -> Result<bool, StoreError> {
    match read_manifest(engine, body) {
        Ok(Some(m)) if (m.length, m.sha256) == *content => Ok(damage::of(engine, body)?.is_none()),
        Ok(_) | Err(StoreError::Unreadable(_)) => Ok(false),
        Err(error) => Err(error),
    }
}
