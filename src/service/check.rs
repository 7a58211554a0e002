//! Check: is this document issued here, and what is its status now?
//!
//! Promises: the answer is about the bytes alone; it names every invoice with a rendition
//! of exactly these bytes.

use super::issue::UploadPieces;
use super::tenants::Tenants;
use crate::domain::call_error::CallError;
use crate::domain::draft::bad;
use crate::ledger::state::Invoice;
use crate::objective::read::ReadLevel;
use crate::raft::reads::{Answered, Reads};
use futures::StreamExt as _;
use muniment_evidence::digest::{Digest, Hasher};

/// Invoices that may share the very same bytes in one answer.
const INVOICES_MAX: usize = 100;

/// What is known of the bytes.
pub struct Checked {
    pub sha256: Digest,
    pub invoices: Vec<Invoice>,
    pub answered: Answered,
}

/// What is asked about.
pub enum CheckedBytes {
    Sha256(Digest),
    /// The bytes themselves, of which no more are taken than that.
    Pieces {
        pieces: UploadPieces,
        bytes_max: u64,
    },
}

/// Finds the tenant's invoices of exactly these bytes.
pub async fn check(
    reads: &Reads,
    tenants: &Tenants,
    tenant: &str,
    bytes: CheckedBytes,
    level: ReadLevel,
) -> Result<Checked, CallError> {
    let tenant = tenants.name(tenant)?;
    let sha256 = match bytes {
        CheckedBytes::Sha256(digest) => digest,
        CheckedBytes::Pieces { pieces, bytes_max } => digest_of(pieces, bytes_max).await?,
    };
    let (invoices, answered) = with_body(reads, &tenant, sha256, level).await?;
    let (invoices, answered) = if invoices.is_empty() && level.doubts_a_miss() {
        // `not issued here` is an answer to act upon: not before the leader was asked.
        with_body(reads, &tenant, sha256, ReadLevel::Linearizable).await?
    } else {
        (invoices, answered)
    };
    Ok(Checked {
        sha256,
        invoices,
        answered,
    })
}

async fn digest_of(mut pieces: UploadPieces, bytes_max: u64) -> Result<Digest, CallError> {
    let (mut hasher, mut length) = (Hasher::new(), 0);
    while let Some(piece) = pieces.next().await {
        let piece = piece?;
        length += piece.len() as u64;
        if length > bytes_max {
            return Err(bad("chunk", format!("above the limit of {bytes_max} bytes")).into());
        }
        hasher.update(&piece);
    }
    Ok(hasher.finish())
}

async fn with_body(
    reads: &Reads,
    tenant: &str,
    sha256: Digest,
    level: ReadLevel,
) -> Result<(Vec<Invoice>, Answered), CallError> {
    let answered = reads.answered_by(reads.fresh(level).await?);
    let (tenant, size) = (tenant.to_owned(), answered.log_size);
    let invoices = reads
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
