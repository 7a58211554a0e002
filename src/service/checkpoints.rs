//! Checkpoints as they come, for monitors and witnesses of all kinds.
//!
//! Promises: sizes only grow; a slow reader gets the newest, not all of them; nothing is
//! sent while nothing changes.

use super::Parts;
use crate::domain::call_error::CallError;
use crate::domain::ids::TreeSize;
use futures::stream::{self, BoxStream, StreamExt as _};
use muniment_evidence::note::{Checkpoint, Note};
use std::sync::Arc;
use std::time::Duration;

/// Between two checkpoints of one stream, when nothing is said.
const EVERY: Duration = Duration::from_secs(1);
/// As often as signing for one reader may go.
const EVERY_MIN: Duration = Duration::from_millis(10);

/// Which checkpoints.
#[derive(Clone, Copy, Debug, Default)]
pub struct CheckpointsWanted {
    pub above_size: TreeSize,
    pub every: Option<Duration>,
    /// Only those that members have cosigned.
    pub cosigned: bool,
}

/// Sizes and notes.
pub type CheckpointStream = BoxStream<'static, Result<(TreeSize, String), CallError>>;

/// Checkpoints from now on.
pub fn watch(parts: Arc<Parts>, wanted: CheckpointsWanted) -> Result<CheckpointStream, CallError> {
    let booted = parts.writes.booted()?;
    let every = wanted.every.unwrap_or(EVERY).max(EVERY_MIN);
    let state = (parts, booted, wanted.above_size, false);
    let notes = stream::try_unfold(state, move |(parts, booted, above, paused)| async move {
        if paused {
            tokio::time::sleep(every).await;
        }
        let note = if wanted.cosigned {
            match parts.cosigning.next_above(above).await {
                Some(note) => note,
                None => return Ok(None),
            }
        } else {
            let mut applied = parts.reads.context.group.watch_applied();
            // The stream ends with its caller or the node.
            if applied.wait_for(|now| now.size > above).await.is_err() {
                return Ok(None);
            }
            parts.keys.sign_head(&booted.origin).await?
        };
        let size = Note::parse(note.as_bytes())
            .and_then(|note| Checkpoint::parse(&note.text))
            .map_err(|error| parts.reads.unavailable(error))?
            .size;
        Ok(Some(((size, note), (parts, booted, size, true))))
    });
    Ok(notes.boxed())
}
