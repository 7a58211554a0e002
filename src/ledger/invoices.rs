//! ISSUE, REVERSE, ADD_RENDITION, VOID: what each leaves behind, where it takes effect.
//!
//! Promises: an invoice is found by its identity, its alternative ids, its requests and its lists
//! from the record on that issued it, and what is taken off it is counted there (I7). Whether it
//! takes effect was decided before ([`muniment_evidence::rules`]). Never touches a body (I4).

use super::rows::{EventRow, InvoiceRow, NamedRow, RenditionRow, RequestRow};
use super::tables::{self, ListKey};
use super::txn::Txn;
use crate::domain::ids::{RecordIndex, Uid};
use crate::store::StoreError;
use muniment_evidence::opening::{
    AddRenditionDocument, IssueDocument, Rendition, VoidDocument, content_digest, rendition_digest,
};
use muniment_evidence::rules::{
    TakenOff, rendition_request_digest, reversed_by, reversible, void_request_digest,
};
use muniment_evidence::statement::Kind;

/// Counts what a reversal takes off its original, and enters it.
pub(super) fn reverse(
    txn: &mut Txn<'_>,
    issue: &IssueDocument,
    index: RecordIndex,
) -> Result<(), StoreError> {
    let undecided = || StoreError::corrupt("a reversal of nothing was let through");
    let (reference, target) = reversed_by(&issue.metadata).ok_or_else(undecided)?;
    let target = Uid(target);
    let row = txn.row(&tables::invoice(target))?;
    let mut row = row.ok_or_else(undecided)?;
    let taken_off = reversible(&row.past(), reference.amount.as_ref());
    let minor_units = match taken_off.map_err(|_| undecided())? {
        TakenOff::MinorUnits(amount) => {
            // Within the total, as was just looked at.
            row.reversed_minor_units = row.reversed_minor_units.saturating_add(amount);
            Some(amount)
        }
        TakenOff::Whole => {
            row.reversed_whole = true;
            None
        }
    };
    row.reversals = row.reversals.saturating_add(1);
    txn.put(tables::invoice(target), &row);
    let event = EventRow::Reversed {
        by: Uid(issue.uid),
        minor_units,
    };
    txn.put(tables::event(target, index), &event);
    enter(txn, issue, index, Kind::Reverse);
    Ok(())
}

pub(super) fn add_rendition(
    txn: &mut Txn<'_>,
    add: &AddRenditionDocument,
    index: RecordIndex,
) -> Result<(), StoreError> {
    let uid = Uid(add.uid);
    if let Some(mut row) = txn.row(&tables::invoice(uid))? {
        row.renditions = row.renditions.saturating_add(1);
        txn.put(tables::invoice(uid), &row);
    }
    enter_rendition(txn, &add.tenant, uid, &add.rendition, index);
    txn.put(tables::event(uid, index), &EventRow::RenditionAdded);
    let request = RequestRow {
        kind: Kind::AddRendition,
        content: rendition_request_digest(&add.uid, &add.rendition),
        index,
        uid,
    };
    txn.put(tables::request(&add.tenant, &add.request_id), &request);
    Ok(())
}

pub(super) fn void(
    txn: &mut Txn<'_>,
    void: &VoidDocument,
    index: RecordIndex,
) -> Result<(), StoreError> {
    let uid = Uid(void.uid);
    if let Some(mut row) = txn.row(&tables::invoice(uid))? {
        row.void = true;
        txn.put(tables::invoice(uid), &row);
    }
    txn.put(tables::event(uid, index), &EventRow::Voided);
    let request = RequestRow {
        kind: Kind::Void,
        content: void_request_digest(&void.uid, &void.reason),
        index,
        uid,
    };
    txn.put(tables::request(&void.tenant, &void.request_id), &request);
    Ok(())
}

/// Another request for the same invoice: it may be asked for by this id too.
pub(super) fn repeat(
    txn: &mut Txn<'_>,
    kind: Kind,
    issue: &IssueDocument,
    of: RecordIndex,
) -> Result<(), StoreError> {
    let tenant = &issue.metadata.identity.tenant;
    let key = tables::request(tenant, &issue.request_id);
    if txn.has(&key)? {
        return Ok(());
    }
    let uid = txn.row(&tables::identity(&issue.metadata.identity))?;
    let request = RequestRow {
        kind,
        content: content_digest(&issue.metadata, &issue.renditions),
        index: of,
        uid: uid.ok_or_else(|| StoreError::corrupt("a repetition of nothing"))?,
    };
    txn.put(key, &request);
    Ok(())
}

/// All rows of a newly issued invoice.
pub(super) fn enter(txn: &mut Txn<'_>, issue: &IssueDocument, index: RecordIndex, kind: Kind) {
    let metadata = &issue.metadata;
    let (identity, tenant) = (&metadata.identity, &metadata.identity.tenant);
    let uid = Uid(issue.uid);
    let content = content_digest(metadata, &issue.renditions);
    let row = InvoiceRow {
        tenant: tenant.clone(),
        index,
        is_reversal: kind == Kind::Reverse,
        content,
        total: metadata.total.clone(),
        reversed_minor_units: 0,
        reversed_whole: false,
        void: false,
        renditions: issue.renditions.len() as u64,
        reversals: 0,
    };
    txn.put(tables::invoice(uid), &row);
    txn.put(tables::event(uid, index), &EventRow::Issued);
    txn.put(tables::identity(identity), &uid);
    txn.put(tables::look(identity, uid), &());
    let request = RequestRow {
        kind,
        content,
        index,
        uid,
    };
    txn.put(tables::request(tenant, &issue.request_id), &request);
    for id in &metadata.alternative_ids {
        txn.put(tables::alternative_id(tenant, id), &uid);
    }
    for rendition in &issue.renditions {
        enter_rendition(txn, tenant, uid, rendition, index);
    }
    let mut list = |list: ListKey| txn.put(list.at(index), &uid);
    list(ListKey::by_tenant(tenant));
    list(ListKey::by_issuer(tenant, &identity.issuer));
    list(ListKey::by_number(tenant, &identity.number));
    if let Some(buyer) = &metadata.buyer {
        list(ListKey::by_buyer(tenant, &buyer.id));
    }
    if let Some(month) = metadata.issue_date.get(..7) {
        list(ListKey::by_month(tenant, month));
    }
}

fn enter_rendition(
    txn: &mut Txn<'_>,
    tenant: &str,
    uid: Uid,
    rendition: &Rendition,
    index: RecordIndex,
) {
    let named = NamedRow {
        length: rendition.length,
        sha256: rendition.sha256,
        index,
        lost: None,
    };
    txn.put(tables::named(&rendition.body_id), &named);
    txn.put(tables::body_digest(tenant, &rendition.sha256, uid), &());
    let row = RenditionRow {
        digest: rendition_digest(rendition),
        index,
    };
    txn.put(tables::rendition(uid, &rendition.role), &row);
}
