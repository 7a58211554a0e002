//! MODE: who votes and who learns, changed one step at a time (I8).
//!
//! Promises: one change is in preparation at a time; its target is made of nodes that the
//! ledger knows and that never left it, and its new voters have booted; DONE is taken only
//! while the voters in force are the target, in one set; ABORT only while they are what
//! they were; who has left has no lane, and so no word, any more. Leaves carrying bodies and
//! records to who comes in, and Raft's own change, to [`crate::membership`]. Leaves to who leads,
//! and so proposes, that nobody else says how a change ended: it proposes the word of another as
//! refused ([`crate::recorder::intake`]). Apply cannot tell who proposed an entry, and a record
//! that says who leads may never come.

use super::roles::{ModeRow, Preparing, Target, is_only};
use super::rows::VotersRow;
use super::txn::Txn;
use super::{lanes, tables};
use crate::domain::ids::{NodeId, RecordIndex};
use crate::store::StoreError;
use muniment_evidence::mode::Phase;
use muniment_evidence::opening::ModeDocument;
use muniment_evidence::record::{Outcome, Reason};

pub(super) fn roles(txn: &Txn<'_>) -> Result<ModeRow, StoreError> {
    Ok(txn.row(&tables::mode())?.unwrap_or_default())
}

/// Whether the node is one of the voters, in either set while they change.
pub(super) fn votes(txn: &Txn<'_>, node: NodeId) -> Result<bool, StoreError> {
    let voters = txn.row(&tables::voters())?.unwrap_or_default();
    Ok(voters.0.iter().any(|set| set.contains(&node)))
}

pub(super) fn mode(
    txn: &mut Txn<'_>,
    document: &ModeDocument,
    index: RecordIndex,
) -> Result<Outcome, StoreError> {
    let mut row = roles(txn)?;
    let voters = txn.row(&tables::voters())?.unwrap_or_default();
    let left_before = row.gone.len();
    let refused = match document.phase {
        Phase::Prepare => prepare(txn, document, index, &voters, &mut row)?,
        Phase::Done | Phase::Abort => conclude(document, &voters, &mut row),
    };
    if let Some(reason) = refused {
        return Ok(Outcome::Refused(reason));
    }
    txn.put(tables::mode(), &row);
    for node in row.gone.iter().skip(left_before) {
        lanes::close_all(txn, *node)?;
    }
    Ok(Outcome::Ok)
}

/// Why the change may not begin, if it may not.
fn prepare(
    txn: &Txn<'_>,
    document: &ModeDocument,
    index: RecordIndex,
    voters: &VotersRow,
    row: &mut ModeRow,
) -> Result<Option<Reason>, StoreError> {
    let [from] = &voters.0[..] else {
        return Ok(Some(Reason::NotDue));
    };
    if row.preparing.is_some() || document.number != row.next {
        return Ok(Some(Reason::NotDue));
    }
    let target = Target::of(document);
    if !target.is_proper() {
        return Ok(Some(Reason::Malformed));
    }
    for node in target.nodes() {
        let Some(known) = txn.row(&tables::node(node))? else {
            return Ok(Some(Reason::NotFound));
        };
        let comes_in = target.voters.contains(&node) && !from.contains(&node);
        if row.gone.contains(&node) || (comes_in && known.boot.is_none()) {
            return Ok(Some(Reason::NotFound));
        }
    }
    row.preparing = Some(Preparing {
        number: document.number,
        index,
        from: from.clone(),
        target,
    });
    row.next = row.next.saturating_add(1);
    Ok(None)
}

/// Why the change may not end so, if it may not.
fn conclude(document: &ModeDocument, voters: &VotersRow, row: &mut ModeRow) -> Option<Reason> {
    let Some(preparing) = row.preparing.take() else {
        return Some(Reason::NotDue);
    };
    let same = preparing.number == document.number
        && Some(preparing.index) == document.prepared
        && preparing.target == Target::of(document);
    if !same {
        return Some(Reason::NotDue);
    }
    if document.phase == Phase::Abort {
        return (!is_only(voters, &preparing.from)).then_some(Reason::NotDue);
    }
    if !preparing.target.is_in_force(voters) {
        return Some(Reason::NotDue);
    }
    row.gone.extend(preparing.leaving(row));
    row.sync_learners = preparing.target.sync_learners;
    row.async_learners = preparing.target.async_learners;
    None
}
