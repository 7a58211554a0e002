//! Get: one invoice, by any of its names, at the freshness asked.

use super::{Answered, Core, Error, Principal};
use crate::ledger::state::{Invoice, Key};
use crate::objective::read::ReadLevel;

pub async fn get(
    core: &Core,
    _principal: &Principal,
    key: Key,
    level: ReadLevel,
) -> Result<(Invoice, Answered), Error> {
    core.fresh(level).await?;
    let answered = core.answered(level == ReadLevel::Linearizable);
    let key = core.named(key)?;
    let (wanted, size) = (key.clone(), answered.log_size);
    let found = core
        .read(move |tables| match tables.find(&wanted)? {
            Some(uid) => tables.invoice(uid, size),
            None => Ok(None),
        })
        .await?;
    match found {
        Some(invoice) => Ok((invoice, answered)),
        None => Err(Error::not_found(super::describe(&key))),
    }
}
