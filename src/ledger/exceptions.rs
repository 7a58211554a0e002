//! BODY_LOST and WAIVER: what is wrong for good, said, so that the ledger goes on.
//!
//! A body that no holder has any more, and a record that no check lets pass, hold up every
//! cosignature: nobody may vouch for what is not so. An operator who has looked into it says so on
//! record, and from there on the nodes vouch for the rest. Promises: the record that fails fails all
//! the same for every verifier. Whether it takes effect was decided before
//! ([`muniment_evidence::rules`]); leaves who may say it to [`super::orders`], and whether a
//! holder turns up to `bodies/`.
//!
//! Tests: `src/ledger/tests/exception_tests.rs`.

use super::rows::WaiverRow;
use super::tables;
use super::txn::Txn;
use crate::domain::ids::RecordIndex;
use crate::store::StoreError;
use muniment_evidence::losses::{BodyLostDocument, WaiverDocument};

pub(super) fn lose(
    txn: &mut Txn<'_>,
    said: &BodyLostDocument,
    index: RecordIndex,
) -> Result<(), StoreError> {
    let key = tables::named(&said.body_id);
    if let Some(mut named) = txn.row(&key)? {
        named.lost = Some(index);
        txn.put(key, &named);
    }
    Ok(())
}

pub(super) fn waive(txn: &mut Txn<'_>, said: &WaiverDocument, index: RecordIndex) {
    txn.put(tables::waiver(said.index), &WaiverRow { by: index });
}
