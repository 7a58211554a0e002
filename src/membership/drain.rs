//! A node is emptied of work before its maintenance.
//!
//! Promises: once the end is said, this node takes no calls, does not lead, and every
//! other voter holds every record and body that it held; it may be stopped without a
//! caller noticing. It goes on voting and learning, and is undone by a restart.

use super::{ChangeSteps, MembershipChanges, Progress, run};
use crate::domain::call_error::CallError;
use crate::domain::ids::{NodeId, TreeSize};
use std::time::Duration;
use tokio::time::Instant;

/// Hand-overs that are tried: a follower that was behind catches up in between.
const TRIES_MAX: usize = 20;
const TRY_PAUSE: Duration = Duration::from_millis(500);
/// Others that stand still for this long are not coming.
const STALLED_MAX: Duration = Duration::from_secs(60);
const LOOK_PAUSE: Duration = Duration::from_millis(200);

impl MembershipChanges {
    /// Empties this node of work.
    pub async fn drain(&self, node: NodeId) -> Result<ChangeSteps, CallError> {
        if node != self.group().node() {
            let Some(peer) = self.group().member(node) else {
                return Err(CallError::not_found(format!("member {node}")));
            };
            return Err(CallError::Unavailable {
                why: format!("node {node} drains itself: ask it").into(),
                leader_address: Some(peer.client_address),
            });
        }
        let changes = self.clone();
        Ok(run(move |progress| async move {
            changes.0.drained.send_replace(true);
            progress.say("drain", format!("node {node} takes no calls any more"));
            if let Err(error) = changes.step_down(&progress).await {
                changes.0.drained.send_replace(false);
                return Err(error);
            }
            changes.group().step_down();
            let size = changes.group().applied().size;
            changes.wait_for_others(size, &progress).await?;
            Ok(format!(
                "every other voter holds the {size} records and their bodies: node {node} may be \
                 stopped; it takes calls again when it is started again"
            ))
        }))
    }

    async fn step_down(&self, progress: &Progress) -> Result<(), CallError> {
        for _ in 0..TRIES_MAX {
            if !self.group().is_leader() {
                return Ok(());
            }
            progress.say("transfer", "handing leadership to the best follower");
            self.group().hand_over().await;
            if !self.group().is_leader() {
                return Ok(());
            }
            tokio::time::sleep(TRY_PAUSE).await;
        }
        Err(CallError::NotNow {
            reason: "NO_SUCCESSOR",
            detail: "no other voter could take leadership over: is one reachable?".to_owned(),
        })
    }

    async fn wait_for_others(&self, size: TreeSize, progress: &Progress) -> Result<(), CallError> {
        let (mut seen, mut moved, mut said) = (0, Instant::now(), String::new());
        loop {
            let voters = self.group().status().voters;
            let others: Vec<NodeId> = voters
                .into_iter()
                .filter(|n| *n != self.group().node())
                .collect();
            let statuses = others.iter().map(|node| self.0.parts.status.ask(*node));
            let statuses = futures::future::join_all(statuses).await;
            let lacking = others.iter().zip(&statuses).filter_map(|(node, status)| {
                let held = status
                    .as_ref()
                    .map_or(TreeSize::EMPTY, |s| s.progress.body_complete);
                (held < size).then(|| format!("node {node} holds {held} of {size}"))
            });
            let lacking: Vec<String> = lacking.collect();
            if lacking.is_empty() {
                return Ok(());
            }
            let sum: u64 = statuses
                .iter()
                .flatten()
                .map(|s| s.progress.body_complete.get())
                .sum();
            if sum > seen {
                (seen, moved) = (sum, Instant::now());
            }
            let line = lacking.join("; ");
            if moved.elapsed() > STALLED_MAX {
                return Err(CallError::NotNow {
                    reason: "OTHERS_BEHIND",
                    detail: format!("drained, but stopping it now would cost copies: {line}"),
                });
            }
            if line != said {
                progress.say("copies", line.clone());
                said = line;
            }
            tokio::time::sleep(LOOK_PAUSE).await;
        }
    }
}
