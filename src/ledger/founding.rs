//! GENESIS, BOOT, LEADER, MEMBERSHIP: the ledger's own events.
//!
//! Promises: GENESIS founds once; a BOOT closes the node's older strict lanes and opens
//! one of its own; a due item is attested once. Leaves Raft's membership to `raft/`, and
//! what a BOOT says of outboxes to [`super::outboxes`].

use super::apply::due_key;
use super::rows::{DueRow, Head, LaneRow, NodeRow};
use super::txn::Txn;
use super::{keys, lanes, outboxes};
use crate::store::Error;
use crate::store::keys::{StateKey, Table};
use muniment_evidence::keys::KeyValidity;
use muniment_evidence::opening::{
    BootDocument, GenesisDocument, LeaderDocument, MembershipDocument,
};
use muniment_evidence::record::{Outcome, Reason};
use muniment_evidence::statement::Lane;

/// Lanes of one node that a BOOT looks at: its boot lane, the lane of the boot before,
/// and the closed one before that; the lanes of outboxes stand behind them.
const LANES_MAX: usize = 16;

pub fn node_key(node: u64) -> Vec<u8> {
    StateKey::of(Table::Node).u64(node).build()
}

pub fn genesis(txn: &mut Txn<'_>, genesis: &GenesisDocument) -> Result<Outcome, Error> {
    for member in &genesis.members {
        let row = NodeRow {
            region: member.region.clone(),
            zone: member.zone.clone(),
            statement_key: member.statement_key,
            boot: None,
            incarnation: [0; 16],
        };
        txn.put_row(node_key(member.node), &row);
    }
    Ok(Outcome::Ok)
}

pub fn boot(
    txn: &mut Txn<'_>,
    head: &Head,
    node: u64,
    boot: &BootDocument,
    index: u64,
) -> Result<Outcome, Error> {
    let Some(mut row) = txn.row::<NodeRow>(&node_key(node))? else {
        return Ok(Outcome::Refused(Reason::NotFound));
    };
    let keys = keys::applied_history(txn)?;
    let in_force = keys.statement_keys(node).iter().any(|life| {
        life.key == boot.statement_key && life.at_record(index) == KeyValidity::InForce
    });
    if !in_force {
        return Ok(Outcome::Refused(Reason::Malformed));
    }
    if row.boot.is_some() && row.incarnation != boot.incarnation {
        // A wiped or restored disk comes back under a new node id, never under the old.
        return Ok(Outcome::Refused(Reason::Malformed));
    }
    // Older ledgers take no notice of outboxes.
    let tells = head.feature_level >= outboxes::FEATURE_LEVEL;
    if tells && !outboxes::may_say(txn, node, &boot.outboxes)? {
        return Ok(Outcome::Refused(Reason::Malformed));
    }
    row.boot = Some(index);
    row.statement_key = boot.statement_key;
    row.incarnation = boot.incarnation;
    txn.put_row(node_key(node), &row);
    close_lanes(txn, node)?;
    let own = lanes::lane_key(node, Lane::Strict(index));
    txn.put_row(own, &LaneRow::default());
    if tells {
        outboxes::take(txn, node, &boot.outboxes, index)?;
    }
    Ok(Outcome::Ok)
}

/// Closes the node's strict lane, and forgets what was closed before.
pub(super) fn close_lanes(txn: &mut Txn<'_>, node: u64) -> Result<(), Error> {
    for (key, _) in txn.scan(&lanes::lanes_of(node), LANES_MAX)? {
        if matches!(lanes::lane_of_key(&key), Some(Lane::Strict(_)))
            && let Some(lane) = txn.row::<LaneRow>(&key)?
        {
            if lane.closed {
                forget(txn, node, &key)?;
            } else {
                let closed = LaneRow {
                    closed: true,
                    ..lane
                };
                txn.put_row(key, &closed);
            }
        }
    }
    Ok(())
}

/// Removes a lane that was closed two boots ago: a lane that is not there is as closed.
fn forget(txn: &mut Txn<'_>, node: u64, lane_key: &[u8]) -> Result<(), Error> {
    if let Some(lane) = lanes::lane_of_key(lane_key) {
        let window = lanes::window_of(node, lane);
        for (key, _) in txn.scan(&window, lanes::WINDOW as usize)? {
            txn.delete(key);
        }
    }
    txn.delete(lane_key.to_vec());
    Ok(())
}

pub fn leader(txn: &mut Txn<'_>, leader: &LeaderDocument) -> Result<Outcome, Error> {
    let due = DueRow::Leader { term: leader.term };
    attest(txn, leader.log_index, &due)
}

pub fn membership(txn: &mut Txn<'_>, membership: &MembershipDocument) -> Result<Outcome, Error> {
    let due = DueRow::Membership {
        voters: membership.voters.clone(),
        learners: membership.learners.clone(),
    };
    attest(txn, membership.log_index, &due)
}

fn attest(txn: &mut Txn<'_>, log_index: u64, stated: &DueRow) -> Result<Outcome, Error> {
    let key = due_key(log_index);
    if txn.row::<DueRow>(&key)?.as_ref() != Some(stated) {
        return Ok(Outcome::Refused(Reason::NotDue));
    }
    txn.delete(key);
    Ok(Outcome::Ok)
}
