//! Status: how this node is, and how it sees the others; and handing leadership over.
//!
//! Promises: status is this node's own view and never waits for another.

use super::Parts;
use crate::domain::call_error::CallError;
use crate::domain::draft::bad;
use crate::domain::ids::{LogIndex, NodeId, TreeSize};
use crate::ledger::rows::LedgerHead;
use crate::misconduct::MisdeedCount;
use crate::objective::disk::evidence_reserve;
use crate::objective::lag::Lag;
use crate::objective::loss::{Holder, Loss, by_zone};
use crate::objective::write::WriteLevel;
use crate::raft::group::RaftGroup;
use crate::raft::status::GroupStatus;
use crate::status::messages::NodeStatus;
use std::time::Duration;

/// A node's view of itself and its group.
pub struct StatusView {
    pub group: GroupStatus,
    /// The status of every node, how old that is, and how far it is behind this one.
    pub statuses: Vec<(NodeStatus, Duration, Lag)>,
    pub zones: Vec<ZoneView>,
    pub write_level: WriteLevel,
    pub head: LedgerHead,
    /// Active operator keys.
    pub operator_keys: usize,
    pub applied_index: LogIndex,
    pub ready: Result<(), Vec<String>>,
    /// What peers did, and how long ago the last time was.
    pub misdeeds: Vec<(MisdeedCount, Duration)>,
}

/// How this node is, and how it sees the others.
pub async fn status(parts: &Parts) -> Result<StatusView, CallError> {
    let group = &parts.reads.context.group;
    let raft = group.status();
    let operator_keys = match parts.writes.booted() {
        Ok(_) => {
            let known = parts.keys.now().await?;
            let operators = known.history.operators.iter();
            operators.filter(|life| life.is_active()).count()
        }
        Err(_) => 0,
    };
    // State hash and applied index belong together: read again if apply moved between.
    loop {
        let before = group.applied();
        let head = parts.reads.read(|tables| tables.head()).await?;
        if group.applied() == before {
            return Ok(StatusView {
                statuses: statuses(parts),
                zones: zones(parts),
                write_level: parts.tenants.default_level(),
                ready: ready(parts),
                misdeeds: misdeeds(parts),
                group: raft,
                head,
                operator_keys,
                applied_index: before.raft_index,
            });
        }
        tokio::task::yield_now().await;
    }
}

fn misdeeds(parts: &Parts) -> Vec<(MisdeedCount, Duration)> {
    let context = &parts.reads.context;
    let now = context.clock.monotonic();
    let seen = context.group.misconduct().seen().into_iter();
    seen.map(|counted| (counted, now.saturating_sub(counted.last)))
        .collect()
}

fn statuses(parts: &Parts) -> Vec<(NodeStatus, Duration, Lag)> {
    let now = parts.reads.context.clock.monotonic();
    let table = &parts.cluster.status;
    let known = table.known().into_values().map(|known| {
        let lag = table.lag(known.status.progress.body_complete);
        (known.status, now.saturating_sub(known.at), lag)
    });
    known.collect()
}

/// A zone: how far it is behind, and what would be lost with it.
pub struct ZoneView {
    pub loss: Loss,
    /// Of the best of its nodes.
    pub behind: Lag,
    pub lost: Lag,
}

/// A node of which nothing newer is known counts as away: it reports ten times as often, and
/// a report that is not answered is made anew after a second.
const HEARD_MAX: Duration = Duration::from_secs(3);

/// One row per zone. A node that has not been heard of for a while counts with what it held
/// then, which does not go away, and not among those that would carry on.
pub fn zones(parts: &Parts) -> Vec<ZoneView> {
    let table = &parts.cluster.status;
    let known = table.known();
    let now = parts.reads.context.clock.monotonic();
    let up = |node: &NodeId| {
        let at = known.get(node).map(|known| known.at);
        at.is_some_and(|at| now.saturating_sub(at) <= HEARD_MAX)
    };
    let complete = |node: &NodeId| known.get(node).map(|k| k.status.progress.body_complete);
    let holders: Vec<Holder> = parts
        .bodies
        .members()
        .into_iter()
        .map(|member| Holder {
            complete: complete(&member.node),
            up: up(&member.node),
            member,
        })
        .collect();
    by_zone(&holders, parts.tenants.default_level())
        .into_iter()
        .map(|loss| {
            let best = loss
                .nodes
                .iter()
                .filter_map(complete)
                .max()
                .unwrap_or(TreeSize::EMPTY);
            ZoneView {
                behind: table.lag(best),
                lost: table.lag(loss.held_elsewhere),
                loss,
            }
        })
        .collect()
}

/// Whether this node may serve, or why not.
pub fn ready(parts: &Parts) -> Result<(), Vec<String>> {
    let mut reasons = Vec::new();
    if parts.writes.booted.borrow().is_none() {
        reasons.push("not booted into a ledger".to_owned());
    }
    if *parts.admission.draining.borrow() {
        reasons.push("stopping".to_owned());
    }
    if *parts.membership.drained().borrow() {
        reasons.push("drained".to_owned());
    }
    if parts.reads.context.group.leader().is_none() {
        reasons.push("no leader is known".to_owned());
    }
    let leaderless_ms = parts.cluster.leader.leaderless().as_millis() as u64;
    if leaderless_ms > parts.cluster.profile.timing().worst_leaderless_ms() {
        reasons.push(format!("no leader has been heard for {leaderless_ms} ms"));
    }
    reasons.extend(parts.keys.reason_not_ready());
    reasons.extend(parts.cluster.peers.reason_not_ready());
    reasons.extend(nearly_full(parts));
    if reasons.is_empty() {
        Ok(())
    } else {
        Err(reasons)
    }
}

/// What is left of the disk is for records and deletes alone: why this node is not ready.
fn nearly_full(parts: &Parts) -> Option<String> {
    let free = parts.bodies.disk_budget.free();
    let least = evidence_reserve(parts.admission.limits.disk_reserve_bytes);
    (free < least).then(|| {
        format!(
            "disk nearly full: {} MiB are free, {} MiB are kept for evidence",
            free >> 20,
            least >> 20
        )
    })
}

/// Hands leadership over to another voter.
pub async fn transfer(group: &RaftGroup, to: NodeId) -> Result<NodeId, CallError> {
    if !group.is_leader() {
        return Err(group.unavailable("only the leader hands leadership over"));
    }
    match group.transfer(to).await {
        Ok(()) => Ok(to),
        Err(why) if !group.status().voters.contains(&to) => Err(bad("to", why.to_string()).into()),
        // It is behind, or did not answer: later it may.
        Err(why) => Err(group.unavailable(why.to_string())),
    }
}
