//! Check: is this document issued here, and what is its status now?
//!
//! Promises: the answer is about the bytes alone; it names every invoice with a rendition
//! of exactly these bytes.

use super::issue::Pieces;
use super::{Answered, Core, Error, Principal};
use crate::domain::draft::bad;
use crate::ledger::state::Invoice;
use crate::objective::read::ReadLevel;
use futures::StreamExt as _;
use muniment_evidence::digest::{Digest, Hasher};

/// Invoices that may share the very same bytes in one answer.
const INVOICES_MAX: usize = 100;

pub struct Checked {
    pub sha256: Digest,
    pub invoices: Vec<Invoice>,
    pub answered: Answered,
}

pub async fn check(
    core: &Core,
    _principal: &Principal,
    tenant: &str,
    sha256: Option<Digest>,
    mut pieces: Pieces,
    level: ReadLevel,
) -> Result<Checked, Error> {
    let tenant = core.tenant(tenant)?.name.clone();
    let sha256 = match sha256 {
        Some(digest) => digest,
        None => {
            let (mut hasher, mut length) = (Hasher::new(), 0);
            while let Some(piece) = pieces.next().await {
                let piece = piece?;
                length += piece.len() as u64;
                if length > core.limits.body_bytes {
                    let limit = core.limits.body_bytes;
                    return Err(bad("chunk", format!("above the limit of {limit} bytes")).into());
                }
                hasher.update(&piece);
            }
            hasher.finish()
        }
    };
    let (invoices, answered) = with_body(core, &tenant, sha256, level).await?;
    let (invoices, answered) = if invoices.is_empty() && level.doubts_a_miss() {
        // `not issued here` is an answer to act upon: not before the leader was asked.
        with_body(core, &tenant, sha256, ReadLevel::Linearizable).await?
    } else {
        (invoices, answered)
    };
    Ok(Checked {
        sha256,
        invoices,
        answered,
    })
}

async fn with_body(
    core: &Core,
    tenant: &str,
    sha256: Digest,
    level: ReadLevel,
) -> Result<(Vec<Invoice>, Answered), Error> {
    let answered = core.answered_by(core.fresh(level).await?);
    let (tenant, size) = (tenant.to_owned(), answered.log_size);
    let invoices = core
        .read(move |tables| {
            let mut found = Vec::new();
            for uid in tables.with_body(&sha256, INVOICES_MAX)? {
                if let Some(invoice) = tables.invoice(uid, size)?
                    && invoice.metadata.identity.tenant == tenant
                {
                    found.push(invoice);
                }
            }
            Ok(found)
        })
        .await?;
    Ok((invoices, answered))
}
