//! Exactly once: a lane takes exactly its next seq, and remembers what it took.
//!
//! Promises: every consumed seq leaves exactly one record; the same statement again is
//! answered with what became of it; other bytes under a taken seq are an equivocation; a
//! gap consumes nothing. What is elsewhere called a client session with its table of
//! duplicates (Raft's thesis, 6.3). Leaves signing and resending to `recorder/`.
//!
//! Tests: `src/ledger/tests/scenario_tests.rs`.

use super::outboxes;
use super::rows::{LaneRow, WindowRow};
use super::tables;
use super::txn::Txn;
use crate::domain::command::Answer;
use crate::domain::ids::{NodeId, RecordIndex, Sequence};
use crate::objective::budget;
use crate::store::StoreError;
use muniment_evidence::digest::Digest;
use muniment_evidence::record::Outcome;
use muniment_evidence::statement::{Lane, Statement};

/// Statements of a lane whose outcome is remembered. A recorder has far fewer unresolved
/// (its queue is bounded by the same number), so it always gets its answer.
pub const WINDOW: u64 = budget::UNRESOLVED_MAX as u64;

/// Lanes of one node that its BOOT looks at: its boot lane, the lane of the boot before,
/// and the closed one before that; the lanes of outboxes stand behind them.
const LANES_MAX: usize = 16;

/// Lanes that a node may ever have: an outbox that was lost leaves its own behind.
const LANES_EVER_MAX: usize = 10_000;

/// Whether a statement may be taken.
pub enum Admission {
    Next,
    Not(Answer),
}

pub fn admit(txn: &Txn<'_>, statement: &Statement, hash: &Digest) -> Result<Admission, StoreError> {
    let (node, lane, seq) = (statement.node, statement.lane, statement.seq);
    let row = match txn.row(&tables::lane(node, lane))? {
        Some(row) => row,
        // The boot lane needs no opening act: it begins with the node's first BOOT.
        None if lane == Lane::Boot => LaneRow::default(),
        None => return Ok(Admission::Not(Answer::LaneClosed)),
    };
    if seq < row.next_seq {
        let answer = match txn.row(&tables::window(node, lane, seq))? {
            None => Answer::Forgotten,
            Some(seen) if seen.hash == *hash => Answer::Recorded {
                index: seen.index,
                outcome: seen.outcome,
            },
            Some(_) => Answer::Equivocation,
        };
        return Ok(Admission::Not(answer));
    }
    if row.closed {
        return Ok(Admission::Not(Answer::LaneClosed));
    }
    if seq > row.next_seq {
        let next = row.next_seq;
        return Ok(Admission::Not(Answer::Gap { next }));
    }
    if statement.prev != row.last {
        // The right seq after another past: two histories under one lane.
        return Ok(Admission::Not(Answer::Equivocation));
    }
    if !outboxes::is_as_said(txn, statement, hash)? {
        return Ok(Admission::Not(Answer::Equivocation));
    }
    Ok(Admission::Next)
}

/// Consumes the seq and remembers the outcome.
pub fn take(
    txn: &mut Txn<'_>,
    statement: &Statement,
    hash: Digest,
    index: RecordIndex,
    outcome: Outcome,
) -> Result<(), StoreError> {
    let (node, lane, seq) = (statement.node, statement.lane, statement.seq);
    // Read again: what the statement did may have closed its own lane.
    let row = txn.row(&tables::lane(node, lane))?;
    let next = LaneRow {
        next_seq: seq.next(),
        last: hash,
        closed: row.is_some_and(|row| row.closed),
    };
    txn.put(tables::lane(node, lane), &next);
    let seen = WindowRow {
        hash,
        index,
        outcome,
    };
    txn.put(tables::window(node, lane, seq), &seen);
    if let Some(old) = seq.get().checked_sub(WINDOW) {
        txn.delete(tables::window(node, lane, Sequence::new(old)));
    }
    Ok(())
}

/// Closes the node's strict lane, and forgets what was closed before.
pub fn close(txn: &mut Txn<'_>, node: NodeId) -> Result<(), StoreError> {
    for (key, row) in txn.scan(&tables::lanes(node), LANES_MAX)? {
        let lane = key.lane()?;
        if !matches!(lane, Lane::Strict(_)) {
            continue;
        }
        if row.closed {
            // It was closed two boots ago, and a lane that is not there is as closed.
            forget_window(txn, node, lane)?;
            txn.delete(tables::lane(node, lane));
        } else {
            let closed = LaneRow {
                closed: true,
                ..row
            };
            txn.put(tables::lane(node, lane), &closed);
        }
    }
    Ok(())
}

/// Closes every lane of a node that has left, that of its boots with them: it has no word any
/// more, and gets none again.
pub fn close_all(txn: &mut Txn<'_>, node: NodeId) -> Result<(), StoreError> {
    let boots = txn
        .row(&tables::lane(node, Lane::Boot))?
        .unwrap_or_default();
    txn.put(tables::lane(node, Lane::Boot), &boots);
    for (key, row) in txn.scan(&tables::lanes(node), LANES_EVER_MAX)? {
        let closed = LaneRow {
            closed: true,
            ..row
        };
        txn.put(tables::lane(node, key.lane()?), &closed);
    }
    Ok(())
}

/// Forgets what became of a lane's statements.
pub fn forget_window(txn: &mut Txn<'_>, node: NodeId, lane: Lane) -> Result<(), StoreError> {
    let remembered = txn.scan(&tables::windows(node, lane), WINDOW as usize)?;
    for key in remembered.into_keys() {
        txn.delete(tables::window(node, lane, Sequence::new(key.number()?)));
    }
    Ok(())
}
