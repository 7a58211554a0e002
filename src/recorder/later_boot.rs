//! Another process that has booted under this node's identity.
//!
//! Two processes with one node's keys, such as a node and a copy of its disk, would each vouch
//! for what only the other holds. The ledger knows them apart by their boots: whoever booted
//! last is the node. Promises: a node that has applied a later BOOT than its own ends within
//! [`LOOK_EVERY`], also one that says nothing, and says which record it was and what to do.
//! Statements of its own were refused by then (`LaneClosed`), so the log is whole. Leaves
//! telling the node from its copy to the operator.

use crate::domain::ids::{NodeId, RecordIndex};
use crate::ledger::state::State;
use crate::stop::Stop;
use crate::store::Blocking;
use std::time::Duration;

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Watches, for as long as the node runs, that the boot of the record `own` is its last.
pub async fn watch(state: State, blocking: Blocking, node: NodeId, own: RecordIndex, stop: Stop) {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let state = state.clone();
        let read = blocking.run(move || state.read(|tables| tables.node(node)));
        let last = match read.await {
            Ok(row) => row.and_then(|row| row.boot),
            Err(error) => {
                stop.broken(format!("this node's boot cannot be read: {error}"));
                return;
            }
        };
        if let Some(later) = last.filter(|last| *last > own) {
            stop.broken(format!(
                "node {node} was booted again, by record {later} after {own}: is another process \
                 running under this node's identity? That one goes on; stop both, find out which \
                 is the copy, and start the other"
            ));
            return;
        }
    }
}
