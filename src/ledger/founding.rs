//! GENESIS, BOOT, LEADER, MEMBERSHIP: the ledger's own events.
//!
//! Promises: GENESIS founds once, and only what every verifier takes for a beginning; a BOOT closes the node's older strict lanes and opens
//! one of its own; what was due is attested once. Leaves Raft's membership to `raft/`, what a BOOT says
//! of outboxes to [`super::outboxes`], and what else must be so to [`muniment_evidence::rules`].

use super::rows::{LaneRow, NO_INCARNATION, NodeRow};
use super::txn::Txn;
use super::{keys, lanes, outboxes, tables};
use crate::domain::ids::{LogIndex, NodeId, RecordIndex};
use crate::store::StoreError;
use muniment_evidence::genesis::Genesis;
use muniment_evidence::keys::KeyValidity;
use muniment_evidence::opening::{BootDocument, Document, GenesisDocument, Opening};
use muniment_evidence::record::{Outcome, Reason, Record};
use muniment_evidence::statement::Lane;

/// Whether a first record is one that every verifier takes, by the verifier's own rule. The
/// one signature that apply verifies is its founder's: nobody else could answer for it later.
pub fn is_sound(record: &Record, document: &Opening) -> bool {
    let genesis = Genesis {
        record: record.encode().to_vec(),
        opening: document.bytes.clone(),
    };
    let sound = genesis.document();
    sound.is_ok_and(|document| Document::Genesis(document).within_limits().is_ok())
}

pub fn genesis(txn: &mut Txn<'_>, genesis: &GenesisDocument) {
    for member in &genesis.members {
        let row = NodeRow {
            region: member.region.clone(),
            zone: member.zone.clone(),
            statement_key: member.statement_key,
            boot: None,
            incarnation: NO_INCARNATION,
        };
        txn.put(tables::node(member.node), &row);
    }
}

pub fn boot(
    txn: &mut Txn<'_>,
    node: NodeId,
    boot: &BootDocument,
    index: RecordIndex,
) -> Result<Outcome, StoreError> {
    let Some(mut row) = txn.row(&tables::node(node))? else {
        return Ok(Outcome::Refused(Reason::NotFound));
    };
    let keys = keys::applied_history(txn)?;
    let in_force = keys.statement_keys(node).iter().any(|life| {
        life.key == boot.statement_key && life.at_record(index) == KeyValidity::InForce
    });
    if !in_force {
        return Ok(Outcome::Refused(Reason::Malformed));
    }
    if !outboxes::may_say(txn, node, &boot.outboxes)? {
        return Ok(Outcome::Refused(Reason::Malformed));
    }
    row.boot = Some(index);
    row.statement_key = boot.statement_key;
    row.incarnation = boot.incarnation;
    txn.put(tables::node(node), &row);
    lanes::close(txn, node)?;
    let own = tables::lane(node, Lane::Strict(index));
    txn.put(own, &LaneRow::default());
    outboxes::take(txn, node, &boot.outboxes, index)?;
    Ok(Outcome::Ok)
}

/// What was due is attested.
pub fn attest(txn: &mut Txn<'_>, log_index: LogIndex) {
    txn.delete(tables::due(log_index));
}
