//! AddRendition: a further form of an issued invoice, stored once per role.

use super::admission::UploadTurn;
use super::issue::{BodyDraft, Form, UploadPieces, store};
use super::{Parts, Principal, find, levels, prove};
use crate::domain::call_error::CallError;
use crate::domain::draft::{self, InvoiceKey};
use crate::domain::ids::NodeId;
use crate::ledger::state::Invoice;
use crate::objective::write::WriteLevel;
use crate::recorder::Intent;
use muniment_evidence::opening::{AddRenditionDocument, Document};
use muniment_evidence::receipt::Receipt;
use muniment_evidence::record::Outcome;
use muniment_evidence::statement::Mode;

/// Bytes to be stored beside those of an issued invoice.
#[derive(Clone, Debug)]
pub struct RenditionDraft {
    pub request_id: String,
    pub key: InvoiceKey,
    pub body: BodyDraft,
}

/// What became of the call.
#[derive(Clone, Debug)]
pub struct AddedRendition {
    pub invoice: Invoice,
    pub repeated: bool,
    pub receipt: Receipt,
    pub level: WriteLevel,
    pub nodes: Vec<NodeId>,
    pub zones: Vec<String>,
}

/// Stores a further form of an invoice.
pub async fn add_rendition(
    parts: &Parts,
    principal: &Principal,
    draft: RenditionDraft,
    pieces: UploadPieces,
    turn: UploadTurn,
) -> Result<AddedRendition, CallError> {
    let key = parts.tenants.resolve_key("key", draft.key)?;
    let booted = parts.writes.booted()?;
    draft::request_id("request_id", &draft.request_id)?;
    draft::required("role", &draft.body.role)?;
    let form = Form::check(&parts.admission.limits, &draft.body)?;
    let uid = find::find(&parts.reads, &key).await?;
    let invoice = find::invoice(&parts.reads, uid).await?;
    let tenant = invoice.metadata.identity.tenant;
    let level = draft.body.level;
    let level = level.map_or_else(|| parts.tenants.level(&tenant), Ok)?;
    levels::check(&parts.bodies, level)?;
    let wait = draft.body.wait;
    let stored = store(parts, pieces, &draft.body, level, turn).await?;
    let nodes: Vec<NodeId> = stored.holdings.iter().map(|h| h.node).collect();
    let rendition = form.rendition(&stored);
    let intent = Intent {
        document: Document::AddRendition(AddRenditionDocument {
            tenant,
            uid: uid.0,
            request_id: draft.request_id,
            rendition,
            holdings: stored.holdings,
        }),
        actor: principal.actor(),
        mode: Mode::None,
        level: level.to_statement(),
    };
    let recorded = parts.writes.record(&booted, intent).await?;
    let (index, repeated) = match recorded.outcome {
        Outcome::Ok => (recorded.index, false),
        Outcome::DuplicateOf(first) => (first, true),
        Outcome::Refused(reason) => {
            return Err(CallError::refused(reason, &key.to_string()));
        }
    };
    // A repetition's holders are those of the first record, not of the bytes that came now.
    let holders = match parts
        .reads
        .read(move |tables| tables.document(index))
        .await?
    {
        Document::AddRendition(d) if repeated => d.holdings.iter().map(|h| h.node).collect(),
        _ => nodes,
    };
    let until = wait.until();
    let nodes = levels::reach(parts, index, Some(&holders), level, until).await?;
    Ok(AddedRendition {
        invoice: find::invoice(&parts.reads, uid).await?,
        repeated,
        receipt: prove::receipt(&parts.reads, &parts.keys, &booted, index).await?,
        level,
        zones: levels::zones(&parts.bodies, &nodes),
        nodes,
    })
}
