//! Writes: how a call gets its statement recorded, and waits for it.
//!
//! Promises: nothing is recorded before this node has booted; what is answered as
//! recorded is applied here; what takes longer than a call may is not undone, and its
//! outcome is said to be unknown. Leaves numbering, signing and sending to [`super::lane`].

use super::booted::Booted;
use super::{Intent, Recorded, RecorderError};
use crate::domain::call_error::CallError;
use crate::raft::group::RaftGroup;
use crate::raft::reads::APPLY_MAX;
use std::time::Duration;
use tokio::sync::watch;

/// See the module. Cheap to clone.
#[derive(Clone)]
pub struct Writes {
    pub group: RaftGroup,
    /// What this node has booted into, once it has.
    pub booted: watch::Receiver<Option<Booted>>,
    /// How long a call waits for its record.
    pub record_max: Duration,
}

impl Writes {
    /// The recorder, or why there is none yet.
    pub fn booted(&self) -> Result<Booted, CallError> {
        let booted = self.booted.borrow().clone();
        booted.ok_or_else(|| {
            self.group
                .unavailable("this node has not booted into a ledger yet")
        })
    }

    /// Records and waits until the record is applied here too. What takes longer than a
    /// request may is not undone: its outcome is unknown to the caller, who asks again.
    pub async fn record(&self, booted: &Booted, intent: Intent) -> Result<Recorded, CallError> {
        let unavailable = |why: &str| Err(self.group.unavailable(why));
        let recorded = tokio::time::timeout(self.record_max, booted.recorder.record(intent)).await;
        let recorded = match recorded {
            Ok(Ok(recorded)) => recorded,
            Ok(Err(RecorderError::Full)) => {
                return Err(CallError::exhausted("the recorder's queue is full"));
            }
            Ok(Err(RecorderError::Stopped)) => {
                return unavailable("the node is stopping; the outcome is unknown");
            }
            Err(_) => {
                return unavailable(
                    "no quorum answered in time; the outcome is unknown: make the same call \
                     again to learn it",
                );
            }
        };
        if !self
            .group
            .wait_size(recorded.index.next().size_before(), APPLY_MAX)
            .await
        {
            return unavailable("this replica lags behind; make the same call again");
        }
        Ok(recorded)
    }
}
