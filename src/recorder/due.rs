//! LEADER and MEMBERSHIP: what apply noted as due, attested by the leader's recorder.
//!
//! Promises: a new leader starts with what is due, and goes on for as long as the node runs:
//! a recorder that is full is waited for; an item is attested once, since apply refuses a
//! second; a leadership is attested by nobody but who has it, while it has it: a term whose
//! leader has gone before stays without a record. Leaves noting to apply.

use super::lane::Recorder;
use super::{Intent, RecorderError};
use crate::domain::ids::{LogIndex, NodeId, Term};
use crate::ledger::rows::DueRow;
use crate::ledger::state::State;
use crate::raft::group::RaftGroup;
use crate::raft::reader::ReadBarrier;
use crate::store::{Blocking, StoreError};
use muniment_evidence::opening::{Document, LeaderDocument, MembershipDocument};
use muniment_evidence::record::Outcome;
use std::time::Duration;

/// Items taken up at a time: elections and membership changes are rare.
const ITEMS_MAX: usize = 64;
/// One wait for a read index; a leader without a quorum has nothing to attest yet.
const ROUND: Duration = Duration::from_secs(2);
/// Pause before what is due is looked at again: the recorder was full, or it was not due.
const PAUSE: Duration = Duration::from_millis(200);

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
            let own = own(due, group.status().term);
            if own.is_empty() {
                break;
            }
            for (log_index, row) in own {
                let document = document(group.node(), log_index, row);
                match recorder.record(Intent::system(document)).await {
                    Ok(recorded) if recorded.outcome == Outcome::Ok => {}
                    // What is due is read again, in case another leader has attested it.
                    Ok(_) | Err(RecorderError::Full) => {
                        tokio::time::sleep(PAUSE).await;
                        break;
                    }
                    Err(RecorderError::Stopped) => return Ok(()),
                }
            }
        }
    }
}

/// What the leader of this term may attest.
fn own(due: Vec<(LogIndex, DueRow)>, present: Term) -> Vec<(LogIndex, DueRow)> {
    let mut due = due;
    due.retain(|(_, row)| match row {
        DueRow::Leader { term } => *term == present,
        DueRow::Membership { .. } => true,
    });
    due
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

#[cfg(test)]
mod tests {
    use super::*;

    /// In an ordinary failover the next leader finds the term of the one before due: it was
    /// not there, and says nothing of it.
    #[test]
    fn a_leader_attests_its_own_term_and_no_other() {
        let leader = |term| DueRow::Leader {
            term: Term::new(term),
        };
        let members = DueRow::Membership {
            voters: Vec::new(),
            learners: Vec::new(),
        };
        let due = [leader(7), members.clone(), leader(8)];
        let due = due.into_iter().enumerate();
        let due = due.map(|(at, row)| (LogIndex::new(at as u64), row));
        let own = own(due.collect(), Term::new(8));
        let rows: Vec<DueRow> = own.into_iter().map(|(_, row)| row).collect();
        assert_eq!(rows, [members, leader(8)]);
    }
}
