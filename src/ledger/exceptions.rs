//! BODY_LOST and WAIVER: what is wrong for good, said, so that the ledger goes on.
//!
//! A body that no holder has any more, and a record that no check lets pass, hold up every
//! cosignature: nobody may vouch for what is not so. An operator who has looked into it says so on
//! record, and from there on the nodes vouch for the rest. Promises: what is said is of a body that
//! its record names so, or of the record that stands there, and is said once; the record that fails
//! fails all the same for every verifier. Leaves who may say it to [`super::orders`], and whether a
//! holder turns up to `bodies/`.
//!
//! Tests: `src/ledger/tests/exception_tests.rs`.

use super::rows::WaiverRow;
use super::tables;
use super::txn::Txn;
use crate::domain::ids::{RecordIndex, Uid};
use crate::store::StoreError;
use muniment_evidence::planned::{BodyLostDocument, WaiverDocument};
use muniment_evidence::record::{Outcome, Reason};

pub(super) fn lose(
    txn: &mut Txn<'_>,
    said: &BodyLostDocument,
    index: RecordIndex,
) -> Result<Outcome, StoreError> {
    let uid = Uid(said.uid);
    let invoice = txn.row(&tables::invoice(uid))?;
    let known = txn.row(&tables::rendition(uid, &said.role))?;
    let named = txn.row(&tables::named(&said.body_id))?;
    let (Some(invoice), Some(known), Some(mut named)) = (invoice, known, named) else {
        return Ok(Outcome::Refused(Reason::NotFound));
    };
    let same = invoice.tenant == said.tenant
        && known.index == named.index
        && named.sha256 == said.sha256
        && named.length == said.length;
    if !same {
        return Ok(Outcome::Refused(Reason::NotFound));
    }
    if named.lost.is_some() {
        return Ok(Outcome::Refused(Reason::NotDue));
    }
    named.lost = Some(index);
    txn.put(tables::named(&said.body_id), &named);
    Ok(Outcome::Ok)
}

pub(super) fn waive(
    txn: &mut Txn<'_>,
    said: &WaiverDocument,
    index: RecordIndex,
) -> Result<Outcome, StoreError> {
    let record = txn.row(&tables::record(said.index))?;
    if record.is_none_or(|record| record.leaf_hash() != said.leaf) {
        return Ok(Outcome::Refused(Reason::NotFound));
    }
    let key = tables::waiver(said.index);
    if txn.has(&key)? {
        return Ok(Outcome::Refused(Reason::NotDue));
    }
    txn.put(key, &WaiverRow { by: index });
    Ok(Outcome::Ok)
}
