//! What a BOOT says of its node's outboxes, and the lanes that this opens and closes.
//!
//! Promises: an outbox that was named is named again at every boot, as there or as lost,
//! so that a deleted one always shows; a BOOT never takes back what a lane has recorded, nor
//! what the BOOT before said to come; a lost outbox has a closed lane for ever. Leaves the files to `store/` and the statements
//! to [`super::lanes`].

use super::lanes;
use super::rows::{LaneRow, OutboxRow};
use super::tables;
use super::txn::Txn;
use crate::domain::ids::{NodeId, OutboxId, RecordIndex, Sequence};
use crate::store::StoreError;
use muniment_evidence::digest::Digest;
use muniment_evidence::opening::{BootOutbox, Document, Opening};
use muniment_evidence::statement::{Lane, Statement};
use std::collections::BTreeSet;

pub use muniment_evidence::limits::OUTBOXES_MAX;

/// Whether a BOOT of this node may say this.
pub(super) fn may_say(
    txn: &Txn<'_>,
    node: NodeId,
    named: &[BootOutbox],
) -> Result<bool, StoreError> {
    let ids: BTreeSet<OutboxId> = named.iter().map(|outbox| outbox.id).collect();
    if named.len() > OUTBOXES_MAX || ids.len() != named.len() {
        return Ok(false);
    }
    let known = txn.scan(&tables::outboxes(node), OUTBOXES_MAX)?;
    let known: Result<BTreeSet<OutboxId>, StoreError> = known
        .keys()
        .map(|key| key.number().map(OutboxId::new))
        .collect();
    let known = known?;
    if !known.is_subset(&ids) {
        // One was left out: it may hold what nobody would ever miss.
        return Ok(false);
    }
    for outbox in named {
        let lane = txn.row(&tables::lane(node, Lane::Outbox(outbox.id)))?;
        let begins = outbox.next > Sequence::FIRST || outbox.last == Digest::ZERO;
        let goes_on = lane.is_none_or(|lane| {
            !lane.closed
                && (outbox.next > lane.next_seq
                    || outbox.next == lane.next_seq && outbox.last == lane.last)
        });
        // What was said to be signed is not taken back while it is still to come.
        let behind = lane.map_or(Sequence::FIRST, |lane| lane.next_seq);
        let is_back = said(txn, node, outbox.id)?
            .is_some_and(|said| said.next > behind && outbox.next < said.next);
        let strays = outbox.lost && !known.contains(&outbox.id) || is_back && !outbox.lost;
        if !begins || !goes_on || strays {
            return Ok(false);
        }
    }
    Ok(true)
}

/// What the newest BOOT of the node says of an outbox that is there.
fn said(txn: &Txn<'_>, node: NodeId, id: OutboxId) -> Result<Option<BootOutbox>, StoreError> {
    let Some(row) = txn.row(&tables::outbox(node, id))? else {
        return Ok(None);
    };
    let opening = txn.row(&tables::document(row.boot))?;
    Ok(opening.and_then(|opening| said_in(&opening, id)))
}

/// What a BOOT with this opening says of an outbox.
pub(super) fn said_in(boot: &Opening, id: OutboxId) -> Option<BootOutbox> {
    match Document::decode(&boot.bytes) {
        Ok(Document::Boot(boot)) => boot.outboxes.into_iter().find(|outbox| outbox.id == id),
        _ => None,
    }
}

/// Whether a statement is the one that a BOOT said to be signed, where the BOOT said so: its
/// outbox cannot go on with another.
pub(super) fn is_as_said(
    txn: &Txn<'_>,
    statement: &Statement,
    hash: &Digest,
) -> Result<bool, StoreError> {
    let Lane::Outbox(id) = statement.lane else {
        return Ok(true);
    };
    let said = said(txn, statement.node, id)?;
    Ok(said.is_none_or(|said| said.next != statement.seq.next() || said.last == *hash))
}

/// Opens the lanes of those that are there and closes the lanes of those that are lost.
pub(super) fn take(
    txn: &mut Txn<'_>,
    node: NodeId,
    named: &[BootOutbox],
    index: RecordIndex,
) -> Result<(), StoreError> {
    for outbox in named {
        let lane = Lane::Outbox(outbox.id);
        let row = txn.row(&tables::lane(node, lane))?;
        if !outbox.lost {
            txn.put(tables::outbox(node, outbox.id), &OutboxRow { boot: index });
            if row.is_none() {
                txn.put(tables::lane(node, lane), &LaneRow::default());
            }
            continue;
        }
        txn.delete(tables::outbox(node, outbox.id));
        // The closed row stays, so that the id can never begin anew; what it remembers of
        // its statements goes.
        let closed = LaneRow {
            closed: true,
            ..row.unwrap_or_default()
        };
        txn.put(tables::lane(node, lane), &closed);
        lanes::forget_window(txn, node, lane)?;
    }
    Ok(())
}
