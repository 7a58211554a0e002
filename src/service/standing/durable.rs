//! Waiting until an entry, and the bodies it names, are as durable as a level asks.
//!
//! Raft commits on any majority; a level may ask for more places than every majority has.
//! The leader knows how far each member has flushed its log, and from standings up to
//! where each holds every body. Promises: a node counts only when its log is flushed past
//! the entry and it signed for the body or its body-complete index covers the record; what
//! was reached is never unreached. A level is a function of members, flushed logs and
//! holdings alone. Leaves what to tell the caller to [`crate::service::levels`].

use super::Standings;
use super::messages::{Ask, Reached};
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

impl Standings {
    /// Waits here or at the leader until the level is reached or the time is over; says
    /// what was reached by then. Without a leader nothing can be said.
    pub async fn wait_durable(&self, mut ask: Ask, deadline: Instant) -> Reached {
        let group = &self.0.means.group;
        let mut reached = Reached::default();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            ask.wait_ms = left.min(WAIT_MAX).as_millis() as u64;
            let answer = match group.leader() {
                Some((leader, _)) if leader == group.node() => self.reach(ask.clone()).await,
                Some((_, peer)) => {
                    let body = Bytes::from(ask.encode());
                    let limit = Duration::from_millis(ask.wait_ms) + CALL_EXTRA;
                    let (class, method) = (Class::Control, Method::Durable);
                    let transport = &self.0.means.transport;
                    let call = transport.call(peer.address, class, method, body, limit);
                    call.await.and_then(|answer| Reached::decode(&answer))
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
    pub(super) async fn reach(&self, ask: Ask) -> Result<Reached, Failure> {
        let deadline = Instant::now() + Duration::from_millis(ask.wait_ms).min(WAIT_MAX);
        let (mut changes, mut board) = (self.0.means.group.changes(), self.0.board.subscribe());
        loop {
            if !self.0.means.group.is_leader() {
                return Err(Failure::Refused("not the leader".into()));
            }
            board.mark_unchanged();
            let reached = self.reached(&ask);
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
                _ = board.changed() => {}
                () = tokio::time::sleep_until(deadline) => return Ok(reached),
            }
        }
    }

    fn reached(&self, ask: &Ask) -> Reached {
        let status = self.0.means.group.status();
        let board = self.0.board.borrow();
        let holds = |node: &u64| match ask.record {
            None => true,
            Some(record) => {
                ask.holders.contains(node)
                    || board
                        .get(node)
                        .is_some_and(|seen| seen.standing.body_complete > record)
            }
        };
        let flushed = |node: &u64| {
            let matched = status.matched.get(node).copied().flatten();
            matched.is_some_and(|index| index >= ask.raft_index)
        };
        let everyone = status.members.keys().copied();
        let nodes: Vec<u64> = everyone.filter(|n| flushed(n) && holds(n)).collect();
        Reached {
            met: meets(ask.level, &self.0.means.group.level_members(), &nodes),
            nodes,
        }
    }
}
