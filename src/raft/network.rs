//! The library's network, on [`crate::transport`].
//!
//! Promises what the library leaves to its network: every call has a deadline, appends
//! are pipelined on one long-lived stream per follower, a stream whose follower owes an
//! answer for too long is ended, and each class of traffic has a connection of its own.
//! Leaves serving to [`super::server`].
//! Tests: `src/raft/group_tests.rs`.

use super::codec::{self, Wire};
use super::identity::{self, KnownDisks};
use super::machine::SnapshotData;
use super::types::{LogId, Peer, TypeConfig, Vote};
use crate::domain::ids::NodeId;
use crate::store::Blocking;
use crate::store::snapshot::SnapshotPiece;
use crate::sync::Shared;
use crate::transport::{Class, Destination, Failure, Frames, Method, Transport};
use bytes::Bytes;
use futures::stream::{self, BoxStream, Stream, StreamExt as _};
use muniment_evidence::codec::Writer;
use openraft::alias::SnapshotOf;
use openraft::base::{BoxFuture, BoxStream as RaftStream};
use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{
    Backoff, NetBackoff, NetSnapshot, NetStreamAppend, NetTransferLeader, NetVote, RPCOption,
};
use openraft::raft::{
    AppendEntriesRequest, SnapshotResponse, StreamAppendResult, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::{OptionalSend, RaftNetworkFactory};
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// How long a follower may owe an answer to an append before the stream is given up and
/// opened anew: above any healthy fsync, below what an operator would call an outage.
const APPEND_ANSWER_MAX: Duration = Duration::from_secs(3);
/// Requests of one stream that bring nothing of what is committed beyond what they follow. The
/// library sends such a request where the log that the follower lacks was purged, again and
/// again, also once a snapshot has brought it: it looks for other work only when it opens a
/// stream. One more or less tells a follower of a commit.
const EMPTY_APPENDS_MAX: u32 = 8;
/// Pause before a peer that was not reached is tried again: short, since a restarted
/// follower should be found again within a heartbeat or two.
const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// Without a piece taken or an answer for this long, a snapshot transfer is given up.
const SNAPSHOT_STALL_MAX: Duration = Duration::from_secs(60);
/// Snapshot pieces read ahead of the connection: bounds memory to this many MiB.
const SNAPSHOT_PIECES_AHEAD: usize = 4;

/// First byte of a snapshot frame.
pub(super) const FRAME_HEADER: u8 = 0;
pub(super) const FRAME_PAIRS: u8 = 1;
pub(super) const FRAME_END: u8 = 2;

/// Where members are reached: the library keeps a line to a member for as long as it leads,
/// and does not notice that its address has changed.
pub type Addresses = Shared<BTreeMap<NodeId, String>>;

pub struct PeerNetwork {
    pub transport: Arc<dyn Transport>,
    pub blocking: Blocking,
    pub disks: KnownDisks,
    pub addresses: Addresses,
}

impl PeerNetwork {
    fn link(&self, target: NodeId, peer: &Peer, class: Class) -> Link {
        // What the members in force say is newer than any earlier line.
        (self.addresses.lock()).insert(target, peer.address.clone());
        Link {
            disks: self.disks.clone(),
            transport: self.transport.clone(),
            blocking: self.blocking,
            addresses: self.addresses.clone(),
            node: target,
            class,
        }
    }
}

impl RaftNetworkFactory<TypeConfig> for PeerNetwork {
    type Network = Link;

    async fn new_client(&mut self, target: NodeId, peer: &Peer) -> Link {
        self.link(target, peer, Class::Log)
    }

    async fn new_heartbeat_client(&mut self, target: NodeId, peer: &Peer) -> Link {
        self.link(target, peer, Class::Control)
    }

    async fn new_snapshot_client(&mut self, target: NodeId, peer: &Peer) -> Link {
        self.link(target, peer, Class::Bulk)
    }
}

/// One peer, one class of traffic.
#[derive(Clone)]
pub struct Link {
    disks: KnownDisks,
    transport: Arc<dyn Transport>,
    blocking: Blocking,
    addresses: Addresses,
    node: NodeId,
    class: Class,
}

fn unreachable(why: impl ToString) -> Unreachable<TypeConfig> {
    Unreachable::from_string(why)
}

impl Link {
    fn to(&self) -> Destination {
        let address = self.addresses.lock().get(&self.node).cloned();
        Destination {
            node: self.node,
            address: address.expect("it was put there with the line"),
        }
    }

    async fn call<Q: Wire, A: Wire>(
        &self,
        method: Method,
        request: &Q,
        option: &RPCOption,
    ) -> Result<A, RPCError<TypeConfig>> {
        let body = Bytes::from(codec::encode(request));
        let answer = self
            .transport
            .call(self.to(), Class::Control, method, body, option.hard_ttl())
            .await
            .map_err(unreachable)?;
        let answer = self.recognised(&answer).await?;
        codec::decode(&answer).map_err(|error| unreachable(error).into())
    }

    /// What follows the disk that the peer shows; an error if the ledger knows another.
    async fn recognised(&self, answer: &Bytes) -> Result<Bytes, Unreachable<TypeConfig>> {
        let (disk, rest) = identity::shown(answer).map_err(unreachable)?;
        match self.disks.recognise(self.node, &disk).await {
            Ok(()) => Ok(rest),
            // The exchange of statuses, which meets every member, tells it.
            Err(unheard) => Err(unreachable(unheard)),
        }
    }

    /// Reads the frame at the head of a stream of answers, which shows the disk.
    async fn greeted(&self, answers: &mut Frames) -> Result<(), Unreachable<TypeConfig>> {
        match tokio::time::timeout(APPEND_ANSWER_MAX, answers.next()).await {
            Ok(Some(Ok(frame))) => self.recognised(&frame).await.map(|_| ()),
            Ok(Some(Err(failure))) => Err(unreachable(failure)),
            Ok(None) => Err(unreachable("the stream ended before it began")),
            Err(_) => Err(unreachable("the stream did not begin in time")),
        }
    }
}

impl NetVote<TypeConfig> for Link {
    async fn vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        self.call(Method::Vote, &request, &option).await
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        self.call(Method::PreVote, &request, &option).await
    }
}

impl NetTransferLeader<TypeConfig> for Link {
    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, RPCError<TypeConfig>> {
        let accepted: Accepted = self.call(Method::TransferLeader, &request, &option).await?;
        if accepted.0 {
            Ok(Ok(()))
        } else {
            Err(unreachable("the target is not ready to lead").into())
        }
    }
}

/// Whether a leadership transfer was taken up.
pub(super) struct Accepted(pub bool);

impl Wire for Accepted {
    fn write(&self, w: &mut Writer) {
        w.u8(u8::from(self.0));
    }

    fn read(
        r: &mut muniment_evidence::codec::Reader<'_>,
    ) -> Result<Self, muniment_evidence::codec::DecodeError> {
        Ok(Accepted(r.u8()? == 1))
    }
}

impl NetBackoff<TypeConfig> for Link {
    fn backoff(&self) -> Option<Backoff> {
        Some(Backoff::new(std::iter::repeat(RETRY_PAUSE)))
    }
}

impl NetStreamAppend<TypeConfig> for Link {
    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        _option: RPCOption,
    ) -> BoxFuture<
        's,
        Result<
            RaftStream<'s, Result<StreamAppendResult<TypeConfig>, RPCError<TypeConfig>>>,
            RPCError<TypeConfig>,
        >,
    >
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + OptionalSend + Unpin + 'static,
    {
        let link = self.clone();
        Box::pin(async move {
            let sent = Shared::<SentAppends>::default();
            let noted = sent.clone();
            let frames = input.map(move |request| {
                noted.lock().note(&request);
                Bytes::from(codec::encode(&request))
            });
            let opening =
                link.transport
                    .stream(link.to(), link.class, Method::Append, frames.boxed());
            let mut answers = match tokio::time::timeout(APPEND_ANSWER_MAX, opening).await {
                Ok(Ok(answers)) => answers,
                Ok(Err(failure)) => {
                    // The library waits its backoff between two requests of an open
                    // stream only: without a pause here the leader would knock on the
                    // door of a stopped peer as fast as it is refused.
                    tokio::time::sleep(RETRY_PAUSE).await;
                    return Err(unreachable(failure).into());
                }
                Err(_) => {
                    return Err(unreachable("the append stream did not open in time").into());
                }
            };
            if let Err(stranger) = link.greeted(&mut answers).await {
                tokio::time::sleep(RETRY_PAUSE).await;
                return Err(stranger.into());
            }
            let decoded = guard(answers, sent).map(|answer| match answer {
                Ok(bytes) => codec::decode::<StreamAppendResult<TypeConfig>>(&bytes)
                    .map_err(|error| unreachable(error).into()),
                Err(failure) => Err(unreachable(failure).into()),
            });
            Ok(Box::pin(decoded) as RaftStream<'s, _>)
        })
    }
}

/// What was sent on one stream.
#[derive(Default)]
struct SentAppends {
    /// When the first request after the last answer was sent.
    owed: Option<Instant>,
    /// What the last request follows, and how many before it brought nothing beyond that.
    follows: Option<LogId>,
    empty: u32,
}

impl SentAppends {
    fn note(&mut self, request: &AppendEntriesRequest<TypeConfig>) {
        self.owed.get_or_insert_with(Instant::now);
        let brings_nothing =
            request.entries.is_empty() && request.prev_log_id < request.leader_commit;
        self.empty = match brings_nothing && request.prev_log_id == self.follows {
            true => self.empty + 1,
            false => 0,
        };
        self.follows = request.prev_log_id;
    }

    fn is_answered_too_late(&self) -> bool {
        self.owed
            .is_some_and(|owed| owed.elapsed() >= APPEND_ANSWER_MAX)
    }

    fn brings_nothing(&self) -> bool {
        self.empty >= EMPTY_APPENDS_MAX
    }
}

/// Ends the answers when one is owed for too long, or when nothing is sent that a follower
/// could go on by. Answers may be fewer than requests (one speaks for all before it), so what
/// counts is the time since the first request after the last answer. Not since the last
/// request: a leader under load would wait for ever for a follower that stands still, and
/// could purge nothing of its log meanwhile.
fn guard(
    answers: BoxStream<'static, Result<Bytes, Failure>>,
    sent: Shared<SentAppends>,
) -> impl Stream<Item = Result<Bytes, Failure>> {
    stream::unfold(Some(answers), move |answers| {
        let sent = sent.clone();
        async move {
            let mut answers = answers?;
            loop {
                match tokio::time::timeout(APPEND_ANSWER_MAX, answers.next()).await {
                    Ok(Some(Ok(answer))) => {
                        let mut sent = sent.lock();
                        if sent.brings_nothing() {
                            let why = "what it lacks is purged: the stream is opened anew";
                            return Some((Err(Failure::Refused(why.into())), None));
                        }
                        sent.owed = None;
                        return Some((Ok(answer), Some(answers)));
                    }
                    Ok(Some(Err(failure))) => return Some((Err(failure), None)),
                    Ok(None) => return None,
                    Err(_) => {
                        if sent.lock().is_answered_too_late() {
                            return Some((Err(Failure::Timeout), None));
                        }
                    }
                }
            }
        }
    })
}

impl NetSnapshot<TypeConfig> for Link {
    type SnapshotData = SnapshotData;

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: SnapshotOf<TypeConfig, SnapshotData>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let SnapshotData::Taken(taken) = snapshot.snapshot else {
            return Err(unreachable("a received snapshot is not sent on").into());
        };
        let (sender, receiver) = mpsc::channel::<Bytes>(SNAPSHOT_PIECES_AHEAD);
        let mut header = Writer::new();
        header.u8(FRAME_HEADER);
        vote.write(&mut header);
        snapshot.meta.write(&mut header);
        let header = Bytes::from(header.finish());
        let blocking = self.blocking;
        let (recognised, go_on) = tokio::sync::oneshot::channel::<()>();
        let sending = async move {
            // Nothing of the state goes to a disk that the ledger does not know.
            if sender.send(header).await.is_err() || go_on.await.is_err() {
                return Ok(());
            }
            let mut pieces = taken.pieces();
            loop {
                let (next, back) = blocking
                    .run(move || {
                        let next = pieces.next()?;
                        Ok((next, pieces))
                    })
                    .await?;
                pieces = back;
                let (kind, content, last) = match next {
                    SnapshotPiece::Pairs(content) => (FRAME_PAIRS, content, false),
                    SnapshotPiece::End(digest) => (FRAME_END, digest.0.to_vec(), true),
                };
                let frame = Bytes::from([&[kind], &content[..]].concat());
                let sent = tokio::time::timeout(SNAPSHOT_STALL_MAX, sender.send(frame)).await;
                if last || !matches!(sent, Ok(Ok(()))) {
                    return Ok::<(), crate::store::StoreError>(());
                }
            }
        };
        let frames = tokio_stream::wrappers::ReceiverStream::new(receiver).boxed();
        let link = self.clone();
        let answering = async move {
            let mut answers = link
                .transport
                .stream(link.to(), Class::Bulk, Method::Snapshot, frames)
                .await
                .map_err(unreachable)?;
            link.greeted(&mut answers).await?;
            // If the sender is gone, its error is the one that is told.
            let _ = recognised.send(());
            match answers.next().await {
                Some(Ok(answer)) => codec::decode::<Vote>(&answer).map_err(unreachable),
                Some(Err(failure)) => Err(unreachable(failure)),
                None => Err(unreachable("the receiver ended without an answer")),
            }
        };
        let both = async move {
            let (sent, answered) = futures::join!(sending, answering);
            if let Err(error) = sent {
                return Err(unreachable(error));
            }
            answered
        };
        tokio::select! {
            closed = cancel => Err(closed.into()),
            answered = both => Ok(SnapshotResponse::new(answered?)),
        }
    }
}
