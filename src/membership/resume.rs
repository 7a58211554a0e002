//! What an earlier leader, or a lost answer, has left in preparation is ended.
//!
//! Promises: while this node leads, a change that is in preparation and that nobody here
//! carries through is done if Raft has changed, gone on with for a while otherwise, and
//! then given up.

use super::change::{ChangeWait, Stuck};
use super::{MembershipChanges, Progress, STEPS_AHEAD};
use crate::domain::call_error::CallError;
use crate::supervise::{self, Life};
use std::time::Duration;
use tokio::sync::mpsc;

/// Of what somebody else began: whoever asked for it may ask again.
const WAIT: ChangeWait = ChangeWait {
    whole: Duration::from_secs(5 * 60),
    stalled: Duration::from_secs(15),
};
/// Between two looks: a change that is left is rare, and hurries nobody.
const LOOK_PAUSE: Duration = Duration::from_secs(1);

impl MembershipChanges {
    /// Ends what was left for as long as the node runs.
    pub fn start_resuming(&self) {
        let changes = self.clone();
        let stop = changes.0.parts.reads.context.stop.clone();
        let resuming = async move { changes.resume().await };
        supervise::keep(
            &stop,
            Life::UntilStopped,
            "changes that were left",
            resuming,
        );
    }

    async fn resume(&self) {
        loop {
            tokio::time::sleep(LOOK_PAUSE).await;
            if !self.group().is_leader() || self.group().roles().preparing.is_none() {
                continue;
            }
            let Ok(_turn) = self.0.changing.clone().try_lock_owned() else {
                continue;
            };
            if let Err(error) = self.end().await {
                tracing::warn!(%error, "a change of the members is left in preparation");
            }
        }
    }

    async fn end(&self) -> Result<(), CallError> {
        let booted = self.0.parts.writes.booted()?;
        let (_, row) = self.look().await?;
        let Some(preparing) = row.preparing else {
            return Ok(());
        };
        tracing::info!(
            number = preparing.number,
            prepared = preparing.index.get(),
            "going on with a change of the members"
        );
        // Nobody listens but the log.
        let (sender, _unread) = mpsc::channel(STEPS_AHEAD);
        let progress = Progress(sender);
        let own = self.group().node();
        let leaves = !preparing.target.voters.contains(&own);
        let carried = match leaves {
            true if preparing.from.contains(&own) => {
                self.group().hand_over().await;
                let why = self.unavailable("handed over: this node leaves");
                Err(Stuck::Leave(why))
            }
            _ => self.carry(&preparing, None, WAIT, &progress).await,
        };
        self.conclude(&booted, &preparing, carried, &progress).await
    }
}
