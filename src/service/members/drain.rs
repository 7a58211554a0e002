//! A node is emptied of work before its maintenance.
//!
//! Promises: once the end is said, this node takes no calls, does not lead, and every
//! other voter holds every record and body that it held; it may be stopped without a
//! caller noticing. It goes on voting and learning, and is undone by a restart.

use super::{Progress, Steps, run, standing_of};
use crate::service::{Core, Error, Principal};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Hand-overs that are tried: a follower that was behind catches up in between.
const TRIES_MAX: usize = 20;
const TRY_PAUSE: Duration = Duration::from_millis(500);
/// Others that stand still for this long are not coming.
const STALLED_MAX: Duration = Duration::from_secs(60);
const LOOK_PAUSE: Duration = Duration::from_millis(200);

pub async fn drain(core: &Arc<Core>, _principal: &Principal, node: u64) -> Result<Steps, Error> {
    if node != core.node {
        let Some(peer) = core.group.member(node) else {
            return Err(Error::not_found(format!("member {node}")));
        };
        return Err(Error::Unavailable {
            why: format!("node {node} drains itself: ask it"),
            leader_address: Some(peer.client_address),
        });
    }
    let core = core.clone();
    Ok(run(move |progress| async move {
        core.members.drained.send_replace(true);
        progress.say("drain", format!("node {node} takes no calls any more"));
        if let Err(error) = step_down(&core, &progress).await {
            core.members.drained.send_replace(false);
            return Err(error);
        }
        core.group.step_down();
        let size = core.group.applied().size;
        wait_for_others(&core, size, &progress).await?;
        Ok(format!(
            "every other voter holds the {size} records and their bodies: node {node} may be \
             stopped; it takes calls again when it is started again"
        ))
    }))
}

async fn step_down(core: &Core, progress: &Progress) -> Result<(), Error> {
    for _ in 0..TRIES_MAX {
        if !core.group.is_leader() {
            return Ok(());
        }
        progress.say("transfer", "handing leadership to the best follower");
        core.group.hand_over().await;
        if !core.group.is_leader() {
            return Ok(());
        }
        tokio::time::sleep(TRY_PAUSE).await;
    }
    Err(Error::NotNow {
        reason: "NO_SUCCESSOR",
        detail: "no other voter could take leadership over: is one reachable?".to_owned(),
    })
}

async fn wait_for_others(core: &Core, size: u64, progress: &Progress) -> Result<(), Error> {
    let (mut seen, mut moved, mut said) = (0, Instant::now(), String::new());
    loop {
        let voters = core.group.status().voters;
        let others: Vec<u64> = voters.into_iter().filter(|n| *n != core.node).collect();
        let standings = others.iter().map(|node| standing_of(core, *node));
        let standings = futures::future::join_all(standings).await;
        let lacking = others
            .iter()
            .zip(&standings)
            .filter_map(|(node, standing)| {
                let held = standing.as_ref().map_or(0, |s| s.body_complete);
                (held < size).then(|| format!("node {node} holds {held} of {size}"))
            });
        let lacking: Vec<String> = lacking.collect();
        if lacking.is_empty() {
            return Ok(());
        }
        let sum: u64 = standings.iter().flatten().map(|s| s.body_complete).sum();
        if sum > seen {
            (seen, moved) = (sum, Instant::now());
        }
        let line = lacking.join("; ");
        if moved.elapsed() > STALLED_MAX {
            return Err(Error::NotNow {
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
