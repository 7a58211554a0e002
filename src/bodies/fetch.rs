//! Bytes on their way out: from here, or from another holder; each chunk checked.
//!
//! Promises: no chunk is sent that does not match its digest; a body that is missing or
//! damaged here is served by proxy from another holder; the digests of a proxied body
//! are trusted only as far as its whole digest, which the reader checks at the end.
//! Leaves bringing a good copy here to [`super::repair`].

use super::repair::content;
use super::serve::{decode_digests, encode_request};
use super::{Bodies, Error};
use crate::raft::types::Peer;
use crate::transport::{Class, Method};
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt as _};
use muniment_evidence::digest::{Digest, Hasher};
use muniment_evidence::opening::{How, Rendition};
use std::ops::Range;
use std::time::Duration;

/// How long another holder may take for one chunk.
const CHUNK_MAX: Duration = Duration::from_secs(10);

/// Where a body is read from.
#[derive(Clone, Debug)]
pub struct Source {
    pub node: u64,
    address: Option<String>,
    body: [u8; 16],
    /// Length and digest of each chunk.
    pub(super) chunks: Vec<(u32, Digest)>,
}

impl Bodies {
    /// Finds a holder: this node if it has the body whole, else another.
    pub async fn source(&self, rendition: &Rendition) -> Result<Source, Error> {
        let body = rendition.body_id;
        let named = Some(content(rendition));
        let Some(manifest) = self.own_manifest(body, named, How::Read).await? else {
            return self.proxy(rendition).await;
        };
        let own = Source {
            node: self.node,
            address: None,
            body,
            chunks: manifest.chunks,
        };
        if !self.repairs.may_be_damaged(body) || self.store.damage(body).await?.is_none() {
            return Ok(own);
        }
        self.repairs.damaged(body);
        match self.proxy(rendition).await {
            // What is good of it is better than nothing.
            Err(Error::Unavailable(_)) => Ok(own),
            found => found,
        }
    }

    /// Finds another node that holds the body.
    async fn proxy(&self, rendition: &Rendition) -> Result<Source, Error> {
        let mut why = String::from("no other member is known");
        for (node, peer) in self.others() {
            match self.source_at(node, peer, rendition).await {
                Ok(source) => return Ok(source),
                Err(error) => why = format!("node {node}: {error}"),
            }
        }
        Err(Error::Unavailable(why))
    }

    /// The other members, the nearest first: same zone, then the rest.
    pub(super) fn others(&self) -> Vec<(u64, Peer)> {
        let members = self.group.status().members.into_iter();
        let mut others: Vec<_> = members.filter(|(node, _)| *node != self.node).collect();
        others.sort_by_key(|(_, peer)| peer.zone != self.zone);
        others
    }

    /// The body at one other node, if that says it holds it.
    pub(super) async fn source_at(
        &self,
        node: u64,
        peer: Peer,
        rendition: &Rendition,
    ) -> Result<Source, Error> {
        let chunks = self.digests(&peer.address, rendition).await?;
        Ok(Source {
            node,
            address: Some(peer.address),
            body: rendition.body_id,
            chunks,
        })
    }

    async fn digests(
        &self,
        address: &str,
        rendition: &Rendition,
    ) -> Result<Vec<(u32, Digest)>, Error> {
        let unavailable = |why: String| Error::Unavailable(why);
        let request = encode_request(rendition.body_id, u32::MAX);
        let frames = stream::iter([request]).boxed();
        let opening =
            self.transport
                .stream(address.to_owned(), Class::Bulk, Method::GetBody, frames);
        let first = async {
            let mut frames = opening.await.map_err(|f| unavailable(f.to_string()))?;
            match frames.next().await {
                Some(Ok(frame)) => Ok(frame),
                Some(Err(failure)) => Err(unavailable(failure.to_string())),
                None => Err(unavailable("ended early".into())),
            }
        };
        let frame = tokio::time::timeout(CHUNK_MAX, first)
            .await
            .map_err(|_| unavailable("no answer in time".into()))??;
        let chunks = decode_digests(&frame).map_err(|error| unavailable(error.to_string()))?;
        let length: u64 = chunks.iter().map(|(length, _)| u64::from(*length)).sum();
        let single = chunks.len() == 1 && chunks[0].1 != rendition.sha256;
        if length != rendition.length || single {
            return Err(unavailable("it holds other bytes under this name".into()));
        }
        Ok(chunks)
    }

    /// The bytes of `range`, chunk by chunk, each checked before it comes out.
    pub fn read(
        &self,
        source: Source,
        rendition: Rendition,
        range: Range<u64>,
    ) -> BoxStream<'static, Result<Bytes, Error>> {
        let mut parts = Vec::new();
        let mut start = 0u64;
        for (number, (length, digest)) in source.chunks.iter().enumerate() {
            let end = start + u64::from(*length);
            let (from, to) = (range.start.max(start), range.end.min(end));
            if from < to {
                let inside = (from - start) as usize..(to - start) as usize;
                parts.push((number as u32, *digest, inside));
            }
            start = end;
        }
        let whole = range == (0..rendition.length) && source.address.is_some();
        let this = self.clone();
        let state = (this, source, rendition, whole.then(Hasher::new));
        stream::try_unfold(
            (parts.into_iter(), state),
            |(mut parts, (this, source, rendition, hasher))| async move {
                let Some((number, digest, inside)) = parts.next() else {
                    // Of a proxied body only the whole digest is known for certain.
                    if hasher.is_some_and(|h: Hasher| h.finish() != rendition.sha256) {
                        return Err(Error::Unavailable("proxied bytes do not match".into()));
                    }
                    return Ok(None);
                };
                let chunk = this.chunk(&source, number, digest).await?;
                let hasher = hasher.map(|mut hasher| {
                    hasher.update(&chunk);
                    hasher
                });
                let piece = chunk.slice(inside);
                Ok(Some((piece, (parts, (this, source, rendition, hasher)))))
            },
        )
        .boxed()
    }

    async fn chunk(&self, source: &Source, number: u32, digest: Digest) -> Result<Bytes, Error> {
        let read = async {
            let body = source.body;
            if source.address.is_some() {
                match self.fetch(source, number, digest).await {
                    // Another may have what this one has lost meanwhile.
                    Err(Error::Unavailable(_)) => {}
                    fetched => return fetched,
                }
            } else if let Some(chunk) = self.own_chunk(body, number, digest, How::Read).await? {
                return Ok(chunk);
            }
            self.fetch_from_any(source, number, digest).await
        };
        self.hot.get((source.body, number), read).await
    }

    /// One chunk from whichever other node has it as it should be: of a body that is damaged
    /// in several places, no single holder may have all.
    async fn fetch_from_any(
        &self,
        source: &Source,
        number: u32,
        digest: Digest,
    ) -> Result<Bytes, Error> {
        let mut why = String::from("no other member is known");
        for (node, peer) in self.others() {
            let elsewhere = Source {
                node,
                address: Some(peer.address),
                body: source.body,
                chunks: Vec::new(),
            };
            match self.fetch(&elsewhere, number, digest).await {
                Err(Error::Unavailable(from)) => why = format!("node {node}: {from}"),
                fetched => return fetched,
            }
        }
        Err(Error::Unavailable(why))
    }

    /// One chunk from another node, checked.
    pub(super) async fn fetch(
        &self,
        source: &Source,
        number: u32,
        digest: Digest,
    ) -> Result<Bytes, Error> {
        let unavailable = |why: String| Error::Unavailable(why);
        let Some(address) = source.address.clone() else {
            return Err(unavailable("no other holder".into()));
        };
        let frames = stream::iter([encode_request(source.body, number)]).boxed();
        let opening = self
            .transport
            .stream(address, Class::Bulk, Method::GetBody, frames);
        let second = async {
            let mut frames = opening.await.map_err(|f| unavailable(f.to_string()))?;
            for _ in 0..2 {
                match frames.next().await {
                    Some(Ok(frame)) if Digest::of(&[&frame]) == digest => return Ok(frame),
                    Some(Ok(_)) => {}
                    Some(Err(failure)) => return Err(unavailable(failure.to_string())),
                    None => break,
                }
            }
            Err(unavailable("it sent other bytes".into()))
        };
        tokio::time::timeout(CHUNK_MAX, second)
            .await
            .map_err(|_| unavailable("no answer in time".into()))?
    }
}
