//! Watch: changes of invoices from an index on, as they are committed.
//!
//! Promises: every change once, in the order of the log; a watcher that falls behind is
//! not fed from memory but from the log, so it may take its time.

use super::tenants::Tenants;
use crate::domain::call_error::CallError;
use crate::domain::ids::{RecordIndex, Uid};
use crate::ledger::state::{Invoice, Tables};
use crate::raft::reads::Reads;
use futures::stream::{self, BoxStream, StreamExt as _};
use muniment_evidence::opening::Document;
use muniment_evidence::record::{Outcome, Record};
use muniment_evidence::statement::Kind;

/// Records looked at in one read.
const RECORDS_AT_A_TIME: usize = 256;

/// A change of an invoice.
#[derive(Clone, Debug)]
pub struct Change {
    pub index: RecordIndex,
    pub kind: Kind,
    /// As of just after the change.
    pub invoice: Invoice,
}

/// The tenant's changes from record `from` on.
pub fn watch(
    reads: Reads,
    tenants: &Tenants,
    tenant: &str,
    from: RecordIndex,
) -> Result<BoxStream<'static, Result<Change, CallError>>, CallError> {
    let tenant = tenants.name(tenant)?;
    let pages = stream::try_unfold((reads, tenant, from), |(reads, tenant, next)| async move {
        // Waits for the record `next`; the stream ends with its caller or the node.
        let mut applied = reads.context.group.watch_applied();
        if applied
            .wait_for(|now| now.size > next.size_before())
            .await
            .is_err()
        {
            return Ok(None);
        }
        let wanted = tenant.clone();
        let (changes, after) = reads
            .read(move |tables| {
                let end = tables.head()?.size;
                let records = tables.record_range(next, end.next_index(), RECORDS_AT_A_TIME)?;
                let after = next.after(records.len() as u64);
                let mut changes = Vec::new();
                for bytes in records {
                    changes.extend(change(tables, &wanted, &bytes)?);
                }
                Ok((changes, after))
            })
            .await?;
        let page = stream::iter(changes.into_iter().map(Ok));
        Ok::<_, CallError>(Some((page, (reads, tenant, after))))
    });
    Ok(pages
        .flat_map(|page| match page {
            Ok(page) => page.boxed(),
            Err(error) => stream::iter([Err(error)]).boxed(),
        })
        .boxed())
}

fn change(
    tables: &Tables<'_>,
    tenant: &str,
    bytes: &[u8],
) -> Result<Option<Change>, crate::store::StoreError> {
    let record = Record::decode(bytes)
        .map_err(|error| crate::store::StoreError::corrupt_in("a record", error))?;
    let kind = record.statement.kind;
    let changes = matches!(
        kind,
        Kind::Issue | Kind::Reverse | Kind::Void | Kind::AddRendition
    );
    if !changes || record.outcome != Outcome::Ok {
        return Ok(None);
    }
    let uid = match tables.document(record.index)? {
        Document::Issue(d) | Document::Reverse(d) => d.uid,
        Document::Void(d) => d.uid,
        Document::AddRendition(d) => d.uid,
        _ => return Ok(None),
    };
    let invoice = tables.invoice(Uid(uid), record.index.next().size_before())?;
    Ok(invoice
        .filter(|invoice| invoice.metadata.identity.tenant == tenant)
        .map(|invoice| Change {
            index: record.index,
            kind,
            invoice,
        }))
}
