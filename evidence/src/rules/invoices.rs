//! ISSUE, REVERSE, ADD_RENDITION, VOID: whether each may take effect.
//!
//! Promises: one identity is issued once, for ever; the same request again is the first
//! outcome; holdings meet the level under the members at that place; what is taken off an
//! invoice never exceeds it. Leaves the signatures of holdings to `record_checks`.
//!
//! Tests: `evidence/tests/rules.rs`.

use super::{Asked, InvoicePast, Past, Request, may_be_named};
use crate::checks::Check;
use crate::chunks;
use crate::codec::Writer;
use crate::digest::Digest;
use crate::invoice::{Metadata, Money, Reference, Rendition, content_digest, rendition_digest};
use crate::level::meets;
use crate::limits::{RENDITIONS_MAX, REVERSALS_MAX};
use crate::opening::{AddRenditionDocument, Holding, HoldingKind, IssueDocument, VoidDocument};
use crate::record::{Outcome, Reason};
use crate::statement::{Kind, Statement};

/// The relation by which a reversing invoice names its original.
pub const REVERSES: &str = "REVERSES";

/// What a reversal takes off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TakenOff {
    /// All of an invoice without a total, or of nothing.
    Whole,
    MinorUnits(i64),
}

pub(super) fn issue<P: Past>(
    past: &P,
    statement: &Statement,
    issue: &IssueDocument,
) -> Result<Outcome, P::Error> {
    let metadata = &issue.metadata;
    let tenant = &metadata.identity.tenant;
    let content = content_digest(metadata, &issue.renditions);
    let request = Request {
        tenant,
        id: &issue.request_id,
        kind: statement.kind,
        content: &content,
    };
    if let Some(outcome) = again(past.request(&request)?, Reason::RequestIdReused) {
        return Ok(outcome);
    }
    let issued = past.identity(&metadata.identity, &request)?;
    if let Some(outcome) = again(issued, Reason::IdentityTaken) {
        return Ok(outcome);
    }
    for id in &metadata.alternative_ids {
        if past.has_alternative_id(tenant, id)? {
            return Ok(Outcome::Refused(Reason::AlternativeIdTaken));
        }
    }
    if issue.renditions.is_empty() || past.has_uid(&issue.uid)? {
        return Ok(Outcome::Refused(Reason::Malformed));
    }
    if statement.kind == Kind::Reverse
        && let Some(reason) = refuses_reversal(past, metadata)?
    {
        return Ok(Outcome::Refused(reason));
    }
    // Last, since it may not be known which members are to hold it.
    Ok(
        match are_held(past, statement, &issue.renditions, &issue.holdings)? {
            true => Outcome::Ok,
            false => Outcome::Refused(Reason::HoldingsInsufficient),
        },
    )
}

fn refuses_reversal<P: Past>(past: &P, metadata: &Metadata) -> Result<Option<Reason>, P::Error> {
    let Some((reference, target)) = reversed_by(metadata) else {
        return Ok(Some(Reason::Malformed));
    };
    let Some(original) = past.invoice(&metadata.identity.tenant, &target)? else {
        return Ok(Some(Reason::NotFound));
    };
    if original.reversals >= REVERSALS_MAX {
        return Ok(Some(Reason::LimitReached));
    }
    Ok(reversible(&original, reference.amount.as_ref()).err())
}

pub(super) fn add_rendition<P: Past>(
    past: &P,
    statement: &Statement,
    add: &AddRenditionDocument,
) -> Result<Outcome, P::Error> {
    let content = rendition_request_digest(&add.uid, &add.rendition);
    let request = Request {
        tenant: &add.tenant,
        id: &add.request_id,
        kind: Kind::AddRendition,
        content: &content,
    };
    if let Some(outcome) = again(past.request(&request)?, Reason::RequestIdReused) {
        return Ok(outcome);
    }
    let Some(invoice) = past.invoice(&add.tenant, &add.uid)? else {
        return Ok(Outcome::Refused(Reason::NotFound));
    };
    let known = past.rendition(&add.uid, &add.rendition)?;
    if let Some(outcome) = again(known, Reason::RenditionTaken) {
        return Ok(outcome);
    }
    if invoice.renditions >= RENDITIONS_MAX {
        return Ok(Outcome::Refused(Reason::LimitReached));
    }
    let renditions = std::slice::from_ref(&add.rendition);
    Ok(
        match are_held(past, statement, renditions, &add.holdings)? {
            true => Outcome::Ok,
            false => Outcome::Refused(Reason::HoldingsInsufficient),
        },
    )
}

pub(super) fn void<P: Past>(past: &P, void: &VoidDocument) -> Result<Outcome, P::Error> {
    let content = void_request_digest(&void.uid, &void.reason);
    let request = Request {
        tenant: &void.tenant,
        id: &void.request_id,
        kind: Kind::Void,
        content: &content,
    };
    if let Some(outcome) = again(past.request(&request)?, Reason::RequestIdReused) {
        return Ok(outcome);
    }
    let refused = match past.invoice(&void.tenant, &void.uid)? {
        None => Some(Reason::NotFound),
        // What it took off the original would stay taken off.
        Some(invoice) if invoice.is_reversal => Some(Reason::NotReversible),
        Some(invoice) if invoice.void => Some(Reason::AlreadyVoid),
        Some(invoice) if invoice.reversed_minor_units != 0 || invoice.reversed_whole => {
            Some(Reason::AlreadyReversed)
        }
        Some(_) => None,
    };
    Ok(refused.map_or(Outcome::Ok, Outcome::Refused))
}

/// How much a reversal takes off, or why it may not.
pub fn reversible(original: &InvoicePast, amount: Option<&Money>) -> Result<TakenOff, Reason> {
    if original.is_reversal {
        return Err(Reason::NotReversible);
    }
    if original.void {
        return Err(Reason::AlreadyVoid);
    }
    let Some(total) = &original.total else {
        return match (amount, original.reversed_whole) {
            (None, false) => Ok(TakenOff::Whole),
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
        return match nothing && !original.reversed_whole {
            true => Ok(TakenOff::Whole),
            false => Err(Reason::ReversalExceeds),
        };
    }
    // What is reversed has the total's sign, and is no more.
    let left = total
        .minor_units
        .saturating_sub(original.reversed_minor_units);
    let taken = amount.map_or(left, |amount| amount.minor_units);
    let same_sign = taken.signum() == total.minor_units.signum();
    match same_sign && taken.unsigned_abs() <= left.unsigned_abs() {
        true => Ok(TakenOff::MinorUnits(taken)),
        false => Err(Reason::ReversalExceeds),
    }
}

/// The reference by which an invoice reverses another, exactly one, and that other's uid.
pub fn reversed_by(metadata: &Metadata) -> Option<(&Reference, [u8; 16])> {
    let is_it = |reference: &&Reference| reference.relation == REVERSES;
    let mut found = metadata.references.iter().filter(is_it);
    let (first, second) = (found.next()?, found.next());
    let uid = parse_uid(&first.target).filter(|_| second.is_none())?;
    Some((first, uid))
}

/// What "the same request" means for an added rendition.
pub fn rendition_request_digest(uid: &[u8; 16], rendition: &Rendition) -> Digest {
    Digest::of(&[uid, &rendition_digest(rendition).0])
}

/// What "the same request" means for a void.
pub fn void_request_digest(uid: &[u8; 16], reason: &str) -> Digest {
    let mut w = Writer::new();
    w.raw(uid).text(reason);
    Digest::of(&[&w.finish()])
}

/// A uid in its one writing (RFC 9562): lower-case hexadecimal, in groups of 8, 4, 4, 4 and 12.
fn parse_uid(text: &str) -> Option<[u8; 16]> {
    let bytes = text.as_bytes();
    let (mut uid, mut digits) = ([0; 16], 0);
    for (at, byte) in bytes.iter().enumerate() {
        let digit = match byte {
            b'-' if matches!(at, 8 | 13 | 18 | 23) => continue,
            _ if matches!(at, 8 | 13 | 18 | 23) => return None,
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            _ => return None,
        };
        *uid.get_mut(digits / 2)? |= digit << (4 * (1 - digits % 2));
        digits += 1;
    }
    (bytes.len() == 36).then_some(uid)
}

fn again(asked: Asked, otherwise: Reason) -> Option<Outcome> {
    match asked {
        Asked::New => None,
        Asked::Same(index) => Some(Outcome::DuplicateOf(index)),
        Asked::Other => Some(Outcome::Refused(otherwise)),
    }
}

/// Whether each holding, needed or not, is one that a verifier takes, and whether they meet the
/// level under each set of members at this place.
fn are_held<P: Past>(
    past: &P,
    statement: &Statement,
    renditions: &[Rendition],
    holdings: &[Holding],
) -> Result<bool, P::Error> {
    for holding in holdings {
        let node = past.node(holding.node)?;
        let zone = node.as_ref().map(|node| &node.zone[..]);
        if first_unfit(&past.ledger(), renditions, holding, zone).is_some() {
            return Ok(false);
        }
    }
    let electorates = past.electorates()?;
    let present = past.upload_epoch()?;
    for rendition in renditions {
        let mut holders = Vec::new();
        for holding in holdings {
            if !holding.is_of(rendition) || !may_be_named(holding.epoch, present) {
                continue;
            }
            let node = past.node(holding.node)?;
            if node.is_some_and(|node| node.runs && node.incarnation == Some(holding.incarnation)) {
                holders.push(holding.node);
            }
        }
        let mut sets = electorates.iter();
        if !sets.all(|members| meets(statement.level, members, &holders)) {
            return Ok(false);
        }
    }
    Ok(!electorates.is_empty())
}

/// What keeps a holding from being one of these renditions, as a check and what to say of it.
/// `zone` is that in which the ledger knows its node, if it knows it.
pub fn first_unfit(
    ledger: &Digest,
    renditions: &[Rendition],
    holding: &Holding,
    zone: Option<&str>,
) -> Option<(Check, &'static str)> {
    let is_named = || renditions.iter().any(|rendition| holding.is_of(rendition));
    if Check::HoldingOfThisLedger.fails(holding.ledger != *ledger) {
        return Some((Check::HoldingOfThisLedger, "is of another ledger"));
    }
    if Check::HoldingOfRendition.fails(!is_named()) {
        let what = "is of bytes that the record does not name";
        return Some((Check::HoldingOfRendition, what));
    }
    let Some(zone) = zone else {
        let what = "is of a node that the ledger does not name";
        return Some((Check::HoldingNodeKnown, what));
    };
    let elsewhere = holding.kind == HoldingKind::Node && holding.zone != zone;
    Check::HoldingZone.fails(elsewhere).then_some((
        Check::HoldingZone,
        "names another zone than the ledger does for its node",
    ))
}

impl Holding {
    /// Whether it is of this rendition's bytes.
    pub fn is_of(&self, rendition: &Rendition) -> bool {
        self.body_id == rendition.body_id
            && self.sha256 == rendition.sha256
            && self.chunk_root == rendition.chunk_root
            && self.length == rendition.length
            && chunks::may_be_root(&self.chunk_root, self.length, &self.sha256)
    }
}
