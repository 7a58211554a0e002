//! Deferred evidence: the promise of a record now, the record later.
//!
//! Promises: nothing is promised unless the statement is durable in this node's outbox,
//! the node can prove that what it serves is no staler than the ledger's bound, and the
//! outbox is within its own; each refusal says which bound it is. Works cut off from the
//! leader. Leaves bytes and lookups to [`super::download`].

use super::Parts;
use crate::domain::call_error::CallError;
use crate::recorder::Intent;
use crate::recorder::booted::Booted;
use crate::recorder::outbox::{OutboxLane, OutboxRefusal, PromisedDelivery};
use muniment_evidence::promise::Promise;
use std::time::Duration;

/// How long a node asks the quorum when it is staler than allowed, before it refuses: a
/// round of a healthy group, and short for the caller of one that is cut off.
const ASK_MAX: Duration = Duration::from_millis(1000);

/// How long a promise may take beyond what an outbox waits while its node runs: a node that is
/// down is back, or its outbox drained or lost on record, within a day.
const PROMISED_WITHIN: Duration = Duration::from_secs(24 * 60 * 60);

/// That a node may promise, and as of when it knows the ledger.
pub(super) struct DeferredPermit {
    outbox: OutboxLane,
    /// On this node's monotonic clock: what was acknowledged before is applied here.
    fresh_at: Duration,
}

impl DeferredPermit {
    /// How stale what was read under this permit is at most.
    pub(super) fn staleness(&self, parts: &Parts) -> Duration {
        parts
            .reads
            .context
            .clock
            .monotonic()
            .saturating_sub(self.fresh_at)
    }
}

/// Asked before anything is looked up, so that the bound covers it.
pub(super) async fn permit(parts: &Parts, booted: &Booted) -> Result<DeferredPermit, CallError> {
    if !parts.deferred.allowed {
        return Err(CallError::NotNow {
            reason: "DEFERRED_NOT_ALLOWED",
            detail: "this ledger allows no deferred evidence (deferred.allowed)".into(),
        });
    }
    let Some(outbox) = booted.outbox.clone() else {
        return Err(CallError::NotNow {
            reason: "FEATURE_LEVEL",
            detail: "when this node started, the ledger's feature level had no outboxes".into(),
        });
    };
    let most = Duration::from_millis(parts.deferred.max_staleness_ms);
    let mut known = fresh_at(parts, most);
    if known.is_none() && parts.reads.reader.linearizable(ASK_MAX).await.is_ok() {
        known = fresh_at(parts, most);
    }
    let fresh_at = known.ok_or_else(|| {
        let now = parts.reads.context.clock.monotonic();
        let stale = match parts.reads.reader.staleness(now) {
            Some(stale) => format!("for {} ms", stale.as_millis()),
            None => "since it started".to_owned(),
        };
        parts.reads.unavailable(format!(
            "no quorum has answered this node {stale}: it may be staler than \
             deferred.max_staleness_ms ({})",
            most.as_millis()
        ))
    })?;
    Ok(DeferredPermit { outbox, fresh_at })
}

/// Until when what is promised now is to be on record.
pub(super) fn deadline_ms(parts: &Parts) -> u64 {
    let waits_ms = parts
        .deferred
        .max_age_ms
        .saturating_add(PROMISED_WITHIN.as_millis() as u64);
    parts.reads.context.clock.now_ms().saturating_add(waits_ms)
}

fn fresh_at(parts: &Parts, most: Duration) -> Option<Duration> {
    let now = parts.reads.context.clock.monotonic();
    let stale = parts.reads.reader.staleness(now)?;
    (stale <= most).then(|| now.saturating_sub(stale))
}

/// Makes the statement durable; it is handed out as the promise.
pub(super) async fn promise(
    parts: &Parts,
    booted: &Booted,
    permit: &DeferredPermit,
    intent: Intent,
) -> Result<(Promise, PromisedDelivery), CallError> {
    let keys = parts.keys.now().await?.unproven();
    let kept = permit.outbox.append(intent).await;
    let kept = kept.map_err(|why| refused(parts, why))?;
    let submission = kept.submission.clone();
    let promise = Promise {
        genesis: (*booted.genesis).clone(),
        keys,
        statement: submission.statement,
        signature: submission.signature,
        document: submission.document,
        actor: submission.actor,
    };
    Ok((promise, kept))
}

fn refused(parts: &Parts, why: OutboxRefusal) -> CallError {
    match why {
        OutboxRefusal::Full(most) => CallError::exhausted(format!(
            "{most} releases are promised and not recorded here, as many as may be \
             (deferred.max_pending)"
        )),
        OutboxRefusal::Aged(age) => CallError::exhausted(format!(
            "a promised release has waited {} ms for its record, longer than \
             deferred.max_age_ms ({}) allows",
            age.as_millis(),
            parts.deferred.max_age_ms
        )),
        OutboxRefusal::NoRoom(why) => {
            CallError::exhausted(format!("the outbox has no room on this node's disk: {why}"))
        }
        OutboxRefusal::Leaving => (parts.reads)
            .unavailable("this node is leaving the ledger, and promises nothing any more"),
        OutboxRefusal::Stopped => parts.reads.unavailable("the node is stopping"),
    }
}
