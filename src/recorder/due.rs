//! LEADER and MEMBERSHIP: what apply noted as due, attested by the leader's recorder.
//!
//! Promises: a new leader starts with what is due; an item is attested once, since apply
//! refuses a second. Leaves noting to apply.

use super::Intent;
use super::lane::Recorder;
use crate::domain::ids::{LogIndex, NodeId};
use crate::ledger::rows::DueRow;
use crate::ledger::state::State;
use crate::raft::group::RaftGroup;
use crate::raft::reader::ReadBarrier;
use crate::store::Blocking;
use muniment_evidence::opening::{Document, LeaderDocument, MembershipDocument};
use std::time::Duration;

/// Items taken up at a time: elections and membership changes are rare.
const ITEMS_MAX: usize = 64;
/// One wait for a read index; a leader without a quorum has nothing to attest yet.
const ROUND: Duration = Duration::from_secs(2);

/// Attests for as long as the node runs.
pub async fn attest(
    recorder: Recorder,
    group: RaftGroup,
    reader: ReadBarrier,
    state: State,
    blocking: Blocking,
) {
    let mut seen = None;
    loop {
        seen = Some(group.leadership_changed(seen).await);
        while group.is_leader() {
            if reader.linearizable(ROUND).await.is_err() {
                continue;
            }
            let reading = state.clone();
            let due = blocking.run(move || reading.read(|tables| tables.due(ITEMS_MAX)));
            let due = due.await;
            let due = match due {
                Ok(due) if !due.is_empty() => due,
                Ok(_) => break,
                Err(error) => {
                    tracing::error!(%error, "what is due cannot be read");
                    return;
                }
            };
            for (log_index, row) in due {
                let document = document(group.node(), log_index, row);
                if recorder.record(Intent::system(document)).await.is_err() {
                    return;
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
