//! Bodies as chunks with a manifest, in their own database.
//!
//! Promises: a body exists when its manifest does; the manifest is written after all its
//! chunks and names the digest of each, so that every chunk is checked before it is
//! used. A chunk that does not match is never returned. Leaves fan-out, repair and
//! collection to `bodies/`.

use super::engine::{Batch, Engine, prefix_end};
use super::flush::Flusher;
use super::{Blocking, Error};
use bytes::Bytes;
use muniment_evidence::codec::{DecodeError, Reader, Writer};
use muniment_evidence::digest::Digest;
use std::sync::Arc;

/// A body's name: UUIDv7 bytes.
pub type BodyId = [u8; 16];

const VERSION: u8 = 1;

/// What a stored body is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    pub length: u64,
    pub sha256: Digest,
    /// Replicated upload epoch in which it was stored.
    pub epoch: u64,
    /// Length and SHA-256 of each chunk, in order.
    pub chunks: Vec<(u32, Digest)>,
}

impl Manifest {
    fn encode(&self) -> Vec<u8> {
        let mut w = Writer::new();
        w.u8(VERSION).u64(self.length).digest(&self.sha256);
        w.u64(self.epoch).list(&self.chunks, |w, (length, digest)| {
            w.u32(*length).digest(digest);
        });
        w.finish()
    }

    fn decode(bytes: &[u8]) -> Result<Manifest, DecodeError> {
        let mut r = Reader::new(bytes);
        if r.u8()? != VERSION {
            return Err(r.error("body manifest version 1"));
        }
        let manifest = Manifest {
            length: r.u64()?,
            sha256: r.digest()?,
            epoch: r.u64()?,
            chunks: r.list(|r| Ok((r.u32()?, r.digest()?)))?,
        };
        r.end()?;
        Ok(manifest)
    }
}

/// Cheap to clone.
#[derive(Clone)]
pub struct BodyStore {
    engine: Arc<dyn Engine>,
    blocking: Blocking,
    flusher: Flusher,
}

impl BodyStore {
    pub fn new(engine: Arc<dyn Engine>, blocking: Blocking, flusher: Flusher) -> BodyStore {
        BodyStore {
            engine,
            blocking,
            flusher,
        }
    }

    /// Writes one chunk, not yet durable.
    pub async fn put_chunk(&self, body: BodyId, number: u32, bytes: Bytes) -> Result<(), Error> {
        let engine = self.engine.clone();
        self.blocking
            .run(move || {
                let mut batch = Batch::new();
                batch.put(chunk_key(&body, number), bytes);
                engine.write(batch)
            })
            .await
    }

    /// Writes the last chunk and the manifest, and makes the body durable: after this it
    /// is held here.
    pub async fn seal(
        &self,
        body: BodyId,
        manifest: Manifest,
        last: Option<Bytes>,
    ) -> Result<(), Error> {
        let engine = self.engine.clone();
        self.blocking
            .run(move || {
                let mut batch = Batch::new();
                if let Some(chunk) = last {
                    let number = manifest.chunks.len().saturating_sub(1) as u32;
                    batch.put(chunk_key(&body, number), chunk);
                }
                batch.put(manifest_key(&body), manifest.encode());
                engine.write(batch)
            })
            .await?;
        self.flusher.durable().await
    }

    pub async fn manifest(&self, body: BodyId) -> Result<Option<Manifest>, Error> {
        let engine = self.engine.clone();
        self.blocking
            .run(move || match engine.get(&manifest_key(&body))? {
                None => Ok(None),
                Some(bytes) => Manifest::decode(&bytes)
                    .map(Some)
                    .map_err(|error| Error::corrupt(format!("manifest of a body: {error}"))),
            })
            .await
    }

    /// One chunk, or `None` when it is missing or does not match its digest.
    pub async fn chunk(
        &self,
        body: BodyId,
        number: u32,
        digest: Digest,
    ) -> Result<Option<Bytes>, Error> {
        let engine = self.engine.clone();
        self.blocking
            .run(move || {
                let Some(bytes) = engine.get(&chunk_key(&body, number))? else {
                    return Ok(None);
                };
                Ok((Digest::of(&[&bytes]) == digest).then(|| Bytes::from(bytes)))
            })
            .await
    }

    /// Forgets a body that nothing refers to, or what an aborted upload left.
    pub async fn delete(&self, body: BodyId) -> Result<(), Error> {
        let engine = self.engine.clone();
        self.blocking
            .run(move || {
                let mut batch = Batch::new();
                batch.delete(manifest_key(&body));
                let start = [b"c", &body[..]].concat();
                batch.delete_range(start.clone(), prefix_end(&start));
                engine.write(batch)
            })
            .await
    }

    pub fn size_bytes(&self) -> u64 {
        self.engine.size_bytes()
    }
}

fn chunk_key(body: &BodyId, number: u32) -> Vec<u8> {
    [b"c", &body[..], &number.to_be_bytes()].concat()
}

fn manifest_key(body: &BodyId) -> Vec<u8> {
    [b"m", &body[..]].concat()
}
