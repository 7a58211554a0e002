//! Get: one invoice, by any of its names, at the freshness asked.

use super::tenants::Tenants;
use crate::domain::call_error::CallError;
use crate::domain::draft::InvoiceKey;
use crate::ledger::state::Invoice;
use crate::objective::read::ReadLevel;
use crate::raft::reads::{Answered, Reads};

/// Looks an invoice up; an error where there is none.
pub async fn get(
    reads: &Reads,
    tenants: &Tenants,
    key: InvoiceKey,
    level: ReadLevel,
) -> Result<(Invoice, Answered), CallError> {
    let key = tenants.resolve_key("key", key)?;
    let (found, answered) = look_up(reads, &key, level).await?;
    let (found, answered) = match found {
        // `not found` is what callers act upon: not before the leader was asked.
        None if level.doubts_a_miss() => look_up(reads, &key, ReadLevel::Linearizable).await?,
        found => (found, answered),
    };
    match found {
        Some(invoice) => Ok((invoice, answered)),
        None => Err(CallError::not_found(key.to_string())),
    }
}

async fn look_up(
    reads: &Reads,
    key: &InvoiceKey,
    level: ReadLevel,
) -> Result<(Option<Invoice>, Answered), CallError> {
    let answered = reads.answered_by(reads.fresh(level).await?);
    let (wanted, size) = (key.clone(), answered.log_size);
    let found = reads
        .read(move |tables| match tables.find(&wanted)? {
            Some(uid) => tables.invoice(uid, size),
            None => Ok(None),
        })
        .await?;
    Ok((found, answered))
}
