//! Our own versioned encoding of Raft's terms: on disk and between nodes.
//!
//! The library's serde layout may change between versions; these bytes do not. Promises
//! one encoding per value and refuses anything else. Leaves the payload opaque.

use super::types::{
    Entry, EntryPayload, LogId, Membership, Payload, Peer, SnapshotMeta, StoredMembership,
    TypeConfig, Vote,
};
use crate::domain::ids::NodeId;
use bytes::Bytes;
use muniment_evidence::codec::{DecodeError, Reader, Writer};
use openraft::raft::{
    AppendEntriesRequest, StreamAppendError, StreamAppendResult, TransferLeaderRequest,
    VoteRequest, VoteResponse,
};
use openraft::vote::RaftLeaderId as _;
use std::collections::{BTreeMap, BTreeSet};

const VERSION: u8 = 1;

/// A value that has one encoding.
pub trait Wire: Sized {
    fn write(&self, w: &mut Writer);
    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError>;
}

/// Version byte, then the value.
pub fn encode<T: Wire>(value: &T) -> Vec<u8> {
    let mut w = Writer::new();
    w.u8(VERSION);
    value.write(&mut w);
    w.finish()
}

pub fn decode<T: Wire>(bytes: &[u8]) -> Result<T, DecodeError> {
    let mut r = Reader::new(bytes);
    if r.u8()? != VERSION {
        return Err(r.error("raft encoding version 1"));
    }
    let value = T::read(&mut r)?;
    r.end()?;
    Ok(value)
}

impl<T: Wire> Wire for Option<T> {
    fn write(&self, w: &mut Writer) {
        w.option(self.as_ref(), |w, value| value.write(w));
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        r.option(T::read)
    }
}

impl<T: Wire> Wire for Vec<T> {
    fn write(&self, w: &mut Writer) {
        w.list(self, |w, item| item.write(w));
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        r.list(T::read)
    }
}

impl Wire for LogId {
    fn write(&self, w: &mut Writer) {
        w.u64(self.committed_leader_id().term).u64(self.index());
    }

    fn read(r: &mut Reader<'_>) -> Result<LogId, DecodeError> {
        Ok(LogId::new_term_index(r.u64()?, r.u64()?))
    }
}

impl Wire for Vote {
    fn write(&self, w: &mut Writer) {
        let leader = self.leader_id();
        w.u64(leader.term())
            .u64(leader.node_id().get())
            .u8(u8::from(self.is_committed()));
    }

    fn read(r: &mut Reader<'_>) -> Result<Vote, DecodeError> {
        let (term, node) = (r.u64()?, NodeId::read(r)?);
        match r.u8()? {
            0 => Ok(Vote::new(term, node)),
            1 => Ok(Vote::new_committed(term, node)),
            _ => Err(r.error("0 or 1")),
        }
    }
}

impl Wire for Membership {
    fn write(&self, w: &mut Writer) {
        w.list(self.get_joint_config(), |w, set| {
            let set: Vec<NodeId> = set.iter().copied().collect();
            w.list(&set, |w, node| {
                w.u64(node.get());
            });
        });
        let nodes: Vec<_> = self.nodes().collect();
        w.list(&nodes, |w, (node, peer)| {
            w.u64(node.get())
                .text(&peer.address)
                .text(&peer.client_address)
                .text(&peer.zone)
                .text(&peer.region);
        });
    }

    fn read(r: &mut Reader<'_>) -> Result<Membership, DecodeError> {
        let sets: Vec<BTreeSet<NodeId>> =
            r.list(|r| Ok(r.list(NodeId::read)?.into_iter().collect()))?;
        let nodes: BTreeMap<NodeId, Peer> = r
            .list(|r| {
                let node = NodeId::read(r)?;
                let peer = Peer {
                    address: r.text()?,
                    client_address: r.text()?,
                    zone: r.text()?,
                    region: r.text()?,
                };
                Ok((node, peer))
            })?
            .into_iter()
            .collect();
        Membership::new(sets, nodes).map_err(|_| r.error("a membership that holds together"))
    }
}

impl Wire for StoredMembership {
    fn write(&self, w: &mut Writer) {
        self.log_id().write(w);
        self.membership().write(w);
    }

    fn read(r: &mut Reader<'_>) -> Result<StoredMembership, DecodeError> {
        Ok(StoredMembership::new(Wire::read(r)?, Membership::read(r)?))
    }
}

impl Wire for Entry {
    fn write(&self, w: &mut Writer) {
        self.log_id.write(w);
        match &self.payload {
            EntryPayload::Blank => {
                w.u8(0);
            }
            EntryPayload::Normal(payload) => {
                w.u8(1).bytes(&payload.0);
            }
            EntryPayload::Membership(membership) => {
                w.u8(2);
                membership.write(w);
            }
        }
    }

    fn read(r: &mut Reader<'_>) -> Result<Entry, DecodeError> {
        let log_id = LogId::read(r)?;
        let payload = match r.u8()? {
            0 => EntryPayload::Blank,
            1 => EntryPayload::Normal(Payload(Bytes::copy_from_slice(r.bytes()?))),
            2 => EntryPayload::Membership(Membership::read(r)?),
            _ => return Err(r.error("an entry payload")),
        };
        Ok(Entry { log_id, payload })
    }
}

impl Wire for VoteRequest<TypeConfig> {
    fn write(&self, w: &mut Writer) {
        self.vote.write(w);
        self.last_log_id.write(w);
        w.u8(u8::from(self.leadership_transfer));
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut request = VoteRequest::new(Vote::read(r)?, Wire::read(r)?);
        request.leadership_transfer = r.u8()? == 1;
        Ok(request)
    }
}

impl Wire for VoteResponse<TypeConfig> {
    fn write(&self, w: &mut Writer) {
        self.vote.write(w);
        self.last_log_id.write(w);
        w.u8(u8::from(self.vote_granted));
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let (vote, last) = (Vote::read(r)?, Wire::read(r)?);
        Ok(VoteResponse::new(vote, last, r.u8()? == 1))
    }
}

impl Wire for TransferLeaderRequest<TypeConfig> {
    fn write(&self, w: &mut Writer) {
        self.from_leader().write(w);
        w.u64(self.to_node_id().get());
        self.last_log_id().copied().write(w);
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(TransferLeaderRequest::new(
            Vote::read(r)?,
            NodeId::read(r)?,
            Wire::read(r)?,
        ))
    }
}

impl Wire for AppendEntriesRequest<TypeConfig> {
    fn write(&self, w: &mut Writer) {
        self.vote.write(w);
        self.prev_log_id.write(w);
        self.leader_commit.write(w);
        self.entries.write(w);
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(AppendEntriesRequest {
            vote: Wire::read(r)?,
            prev_log_id: Wire::read(r)?,
            leader_commit: Wire::read(r)?,
            entries: Wire::read(r)?,
        })
    }
}

impl Wire for StreamAppendResult<TypeConfig> {
    fn write(&self, w: &mut Writer) {
        match self {
            Ok(matched) => {
                w.u8(0);
                matched.write(w);
            }
            Err(StreamAppendError::Conflict(log_id)) => {
                w.u8(1);
                log_id.write(w);
            }
            Err(StreamAppendError::HigherVote(vote)) => {
                w.u8(2);
                vote.write(w);
            }
        }
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(match r.u8()? {
            0 => Ok(Wire::read(r)?),
            1 => Err(StreamAppendError::Conflict(Wire::read(r)?)),
            2 => Err(StreamAppendError::HigherVote(Wire::read(r)?)),
            _ => return Err(r.error("an append result")),
        })
    }
}

impl Wire for SnapshotMeta {
    fn write(&self, w: &mut Writer) {
        self.last_log_id.write(w);
        self.last_membership.write(w);
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(SnapshotMeta {
            last_log_id: Wire::read(r)?,
            last_membership: Wire::read(r)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn there_and_back<T: Wire + PartialEq + std::fmt::Debug>(value: T) {
        let bytes = encode(&value);
        assert_eq!(decode::<T>(&bytes), Ok(value));
        assert!(decode::<T>(&bytes[..bytes.len() - 1]).is_err());
        assert!(decode::<T>(&[&bytes[..], &[0]].concat()).is_err());
    }

    #[test]
    fn raft_terms_have_one_encoding() {
        let id = LogId::new_term_index(3, 9);
        there_and_back(id);
        there_and_back(Vote::new(3, NodeId::new(1)));
        there_and_back(Vote::new_committed(3, NodeId::new(1)));
        let membership = Membership::new(
            vec![BTreeSet::from([1, 2].map(NodeId::new))],
            BTreeMap::from([1, 2].map(|node| (NodeId::new(node), Peer::default()))),
        )
        .unwrap();
        there_and_back(StoredMembership::new(Some(id), membership.clone()));
        for payload in [
            EntryPayload::Blank,
            EntryPayload::Normal(Payload(Bytes::from_static(b"x"))),
            EntryPayload::Membership(membership),
        ] {
            there_and_back(Entry {
                log_id: id,
                payload,
            });
        }
        there_and_back::<StreamAppendResult<TypeConfig>>(Ok(Some(id)));
        there_and_back::<StreamAppendResult<TypeConfig>>(Err(StreamAppendError::Conflict(id)));
    }
}
