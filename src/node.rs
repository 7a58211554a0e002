//! The composition root: configuration in, a running node out.
//!
//! Promises the order of a start (ports, directory, stores, Raft, peers, boot, clients)
//! and of a graceful stop (not ready, leadership handed over, calls drained, Raft ended,
//! logs synced). Nothing imports this file but the binary and the tests.

use crate::bodies::Bodies;
use crate::clock::SharedClock;
use crate::config::{Config, check};
use crate::http;
use crate::keyring::Keyring;
use crate::ledger::state::State;
use crate::raft::group::{Group, Settings};
use crate::raft::reader::Reader;
use crate::recorder::endings::Endings;
use crate::recorder::intake::Intake;
use crate::recorder::{Pen, boot, due, lane, route};
use crate::rpc::{dial::Dialer, server};
use crate::service::{Booted, Core, admin, guarding};
use crate::stop::{Stop, Why};
use crate::store::Blocking;
use crate::store::bodies::BodyStore;
use crate::store::engine::Engine;
use crate::store::floor::FloorFile;
use crate::store::flush::Flusher;
use crate::store::log::LogStore;
use crate::store::marker::{self, Marker};
use crate::store::rocks::{Purpose, RocksEngine};
use crate::telemetry::Metrics;
use crate::transport::{Failure, Frames, Method, Serve, Transport};
use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt as _};
use muniment_evidence::key::Signer as _;
use muniment_evidence::opening::{BootDocument, Document};
use muniment_evidence::receipt::Genesis;
use std::path::PathBuf;
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
    config: Config,
    listeners: Listeners,
    clock: SharedClock,
    stop: Stop,
) -> Result<(), Error> {
    let start = |why: &dyn std::fmt::Display| Error::Start(why.to_string());
    let keys = Keyring::load(&config.keys.dir).map_err(|e| start(&e))?;
    let keys = Arc::new(keys);
    let metrics = Arc::new(Metrics::new());
    let stores = Stores::open(&config, &clock, &metrics, &stop).map_err(|e| start(&e))?;
    let core = build(&config, &stores, keys, clock, &stop)
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
    tokio::spawn(boot_into_ledger(
        core.clone(),
        means,
        Boot {
            incarnation: stores.marker.incarnation,
            data_dir: config.node.data_dir.clone(),
            queue_max: config.limits.recorder_queue,
        },
        booted,
        stop.clone(),
    ));
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
        let flushed = tokio::time::timeout(limit, booted.endings.flush()).await;
        if flushed.is_err() {
            tracing::warn!("no quorum in time for the last DOWNLOAD_ENDs");
        }
    }
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

/// What lies on the disk.
struct Stores {
    marker: Marker,
    ledger: Arc<dyn Engine>,
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
                ledger_flusher,
                floor,
                stop.clone(),
            ),
            ledger,
            bodies,
        })
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
    means: boot::Means,
    peers: Arc<dyn Serve>,
    booted: watch::Sender<Option<Booted>>,
    draining: watch::Sender<bool>,
}

async fn build(
    config: &Config,
    stores: &Stores,
    keys: Arc<Keyring>,
    clock: SharedClock,
    stop: &Stop,
) -> Result<Built, crate::store::Error> {
    let (node, blocking) = (&config.node, Blocking::Pool);
    let transport: Arc<dyn Transport> = Arc::new(Dialer::new(
        node.id,
        config.cluster.origin.clone(),
        config.limits.message_bytes,
    ));
    let settings = Settings {
        node: node.id,
        timing: config.cluster.profile.timing(),
        snapshot_after_entries: config.cluster.snapshot_after_entries,
        log_entries_kept: config.cluster.log_entries_kept,
        snapshots: Some(node.data_dir.join("snapshots")),
    };
    let group = Group::start(
        settings,
        stores.ledger.clone(),
        blocking,
        stores.log.clone(),
        transport.clone(),
        stop.clone(),
    )
    .await?;
    let reader = Reader::start(group.clone(), transport.clone());
    let state = State::new(stores.ledger.clone());
    let intake = Intake::new(group.clone(), state.clone(), blocking, clock.clone());
    let bodies = Bodies {
        node: node.id,
        zone: node.zone.clone(),
        incarnation: stores.marker.incarnation,
        store: BodyStore::new(
            stores.bodies.clone(),
            blocking,
            stores.bodies_flusher.clone(),
        ),
        group: group.clone(),
        blocking,
        transport: transport.clone(),
        signer: keys.statement.clone(),
        clock: clock.clone(),
        hot: Arc::default(),
    };
    let means = boot::Means {
        group: group.clone(),
        reader: reader.clone(),
        intake: intake.clone(),
        state: state.clone(),
        blocking,
        transport: transport.clone(),
    };
    let peers = Arc::new(PeerFloor {
        group: group.clone(),
        intake,
        bodies: bodies.clone(),
    });
    let (booted, boots) = watch::channel(None);
    let (draining, drain) = watch::channel(false);
    let data_dir = node.data_dir.clone();
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
        clock,
        uploads: Arc::new(Semaphore::new(config.limits.uploads_in_flight)),
        downloads: Arc::new(Semaphore::new(config.limits.downloads_in_flight)),
        limits: config.limits.clone(),
        tenants: config.tenants.clone(),
        booted: boots,
        stop: stop.clone(),
        draining: drain,
        founder: admin::Founder {
            origin: config.cluster.origin.clone(),
            means: means.clone(),
        },
        // Without an answer of the file system nothing is taken in.
        free_bytes: Arc::new(move || check::free_bytes(&data_dir).unwrap_or(0)),
    };
    Ok(Built {
        core: Arc::new(core),
        means,
        peers,
        booted,
        draining,
    })
}

/// What a boot needs of the configuration and the disk.
struct Boot {
    incarnation: [u8; 16],
    data_dir: PathBuf,
    queue_max: usize,
}

/// BOOT before anything else; then the recorder, what is due, and clients.
async fn boot_into_ledger(
    core: Arc<Core>,
    means: boot::Means,
    boot: Boot,
    booted: watch::Sender<Option<Booted>>,
    stop: Stop,
) {
    match boot_once(&core, &means, &boot, &stop).await {
        Ok((ready, recorder)) => {
            tracing::info!(origin = ready.origin, "booted into the ledger");
            booted.send_replace(Some(ready));
            let due = due::attest(
                recorder,
                means.group,
                means.reader,
                means.state,
                means.blocking,
            );
            tokio::select! {
                () = due => {}
                _ = stop.stopped() => {}
            }
            // Held until the end, so that readers of the signal never see it closed.
            drop(booted);
        }
        Err(why) => stop.broken(why),
    }
}

async fn boot_once(
    core: &Arc<Core>,
    means: &boot::Means,
    boot: &Boot,
    stop: &Stop,
) -> Result<(Booted, lane::Recorder), String> {
    let ledger = means.founded().await?;
    if ledger.origin != core.founder.origin {
        return Err(format!(
            "the ledger is {}, but this node is configured for {}",
            ledger.origin, core.founder.origin
        ));
    }
    let genesis = read_genesis(core).await?;
    let keys = genesis.document().map_err(|error| error.to_string())?;
    if keys.log_key != core.keys.log.public() {
        return Err("log.key is not the key that GENESIS names".into());
    }
    let pen = Pen {
        node: core.node,
        ledger: ledger.id,
        signer: core.keys.statement.clone(),
        clock: core.clock.clone(),
    };
    let document = Document::Boot(BootDocument {
        incarnation: boot.incarnation,
        statement_key: core.keys.statement.public(),
        software: format!("muniment {}", env!("CARGO_PKG_VERSION")),
    });
    let index = means.boot(&pen, document).await?;
    let guarding = guarding::Means {
        group: means.group.clone(),
        state: means.state.clone(),
        blocking: means.blocking,
        stop: stop.clone(),
    };
    guarding.start(&boot.data_dir, &ledger.origin).await?;
    let lane = lane::Means {
        pen,
        group: means.group.clone(),
        reader: means.reader.clone(),
        intake: means.intake.clone(),
        state: means.state.clone(),
        blocking: means.blocking,
        transport: means.transport.clone(),
        stop: stop.clone(),
    };
    let recorder = lane::start(lane, index, boot.queue_max);
    let ready = Booted {
        endings: Endings::start(recorder.clone()),
        recorder: recorder.clone(),
        genesis: Arc::new(genesis),
        origin: ledger.origin,
    };
    Ok((ready, recorder))
}

async fn read_genesis(core: &Arc<Core>) -> Result<Genesis, String> {
    let state = core.state.clone();
    let read = core.blocking.run(move || {
        let tables = state.tables()?;
        let missing = || crate::store::Error::corrupt("GENESIS is missing");
        let record = tables.record_bytes(0)?.ok_or_else(missing)?;
        let (document, _) = tables.openings(0)?;
        Ok(Genesis {
            record,
            opening: document.ok_or_else(missing)?.bytes,
        })
    });
    read.await.map_err(|error| error.to_string())
}

/// What peers may ask of this node.
struct PeerFloor {
    group: Group,
    intake: Intake,
    bodies: Bodies,
}

impl Serve for PeerFloor {
    fn call(
        &self,
        _from: u64,
        method: Method,
        body: Bytes,
    ) -> BoxFuture<'static, Result<Bytes, Failure>> {
        let group = self.group.clone();
        async move { group.serve_call(method, body).await }.boxed()
    }

    fn stream(
        &self,
        from: u64,
        method: Method,
        frames: Frames,
    ) -> BoxFuture<'static, Result<Frames, Failure>> {
        let (group, bodies, intake) =
            (self.group.clone(), self.bodies.clone(), self.intake.clone());
        async move {
            match method {
                Method::Append => Ok(group.serve_append(frames)),
                Method::Snapshot => group.serve_snapshot(frames).await,
                Method::Submit => Ok(route::serve(intake, from, frames)),
                Method::PutBody => bodies.serve_put(frames).await,
                Method::GetBody => bodies.serve_get(frames).await,
                _ => Err(Failure::Refused("not a stream".into())),
            }
        }
        .boxed()
    }
}
