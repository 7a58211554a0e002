//! Check: is this document issued here, and what is its status now?
//!
//! Promises: the answer is about the bytes alone; it names every invoice of the tenant with a
//! rendition of exactly these bytes, or says that there are too many.

use super::issue::UploadPieces;
use super::progress::moving;
use super::tenants::Tenants;
use crate::domain::call_error::CallError;
use crate::domain::draft::bad;
use crate::domain::ids::{TreeSize, Uid};
use crate::ledger::state::{Invoice, Tables};
use crate::objective::read::ReadLevel;
use crate::raft::reads::{Answered, Reads};
use crate::store::StoreError;
use futures::StreamExt as _;
use muniment_evidence::digest::{Digest, Hasher};
use std::time::Duration;

/// Invoices looked up at a time.
const INVOICES_AT_A_TIME: usize = 100;
/// Bytes of invoices in the answer: below the message limit with room to spare.
const ANSWER_BYTES_MAX: usize = 2 << 20;

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
        /// How long they may move no byte.
        idle: Duration,
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
        CheckedBytes::Pieces {
            pieces,
            bytes_max,
            idle,
        } => digest_of(moving(pieces, idle), bytes_max).await?,
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
        .read(move |tables| all_with_body(tables, &tenant, &sha256, size))
        .await?;
    match invoices {
        Some(invoices) => Ok((invoices, answered)),
        // An answer that leaves some out would be a wrong one.
        None => Err(CallError::exhausted(
            "more invoices have these very bytes than one answer can name; list them",
        )),
    }
}

/// All of them, or none if there are more than an answer has room for.
fn all_with_body(
    tables: &Tables<'_>,
    tenant: &str,
    sha256: &Digest,
    size: TreeSize,
) -> Result<Option<Vec<Invoice>>, StoreError> {
    let (mut found, mut bytes, mut from) = (Vec::new(), 0, Uid([0; 16]));
    loop {
        let uids = tables.with_body(tenant, sha256, from, INVOICES_AT_A_TIME)?;
        for uid in &uids {
            let Some(invoice) = tables.invoice(*uid, size)? else {
                continue;
            };
            bytes += invoice.bytes();
            if bytes > ANSWER_BYTES_MAX {
                return Ok(None);
            }
            found.push(invoice);
        }
        let next = uids
            .last()
            .and_then(|uid| u128::from_be_bytes(uid.0).checked_add(1));
        match next {
            Some(next) if uids.len() == INVOICES_AT_A_TIME => from = Uid(next.to_be_bytes()),
            _ => return Ok(Some(found)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::tests::{TestLedger, TestSigner, four, issue_of, named};
    use muniment_evidence::statement::Level;

    /// "Not issued here" about an invoice whose bytes others have too, in this tenant or in
    /// another, would be a wrong answer to act upon.
    #[test]
    fn all_invoices_of_the_same_bytes_are_found_and_no_other_tenants() {
        for count in [INVOICES_AT_A_TIME as u64, 10 * INVOICES_AT_A_TIME as u64] {
            let (mut ledger, mut lane): (TestLedger, TestSigner) = four();
            for number in 0..=count {
                let mut document = named(&ledger, number, &[(1, 1), (2, 2)]);
                if number == count {
                    document.metadata.identity.tenant = "another".into();
                }
                let said = issue_of(&ledger, &mut lane, Level::Quorum, document);
                ledger.outcomes(vec![said]);
            }
            let size = ledger.head().size;
            let of = |tenant| {
                let found = all_with_body(&ledger.tables(), tenant, &Digest([5; 32]), size);
                found.unwrap().map(|invoices| invoices.len() as u64)
            };
            assert_eq!(of("default"), Some(count));
            assert_eq!(of("another"), Some(1));
        }
    }
}
