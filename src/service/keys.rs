//! Keys: what the ledger's key history says now, and changing it.
//!
//! Promises: a change that the ledger would refuse, or whose endorsements do not hold, is
//! refused before it is numbered. Leaves which keys this node signs with to
//! [`crate::checkpoint::keys`].

use super::Parts;
use crate::checkpoint::keys::KeySnapshot;
use crate::domain::call_error::CallError;
use crate::domain::draft::bad;
use crate::domain::ids::{RecordIndex, UploadEpoch};
use crate::objective::read::ReadLevel;
use crate::raft::reads::Answered;
use crate::recorder::Intent;
use muniment_evidence::digest::Digest;
use muniment_evidence::endorsement::Place;
use muniment_evidence::keychange::KeyDocument;
use muniment_evidence::keys::believe;
use muniment_evidence::opening::Document;
use muniment_evidence::record::Outcome;
use std::sync::Arc;

/// The ledger's keys as they stand.
pub struct KeysView {
    pub ledger: Digest,
    pub origin: String,
    pub known: Arc<KeySnapshot>,
    /// What endorsements name: the last record, and when it was committed.
    pub after: RecordIndex,
    pub leaf: Digest,
    pub committed_at_ms: u64,
    /// By which a statement key that is retired now signs its last holdings.
    pub upload_epoch: UploadEpoch,
    pub answered: Answered,
}

/// The ledger's keys, missing no change that was acknowledged.
pub async fn list(parts: &Parts) -> Result<KeysView, CallError> {
    let booted = parts.writes.booted()?;
    parts.reads.fresh(ReadLevel::Linearizable).await?;
    let answered = parts.reads.answered(true);
    let head = parts.reads.read(|tables| tables.head()).await?;
    Ok(KeysView {
        after: head.size.last().unwrap_or(RecordIndex::FIRST),
        leaf: head.last_leaf,
        committed_at_ms: head.committed_at_ms,
        upload_epoch: head.upload_epoch,
        ledger: booted.genesis.leaf_hash(),
        origin: booted.origin,
        known: parts.keys.now().await?,
        answered,
    })
}

/// Records a change of keys; the index of its record.
pub async fn change(
    parts: &Parts,
    document: KeyDocument,
) -> Result<(RecordIndex, Answered), CallError> {
    let booted = parts.writes.booted()?;
    parts.reads.fresh(ReadLevel::Linearizable).await?;
    let known = parts.keys.now().await?;
    let head = parts.reads.read(|tables| tables.head()).await?;
    let place = Place {
        index: head.size.next_index(),
        committed_at_ms: head.committed_at_ms,
    };
    let believed = believe(&known.history, &head.ledger, place, &document);
    believed.map_err(|why| CallError::from(bad("change", why)))?;
    let intent = Intent::system(Document::Key(document));
    let recorded = parts.writes.record(&booted, intent).await?;
    match recorded.outcome {
        Outcome::Ok => Ok((recorded.index, parts.reads.answered(true))),
        Outcome::Refused(reason) => Err(CallError::refused(reason, "the change of keys")),
        Outcome::DuplicateOf(_) => Err(parts
            .reads
            .unavailable("a change of keys was taken for another")),
    }
}
