//! Taking inventory before BOOT: which outboxes are there, and which are lost.
//!
//! Promises: each outbox that the node's last BOOT named is reported again; one whose file
//! is gone, damaged, older than the ledger or signed under a key that is no longer
//! trusted is reported as lost, and its file is put aside. A node has one to append to,
//! made before its BOOT names it. Blocking. Leaves deciding on a BOOT to apply.

use crate::clock::Clock;
use crate::domain::ids::{NodeId, OutboxId, Sequence};
use crate::ledger::rows::LaneRow;
use crate::ledger::state::Tables;
use crate::store::StoreError;
use crate::store::outbox::{OutboxDir, OutboxFound, OutboxLog};
use muniment_evidence::key::PublicKey;
use muniment_evidence::opening::BootOutbox;
use muniment_evidence::statement::Lane;

/// What BOOT reports, and what can be gone on with.
pub struct OutboxInventory {
    pub reported: Vec<BootOutbox>,
    /// The first is appended to; others, if any, are only drained.
    pub open: Vec<OutboxLog>,
}

/// See the module.
pub fn take_inventory(
    dir: &OutboxDir,
    tables: &Tables<'_>,
    node: NodeId,
    clock: &dyn Clock,
) -> Result<OutboxInventory, StoreError> {
    let named = tables.outboxes(node)?;
    let history = tables.key_history()?;
    let trusted: Vec<PublicKey> = history
        .statement_keys(node)
        .iter()
        .filter(|life| life.trusted_until.is_none())
        .map(|life| life.key)
        .collect();
    let (mut reported, mut open) = (Vec::new(), Vec::new());
    for (id, lane) in &named {
        match look(dir, *id, lane, &trusted)? {
            Ok(log) => open.push(log),
            Err(why) => {
                tracing::error!(
                    outbox = id.get(),
                    why,
                    "an outbox is LOST: what it had promised and not recorded will never be, \
                     and the next BOOT says so"
                );
                reported.push(BootOutbox {
                    id: *id,
                    next: lane.next_seq,
                    last: lane.last,
                    lost: true,
                });
            }
        }
    }
    // Made for a boot that did not come to its record; or put back by somebody.
    for id in dir.list()? {
        if named.iter().any(|(known, _)| *known == id) {
            continue;
        }
        let lane = tables.lane(node, Lane::Outbox(id))?;
        if lane.is_some() {
            tracing::error!(
                outbox = id.get(),
                "this outbox was reported as lost: put aside"
            );
            dir.set_aside(id)?;
        } else {
            match look(dir, id, &LaneRow::default(), &trusted)? {
                Ok(log) => open.push(log),
                Err(why) => {
                    tracing::error!(outbox = id.get(), why, "an unused outbox is put aside");
                }
            }
        }
    }
    if open.is_empty() {
        let mut id = [0; 8];
        clock.random(&mut id);
        open.push(dir.create(OutboxId::new(u64::from_be_bytes(id)))?);
    }
    reported.extend(open.iter().map(|log| BootOutbox {
        id: log.id(),
        next: log.next(),
        last: log.last(),
        lost: false,
    }));
    Ok(OutboxInventory { reported, open })
}

/// The outbox, or why it is lost; then its file is out of the way.
fn look(
    dir: &OutboxDir,
    id: OutboxId,
    lane: &LaneRow,
    trusted: &[PublicKey],
) -> Result<Result<OutboxLog, String>, StoreError> {
    let why = match dir.open(id)? {
        OutboxFound::Nothing => return Ok(Err("its file is gone".into())),
        OutboxFound::Damaged(why) => why.to_string(),
        OutboxFound::Open(log) if log.hash_before(lane.next_seq) != Some(lane.last) => format!(
            "its file has statements {} to {} and the ledger has others up to {}: the file is \
             not the newest one",
            log.first(),
            log.next(),
            lane.next_seq
        ),
        OutboxFound::Open(log) if !is_trusted(&log, lane.next_seq, trusted) => {
            "it holds statements under a key that is no longer trusted".into()
        }
        OutboxFound::Open(log) => return Ok(Ok(log)),
    };
    dir.set_aside(id)?;
    Ok(Err(why))
}

/// Whether the ledger would believe what is still to be recorded.
fn is_trusted(log: &OutboxLog, from: Sequence, trusted: &[PublicKey]) -> bool {
    log.waiting()
        .iter()
        .filter(|submission| submission.statement.seq >= from)
        .all(|submission| {
            let signed = |key: &PublicKey| submission.statement.verify(key, &submission.signature);
            trusted.iter().any(signed)
        })
}
