//! Prove: hands over receipts, checkpoints and records; never judges them.
//!
//! Promises: the first receipt of a record is the checkpoint at the end of the Raft entry
//! that holds it, the same bytes from any replica and for ever. Nothing is signed before
//! this node has booted (so, not before a read index taken after its start), nor before
//! the record just read hashes to what the tree says.

use super::cosigning::tally::is_majority;
use super::keys::LogPen;
use super::{Answered, Booted, Core, Error, Principal};
use crate::domain::draft::bad;
use crate::ledger::state::{Key, Tables};
use crate::objective::read::ReadLevel;
use muniment_evidence::bundle::CheckpointFrame;
use muniment_evidence::digest::Digest;
use muniment_evidence::genesis::Genesis;
use muniment_evidence::ledger::Ledger;
use muniment_evidence::note::{Checkpoint, Note};
use muniment_evidence::policy::Policy;
use muniment_evidence::receipt::Receipt;
use muniment_evidence::tree::{self, Rows as _};
use muniment_evidence::trust::Trust;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How long an export waits for members to cosign: it goes without after that.
const COSIGNED_WAIT: Duration = Duration::from_secs(3);
/// How long a caller waits for a policy when it says nothing, and at most.
const POLICY_WAIT: Duration = Duration::from_secs(10);
const POLICY_WAIT_MAX: Duration = Duration::from_secs(60);

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

/// What the receipt is to be under.
#[derive(Clone, Debug, Default)]
pub struct Terms {
    /// A checkpoint that meets this policy; waited for.
    pub policy: Option<Policy>,
    /// The newest checkpoint in place of the first.
    pub fresh: bool,
    pub wait: Option<Duration>,
}

pub async fn get_receipt(
    core: &Core,
    _principal: &Principal,
    wanted: Wanted,
    terms: Terms,
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
    let note = match (&terms.policy, terms.fresh) {
        (Some(policy), fresh) => {
            let above = if fresh { answered.log_size - 1 } else { index };
            Some(under_policy(core, above, policy, &terms).await?)
        }
        (None, true) => Some(newest(core, &booted).await?),
        (None, false) => None,
    };
    let receipt = match note {
        None => receipt(core, &booted, index).await?,
        Some(note) => {
            let size = size_of(&note).ok_or_else(|| core.unavailable("a note cannot be read"))?;
            let prover = Prover::new(core, &booted).await?;
            core.read(move |tables| prover.receipt_under(tables, index, size, note))
                .await?
        }
    };
    Ok((index, receipt, answered))
}

/// A cosigned note above `index` that meets the policy.
async fn under_policy(
    core: &Core,
    index: u64,
    policy: &Policy,
    terms: &Terms,
) -> Result<String, Error> {
    let wait = terms.wait.unwrap_or(POLICY_WAIT).min(POLICY_WAIT_MAX);
    let meets =
        |note: &str| Note::parse(note.as_bytes()).is_ok_and(|note| policy.evaluate(&note).is_met());
    let found = core
        .cosigned
        .wait(index, Instant::now() + wait, meets)
        .await;
    found.ok_or_else(|| {
        core.unavailable(format!(
            "no checkpoint met the policy within {} ms: too few members have cosigned, or the \
             policy names others",
            wait.as_millis()
        ))
    })
}

fn size_of(note: &str) -> Option<u64> {
    let note = Note::parse(note.as_bytes()).ok()?;
    Some(Checkpoint::parse(&note.text).ok()?.size)
}

/// The proof that the tree of `old` records is a prefix of the one of `new` (0: of now).
pub async fn consistency(
    core: &Core,
    _principal: &Principal,
    old: u64,
    new: u64,
) -> Result<(u64, Vec<Digest>, Answered), Error> {
    core.booted()?;
    core.fresh(ReadLevel::Linearizable).await?;
    let answered = core.answered(true);
    let new = if new == 0 { answered.log_size } else { new };
    if new > answered.log_size {
        let why = format!("is above the log's {}", answered.log_size);
        return Err(bad("new_size", why).into());
    }
    if old > new {
        return Err(bad("old_size", format!("is above {new}")).into());
    }
    let proof = core
        .read(move |tables| tree::consistency_proof(&tables.tree_rows(), old, new))
        .await?;
    Ok((new, proof, answered))
}

/// The newest checkpoint that this replica has, signed; as of a record, the one that ends
/// with it.
pub async fn checkpoint(
    core: &Core,
    _principal: &Principal,
    level: ReadLevel,
) -> Result<(String, Answered), Error> {
    let booted = core.booted()?;
    let answered = core.answered_by(core.fresh(level).await?);
    let size = answered.log_size;
    let note = match level {
        ReadLevel::AsOf(_) => signed_at(core, &booted, size, size).await?,
        _ => newest(core, &booted).await?,
    };
    Ok((note, answered))
}

/// The newest note that members have cosigned.
pub async fn cosigned(core: &Core, _principal: &Principal) -> Result<(String, Answered), Error> {
    core.booted()?;
    let answered = core.answered(false);
    match core.cosigned.newest() {
        Some(note) => Ok((note.to_string(), answered)),
        None => Err(core.unavailable("no checkpoint has been cosigned yet")),
    }
}

/// The head of this replica, signed by the log key.
pub(super) async fn newest(core: &Core, booted: &Booted) -> Result<String, Error> {
    let head = core.read(Tables::head).await?;
    let pen = core.log_pen(booted).await?;
    let note = pen.sign(head.size, head.root);
    note.ok_or_else(|| core.without_log_key())
}

/// What the open checkpoint is: the newest cosigned note, or the newest checkpoint under
/// the log key alone while that is much newer. Its size never goes back on one node.
pub async fn published(core: &Core, _principal: &Principal) -> Result<String, Error> {
    let booted = core.booted()?;
    let head = core.read(Tables::head).await?;
    match core.cosigned.to_publish(head.size) {
        Some(note) => Ok(note.to_string()),
        None => newest(core, &booted).await,
    }
}

/// What an auditor pins.
pub fn trust(core: &Core, _principal: &Principal) -> Result<Trust, Error> {
    let booted = core.booted()?;
    Ok(Trust {
        genesis: booted.genesis.leaf_hash(),
        origin: booted.origin,
    })
}

/// The checkpoints that a bundle ends in.
pub(super) struct Notes {
    pub end: u64,
    pub head: u64,
    pub frames: Vec<CheckpointFrame>,
}

/// The checkpoint of `head` records, where the log has `size`, under the log key.
async fn signed_at(core: &Core, booted: &Booted, head: u64, size: u64) -> Result<String, Error> {
    if head > size {
        return Err(bad("head", format!("is above the log's {size}")).into());
    }
    let root = core.read(move |tables| tables.root_at(head)).await?;
    let note = core.log_pen(booted).await?.sign(head, root);
    note.ok_or_else(|| core.without_log_key())
}

/// A checkpoint of size `to`, for a log of `size` records; and where that is not one
/// which members have cosigned, the newest that they have, if it is above. `to` 0 means
/// the newest cosigned size, or as the log is now where there is none near. `head` is
/// that of a manifest given out before, or 0.
pub(super) async fn notes_from(
    core: &Core,
    booted: &Booted,
    to: u64,
    head: u64,
    size: u64,
) -> Result<Notes, Error> {
    let voters: BTreeSet<u64> = core.group.status().voters.into_iter().collect();
    let ledger = Ledger::following(
        booted.genesis.leaf_hash(),
        &booted.origin,
        core.known_keys().await?.history.clone(),
    );
    let is_agreed = |note: &str| {
        let vouched = ledger.checkpoint(note.as_bytes());
        vouched.is_ok_and(|vouched| {
            is_majority(
                &voters,
                vouched.cosigners.iter().map(|cosigner| cosigner.node),
            )
        })
    };
    let cosigned = match (head, to) {
        // To go on: the same manifest as before, so a note of the same size, if only under
        // the log key.
        (1.., _) => match core.cosigned.of_size(head).await {
            Some(note) => Some(note),
            None => Some(signed_at(core, booted, head, size).await?),
        },
        (0, to) => {
            let above = if to == 0 { size } else { to }.saturating_sub(1);
            let limit = Instant::now() + COSIGNED_WAIT;
            // Once a majority has cosigned.
            core.cosigned.wait(above, limit, is_agreed).await
        }
    };
    let cosigned = cosigned.and_then(|note| Some((size_of(&note)?, note)));
    let pen = core.log_pen(booted).await?;
    let end = match (to, &cosigned) {
        (0, Some((cosigned, _))) => *cosigned,
        (0, None) => size,
        (to, _) => to,
    };
    let mut frames = Vec::new();
    match &cosigned {
        Some((cosigned, note)) if *cosigned == end => frames.push(CheckpointFrame {
            note: note.clone(),
            consistency: Vec::new(),
        }),
        _ => {
            let root = core.read(move |tables| tables.root_at(end)).await?;
            frames.push(CheckpointFrame {
                note: pen.sign(end, root).ok_or_else(|| core.without_log_key())?,
                consistency: Vec::new(),
            });
        }
    }
    let mut newest = end;
    if let Some((later, note)) = cosigned.filter(|(later, _)| *later > end) {
        let consistency = core
            .read(move |tables| tree::consistency_proof(&tables.tree_rows(), end, later))
            .await?;
        frames.push(CheckpointFrame { note, consistency });
        newest = later;
    }
    Ok(Notes {
        end,
        head: newest,
        frames,
    })
}
