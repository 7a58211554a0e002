//! Checkpoints as they come, for monitors and witnesses of all kinds.
//!
//! Promises: sizes only grow; a slow reader gets the newest, not all of them; nothing is
//! sent while nothing changes.

use super::{Core, Error, Principal, prove};
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
pub struct Wanted {
    pub above_size: u64,
    pub every: Option<Duration>,
    /// Only those that members have cosigned.
    pub cosigned: bool,
}

/// Sizes and notes.
pub type Notes = BoxStream<'static, Result<(u64, String), Error>>;

pub fn watch(core: Arc<Core>, _principal: &Principal, wanted: Wanted) -> Result<Notes, Error> {
    let booted = core.booted()?;
    let every = wanted.every.unwrap_or(EVERY).max(EVERY_MIN);
    let state = (core, booted, wanted.above_size, false);
    let notes = stream::try_unfold(state, move |(core, booted, above, paused)| async move {
        if paused {
            tokio::time::sleep(every).await;
        }
        let note = if wanted.cosigned {
            match core.cosigned.next_above(above).await {
                Some(note) => note,
                None => return Ok(None),
            }
        } else {
            let mut applied = core.group.watch_applied();
            // The stream ends with its caller or the node.
            if applied.wait_for(|now| now.size > above).await.is_err() {
                return Ok(None);
            }
            prove::newest(&core, &booted).await?
        };
        let size = Note::parse(note.as_bytes())
            .and_then(|note| Checkpoint::parse(&note.text))
            .map_err(|error| core.unavailable(error.to_string()))?
            .size;
        Ok(Some(((size, note), (core, booted, size, true))))
    });
    Ok(notes.boxed())
}
