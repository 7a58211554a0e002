//! Prove: hands over receipts, checkpoints and records; never judges them.
//!
//! Promises: the first receipt of a record is the checkpoint at the end of the Raft entry
//! that holds it, the same bytes from any replica and for ever. Nothing is signed before
//! this node has booted (so, not before a read index taken after its start), nor before
//! the record just read hashes to what the tree says.
//!
//! Tests: `tests/cluster/cosignatures.rs`, `tests/cluster/reads.rs`.

use super::{Parts, find};
use crate::checkpoint::heads::ReceiptHead;
use crate::checkpoint::keys::{CheckpointSigner, KeysInForce};
use crate::domain::call_error::CallError;
use crate::domain::draft::{InvoiceKey, bad};
use crate::domain::ids::{NodeId, RecordIndex, TreeSize};
use crate::ledger::state::Tables;
use crate::objective::majority::is_majority;
use crate::objective::read::ReadLevel;
use crate::raft::reads::{Answered, Reads};
use crate::recorder::booted::Booted;
use crate::recorder::writes::Writes;
use muniment_evidence::bundle::CheckpointFrame;
use muniment_evidence::digest::Digest;
use muniment_evidence::genesis::Genesis;
use muniment_evidence::ledger::Ledger;
use muniment_evidence::note::{Checkpoint, Note};
use muniment_evidence::policy::Policy;
use muniment_evidence::receipt::{LastRecord, Receipt};
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
pub(super) async fn receipt(
    reads: &Reads,
    keys: &KeysInForce,
    booted: &Booted,
    index: RecordIndex,
) -> Result<Receipt, CallError> {
    let prover = Prover::new(keys, booted).await?;
    let receipt = reads
        .read(move |tables| prover.receipt(tables, index))
        .await?;
    receipt.ok_or_else(|| keys.without_log_key())
}

/// What proving needs, to be taken along on a visit to the store.
pub(super) struct Prover {
    genesis: Arc<Genesis>,
    signer: CheckpointSigner,
}

impl Prover {
    /// For records that are applied here by now: the keys are those of now.
    pub(super) async fn new(keys: &KeysInForce, booted: &Booted) -> Result<Prover, CallError> {
        Ok(Prover {
            genesis: booted.genesis.clone(),
            signer: keys.signer(&booted.origin).await?,
        })
    }

    /// The first receipt; `None` without the log key.
    pub(super) fn receipt(
        &self,
        tables: &Tables<'_>,
        index: RecordIndex,
    ) -> Result<Option<Receipt>, crate::store::StoreError> {
        let size = tables.entry_end(index)?.ok_or_else(|| {
            crate::store::StoreError::corrupt(format!("record {index} has no end of its entry"))
        })?;
        let known = &self.signer.known;
        let head = match known.heads.of_size(size) {
            Some(head) => head,
            None => {
                let Some(checkpoint) = self.signer.sign(size, tables.root_at(size)?) else {
                    return Ok(None);
                };
                known.heads.keep(self.head(tables, size, checkpoint)?)
            }
        };
        self.under(tables, index, &head).map(Some)
    }

    /// A receipt under a note of `size`, which is above the index.
    pub(super) fn receipt_under(
        &self,
        tables: &Tables<'_>,
        index: RecordIndex,
        size: TreeSize,
        checkpoint: String,
    ) -> Result<Receipt, crate::store::StoreError> {
        let head = self.head(tables, size, checkpoint)?;
        self.under(tables, index, &head)
    }

    fn head(
        &self,
        tables: &Tables<'_>,
        size: TreeSize,
        checkpoint: String,
    ) -> Result<ReceiptHead, crate::store::StoreError> {
        Ok(ReceiptHead {
            size,
            checkpoint,
            last: last_record(tables, size)?,
            keys: self.signer.known.proven(tables, size)?,
        })
    }

    fn under(
        &self,
        tables: &Tables<'_>,
        index: RecordIndex,
        head: &ReceiptHead,
    ) -> Result<Receipt, crate::store::StoreError> {
        let damaged =
            |what: &str| crate::store::StoreError::corrupt(format!("record {index} {what}"));
        let record = tables.record_bytes(index)?;
        let record = record.ok_or_else(|| damaged("is missing"))?;
        let rows = tables.tree_rows();
        if rows.rows(0, index.get(), 1)? != [tree::leaf_hash(&record)] {
            return Err(damaged("does not hash to its leaf"));
        }
        let (document, actor) = tables.openings(index)?;
        let is_last = head.size.last() == Some(index);
        Ok(Receipt {
            last: head.last.clone().filter(|_| !is_last),
            genesis: (*self.genesis).clone(),
            keys: head.keys.clone(),
            path: tree::inclusion_proof(&rows, index, head.size)?,
            checkpoint: head.checkpoint.clone(),
            record,
            document,
            actor,
        })
    }
}

/// The last record of the tree of this size, proven: it counts the changes of keys.
pub(super) fn last_record(
    tables: &Tables<'_>,
    size: TreeSize,
) -> Result<Option<LastRecord>, crate::store::StoreError> {
    let Some(index) = size.last() else {
        return Ok(None);
    };
    let record = tables.record_bytes(index)?.ok_or_else(|| {
        crate::store::StoreError::corrupt(format!("the record {index} is missing"))
    })?;
    Ok(Some(LastRecord {
        record,
        path: tree::inclusion_proof(&tables.tree_rows(), index, size)?,
    }))
}

/// Which record a receipt is asked for.
#[derive(Clone, Debug)]
pub enum ReceiptOf {
    Record(RecordIndex),
    /// The record by which the invoice was issued.
    Invoice(InvoiceKey),
}

/// What the receipt is to be under.
#[derive(Clone, Debug, Default)]
pub struct ReceiptTerms {
    /// A checkpoint that meets this policy; waited for.
    pub policy: Option<Policy>,
    /// The newest checkpoint in place of the first.
    pub fresh: bool,
    pub wait: Option<Duration>,
}

/// The receipt of a record, with its index.
pub async fn get_receipt(
    parts: &Parts,
    wanted: ReceiptOf,
    terms: ReceiptTerms,
) -> Result<(RecordIndex, Receipt, Answered), CallError> {
    let booted = parts.writes.booted()?;
    parts.reads.fresh(ReadLevel::Linearizable).await?;
    let answered = parts.reads.answered(true);
    let index = match wanted {
        ReceiptOf::Record(index) if index < answered.log_size.next_index() => index,
        ReceiptOf::Record(index) => return Err(CallError::not_found(format!("record {index}"))),
        ReceiptOf::Invoice(key) => {
            let key = parts.tenants.resolve_key("invoice", key)?;
            let uid = find::find(&parts.reads, &key).await?;
            find::invoice(&parts.reads, uid).await?.record_index
        }
    };
    let note = match (&terms.policy, terms.fresh) {
        (Some(policy), fresh) => {
            let newest = answered.log_size.last().filter(|_| fresh);
            let covered = newest.unwrap_or(index);
            Some(under_policy(parts, covered, policy, &terms).await?)
        }
        (None, true) => Some(parts.keys.sign_head(&booted.origin).await?),
        (None, false) => None,
    };
    let receipt = match note {
        None => receipt(&parts.reads, &parts.keys, &booted, index).await?,
        Some(note) => {
            let size =
                size_of(&note).ok_or_else(|| parts.reads.unavailable("a note cannot be read"))?;
            let prover = Prover::new(&parts.keys, &booted).await?;
            parts
                .reads
                .read(move |tables| prover.receipt_under(tables, index, size, note))
                .await?
        }
    };
    Ok((index, receipt, answered))
}

/// A cosigned note above `index` that meets the policy.
async fn under_policy(
    parts: &Parts,
    index: RecordIndex,
    policy: &Policy,
    terms: &ReceiptTerms,
) -> Result<String, CallError> {
    let wait = terms.wait.unwrap_or(POLICY_WAIT).min(POLICY_WAIT_MAX);
    let meets =
        |note: &str| Note::parse(note.as_bytes()).is_ok_and(|note| policy.evaluate(&note).is_met());
    let found = parts
        .cosigning
        .wait(index, Instant::now() + wait, meets)
        .await;
    found.ok_or_else(|| {
        parts.reads.unavailable(format!(
            "no checkpoint met the policy within {} ms: too few members have cosigned, or the \
             policy names others",
            wait.as_millis()
        ))
    })
}

fn size_of(note: &str) -> Option<TreeSize> {
    let note = Note::parse(note.as_bytes()).ok()?;
    Some(Checkpoint::parse(&note.text).ok()?.size)
}

/// The proof that the tree of `old` records is a prefix of the one of `new` (0: of now).
pub async fn consistency(
    reads: &Reads,
    writes: &Writes,
    old: TreeSize,
    new: TreeSize,
) -> Result<(TreeSize, Vec<Digest>, Answered), CallError> {
    writes.booted()?;
    reads.fresh(ReadLevel::Linearizable).await?;
    let answered = reads.answered(true);
    let new = if new == TreeSize::EMPTY {
        answered.log_size
    } else {
        new
    };
    if new > answered.log_size {
        let why = format!("is above the log's {}", answered.log_size);
        return Err(bad("new_size", why).into());
    }
    if old > new {
        return Err(bad("old_size", format!("is above {new}")).into());
    }
    let proof = reads
        .read(move |tables| tree::consistency_proof(&tables.tree_rows(), old, new))
        .await?;
    Ok((new, proof, answered))
}

/// The newest checkpoint that this replica has, signed; as of a record, the one that ends
/// with it.
pub async fn checkpoint(parts: &Parts, level: ReadLevel) -> Result<(String, Answered), CallError> {
    let booted = parts.writes.booted()?;
    let answered = parts.reads.answered_by(parts.reads.fresh(level).await?);
    let size = answered.log_size;
    let note = match level {
        ReadLevel::AsOf(_) => signed_at(parts, &booted, size, size).await?,
        _ => parts.keys.sign_head(&booted.origin).await?,
    };
    Ok((note, answered))
}

/// The newest note that members have cosigned.
pub async fn cosigned(parts: &Parts) -> Result<(String, Answered), CallError> {
    parts.writes.booted()?;
    let answered = parts.reads.answered(false);
    match parts.cosigning.newest() {
        Some(note) => Ok((note.to_string(), answered)),
        None => Err(parts
            .reads
            .unavailable("no checkpoint has been cosigned yet")),
    }
}

/// What the open checkpoint is: the newest cosigned note, or the newest checkpoint under
/// the log key alone while that is much newer. Its size never goes back on one node.
pub async fn published(parts: &Parts) -> Result<String, CallError> {
    let booted = parts.writes.booted()?;
    let head = parts.reads.read(|tables| tables.head()).await?;
    match parts.cosigning.to_publish(head.size) {
        Some(note) => Ok(note.to_string()),
        None => parts.keys.sign_head(&booted.origin).await,
    }
}

/// What an auditor pins.
pub fn trust(writes: &Writes) -> Result<Trust, CallError> {
    let booted = writes.booted()?;
    Ok(Trust {
        genesis: booted.genesis.leaf_hash(),
        origin: booted.origin,
    })
}

/// The checkpoints that a bundle ends in.
pub(super) struct LastCheckpoints {
    pub end: TreeSize,
    pub head: TreeSize,
    pub frames: Vec<CheckpointFrame>,
}

/// The checkpoint of `head` records, where the log has `size`, under the log key.
async fn signed_at(
    parts: &Parts,
    booted: &Booted,
    head: TreeSize,
    size: TreeSize,
) -> Result<String, CallError> {
    if head > size {
        return Err(bad("head", format!("is above the log's {size}")).into());
    }
    let root = parts.reads.read(move |tables| tables.root_at(head)).await?;
    let note = parts.keys.signer(&booted.origin).await?.sign(head, root);
    note.ok_or_else(|| parts.keys.without_log_key())
}

/// A checkpoint of size `to`, for a log of `size` records; and where that is not one
/// which members have cosigned, the newest that they have, if it is above. `to` 0 means
/// the newest cosigned size, or as the log is now where there is none near. `head` is
/// that of a manifest given out before, or 0.
pub(super) async fn notes_from(
    parts: &Parts,
    booted: &Booted,
    to: TreeSize,
    head: TreeSize,
    size: TreeSize,
) -> Result<LastCheckpoints, CallError> {
    let voters: BTreeSet<NodeId> = parts
        .reads
        .context
        .group
        .status()
        .voters
        .into_iter()
        .collect();
    let ledger = Ledger::following(
        booted.genesis.leaf_hash(),
        &booted.origin,
        parts.keys.now().await?.history.clone(),
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
    let cosigned = match (head.last(), to) {
        // To go on: the same manifest as before, so a note of the same size, if only under
        // the log key.
        (Some(_), _) => match parts.cosigning.of_size(head).await {
            Some(note) => Some(note),
            None => Some(signed_at(parts, booted, head, size).await?),
        },
        (None, to) => {
            let covered = if to == TreeSize::EMPTY { size } else { to }.last();
            let covered = covered.unwrap_or(RecordIndex::FIRST);
            let limit = Instant::now() + COSIGNED_WAIT;
            // Once a majority has cosigned.
            parts.cosigning.wait(covered, limit, is_agreed).await
        }
    };
    let cosigned = cosigned.and_then(|note| Some((size_of(&note)?, note)));
    let signer = parts.keys.signer(&booted.origin).await?;
    let end = match (to, &cosigned) {
        (TreeSize::EMPTY, Some((cosigned, _))) => *cosigned,
        (TreeSize::EMPTY, None) => size,
        (to, _) => to,
    };
    let mut frames = Vec::new();
    match &cosigned {
        Some((cosigned, note)) if *cosigned == end => frames.push(CheckpointFrame {
            note: note.clone(),
            consistency: Vec::new(),
        }),
        _ => {
            let root = parts.reads.read(move |tables| tables.root_at(end)).await?;
            frames.push(CheckpointFrame {
                note: signer
                    .sign(end, root)
                    .ok_or_else(|| parts.keys.without_log_key())?,
                consistency: Vec::new(),
            });
        }
    }
    let mut newest = end;
    if let Some((later, note)) = cosigned.filter(|(later, _)| *later > end) {
        let consistency = parts
            .reads
            .read(move |tables| tree::consistency_proof(&tables.tree_rows(), end, later))
            .await?;
        frames.push(CheckpointFrame { note, consistency });
        newest = later;
    }
    Ok(LastCheckpoints {
        end,
        head: newest,
        frames,
    })
}
