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
    let key = core.named(key)?;
    let (found, answered) = look_up(core, &key, level).await?;
    let (found, answered) = match found {
        // `not found` is what callers act upon: not before the leader was asked.
        None if level.doubts_a_miss() => look_up(core, &key, ReadLevel::Linearizable).await?,
        found => (found, answered),
    };
    match found {
        Some(invoice) => Ok((invoice, answered)),
        None => Err(Error::not_found(super::describe(&key))),
    }
}

async fn look_up(
    core: &Core,
    key: &Key,
    level: ReadLevel,
) -> Result<(Option<Invoice>, Answered), Error> {
    let answered = core.answered_by(core.fresh(level).await?);
    let (wanted, size) = (key.clone(), answered.log_size);
    let found = core
        .read(move |tables| match tables.find(&wanted)? {
            Some(uid) => tables.invoice(uid, size),
            None => Ok(None),
        })
        .await?;
    Ok((found, answered))
}
