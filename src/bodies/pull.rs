//! Asking another holder for a body: its chunk digests first, then chunks, each checked.
//!
//! Promises: no chunk comes out that does not match its digest, and no wait is without an
//! end. The digests themselves are the holder's word: they are held against the root of the
//! chunk tree where the caller knows it; else the digest of the whole body says what they
//! are worth, which the caller compares. Leaves whom to ask to [`super::fetch`],
//! keeping what came to [`super::repair`].

use super::frames::{decode_digests, encode_request};
use super::writer::chunk_root;
use super::{Bodies, BodyError};
use crate::domain::ids::{BodyId, NodeId};
use crate::misconduct::{Misconduct, Misdeed};
use crate::transport::{Class, Destination, Frames, Method};
use bytes::Bytes;
use futures::stream::{self, StreamExt as _};
use muniment_evidence::digest::Digest;
use muniment_evidence::opening::Rendition;
use std::time::Duration;

/// How long another holder may take for one chunk.
const CHUNK_MAX: Duration = Duration::from_secs(10);

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct WantedBody {
    pub body_id: BodyId,
    pub length: u64,
    pub sha256: Digest,
    /// As the record names it; absent where only length and digest are kept.
    pub chunk_root: Option<Digest>,
}

impl From<&Rendition> for WantedBody {
    fn from(rendition: &Rendition) -> WantedBody {
        WantedBody {
            body_id: rendition.body_id,
            length: rendition.length,
            sha256: rendition.sha256,
            chunk_root: Some(rendition.chunk_root),
        }
    }
}

/// A body on its way here.
pub(super) struct Pull {
    /// Length and digest of each chunk.
    pub chunks: Vec<(u32, Digest)>,
    frames: Frames,
    holder: NodeId,
    misconduct: Misconduct,
}

impl Bodies {
    /// Asks a node for a body from one chunk on; from `u32::MAX` on, for its
    /// digests alone.
    pub(super) async fn pull(
        &self,
        holder: &Destination,
        body: BodyId,
        first_chunk: u32,
    ) -> Result<Pull, BodyError> {
        let request = stream::iter([encode_request(body, first_chunk)]).boxed();
        let opening = self
            .transport
            .stream(holder.clone(), Class::Bulk, Method::GetBody, request);
        let (holder, misconduct) = (holder.node, self.group.misconduct().clone());
        let first = async {
            let mut frames = opening.await.map_err(unavailable)?;
            let first = frame(&mut frames).await?;
            let chunks = decode_digests(&first).map_err(unavailable)?;
            Ok(Pull {
                chunks,
                frames,
                holder,
                misconduct,
            })
        };
        in_time(first).await
    }
}

impl Pull {
    /// Whether this may be what a record names, as far as the digests tell; with the root,
    /// it is what the record names.
    pub fn check(&self, wanted: &WantedBody) -> Result<(), BodyError> {
        match may_be(&self.chunks, wanted) {
            true => Ok(()),
            false => Err(unavailable("it holds other bytes under this name")),
        }
    }

    /// The next chunk, which must have this digest.
    pub async fn next(&mut self, digest: Digest) -> Result<Bytes, BodyError> {
        let chunk = in_time(frame(&mut self.frames)).await?;
        match Digest::of(&[&chunk]) == digest {
            true => Ok(chunk),
            false => {
                // It compares each chunk before it sends it, so no disk is to blame.
                let why = "a chunk has another digest than it was announced with";
                self.misconduct.saw(self.holder, Misdeed::BadChunk, &why);
                Err(unavailable("it sent other bytes"))
            }
        }
    }
}

fn may_be(chunks: &[(u32, Digest)], wanted: &WantedBody) -> bool {
    if let Some(root) = wanted.chunk_root {
        return chunk_root(wanted.length, chunks) == Some(root);
    }
    let length: u64 = chunks.iter().map(|(length, _)| u64::from(*length)).sum();
    let other = chunks.len() == 1 && chunks[0].1 != wanted.sha256;
    length == wanted.length && !other
}

async fn frame(frames: &mut Frames) -> Result<Bytes, BodyError> {
    match frames.next().await {
        Some(frame) => frame.map_err(unavailable),
        None => Err(unavailable("ended early")),
    }
}

async fn in_time<T>(answer: impl Future<Output = Result<T, BodyError>>) -> Result<T, BodyError> {
    let waited = tokio::time::timeout(CHUNK_MAX, answer).await;
    waited.unwrap_or_else(|_| Err(unavailable("no answer in time")))
}

fn unavailable(why: impl ToString) -> BodyError {
    BodyError::Unavailable(why.to_string())
}

#[cfg(test)]
mod tests {
    use super::super::writer::CHUNK_BYTES;
    use super::*;

    /// A range shows too little of a body for its digest to be compared: a holder that makes
    /// up one chunk and its digest must be found out before a byte is passed on.
    #[test]
    fn a_holder_that_makes_up_one_chunks_digest_is_not_believed() {
        let [a, b, forged] = [1, 2, 9].map(|byte| Digest([byte; 32]));
        let full = CHUNK_BYTES as u32;
        let length = CHUNK_BYTES as u64 + 5;
        let honest = [(full, a), (5, b)];
        let mut wanted = WantedBody {
            body_id: BodyId::new([3; 16]),
            length,
            sha256: Digest([4; 32]),
            chunk_root: chunk_root(length, &honest),
        };
        assert!(may_be(&honest, &wanted));
        assert!(!may_be(&[(full, a), (5, forged)], &wanted));
        assert!(!may_be(&[(5, a), (full, b)], &wanted));
        // Without the root it shows only when the whole body has come.
        wanted.chunk_root = None;
        assert!(may_be(&[(full, a), (5, forged)], &wanted));
    }
}
