//! AddRendition: a further form of an issued invoice, stored once per role.

use super::issue::{Form, Pieces, check_level, store, zones};
use super::levels::{self, Patience};
use super::{Core, Error, Principal, prove};
use crate::domain::draft;
use crate::ledger::state::{Invoice, Key};
use crate::objective::write::WriteLevel;
use crate::recorder::Intent;
use muniment_evidence::digest::Digest;
use muniment_evidence::opening::{AddRenditionDocument, Document};
use muniment_evidence::receipt::Receipt;
use muniment_evidence::record::Outcome;
use muniment_evidence::statement::Mode;

/// What announces the bytes.
#[derive(Clone, Debug)]
pub struct Header {
    pub request_id: String,
    pub key: Key,
    pub role: String,
    pub media_type: String,
    pub length: u64,
    pub sha256: Option<Digest>,
    pub level: Option<WriteLevel>,
    pub patience: Patience,
}

#[derive(Clone, Debug)]
pub struct Added {
    pub invoice: Invoice,
    pub repeated: bool,
    pub receipt: Receipt,
    pub level: WriteLevel,
    pub nodes: Vec<u64>,
    pub zones: Vec<String>,
}

pub async fn add_rendition(
    core: &Core,
    principal: &Principal,
    header: Header,
    pieces: Pieces,
) -> Result<Added, Error> {
    let booted = core.booted()?;
    draft::request_id("request_id", &header.request_id)?;
    draft::required("role", &header.role)?;
    let form = Form::check(core, &header.role, &header.media_type, header.length)?;
    let uid = core.find(&header.key).await?;
    let invoice = core.invoice(uid).await?;
    let tenant = core.tenant(&invoice.metadata.identity.tenant)?;
    let level = header.level.unwrap_or(tenant.level());
    check_level(core, level)?;
    let (length, sha256, patience) = (header.length, header.sha256, header.patience);
    let stored = store(core, pieces, length, sha256, level, &patience).await?;
    let nodes: Vec<u64> = stored.holdings.iter().map(|h| h.node).collect();
    let rendition = form.rendition(&stored);
    let intent = Intent {
        document: Document::AddRendition(AddRenditionDocument {
            tenant: tenant.name.clone(),
            uid: uid.0,
            request_id: header.request_id,
            rendition,
            holdings: stored.holdings,
        }),
        actor: principal.actor(),
        mode: Mode::None,
        level: level.to_statement(),
    };
    let recorded = core.record(&booted, intent).await?;
    let (index, repeated) = match recorded.outcome {
        Outcome::Ok => (recorded.index, false),
        Outcome::DuplicateOf(first) => (first, true),
        Outcome::Refused(reason) => {
            return Err(Error::refused(reason, &super::describe(&header.key)));
        }
    };
    // A repetition's holders are those of the first record, not of the bytes that came now.
    let holders = match core.read(move |tables| tables.document(index)).await? {
        Document::AddRendition(d) if repeated => d.holdings.iter().map(|h| h.node).collect(),
        _ => nodes,
    };
    let until = patience.until();
    let nodes = levels::reach(core, index, Some(&holders), level, until).await?;
    Ok(Added {
        invoice: core.invoice(uid).await?,
        repeated,
        receipt: prove::receipt(core, &booted, index).await?,
        level,
        zones: zones(core, &nodes),
        nodes,
    })
}
