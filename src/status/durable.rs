//! Waiting until an entry, and the bodies it names, are as durable as a level asks.
//!
//! Raft commits on any majority; a level may request for more places than every majority has.
//! The leader knows how far each member has flushed its log, and from statuses up to
//! where each holds every body. Promises: a node counts only when its log is flushed past
//! the entry and it signed for the body or its body-complete index covers the record; what
//! was reached is never unreached. A level is a function of members, flushed logs and
//! holdings alone. Leaves what to tell the caller to `service/levels`.

use super::messages::{DurabilityReply, DurabilityRequest};
use super::table::{StatusSource, StatusTable};
use crate::domain::ids::NodeId;
use crate::objective::write::meets;
use crate::transport::{Class, Failure, Method};
use bytes::Bytes;
use futures::StreamExt as _;
use std::time::Duration;
use tokio::time::Instant;

/// The longest that one question may wait at the leader; whoever waits longer asks again.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// For the way to the leader and back.
const CALL_EXTRA: Duration = Duration::from_millis(500);
/// Pause before the next leader is asked.
const AGAIN_PAUSE: Duration = Duration::from_millis(50);

impl StatusTable {
    /// Waits here or at the leader until the level is reached or the time is over; says
    /// what was reached by then. Without a leader nothing can be said.
    pub async fn wait_durable(
        &self,
        mut request: DurabilityRequest,
        deadline: Instant,
    ) -> DurabilityReply {
        let group = &self.context().group;
        let mut reached = DurabilityReply::default();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            request.wait_ms = left.min(WAIT_MAX).as_millis() as u64;
            let answer = match group.leader() {
                Some((leader, _)) if leader == group.node() => self.reach(request.clone()).await,
                Some((leader, peer)) => {
                    let body = Bytes::from(request.encode());
                    let limit = Duration::from_millis(request.wait_ms) + CALL_EXTRA;
                    let (class, method) = (Class::Control, Method::Durable);
                    let transport = &self.context().transport;
                    let call = transport.call(peer.destination(leader), class, method, body, limit);
                    call.await
                        .and_then(|answer| DurabilityReply::decode(&answer))
                }
                None => Err(Failure::Unreachable("no leader is known".into())),
            };
            match answer {
                Ok(answer) => reached = answer,
                Err(failure) => tracing::debug!(%failure, "durability is not known yet"),
            }
            if reached.met || Instant::now() + AGAIN_PAUSE >= deadline {
                return reached;
            }
            tokio::time::sleep(AGAIN_PAUSE).await;
        }
    }

    /// The leader's side.
    pub(super) async fn reach(
        &self,
        request: DurabilityRequest,
    ) -> Result<DurabilityReply, Failure> {
        let deadline = Instant::now() + Duration::from_millis(request.wait_ms).min(WAIT_MAX);
        let (mut changes, mut known) = (self.context().group.changes(), self.watch());
        loop {
            if !self.context().group.is_leader() {
                return Err(Failure::Refused("not the leader".into()));
            }
            known.mark_unchanged();
            let reached = self.reached(&request);
            if reached.met {
                return Ok(reached);
            }
            tokio::select! {
                changed = changes.next() => {
                    if changed.is_none() {
                        return Err(Failure::Refused("the node is stopping".into()));
                    }
                }
                // The sender lives in `self`.
                _ = known.changed() => {}
                () = tokio::time::sleep_until(deadline) => return Ok(reached),
            }
        }
    }

    fn reached(&self, request: &DurabilityRequest) -> DurabilityReply {
        let raft = self.context().group.status();
        let known = self.known();
        let holds = |node: &NodeId| match request.record {
            None => true,
            Some(record) => {
                request.holders.contains(node)
                    || known.get(node).is_some_and(|seen| {
                        // What a leader before this one told of it is not its word.
                        seen.by == StatusSource::Itself
                            && seen.status.progress.body_complete > record.size_before()
                    })
            }
        };
        let flushed = |node: &NodeId| {
            let matched = raft.matched.get(node).copied().flatten();
            matched.is_some_and(|index| index >= request.raft_index)
        };
        let everyone = raft.members.keys().copied();
        let nodes: Vec<NodeId> = everyone.filter(|n| flushed(n) && holds(n)).collect();
        DurabilityReply {
            met: meets(request.level, &self.context().group.level_members(), &nodes),
            nodes,
        }
    }
}
