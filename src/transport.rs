//! All traffic between nodes, behind one trait: calls and streams of opaque frames.
//!
//! gRPC stands below it in `rpc/`, the simulator beside it in the tests. Promises of an
//! implementation: a call ends by its deadline; a stream ends when either side drops it;
//! classes do not wait for each other, so that bulk never delays a heartbeat. Leaves the
//! meaning of frames to the layers that send them. Frames are at most
//! [`FRAME_BYTES_MAX`].

use crate::domain::cause::Cause;
use crate::domain::ids::NodeId;
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use muniment_evidence::codec::{DecodeError, Reader};
use std::fmt;
use std::time::Duration;

/// One frame: below the 4 MiB message limit with room for its envelope. The largest is an
/// append: 1 MiB of entries, plus one entry that may follow, plus headers.
pub const FRAME_BYTES_MAX: usize = 3 << 20;

/// What a frame is for. The number is part of the protocol: never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Method {
    Vote = 1,
    PreVote = 2,
    TransferLeader = 3,
    /// Streams from here on are marked.
    Append = 4,
    Snapshot = 5,
    ReadIndex = 6,
    Submit = 7,
    PutBody = 8,
    GetBody = 9,
    /// Vouch for a size and root.
    Cosign = 10,
    /// Cosigned notes, spread by the leader.
    Note = 11,
    /// A majority has another root than the node that is told.
    DivergenceNotice = 12,
    /// Ask the leader for a note of at least a size.
    WantNote = 13,
    /// Wait until an entry and its bodies are as durable as asked.
    Durable = 16,
    /// Tells a node by which disk the ledger knows it: one that hears of another disk from
    /// a majority of the voters ends.
    StrangeDisk = 18,
    /// The status of a node: who it is, how far, how well. Answered with the other's own.
    Status = 19,
    /// Tells a leader that its entries are of a time to come, and are not taken in.
    ClockNotice = 20,
    /// With which ML-DSA keys a node cosigns.
    Announce = 21,
    /// How much a node has promised and not recorded yet.
    Promised = 22,
}

impl Method {
    pub const ALL: [Method; 19] = [
        Method::Vote,
        Method::PreVote,
        Method::TransferLeader,
        Method::Append,
        Method::Snapshot,
        Method::ReadIndex,
        Method::Submit,
        Method::PutBody,
        Method::GetBody,
        Method::Cosign,
        Method::Note,
        Method::DivergenceNotice,
        Method::WantNote,
        Method::Durable,
        Method::StrangeDisk,
        Method::Status,
        Method::ClockNotice,
        Method::Announce,
        Method::Promised,
    ];

    pub fn from_code(code: u32) -> Option<Method> {
        Method::ALL.into_iter().find(|m| *m as u32 == code)
    }
}

/// Which connection to a peer: those of one class share it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    /// Heartbeats, votes, read index: small and urgent.
    Control,
    /// Log entries and statements.
    Log,
    /// Bodies and snapshots.
    Bulk,
}

/// Why a peer did not answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Not reached, or cut off midway: what was sent may have been done.
    Unreachable(Cause),
    Timeout,
    /// It answered that it will not.
    Refused(Cause),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Unreachable(why) => write!(f, "unreachable: {why}"),
            Failure::Timeout => f.write_str("no answer in time"),
            Failure::Refused(why) => write!(f, "refused: {why}"),
        }
    }
}

impl std::error::Error for Failure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Failure::Unreachable(why) | Failure::Refused(why) => Some(why),
            Failure::Timeout => None,
        }
    }
}

/// Leads every message that nodes say to each other about cosignatures and durability.
pub const MESSAGE_VERSION: u8 = 1;

/// Reads a message behind its version, to its end.
pub fn read_message<T>(
    bytes: &[u8],
    read: impl FnOnce(&mut Reader<'_>) -> Result<T, DecodeError>,
) -> Result<T, Failure> {
    let mut r = Reader::new(bytes);
    let found = (|| {
        if r.u8()? != MESSAGE_VERSION {
            return Err(r.error("a message of version 1"));
        }
        let found = read(&mut r)?;
        r.end()?;
        Ok(found)
    })();
    found.map_err(|error| Failure::Refused(Cause::new(error)))
}

/// Frames of one direction of a stream; an error ends it.
pub type Frames = BoxStream<'static, Result<Bytes, Failure>>;

/// Whom a frame is meant for, and where that node is reached (`host:port`). An address may
/// have passed to another node: the receiver compares the id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    pub node: NodeId,
    pub address: String,
}

/// The two ends of a call or stream, as its first frame names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameEnds {
    pub from: NodeId,
    pub to: NodeId,
}

/// Reaches peers.
pub trait Transport: Send + Sync {
    fn call(
        &self,
        to: Destination,
        class: Class,
        method: Method,
        body: Bytes,
        deadline: Duration,
    ) -> BoxFuture<'static, Result<Bytes, Failure>>;

    /// The first answer need not come before the first frame was sent.
    fn stream(
        &self,
        to: Destination,
        class: Class,
        method: Method,
        frames: BoxStream<'static, Bytes>,
    ) -> BoxFuture<'static, Result<Frames, Failure>>;
}

/// Serves peers: what a node does with incoming frames.
pub trait Serve: Send + Sync {
    fn call(
        &self,
        ends: FrameEnds,
        method: Method,
        body: Bytes,
    ) -> BoxFuture<'static, Result<Bytes, Failure>>;

    fn stream(
        &self,
        ends: FrameEnds,
        method: Method,
        frames: Frames,
    ) -> BoxFuture<'static, Result<Frames, Failure>>;
}
