//! KEY: the ledger's keys are changed, by the rules of the evidence crate.
//!
//! Promises: the history is never stored beside the log but read from it, GENESIS and the
//! OK KEY records, whose openings are public and never erased; a key under which a member
//! runs is not retired, and one that is revoked signs nothing any more. Who may endorse, and
//! whether they have, is the verifier's own rule, signatures and all.

use super::lanes;
use super::rows::{NO_INCARNATION, NodeRow};
use super::tables::{self, FoundKey};
use super::txn::Txn;
use crate::domain::ids::RecordIndex;
use crate::store::StoreError;
use muniment_evidence::keychange::{Action, KeyDocument, Role};
use muniment_evidence::keys::KeyHistory;
use muniment_evidence::opening::Document;
use muniment_evidence::receipt::KEYS_MAX;
use muniment_evidence::record::{Outcome, Reason};

/// The history that GENESIS and the KEY records at `changes` make.
pub fn history(
    changes: &[RecordIndex],
    document: impl Fn(RecordIndex) -> Result<Document, StoreError>,
) -> Result<KeyHistory, StoreError> {
    let Document::Genesis(genesis) = document(RecordIndex::FIRST)? else {
        return Err(StoreError::corrupt("record 0 is no GENESIS"));
    };
    let mut history = KeyHistory::founded(&genesis);
    for index in changes {
        let Document::Key(change) = document(*index)? else {
            return Err(StoreError::corrupt(format!("record {index} is no KEY")));
        };
        history = history
            .changed(*index, &change)
            .map_err(|refusal| StoreError::corrupt_in(format!("KEY record {index}"), refusal))?;
    }
    Ok(history)
}

pub(super) fn applied_history(txn: &Txn<'_>) -> Result<KeyHistory, StoreError> {
    let rows = txn.scan(&tables::key_changes(), KEYS_MAX)?;
    let changes: Result<Vec<RecordIndex>, StoreError> = rows.keys().map(FoundKey::record).collect();
    history(&changes?, |index| {
        let opening = txn
            .row(&tables::document(index))?
            .ok_or_else(|| StoreError::corrupt(format!("opening {index} is missing")))?;
        Document::decode(&opening.bytes)
            .map_err(|error| StoreError::corrupt_in(format!("opening {index}"), error))
    })
}

/// What a change that is believed leaves behind, unless it retires the key of a member that runs.
pub(super) fn change(
    txn: &mut Txn<'_>,
    document: &KeyDocument,
    index: RecordIndex,
) -> Result<Outcome, StoreError> {
    let voters = txn.row(&tables::voters())?.unwrap_or_default();
    for change in &document.changes {
        if change.role != Role::Statement || change.action == Action::Add {
            continue;
        }
        let Some(row) = txn.row(&tables::node(change.node))? else {
            continue;
        };
        let runs = row.boot.is_some() && row.statement_key == change.key;
        let votes = voters.0.iter().any(|set| set.contains(&change.node));
        if runs && votes && matches!(change.action, Action::Retire { .. }) {
            return Ok(Outcome::Refused(Reason::KeyInUse));
        }
    }
    txn.put(tables::key_change(index), &());
    for change in &document.changes {
        if !change.role.is_nodes() {
            continue;
        }
        let row = txn.row(&tables::node(change.node))?;
        match (change.action, change.role, row) {
            (Action::Add, Role::Statement, None) => {
                let row = NodeRow {
                    region: change.region.clone(),
                    zone: change.zone.clone(),
                    statement_key: change.key,
                    boot: None,
                    incarnation: NO_INCARNATION,
                };
                txn.put(tables::node(change.node), &row);
            }
            (Action::Retire { .. } | Action::Revoke { .. }, Role::Statement, Some(mut row))
                if row.statement_key == change.key =>
            {
                lanes::close(txn, change.node)?;
                // Its holdings count for nothing until it boots under another key.
                row.boot = None;
                txn.put(tables::node(change.node), &row);
            }
            _ => {}
        }
    }
    Ok(Outcome::Ok)
}
