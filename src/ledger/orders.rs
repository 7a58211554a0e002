//! Orders and endorsements: whether those have said it who may, for this place in this log.
//!
//! Promises: what an operator wills takes effect only with the order of an operator key that is
//! active, as the evidence crate's rule has it, which every verifier asks again; where the
//! ledger was founded without operator keys, a voter's word does. An endorsement that names
//! another record than stands there was given in another history. Apply verifies these few
//! signatures itself: nothing that members say can stand for them.
//!
//! Tests: `src/ledger/tests/order_tests.rs`.

use super::keys;
use super::rows::LedgerHead;
use super::tables;
use super::txn::Txn;
use crate::store::StoreError;
use muniment_evidence::endorsement::{Endorsements, Place, willed};
use muniment_evidence::opening::Document;

/// Whether an operator wills it, if one has to.
pub(super) fn is_willed(
    txn: &Txn<'_>,
    head: &LedgerHead,
    document: &Document,
    place: Place,
) -> Result<bool, StoreError> {
    if !document.needs_order() {
        return Ok(true);
    }
    let history = keys::applied_history(txn)?;
    let willed = willed(&history, &head.ledger, place, document).is_ok();
    match document.endorsements().filter(|_| willed) {
        Some(order) => are_of_this_history(txn, order),
        None => Ok(willed),
    }
}

/// Whether the record after which they hold is the one that they name.
pub(super) fn are_of_this_history(
    txn: &Txn<'_>,
    endorsements: &Endorsements,
) -> Result<bool, StoreError> {
    let record = txn.row(&tables::record(endorsements.after))?;
    Ok(record.is_some_and(|record| record.leaf_hash() == endorsements.leaf))
}
