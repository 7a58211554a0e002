//! Serving Raft's peers: votes, appends, snapshots, transfers, read index.
//!
//! Promises: a vote, an append, a snapshot, a transfer is taken from the node that it names
//! alone; a node whose log is below its watermark neither votes nor campaigns; snapshot
//! installs happen one at a time (overlapping ones are refused, the leader tries again), and
//! one that is not what it should be never reaches the library; the permit goes with what is
//! received into the library's queue, not with the stream.
//! Leaves other methods to the layers that they are of.
//! Tests: `src/raft/bad_snapshot_tests.rs`, `src/raft/group_tests.rs`, `tests/cluster/bad_member/`.

use super::codec::{self, Wire};
use super::group::RaftGroup;
use super::identity::{self, Disk, KnownDiskNotice};
use super::machine::SnapshotData;
use super::network::{Accepted, FRAME_END, FRAME_HEADER, FRAME_PAIRS};
use super::snapshot_judge::Depth;
use super::types::{SnapshotMeta, TypeConfig, Vote};
use crate::domain::cause::{AnyError, Cause};
use crate::domain::ids::NodeId;
use crate::misconduct::Misdeed;
use crate::store::StoreError;
use crate::store::snapshot::{InstallPermit, Installer, Received};
use crate::transport::{Class, Destination, Failure, Frames, Method};
use bytes::Bytes;
use futures::stream::{self, StreamExt as _};
use muniment_evidence::codec::Reader;
use muniment_evidence::digest::Digest;
use openraft::raft::{AppendEntriesRequest, TransferLeaderRequest, VoteRequest};
use openraft::vote::RaftLeaderId as _;
use std::time::Duration;

/// Without a frame for this long, an incoming snapshot is given up.
const SNAPSHOT_STALL_MAX: Duration = Duration::from_secs(60);
/// How long it may take to tell a node that its disk is not known.
const TELL_MAX: Duration = Duration::from_secs(1);

fn refused(why: impl Into<Box<AnyError>>) -> Failure {
    Failure::Refused(Cause::new(why))
}

fn read<T: Wire>(body: &[u8]) -> Result<T, Failure> {
    codec::decode(body).map_err(refused)
}

/// Whose vote it is: the candidate's or the leader's.
fn speaker(vote: &Vote) -> NodeId {
    *vote.leader_id().node_id()
}

impl RaftGroup {
    /// Answers a call of one of Raft's methods.
    pub async fn serve_call(
        &self,
        from: NodeId,
        method: Method,
        body: Bytes,
    ) -> Result<Bytes, Failure> {
        let answer = match method {
            Method::Vote => {
                self.may_vote()?;
                let request: VoteRequest<TypeConfig> = read(&body)?;
                self.own_number(from, speaker(&request.vote))?;
                let answer = self.raft.vote(request).await.map_err(refused)?;
                return Ok(self.show(&codec::encode(&answer)));
            }
            Method::PreVote => {
                self.may_vote()?;
                let request: VoteRequest<TypeConfig> = read(&body)?;
                self.own_number(from, speaker(&request.vote))?;
                let answer = self.raft.pre_vote(request).await.map_err(refused)?;
                return Ok(self.show(&codec::encode(&answer)));
            }
            Method::TransferLeader => {
                self.may_vote()?;
                let request: TransferLeaderRequest<TypeConfig> = read(&body)?;
                self.own_number(from, speaker(request.from_leader()))?;
                let taken = self.raft.handle_transfer_leader(request).await;
                let accepted = Accepted(taken.map_err(refused)?.is_ok());
                return Ok(self.show(&codec::encode(&accepted)));
            }
            Method::ReadIndex => {
                let index = self.leader_read_index().await.map_err(refused)?;
                index.get().to_be_bytes().to_vec()
            }
            Method::ClockNotice => {
                self.told_ahead(from, &body)?;
                Vec::new()
            }
            Method::StrangeDisk => {
                self.recognise_self(from, &body)?;
                Vec::new()
            }
            _ => return Err(refused("not a call of Raft")),
        };
        Ok(Bytes::from(answer))
    }

    fn show(&self, answer: &[u8]) -> Bytes {
        identity::show(self.disks.own(), answer)
    }

    /// A peer says by which disk the ledger knows this node: if a majority of the voters
    /// says by another, this one is new, and the node ends.
    fn recognise_self(&self, from: NodeId, told: &[u8]) -> Result<(), Failure> {
        let told = KnownDiskNotice::decode(told).map_err(refused)?;
        let (own, node) = (self.disks.own(), self.node());
        let voters = self.status().voters.into_iter().collect();
        if told.known != *own {
            let (by, voters) = (from.get(), &voters);
            tracing::warn!(
                by,
                ?voters,
                "told that the ledger knows another disk of this node"
            );
        }
        if self.disk_words.lock().take(own, &voters, from, told) {
            self.stop.broken(format!(
                "this disk is new, but the ledger knows node {node} with another disk; join \
                 under a new id"
            ));
        }
        Ok(())
    }

    /// Tells a node, which shows another disk, by which one the ledger knows it. It ends
    /// once a majority of the voters has told it so.
    pub fn tell_known_disk(&self, to: Destination, known: Disk) {
        let voters = self.status().voters.into_iter().collect();
        let notice = KnownDiskNotice { known, voters }.encode();
        let transport = self.transport.clone();
        tokio::spawn(async move {
            let (class, method) = (Class::Control, Method::StrangeDisk);
            let told = transport.call(to, class, method, notice, TELL_MAX);
            if let Err(failure) = told.await {
                // It is met again within a second.
                tracing::debug!(%failure, "a node on another disk was not told");
            }
        });
    }

    /// The appends of one leader, answered in order, after this node's disk is shown.
    pub fn serve_append(&self, from: NodeId, frames: Frames) -> Frames {
        let (group, leader_seen) = (self.clone(), self.leader_seen.clone());
        // A frame that cannot be read, is another's or of a time to come ends the stream: the
        // leader opens another.
        let requests = frames
            .map(move |frame| {
                let request = read::<AppendEntriesRequest<TypeConfig>>(&frame?)?;
                group.own_number(from, speaker(&request.vote))?;
                group.in_time(from, &request)?;
                Ok::<_, Failure>(request)
            })
            .take_while(|request| std::future::ready(request.is_ok()))
            .filter_map(|request| std::future::ready(request.ok()))
            .inspect(move |_| {
                *leader_seen.lock().expect("nobody panics with it") =
                    Some(tokio::time::Instant::now());
            });
        let answers = self.raft.stream_append(requests.boxed());
        let answers = answers.map(|answer| match answer {
            Ok(answer) => Ok(Bytes::from(codec::encode(&answer))),
            Err(fatal) => Err(refused(fatal)),
        });
        stream::iter([Ok(self.show(&[]))]).chain(answers).boxed()
    }

    /// Receives and installs one snapshot, after this node's disk is shown.
    pub fn serve_snapshot(&self, from: NodeId, frames: Frames) -> Result<Frames, Failure> {
        let Some(permit) = self.installs.begin() else {
            return Err(refused("another snapshot is being installed"));
        };
        if !(self.has_disk_space)() {
            return Err(refused("this node's disk is nearly full"));
        }
        let (group, greeting) = (self.clone(), self.show(&[]));
        let installed = async move { group.install(from, frames, permit).await };
        let answers = stream::iter([Ok(greeting)]).chain(stream::once(installed));
        Ok(answers.boxed())
    }

    async fn install(
        &self,
        from: NodeId,
        frames: Frames,
        permit: InstallPermit,
    ) -> Result<Bytes, Failure> {
        let (vote, meta, received) = self.receive(from, frames, permit).await?;
        // Before the library hears of it: what it once takes must come in force. Of what is applied
        // here already it takes nothing, and says so: a leader that has forgotten how far this node
        // is sends its newest snapshot, and goes on from there.
        if !self.judge.has_applied(&meta) {
            let judged = self
                .judge
                .judge(received.generation(), &meta, Depth::Everything);
            if let Err(error) = judged.await {
                return Err(self.not_taken(from, error));
            }
        }
        let snapshot = openraft::storage::Snapshot {
            meta,
            snapshot: SnapshotData::Received(received),
        };
        let installed = self.raft.install_full_snapshot(vote, snapshot).await;
        let vote = installed.map_err(refused)?.vote;
        Ok(Bytes::from(codec::encode(&vote)))
    }

    /// Why a snapshot was not taken: what is not as it should be is its sender's fault; a ledger
    /// that has left this software behind is nobody's, and one sender's word, which stops no node;
    /// all else is this node's own.
    fn not_taken(&self, from: NodeId, error: StoreError) -> Failure {
        match &error {
            StoreError::Corrupt(_) => self.misconduct().saw(from, Misdeed::BadSnapshot, &error),
            StoreError::Newer(why) => {
                tracing::error!(from = from.get(), %why, "a snapshot is not taken");
            }
            _ => return self.not_stored(error),
        }
        refused(error)
    }

    /// A snapshot could not be stored: a write or sync that failed is final.
    fn not_stored(&self, error: StoreError) -> Failure {
        if !matches!(error, StoreError::Stopped) {
            let what = format!("a snapshot cannot be stored: {error}");
            self.stop.broken(what);
        }
        refused(error)
    }

    async fn receive(
        &self,
        from: NodeId,
        mut frames: Frames,
        permit: InstallPermit,
    ) -> Result<(Vote, SnapshotMeta, Received), Failure> {
        let mut permit = Some(permit);
        let mut header: Option<(Vote, SnapshotMeta)> = None;
        let mut installer: Option<Installer> = None;
        loop {
            let frame = tokio::time::timeout(SNAPSHOT_STALL_MAX, frames.next())
                .await
                .map_err(|_| Failure::Timeout)?
                .ok_or_else(|| refused("the snapshot ended early"))??;
            let Some((kind, content)) = frame.split_first() else {
                return Err(refused("an empty snapshot frame"));
            };
            let content = Bytes::copy_from_slice(content);
            match (*kind, header.is_some(), installer.take()) {
                (FRAME_HEADER, false, None) => {
                    let mut r = Reader::new(&content);
                    let read = Vote::read(&mut r).and_then(|vote| {
                        let meta = SnapshotMeta::read(&mut r)?;
                        Ok((vote, meta))
                    });
                    let (vote, meta) = read.map_err(refused)?;
                    self.own_number(from, speaker(&vote))?;
                    header = Some((vote, meta));
                    let engine = self.engine.clone();
                    let permit = permit.take().expect("there is one header");
                    let begun = self.blocking.run(move || Installer::begin(engine, permit));
                    installer = Some(begun.await.map_err(|error| self.not_stored(error))?);
                }
                (FRAME_PAIRS, true, Some(mut writing)) => {
                    let written = self
                        .blocking
                        .run(move || writing.write(&content).map(|()| writing));
                    installer = Some(written.await.map_err(|error| self.not_taken(from, error))?);
                }
                (FRAME_END, true, Some(writing)) => {
                    let Ok(digest) = content[..].try_into().map(Digest) else {
                        return Err(refused("a snapshot digest is 32 bytes"));
                    };
                    let received = writing.finish(digest);
                    let received = received.map_err(|error| self.not_taken(from, error))?;
                    let (vote, meta) = header.expect("matched on a header being there");
                    return Ok((vote, meta, received));
                }
                _ => return Err(refused("snapshot frames out of order")),
            }
        }
    }
}
