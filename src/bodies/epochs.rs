//! Upload epochs: the leader moves the replicated counter by which orphans are collected.
//!
//! Promises: an epoch is asked for at most once per interval, and only while something may
//! be left to collect, so that an idle ledger stays quiet. The clock decides when to ask,
//! never what is collected: that follows from the order of the log (I5). Leaves the
//! collecting to [`super::orphans`].

use super::Bodies;
use crate::domain::call_error::CallError;
use crate::domain::ids::TreeSize;
use crate::ledger::policy::UPLOAD_EPOCH;
use crate::ledger::rows::LedgerHead;
use crate::ledger::state::Tables;
use crate::raft::context::Context;
use crate::recorder::Intent;
use crate::recorder::lane::Recorder;
use muniment_evidence::opening::{Document, PolicyDocument, Setting};
use muniment_evidence::record::{Outcome, Record};
use muniment_evidence::statement::Kind;

/// Epochs that pass until a body of the present one may be collected.
const EPOCHS_AFTER: u32 = 2;
/// Records that are looked at for one that has to do with uploads; with more than that
/// since the last epoch, one is taken for granted.
const RECORDS_MAX: u64 = 1000;

/// Asks for epochs for as long as the node runs; returns when its recorder has ended.
pub async fn tick(bodies: Bodies, context: Context, recorder: Recorder) {
    // A new leader does not know what the one before it still owed.
    let (mut owed, mut seen) = (EPOCHS_AFTER, TreeSize::EMPTY);
    loop {
        tokio::time::sleep(bodies.epoch_interval).await;
        if !context.group.is_leader() {
            (owed, seen) = (EPOCHS_AFTER, context.group.applied().size);
            continue;
        }
        // Without an answer storage has failed: the node is stopping.
        let Ok((head, busy)) = busy(&bodies, &context, seen).await else {
            return;
        };
        seen = head.size;
        if head.size == TreeSize::EMPTY {
            continue;
        }
        if busy {
            owed = EPOCHS_AFTER;
        }
        if owed == 0 {
            continue;
        }
        let document = Document::Policy(PolicyDocument {
            settings: vec![Setting {
                name: UPLOAD_EPOCH.to_owned(),
                value: head.upload_epoch.next().get(),
            }],
            order: None,
        });
        match recorder.record(Intent::system(document)).await {
            // Refused if another leader came first, or too soon: asked for again.
            Ok(recorded) => {
                owed -= u32::from(recorded.outcome == Outcome::Ok);
                tracing::debug!(outcome = %recorded.outcome, "an upload epoch");
            }
            Err(crate::recorder::RecorderError::Full) => {}
            Err(crate::recorder::RecorderError::Stopped) => return,
        }
    }
}

/// Whether something may have to be collected later: stamps here, or records since `seen`
/// that come from uploads or from a node that may have died under one.
async fn busy(
    bodies: &Bodies,
    context: &Context,
    seen: TreeSize,
) -> Result<(LedgerHead, bool), CallError> {
    let (head, recorded) = context
        .read(move |tables| {
            let head = tables.head()?;
            let recorded = uploaded(tables, seen, head.size)?;
            Ok((head, recorded))
        })
        .await?;
    if recorded {
        return Ok((head, true));
    }
    let stamps = match bodies.store.stamps(None, 1).await {
        // Something is there.
        Err(crate::store::StoreError::Unreadable(_)) => return Ok((head, true)),
        stamps => stamps.map_err(|error| context.storage_failed(&error))?,
    };
    Ok((head, !stamps.is_empty()))
}

fn uploaded(
    tables: &Tables<'_>,
    from: TreeSize,
    size: TreeSize,
) -> Result<bool, crate::store::StoreError> {
    if size.count_since(from) > RECORDS_MAX {
        return Ok(true);
    }
    for bytes in tables.record_range(from.next_index(), size.next_index(), RECORDS_MAX as usize)? {
        let record = Record::decode(&bytes)
            .map_err(|error| crate::store::StoreError::corrupt_in("a record", error))?;
        let kind = record.statement.kind;
        if matches!(
            kind,
            Kind::Issue | Kind::Reverse | Kind::AddRendition | Kind::Boot
        ) {
            return Ok(true);
        }
    }
    Ok(false)
}
