//! Writes: how a call gets its statement recorded, and waits for it.
//!
//! Promises: nothing is recorded before this node has booted; what is answered as
//! recorded is applied here; what takes longer than a call may is not undone, and its
//! outcome is said to be unknown. Leaves numbering, signing and sending to [`super::lane`].

use super::booted::Booted;
use super::download_ends::{RecordedDownload, record_download};
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
        let recorded = self.in_time(booted.recorder.record(intent)).await?;
        self.applied(recorded).await?;
        Ok(recorded)
    }

    /// The same for a download, which ends when what is returned is dropped; with no bytes if
    /// its caller has gone before. `None` where the outcome is not OK.
    pub async fn record_download(
        &self,
        booted: &Booted,
        tenant: String,
        intent: Intent,
    ) -> Result<(Recorded, Option<RecordedDownload>), CallError> {
        let (recorder, ends) = (booted.recorder.clone(), booted.download_ends.clone());
        let recording = self.in_time(record_download(recorder, ends, tenant, intent));
        let (recorded, download) = recording.await?;
        self.applied(recorded).await?;
        Ok((recorded, download))
    }

    async fn in_time<T>(
        &self,
        recording: impl Future<Output = Result<T, RecorderError>>,
    ) -> Result<T, CallError> {
        let unavailable = |why: &str| Err(self.group.unavailable(why));
        match tokio::time::timeout(self.record_max, recording).await {
            Ok(Ok(recorded)) => Ok(recorded),
            Ok(Err(RecorderError::Full)) => {
                Err(CallError::exhausted("the recorder's queue is full"))
            }
            Ok(Err(RecorderError::Stopped)) => {
                unavailable("the node is stopping; the outcome is unknown")
            }
            Err(_) => unavailable(
                "no quorum answered in time; the outcome is unknown: make the same call again \
                 to learn it",
            ),
        }
    }

    /// Waits until it is applied here.
    async fn applied(&self, recorded: Recorded) -> Result<(), CallError> {
        let size = recorded.index.next().size_before();
        match self.group.wait_size(size, APPLY_MAX).await {
            true => Ok(()),
            false => {
                let why = "this replica lags behind; make the same call again";
                Err(self.group.unavailable(why))
            }
        }
    }
}
