//! One simulated node: the composition of `src/node.rs` on memory and simulated TCP.
//!
//! Promises the same order of a start (stores, Raft, peers, boot, callers). What survives
//! a crash is a [`Machine`], which the world keeps; everything else is made anew at each
//! start. Leaves listeners, telemetry and graceful stops to tests of the real node.

use crate::clock::SimClock;
use crate::cluster::{Cluster, Machine, ORIGIN, region, zone};
use crate::net::{self, Net};
use crate::rng::Rng;
use crate::{callers, operator};
use muniment::bodies::{Bodies, complete, orphans, repair, room::Room};
use muniment::clock::SharedClock;
use muniment::config::{Deferred, Limits, Tenant};
use muniment::ledger::state::State;
use muniment::objective::timing::Profile;
use muniment::raft::group::{Group, Settings};
use muniment::raft::reader::Reader;
use muniment::recorder::boot;
use muniment::recorder::intake::Intake;
use muniment::service::acquaintance::Acquaintance;
use muniment::service::booting;
use muniment::service::cosigning::{self, Cosigned};
use muniment::service::hello::Hello;
use muniment::service::keys::KeyBook;
use muniment::service::members;
use muniment::service::peers::PeerFloor;
use muniment::service::standing::{self, Standings};
use muniment::service::vigil::Vigil;
use muniment::service::witnessing::Board;
use muniment::service::{Booted, Core, Principal, admin, budgets, disk, scrubbing};
use muniment::stop::{Stop, Why};
use muniment::store::Blocking;
use muniment::store::bodies::BodyStore;
use muniment::store::engine::Engine;
use muniment::store::flush::Flusher;
use muniment::store::log::LogStore;
use muniment::store::notes::NoteStore;
use muniment::transport::Transport;
use muniment_evidence::digest::Digest;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::{Semaphore, watch};

/// So low that a node that was away for a while is sent a snapshot, not the log.
const SNAPSHOT_AFTER_ENTRIES: u64 = 100;
const LOG_ENTRIES_KEPT: u64 = 30;
/// Short, so that callers cut off by a partition turn elsewhere within the run.
const REQUEST_MAX_MS: u64 = 3_000;
/// So short that uploads cross it, and that the log is still again before it is judged.
const EPOCH_INTERVAL: Duration = Duration::from_secs(1);
/// Between attempts to found while the others start.
const PAUSE: Duration = Duration::from_millis(50);
/// Calls within 10 ms and elections within 2 s: each simulated call dials first.
const PROFILE: Profile = Profile::Metro;
/// A fault is over within seconds; a disk that is full serves evidence on.
const DISK_RESERVE_BYTES: u64 = 1 << 20;

/// Runs a node until it is crashed, or a promise breaks, which fails the run.
pub async fn run(machine: Arc<Machine>, cluster: Arc<Cluster>) -> turmoil::Result {
    let boot = machine.boots.fetch_add(1, Ordering::SeqCst);
    // Each start draws other numbers: a node that draws the same ids again is broken.
    let source = boot << 8 | machine.node;
    let rng = Rng::of(cluster.seed, 1 << 32 | source);
    let (wall, trace) = (machine.wall.clone(), cluster.trace.clone());
    let clock: SharedClock = Arc::new(SimClock::new(machine.node, rng, wall, trace));
    *machine.runtime.lock().unwrap() = Some(tokio::runtime::Handle::current());
    let stop = Stop::new();
    let built = build(&machine, &cluster, clock, &stop).await;
    let (core, means, booted) = match built {
        Ok(built) => built,
        Err(error) => {
            *machine.ended.lock().unwrap() = Some(format!("cannot start: {error}"));
            return Ok(());
        }
    };
    let peers = Arc::new(PeerFloor {
        group: core.group.clone(),
        intake: means.intake.clone(),
        bodies: core.bodies.clone(),
        cosigned: core.cosigned.clone(),
        acquaintance: core.acquaintance.clone(),
        standings: core.standings.clone(),
    });
    let listening = stop.clone();
    let net = Net::new(machine.node, &cluster);
    tokio::spawn(async move {
        if let Err(why) = net::serve(net, peers).await {
            listening.broken(format!("the peer listener: {why}"));
        }
    });
    tokio::spawn(booting::boot(core.clone(), means, None, booted));
    tokio::spawn(members::tend::tend(core.clone()));
    if machine.node == 1 && !cluster.is_founded() {
        tokio::spawn(found(core.clone(), cluster.clone()));
    }
    tokio::spawn(scrubbing::attest(core.clone()));
    // What rotted while the node was down is found although nobody reads it.
    core.bodies.repairs.ask_scrub();
    callers::start(&core, &cluster, &machine, source);
    operator::start(&core, &cluster);
    match stop.stopped().await {
        // The world judges whether it had reason to.
        Why::Broken(what) => *machine.ended.lock().unwrap() = Some(what.to_string()),
        Why::Requested => {}
    }
    Ok(())
}

async fn found(core: Arc<Core>, cluster: Arc<Cluster>) {
    let operator = Principal::anonymous("simulated".into(), "world".into());
    loop {
        match admin::init(&core, &operator, ORIGIN, cluster.founders(), Vec::new(), 0).await {
            Ok(trust) => {
                *cluster.trust.lock().unwrap() = Some(trust);
                return;
            }
            Err(error) => tracing::debug!(%error, "not founded yet"),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

type Built = (Arc<Core>, boot::Means, watch::Sender<Option<Booted>>);

async fn build(
    machine: &Machine,
    cluster: &Cluster,
    clock: SharedClock,
    stop: &Stop,
) -> Result<Built, muniment::store::Error> {
    let (node, blocking) = (machine.node, Blocking::Paced(machine.mood));
    let disks = machine.disks();
    let keys = Arc::new(cluster.keys(node));
    let ledger: Arc<dyn Engine> = disks.ledger.clone();
    let bodies: Arc<dyn Engine> = disks.bodies.clone();
    let flusher = |name, engine: &Arc<dyn Engine>| {
        let unobserved = Arc::new(|_| {});
        Flusher::start(name, engine.clone(), blocking, stop.clone(), unobserved)
    };
    let bodies_flusher = flusher("bodies", &bodies);
    let ledger_flusher = flusher("ledger", &ledger);
    let log = LogStore::start(
        ledger.clone(),
        blocking,
        ledger_flusher.clone(),
        disks.floor()?,
        stop.clone(),
    );
    *disks.log.lock().unwrap() = Some(log.clone());
    let transport: Arc<dyn Transport> = Arc::new(Net::new(node, cluster));
    let mood = machine.mood;
    let room = Room::new(DISK_RESERVE_BYTES, Arc::new(move || mood.free_bytes()));
    let settings = Settings {
        node,
        timing: PROFILE.timing(),
        snapshot_after_entries: SNAPSHOT_AFTER_ENTRIES,
        log_entries_kept: LOG_ENTRIES_KEPT,
        snapshots: None,
        room: Arc::new(move || !mood.is_full()),
        incarnation: disks.incarnation,
        clock: clock.clone(),
    };
    let group = Group::start(
        settings,
        ledger.clone(),
        blocking,
        log,
        transport.clone(),
        stop.clone(),
    )
    .await?;
    let reader = Reader::start(group.clone(), transport.clone(), clock.clone());
    let state = State::new(ledger.clone());
    let means = boot::Means {
        group: group.clone(),
        reader: reader.clone(),
        intake: Intake::new(group.clone(), state.clone(), blocking, clock.clone()),
        state: state.clone(),
        blocking,
        transport: transport.clone(),
    };
    let bodies = Bodies {
        node,
        zone: zone(node),
        incarnation: disks.incarnation,
        store: BodyStore::new(bodies, blocking, bodies_flusher),
        group: group.clone(),
        blocking,
        transport: transport.clone(),
        signer: keys.clone(),
        clock: clock.clone(),
        hot: Arc::default(),
        arriving: Default::default(),
        region: region(node),
        flow: Arc::default(),
        orphans: Default::default(),
        epoch_interval: EPOCH_INTERVAL,
        room,
        repairs: Arc::default(),
    };
    orphans::start(&bodies, state.clone(), ledger_flusher.clone(), stop.clone());
    repair::start(&bodies, &state, stop);
    let (booted, boots) = watch::channel(None);
    let key_book = Arc::new(KeyBook::new(state.clone(), blocking, keys.clone()));
    let complete = complete::start(bodies.clone(), state.clone(), stop.clone());
    let standings = Standings::start(standing::Means {
        group: group.clone(),
        clock: clock.clone(),
        stop: stop.clone(),
        transport: transport.clone(),
        own: standing::Own {
            complete: complete.clone(),
            fill: Box::new(|_| {}),
        },
    });
    let silence_max = Duration::from_millis(PROFILE.timing().election_max_ms);
    let vigil = Vigil::start(group.clone(), silence_max, stop.clone(), Arc::new(|_| {}));
    let cosigned = Cosigned::start(cosigning::Means {
        group: group.clone(),
        state: state.clone(),
        blocking,
        clock: clock.clone(),
        stop: stop.clone(),
        transport: transport.clone(),
        flusher: ledger_flusher.clone(),
        notes: NoteStore::new(ledger, blocking),
        complete,
        booted: boots.clone(),
        key_book: key_book.clone(),
    });
    let health = disk::Health::default();
    let hello = Hello {
        node,
        incarnation: disks.incarnation,
        digest: Digest::of(&[ORIGIN.as_bytes()]),
        profile: PROFILE,
        software: "simulated".into(),
    };
    let acquaintance = Acquaintance::start(
        hello,
        group.clone(),
        transport,
        health.clone(),
        stop.clone(),
    );
    let watching = disk::Means {
        group: group.clone(),
        acquaintance: acquaintance.clone(),
        flusher: ledger_flusher,
        health,
        limit: PROFILE.fsync_max(),
        blocking,
        probe: None,
    };
    disk::watch(watching, stop.clone());
    let limits = Limits {
        request_deadline_ms: REQUEST_MAX_MS,
        ..Limits::default()
    };
    let memory_bytes = limits.memory_bytes;
    let core = Core {
        node,
        zone: zone(node),
        region: region(node),
        group,
        reader,
        state,
        blocking,
        bodies,
        keys,
        key_book,
        clock,
        uploads: Arc::new(Semaphore::new(limits.uploads_in_flight)),
        downloads: Arc::new(Semaphore::new(limits.downloads_in_flight)),
        limits,
        profile: PROFILE,
        tenants: vec![Tenant::named("default")],
        booted: boots,
        stop: stop.clone(),
        draining: watch::channel(false).1,
        founder: admin::Founder {
            origin: ORIGIN.into(),
            means: means.clone(),
        },
        cosigned,
        witnesses: Board::default(),
        standings,
        vigil,
        members: members::Desk::default(),
        deferred: Deferred::default(),
        outboxes: disks.outboxes.clone(),
        memory: budgets::Memory::of(memory_bytes),
        acquaintance,
        joining: Default::default(),
    };
    Ok((Arc::new(core), means, booted))
}
