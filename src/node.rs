//! The composition root: configuration in, a running node out.
//!
//! Promises the order of a start (ports, directory, stores, Raft, peers, boot, clients)
//! and of a graceful stop (not ready, leadership handed over, calls drained, Raft ended,
//! logs synced). Nothing imports this file but the binary and the tests.

use crate::bodies::disk_budget::DiskBudget;
use crate::bodies::{Bodies, BodyContext, Holder, complete, orphans, repair};
use crate::clock::SharedClock;
use crate::config::{Config, Witness, check};
use crate::http;
use crate::keyring::Keyring;
use crate::ledger::state::State;
use crate::objective::disk::evidence_reserve;
use crate::raft::group::{GroupSettings, RaftGroup};
use crate::raft::reader::ReadBarrier;
use crate::recorder::boot;
use crate::recorder::intake::Intake;
use crate::rpc::{dial::Dialer, server};
use crate::service::acquaintance::Acquaintance;
use crate::service::cosigning::{self, Cosigned};
use crate::service::hello::Hello;
use crate::service::keys::KeyBook;
use crate::service::peers::PeerFloor;
use crate::service::standing::{self, Standings};
use crate::service::vigil::Vigil;
use crate::service::{Booted, Core, admin, booting, budgets, disk, members, scrubbing, witnessing};
use crate::stop::{Stop, Why};
use crate::store::Blocking;
use crate::store::bodies::BodyStore;
use crate::store::engine::Engine;
use crate::store::floor::FloorFile;
use crate::store::flush::Flusher;
use crate::store::log::LogStore;
use crate::store::marker::{self, Marker};
use crate::store::notes::NoteStore;
use crate::store::outbox::OutboxDir;
use crate::store::rocks::{Purpose, RocksEngine};
use crate::telemetry::Metrics;
use crate::transport::{Serve, Transport};
use crate::witness::{client, post::Target};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};

/// Why a node could not run, or stopped by itself.
#[derive(Debug)]
pub enum Error {
    /// Mend the configuration or the machine; nothing was changed.
    Start(String),
    /// A promise was broken while running.
    Broken(String),
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Error::Start(why) => write!(f, "the node cannot start: {why}"),
            Error::Broken(why) => write!(f, "the node stopped: {why}"),
        }
    }
}

impl std::error::Error for Error {}

/// The three listeners of a node.
pub struct Listeners {
    pub client: TcpListener,
    pub peer: TcpListener,
    pub http: TcpListener,
}

impl Listeners {
    pub async fn bind(config: &Config) -> Result<Listeners, Error> {
        let bind = |name: &'static str, address: std::net::SocketAddr| async move {
            let bound = TcpListener::bind(address).await;
            bound.map_err(|e| Error::Start(format!("listen.{name} {address}: {e}")))
        };
        Ok(Listeners {
            client: bind("client", config.listen.client).await?,
            peer: bind("peer", config.listen.peer).await?,
            http: bind("http", config.listen.http).await?,
        })
    }
}

/// Runs a node until it is asked to stop, or a promise breaks.
pub async fn run(
    mut config: Config,
    listeners: Listeners,
    clock: SharedClock,
    stop: Stop,
) -> Result<(), Error> {
    let start = |why: &dyn std::fmt::Display| Error::Start(why.to_string());
    let keys = Keyring::load(&config.keys.dir).map_err(|e| start(&e))?;
    let keys = Arc::new(keys);
    let targets = targets(&config).map_err(|e| start(&e))?;
    budgets::fit(&mut config.limits).map_err(|e| start(&e))?;
    let (dir, profile) = (config.node.data_dir.clone(), config.cluster.profile);
    let fits = Blocking::Pool
        .run(move || Ok(check::disk_fits(&dir, profile)))
        .await;
    fits.map_err(|e| start(&e))?.map_err(|e| start(&e))?;
    let metrics = Arc::new(Metrics::new());
    let stores = Stores::open(&config, &clock, &metrics, &stop).map_err(|e| start(&e))?;
    let core = build(&config, &stores, keys, clock, &metrics, &stop)
        .await
        .map_err(|e| start(&e))?;
    let Built {
        core,
        means,
        peers,
        booted,
        draining,
    } = core;

    // Peers first: nobody can boot before a quorum talks.
    let drain = core.draining.clone();
    let (closing, close) = watch::channel(false);
    let peer_server = {
        let (limits, stop) = (config.limits.clone(), stop.clone());
        let origin = config.cluster.origin.clone();
        tokio::spawn(async move {
            let served = server::serve_peers(origin, peers, &limits, listeners.peer, raised(close));
            if let Err(why) = served.await {
                stop.broken(format!("the peer listener: {why}"));
            }
        })
    };
    let guard_dir = Some(config.node.data_dir.clone());
    tokio::spawn(booting::boot(core.clone(), means, guard_dir, booted));
    tokio::spawn(members::tend::tend(core.clone()));
    be_witnessed(&config, targets, &core, &metrics);
    tokio::spawn(scrubbing::attest(core.clone()));
    let client_server = {
        let (core, metrics, stop) = (core.clone(), metrics.clone(), stop.clone());
        let drain = drain.clone();
        tokio::spawn(async move {
            let served = server::serve_clients(core, metrics, listeners.client, raised(drain));
            if let Err(why) = served.await {
                stop.broken(format!("the client listener: {why}"));
            }
        })
    };
    let source = http::source::NodeSource {
        core: core.clone(),
        engines: stores.engines(),
    };
    let http_server = tokio::spawn(http::serve(
        listeners.http,
        Arc::new(source),
        metrics,
        raised(drain.clone()),
    ));
    tracing::info!(
        node = config.node.id,
        zone = config.node.zone,
        client = %config.listen.client,
        profile = %config.cluster.profile,
        worst_leaderless_ms = config.cluster.profile.timing().worst_leaderless_ms(),
        "node is up"
    );

    let why = stop.stopped().await;
    if let Why::Broken(what) = why {
        // Nothing that follows may be trusted: no hand-over, no drain.
        return Err(Error::Broken(what.to_string()));
    }
    tracing::info!("stopping: handing over and draining");
    draining.send_replace(true);
    core.group.hand_over().await;
    let limit = Duration::from_millis(config.limits.drain_ms);
    if tokio::time::timeout(limit, client_server).await.is_err() {
        tracing::warn!("some calls did not end in time and are cut off");
    }
    if let Ok(booted) = core.booted() {
        let flushed = tokio::time::timeout(limit, booted.download_ends.flush()).await;
        if flushed.is_err() {
            tracing::warn!("no quorum in time for the last DOWNLOAD_ENDs");
        }
    }
    stop.drained();
    http_server.abort();
    closing.send_replace(true);
    core.group.shutdown().await;
    peer_server.abort();
    for engine in stores.engines() {
        let engine = engine.1;
        let synced = Blocking::Pool.run(move || engine.sync()).await;
        synced.map_err(|error| Error::Broken(error.to_string()))?;
    }
    tracing::info!("stopped");
    Ok(())
}

async fn raised(mut signal: watch::Receiver<bool>) {
    // The sender lives as long as `run`; if it is gone, so is the node.
    let _ = signal.wait_for(|raised| *raised).await;
}

/// Where the witnesses are; read before anything is changed.
fn targets(config: &Config) -> Result<Vec<Target>, String> {
    let target = |w: &Witness| Target::new(&w.url, w.ca.as_deref());
    config.witness.iter().map(target).collect()
}

/// One task per witness, idle unless this node leads; each ends with the node.
fn be_witnessed(config: &Config, targets: Vec<Target>, core: &Arc<Core>, metrics: &Arc<Metrics>) {
    let desk = Arc::new(witnessing::Desk {
        core: core.clone(),
        metrics: metrics.clone(),
        keys: config
            .witness
            .iter()
            .map(|witness| (witness.key.name.clone(), witness.key.clone()))
            .collect(),
        anchor_interval: Duration::from_secs(config.witnessing.anchor_interval_s),
    });
    let pace = client::Pace {
        interval: Duration::from_secs(config.witnessing.interval_s),
        lag_alarm: Duration::from_secs(config.witnessing.lag_alarm_s),
    };
    for (witness, target) in config.witness.iter().zip(targets) {
        let standing = core.witnesses.standings[&witness.key.name].clone();
        let (key, clock) = (witness.key.clone(), core.clock.clone());
        let submitter = client::Submitter::new(key, target, pace, clock, standing);
        tokio::spawn(submitter.run(desk.clone(), core.stop.clone()));
    }
}

/// What lies on the disk.
struct Stores {
    marker: Marker,
    ledger: Arc<dyn Engine>,
    ledger_flusher: Flusher,
    bodies: Arc<dyn Engine>,
    bodies_flusher: Flusher,
    log: LogStore,
}

impl Stores {
    fn open(
        config: &Config,
        clock: &SharedClock,
        metrics: &Arc<Metrics>,
        stop: &Stop,
    ) -> Result<Stores, crate::store::Error> {
        let dir = &config.node.data_dir;
        let mut incarnation = [0; 16];
        clock.random(&mut incarnation);
        let first = Marker {
            format: marker::FORMAT,
            origin: config.cluster.origin.clone(),
            node: config.node.id,
            incarnation,
        };
        let marker = Marker::claim(dir, first)?;
        let open = |name: &str, purpose| {
            RocksEngine::open(&dir.join(name), purpose).map(|engine| Arc::new(engine) as _)
        };
        let ledger: Arc<dyn Engine> = open("ledger", Purpose::Ledger)?;
        let bodies: Arc<dyn Engine> = open("bodies", Purpose::Bodies)?;
        let flusher = |name, engine: &Arc<dyn Engine>| {
            let histogram = metrics.fsync_of(name);
            let observe = Arc::new(move |took: Duration| histogram.observe(took.as_secs_f64()));
            Flusher::start(name, engine.clone(), Blocking::Pool, stop.clone(), observe)
        };
        let ledger_flusher = flusher("ledger", &ledger);
        let floor = FloorFile::open(&dir.join("floor"))?;
        Ok(Stores {
            marker,
            bodies_flusher: flusher("bodies", &bodies),
            log: LogStore::start(
                ledger.clone(),
                Blocking::Pool,
                ledger_flusher.clone(),
                floor,
                stop.clone(),
            ),
            ledger,
            ledger_flusher,
            bodies,
        })
    }

    /// What is free where the databases lie, less what they will take by themselves.
    /// Without an answer of the file system nothing is taken in.
    fn room(&self, dir: &Path, reserve: u64) -> DiskBudget {
        let (dir, engines) = (dir.to_owned(), [self.ledger.clone(), self.bodies.clone()]);
        let ask = move || {
            // In this order: a flush that ends in between is counted twice, never not at all.
            let pending: u64 = engines.iter().map(|engine| engine.pending_bytes()).sum();
            let free = check::free_bytes(&dir).unwrap_or(0);
            free.saturating_sub(pending)
        };
        DiskBudget::new(reserve, Arc::new(ask))
    }

    fn engines(&self) -> [(&'static str, Arc<dyn Engine>); 2] {
        [
            ("ledger", self.ledger.clone()),
            ("bodies", self.bodies.clone()),
        ]
    }
}

struct Built {
    core: Arc<Core>,
    means: boot::BootContext,
    peers: Arc<dyn Serve>,
    booted: watch::Sender<Option<Booted>>,
    draining: watch::Sender<bool>,
}

async fn build(
    config: &Config,
    stores: &Stores,
    keys: Arc<Keyring>,
    clock: SharedClock,
    metrics: &Arc<Metrics>,
    stop: &Stop,
) -> Result<Built, crate::store::Error> {
    let (node, blocking) = (&config.node, Blocking::Pool);
    let transport: Arc<dyn Transport> = Arc::new(Dialer::new(
        node.id,
        config.cluster.origin.clone(),
        config.limits.message_bytes,
    ));
    let reserve = config.limits.disk_reserve_bytes;
    let room = stores.room(&node.data_dir, reserve);
    let settings = GroupSettings {
        node: node.id,
        timing: config.cluster.profile.timing(),
        snapshot_after_entries: config.cluster.snapshot_after_entries,
        log_entries_kept: config.cluster.log_entries_kept,
        snapshots: Some(node.data_dir.join("snapshots")),
        has_disk_space: {
            let room = room.clone();
            Arc::new(move || room.free() >= evidence_reserve(reserve))
        },
        incarnation: stores.marker.incarnation,
    };
    let group = RaftGroup::start(
        settings,
        stores.ledger.clone(),
        blocking,
        stores.log.clone(),
        transport.clone(),
        stop.clone(),
    )
    .await?;
    let reader = ReadBarrier::start(group.clone(), transport.clone(), clock.clone());
    let state = State::new(stores.ledger.clone());
    let intake = Intake::new(group.clone(), state.clone(), blocking, clock.clone());
    let bodies = Bodies::new(BodyContext {
        holder: Holder {
            node: node.id,
            region: node.region.clone(),
            zone: node.zone.clone(),
            incarnation: stores.marker.incarnation,
            signer: keys.clone(),
        },
        store: BodyStore::new(
            stores.bodies.clone(),
            blocking,
            stores.bodies_flusher.clone(),
        ),
        group: group.clone(),
        blocking,
        transport: transport.clone(),
        clock: clock.clone(),
        epoch_interval: Duration::from_secs(config.cluster.upload_epoch_s),
        disk_budget: room,
        repair: config.repair.clone(),
    });
    orphans::start(
        &bodies,
        state.clone(),
        stores.ledger_flusher.clone(),
        stop.clone(),
    );
    repair::start(&bodies, &state, stop);
    let means = boot::BootContext {
        group: group.clone(),
        reader: reader.clone(),
        intake: intake.clone(),
        state: state.clone(),
        blocking,
        transport: transport.clone(),
    };
    let (booted, boots) = watch::channel(None);
    let key_book = Arc::new(KeyBook::new(state.clone(), blocking, keys.clone()));
    let complete = complete::start(bodies.clone(), state.clone(), stop.clone());
    let health = disk::Health::default();
    let (syncs, held) = (health.clone(), bodies.clone());
    let serving = boots.clone();
    let standings = Standings::start(standing::Means {
        group: group.clone(),
        clock: clock.clone(),
        stop: stop.clone(),
        transport: transport.clone(),
        own: standing::Own {
            complete: complete.clone(),
            fill: Box::new(move |standing| {
                standing.disk_free_bytes = held.disk_budget.free();
                let p99 = syncs.now().0.unwrap_or_default();
                standing.fsync_p99_us = p99.as_micros() as u64;
                standing.ready = serving.borrow().is_some();
                let health = held.repairs.health();
                standing.bodies_missing = health.missing;
                standing.repair_queue = health.queue;
                standing.orphan_bytes = held.orphan_bytes();
            }),
        },
    });
    let (failover, leaderless) = (metrics.failover.clone(), metrics.leaderless.clone());
    let silence_max = Duration::from_millis(config.cluster.profile.timing().election_max_ms);
    let over = Arc::new(move |took: Duration| {
        failover.observe(took.as_secs_f64());
        leaderless.inc_by(took.as_secs_f64());
    });
    let vigil = Vigil::start(group.clone(), silence_max, stop.clone(), over);
    let cosigned = Cosigned::start(cosigning::Means {
        group: group.clone(),
        state: state.clone(),
        blocking,
        clock: clock.clone(),
        stop: stop.clone(),
        transport: transport.clone(),
        flusher: stores.ledger_flusher.clone(),
        notes: NoteStore::new(stores.ledger.clone(), blocking),
        complete,
        booted: boots.clone(),
        key_book: key_book.clone(),
    });
    let hello = Hello {
        node: node.id,
        incarnation: stores.marker.incarnation,
        digest: config.cluster_digest(),
        profile: config.cluster.profile,
        software: format!("muniment {}", env!("CARGO_PKG_VERSION")),
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
        flusher: stores.ledger_flusher.clone(),
        health,
        limit: config.cluster.profile.fsync_max(),
        blocking,
        probe: {
            let dir = node.data_dir.clone();
            Some(Arc::new(move || check::probe_fsync(&dir)))
        },
    };
    disk::watch(watching, stop.clone());
    let peers = Arc::new(PeerFloor {
        group: group.clone(),
        intake,
        bodies: bodies.clone(),
        cosigned: cosigned.clone(),
        acquaintance: acquaintance.clone(),
        standings: standings.clone(),
    });
    let (draining, drain) = watch::channel(false);
    let core = Core {
        node: node.id,
        zone: node.zone.clone(),
        region: node.region.clone(),
        group,
        reader,
        state,
        blocking,
        bodies,
        keys,
        key_book,
        clock,
        uploads: Arc::new(Semaphore::new(config.limits.uploads_in_flight)),
        downloads: Arc::new(Semaphore::new(config.limits.downloads_in_flight)),
        limits: config.limits.clone(),
        profile: config.cluster.profile,
        tenants: config.tenants.clone(),
        booted: boots,
        stop: stop.clone(),
        draining: drain,
        founder: admin::Founder {
            origin: config.cluster.origin.clone(),
            means: means.clone(),
        },
        cosigned,
        witnesses: witnessing::Board::of(config.witness.iter().map(|w| w.key.name.clone())),
        standings,
        vigil,
        deferred: config.deferred.clone(),
        outboxes: OutboxDir::on_disk(node.data_dir.join("outbox")),
        memory: budgets::Memory::of(config.limits.memory_bytes),
        acquaintance,
        joining: Default::default(),
        members: members::Desk::default(),
    };
    Ok(Built {
        core: Arc::new(core),
        means,
        peers,
        booted,
        draining,
    })
}
