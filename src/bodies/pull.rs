//! Asking another holder for a body: its chunk digests first, then chunks, each checked.
//!
//! Promises: no chunk comes out that does not match its digest, and no wait is without an
//! end. The digests themselves are the holder's word: what they are worth, the digest of
//! the whole body says, which the caller compares. Leaves whom to ask to [`super::fetch`],
//! keeping what came to [`super::repair`].

use super::frames::{decode_digests, encode_request};
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
    /// Whether this may be what a record names, as far as the digests tell.
    pub fn check(&self, wanted: &Rendition) -> Result<(), BodyError> {
        let length: u64 = self
            .chunks
            .iter()
            .map(|(length, _)| u64::from(*length))
            .sum();
        let single = self.chunks.len() == 1 && self.chunks[0].1 != wanted.sha256;
        match length != wanted.length || single {
            true => Err(unavailable("it holds other bytes under this name")),
            false => Ok(()),
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
