//! Writes one body: cut into chunks, hashed on the way, sealed with its manifest.
//!
//! Promises: chunks are of one size whatever the sender's pieces were; hashing and
//! storing run off the async workers; nothing is held by this node before `seal`
//! returns. An unsealed body is not found by anyone.

use super::SealedBody;
use super::disk_budget::DiskReservation;
use crate::domain::ids::{BodyId, UploadEpoch};
use crate::store::bodies::{BodyManifest, BodyStore};
use crate::store::{Blocking, StoreError};
use bytes::{Bytes, BytesMut};
use muniment_evidence::chunks;
use muniment_evidence::digest::{Digest, Hasher};

/// One chunk: what is checked, cached and sent at a time, and a leaf of the chunk tree.
pub const CHUNK_BYTES: usize = chunks::CHUNK_BYTES as usize;

/// Up to this many bytes are hashed in place: that takes less than handing them to
/// another thread and back.
const INLINE_HASH_BYTES: usize = 128 << 10;

/// See the module.
pub struct BodyWriter {
    store: BodyStore,
    blocking: Blocking,
    id: BodyId,
    buffer: BytesMut,
    chunks: Vec<(u32, Digest)>,
    whole: Hasher,
    length: u64,
    /// Known once all bytes are stored.
    sha256: Option<Digest>,
    /// Written with the manifest.
    last: Option<Bytes>,
    /// Written with the first chunk that is written before the seal.
    stamp: Option<UploadEpoch>,
    /// Its place on the disk, given back as it is filled.
    reservation: DiskReservation,
}

impl BodyWriter {
    pub fn new(
        store: BodyStore,
        blocking: Blocking,
        id: BodyId,
        reservation: DiskReservation,
    ) -> BodyWriter {
        BodyWriter {
            store,
            blocking,
            id,
            buffer: BytesMut::new(),
            chunks: Vec::new(),
            whole: Hasher::new(),
            length: 0,
            sha256: None,
            last: None,
            stamp: None,
            reservation,
        }
    }

    /// Has the body found by its upload epoch from its first chunk on. A body that a
    /// record names already needs none: it is asked for until it is whole.
    pub fn stamped(mut self, epoch: UploadEpoch) -> BodyWriter {
        self.stamp = Some(epoch);
        self
    }

    pub fn length(&self) -> u64 {
        self.length
    }

    /// Takes more of the disk, where the length was not announced; false where there is
    /// no room for it.
    pub fn make_room(&mut self, length: usize) -> bool {
        self.reservation.extend(length as u64)
    }

    pub async fn push(&mut self, piece: &Bytes) -> Result<(), StoreError> {
        self.length += piece.len() as u64;
        let mut rest = &piece[..];
        while !rest.is_empty() {
            let room = CHUNK_BYTES - self.buffer.len();
            let (now, later) = rest.split_at(room.min(rest.len()));
            self.buffer.extend_from_slice(now);
            rest = later;
            if self.buffer.len() == CHUNK_BYTES {
                self.store_chunk().await?;
            }
        }
        Ok(())
    }

    async fn store_chunk(&mut self) -> Result<(), StoreError> {
        let chunk = self.buffer.split().freeze();
        let (hashed, mut whole) = (chunk.clone(), std::mem::take(&mut self.whole));
        let (digest, whole) = self
            .blocking
            .run(move || {
                whole.update(&hashed);
                Ok((Digest::of(&[&hashed]), whole))
            })
            .await?;
        self.whole = whole;
        let number = self.chunks.len() as u32;
        self.chunks.push((chunk.len() as u32, digest));
        let length = chunk.len() as u64;
        match (number, self.stamp) {
            (0, Some(epoch)) => self.store.put_first_chunk(self.id, chunk, epoch).await?,
            _ => self.store.put_chunk(self.id, number, chunk).await?,
        }
        self.reservation.arrived(length);
        Ok(())
    }

    /// The digest of all bytes; no more may be pushed. Stores what is left in the buffer.
    pub async fn digest(&mut self) -> Result<Digest, StoreError> {
        if let Some(known) = self.sha256 {
            return Ok(known);
        }
        let digest = self.last_chunk().await?;
        self.sha256 = Some(digest);
        Ok(digest)
    }

    async fn last_chunk(&mut self) -> Result<Digest, StoreError> {
        let chunk = self.buffer.split().freeze();
        if self.chunks.is_empty() {
            // A body of one chunk, the usual case, is hashed once and written with its
            // manifest.
            let digest = self.hash(chunk.clone()).await?;
            self.chunks.push((chunk.len() as u32, digest));
            self.last = Some(chunk);
            return Ok(digest);
        }
        if !chunk.is_empty() {
            self.whole.update(&chunk);
            let digest = self.hash(chunk.clone()).await?;
            self.chunks.push((chunk.len() as u32, digest));
            self.last = Some(chunk);
        }
        Ok(std::mem::take(&mut self.whole).finish())
    }

    async fn hash(&self, chunk: Bytes) -> Result<Digest, StoreError> {
        if chunk.len() <= INLINE_HASH_BYTES {
            return Ok(Digest::of(&[&chunk]));
        }
        self.blocking.run(move || Ok(Digest::of(&[&chunk]))).await
    }

    /// Writes the manifest and waits until all of it is durable.
    pub async fn seal(mut self, epoch: UploadEpoch) -> Result<SealedBody, StoreError> {
        let sha256 = self.digest().await?;
        let manifest = BodyManifest {
            length: self.length,
            sha256,
            epoch,
            chunks: self.chunks,
        };
        let sealed = SealedBody {
            id: self.id,
            sha256,
            chunk_root: chunk_root(self.length, &manifest.chunks)
                .expect("each chunk but the last was stored full"),
            length: self.length,
        };
        self.store.seal(self.id, manifest, self.last).await?;
        Ok(sealed)
    }

    /// Forgets what was written so far.
    pub async fn abandon(self) -> Result<(), StoreError> {
        self.store.delete(self.id).await
    }
}

/// The root over a list of chunks, if a body of this length is cut so.
pub(super) fn chunk_root(length: u64, list: &[(u32, Digest)]) -> Option<Digest> {
    let expected = (0..).map_while(|chunk| chunks::length_of(length, chunk));
    let cut = list.iter().map(|(length, _)| u64::from(*length));
    // Compared first: a list from a peer may be of any shape.
    if !cut.eq(expected) {
        return None;
    }
    let leaves: Vec<Digest> = list.iter().map(|(_, digest)| *digest).collect();
    chunks::root(length, &leaves)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a peer says of a body's chunks counts only if it is cut as every body is: else
    /// its root would stand for other bytes.
    #[test]
    fn only_a_list_that_is_cut_as_the_length_says_has_a_root() {
        let full = CHUNK_BYTES as u32;
        let (a, b) = (Digest([1; 32]), Digest([2; 32]));
        let length = CHUNK_BYTES as u64 + 5;
        let root = chunk_root(length, &[(full, a), (5, b)]);
        assert_eq!(root, Some(muniment_evidence::tree::node_hash(&a, &b)));
        assert_eq!(chunk_root(length, &[(5, a), (full, b)]), None);
        assert_eq!(chunk_root(length, &[(full + 5, a)]), None);
        assert_eq!(chunk_root(length, &[(full, a), (5, b), (0, b)]), None);
        assert_eq!(chunk_root(0, &[(0, a)]), Some(a));
        assert_eq!(chunk_root(0, &[]), None);
    }
}
