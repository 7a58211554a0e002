//! Issue: bytes safe on the level's holders, then one record, then the receipt.
//!
//! Promises: one identity is issued once; the same call again returns the first outcome;
//! nothing is kept of a call that is refused before its record. Uniqueness is decided in
//! apply; the looks-up here only spare bytes and sequence numbers.

use super::joining::Going;
use super::levels::{self, Patience};
use super::{Booted, Core, Error, Principal, prove};
use crate::bodies;
use crate::bodies::fanout::HOLDING_MAX;
use crate::bodies::upload::StoredBody;
use crate::domain::draft::{self, BadField, bad};
use crate::domain::ids::Uid;
use crate::ledger::state::{Invoice, Key};
use crate::objective::write::{WriteLevel, possible};
use crate::recorder::Intent;
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

/// What announces an upload.
#[derive(Clone, Debug)]
pub struct Header {
    pub request_id: String,
    pub metadata: Metadata,
    /// Empty means [`ORIGINAL`].
    pub role: String,
    /// Empty means PDF.
    pub media_type: String,
    pub length: u64,
    pub sha256: Option<Digest>,
    pub level: Option<WriteLevel>,
    pub patience: Patience,
}

/// Bytes of a body as they arrive; the transport's faults are told as an error.
pub type Pieces = BoxStream<'static, Result<Bytes, Error>>;

/// What became of the call.
#[derive(Clone, Debug)]
pub struct Issued {
    pub invoice: Invoice,
    /// An earlier call did it.
    pub repeated: bool,
    pub receipt: Receipt,
    pub level: WriteLevel,
    /// Nodes on which body and record are durable.
    pub nodes: Vec<u64>,
    pub zones: Vec<String>,
}

pub async fn issue(
    core: &Core,
    principal: &Principal,
    header: Header,
    pieces: Pieces,
) -> Result<Issued, Error> {
    enter(core, principal, header, pieces, Kind::Issue).await
}

/// The way in of ISSUE and REVERSE.
pub(super) async fn enter(
    core: &Core,
    principal: &Principal,
    mut header: Header,
    pieces: Pieces,
    kind: Kind,
) -> Result<Issued, Error> {
    let booted = core.booted()?;
    draft::request_id("request_id", &header.request_id)?;
    let tenant = core.tenant(&header.metadata.identity.tenant)?.clone();
    let identity = &mut header.metadata.identity;
    for (field, default) in [
        (&mut identity.tenant, &tenant.name),
        (&mut identity.scheme, &tenant.scheme),
        (&mut identity.issuer, &tenant.issuer),
    ] {
        if field.is_empty() {
            field.clone_from(default);
        }
    }
    header.metadata = draft::check(header.metadata)?;
    let form = Form::check(core, &header.role, &header.media_type, header.length)?;
    let level = header.level.unwrap_or(tenant.level());
    check_level(core, level)?;
    // The same call under way here is waited for before the first byte is taken.
    let going = join(core, &header, &form).await;
    if let Some(earlier) = repeat(core, &booted, &header, &form, kind).await? {
        drop(going);
        return earlier
            .report(core, &booted, &header.patience, level, true)
            .await;
    }
    let (length, sha256, patience) = (header.length, header.sha256, header.patience);
    let stored = store(core, pieces, length, sha256, level, &patience).await?;
    let rendition = form.rendition(&stored);
    let nodes = stored.holdings.iter().map(|h| h.node).collect();
    let issue = IssueDocument {
        uid: core.clock.uuid_v7(),
        request_id: header.request_id,
        metadata: header.metadata.clone(),
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
    let recorded = core.record(&booted, intent).await?;
    // It is applied here: whoever waited for this call finds it, and waits for his own level.
    drop(going);
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
        Outcome::Refused(reason) => return Err(refusal(core, reason, &header.metadata).await),
    };
    earlier
        .report(core, &booted, &patience, level, repeated)
        .await
}

/// How the bytes are to be stored.
pub(super) struct Form {
    pub role: String,
    pub media_type: String,
}

impl Form {
    pub(super) fn check(
        core: &Core,
        role: &str,
        media_type: &str,
        length: u64,
    ) -> Result<Form, Error> {
        let or =
            |given: &str, default: &str| if given.is_empty() { default } else { given }.to_owned();
        let form = Form {
            role: or(role, ORIGINAL),
            media_type: or(media_type, PDF),
        };
        draft::required("role", &form.role)?;
        draft::required("media_type", &form.media_type)?;
        let limit = core.limits.body_bytes;
        if length > limit {
            let why = format!("is {length} bytes, above the limit of {limit}");
            return Err(bad("length", why).into());
        }
        Ok(form)
    }

    pub(super) fn rendition(&self, stored: &StoredBody) -> Rendition {
        Rendition {
            role: self.role.clone(),
            media_type: self.media_type.clone(),
            length: stored.body.length,
            sha256: stored.body.sha256,
            body_id: stored.body.id,
        }
    }
}

/// A level that the members could never meet is refused at once.
pub(super) fn check_level(core: &Core, level: WriteLevel) -> Result<(), BadField> {
    if possible(level, &core.bodies.members()) {
        return Ok(());
    }
    Err(bad(
        "level",
        format!("{level} cannot be met by the members of this cluster"),
    ))
}

/// Takes the bytes in and has them held by enough nodes.
pub(super) async fn store(
    core: &Core,
    mut pieces: Pieces,
    length: u64,
    sha256: Option<Digest>,
    level: WriteLevel,
    patience: &Patience,
) -> Result<StoredBody, Error> {
    let Ok(_permit) = core.uploads.clone().try_acquire_owned() else {
        return Err(Error::exhausted("as many uploads as allowed are in flight"));
    };
    let Some(berth) = core.bodies.disk_budget.reserve(length) else {
        return Err(Error::exhausted("this node's disk is nearly full"));
    };
    let mut upload = core
        .bodies
        .begin(berth)
        .await
        .map_err(|e| unstored(core, e))?;
    let idle = Duration::from_millis(core.limits.idle_timeout_ms);
    loop {
        let piece = tokio::time::timeout(idle, pieces.next())
            .await
            .map_err(|_| bad("chunk", "no bytes came for too long; nothing is kept"))?;
        let Some(piece) = piece else { break };
        let piece = piece?;
        if piece.len() > core.limits.chunk_bytes {
            let limit = core.limits.chunk_bytes;
            return Err(bad("chunk", format!("is above the limit of {limit} bytes")).into());
        }
        if upload.length() + piece.len() as u64 > length {
            let why = format!("more bytes came than the {length} announced; nothing is kept");
            return Err(bad("length", why).into());
        }
        upload.push(piece).await.map_err(|e| unstored(core, e))?;
    }
    let accept = |came: u64, digest: Digest| {
        if came != length {
            let why = format!("{length} bytes were announced, {came} came; nothing is kept");
            return Err(bad("length", why));
        }
        match sha256 {
            Some(announced) if announced != digest => Err(bad(
                "sha256",
                format!("{announced} was announced, the bytes have {digest}; nothing is kept"),
            )),
            _ => Ok(()),
        }
    };
    let until = patience.within(HOLDING_MAX);
    let finished = upload.finish(level, until, accept).await;
    Ok(finished.map_err(|e| unstored(core, e))??)
}

fn unstored(core: &Core, error: bodies::BodyError) -> Error {
    core.unavailable(error.to_string())
}

/// A record that did what is asked again.
pub(super) struct Earlier {
    pub index: u64,
    /// Known holders; empty means: read them from the record.
    pub nodes: Vec<u64>,
}

impl Earlier {
    async fn report(
        self,
        core: &Core,
        booted: &Booted,
        patience: &Patience,
        level: WriteLevel,
        repeated: bool,
    ) -> Result<Issued, Error> {
        let index = self.index;
        let prover = prove::Prover::new(core, booted).await?;
        // One visit to the store for all of it.
        let (invoice, held, receipt) = core
            .read(move |tables| {
                let nothing =
                    || crate::store::Error::corrupt(format!("record {index} issues nothing"));
                let (uid, held) = match tables.document(index)? {
                    Document::Issue(d) | Document::Reverse(d) => {
                        let held: Vec<u64> = d.holdings.iter().map(|h| h.node).collect();
                        (Uid(d.uid), held)
                    }
                    _ => return Err(nothing()),
                };
                let size = tables.head()?.size;
                let invoice = tables.invoice(uid, size)?.ok_or_else(nothing)?;
                Ok((invoice, held, prover.receipt(tables, index)?))
            })
            .await?;
        let holders = if self.nodes.is_empty() {
            held
        } else {
            self.nodes
        };
        let nodes = levels::reach(core, index, Some(&holders), level, patience.until()).await?;
        Ok(Issued {
            invoice,
            repeated,
            receipt: receipt.ok_or_else(|| core.without_log_key())?,
            level,
            zones: zones(core, &nodes),
            nodes,
        })
    }
}

pub(super) fn zones(core: &Core, nodes: &[u64]) -> Vec<String> {
    let mut zones: Vec<String> = core
        .bodies
        .members()
        .into_iter()
        .filter(|member| nodes.contains(&member.node))
        .map(|member| member.zone)
        .collect();
    zones.sort();
    zones.dedup();
    zones
}

/// What the call is about, if it says the digest of its bytes.
fn content(header: &Header, form: &Form) -> Option<Digest> {
    let rendition = Rendition {
        role: form.role.clone(),
        media_type: form.media_type.clone(),
        length: header.length,
        sha256: header.sha256?,
        body_id: [0; 16],
    };
    Some(content_digest(&header.metadata, &[rendition]))
}

async fn join(core: &Core, header: &Header, form: &Form) -> Option<Going> {
    let content = content(header, form)?;
    let tenant = header.metadata.identity.tenant.clone();
    let call = (tenant, header.request_id.clone(), content);
    Some(core.joining.enter(call).await)
}

/// Looks before the first byte: a known repeat is answered at once, a sure conflict is
/// refused at once. What cannot be told without the bytes goes on to apply.
async fn repeat(
    core: &Core,
    _booted: &Booted,
    header: &Header,
    form: &Form,
    kind: Kind,
) -> Result<Option<Earlier>, Error> {
    let Some(content) = content(header, form) else {
        return Ok(None);
    };
    let (tenant, request_id) = (
        header.metadata.identity.tenant.clone(),
        header.request_id.clone(),
    );
    let identity = Key::Identity(header.metadata.identity.clone());
    let (request, taken) = core
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
            return Err(refusal(core, Reason::RequestIdReused, &header.metadata).await);
        }
        return Ok(Some(Earlier {
            index: request.index,
            nodes: Vec::new(),
        }));
    }
    match taken {
        Some(row) if row.content != content => {
            Err(refusal(core, Reason::IdentityTaken, &header.metadata).await)
        }
        _ => Ok(None),
    }
}

/// The refusal in words, with what is stored where that helps.
async fn refusal(core: &Core, reason: Reason, metadata: &Metadata) -> Error {
    let key = Key::Identity(metadata.identity.clone());
    let mut error = Error::refused(reason, &super::describe(&key));
    if let Error::Taken {
        reason: Reason::IdentityTaken | Reason::RequestIdReused,
        detail,
        stored_sha256,
    } = &mut error
        && let Ok(uid) = core.find(&key).await
        && let Ok(stored) = core.invoice(uid).await
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
