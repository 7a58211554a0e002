//! Records: the log as it is, page by page, all of it or some kinds or one invoice's.
//!
//! Promises: in the order of the log, within the limits of one answer; says where the
//! next page begins, so that a reader misses none. A list proves nothing: a bundle does ([`super::export`]).

use super::find;
use super::tenants::Tenants;
use crate::domain::call_error::CallError;
use crate::domain::draft::{InvoiceKey, bad};
use crate::domain::ids::{RecordIndex, Uid};
use crate::ledger::state::Tables;
use crate::objective::read::ReadLevel;
use crate::raft::reads::{Answered, Reads};
use crate::store;
use muniment_evidence::opening::Opening;
use muniment_evidence::record::Record;
use muniment_evidence::statement::Kind;

/// Records in one answer: each is below 2 KB but for long metadata.
pub const RECORDS_MAX: usize = 1000;
/// Records looked at for one answer: some 6 MB.
const LOOKED_AT_MAX: u64 = 20_000;
/// Records looked at in one read.
const LOOKED_AT_A_TIME: usize = 1000;
/// Bytes of records and openings in one answer: below the message limit.
const ANSWER_BYTES_MAX: usize = 2 << 20;

/// A record as it is, with its openings.
pub struct ListedRecord {
    pub index: RecordIndex,
    pub record: Vec<u8>,
    pub document: Option<Opening>,
    pub actor: Option<Opening>,
}

/// Which records.
#[derive(Clone, Debug, Default)]
pub struct RecordFilter {
    pub from: RecordIndex,
    /// Exclusive; 0: as the log is now.
    pub to: RecordIndex,
    /// None: every kind.
    pub kinds: Vec<Kind>,
    pub invoice: Option<InvoiceKey>,
    pub without_openings: bool,
}

/// A page and where the next begins.
pub struct RecordPage {
    pub records: Vec<ListedRecord>,
    pub next: RecordIndex,
    pub answered: Answered,
}

/// A page of records.
pub async fn list(
    reads: &Reads,
    tenants: &Tenants,
    filter: RecordFilter,
    count: usize,
) -> Result<RecordPage, CallError> {
    if count > RECORDS_MAX {
        return Err(bad("page_size", format!("is above {RECORDS_MAX}")).into());
    }
    reads.fresh(ReadLevel::Linearizable).await?;
    let answered = reads.answered(true);
    let end = match filter.to {
        RecordIndex::FIRST => answered.log_size,
        to => (to.min(answered.log_size.next_index())).size_before(),
    };
    let uid = match &filter.invoice {
        Some(key) => {
            let key = tenants.resolve_key("invoice", key.clone())?;
            Some(find::find(reads, &key).await?)
        }
        None => None,
    };
    let bare = filter.without_openings;
    let (mut records, next) = reads
        .read(move |tables| match uid {
            Some(uid) => of_invoice(tables, uid, &filter, end.next_index(), count),
            None if filter.kinds.is_empty() => {
                let records = page(tables, filter.from, end.next_index(), count)?;
                let next = records
                    .last()
                    .map_or(end, |listed| listed.index.next().size_before());
                Ok((records, next.next_index()))
            }
            None => of_kinds(tables, &filter, end.next_index(), count),
        })
        .await?;
    if bare {
        for listed in &mut records {
            (listed.document, listed.actor) = (None, None);
        }
    }
    Ok(RecordPage {
        records,
        next,
        answered,
    })
}

/// Up to `count` records with their openings, within the answer's bytes.
pub(super) fn page(
    tables: &Tables<'_>,
    from: RecordIndex,
    end: RecordIndex,
    count: usize,
) -> Result<Vec<ListedRecord>, store::StoreError> {
    let mut gathered = Gathered::new(count);
    for (index, record) in from.onwards().zip(tables.record_range(from, end, count)?) {
        if !gathered.take(tables, index, record)? {
            break;
        }
    }
    Ok(gathered.records)
}

/// Records until the answer is full.
struct Gathered {
    records: Vec<ListedRecord>,
    bytes: usize,
    count: usize,
}

impl Gathered {
    fn new(count: usize) -> Gathered {
        Gathered {
            records: Vec::new(),
            bytes: 0,
            count,
        }
    }

    /// Whether more may be taken.
    fn take(
        &mut self,
        tables: &Tables<'_>,
        index: RecordIndex,
        record: Vec<u8>,
    ) -> Result<bool, store::StoreError> {
        let (document, actor) = tables.openings(index)?;
        let length = |opening: &Option<Opening>| opening.as_ref().map_or(0, |o| o.bytes.len());
        self.bytes += record.len() + length(&document) + length(&actor);
        self.records.push(ListedRecord {
            index,
            record,
            document,
            actor,
        });
        Ok(self.bytes < ANSWER_BYTES_MAX && self.records.len() < self.count)
    }
}

fn is_of(kinds: &[Kind], record: &[u8]) -> bool {
    let code = record.get(Record::KIND_AT).copied().unwrap_or(0);
    kinds.is_empty() || Kind::from_code(code).is_some_and(|kind| kinds.contains(&kind))
}

fn of_kinds(
    tables: &Tables<'_>,
    filter: &RecordFilter,
    end: RecordIndex,
    count: usize,
) -> Result<(Vec<ListedRecord>, RecordIndex), store::StoreError> {
    let mut gathered = Gathered::new(count);
    let mut next = filter.from;
    let last = end.min(filter.from.after(LOOKED_AT_MAX));
    while next < last {
        let records = tables.record_range(next, last, LOOKED_AT_A_TIME)?;
        if records.is_empty() {
            break;
        }
        for record in records {
            let index = next;
            next = next.next();
            if is_of(&filter.kinds, &record) && !gathered.take(tables, index, record)? {
                return Ok((gathered.records, next));
            }
        }
    }
    Ok((gathered.records, next.max(filter.from)))
}

/// By the indexes of its events and downloads.
fn of_invoice(
    tables: &Tables<'_>,
    uid: Uid,
    filter: &RecordFilter,
    end: RecordIndex,
    count: usize,
) -> Result<(Vec<ListedRecord>, RecordIndex), store::StoreError> {
    let mut gathered = Gathered::new(count);
    let (mut next, mut looked_at) = (filter.from, 0);
    while looked_at < LOOKED_AT_MAX {
        let about = tables.about(uid, next, end, RECORDS_MAX)?;
        for index in &about {
            let record = tables.record_bytes(*index)?;
            let record = record
                .ok_or_else(|| store::StoreError::corrupt(format!("record {index} is missing")))?;
            next = index.next();
            if is_of(&filter.kinds, &record) && !gathered.take(tables, *index, record)? {
                return Ok((gathered.records, next));
            }
        }
        if about.len() < RECORDS_MAX {
            return Ok((gathered.records, end));
        }
        looked_at += about.len() as u64;
    }
    // There are more; what was looked at is not looked at again.
    Ok((gathered.records, next))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::tests::{TestLedger, TestSigner, four, issue, uid_of};
    use muniment_evidence::digest::Digest;
    use muniment_evidence::opening::{Document, DownloadDocument, VoidDocument};
    use muniment_evidence::statement::Level;

    /// A reader of an invoice's VOID that is told "end of the log" has missed it for good, and
    /// so it was for the invoices that are downloaded most.
    #[test]
    fn no_record_of_an_invoice_is_lost_behind_those_of_other_kinds() {
        for downloads in [RECORDS_MAX, 10 * RECORDS_MAX] {
            let (mut ledger, mut lane): (TestLedger, TestSigner) = four();
            let issued = issue(&ledger, &mut lane, 1, Level::Quorum, &[(1, 1), (2, 2)]);
            ledger.outcomes(vec![issued]);
            let download = Document::Download(DownloadDocument {
                tenant: "default".into(),
                uid: uid_of(1),
                role: "original".into(),
                sha256: Digest([5; 32]),
                chunk_root: Digest([5; 32]),
                start: 0,
                end: 4,
                length: 4,
                deadline_ms: None,
            });
            for _ in 0..downloads / 250 {
                let said = (0..250).map(|_| lane.write(&ledger, &download)).collect();
                ledger.outcomes(said);
            }
            let void = Document::Void(VoidDocument {
                tenant: "default".into(),
                uid: uid_of(1),
                request_id: "void".into(),
                reason: String::new(),
            });
            let said = lane.write(&ledger, &void);
            ledger.outcomes(vec![said]);
            let end = ledger.head().size.next_index();
            let mut filter = RecordFilter {
                kinds: vec![Kind::Void],
                ..RecordFilter::default()
            };
            let mut found = Vec::new();
            while filter.from < end {
                let uid = Uid(uid_of(1));
                let page = of_invoice(&ledger.tables(), uid, &filter, end, RECORDS_MAX);
                let (records, next) = page.unwrap();
                assert!(next > filter.from, "it goes on");
                found.extend(records.into_iter().map(|listed| listed.index));
                filter.from = next;
            }
            assert_eq!(found, [ledger.head().size.last().unwrap()], "{downloads}");
        }
    }
}
