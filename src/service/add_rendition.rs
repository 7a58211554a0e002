//! AddRendition: a further form of an issued invoice, stored once per role.

use super::admission::UploadTurn;
use super::issue::{BodyDraft, Form, UploadPieces, store};
use super::levels::WaitBudget;
use super::{Parts, Principal, comparison, find, levels, prove};
use crate::domain::call_error::CallError;
use crate::domain::draft::{self, InvoiceKey};
use crate::domain::ids::{NodeId, RecordIndex, Uid};
use crate::ledger::state::Invoice;
use crate::objective::write::WriteLevel;
use crate::raft::reads::Reads;
use crate::recorder::Intent;
use muniment_evidence::opening::{AddRenditionDocument, Document, Rendition};
use muniment_evidence::receipt::Receipt;
use muniment_evidence::record::{Outcome, Reason};
use muniment_evidence::rules::rendition_request_digest;
use muniment_evidence::statement::{Kind, Mode};

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
    mut pieces: UploadPieces,
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
    let asked = (&*tenant, &*draft.request_id);
    let sha256 = comparison::digest(parts, asked, &draft.body, &mut pieces, turn).await?;
    let known = match sha256.map(|sha256| form.announced(draft.body.length, sha256)) {
        Some(announced) => repeat(&parts.reads, asked, uid, &announced).await?,
        None => None,
    };
    if let Some(first) = known {
        return report(parts, uid, first, None, level, &wait).await;
    }
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
    match recorded.outcome {
        Outcome::Ok => report(parts, uid, recorded.index, Some(nodes), level, &wait).await,
        Outcome::DuplicateOf(first) => report(parts, uid, first, None, level, &wait).await,
        Outcome::Refused(reason) => Err(CallError::refused(reason, &key.to_string())),
    }
}

/// The record that did it, where the same was asked for under this request id before.
async fn repeat(
    reads: &Reads,
    (tenant, request_id): (&str, &str),
    uid: Uid,
    rendition: &Rendition,
) -> Result<Option<RecordIndex>, CallError> {
    let content = rendition_request_digest(&uid.0, rendition);
    let (of, id) = (tenant.to_owned(), request_id.to_owned());
    let request = reads.read(move |tables| tables.request(&of, &id)).await?;
    match request {
        Some(row) if row.kind == Kind::AddRendition && row.content == content => {
            Ok(Some(row.index))
        }
        Some(_) => Err(CallError::refused(Reason::RequestIdReused, request_id)),
        None => Ok(None),
    }
}

/// The answer once record `index` is durable; `holders` are `None` of a repetition.
async fn report(
    parts: &Parts,
    uid: Uid,
    index: RecordIndex,
    holders: Option<Vec<NodeId>>,
    level: WriteLevel,
    wait: &WaitBudget,
) -> Result<AddedRendition, CallError> {
    let booted = parts.writes.booted()?;
    let repeated = holders.is_none();
    // A repetition's holders are those of the first record, not of the bytes that came now.
    let document = parts.reads.read(move |tables| tables.document(index));
    let holders = match (holders, document.await?) {
        (Some(holders), _) => holders,
        (None, Document::AddRendition(d)) => d.holdings.iter().map(|h| h.node).collect(),
        (None, _) => Vec::new(),
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
