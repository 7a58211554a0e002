//! The types openraft is instantiated with.
//!
//! Promises that these names stay inside `raft/`: other layers see commands, answers,
//! peers and indexes.

use super::runtime::Runtime;
use crate::domain::command::Answer;
use crate::domain::ids::NodeId;
use crate::transport::Destination;
use bytes::Bytes;
use std::fmt;

/// An encoded [`crate::domain::command::Command`]: encoded once, then the same bytes go
/// to disk and to every follower.
#[derive(Clone, PartialEq, Eq)]
pub struct Payload(pub Bytes);

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl fmt::Display for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// What apply answers: one per submission of the command.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Answers(pub Vec<Answer>);

/// A member as Raft's membership carries it.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Peer {
    /// host:port of the peer listener.
    pub address: String,
    /// host:port of the client listener, for hints to clients.
    pub client_address: String,
    pub zone: String,
    pub region: String,
}

impl Peer {
    /// Where the member of this id is reached.
    pub fn destination(&self, node: NodeId) -> Destination {
        Destination {
            node,
            address: self.address.clone(),
        }
    }
}

openraft::declare_raft_types!(
    pub TypeConfig:
        D = Payload,
        R = Answers,
        NodeId = NodeId,
        Node = Peer,
        LeaderId = openraft::impls::leader_id_std::LeaderId<Self::Term, Self::NodeId>,
        AsyncRuntime = Runtime,
);

pub type LogId = openraft::alias::LogIdOf<TypeConfig>;
pub type Vote = openraft::alias::VoteOf<TypeConfig>;
pub type Entry = openraft::alias::EntryOf<TypeConfig>;
pub type EntryPayload = openraft::alias::PayloadOf<TypeConfig>;
pub type Membership = openraft::Membership<NodeId, Peer>;
pub type StoredMembership = openraft::alias::StoredMembershipOf<TypeConfig>;
pub type SnapshotMeta = openraft::alias::SnapshotMetaOf<TypeConfig>;
