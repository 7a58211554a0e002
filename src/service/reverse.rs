//! Reverse: an invoice of its own that takes an amount off another.
//!
//! Promises what issue promises; the sum of reversals never exceeds the original, which
//! apply decides.

use super::issue::{self, Header, Issued, Pieces};
use super::{Core, Error, Principal};
use crate::domain::draft::bad;
use crate::ledger::invoices::REVERSES;
use crate::ledger::state::Key;
use muniment_evidence::opening::{Money, Reference};
use muniment_evidence::statement::Kind;

/// Reverses `target` by `amount`, or by all that is left.
pub async fn reverse(
    core: &Core,
    principal: &Principal,
    mut header: Header,
    target: Key,
    amount: Option<Money>,
    pieces: Pieces,
) -> Result<Issued, Error> {
    let mut given = header.metadata.references.iter();
    if given.any(|r| r.relation == REVERSES) {
        let why = "the REVERSES reference is set by the server, from target and amount";
        return Err(bad("metadata.references", why).into());
    }
    let uid = core.find(&target).await?;
    let original = core.invoice(uid).await?;
    // What takes off an invoice is to be as safe as the invoice itself.
    let tenant = core.tenant(&header.metadata.identity.tenant)?;
    let asked = header.level.unwrap_or(tenant.level());
    header.level = Some(asked.join(original.level));
    header.metadata.references.push(Reference {
        relation: REVERSES.to_owned(),
        target: uid.to_string(),
        sha256: original.renditions.first().map(|r| r.sha256),
        amount,
    });
    issue::enter(core, principal, header, pieces, Kind::Reverse).await
}
