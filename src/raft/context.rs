//! What the tasks and verbs of one node share: its group, its state, and its seams.
//!
//! Promises that no request stops a node by what it asks for: stored data that cannot be read
//! as what it should be is answered as damage. It may lie on every replica alike, and callers
//! would take the same question to one after the other. Leaves finding out which replica is
//! wrong to the comparison of states and roots, which asks a majority.

use super::group::RaftGroup;
use crate::clock::SharedClock;
use crate::domain::call_error::CallError;
use crate::domain::cause::{AnyError, Cause};
use crate::ledger::state::{State, Tables};
use crate::signatures::Signatures;
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
    /// What was verified here.
    pub signatures: Signatures,
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

    /// A request met storage that fails: the node stops, and its callers go elsewhere. What
    /// the engine gives back whole and is not what it should be is told to the caller alone.
    pub fn storage_failed(&self, error: &store::StoreError) -> CallError {
        match error {
            store::StoreError::Stopped => {}
            store::StoreError::Corrupt(why) => {
                tracing::error!(%why, "stored data is damaged under a request");
                return CallError::DataLoss {
                    reason: "STORED_DATA",
                    detail: format!(
                        "what node {} has stored is damaged: {why}",
                        self.group.node()
                    ),
                };
            }
            _ => self
                .stop
                .broken(format!("storage failed under a request: {error}")),
        }
        self.group.unavailable("this node's storage failed")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raft::group_tests::TestCluster;

    /// Callers take a question to the next node when one is gone: a question that stops
    /// whoever is asked would stop them all.
    #[tokio::test(start_paused = true)]
    async fn a_query_that_finds_damage_is_told_so_and_stops_nobody() {
        let cluster = TestCluster::start(1).await;
        let context = cluster.nodes[0].context();
        let read = context.read(|_| Err::<(), _>(store::StoreError::corrupt("a fold")));
        match read.await {
            Err(CallError::DataLoss { reason, detail }) => {
                assert_eq!(reason, "STORED_DATA");
                assert!(detail.contains("a fold"), "{detail}");
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(context.stop.why(), None);
        // A disk that fails is this node's alone.
        let read = context.read(|_| Err::<(), _>(store::StoreError::engine("EIO")));
        assert!(matches!(read.await, Err(CallError::Unavailable { .. })));
        assert!(context.stop.why().is_some());
    }
}
