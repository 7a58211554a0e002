//! Damage to bodies, put on record.
//!
//! Promises: each note that lies beside the bodies becomes a SCRUB record, in order, as
//! soon as this node has booted, also after a restart. A
//! note goes only when its record is committed; if the node ends between the two, the
//! same finding is recorded twice. Leaves finding to [`super::scrub`], repairing to
//! [`super::repair`].

use super::Bodies;
use crate::domain::ids::NodeId;
use crate::raft::context::Context;
use crate::recorder::writes::Writes;
use crate::recorder::{self, Intent};
use crate::supervise::{self, Life};
use muniment_evidence::opening::Document;
use muniment_evidence::record::Outcome;
use std::time::Duration;

/// Notes read at a time.
const PAGE: usize = 64;
/// Pause before a full recorder is asked again.
const FULL_PAUSE: Duration = Duration::from_millis(200);

/// Records what is noted, for as long as the node runs.
pub fn start(bodies: Bodies, context: Context, writes: Writes) {
    let stop = context.stop.clone();
    supervise::keep(
        &stop,
        Life::UntilStopped,
        "the records of damage",
        async move {
            if let Err(error) = follow(&bodies, &writes).await {
                let stop = &context.stop;
                stop.broken(format!("notes of damage cannot be read: {error}"));
            }
        },
    );
}

/// Ends when the node does, or with a fault of storage.
async fn follow(bodies: &Bodies, writes: &Writes) -> Result<(), crate::store::StoreError> {
    let mut boots = writes.booted.clone();
    let booted = match boots.wait_for(Option::is_some).await {
        Ok(booted) => booted.clone(),
        Err(_) => return Ok(()),
    };
    let Some(booted) = booted else { return Ok(()) };
    let store = &bodies.store;
    loop {
        // Before the look, so that what comes during it is not missed.
        let more = bodies.repairs.notes.notified();
        let notes = match store.notes(PAGE).await {
            Err(crate::store::StoreError::Unreadable(why)) => {
                tracing::error!(%why, "notes of damage cannot be read, and are not recorded");
                Vec::new()
            }
            notes => notes?,
        };
        if notes.is_empty() {
            more.await;
            continue;
        }
        for (seq, document) in notes {
            if record(bodies.holder.node, &booted.recorder, document).await {
                store.noted(seq).await?;
            } else {
                return Ok(());
            }
        }
    }
}

/// False when the node is stopping.
async fn record(node: NodeId, recorder: &recorder::lane::Recorder, document: Document) -> bool {
    loop {
        let intent = Intent::system(document.clone());
        match recorder.record(intent).await {
            Ok(recorded) => {
                if recorded.outcome != Outcome::Ok {
                    let index = recorded.index;
                    tracing::error!(
                        node = node.get(),
                        index = index.get(),
                        "a SCRUB record has no effect"
                    );
                }
                return true;
            }
            Err(recorder::RecorderError::Full) => tokio::time::sleep(FULL_PAUSE).await,
            Err(recorder::RecorderError::Stopped) => return false,
        }
    }
}
