//! How far this replica has applied, and waiting for it.
//!
//! Promises: what is said to be applied can be read here; it goes back only when a
//! snapshot of the leader takes the place of the state. Leaves applying to
//! [`super::machine`].

use super::group::RaftGroup;
use super::machine::{Applied, StateHashes};
use super::types::StoredMembership;
use crate::domain::ids::{LogIndex, TreeSize};
use crate::ledger::roles::ModeRow;
use muniment_evidence::digest::Digest;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;

/// What apply tells of itself. Cheap to clone.
#[derive(Clone)]
pub(super) struct Progress {
    pub applied: watch::Receiver<Applied>,
    pub hashes: Arc<Mutex<StateHashes>>,
    pub members: watch::Receiver<AppliedMembers>,
}

/// Who is a member and what each counts for, as of one applied entry. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct AppliedMembers {
    pub(super) membership: Arc<StoredMembership>,
    pub roles: Arc<ModeRow>,
}

impl RaftGroup {
    pub fn applied(&self) -> Applied {
        *self.progress.applied.borrow()
    }

    /// The rolling state hash after an entry applied here, if it is remembered.
    pub fn state_hash_at(&self, raft_index: LogIndex) -> Option<Digest> {
        let hashes = self.progress.hashes.lock().expect("nobody panics with it");
        hashes.at(raft_index)
    }

    /// Follows what is applied.
    pub fn watch_applied(&self) -> watch::Receiver<Applied> {
        self.progress.applied.clone()
    }

    /// Waits until `raft_index` is applied here; false if that takes too long.
    pub async fn wait_applied(&self, raft_index: LogIndex, limit: Duration) -> bool {
        let mut applied = self.progress.applied.clone();
        let reached = applied.wait_for(|now| now.raft_index >= raft_index);
        matches!(tokio::time::timeout(limit, reached).await, Ok(Ok(_)))
    }

    /// Waits until the evidence log here has at least `size` records.
    pub async fn wait_size(&self, size: TreeSize, limit: Duration) -> bool {
        let mut applied = self.progress.applied.clone();
        let reached = applied.wait_for(|now| now.size >= size);
        matches!(tokio::time::timeout(limit, reached).await, Ok(Ok(_)))
    }
}
