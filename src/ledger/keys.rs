//! KEY: the ledger's keys are changed, by the rules of the evidence crate.
//!
//! Promises: the history is never stored beside the log but read from it, GENESIS and the
//! OK KEY records, whose openings are public and never erased; a key under which a member
//! runs is not retired, and one that is revoked signs nothing any more. Signatures of
//! endorsements were verified before the statement was proposed.

use super::founding::{close_lanes, node_key};
use super::rows::{NodeRow, Row as _, VotersRow};
use super::txn::Txn;
use crate::store::Error;
use crate::store::keys::{StateKey, Table, trailing_u64};
use muniment_evidence::keychange::{Action, KeyDocument, Role};
use muniment_evidence::keys::{KeyHistory, KeyRefusal};
use muniment_evidence::opening::{Document, Opening};
use muniment_evidence::receipt::KEYS_MAX;
use muniment_evidence::record::{Outcome, Reason};

fn change_key(index: u64) -> Vec<u8> {
    StateKey::of(Table::KeyChange).u64(index).build()
}

/// Where the OK KEY records stand: start and end of their rows.
pub fn change_range() -> (Vec<u8>, Vec<u8>) {
    StateKey::of(Table::KeyChange).range()
}

/// The record index in a key of [`change_range`].
pub fn change_index(key: &[u8]) -> Result<u64, Error> {
    trailing_u64(key).ok_or_else(|| Error::corrupt("a key of a KEY record"))
}

/// The history that GENESIS and the KEY records at `changes` make.
pub fn history(
    changes: &[u64],
    document: impl Fn(u64) -> Result<Document, Error>,
) -> Result<KeyHistory, Error> {
    let Document::Genesis(genesis) = document(0)? else {
        return Err(Error::corrupt("record 0 is no GENESIS"));
    };
    let mut history = KeyHistory::founded(&genesis);
    for index in changes {
        let Document::Key(change) = document(*index)? else {
            return Err(Error::corrupt(format!("record {index} is no KEY")));
        };
        history = history
            .changed(*index, &change)
            .map_err(|why| Error::corrupt(format!("KEY record {index}: {why}")))?;
    }
    Ok(history)
}

pub(super) fn applied_history(txn: &Txn<'_>) -> Result<KeyHistory, Error> {
    let rows = txn.scan(&change_range(), KEYS_MAX)?;
    let changes: Result<Vec<u64>, Error> = rows.keys().map(|key| change_index(key)).collect();
    history(&changes?, |index| {
        let key = StateKey::of(Table::Document).u64(index).build();
        let opening = txn
            .get(&key)?
            .ok_or_else(|| Error::corrupt(format!("opening {index} is missing")))?;
        Document::decode(&Opening::decode(&opening)?.bytes)
            .map_err(|error| Error::corrupt(format!("opening {index}: {error}")))
    })
}

pub(super) fn change(
    txn: &mut Txn<'_>,
    document: &KeyDocument,
    index: u64,
) -> Result<Outcome, Error> {
    let history = applied_history(txn)?;
    if history.serial >= KEYS_MAX as u64 {
        return Ok(Outcome::Refused(Reason::KeyChange));
    }
    let refused = |reason| Ok(Outcome::Refused(reason));
    match history.changed(index, document) {
        Ok(_) => {}
        Err(KeyRefusal::Serial { .. }) => return refused(Reason::KeySerial),
        Err(KeyRefusal::Change(_)) => return refused(Reason::KeyChange),
        Err(KeyRefusal::Endorsement(_)) => return refused(Reason::KeyEndorsement),
    }
    let voters = txn
        .row::<VotersRow>(&super::apply::voters_key())?
        .unwrap_or_default();
    for change in &document.changes {
        if change.role != Role::Statement || change.action == Action::Add {
            continue;
        }
        let Some(row) = txn.row::<NodeRow>(&node_key(change.node))? else {
            continue;
        };
        let runs = row.boot.is_some() && row.statement_key == change.key;
        let votes = voters.0.iter().any(|set| set.contains(&change.node));
        if runs && votes && change.action == Action::Retire {
            return refused(Reason::KeyInUse);
        }
    }
    txn.put(change_key(index), Vec::new());
    for change in &document.changes {
        if !change.role.is_nodes() {
            continue;
        }
        let row = txn.row::<NodeRow>(&node_key(change.node))?;
        match (change.action, change.role, row) {
            (Action::Add, Role::Statement, None) => {
                let row = NodeRow {
                    region: change.region.clone(),
                    zone: change.zone.clone(),
                    statement_key: change.key,
                    boot: None,
                    incarnation: [0; 16],
                };
                txn.put_row(node_key(change.node), &row);
            }
            (Action::Retire | Action::Revoke { .. }, Role::Statement, Some(row))
                if row.statement_key == change.key =>
            {
                close_lanes(txn, change.node)?;
            }
            _ => {}
        }
    }
    Ok(Outcome::Ok)
}
