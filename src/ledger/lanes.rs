//! Exactly once: a lane takes exactly its next seq, and remembers what it took.
//!
//! Promises: every consumed seq leaves exactly one record; the same statement again is
//! answered with what became of it; other bytes under a taken seq are an equivocation; a
//! gap consumes nothing. Leaves signing and resending to `recorder/`.

use super::rows::{LaneRow, WindowRow};
use super::txn::Txn;
use crate::domain::command::Answer;
use crate::objective::budget;
use crate::store::Error;
use crate::store::keys::{StateKey, Table};
use muniment_evidence::digest::Digest;
use muniment_evidence::record::Outcome;
use muniment_evidence::statement::{Lane, Statement};

/// Statements of a lane whose outcome is remembered. A recorder has far fewer unresolved
/// (its queue is bounded by the same number), so it always gets its answer.
pub const WINDOW: u64 = budget::UNRESOLVED_MAX as u64;

/// Whether a statement may be taken.
pub enum Admission {
    Next,
    Not(Answer),
}

pub fn lane_key(node: u64, lane: Lane) -> Vec<u8> {
    lane_part(Table::Lane, node, lane).build()
}

/// All lanes of a node.
pub fn lanes_of(node: u64) -> (Vec<u8>, Vec<u8>) {
    StateKey::of(Table::Lane).u64(node).range()
}

pub fn window_key(node: u64, lane: Lane, seq: u64) -> Vec<u8> {
    lane_part(Table::LaneWindow, node, lane).u64(seq).build()
}

/// What is remembered of a lane.
pub fn window_of(node: u64, lane: Lane) -> (Vec<u8>, Vec<u8>) {
    lane_part(Table::LaneWindow, node, lane).range()
}

/// The lane in a key made by [`lane_key`].
pub fn lane_of_key(key: &[u8]) -> Option<Lane> {
    let (kind, id) = key.get(9..)?.split_first()?;
    Lane::from_code(*kind, u64::from_be_bytes(id.try_into().ok()?))
}

pub fn admit(txn: &Txn<'_>, statement: &Statement, hash: &Digest) -> Result<Admission, Error> {
    let (node, lane, seq) = (statement.node, statement.lane, statement.seq);
    let row: LaneRow = match txn.row(&lane_key(node, lane))? {
        Some(row) => row,
        // The boot lane needs no opening act: it begins with the node's first BOOT.
        None if lane == Lane::Boot => LaneRow::default(),
        None => return Ok(Admission::Not(Answer::LaneClosed)),
    };
    if seq < row.next_seq {
        let answer = match txn.row::<WindowRow>(&window_key(node, lane, seq))? {
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
    Ok(Admission::Next)
}

/// Consumes the seq and remembers the outcome.
pub fn take(
    txn: &mut Txn<'_>,
    statement: &Statement,
    hash: Digest,
    index: u64,
    outcome: Outcome,
) -> Result<(), Error> {
    let (node, lane, seq) = (statement.node, statement.lane, statement.seq);
    // Read again: what the statement did may have closed its own lane.
    let row = txn.row::<LaneRow>(&lane_key(node, lane))?;
    let next = LaneRow {
        next_seq: seq + 1,
        last: hash,
        closed: row.is_some_and(|row| row.closed),
    };
    txn.put_row(lane_key(node, lane), &next);
    let seen = WindowRow {
        hash,
        index,
        outcome,
    };
    txn.put_row(window_key(node, lane, seq), &seen);
    if let Some(old) = seq.checked_sub(WINDOW) {
        txn.delete(window_key(node, lane, old));
    }
    Ok(())
}

fn lane_part(table: Table, node: u64, lane: Lane) -> StateKey {
    let (kind, id) = lane.code();
    StateKey::of(table).u64(node).u8(kind).u64(id)
}
