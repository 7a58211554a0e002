//! List: invoices in the order of the log, page by page, bound to one index.
//!
//! Promises: all pages of one listing fold the records below the same size, so that no
//! invoice is missed, repeated or seen in two states while the list is read.

use super::tenants::Tenants;
use crate::domain::call_error::CallError;
use crate::domain::draft::{self, BadField, bad};
use crate::domain::ids::{RecordIndex, TreeSize};
use crate::ledger::state::{Invoice, Status, Tables};
use crate::ledger::tables::ListKey;
use crate::objective::read::ReadLevel;
use crate::raft::reads::{APPLY_MAX, Answered, Proven, Reads};
use crate::store::StoreError;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use muniment_evidence::codec::{Reader, Writer};
use muniment_evidence::digest::Digest;

/// Invoices on a page when nothing is said.
const PAGE_DEFAULT: usize = 100;
/// ... and at most, so that an answer stays below the message limit.
pub const PAGE_MAX: usize = 1000;
/// Rows looked at for one page; a rare filter is answered with a short page and a cursor
/// rather than with a long wait.
const ROWS_MAX: usize = 10_000;
/// Rows read at a time.
const ROWS_AT_A_TIME: usize = 256;
/// Bytes of invoices in one answer: below the message limit with room to spare.
pub(super) const ANSWER_BYTES_MAX: usize = 2 << 20;

/// What to list; empty fields match all.
#[derive(Clone, Debug, Default)]
pub struct InvoiceFilter {
    pub tenant: String,
    pub scheme: String,
    pub issuer: String,
    pub buyer: String,
    pub month: String,
    pub number: String,
    pub status: Option<Status>,
}

/// A page, and where the next begins.
pub struct InvoicePage {
    pub invoices: Vec<Invoice>,
    /// Empty after the last page.
    pub cursor: String,
    pub complete_until: RecordIndex,
    pub answered: Answered,
}

/// How many invoices are on a page of which so many are asked for.
pub(super) fn page(asked: usize) -> Result<usize, BadField> {
    match asked {
        0 => Ok(PAGE_DEFAULT),
        asked if asked > PAGE_MAX => Err(bad("page_size", format!("is above {PAGE_MAX}"))),
        asked => Ok(asked),
    }
}

/// A page of invoices.
pub async fn list(
    reads: &Reads,
    tenants: &Tenants,
    mut filter: InvoiceFilter,
    page_size: usize,
    cursor: &str,
    level: ReadLevel,
) -> Result<InvoicePage, CallError> {
    filter.check()?;
    filter.tenant = tenants.name(&filter.tenant)?;
    let page_size = page(page_size)?;
    let bound = match cursor {
        "" => None,
        text => Some(Cursor::parse(text, &filter)?),
    };
    let (proven, from) = match &bound {
        Some(cursor) => (reached(reads, cursor.size, level).await?, cursor.next),
        None => (reads.fresh(level).await?, RecordIndex::FIRST),
    };
    let answered = reads.answered_by(proven);
    let size = answered.log_size;
    let wanted = filter.clone();
    let (invoices, next) = reads
        .read(move |tables| matching(tables, &wanted, from, size, page_size))
        .await?;
    Ok(InvoicePage {
        invoices,
        cursor: match next {
            Some(next) => Cursor { size, next }.render(&filter),
            None => String::new(),
        },
        complete_until: size.next_index(),
        answered,
    })
}

/// One page from a record on, and where the next begins, if there may be one: it ends by
/// invoices, by rows looked at, and by the bytes of what was found, of which there is at least
/// one invoice, since one always fits an answer.
fn matching(
    tables: &Tables<'_>,
    wanted: &InvoiceFilter,
    from: RecordIndex,
    size: TreeSize,
    page_size: usize,
) -> Result<(Vec<Invoice>, Option<RecordIndex>), StoreError> {
    let (mut found, mut next, mut looked, mut bytes) = (Vec::new(), from, 0, 0);
    loop {
        let rows = tables.listed(index(wanted), next, size, ROWS_AT_A_TIME)?;
        if rows.is_empty() {
            return Ok((found, None));
        }
        for (record, uid) in rows {
            let invoice = tables.invoice(uid, size)?;
            if let Some(invoice) = invoice.filter(|invoice| wanted.matches(invoice)) {
                bytes += invoice.bytes();
                if bytes > ANSWER_BYTES_MAX && !found.is_empty() {
                    return Ok((found, Some(record)));
                }
                found.push(invoice);
            }
            next = record.next();
            looked += 1;
            if found.len() >= page_size || looked >= ROWS_MAX {
                return Ok((found, Some(next)));
            }
        }
    }
}

/// Waits for the records that a cursor is bound to: they decide the page, whatever
/// level the first one was asked at, so nothing is said of its staleness now.
pub(super) async fn reached(
    reads: &Reads,
    size: TreeSize,
    level: ReadLevel,
) -> Result<Proven, CallError> {
    let Some(last) = size.last() else {
        return Ok(Proven::at_size(TreeSize::EMPTY));
    };
    if level == ReadLevel::Local {
        // Never asks the leader.
        return match reads.context.group.wait_size(size, APPLY_MAX).await {
            true => Ok(Proven::at_size(size)),
            false => Err(reads.unavailable("this replica has not applied the cursor's index yet")),
        };
    }
    match reads.fresh(ReadLevel::AsOf(last)).await {
        Err(CallError::Invalid(_)) => {
            Err(bad("cursor", "is bound to more records than the log has").into())
        }
        reached => reached,
    }
}

impl InvoiceFilter {
    fn check(&self) -> Result<(), BadField> {
        for (field, value) in [
            ("scheme", &self.scheme),
            ("issuer", &self.issuer),
            ("buyer", &self.buyer),
            ("number", &self.number),
        ] {
            draft::text(field, value, draft::ID_BYTES_MAX)?;
        }
        draft::month("month", &self.month)
    }

    fn matches(&self, invoice: &Invoice) -> bool {
        let metadata = &invoice.metadata;
        let is = |wanted: &str, actual: &str| wanted.is_empty() || wanted == actual;
        let buyer = metadata.buyer.as_ref().map_or("", |b| &b.id);
        is(&self.scheme, &metadata.identity.scheme)
            && is(&self.issuer, &metadata.identity.issuer)
            && is(&self.number, &metadata.identity.number)
            && is(&self.buyer, buyer)
            && is(&self.month, metadata.issue_date.get(..7).unwrap_or(""))
            && self.status.is_none_or(|status| status == invoice.status)
    }

    fn digest(&self) -> Digest {
        let mut w = Writer::new();
        for part in [
            &self.tenant,
            &self.scheme,
            &self.issuer,
            &self.buyer,
            &self.month,
            &self.number,
        ] {
            w.text(part);
        }
        w.u8(self.status.map_or(0, |status| status as u8 + 1));
        Digest::of(&[&w.finish()])
    }
}

/// The index that leaves least to look at.
fn index(filter: &InvoiceFilter) -> ListKey {
    let tenant = &filter.tenant;
    if !filter.number.is_empty() {
        ListKey::by_number(tenant, &filter.number)
    } else if !filter.buyer.is_empty() {
        ListKey::by_buyer(tenant, &filter.buyer)
    } else if !filter.issuer.is_empty() {
        ListKey::by_issuer(tenant, &filter.issuer)
    } else if !filter.month.is_empty() {
        ListKey::by_month(tenant, &filter.month)
    } else {
        ListKey::by_tenant(tenant)
    }
}

struct Cursor {
    size: TreeSize,
    next: RecordIndex,
}

impl Cursor {
    fn render(&self, filter: &InvoiceFilter) -> String {
        let mut w = Writer::new();
        w.u8(1).u64(self.size.get()).u64(self.next.get());
        w.raw(&filter.digest().0[..8]);
        URL_SAFE_NO_PAD.encode(w.finish())
    }

    fn parse(text: &str, filter: &InvoiceFilter) -> Result<Cursor, CallError> {
        let wrong = |why| CallError::from(bad("cursor", why));
        let bytes = URL_SAFE_NO_PAD
            .decode(text)
            .map_err(|_| wrong("is not a cursor of this service"))?;
        let mut r = Reader::new(&bytes);
        let read = (|| {
            let version = r.u8()?;
            let cursor = Cursor {
                size: TreeSize::read(&mut r)?,
                next: RecordIndex::read(&mut r)?,
            };
            Ok::<_, muniment_evidence::codec::DecodeError>((version, cursor, r.array::<8>()?))
        })();
        match read {
            Ok((1, cursor, of)) if r.is_empty() => {
                if of[..] == filter.digest().0[..8] {
                    Ok(cursor)
                } else {
                    Err(wrong("belongs to another filter"))
                }
            }
            _ => Err(wrong("is not a cursor of this service")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::tests::{TestLedger, TestSigner, four, issue_of, named};
    use muniment_evidence::limits::{ITEMS_MAX, TEXT_BYTES_MAX};
    use muniment_evidence::opening::Label;
    use muniment_evidence::record::Outcome;
    use muniment_evidence::statement::Level;

    /// Invoices with some 40 KB of metadata, the whole of their pages one after the other.
    fn fat(count: u64) -> (TestLedger, Vec<Vec<Invoice>>) {
        let (mut ledger, mut lane): (TestLedger, TestSigner) = four();
        for number in 0..count {
            let mut document = named(&ledger, number, &[(1, 1), (2, 2)]);
            document.metadata.labels = (0..ITEMS_MAX)
                .map(|n| Label {
                    key: format!("label-{n:02}"),
                    value: "x".repeat(TEXT_BYTES_MAX),
                })
                .collect();
            let said = issue_of(&ledger, &mut lane, Level::Quorum, document);
            assert_eq!(ledger.outcomes(vec![said]), [Outcome::Ok]);
        }
        let filter = InvoiceFilter {
            tenant: "default".into(),
            ..InvoiceFilter::default()
        };
        let (mut pages, mut from) = (Vec::new(), Some(RecordIndex::FIRST));
        while let Some(next) = from {
            let size = ledger.head().size;
            let page = matching(&ledger.tables(), &filter, next, size, PAGE_DEFAULT);
            let (page, next) = page.unwrap();
            pages.push(page);
            from = next;
        }
        (ledger, pages)
    }

    /// An answer above the message limit would be an error for ever, at the same place.
    #[test]
    fn a_page_ends_by_the_bytes_of_its_answer_and_nothing_is_left_out() {
        for count in [10, 100] {
            let (_, pages) = fat(count);
            for page in &pages {
                let encoded = page.iter().map(|i| i.metadata.encoded_length());
                assert!(encoded.sum::<usize>() <= ANSWER_BYTES_MAX);
            }
            let listed: Vec<String> = pages
                .into_iter()
                .flatten()
                .map(|i| i.metadata.identity.number)
                .collect();
            let expected: Vec<String> = (0..count).map(|number| number.to_string()).collect();
            assert_eq!(listed, expected);
        }
    }

    #[test]
    fn a_cursor_is_bound_to_its_filter() {
        let filter = InvoiceFilter {
            tenant: "default".into(),
            month: "2026-11".into(),
            ..InvoiceFilter::default()
        };
        let text = Cursor {
            size: TreeSize::new(9),
            next: RecordIndex::new(3),
        }
        .render(&filter);
        let cursor = Cursor::parse(&text, &filter).unwrap();
        assert_eq!((cursor.size.get(), cursor.next.get()), (9, 3));
        let other = InvoiceFilter {
            month: "2026-12".into(),
            ..filter.clone()
        };
        assert!(Cursor::parse(&text, &other).is_err());
        assert!(Cursor::parse("!", &filter).is_err());
        assert!(Cursor::parse("AAAA", &filter).is_err());
    }
}
