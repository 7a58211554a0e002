//! Serving Raft's peers: votes, appends, snapshots, transfers, read index.
//!
//! Promises: a node whose log is below its watermark neither votes nor campaigns; snapshot
//! installs happen one at a time (overlapping ones are refused, the leader tries again): the
//! permit goes with what is received into the library's queue, not with the stream.
//! Leaves other methods to the layers that they are of.

use super::codec::{self, Wire};
use super::group::RaftGroup;
use super::identity;
use super::machine::SnapshotData;
use super::network::{Accepted, FRAME_END, FRAME_HEADER, FRAME_PAIRS};
use super::types::{SnapshotMeta, TypeConfig, Vote};
use crate::domain::cause::{AnyError, Cause};
use crate::store::snapshot::{InstallPermit, Installer, Received};
use crate::transport::{Failure, Frames, Method};
use bytes::Bytes;
use futures::stream::{self, StreamExt as _};
use muniment_evidence::codec::Reader;
use muniment_evidence::digest::Digest;
use openraft::raft::{AppendEntriesRequest, TransferLeaderRequest, VoteRequest};
use std::time::Duration;

/// Without a frame for this long, an incoming snapshot is given up.
const SNAPSHOT_STALL_MAX: Duration = Duration::from_secs(60);

fn refused(why: impl Into<Box<AnyError>>) -> Failure {
    Failure::Refused(Cause::new(why))
}

fn read<T: Wire>(body: &[u8]) -> Result<T, Failure> {
    codec::decode(body).map_err(refused)
}

impl RaftGroup {
    /// Answers a call of one of Raft's methods.
    pub async fn serve_call(&self, method: Method, body: Bytes) -> Result<Bytes, Failure> {
        let answer = match method {
            Method::Vote => {
                self.may_vote()?;
                let request: VoteRequest<TypeConfig> = read(&body)?;
                let answer = self.raft.vote(request).await.map_err(refused)?;
                return Ok(self.show(&codec::encode(&answer)));
            }
            Method::PreVote => {
                self.may_vote()?;
                let request: VoteRequest<TypeConfig> = read(&body)?;
                let answer = self.raft.pre_vote(request).await.map_err(refused)?;
                return Ok(self.show(&codec::encode(&answer)));
            }
            Method::TransferLeader => {
                self.may_vote()?;
                let request: TransferLeaderRequest<TypeConfig> = read(&body)?;
                let taken = self.raft.handle_transfer_leader(request).await;
                let accepted = Accepted(taken.map_err(refused)?.is_ok());
                return Ok(self.show(&codec::encode(&accepted)));
            }
            Method::ReadIndex => {
                let index = self.leader_read_index().await.map_err(refused)?;
                index.get().to_be_bytes().to_vec()
            }
            Method::StrangeDisk => {
                self.recognise_self(&body)?;
                Vec::new()
            }
            _ => return Err(refused("not a call of Raft")),
        };
        Ok(Bytes::from(answer))
    }

    fn show(&self, answer: &[u8]) -> Bytes {
        identity::show(self.disks.own(), answer)
    }

    /// A peer says by which disk the ledger knows this node: if by another, this one is
    /// new, and the node ends.
    fn recognise_self(&self, told: &[u8]) -> Result<(), Failure> {
        let known = identity::told(told).map_err(refused)?;
        if known != *self.disks.own() {
            let node = self.node();
            let why = format!(
                "this disk is new, but the ledger knows node {node} with another disk; join \
                 under a new id"
            );
            self.stop.broken(why.clone());
            return Err(refused(why));
        }
        Ok(())
    }

    /// The appends of one leader, answered in order, after this node's disk is shown.
    pub fn serve_append(&self, frames: Frames) -> Frames {
        let leader_seen = self.leader_seen.clone();
        // A frame that cannot be read ends the stream: the leader opens another.
        let requests = frames
            .inspect(move |_| {
                *leader_seen.lock().expect("nobody panics with it") =
                    Some(tokio::time::Instant::now());
            })
            .map(|frame| read::<AppendEntriesRequest<TypeConfig>>(&frame?))
            .take_while(|request| std::future::ready(request.is_ok()))
            .filter_map(|request| std::future::ready(request.ok()));
        let answers = self.raft.stream_append(requests.boxed());
        let answers = answers.map(|answer| match answer {
            Ok(answer) => Ok(Bytes::from(codec::encode(&answer))),
            Err(fatal) => Err(refused(fatal)),
        });
        stream::iter([Ok(self.show(&[]))]).chain(answers).boxed()
    }

    /// Receives and installs one snapshot, after this node's disk is shown.
    pub fn serve_snapshot(&self, frames: Frames) -> Result<Frames, Failure> {
        let Some(permit) = self.installs.begin() else {
            return Err(refused("another snapshot is being installed"));
        };
        if !(self.has_disk_space)() {
            return Err(refused("this node's disk is nearly full"));
        }
        let (group, greeting) = (self.clone(), self.show(&[]));
        let installed = async move { group.install(frames, permit).await };
        let answers = stream::iter([Ok(greeting)]).chain(stream::once(installed));
        Ok(answers.boxed())
    }

    async fn install(&self, frames: Frames, permit: InstallPermit) -> Result<Bytes, Failure> {
        let (vote, meta, received) = self.receive(frames, permit).await?;
        let snapshot = openraft::storage::Snapshot {
            meta,
            snapshot: SnapshotData::Received(received),
        };
        let installed = self.raft.install_full_snapshot(vote, snapshot).await;
        let vote = installed.map_err(refused)?.vote;
        Ok(Bytes::from(codec::encode(&vote)))
    }

    async fn receive(
        &self,
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
                    header = Some(read.map_err(refused)?);
                    let engine = self.engine.clone();
                    let permit = permit.take().expect("there is one header");
                    let begun = self.blocking.run(move || Installer::begin(engine, permit));
                    installer = Some(begun.await.map_err(refused)?);
                }
                (FRAME_PAIRS, true, Some(mut writing)) => {
                    let written = self
                        .blocking
                        .run(move || writing.write(&content).map(|()| writing));
                    installer = Some(written.await.map_err(refused)?);
                }
                (FRAME_END, true, Some(writing)) => {
                    let Ok(digest) = content[..].try_into().map(Digest) else {
                        return Err(refused("a snapshot digest is 32 bytes"));
                    };
                    let received = writing.finish(digest).map_err(refused)?;
                    let (vote, meta) = header.expect("matched on a header being there");
                    return Ok((vote, meta, received));
                }
                _ => return Err(refused("snapshot frames out of order")),
            }
        }
    }
}
