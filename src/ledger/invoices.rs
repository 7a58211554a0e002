//! ISSUE, REVERSE, ADD_RENDITION, VOID: what each does, decided once, in apply.
//!
//! Promises: one identity is issued once, for ever; the same request again is the first
//! outcome (I7); holdings are judged against the membership at this index (I3); the sum
//! of reversals never exceeds the original. Never touches a body (I4).

use super::rows::{EventRow, InvoiceRow, LedgerHead, NamedRow, RenditionRow, RequestRow};
use super::tables::{self, ListKey};
use super::txn::Txn;
use super::{membership, policy};
use crate::domain::ids::{RecordIndex, Uid};
use crate::objective::write::{LevelMember, MemberRole, WriteLevel, meets};
use crate::store::StoreError;
use muniment_evidence::chunks;
use muniment_evidence::codec::Writer;
use muniment_evidence::digest::Digest;
use muniment_evidence::limits::{RENDITIONS_MAX, REVERSALS_MAX};
use muniment_evidence::opening::{
    AddRenditionDocument, Holding, IssueDocument, Metadata, Money, Reference, Rendition,
    VoidDocument, content_digest, rendition_digest,
};
use muniment_evidence::record::{Outcome, Reason};
use muniment_evidence::statement::{Kind, Statement};

/// The relation by which a reversing invoice names its original.
pub const REVERSES: &str = "REVERSES";

pub fn issue(
    txn: &mut Txn<'_>,
    head: &LedgerHead,
    statement: &Statement,
    issue: &IssueDocument,
    index: RecordIndex,
) -> Result<Outcome, StoreError> {
    if let Some(outcome) = refuse_issue(txn, head, statement, issue)? {
        return Ok(outcome);
    }
    enter(txn, issue, index, Kind::Issue);
    Ok(Outcome::Ok)
}

pub fn reverse(
    txn: &mut Txn<'_>,
    head: &LedgerHead,
    statement: &Statement,
    issue: &IssueDocument,
    index: RecordIndex,
) -> Result<Outcome, StoreError> {
    if let Some(outcome) = refuse_issue(txn, head, statement, issue)? {
        return Ok(outcome);
    }
    let Some(reference) = reverses(&issue.metadata) else {
        return Ok(Outcome::Refused(Reason::Malformed));
    };
    let Ok(target) = reference.target.parse::<Uid>() else {
        return Ok(Outcome::Refused(Reason::Malformed));
    };
    let Some(mut row) = txn.row(&tables::invoice(target))? else {
        return Ok(Outcome::Refused(Reason::NotFound));
    };
    if row.tenant != issue.metadata.identity.tenant {
        return Ok(Outcome::Refused(Reason::NotFound));
    }
    if row.reversals >= REVERSALS_MAX {
        return Ok(Outcome::Refused(Reason::LimitReached));
    }
    let minor_units = match reversible(&row, reference.amount.as_ref()) {
        Ok(minor_units) => minor_units,
        Err(reason) => return Ok(Outcome::Refused(reason)),
    };
    match minor_units {
        // Within the total, as was just looked at.
        Some(amount) => {
            row.reversed_minor_units = row.reversed_minor_units.saturating_add(amount);
        }
        None => row.reversed_whole = true,
    }
    row.reversals = row.reversals.saturating_add(1);
    txn.put(tables::invoice(target), &row);
    let event = EventRow::Reversed {
        by: Uid(issue.uid),
        minor_units,
    };
    txn.put(tables::event(target, index), &event);
    enter(txn, issue, index, Kind::Reverse);
    Ok(Outcome::Ok)
}

/// How much a reversal takes off, or why it may not. Pure.
pub fn reversible(row: &InvoiceRow, amount: Option<&Money>) -> Result<Option<i64>, Reason> {
    if row.is_reversal {
        return Err(Reason::NotReversible);
    }
    if row.void {
        return Err(Reason::AlreadyVoid);
    }
    let Some(total) = &row.total else {
        return match (amount, row.reversed_whole) {
            (None, false) => Ok(None),
            _ => Err(Reason::ReversalExceeds),
        };
    };
    if let Some(amount) = amount {
        if amount.currency != total.currency {
            return Err(Reason::ReversalExceeds);
        }
        if amount.exponent != total.exponent {
            return Err(Reason::AmountExponent);
        }
    }
    if total.minor_units == 0 {
        // There is nothing to count, so that it can be taken back as a whole alone.
        let nothing = amount.is_none_or(|amount| amount.minor_units == 0);
        return match nothing && !row.reversed_whole {
            true => Ok(None),
            false => Err(Reason::ReversalExceeds),
        };
    }
    // What is reversed has the total's sign, and is no more.
    let left = total.minor_units.saturating_sub(row.reversed_minor_units);
    let Some(amount) = amount else {
        return if left == 0 {
            Err(Reason::ReversalExceeds)
        } else {
            Ok(Some(left))
        };
    };
    let same_sign = amount.minor_units.signum() == total.minor_units.signum();
    let within = amount.minor_units.unsigned_abs() <= left.unsigned_abs();
    if same_sign && within && amount.minor_units != 0 {
        Ok(Some(amount.minor_units))
    } else {
        Err(Reason::ReversalExceeds)
    }
}

/// The reference by which an invoice reverses another; exactly one.
pub fn reverses(metadata: &Metadata) -> Option<&Reference> {
    let mut found = metadata
        .references
        .iter()
        .filter(|reference| reference.relation == REVERSES);
    let first = found.next()?;
    found.next().is_none().then_some(first)
}

pub fn add_rendition(
    txn: &mut Txn<'_>,
    head: &LedgerHead,
    statement: &Statement,
    add: &AddRenditionDocument,
    index: RecordIndex,
) -> Result<Outcome, StoreError> {
    let uid = Uid(add.uid);
    let content = rendition_request_digest(uid, &add.rendition);
    if let Some(outcome) = seen(txn, &add.tenant, &add.request_id, statement.kind, &content)? {
        return Ok(outcome);
    }
    let mut row = match txn.row(&tables::invoice(uid))? {
        Some(row) if row.tenant == add.tenant => row,
        _ => return Ok(Outcome::Refused(Reason::NotFound)),
    };
    if let Some(taken) = txn.row(&tables::rendition(uid, &add.rendition.role))? {
        return Ok(if taken.digest == rendition_digest(&add.rendition) {
            Outcome::DuplicateOf(taken.index)
        } else {
            Outcome::Refused(Reason::RenditionTaken)
        });
    }
    if row.renditions >= RENDITIONS_MAX {
        return Ok(Outcome::Refused(Reason::LimitReached));
    }
    let renditions = std::slice::from_ref(&add.rendition);
    if !fit(txn, head, renditions, &add.holdings)?
        || !held(txn, head, statement, &add.rendition, &add.holdings)?
    {
        return Ok(Outcome::Refused(Reason::HoldingsInsufficient));
    }
    row.renditions = row.renditions.saturating_add(1);
    txn.put(tables::invoice(uid), &row);
    enter_rendition(txn, &add.tenant, uid, &add.rendition, index);
    txn.put(tables::event(uid, index), &EventRow::RenditionAdded);
    let request = RequestRow {
        kind: statement.kind,
        content,
        index,
        uid,
    };
    txn.put(tables::request(&add.tenant, &add.request_id), &request);
    Ok(Outcome::Ok)
}

pub fn void(
    txn: &mut Txn<'_>,
    void: &VoidDocument,
    index: RecordIndex,
) -> Result<Outcome, StoreError> {
    let uid = Uid(void.uid);
    let content = void_request_digest(uid, &void.reason);
    if let Some(outcome) = seen(txn, &void.tenant, &void.request_id, Kind::Void, &content)? {
        return Ok(outcome);
    }
    let Some(mut row) = txn.row(&tables::invoice(uid))? else {
        return Ok(Outcome::Refused(Reason::NotFound));
    };
    if row.tenant != void.tenant {
        return Ok(Outcome::Refused(Reason::NotFound));
    }
    if row.is_reversal {
        // What it took off the original would stay taken off.
        return Ok(Outcome::Refused(Reason::NotReversible));
    }
    if row.void {
        return Ok(Outcome::Refused(Reason::AlreadyVoid));
    }
    if row.reversed_minor_units != 0 || row.reversed_whole {
        return Ok(Outcome::Refused(Reason::AlreadyReversed));
    }
    row.void = true;
    txn.put(tables::invoice(uid), &row);
    txn.put(tables::event(uid, index), &EventRow::Voided);
    let request = RequestRow {
        kind: Kind::Void,
        content,
        index,
        uid,
    };
    txn.put(tables::request(&void.tenant, &void.request_id), &request);
    Ok(Outcome::Ok)
}

/// What "the same request" means for an added rendition.
pub fn rendition_request_digest(uid: Uid, rendition: &Rendition) -> Digest {
    Digest::of(&[&uid.0, &rendition_digest(rendition).0])
}

/// What "the same request" means for a void.
pub fn void_request_digest(uid: Uid, reason: &str) -> Digest {
    let mut w = Writer::new();
    w.raw(&uid.0).text(reason);
    Digest::of(&[&w.finish()])
}

/// What was asked before under this request id, if anything.
fn seen(
    txn: &Txn<'_>,
    tenant: &str,
    request_id: &str,
    kind: Kind,
    content: &Digest,
) -> Result<Option<Outcome>, StoreError> {
    let row = txn.row(&tables::request(tenant, request_id))?;
    Ok(row.map(|row| {
        if row.kind == kind && row.content == *content {
            Outcome::DuplicateOf(row.index)
        } else {
            Outcome::Refused(Reason::RequestIdReused)
        }
    }))
}

/// Why an ISSUE or REVERSE takes no effect, if it does not.
fn refuse_issue(
    txn: &mut Txn<'_>,
    head: &LedgerHead,
    statement: &Statement,
    issue: &IssueDocument,
) -> Result<Option<Outcome>, StoreError> {
    let metadata = &issue.metadata;
    let tenant = &metadata.identity.tenant;
    let content = content_digest(metadata, &issue.renditions);
    if let Some(outcome) = seen(txn, tenant, &issue.request_id, statement.kind, &content)? {
        return Ok(Some(outcome));
    }
    if let Some(uid) = txn.row(&tables::identity(&metadata.identity))? {
        let row = txn
            .row(&tables::invoice(uid))?
            .ok_or_else(|| StoreError::corrupt("an identity names no invoice"))?;
        let same_kind = row.is_reversal == (statement.kind == Kind::Reverse);
        if row.content != content || !same_kind {
            return Ok(Some(Outcome::Refused(Reason::IdentityTaken)));
        }
        // Another request for the same invoice: it may be asked for by this id too.
        let request = RequestRow {
            kind: statement.kind,
            content,
            index: row.index,
            uid,
        };
        txn.put(tables::request(tenant, &issue.request_id), &request);
        return Ok(Some(Outcome::DuplicateOf(row.index)));
    }
    for id in &metadata.alternative_ids {
        if txn.has(&tables::alternative_id(tenant, id))? {
            return Ok(Some(Outcome::Refused(Reason::AlternativeIdTaken)));
        }
    }
    if issue.renditions.is_empty() || txn.has(&tables::invoice(Uid(issue.uid)))? {
        return Ok(Some(Outcome::Refused(Reason::Malformed)));
    }
    if !fit(txn, head, &issue.renditions, &issue.holdings)? {
        return Ok(Some(Outcome::Refused(Reason::HoldingsInsufficient)));
    }
    for rendition in &issue.renditions {
        if !held(txn, head, statement, rendition, &issue.holdings)? {
            return Ok(Some(Outcome::Refused(Reason::HoldingsInsufficient)));
        }
    }
    Ok(None)
}

/// Whether each holding, needed or not, is one that a verifier takes: of this ledger, of bytes
/// that the record names, of a node and the zone that the ledger knows it in. One that is not
/// would spoil the record for ever.
fn fit(
    txn: &Txn<'_>,
    head: &LedgerHead,
    renditions: &[Rendition],
    holdings: &[Holding],
) -> Result<bool, StoreError> {
    for holding in holdings {
        let named = renditions.iter().any(|rendition| is_of(holding, rendition));
        let row = txn.row(&tables::node(holding.node))?;
        let in_its_zone = row.is_some_and(|row| row.zone == holding.zone);
        if holding.ledger != head.ledger || !named || !in_its_zone {
            return Ok(false);
        }
    }
    Ok(true)
}

fn is_of(holding: &Holding, rendition: &Rendition) -> bool {
    holding.body_id == rendition.body_id
        && holding.sha256 == rendition.sha256
        && holding.chunk_root == rendition.chunk_root
        && holding.length == rendition.length
        && chunks::may_be_root(&holding.chunk_root, holding.length, &holding.sha256)
}

/// Whether the holdings meet the level asked, under the voters at this index: under both
/// sets from the PREPARE of a change to its end. Signatures were verified before the proposal.
fn held(
    txn: &Txn<'_>,
    head: &LedgerHead,
    statement: &Statement,
    rendition: &Rendition,
    holdings: &[Holding],
) -> Result<bool, StoreError> {
    let Some(level) = WriteLevel::from_statement(statement.level) else {
        return Ok(false);
    };
    let mut holders = Vec::new();
    for holding in holdings {
        let of_this = is_of(holding, rendition);
        let in_time = policy::may_be_named(holding.epoch, head.upload_epoch);
        if !of_this || !in_time {
            continue;
        }
        let Some(node) = txn.row(&tables::node(holding.node))? else {
            continue;
        };
        if node.boot.is_some() && node.incarnation == holding.incarnation {
            holders.push(holding.node);
        }
    }
    let mut voters = txn.row(&tables::voters())?.unwrap_or_default();
    let roles = membership::roles(txn)?;
    let learners = roles.sync_learners;
    // What is issued after PREPARE must be held by the target too: only what came before
    // is brought to it before it votes.
    voters
        .0
        .extend(roles.preparing.map(|change| change.target.voters));
    for set in &voters.0 {
        let mut members = Vec::with_capacity(set.len());
        let voting = set.iter().map(|node| (node, MemberRole::Voter));
        let learning = learners.iter().filter(|node| !set.contains(node));
        for (node, role) in voting.chain(learning.map(|node| (node, MemberRole::SyncLearner))) {
            if let Some(row) = txn.row(&tables::node(*node))? {
                members.push(LevelMember {
                    node: *node,
                    zone: row.zone,
                    region: row.region,
                    role,
                });
            }
        }
        if !meets(level, &members, &holders) {
            return Ok(false);
        }
    }
    Ok(!voters.0.is_empty())
}

/// All rows of a newly issued invoice.
fn enter(txn: &mut Txn<'_>, issue: &IssueDocument, index: RecordIndex, kind: Kind) {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn row(total: Option<i64>, reversed: i64) -> InvoiceRow {
        InvoiceRow {
            tenant: "t".into(),
            index: RecordIndex::new(1),
            is_reversal: false,
            content: Digest::ZERO,
            total: total.map(euro),
            reversed_minor_units: reversed,
            reversed_whole: false,
            void: false,
            renditions: 1,
            reversals: 0,
        }
    }

    fn euro(minor_units: i64) -> Money {
        Money {
            minor_units,
            currency: "EUR".into(),
            exponent: 2,
        }
    }

    /// 1.234 taken off an invoice in thousandths is exact; in hundredths it is not the same
    /// number, and "exceeds" would send its caller looking for a sum that is right.
    #[test]
    fn an_amount_is_taken_off_in_the_exponent_of_the_total_and_in_no_other() {
        let thousandths = |minor_units| Money {
            exponent: 3,
            ..euro(minor_units)
        };
        let original = InvoiceRow {
            total: Some(thousandths(1234)),
            ..row(None, 0)
        };
        let exact = reversible(&original, Some(&thousandths(234)));
        assert_eq!(exact, Ok(Some(234)));
        let other = reversible(&original, Some(&euro(100)));
        assert_eq!(other, Err(Reason::AmountExponent));
    }

    #[test]
    fn an_invoice_of_nothing_is_reversed_once() {
        let original = row(Some(0), 0);
        assert_eq!(reversible(&original, None), Ok(None));
        assert_eq!(reversible(&original, Some(&euro(0))), Ok(None));
        let exceeds = Err(Reason::ReversalExceeds);
        assert_eq!(reversible(&original, Some(&euro(1))), exceeds);
        let reversed = InvoiceRow {
            reversed_whole: true,
            ..original
        };
        assert_eq!(reversible(&reversed, None), exceeds);
    }

    #[test]
    fn reversals_never_exceed_the_original() {
        assert_eq!(reversible(&row(Some(100), 0), None), Ok(Some(100)));
        assert_eq!(reversible(&row(Some(100), 60), None), Ok(Some(40)));
        let forty = euro(40);
        assert_eq!(reversible(&row(Some(100), 60), Some(&forty)), Ok(Some(40)));
        let exceeds = Err(Reason::ReversalExceeds);
        assert_eq!(reversible(&row(Some(100), 61), Some(&forty)), exceeds);
        assert_eq!(reversible(&row(Some(100), 0), Some(&euro(-1))), exceeds);
        assert_eq!(reversible(&row(Some(100), 0), Some(&euro(0))), exceeds);
        assert_eq!(reversible(&row(Some(100), 100), None), exceeds);
        assert_eq!(reversible(&row(Some(-100), -60), None), Ok(Some(-40)));
        assert_eq!(reversible(&row(None, 0), None), Ok(None));
        assert_eq!(reversible(&row(None, 0), Some(&forty)), exceeds);
        let in_yen = Money {
            currency: "JPY".into(),
            ..euro(40)
        };
        assert_eq!(reversible(&row(Some(100), 0), Some(&in_yen)), exceeds);
        let void = InvoiceRow {
            void: true,
            ..row(Some(1), 0)
        };
        assert_eq!(reversible(&void, None), Err(Reason::AlreadyVoid));
    }
}
