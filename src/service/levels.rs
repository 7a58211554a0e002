//! Write levels kept: nothing is acknowledged before it is where the level says.
//!
//! A commit cannot be undone, so a level that is not reached in time is answered with
//! COMMITTED_BELOW_LEVEL and what was reached; the same call again waits for the rest.
//! Promises: nothing is silently downgraded, and where every majority of the voters meets
//! the level nobody is asked. Leaves the arithmetic to [`crate::objective::write`] and
//! finding out to [`crate::status::durable`].

use super::Parts;
use crate::bodies::Bodies;
use crate::domain::call_error::CallError;
use crate::domain::draft::{BadField, bad};
use crate::domain::ids::{NodeId, RecordIndex};
use crate::objective::write::{WriteLevel, attainable, implied, meets, possible};
use crate::status::messages::DurabilityRequest;
use crate::store;
use std::time::Duration;
use tokio::time::Instant;

/// How long a level is waited for when the caller says nothing: a follower that was away
/// for a restart comes back within it.
const LEVEL_WAIT: Duration = Duration::from_secs(5);
/// The share of the caller's own time that waiting may use: an answer that says what was
/// reached is worth more than a deadline that passes in silence.
const SHARE_OF_TIME_LEFT: f64 = 0.75;

/// How long a caller has.
#[derive(Clone, Copy, Debug, Default)]
pub struct WaitBudget {
    /// As the request says.
    pub level_wait: Option<Duration>,
    /// When the caller gives up by himself.
    pub deadline: Option<Instant>,
}

impl WaitBudget {
    /// Until when a level may be waited for.
    pub(super) fn until(&self) -> Instant {
        self.within(self.level_wait.unwrap_or(LEVEL_WAIT))
    }

    /// Until when something may be waited for that nobody waits for longer than `most`: an
    /// answer comes while the caller still listens.
    pub(super) fn within(&self, most: Duration) -> Instant {
        let now = Instant::now();
        let left = self.deadline.map(|deadline| {
            let left = deadline.saturating_duration_since(now);
            left.mul_f64(SHARE_OF_TIME_LEFT)
        });
        now + left.map_or(most, |left| left.min(most))
    }
}

/// A level that the members could never meet is refused at once, and so is one that those who
/// are left by a change in preparation could not.
pub(super) fn check(bodies: &Bodies, level: WriteLevel) -> Result<(), BadField> {
    let now = bodies.applied_members();
    let target = now.target_members();
    if possible(level, &now.level_members()) && target.is_none_or(|to| possible(level, &to)) {
        return Ok(());
    }
    Err(bad(
        "level",
        format!("{level} cannot be met by the members of this cluster"),
    ))
}

/// What is waited for before something about an invoice of this level is told: the level, or
/// the best that the members can still meet.
pub(super) fn of_invoice(bodies: &Bodies, level: WriteLevel) -> WriteLevel {
    attainable(level, &bodies.members())
}

/// Whether a record made now for what is told about an invoice of this level may reach it:
/// the last one has, or does until then. Nothing is recorded for it. While a node that the
/// level needs is away, repetitions of one call find the record of the first.
pub(super) async fn within_reach(
    parts: &Parts,
    level: WriteLevel,
    until: Instant,
) -> Result<(), CallError> {
    let Some(last) = parts.reads.context.group.applied().size.last() else {
        return Ok(());
    };
    let level = of_invoice(&parts.bodies, level);
    match reach(parts, last, None, level, until).await {
        Err(CallError::BelowLevel {
            index,
            level,
            nodes,
            zones,
        }) => Err(parts.reads.unavailable(format!(
            "{level} is not reached now: record {index} is durable on nodes {nodes:?} in zones \
             {zones:?} only; nothing was recorded for this call"
        ))),
        reached => reached.map(drop),
    }
}

/// The zones of these nodes.
pub(super) fn zones(bodies: &Bodies, nodes: &[NodeId]) -> Vec<String> {
    let members = bodies.members().into_iter();
    let mut zones: Vec<String> = members
        .filter(|member| nodes.contains(&member.node))
        .map(|member| member.zone)
        .collect();
    zones.sort();
    zones.dedup();
    zones
}

/// Waits until record `index`, which is applied here, is durable as the level says, and so
/// is each body that it names: `holders` signed for those; `None` where it names none.
/// Gives the nodes.
pub(super) async fn reach(
    parts: &Parts,
    index: RecordIndex,
    holders: Option<&[NodeId]>,
    level: WriteLevel,
    until: Instant,
) -> Result<Vec<NodeId>, CallError> {
    // One look: members of one moment with the roles of another may imply what neither does.
    let now = parts.reads.context.group.applied_members();
    let members = now.level_members();
    let held = holders.is_none_or(|holders| meets(level, &members, holders));
    // While the members change, they are not those whose majorities commit.
    let settled = now.roles.preparing.is_none();
    if held && settled && implied(level, &members) {
        return Ok(holders.unwrap_or_default().to_vec());
    }
    let raft_index = parts
        .reads
        .read(move |tables| {
            let found = tables.raft_index_of(index)?;
            found.ok_or_else(|| store::StoreError::corrupt(format!("record {index} has no entry")))
        })
        .await?;
    let request = DurabilityRequest {
        raft_index,
        record: holders.map(|_| index),
        holders: holders.unwrap_or_default().to_vec(),
        level,
        wait_ms: 0,
    };
    let reached = parts.cluster.status.wait_durable(request, until).await;
    if reached.met {
        return Ok(reached.nodes);
    }
    Err(CallError::BelowLevel {
        index,
        level: level.to_string(),
        zones: zones(&parts.bodies, &reached.nodes),
        nodes: reached.nodes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_caller_is_answered_well_before_he_gives_up() {
        let now = Instant::now();
        let budget = |wait, left| WaitBudget {
            level_wait: wait,
            deadline: left,
        };
        let second = Duration::from_secs(1);
        assert_eq!(budget(None, None).until(), now + LEVEL_WAIT);
        assert_eq!(budget(Some(second), None).until(), now + second);
        let left = Some(now + 2 * second);
        assert_eq!(budget(None, left).until(), now + second.mul_f64(1.5));
        assert_eq!(budget(Some(second), left).until(), now + second);
        assert_eq!(budget(None, Some(now)).until(), now);
        // What the request says of the level is not about anything else.
        assert_eq!(
            budget(Some(second), left).within(2 * second),
            now + second.mul_f64(1.5)
        );
    }
}
