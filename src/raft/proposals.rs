//! Commands into the log, and the answers that apply gave to them.
//!
//! Promises: commands are queued in the order of the calls; what a ticket returns was
//! applied here; an outcome that is unknown is said to be unknown; a read index covers
//! everything acknowledged before it was asked for. Leaves what a command says to
//! `recorder/`, when to ask again to its callers.

use super::group::RaftGroup;
use super::types::{Payload, Peer, TypeConfig};
use crate::domain::command::Answer;
use crate::domain::ids::{LogIndex, NodeId};
use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt as _};
use openraft::errors::{ClientWriteError, ForwardToLeader, LinearizableReadError, RaftError};
use openraft::raft::ReadPolicy;
use std::sync::Arc;

/// Why a proposal or read did not happen here.
#[derive(Clone, Debug, thiserror::Error)]
pub enum GroupRefusal {
    /// Surely not proposed here; the leader, if known.
    #[error("{}", not_leader(.0.as_ref()))]
    NotLeader(Option<(NodeId, Peer)>),
    /// It may or may not take effect.
    #[error("outcome unknown: {0}")]
    Unknown(#[source] Arc<dyn std::error::Error + Send + Sync>),
    #[error("the node is stopping")]
    Stopped,
}

impl GroupRefusal {
    pub(super) fn unknown(
        why: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> GroupRefusal {
        GroupRefusal::Unknown(why.into().into())
    }
}

fn not_leader(leader: Option<&(NodeId, Peer)>) -> String {
    match leader {
        Some((node, _)) => format!("not the leader; node {node} is"),
        None => "no leader is known".to_owned(),
    }
}

/// Where a command went.
#[derive(Clone, Debug)]
pub struct Proposed {
    pub raft_index: LogIndex,
    pub answers: Vec<Answer>,
}

/// Tells what became of a queued command, once it was applied here.
pub struct ProposalTicket(BoxFuture<'static, Result<Proposed, GroupRefusal>>);

impl ProposalTicket {
    pub async fn done(self) -> Result<Proposed, GroupRefusal> {
        self.0.await
    }
}

impl RaftGroup {
    /// Queues an encoded command after all that were queued before it.
    pub async fn queue(&self, command: Bytes) -> Result<ProposalTicket, GroupRefusal> {
        let (responder, receiver) = openraft::impls::ProgressResponder::complete_only();
        let queued = self
            .raft
            .client_write_ff(Payload(command), Some(responder))
            .await;
        queued.map_err(|_| GroupRefusal::Stopped)?;
        Ok(ProposalTicket(
            async move {
                match receiver.await {
                    Ok(Ok(done)) => Ok(Proposed {
                        raft_index: LogIndex::new(done.log_id.index()),
                        answers: done.data.0,
                    }),
                    Ok(Err(ClientWriteError::ForwardToLeader(to))) => {
                        Err(GroupRefusal::NotLeader(leader_of(to)))
                    }
                    Ok(Err(error)) => Err(GroupRefusal::unknown(error)),
                    Err(_) => Err(GroupRefusal::Stopped),
                }
            }
            .boxed(),
        ))
    }

    /// A Raft index such that whoever has applied it misses nothing that was
    /// acknowledged before this call. Asks the quorum; only a leader answers.
    pub async fn leader_read_index(&self) -> Result<LogIndex, GroupRefusal> {
        match self.raft.get_read_log_id(ReadPolicy::ReadIndex).await {
            Ok((read, _)) => Ok(LogIndex::new(read.index())),
            Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(to))) => {
                Err(GroupRefusal::NotLeader(leader_of(to)))
            }
            Err(RaftError::APIError(error)) => Err(GroupRefusal::unknown(error)),
            Err(RaftError::Fatal(_)) => Err(GroupRefusal::Stopped),
        }
    }
}

pub(super) fn leader_of(to: ForwardToLeader<TypeConfig>) -> Option<(NodeId, Peer)> {
    Some((to.leader_id?, to.leader_node?))
}
