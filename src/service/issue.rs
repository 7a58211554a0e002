//! Issue: bytes safe on the level's holders, then one record, then the receipt.
//!
//! Promises: one identity is issued once; the same call again returns the first outcome;
//! nothing is kept of a call that is refused before its record. Uniqueness is decided in
//! apply; the looks-up here only spare bytes and sequence numbers.
//!
//! Tests: `tests/cluster/uniqueness.rs`, `tests/cluster/limits.rs`.

use super::admission::UploadTurn;
use super::levels::{self, WaitBudget};
use super::progress::moving;
use super::singleflight::Flight;
use super::{Parts, Principal, comparison, find, prove};
use crate::bodies::BodyError;
use crate::bodies::fanout::HOLDING_MAX;
use crate::bodies::upload::StoredBody;
use crate::config::Limits;
use crate::domain::call_error::CallError;
use crate::domain::draft::{self, BadField, InvoiceKey, bad};
use crate::domain::ids::{BodyId, NodeId, RecordIndex, Uid};
use crate::ledger::state::Invoice;
use crate::objective::write::WriteLevel;
use crate::raft::reads::Reads;
use crate::recorder::Intent;
use crate::recorder::booted::Booted;
use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt as _};
use muniment_evidence::digest::Digest;
use muniment_evidence::opening::{Document, IssueDocument, Metadata, Rendition, content_digest};
use muniment_evidence::receipt::Receipt;
use muniment_evidence::record::{Outcome, Reason};
use muniment_evidence::statement::{Kind, Mode};
use std::time::Duration;

/// The role of an invoice's first rendition.
pub const ORIGINAL: &str = "original";
const PDF: &str = "application/pdf";

/// Bytes that are announced.
#[derive(Clone, Debug, Default)]
pub struct BodyDraft {
    /// Empty means [`ORIGINAL`].
    pub role: String,
    /// Empty means PDF.
    pub media_type: String,
    pub length: u64,
    pub sha256: Option<Digest>,
    /// The tenant's own where nothing is said.
    pub level: Option<WriteLevel>,
    pub wait: WaitBudget,
}

/// An invoice to be issued.
#[derive(Clone, Debug, Default)]
pub struct IssueDraft {
    pub request_id: String,
    pub metadata: Metadata,
    pub body: BodyDraft,
}

/// Look-alikes that an answer names: enough to see that there is something to look into.
const LOOK_ALIKES_MAX: usize = 8;

/// Bytes of a body as they arrive; the transport's faults are told as an error.
pub type UploadPieces = BoxStream<'static, Result<Bytes, CallError>>;

/// What became of the call.
#[derive(Clone, Debug)]
pub struct Issued {
    pub invoice: Invoice,
    /// An earlier call did it.
    pub repeated: bool,
    pub receipt: Receipt,
    /// Numbers of other invoices that look like its own.
    pub look_alikes: Vec<String>,
    pub level: WriteLevel,
    /// Nodes on which body and record are durable.
    pub nodes: Vec<NodeId>,
    pub zones: Vec<String>,
}

/// Issues an invoice.
pub async fn issue(
    parts: &Parts,
    principal: &Principal,
    draft: IssueDraft,
    pieces: UploadPieces,
    turn: UploadTurn,
) -> Result<Issued, CallError> {
    enter(parts, principal, draft, pieces, turn, Kind::Issue).await
}

/// The way in of ISSUE and REVERSE.
pub(super) async fn enter(
    parts: &Parts,
    principal: &Principal,
    mut draft: IssueDraft,
    mut pieces: UploadPieces,
    turn: UploadTurn,
    kind: Kind,
) -> Result<Issued, CallError> {
    let booted = parts.writes.booted()?;
    draft::request_id("request_id", &draft.request_id)?;
    draft.metadata = parts.tenants.resolve_metadata(draft.metadata)?;
    let form = Form::check(&parts.admission.limits, &draft.body)?;
    let tenant_level = parts.tenants.level(&draft.metadata.identity.tenant)?;
    let level = draft.body.level.unwrap_or(tenant_level);
    levels::check(&parts.bodies, level)?;
    // The same call under way here is waited for before the first byte is taken.
    let flight = join(parts, &draft, &form).await;
    let asked = (&*draft.metadata.identity.tenant, &*draft.request_id);
    draft.body.sha256 = comparison::digest(parts, asked, &draft.body, &mut pieces, turn).await?;
    if let Some(earlier) = repeat(&parts.reads, &draft, &form, kind).await? {
        drop(flight);
        let wait = &draft.body.wait;
        return earlier.report(parts, &booted, wait, level, true).await;
    }
    let wait = draft.body.wait;
    let stored = store(parts, pieces, &draft.body, level, turn).await?;
    let rendition = form.rendition(&stored);
    let nodes = stored.holdings.iter().map(|h| h.node).collect();
    let issue = IssueDocument {
        uid: parts.reads.context.clock.uuid_v7(),
        request_id: draft.request_id,
        metadata: draft.metadata.clone(),
        renditions: vec![rendition],
        holdings: stored.holdings,
    };
    let document = match kind {
        Kind::Reverse => Document::Reverse(issue),
        _ => Document::Issue(issue),
    };
    let intent = Intent {
        document,
        actor: principal.actor(),
        mode: Mode::None,
        level: level.to_statement(),
    };
    let recorded = parts.writes.record(&booted, intent).await?;
    // It is applied here: whoever waited for this call finds it, and waits for his own level.
    drop(flight);
    let (earlier, repeated) = match recorded.outcome {
        Outcome::Ok => {
            let index = recorded.index;
            (Earlier { index, nodes }, false)
        }
        // Its holders are those of the first record, not of the bytes that came now.
        Outcome::DuplicateOf(index) => {
            let nodes = Vec::new();
            (Earlier { index, nodes }, true)
        }
        Outcome::Refused(reason) => {
            return Err(refusal(&parts.reads, reason, &draft.metadata).await);
        }
    };
    earlier.report(parts, &booted, &wait, level, repeated).await
}

/// How the bytes are to be stored.
pub(super) struct Form {
    pub role: String,
    pub media_type: String,
}

impl Form {
    pub(super) fn check(limits: &Limits, body: &BodyDraft) -> Result<Form, BadField> {
        let or =
            |given: &str, default: &str| if given.is_empty() { default } else { given }.to_owned();
        let form = Form {
            role: or(&body.role, ORIGINAL),
            media_type: or(&body.media_type, PDF),
        };
        draft::required("role", &form.role)?;
        draft::required("media_type", &form.media_type)?;
        let (length, limit) = (body.length, limits.body_bytes);
        if length > limit {
            let why = format!("is {length} bytes, above the limit of {limit}");
            return Err(bad("length", why));
        }
        Ok(form)
    }

    /// A rendition of which only is known what a caller says.
    pub(super) fn announced(&self, length: u64, sha256: Digest) -> Rendition {
        Rendition {
            role: self.role.clone(),
            media_type: self.media_type.clone(),
            length,
            sha256,
            // Not known before the bytes, and no part of what makes two calls the same.
            chunk_root: Digest::ZERO,
            body_id: BodyId::default(),
        }
    }

    pub(super) fn rendition(&self, stored: &StoredBody) -> Rendition {
        Rendition {
            role: self.role.clone(),
            media_type: self.media_type.clone(),
            length: stored.body.length,
            sha256: stored.body.sha256,
            chunk_root: stored.body.chunk_root,
            body_id: stored.body.id,
        }
    }
}

/// Takes the bytes in and has them held by enough nodes.
pub(super) async fn store(
    parts: &Parts,
    pieces: UploadPieces,
    body: &BodyDraft,
    level: WriteLevel,
    turn: UploadTurn,
) -> Result<StoredBody, CallError> {
    let permit = parts.admission.upload(turn).await?;
    let (length, limits) = (body.length, &parts.admission.limits);
    let unstored = |error: BodyError| parts.reads.unavailable(error.to_string());
    let Some(berth) = parts.bodies.disk_budget.reserve(length) else {
        return Err(CallError::exhausted("this node's disk is nearly full"));
    };
    let mut upload = parts.bodies.begin(berth).await.map_err(unstored)?;
    let mut pieces = moving(pieces, Duration::from_millis(limits.idle_timeout_ms));
    while let Some(piece) = pieces.next().await {
        let piece = piece?;
        if piece.len() > limits.chunk_bytes {
            let limit = limits.chunk_bytes;
            return Err(bad("chunk", format!("is above the limit of {limit} bytes")).into());
        }
        if upload.length() + piece.len() as u64 > length {
            let why = format!("more bytes came than the {length} announced; nothing is kept");
            return Err(bad("length", why).into());
        }
        upload.push(piece).await.map_err(unstored)?;
    }
    let accept = |came: u64, digest: Digest| {
        if came != length {
            let why = format!("{length} bytes were announced, {came} came; nothing is kept");
            return Err(bad("length", why));
        }
        match body.sha256 {
            Some(announced) if announced != digest => Err(bad(
                "sha256",
                format!("{announced} was announced, the bytes have {digest}; nothing is kept"),
            )),
            _ => Ok(()),
        }
    };
    let until = body.wait.within(HOLDING_MAX);
    let finished = upload.finish(level, until, accept).await;
    drop(permit);
    Ok(finished.map_err(unstored)??)
}

/// A record that did what is asked again.
pub(super) struct Earlier {
    pub index: RecordIndex,
    /// Known holders; empty means: read them from the record.
    pub nodes: Vec<NodeId>,
}

impl Earlier {
    async fn report(
        self,
        parts: &Parts,
        booted: &Booted,
        wait: &WaitBudget,
        level: WriteLevel,
        repeated: bool,
    ) -> Result<Issued, CallError> {
        let index = self.index;
        let prover = prove::Prover::new(&parts.keys, booted).await?;
        // One visit to the store for all of it.
        let (invoice, held, receipt, look_alikes) = parts
            .reads
            .read(move |tables| {
                let nothing =
                    || crate::store::StoreError::corrupt(format!("record {index} issues nothing"));
                let (uid, held) = match tables.document(index)? {
                    Document::Issue(d) | Document::Reverse(d) => {
                        let held: Vec<NodeId> = d.holdings.iter().map(|h| h.node).collect();
                        (Uid(d.uid), held)
                    }
                    _ => return Err(nothing()),
                };
                let size = tables.head()?.size;
                let invoice = tables.invoice(uid, size)?.ok_or_else(nothing)?;
                let identity = &invoice.metadata.identity;
                let look_alikes = tables.look_alikes(identity, uid, LOOK_ALIKES_MAX)?;
                let receipt = prover.receipt(tables, index)?;
                Ok((invoice, held, receipt, look_alikes))
            })
            .await?;
        let holders = if self.nodes.is_empty() {
            held
        } else {
            self.nodes
        };
        let nodes = levels::reach(parts, index, Some(&holders), level, wait.until()).await?;
        Ok(Issued {
            invoice,
            repeated,
            receipt: receipt.ok_or_else(|| parts.keys.without_log_key())?,
            look_alikes,
            level,
            zones: levels::zones(&parts.bodies, &nodes),
            nodes,
        })
    }
}

/// What the call is about, if it says the digest of its bytes.
fn content(draft: &IssueDraft, form: &Form) -> Option<Digest> {
    let rendition = form.announced(draft.body.length, draft.body.sha256?);
    Some(content_digest(&draft.metadata, &[rendition]))
}

async fn join(parts: &Parts, draft: &IssueDraft, form: &Form) -> Flight {
    // Calls that do not say what their bytes are may be the same.
    let content = content(draft, form).unwrap_or(Digest::ZERO);
    let tenant = draft.metadata.identity.tenant.clone();
    let call = (tenant, draft.request_id.clone(), content);
    parts.admission.singleflight.enter(call).await
}

/// Looks before the first byte: a known repeat is answered at once, a sure conflict is
/// refused at once. What cannot be told without the bytes goes on to apply.
async fn repeat(
    reads: &Reads,
    draft: &IssueDraft,
    form: &Form,
    kind: Kind,
) -> Result<Option<Earlier>, CallError> {
    let Some(content) = content(draft, form) else {
        return Ok(None);
    };
    let tenant = draft.metadata.identity.tenant.clone();
    let request_id = draft.request_id.clone();
    let identity = InvoiceKey::Identity(draft.metadata.identity.clone());
    let (request, taken) = reads
        .read(move |tables| {
            let request = tables.request(&tenant, &request_id)?;
            let taken = match tables.find(&identity)? {
                Some(uid) => tables.invoice_row(uid)?,
                None => None,
            };
            Ok((request, taken))
        })
        .await?;
    if let Some(request) = request {
        if request.kind != kind || request.content != content {
            return Err(refusal(reads, Reason::RequestIdReused, &draft.metadata).await);
        }
        return Ok(Some(Earlier {
            index: request.index,
            nodes: Vec::new(),
        }));
    }
    match taken {
        Some(row) if row.content != content => {
            Err(refusal(reads, Reason::IdentityTaken, &draft.metadata).await)
        }
        _ => Ok(None),
    }
}

/// The refusal in words, with what is stored where that helps.
async fn refusal(reads: &Reads, reason: Reason, metadata: &Metadata) -> CallError {
    let key = InvoiceKey::Identity(metadata.identity.clone());
    let mut error = CallError::refused(reason, &key.to_string());
    if let CallError::Taken {
        reason: Reason::IdentityTaken | Reason::RequestIdReused,
        detail,
        stored_sha256,
    } = &mut error
        && let Ok(uid) = find::find(reads, &key).await
        && let Ok(stored) = find::invoice(reads, uid).await
    {
        let original = stored.renditions.first();
        *stored_sha256 = original.map(|rendition| rendition.sha256);
        let differs = differing(metadata, &stored.metadata);
        let differs = differs.join(", ");
        detail.push_str(&format!("; it is issued as {uid}, what differs: {differs}"));
    }
    error
}

/// Names the fields in which two invoices differ.
fn differing(asked: &Metadata, stored: &Metadata) -> Vec<&'static str> {
    let fields = [
        ("type_code", asked.type_code == stored.type_code),
        ("issue_date", asked.issue_date == stored.issue_date),
        ("seller", asked.seller == stored.seller),
        ("buyer", asked.buyer == stored.buyer),
        ("total", asked.total == stored.total),
        ("tax", asked.tax == stored.tax),
        ("references", asked.references == stored.references),
        (
            "alternative_ids",
            asked.alternative_ids == stored.alternative_ids,
        ),
        ("labels", asked.labels == stored.labels),
        ("retain_until", asked.retain_until == stored.retain_until),
        (
            "residency_domain",
            asked.residency_domain == stored.residency_domain,
        ),
    ];
    let mut names: Vec<_> = fields
        .into_iter()
        .filter(|(_, same)| !same)
        .map(|(name, _)| name)
        .collect();
    if names.is_empty() {
        names.push("the bytes or their form");
    }
    names
}
