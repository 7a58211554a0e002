//! Check: is this document issued here, and what is its status now?
//!
//! Promises: the answer is about the bytes alone; its pages, all of one log size, name every
//! invoice of the tenant with a rendition of exactly these bytes.

use super::issue::UploadPieces;
use super::list::{self, ANSWER_BYTES_MAX};
use super::progress::moving;
use super::tenants::Tenants;
use crate::domain::call_error::CallError;
use crate::domain::draft::bad;
use crate::domain::ids::{TreeSize, Uid};
use crate::ledger::state::{Invoice, Tables};
use crate::objective::read::ReadLevel;
use crate::raft::reads::{Answered, Proven, Reads};
use crate::store::StoreError;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures::StreamExt as _;
use muniment_evidence::codec::{DecodeError, Reader, Writer};
use muniment_evidence::digest::{Digest, Hasher};
use std::time::Duration;

/// Invoices looked up at a time.
const INVOICES_AT_A_TIME: usize = 100;

/// What is known of the bytes.
pub struct Checked {
    pub sha256: Digest,
    pub invoices: Vec<Invoice>,
    /// Empty after the last page.
    pub cursor: String,
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

/// Which of them are asked for.
pub struct PageAsked<'a> {
    /// 0 where nothing is said.
    pub size: usize,
    /// Empty for the first page.
    pub cursor: &'a str,
    pub level: ReadLevel,
}

/// Finds the tenant's invoices of exactly these bytes.
pub async fn check(
    reads: &Reads,
    tenants: &Tenants,
    tenant: &str,
    bytes: CheckedBytes,
    asked: PageAsked<'_>,
) -> Result<Checked, CallError> {
    let tenant = tenants.name(tenant)?;
    let page_size = list::page(asked.size)?;
    let sha256 = match bytes {
        CheckedBytes::Sha256(digest) => digest,
        CheckedBytes::Pieces {
            pieces,
            bytes_max,
            idle,
        } => digest_of(moving(pieces, idle), bytes_max).await?,
    };
    let about = Digest::of(&[tenant.as_bytes(), &sha256.0]);
    let level = asked.level;
    let (from, proven) = match asked.cursor {
        "" => (Uid([0; 16]), reads.fresh(level).await?),
        text => {
            let cursor = Cursor::parse(text, &about)?;
            (cursor.next, list::reached(reads, cursor.size, level).await?)
        }
    };
    let page = |proven| page(reads, &tenant, sha256, from, page_size, proven);
    let mut found = page(proven).await?;
    if found.0.is_empty() && asked.cursor.is_empty() && level.doubts_a_miss() {
        // `not issued here` is an answer to act upon: not before the leader was asked.
        found = page(reads.fresh(ReadLevel::Linearizable).await?).await?;
    }
    let (invoices, next, answered) = found;
    let size = answered.log_size;
    Ok(Checked {
        sha256,
        invoices,
        cursor: next.map_or_else(String::new, |next| Cursor { size, next }.render(&about)),
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

async fn page(
    reads: &Reads,
    tenant: &str,
    sha256: Digest,
    from: Uid,
    page_size: usize,
    proven: Proven,
) -> Result<(Vec<Invoice>, Option<Uid>, Answered), CallError> {
    let answered = reads.answered_by(proven);
    let (tenant, size) = (tenant.to_owned(), answered.log_size);
    let (invoices, next) = reads
        .read(move |tables| with_body(tables, &tenant, &sha256, from, size, page_size))
        .await?;
    Ok((invoices, next, answered))
}

/// One page from a uid on, and where the next begins, if there may be one: it ends by invoices
/// and by their bytes, and has one at least where there is one.
fn with_body(
    tables: &Tables<'_>,
    tenant: &str,
    sha256: &Digest,
    mut from: Uid,
    size: TreeSize,
    page_size: usize,
) -> Result<(Vec<Invoice>, Option<Uid>), StoreError> {
    let (mut found, mut bytes) = (Vec::new(), 0);
    loop {
        let uids = tables.with_body(tenant, sha256, from, INVOICES_AT_A_TIME)?;
        for uid in &uids {
            let Some(invoice) = tables.invoice(*uid, size)? else {
                continue;
            };
            bytes += invoice.bytes();
            let full = found.len() >= page_size || bytes > ANSWER_BYTES_MAX;
            if full && !found.is_empty() {
                return Ok((found, Some(*uid)));
            }
            found.push(invoice);
        }
        let next = uids
            .last()
            .and_then(|uid| u128::from_be_bytes(uid.0).checked_add(1));
        match next {
            Some(next) if uids.len() == INVOICES_AT_A_TIME => from = Uid(next.to_be_bytes()),
            _ => return Ok((found, None)),
        }
    }
}

/// Where the next page begins, and the log size that all pages are of.
#[derive(Debug, PartialEq, Eq)]
struct Cursor {
    size: TreeSize,
    next: Uid,
}

impl Cursor {
    fn render(&self, about: &Digest) -> String {
        let mut w = Writer::new();
        w.u8(1).u64(self.size.get()).raw(&self.next.0);
        w.raw(&about.0[..8]);
        URL_SAFE_NO_PAD.encode(w.finish())
    }

    fn parse(text: &str, about: &Digest) -> Result<Cursor, CallError> {
        let wrong = |why| CallError::from(bad("cursor", why));
        let bytes = URL_SAFE_NO_PAD
            .decode(text)
            .map_err(|_| wrong("is not a cursor of this service"))?;
        let mut r = Reader::new(&bytes);
        let read = (|| {
            let version = r.u8()?;
            let cursor = Cursor {
                size: TreeSize::read(&mut r)?,
                next: Uid(r.array()?),
            };
            Ok::<_, DecodeError>((version, cursor, r.array::<8>()?))
        })();
        match read {
            Ok((1, cursor, of)) if r.is_empty() => match of[..] == about.0[..8] {
                true => Ok(cursor),
                false => Err(wrong("belongs to other bytes")),
            },
            _ => Err(wrong("is not a cursor of this service")),
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
            let of = |tenant, page_size| {
                let (mut found, mut from) = (Vec::new(), Some(Uid([0; 16])));
                while let Some(next) = from {
                    let (tables, bytes) = (ledger.tables(), Digest([5; 32]));
                    let page = with_body(&tables, tenant, &bytes, next, size, page_size);
                    let (page, next) = page.unwrap();
                    assert!(page.len() <= page_size && !page.is_empty());
                    found.extend(page.into_iter().map(|invoice| invoice.uid));
                    from = next;
                }
                let all = found.len() as u64;
                found.sort_unstable();
                found.dedup();
                assert_eq!(found.len() as u64, all, "none twice");
                all
            };
            for page_size in [7, 100, 1000] {
                assert_eq!(of("default", page_size), count);
                assert_eq!(of("another", page_size), 1);
            }
        }
    }

    #[test]
    fn a_cursor_is_bound_to_its_bytes() {
        let cursor = Cursor {
            size: TreeSize::new(9),
            next: Uid([7; 16]),
        };
        let text = cursor.render(&Digest([1; 32]));
        assert_eq!(Cursor::parse(&text, &Digest([1; 32])), Ok(cursor));
        assert!(Cursor::parse(&text, &Digest([2; 32])).is_err());
        assert!(Cursor::parse("AAAA", &Digest([1; 32])).is_err());
    }
}
