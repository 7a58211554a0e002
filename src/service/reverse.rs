//! Reverse: an invoice of its own that takes an amount off another.
//!
//! Promises what issue promises; the sum of reversals never exceeds the original, which
//! apply decides.

use super::admission::UploadTurn;
use super::issue::{self, IssueDraft, Issued, UploadPieces};
use super::{Parts, Principal, find};
use crate::domain::call_error::CallError;
use crate::domain::draft::{InvoiceKey, bad};
use crate::ledger::invoices::REVERSES;
use muniment_evidence::opening::{Money, Reference};
use muniment_evidence::statement::Kind;

/// Reverses `target` by `amount`, or by all that is left.
pub async fn reverse(
    parts: &Parts,
    principal: &Principal,
    mut draft: IssueDraft,
    target: InvoiceKey,
    amount: Option<Money>,
    pieces: UploadPieces,
    turn: UploadTurn,
) -> Result<Issued, CallError> {
    let target = parts.tenants.resolve_key("target", target)?;
    let mut given = draft.metadata.references.iter();
    if given.any(|r| r.relation == REVERSES) {
        let why = "the REVERSES reference is set by the server, from target and amount";
        return Err(bad("metadata.references", why).into());
    }
    let uid = find::find(&parts.reads, &target).await?;
    let original = find::invoice(&parts.reads, uid).await?;
    // What takes off an invoice is to be as safe as the invoice itself.
    let tenant = parts.tenants.level(&draft.metadata.identity.tenant)?;
    let asked = draft.body.level.unwrap_or(tenant);
    draft.body.level = Some(asked.join(original.level));
    draft.metadata.references.push(Reference {
        relation: REVERSES.to_owned(),
        target: uid.to_string(),
        sha256: original.renditions.first().map(|r| r.sha256),
        amount,
    });
    issue::enter(parts, principal, draft, pieces, turn, Kind::Reverse).await
}
