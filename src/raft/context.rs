//! What the tasks and verbs of one node share: its group, its state, and its seams.

use super::group::RaftGroup;
use crate::clock::SharedClock;
use crate::domain::call_error::CallError;
use crate::domain::cause::{AnyError, Cause};
use crate::ledger::state::{State, Tables};
use crate::stop::Stop;
use crate::store::{self, Blocking};
use crate::transport::Transport;
use std::sync::Arc;

/// See the module. Cheap to clone.
#[derive(Clone)]
pub struct Context {
    pub group: RaftGroup,
    pub state: State,
    /// Where work that waits for the disk goes.
    pub blocking: Blocking,
    pub clock: SharedClock,
    pub stop: Stop,
    pub transport: Arc<dyn Transport>,
}

impl RaftGroup {
    /// A passing fault, with the leader to try next.
    pub fn unavailable(&self, why: impl Into<Box<AnyError>>) -> CallError {
        CallError::Unavailable {
            why: Cause::new(why),
            leader_address: self.leader().map(|(_, peer)| peer.client_address),
        }
    }
}

impl Context {
    /// Reads the tables off the async workers.
    pub async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Tables<'_>) -> Result<T, store::StoreError> + Send + 'static,
    ) -> Result<T, CallError> {
        let state = self.state.clone();
        let found = self.blocking.run(move || state.read(read)).await;
        found.map_err(|error| self.storage_failed(&error))
    }

    /// Storage that fails or lies is a broken promise: the node stops, and its callers go
    /// elsewhere.
    pub fn storage_failed(&self, error: &store::StoreError) -> CallError {
        if !matches!(error, store::StoreError::Stopped) {
            self.stop
                .broken(format!("storage failed under a request: {error}"));
        }
        self.group.unavailable("this node's storage failed")
    }
}
