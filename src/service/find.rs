//! Finding invoices by any of their names.

use crate::domain::call_error::CallError;
use crate::domain::draft::InvoiceKey;
use crate::domain::ids::Uid;
use crate::ledger::state::Invoice;
use crate::objective::read::ReadLevel;
use crate::raft::reads::Reads;

/// Finds an invoice; a miss waits for this node's read index before it is believed.
pub async fn find(reads: &Reads, key: &InvoiceKey) -> Result<Uid, CallError> {
    for attempt in 0..2 {
        let wanted = key.clone();
        if let Some(uid) = reads.read(move |tables| tables.find(&wanted)).await? {
            return Ok(uid);
        }
        if attempt == 0 {
            reads.fresh(ReadLevel::Linearizable).await?;
        }
    }
    Err(CallError::not_found(key.to_string()))
}

/// Finds an invoice and folds it, in one visit to the store where it is there.
pub async fn find_invoice(reads: &Reads, key: &InvoiceKey) -> Result<(Uid, Invoice), CallError> {
    let wanted = key.clone();
    let found = reads
        .read(move |tables| match tables.find(&wanted)? {
            Some(uid) => {
                let size = tables.head()?.size;
                Ok(tables.invoice(uid, size)?.map(|invoice| (uid, invoice)))
            }
            None => Ok(None),
        })
        .await?;
    if let Some(found) = found {
        return Ok(found);
    }
    let uid = find(reads, key).await?;
    Ok((uid, invoice(reads, uid).await?))
}

/// The invoice as of everything applied here.
pub async fn invoice(reads: &Reads, uid: Uid) -> Result<Invoice, CallError> {
    let found = reads
        .read(move |tables| {
            let size = tables.head()?.size;
            tables.invoice(uid, size)
        })
        .await?;
    found.ok_or_else(|| CallError::not_found(format!("invoice {uid}")))
}
