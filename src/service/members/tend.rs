//! What an earlier leader, or a lost answer, has left in preparation is ended.
//!
//! Promises: while this node leads, a change that is in preparation and that nobody here
//! carries through is done if Raft has changed, gone on with for a while otherwise, and
//! then given up.

use super::change::{self, Patience, Stuck};
use super::{Progress, STEPS_AHEAD};
use crate::service::Core;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// Of what somebody else began: whoever asked for it may ask again.
const PATIENCE: Patience = Patience {
    whole: Duration::from_secs(5 * 60),
    stalled: Duration::from_secs(15),
};
/// Between two looks: a change that is left is rare, and hurries nobody.
const LOOK_PAUSE: Duration = Duration::from_secs(1);

/// Tends for as long as the node runs.
pub async fn tend(core: Arc<Core>) {
    let stop = core.stop.clone();
    tokio::select! {
        () = look(&core) => {}
        _ = stop.stopped() => {}
    }
}

async fn look(core: &Core) {
    loop {
        tokio::time::sleep(LOOK_PAUSE).await;
        if !core.group.is_leader() || core.group.roles().preparing.is_none() {
            continue;
        }
        let Ok(_turn) = core.members.changing.clone().try_lock_owned() else {
            continue;
        };
        if let Err(error) = end(core).await {
            tracing::warn!(%error, "a change of the members is left in preparation");
        }
    }
}

async fn end(core: &Core) -> Result<(), crate::service::Error> {
    let booted = core.booted()?;
    let (_, row) = change::look(core).await?;
    let Some(preparing) = row.preparing else {
        return Ok(());
    };
    tracing::info!(
        number = preparing.number,
        prepared = preparing.index,
        "going on with a change of the members"
    );
    // Nobody listens but the log.
    let (sender, _unread) = mpsc::channel(STEPS_AHEAD);
    let progress = Progress(sender);
    let leaves = !preparing.target.voters.contains(&core.node);
    let carried = match leaves {
        true if preparing.from.contains(&core.node) => {
            core.group.hand_over().await;
            Err(Stuck::Leave(
                core.unavailable("handed over: this node leaves"),
            ))
        }
        _ => change::carry(core, &preparing, None, PATIENCE, &progress).await,
    };
    change::conclude(core, &booted, &preparing, carried, &progress).await
}
