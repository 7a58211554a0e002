//! Bytes on their way out: from here, or from another holder; each chunk checked.
//!
//! Promises: no chunk is sent that does not match its digest; a body that is missing or
//! damaged here is served by proxy from another holder; the digests of a proxied body
//! are held against the root of its chunk tree, which the record names, before a byte of it
//! goes out: of a range nothing else would tell.
//! Leaves bringing a good copy here to [`super::repair`].

use super::pull::WantedBody;
use super::{Bodies, BodyError};
use crate::domain::ids::{BodyId, NodeId};
use crate::raft::types::Peer;
use crate::store::bodies::content;
use crate::transport::Destination;
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt as _};
use muniment_evidence::digest::Digest;
use muniment_evidence::opening::{How, Rendition};
use std::hash::{Hash as _, Hasher as _};
use std::ops::Range;

/// Where a body is read from.
#[derive(Clone, Debug)]
pub struct BodyLocation {
    pub node: NodeId,
    /// `None` where it is this node.
    elsewhere: Option<Destination>,
    body: BodyId,
    /// Length and digest of each chunk.
    pub(super) chunks: Vec<(u32, Digest)>,
}

/// When a member is asked for a body: the leader last, since every write of the cluster
/// waits for it; the nearest first; and of equals now one, now the other, so that a node
/// that lacks much does not bring it all from one.
fn turn(node: NodeId, near: bool, leader: Option<NodeId>, body: BodyId) -> impl Ord {
    let mut hasher = std::hash::DefaultHasher::new();
    (node, body).hash(&mut hasher);
    (leader == Some(node), !near, hasher.finish())
}

impl Bodies {
    /// Finds a holder: this node if it has the body whole, else another.
    pub async fn source(&self, rendition: &Rendition) -> Result<BodyLocation, BodyError> {
        let body = rendition.body_id;
        let named = Some(content(rendition));
        let Some(manifest) = self.own_manifest(body, named, How::Read).await? else {
            return self.proxy(rendition).await;
        };
        let own = BodyLocation {
            node: self.holder.node,
            elsewhere: None,
            body,
            chunks: manifest.chunks,
        };
        if !self.repairs.may_be_damaged(body) || self.store.damage(body).await?.is_none() {
            return Ok(own);
        }
        self.repairs.damaged(body);
        match self.proxy(rendition).await {
            // What is good of it is better than nothing.
            Err(BodyError::Unavailable(_)) => Ok(own),
            found => found,
        }
    }

    /// Finds another node that holds the body.
    async fn proxy(&self, rendition: &Rendition) -> Result<BodyLocation, BodyError> {
        let mut why = String::from("no other member is known");
        for (node, peer) in self.others(rendition.body_id) {
            match self.source_at(node, peer, &rendition.into()).await {
                Ok(source) => return Ok(source),
                Err(error) => why = format!("node {node}: {error}"),
            }
        }
        Err(BodyError::Unavailable(why))
    }

    /// A node that has all of the body, as reading it to its end shows; `None` if there is none
    /// among those that answer.
    pub async fn whole_at(&self, rendition: &Rendition) -> Result<Option<NodeId>, BodyError> {
        let mut sources = Vec::new();
        match self.source(rendition).await {
            Ok(source) => sources.push(source),
            Err(BodyError::Unavailable(_)) => {}
            Err(error) => return Err(error),
        }
        for (node, peer) in self.others(rendition.body_id) {
            sources.extend(self.source_at(node, peer, &rendition.into()).await.ok());
        }
        for source in sources {
            let node = source.node;
            let mut bytes = self.read(source, 0..rendition.length);
            let mut whole = true;
            while let Some(piece) = bytes.next().await {
                if piece.is_err() {
                    whole = false;
                    break;
                }
            }
            if whole {
                return Ok(Some(node));
            }
        }
        Ok(None)
    }

    /// The other members in the order in which they are asked for a body.
    pub(super) fn others(&self, body: BodyId) -> Vec<(NodeId, Peer)> {
        let status = self.group.status();
        let mut others: Vec<_> = status.members.into_iter().collect();
        others.retain(|(node, _)| *node != self.holder.node);
        others.sort_by_cached_key(|(node, peer)| {
            turn(*node, peer.zone == self.holder.zone, status.leader, body)
        });
        others
    }

    /// The body at one other node, if that says it holds it.
    pub(super) async fn source_at(
        &self,
        node: NodeId,
        peer: Peer,
        wanted: &WantedBody,
    ) -> Result<BodyLocation, BodyError> {
        let holder = peer.destination(node);
        let pull = self.pull(&holder, wanted.body_id, u32::MAX).await?;
        pull.check(wanted)?;
        Ok(BodyLocation {
            node,
            elsewhere: Some(holder),
            body: wanted.body_id,
            chunks: pull.chunks,
        })
    }

    /// The bytes of `range`, chunk by chunk, each checked before it comes out.
    pub fn read(
        &self,
        source: BodyLocation,
        range: Range<u64>,
    ) -> BoxStream<'static, Result<Bytes, BodyError>> {
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
        let state = (parts.into_iter(), self.clone(), source);
        stream::try_unfold(state, |(mut parts, this, source)| async move {
            let Some((number, digest, inside)) = parts.next() else {
                return Ok(None);
            };
            let chunk = this.chunk(&source, number, digest).await?;
            Ok(Some((chunk.slice(inside), (parts, this, source))))
        })
        .boxed()
    }

    async fn chunk(
        &self,
        source: &BodyLocation,
        number: u32,
        digest: Digest,
    ) -> Result<Bytes, BodyError> {
        let read = async {
            let body = source.body;
            if source.elsewhere.is_some() {
                match self.fetch(source, number, digest).await {
                    // Another may have what this one has lost meanwhile.
                    Err(BodyError::Unavailable(_)) => {}
                    fetched => return fetched,
                }
            } else if let Some(chunk) = self.own_chunk(body, number, digest, How::Read).await? {
                return Ok(chunk);
            }
            self.fetch_from_any(source, number, digest).await
        };
        let key = (source.body, number, digest);
        self.chunk_cache.get(key, read).await
    }

    /// One chunk from whichever other node has it as it should be: of a body that is damaged
    /// in several places, no single holder may have all.
    async fn fetch_from_any(
        &self,
        source: &BodyLocation,
        number: u32,
        digest: Digest,
    ) -> Result<Bytes, BodyError> {
        let mut why = String::from("no other member is known");
        for (node, peer) in self.others(source.body) {
            let elsewhere = BodyLocation {
                node,
                elsewhere: Some(peer.destination(node)),
                body: source.body,
                chunks: Vec::new(),
            };
            match self.fetch(&elsewhere, number, digest).await {
                Err(BodyError::Unavailable(from)) => why = format!("node {node}: {from}"),
                fetched => return fetched,
            }
        }
        Err(BodyError::Unavailable(why))
    }

    /// One chunk from another node, checked.
    pub(super) async fn fetch(
        &self,
        source: &BodyLocation,
        number: u32,
        digest: Digest,
    ) -> Result<Bytes, BodyError> {
        let Some(holder) = &source.elsewhere else {
            return Err(BodyError::Unavailable("no other holder".into()));
        };
        let mut pull = self.pull(holder, source.body, number).await?;
        pull.next(digest).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_leader_is_asked_last_and_the_nearest_first() {
        let order = |body: u8| {
            let mut nodes = [1, 2, 3, 4];
            nodes.sort_by_cached_key(|node| {
                turn(
                    NodeId::new(*node),
                    *node < 3,
                    Some(NodeId::new(1)),
                    BodyId::new([body; 16]),
                )
            });
            nodes
        };
        for body in 0..20 {
            let order = order(body);
            assert_eq!((order[0], order[3]), (2, 1), "{order:?}");
        }
    }

    #[test]
    fn of_equals_each_is_asked_first_for_some_bodies() {
        let first = |body: u8| {
            let nodes = [1, 2, 3].into_iter();
            nodes.min_by_key(|node| turn(NodeId::new(*node), false, None, BodyId::new([body; 16])))
        };
        for node in [1, 2, 3] {
            let times = (0..60).filter(|body| first(*body) == Some(node)).count();
            assert!(times > 8, "node {node}: {times}");
        }
    }
}
