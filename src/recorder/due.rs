//! LEADER and MEMBERSHIP: what apply noted as due, attested by the leader's recorder.
//!
//! Promises: a new leader starts with what is due, and goes on for as long as the node runs:
//! a recorder that is full is waited for; an item is attested once, since apply refuses a
//! second. Leaves noting to apply.

use super::lane::Recorder;
use super::{Intent, RecorderError};
use crate::domain::ids::{LogIndex, NodeId};
use crate::ledger::rows::DueRow;
use crate::ledger::state::State;
use crate::raft::group::RaftGroup;
use crate::raft::reader::ReadBarrier;
use crate::store::{Blocking, StoreError};
use muniment_evidence::opening::{Document, LeaderDocument, MembershipDocument};
use std::time::Duration;

/// Items taken up at a time: elections and membership changes are rare.
const ITEMS_MAX: usize = 64;
/// One wait for a read index; a leader without a quorum has nothing to attest yet.
const ROUND: Duration = Duration::from_secs(2);
/// Pause before a full recorder is asked again.
const FULL_PAUSE: Duration = Duration::from_millis(200);

/// Attests for as long as the node runs; ends only when that stops, or with a fault of
/// storage.
pub async fn attest(
    recorder: Recorder,
    group: RaftGroup,
    reader: ReadBarrier,
    state: State,
    blocking: Blocking,
) -> Result<(), StoreError> {
    let mut seen = None;
    loop {
        seen = Some(group.leadership_changed(seen).await);
        while group.is_leader() {
            if reader.linearizable(ROUND).await.is_err() {
                continue;
            }
            let reading = state.clone();
            let due = blocking.run(move || reading.read(|tables| tables.due(ITEMS_MAX)));
            let due = due.await?;
            if due.is_empty() {
                break;
            }
            for (log_index, row) in due {
                let document = document(group.node(), log_index, row);
                match recorder.record(Intent::system(document)).await {
                    Ok(_) => {}
                    // What is due is read again, in case another leader has attested it.
                    Err(RecorderError::Full) => {
                        tokio::time::sleep(FULL_PAUSE).await;
                        break;
                    }
                    Err(RecorderError::Stopped) => return Ok(()),
                }
            }
        }
    }
}

fn document(node: NodeId, log_index: LogIndex, row: DueRow) -> Document {
    match row {
        DueRow::Leader { term } => Document::Leader(LeaderDocument {
            term,
            leader: node,
            log_index,
        }),
        DueRow::Membership { voters, learners } => Document::Membership(MembershipDocument {
            log_index,
            voters,
            learners,
        }),
    }
}
