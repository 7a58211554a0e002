//! Void: an unreversed invoice is declared void, once.

use super::{Core, Error, Principal, prove};
use crate::domain::draft;
use crate::ledger::state::{Invoice, Key};
use crate::recorder::Intent;
use muniment_evidence::opening::{Document, VoidDocument};
use muniment_evidence::receipt::Receipt;
use muniment_evidence::record::Outcome;
use muniment_evidence::statement::{Level, Mode};

#[derive(Clone, Debug)]
pub struct Voided {
    pub invoice: Invoice,
    pub repeated: bool,
    pub receipt: Receipt,
}

pub async fn void(
    core: &Core,
    principal: &Principal,
    request_id: String,
    key: Key,
    reason: String,
) -> Result<Voided, Error> {
    let booted = core.booted()?;
    draft::request_id("request_id", &request_id)?;
    draft::text("reason", &reason, draft::TEXT_BYTES_MAX)?;
    let uid = core.find(&key).await?;
    let invoice = core.invoice(uid).await?;
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
    let recorded = core.record(&booted, intent).await?;
    let (index, repeated) = match recorded.outcome {
        Outcome::Ok => (recorded.index, false),
        Outcome::DuplicateOf(first) => (first, true),
        Outcome::Refused(reason) => return Err(Error::refused(reason, &super::describe(&key))),
    };
    Ok(Voided {
        invoice: core.invoice(uid).await?,
        repeated,
        receipt: prove::receipt(core, &booted, index).await?,
    })
}
