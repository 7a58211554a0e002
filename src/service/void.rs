//! Void: an unreversed invoice is declared void, once.

use super::{Parts, Principal, find, prove};
use crate::domain::call_error::CallError;
use crate::domain::draft::{self, InvoiceKey};
use crate::ledger::state::Invoice;
use crate::recorder::Intent;
use muniment_evidence::opening::{Document, VoidDocument};
use muniment_evidence::receipt::Receipt;
use muniment_evidence::record::Outcome;
use muniment_evidence::statement::{Level, Mode};

/// What became of the call.
#[derive(Clone, Debug)]
pub struct Voided {
    pub invoice: Invoice,
    pub repeated: bool,
    pub receipt: Receipt,
}

/// Declares an invoice void.
pub async fn void(
    parts: &Parts,
    principal: &Principal,
    request_id: String,
    key: InvoiceKey,
    reason: String,
) -> Result<Voided, CallError> {
    let key = parts.tenants.resolve_key("key", key)?;
    let booted = parts.writes.booted()?;
    draft::request_id("request_id", &request_id)?;
    draft::text("reason", &reason, draft::TEXT_BYTES_MAX)?;
    let uid = find::find(&parts.reads, &key).await?;
    let invoice = find::invoice(&parts.reads, uid).await?;
    let intent = Intent {
        document: Document::Void(VoidDocument {
            tenant: invoice.metadata.identity.tenant.clone(),
            uid: uid.0,
            request_id,
            reason,
        }),
        actor: principal.actor(),
        mode: Mode::None,
        level: Level::None,
    };
    let recorded = parts.writes.record(&booted, intent).await?;
    let (index, repeated) = match recorded.outcome {
        Outcome::Ok => (recorded.index, false),
        Outcome::DuplicateOf(first) => (first, true),
        Outcome::Refused(reason) => return Err(CallError::refused(reason, &key.to_string())),
    };
    Ok(Voided {
        invoice: find::invoice(&parts.reads, uid).await?,
        repeated,
        receipt: prove::receipt(&parts.reads, &parts.keys, &booted, index).await?,
    })
}
