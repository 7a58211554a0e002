//! Prove: hands over receipts, checkpoints and records; never judges them.
//!
//! Promises: the first receipt of a record is the checkpoint at the end of the Raft entry
//! that holds it, the same bytes from any replica and for ever. Nothing is signed before
//! this node has booted (so, not before a read index taken after its start), nor before
//! the record just read hashes to what the tree says.

use super::{Answered, Booted, Core, Error, Principal};
use crate::domain::draft::bad;
use crate::ledger::state::{Key, Tables};
use crate::objective::read::ReadLevel;
use muniment_evidence::key::SecretKey;
use muniment_evidence::note::Checkpoint;
use muniment_evidence::opening::Opening;
use muniment_evidence::receipt::{Genesis, Receipt};
use muniment_evidence::tree::{self, Rows as _};
use muniment_evidence::trust::Trust;
use std::sync::Arc;

/// Records in one answer of `records`: each is below 2 KB but for long metadata.
pub const RECORDS_MAX: usize = 1000;
/// Bytes of records and openings in one answer: below the message limit.
const ANSWER_BYTES_MAX: usize = 2 << 20;

/// The first receipt of a record that is applied here.
pub(super) async fn receipt(core: &Core, booted: &Booted, index: u64) -> Result<Receipt, Error> {
    let prover = Prover::new(core, booted);
    core.read(move |tables| prover.receipt(tables, index)).await
}

/// What proving needs, to be taken along on a visit to the store.
pub(super) struct Prover {
    genesis: Arc<Genesis>,
    origin: String,
    log_key: Arc<SecretKey>,
}

impl Prover {
    pub(super) fn new(core: &Core, booted: &Booted) -> Prover {
        Prover {
            genesis: booted.genesis.clone(),
            origin: booted.origin.clone(),
            log_key: core.keys.log.clone(),
        }
    }

    pub(super) fn receipt(
        self,
        tables: &Tables,
        index: u64,
    ) -> Result<Receipt, crate::store::Error> {
        let damaged = |what: &str| crate::store::Error::corrupt(format!("record {index} {what}"));
        let record = tables.record_bytes(index)?;
        let record = record.ok_or_else(|| damaged("is missing"))?;
        let size = tables.entry_end(index)?;
        let size = size.ok_or_else(|| damaged("has no end of its entry"))?;
        let rows = tables.tree_rows();
        if rows.rows(0, index, 1)? != [tree::leaf_hash(&record)] {
            return Err(damaged("does not hash to its leaf"));
        }
        let (document, actor) = tables.openings(index)?;
        let checkpoint = Checkpoint {
            origin: self.origin,
            size,
            root: tree::root_at(&rows, size)?,
        };
        Ok(Receipt {
            genesis: (*self.genesis).clone(),
            path: tree::inclusion_proof(&rows, index, size)?,
            checkpoint: checkpoint.sign(self.log_key.as_ref()),
            record,
            document,
            actor,
        })
    }
}

/// Which record a receipt is asked for.
#[derive(Clone, Debug)]
pub enum Wanted {
    Record(u64),
    /// The record by which the invoice was issued.
    Invoice(Key),
}

pub async fn get_receipt(
    core: &Core,
    _principal: &Principal,
    wanted: Wanted,
) -> Result<(u64, Receipt, Answered), Error> {
    let booted = core.booted()?;
    core.fresh(ReadLevel::Linearizable).await?;
    let answered = core.answered(true);
    let index = match wanted {
        Wanted::Record(index) if index < answered.log_size => index,
        Wanted::Record(index) => return Err(Error::not_found(format!("record {index}"))),
        Wanted::Invoice(key) => {
            let uid = core.find(&key).await?;
            core.invoice(uid).await?.record_index
        }
    };
    Ok((index, receipt(core, &booted, index).await?, answered))
}

/// The newest checkpoint that this replica has, signed.
pub async fn checkpoint(
    core: &Core,
    _principal: &Principal,
    level: ReadLevel,
) -> Result<(String, Answered), Error> {
    let booted = core.booted()?;
    core.fresh(level).await?;
    let answered = core.answered(level == ReadLevel::Linearizable);
    let head = core.read(Tables::head).await?;
    let checkpoint = Checkpoint {
        origin: booted.origin,
        size: head.size,
        root: head.root,
    };
    Ok((checkpoint.sign(core.keys.log.as_ref()), answered))
}

/// What the open checkpoint is: the newest cosigned note, or the newest checkpoint under
/// the log key alone while that is much newer. Its size never goes back on one node.
pub async fn published(core: &Core, _principal: &Principal) -> Result<String, Error> {
    let booted = core.booted()?;
    let head = core.read(Tables::head).await?;
    if let Some(note) = core.cosigned.to_publish(head.size) {
        return Ok(note.to_string());
    }
    let checkpoint = Checkpoint {
        origin: booted.origin,
        size: head.size,
        root: head.root,
    };
    Ok(checkpoint.sign(core.keys.log.as_ref()))
}

/// What an auditor pins.
pub fn trust(core: &Core, _principal: &Principal) -> Result<Trust, Error> {
    let booted = core.booted()?;
    Ok(Trust {
        genesis: booted.genesis.leaf_hash(),
        origin: booted.origin,
    })
}

/// A record as it is, with its openings.
pub struct Listed {
    pub index: u64,
    pub record: Vec<u8>,
    pub document: Option<Opening>,
    pub actor: Option<Opening>,
}

/// Records in order.
pub async fn records(
    core: &Core,
    _principal: &Principal,
    from: u64,
    count: usize,
) -> Result<(Vec<Listed>, Answered), Error> {
    if count > RECORDS_MAX {
        return Err(bad("page_size", format!("is above {RECORDS_MAX}")).into());
    }
    core.fresh(ReadLevel::Linearizable).await?;
    let answered = core.answered(true);
    let end = answered.log_size;
    let records = core
        .read(move |tables| page(tables, from, end, count))
        .await?;
    Ok((records, answered))
}

/// Up to `count` records with their openings, within the answer's bytes.
pub(super) fn page(
    tables: &Tables,
    from: u64,
    end: u64,
    count: usize,
) -> Result<Vec<Listed>, crate::store::Error> {
    let (mut listed, mut bytes) = (Vec::new(), 0);
    for (index, record) in (from..).zip(tables.record_range(from, end, count)?) {
        let (document, actor) = tables.openings(index)?;
        let length = |opening: &Option<Opening>| opening.as_ref().map_or(0, |o| o.bytes.len());
        bytes += record.len() + length(&document) + length(&actor);
        listed.push(Listed {
            index,
            record,
            document,
            actor,
        });
        if bytes >= ANSWER_BYTES_MAX {
            break;
        }
    }
    Ok(listed)
}
