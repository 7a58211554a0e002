//! Booting into the ledger: what a node does before it says or signs anything.
//!
//! Promises the order: 1 a founded ledger is applied here and fresh, 2 it is the one that
//! this node is configured and keyed for, 3 the node's BOOT is committed, 4 the sign
//! guard allows, 5 the lane opens and clients are served. Whatever fails for good stops
//! the node. Afterwards it attests what falls due, and moves upload epochs, until the node
//! ends.

use super::{Booted, Core, epochs, guarding, keys};
use crate::recorder::endings::Endings;
use crate::recorder::{Pen, boot, due, lane};
use crate::store::Error;
use muniment_evidence::genesis::Genesis;
use muniment_evidence::key::Signer as _;
use muniment_evidence::keychange::Role;
use muniment_evidence::opening::{BootDocument, Document};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::watch;

/// Boots, then attests what is due. `guard_dir` is where the sign guard lies; a node in
/// memory has none.
pub async fn boot(
    core: Arc<Core>,
    means: boot::Means,
    guard_dir: Option<PathBuf>,
    booted: watch::Sender<Option<Booted>>,
) {
    let stop = core.stop.clone();
    match once(&core, &means, guard_dir).await {
        Ok(ready) => {
            tracing::info!(origin = ready.origin, "booted into the ledger");
            let recorder = ready.recorder.clone();
            booted.send_replace(Some(ready));
            let (ticking, recording, stopping) = (core.clone(), recorder.clone(), stop.clone());
            tokio::spawn(async move {
                tokio::select! {
                    () = epochs::tick(ticking, recording) => {}
                    _ = stopping.stopped() => {}
                }
            });
            let (group, reader, state) = (means.group, means.reader, means.state);
            tokio::select! {
                () = due::attest(recorder, group, reader, state, means.blocking) => {}
                _ = stop.stopped() => {}
            }
            // Held until the end, so that readers of the signal never see it closed.
            drop(booted);
        }
        Err(why) => stop.broken(why),
    }
}

async fn once(
    core: &Arc<Core>,
    means: &boot::Means,
    guard_dir: Option<PathBuf>,
) -> Result<Booted, String> {
    let ledger = means.founded().await?;
    let own = &core.founder.origin;
    if ledger.origin != *own {
        let origin = &ledger.origin;
        return Err(format!(
            "the ledger is {origin}, but this node is configured for {own}"
        ));
    }
    let genesis = genesis(core).await?;
    let known = core.known_keys().await.map_err(|error| error.to_string())?;
    let size = core.group.applied().size;
    for key in known.history.log_keys_at(size) {
        if core.keys.find(Role::Log, key).is_none() {
            return Err(format!(
                "the log key {key:?}, which the ledger names, is not held here: log.key is not \
                 the one, or log-<id>.key is missing beside it"
            ));
        }
    }
    let voice = keys::voice(core, &known, size)?;
    let pen = Pen {
        node: core.node,
        ledger: ledger.id,
        signer: voice.clone(),
        clock: core.clock.clone(),
    };
    let document = Document::Boot(BootDocument {
        incarnation: core.bodies.incarnation,
        statement_key: voice.public(),
        software: format!("muniment {}", env!("CARGO_PKG_VERSION")),
        outboxes: Vec::new(),
    });
    let index = means.boot(&pen, document).await?;
    let mut guarded = 0;
    if let Some(dir) = guard_dir {
        let guarding = guarding::Means {
            group: means.group.clone(),
            state: means.state.clone(),
            blocking: means.blocking,
            stop: core.stop.clone(),
        };
        guarded = guarding.start(&dir, &ledger.origin).await?;
    }
    let lane = lane::Means {
        pen,
        group: means.group.clone(),
        reader: means.reader.clone(),
        intake: means.intake.clone(),
        state: means.state.clone(),
        blocking: means.blocking,
        transport: means.transport.clone(),
        stop: core.stop.clone(),
    };
    let recorder = lane::start(lane, index, core.limits.recorder_queue);
    Ok(Booted {
        endings: Endings::start(recorder.clone()),
        recorder,
        genesis: Arc::new(genesis),
        origin: ledger.origin,
        guarded,
    })
}

async fn genesis(core: &Arc<Core>) -> Result<Genesis, String> {
    let state = core.state.clone();
    let read = core.blocking.run(move || {
        let tables = state.tables()?;
        let missing = || Error::corrupt("GENESIS is missing");
        let record = tables.record_bytes(0)?.ok_or_else(missing)?;
        let (document, _) = tables.openings(0)?;
        Ok(Genesis {
            record,
            opening: document.ok_or_else(missing)?.bytes,
        })
    });
    read.await.map_err(|error| error.to_string())
}
