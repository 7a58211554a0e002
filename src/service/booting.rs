//! Booting into the ledger: what a node does before it says or signs anything.
//!
//! Promises the order: 1 a founded ledger is applied here and fresh, 2 it is the one that
//! this node is configured and keyed for, 3 inventory is taken of the outboxes, 4 the node's
//! BOOT, which tells of them, is committed, 5 the sign guard allows, 6 the lanes open and
//! clients are served. Whatever fails for good stops the node. Afterwards it attests what
//! falls due, and moves upload epochs, until the node ends.

use super::{Booted, Core, epochs, guarding, keys};
use crate::ledger::outboxes::FEATURE_LEVEL;
use crate::recorder::download_ends::DownloadEnds;
use crate::recorder::outbox::{OutboxBounds, OutboxLane, inventory};
use crate::recorder::{StatementSigner, boot, due, lane};
use crate::store::Error;
use crate::store::outbox::OutboxLog;
use muniment_evidence::genesis::Genesis;
use muniment_evidence::key::{PublicKey, Signer as _};
use muniment_evidence::keychange::Role;
use muniment_evidence::opening::{BootDocument, BootOutbox, Document};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// BOOTs that are drawn up anew because what they told of outboxes was overtaken: each by
/// one batch that was on its way when the process before ended.
const OVERTAKEN_MAX: usize = 4;

/// Boots, then attests what is due. `guard_dir` is where the sign guard lies; a node in
/// memory has none.
pub async fn boot(
    core: Arc<Core>,
    means: boot::BootContext,
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
    means: &boot::BootContext,
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
    let signer = StatementSigner {
        node: core.node,
        ledger: ledger.id,
        signer: voice.clone(),
        clock: core.clock.clone(),
    };
    let (index, outboxes) = boot_telling(core, means, &signer, voice.public()).await?;
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
    let lane = lane::LaneContext {
        signer,
        group: means.group.clone(),
        reader: means.reader.clone(),
        intake: means.intake.clone(),
        state: means.state.clone(),
        blocking: means.blocking,
        transport: means.transport.clone(),
        stop: core.stop.clone(),
    };
    let recorder = lane::start(lane.clone(), index, core.limits.recorder_queue);
    let download_ends = DownloadEnds::start(recorder.clone());
    let bounds = OutboxBounds {
        pending_max: core.deferred.max_pending,
        age_max: Duration::from_millis(core.deferred.max_age_ms),
    };
    let mut outboxes = outboxes.into_iter();
    let mut start = |log| OutboxLane::start(lane.clone(), download_ends.clone(), log, bounds);
    let outbox = outboxes.next().map(&mut start);
    // Without a handle they only drain.
    outboxes.for_each(|log| drop(start(log)));
    Ok(Booted {
        download_ends,
        recorder,
        outbox,
        genesis: Arc::new(genesis),
        origin: ledger.origin,
        guarded,
    })
}

/// Takes inventory of the outboxes and submits the BOOT that tells of them.
async fn boot_telling(
    core: &Arc<Core>,
    means: &boot::BootContext,
    signer: &StatementSigner,
    statement_key: PublicKey,
) -> Result<(u64, Vec<OutboxLog>), String> {
    let mut refused: Option<(Vec<BootOutbox>, String)> = None;
    for _ in 0..OVERTAKEN_MAX {
        let (outboxes, there) = take_inventory(core).await?;
        if let Some((told, why)) = &refused
            && *told == outboxes
        {
            return Err(why.clone());
        }
        let document = Document::Boot(BootDocument {
            incarnation: core.bodies.holder.incarnation,
            statement_key,
            software: format!("muniment {}", env!("CARGO_PKG_VERSION")),
            outboxes: outboxes.clone(),
        });
        match means.boot(signer, document).await {
            Ok(index) => return Ok((index, there)),
            // Statements of the process before may have been recorded meanwhile.
            Err(why) => refused = Some((outboxes, why.into())),
        }
    }
    Err(refused.map_or_else(String::new, |(_, why)| why))
}

async fn take_inventory(core: &Arc<Core>) -> Result<(Vec<BootOutbox>, Vec<OutboxLog>), String> {
    let (state, dir) = (core.state.clone(), core.outboxes.clone());
    let (node, clock) = (core.node, core.clock.clone());
    let taken = core.blocking.run(move || {
        state.stable(|tables| {
            if tables.head()?.feature_level < FEATURE_LEVEL {
                return Ok((Vec::new(), Vec::new()));
            }
            let found = inventory::take_inventory(&dir, tables, node, clock.as_ref())?;
            Ok((found.reported, found.open))
        })
    });
    taken.await.map_err(|error| error.to_string())
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
