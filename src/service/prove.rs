//! Prove: hands over receipts, checkpoints and records; never judges them.
//!
//! Promises: the first receipt of a record is the checkpoint at the end of the Raft entry
//! that holds it, the same bytes from any replica and for ever. Nothing is signed before
//! this node has booted (so, not before a read index taken after its start), nor before
//! the record just read hashes to what the tree says.

use super::keys::LogPen;
use super::{Answered, Booted, Core, Error, Principal};
use crate::domain::draft::bad;
use crate::ledger::state::{Key, Tables};
use crate::objective::read::ReadLevel;
use muniment_evidence::bundle::{CheckpointFrame, RecordFrame};
use muniment_evidence::genesis::Genesis;
use muniment_evidence::opening::Opening;
use muniment_evidence::receipt::Receipt;
use muniment_evidence::tree::{self, Rows as _};
use muniment_evidence::trust::Trust;
use std::sync::Arc;

/// Records in one answer of `records`: each is below 2 KB but for long metadata.
pub const RECORDS_MAX: usize = 1000;
/// Bytes of records and openings in one answer: below the message limit.
const ANSWER_BYTES_MAX: usize = 2 << 20;

/// The first receipt of a record that is applied here.
pub(super) async fn receipt(core: &Core, booted: &Booted, index: u64) -> Result<Receipt, Error> {
    let prover = Prover::new(core, booted).await?;
    let receipt = core
        .read(move |tables| prover.receipt(tables, index))
        .await?;
    receipt.ok_or_else(|| core.without_log_key())
}

/// What proving needs, to be taken along on a visit to the store.
pub(super) struct Prover {
    genesis: Arc<Genesis>,
    pen: LogPen,
}

impl Prover {
    /// For records that are applied here by now: the keys are those of now.
    pub(super) async fn new(core: &Core, booted: &Booted) -> Result<Prover, Error> {
        Ok(Prover {
            genesis: booted.genesis.clone(),
            pen: core.log_pen(booted).await?,
        })
    }

    /// The first receipt; `None` without the log key.
    pub(super) fn receipt(
        &self,
        tables: &Tables,
        index: u64,
    ) -> Result<Option<Receipt>, crate::store::Error> {
        let size = tables.entry_end(index)?.ok_or_else(|| {
            crate::store::Error::corrupt(format!("record {index} has no end of its entry"))
        })?;
        let Some(checkpoint) = self.pen.sign(size, tables.root_at(size)?) else {
            return Ok(None);
        };
        self.receipt_under(tables, index, size, checkpoint)
            .map(Some)
    }

    /// A receipt under a note of `size`, which is above the index.
    pub(super) fn receipt_under(
        &self,
        tables: &Tables,
        index: u64,
        size: u64,
        checkpoint: String,
    ) -> Result<Receipt, crate::store::Error> {
        let damaged = |what: &str| crate::store::Error::corrupt(format!("record {index} {what}"));
        let record = tables.record_bytes(index)?;
        let record = record.ok_or_else(|| damaged("is missing"))?;
        let rows = tables.tree_rows();
        if rows.rows(0, index, 1)? != [tree::leaf_hash(&record)] {
            return Err(damaged("does not hash to its leaf"));
        }
        let (document, actor) = tables.openings(index)?;
        Ok(Receipt {
            genesis: (*self.genesis).clone(),
            keys: self.pen.known.proven(tables, size)?,
            path: tree::inclusion_proof(&rows, index, size)?,
            checkpoint,
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
    let pen = core.log_pen(&booted).await?;
    let note = pen.sign(head.size, head.root);
    Ok((note.ok_or_else(|| core.without_log_key())?, answered))
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

/// The checkpoints that a bundle ends in.
pub(super) struct Notes {
    pub end: u64,
    pub head: u64,
    pub frames: Vec<CheckpointFrame>,
}

/// A checkpoint of size `to` (0: as the log is now), for a log of `size` records.
pub(super) async fn notes_from(
    core: &Core,
    booted: &Booted,
    to: u64,
    _head: u64,
    size: u64,
) -> Result<Notes, Error> {
    let end = if to == 0 { size } else { to.min(size) };
    let root = core.read(move |tables| tables.root_at(end)).await?;
    let note = core.log_pen(booted).await?.sign(end, root);
    let first = CheckpointFrame {
        note: note.ok_or_else(|| core.without_log_key())?,
        consistency: Vec::new(),
    };
    Ok(Notes {
        end,
        head: end,
        frames: vec![first],
    })
}

/// Takes away what the caller may not see: openings of other tenants. Until callers
/// authenticate, each may see all.
pub(super) fn veil(_principal: &Principal, _frame: &mut RecordFrame) {}

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
