//! This node's own status, and asking others for theirs.
//!
//! Promises: what is said to be held is never more than what the log is said to have. A
//! status is taken from the node that it is about, on the disk that the ledger knows, and
//! else from nobody; a node on another disk is told. A question is small, urgent traffic and
//! never waits for bulk. Leaves what follows from
//! the answers to [`super::table`] and [`super::peer_monitor`].

use super::disk_health::DiskHealth;
use super::messages::{NodeHealth, NodeIdentity, NodeProgress, NodeStatus};
use super::messages::{StatusReply, StatusRequest};
use super::processes::Processes;
use super::replicas::ReplicaComparison;
use crate::bodies::Bodies;
use crate::domain::cause::Cause;
use crate::domain::ids::{NodeId, TreeSize};
use crate::misconduct::Misdeed;
use crate::raft::context::Context;
use crate::raft::hearing::Unheard;
use crate::recorder::booted::Booted;
use crate::transport::{Class, Destination, Failure, Method};
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// What a node knows of itself.
pub struct OwnParts {
    /// Slow to change: who it is and how it is configured.
    pub identity: NodeIdentity,
    /// Up to which record every body is held here.
    pub complete: watch::Receiver<TreeSize>,
    pub booted: watch::Receiver<Option<Booted>>,
    pub bodies: Bodies,
    pub disk: DiskHealth,
}

/// See the module. Cheap to clone.
#[derive(Clone)]
pub struct OwnStatus(Arc<(Context, OwnParts, ReplicaComparison, Processes)>);

impl OwnStatus {
    pub fn new(context: Context, parts: OwnParts) -> OwnStatus {
        let replicas = ReplicaComparison::new(context.clone());
        OwnStatus(Arc::new((context, parts, replicas, Processes::default())))
    }

    /// The states of the replicas, compared with this node's.
    pub fn replicas(&self) -> &ReplicaComparison {
        &self.0.2
    }

    pub fn context(&self) -> &Context {
        &self.0.0
    }

    pub fn identity(&self) -> &NodeIdentity {
        &self.0.1.identity
    }

    pub fn disk(&self) -> &DiskHealth {
        &self.0.1.disk
    }

    /// Promises of this node that are not recorded yet; `None` before it has booted.
    pub(super) fn promises_waiting(&self) -> Option<u64> {
        let booted = self.0.1.booted.borrow();
        booted.as_ref().map(|booted| booted.promises.waiting())
    }

    /// As it is now.
    pub fn now(&self) -> NodeStatus {
        let (context, parts, replicas, _) = &*self.0;
        // Before the log, so that the index is never beyond it.
        let body_complete = *parts.complete.borrow();
        let applied = context.group.applied();
        let repairs = parts.bodies.repairs.health();
        let (fsync_p99, disk_slow) = parts.disk.now();
        NodeStatus {
            identity: parts.identity.clone(),
            progress: NodeProgress {
                applied_index: applied.raft_index,
                state_hash: applied.state_hash,
                log_size: applied.size,
                body_complete,
            },
            marks: replicas.own_marks(applied.raft_index),
            health: NodeHealth {
                ready: parts.booted.borrow().is_some(),
                fsync_p99,
                disk_slow,
                leaving: context.group.has_stepped_down(),
                disk_free_bytes: parts.bodies.disk_budget.free(),
                bodies_missing: repairs.missing,
                repair_queue: repairs.queue,
                orphan_bytes: parts.bodies.orphan_bytes(),
            },
            clock_ms: context.clock.now_ms(),
        }
    }

    /// Tells a node this one's status and has its own; also says how long that took.
    /// `of_all` asks for every status that the other, which leads, knows.
    pub async fn exchange(
        &self,
        to: Destination,
        of_all: bool,
        limit: Duration,
    ) -> Result<(StatusReply, Duration), Failure> {
        let own = self.now();
        let body = Bytes::from(StatusRequest { own, of_all }.encode());
        let (class, method) = (Class::Control, Method::Status);
        let began = Instant::now();
        let transport = &self.context().transport;
        let call = transport.call(to.clone(), class, method, body, limit);
        let answer = call.await?;
        let took = began.elapsed();
        let reply = StatusReply::decode(&answer)?;
        self.believe(&to, &reply.own).await?;
        Ok((reply, took))
    }

    /// Hears the status that a node tells of itself; an error where it is another node's, or
    /// is told from another disk than the ledger knows. Such a node is told.
    async fn believe(&self, from: &Destination, status: &NodeStatus) -> Result<(), Failure> {
        let group = &self.context().group;
        let told = self.recognise(from.node, status).await;
        if let Err(Unheard::OtherDisk { known, .. }) = &told {
            group.tell_known_disk(from.clone(), *known);
        }
        told.map_err(|unheard| Failure::Refused(Cause::new(unheard)))?;
        if group.member(from.node).is_some() {
            self.replicas().hear(status);
        }
        Ok(())
    }

    /// Whether a status is that of `node`, from the disk that the ledger knows.
    pub(super) async fn recognise(&self, node: NodeId, status: &NodeStatus) -> Result<(), Unheard> {
        let group = &self.context().group;
        group.own_number(node, status.node())?;
        let NodeIdentity {
            incarnation,
            process,
            ..
        } = &status.identity;
        group.disks().recognise(node, incarnation).await?;
        if group.member(node).is_some() && self.0.3.hear(node, *process) {
            let why = "two processes run under its identity: stop both, find out which is the \
                       copy, start the other";
            group.misconduct().saw(node, Misdeed::TwoProcesses, &why);
        }
        Ok(())
    }
}
