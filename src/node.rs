//! The node that ships: RocksDB, listeners and signals around what [`crate::assemble`] builds.
//!
//! Promises the order of a start (ports, directory, stores, Raft, peers, boot, clients)
//! and of a graceful stop (not ready, leadership handed over, calls drained, Raft ended,
//! logs synced). A broken promise waits for none of it: within [`HAND_OVER_MAX`] leadership
//! goes to another if that can be told, no listener takes any more, and the databases are
//! left as a crash would leave them, since closing them would wait for the very disk that
//! may be the reason. Leaves cutting off what is connected, and the end of the process, to
//! the binary. Nothing imports this file but the binary and the tests.
//!
//! Tests: `tests/cluster/restarts.rs`, `tests/cluster/failover.rs`.

use crate::assemble::{DiskSeams, Engines, Running, Seams, assemble};
use crate::bodies::disk_budget::DiskBudget;
use crate::clock::SharedClock;
use crate::config::{Config, Limits, WitnessEntry};
use crate::domain::cause::{AnyError, Cause};
use crate::domain::ids::NodeId;
use crate::http;
use crate::keyring::Keyring;
use crate::keyring::guard::SignGuard;
use crate::objective::budget;
use crate::preflight;
use crate::rpc::{dial::Dialer, server};
use crate::stop::Stop;
use crate::store::Blocking;
use crate::store::engine::Engine;
use crate::store::marker::{self, Marker};
use crate::store::outbox::OutboxDir;
use crate::store::rocks::{Purpose, RocksEngine};
use crate::store::watermark::WatermarkFile;
use crate::supervise::{self, Life};
use crate::telemetry::Metrics;
use crate::transport::Serve;
use crate::witness::post::WitnessEndpoint;
use crate::witness::source::WitnessTarget;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinHandle};

/// For handing leadership over once a promise is broken: together with the end of the
/// runtime, callers and peers are rid of the node in two seconds.
const HAND_OVER_MAX: Duration = Duration::from_secs(1);

/// Why a node could not run, or stopped by itself.
#[derive(Debug)]
pub enum NodeError {
    /// Mend the configuration or the machine; nothing was changed.
    Start(Cause),
    /// A promise was broken while running.
    Broken(Cause),
}

impl std::fmt::Display for NodeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            NodeError::Start(why) => write!(f, "the node cannot start: {why}"),
            NodeError::Broken(why) => write!(f, "the node stopped: {why}"),
        }
    }
}

impl std::error::Error for NodeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            NodeError::Start(why) | NodeError::Broken(why) => Some(why),
        }
    }
}

impl NodeError {
    pub fn start(why: impl Into<Box<AnyError>>) -> NodeError {
        NodeError::Start(Cause::new(why))
    }
}

/// The three listeners of a node.
pub struct Listeners {
    pub client: TcpListener,
    pub peer: TcpListener,
    pub http: TcpListener,
}

impl Listeners {
    pub async fn bind(config: &Config) -> Result<Listeners, NodeError> {
        let bind = |name: &'static str, address: std::net::SocketAddr| async move {
            let bound = TcpListener::bind(address).await;
            let place = format!("listen.{name} {address}");
            bound.map_err(|error| NodeError::Start(Cause::at(place, error)))
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
) -> Result<(), NodeError> {
    fit_descriptors(&mut config.limits).map_err(NodeError::start)?;
    let metrics = Arc::new(Metrics::new());
    let seams = seams(&config, clock, metrics.clone(), stop.clone()).await?;
    let engines = seams.engines.clone();
    let assembled = assemble(seams, &config).await.map_err(NodeError::start)?;
    let (closing, close) = watch::channel(false);
    // Peers first: nobody can boot before a quorum talks.
    let peers = assembled.peers.clone();
    let peer_server = serve_peers(&config, listeners.peer, peers, close, &stop);
    let running = assembled.start();
    let drain = running.parts.admission.draining.clone();
    let client_server = serve_clients(listeners.client, &running, metrics.clone(), &stop);
    let source = http::source::NodeSource {
        parts: running.parts.clone(),
        engines: [
            ("ledger", engines.ledger.clone()),
            ("bodies", engines.bodies.clone()),
        ],
    };
    let source = Arc::new(source);
    let http_server = serve_http(listeners.http, source, metrics, drain, &stop);
    tracing::info!(
        node = config.node.id,
        zone = config.node.zone,
        client = %config.listen.client,
        profile = %config.cluster.profile,
        worst_leaderless_ms = config.cluster.profile.timing().worst_leaderless_ms(),
        "node is up"
    );

    let group = running.parts.reads.context.group.clone();
    let serving = Serving {
        running,
        clients: client_server,
        peers: peer_server,
        http: http_server,
        closing,
    };
    let listening = serving.abort_handles();
    tokio::select! {
        biased;
        what = stop.broke() => {
            let handed = tokio::time::timeout(HAND_OVER_MAX, group.hand_over()).await;
            if handed.is_err() {
                tracing::warn!("leadership was not handed over in time");
            }
            for server in listening {
                server.abort();
            }
            // Never dropped: closing a database waits for its disk.
            let _left_open = std::mem::ManuallyDrop::new(engines);
            Err(NodeError::Broken(Cause::new(&*what)))
        }
        ended = serving.stop_gracefully(&config, &stop) => ended,
    }
}

/// A node that serves.
struct Serving {
    running: Running,
    clients: JoinHandle<()>,
    peers: JoinHandle<()>,
    http: JoinHandle<()>,
    closing: watch::Sender<bool>,
}

impl Serving {
    fn abort_handles(&self) -> [AbortHandle; 3] {
        [&self.clients, &self.peers, &self.http].map(JoinHandle::abort_handle)
    }

    /// Waits until the node is asked to stop, and stops it.
    async fn stop_gracefully(self, config: &Config, stop: &Stop) -> Result<(), NodeError> {
        stop.stopped().await;
        tracing::info!("stopping: handing over and draining");
        self.running.drain().await;
        let limit = Duration::from_millis(config.limits.drain_ms);
        if tokio::time::timeout(limit, self.clients).await.is_err() {
            tracing::warn!("some calls did not end in time and are cut off");
        }
        self.running.record_download_ends(limit).await;
        stop.drained();
        self.http.abort();
        self.closing.send_replace(true);
        self.running.end_raft().await;
        self.peers.abort();
        let synced = self.running.sync().await;
        synced.map_err(|error| NodeError::Broken(Cause::new(error)))?;
        tracing::info!("stopped");
        Ok(())
    }
}

fn serve_peers(
    config: &Config,
    listener: TcpListener,
    peers: Arc<dyn Serve>,
    close: watch::Receiver<bool>,
    stop: &Stop,
) -> JoinHandle<()> {
    let (limits, stop) = (config.limits.clone(), stop.clone());
    let origin = config.cluster.origin.clone();
    let broken = stop.clone();
    supervise::keep(&stop, Life::UntilUnused, "the peer listener", async move {
        let served = server::serve_peers(origin, peers, &limits, listener, raised(close));
        if let Err(why) = served.await {
            broken.broken(format!("the peer listener: {why}"));
        }
    })
}

fn serve_clients(
    listener: TcpListener,
    running: &Running,
    metrics: Arc<Metrics>,
    stop: &Stop,
) -> JoinHandle<()> {
    let (parts, stop) = (running.parts.clone(), stop.clone());
    let drain = parts.admission.draining.clone();
    let broken = stop.clone();
    supervise::keep(
        &stop,
        Life::UntilUnused,
        "the client listener",
        async move {
            let served = server::serve_clients(parts, metrics, listener, raised(drain));
            if let Err(why) = served.await {
                broken.broken(format!("the client listener: {why}"));
            }
        },
    )
}

fn serve_http(
    listener: TcpListener,
    source: Arc<http::source::NodeSource>,
    metrics: Arc<Metrics>,
    drain: watch::Receiver<bool>,
    stop: &Stop,
) -> JoinHandle<()> {
    let served = http::serve(listener, source, metrics, raised(drain));
    supervise::keep(stop, Life::UntilUnused, "the HTTP listener", served)
}

async fn raised(mut signal: watch::Receiver<bool>) {
    // The sender lives as long as `run`; if it is gone, so is the node.
    let _ = signal.wait_for(|raised| *raised).await;
}

/// The world of this node: its files, its keys, gRPC. What cannot be used is told before
/// anything is changed. Open to tests that stand between a node and its world.
pub async fn seams(
    config: &Config,
    clock: SharedClock,
    metrics: Arc<Metrics>,
    stop: Stop,
) -> Result<Seams, NodeError> {
    let keys = &config.keys;
    let keyring = Keyring::load_all(&keys.dir, keys.post_quantum).map_err(NodeError::start)?;
    let keyring = Arc::new(keyring);
    let witnesses = witnesses(config).map_err(NodeError::start)?;
    let (dir, profile) = (config.node.data_dir.clone(), config.cluster.profile);
    let fits = Blocking::Pool
        .run(move || Ok(preflight::disk_fits(&dir, profile)))
        .await;
    fits.map_err(NodeError::start)?.map_err(NodeError::start)?;
    let (node, origin) = (&config.node, &config.cluster.origin);
    let dir = &node.data_dir;
    let mut incarnation = [0; 16];
    clock.random(&mut incarnation);
    let first = Marker {
        format: marker::FORMAT,
        origin: origin.clone(),
        node: NodeId::new(node.id),
        incarnation,
    };
    let marker = Marker::claim(dir, first).map_err(NodeError::start)?;
    let open = |name: &str, purpose| {
        let opened = RocksEngine::open(&dir.join(name), purpose);
        let opened = opened.map(|engine| Arc::new(engine) as Arc<dyn Engine>);
        opened.map_err(NodeError::start)
    };
    let engines = Engines {
        ledger: open("ledger", Purpose::Ledger)?,
        bodies: open("bodies", Purpose::Bodies)?,
    };
    let watermark = WatermarkFile::open(&dir.join("watermark")).map_err(NodeError::start)?;
    let message_bytes = config.limits.message_bytes;
    Ok(Seams {
        disk: DiskSeams {
            incarnation: marker.incarnation,
            snapshots: Some(dir.join("snapshots")),
            budget: disk_budget(config, &engines),
            probe: {
                let dir = dir.clone();
                Arc::new(move || preflight::probe_fsync(&dir))
            },
        },
        engines,
        watermark,
        outboxes: OutboxDir::on_disk(dir.join("outbox")),
        guard: SignGuard::load(dir, origin).map_err(NodeError::start)?,
        blocking: Blocking::Pool,
        clock,
        transport: Arc::new(Dialer::new(
            NodeId::new(node.id),
            origin.clone(),
            message_bytes,
        )),
        keyring,
        witnesses,
        metrics,
        stop,
    })
}

/// What is free where the databases lie, less what they will take by themselves. Without
/// an answer of the file system nothing is taken in.
fn disk_budget(config: &Config, engines: &Engines) -> DiskBudget {
    let dir = &config.node.data_dir;
    let databases = [
        (dir.join("ledger"), engines.ledger.clone()),
        (dir.join("bodies"), engines.bodies.clone()),
    ];
    let ask = move || {
        // In this order: a flush that ends in between is counted twice, never not at all.
        let places = databases.iter();
        let places: Vec<_> = places
            .map(|(dir, engine)| (dir.clone(), engine.pending_bytes()))
            .collect();
        preflight::least_free(&places).unwrap_or(0)
    };
    DiskBudget::new(config.limits.disk_reserve_bytes, Arc::new(ask))
}

/// Where the outside witnesses are.
fn witnesses(config: &Config) -> Result<Vec<WitnessTarget>, Cause> {
    let target = |witness: &WitnessEntry| {
        Ok(WitnessTarget {
            key: witness.key.clone(),
            ml_dsa: witness.ml_dsa_key.clone(),
            target: WitnessEndpoint::new(&witness.url, witness.ca.as_deref())?,
        })
    };
    config.witness.iter().map(target).collect()
}

/// Raises the descriptor limit to what the configuration needs, as far as the machine
/// allows, and takes back client connections that it would not cover: databases and peers
/// are never left without a descriptor.
fn fit_descriptors(limits: &mut Limits) -> Result<(), String> {
    let wanted = budget::descriptors_wanted(limits.connections);
    let descriptors = preflight::raise_descriptors(wanted);
    let most = budget::client_connections(descriptors);
    if most == 0 {
        return Err(format!(
            "{descriptors} file descriptors are allowed, databases and peers alone may need {}; \
             raise the limit (ulimit -n, LimitNOFILE)",
            budget::RESERVED_FILES
        ));
    }
    if limits.connections > most {
        tracing::warn!(
            descriptors,
            configured = limits.connections,
            allowed = most,
            "too few file descriptors: fewer client connections are taken"
        );
        limits.connections = most;
    }
    Ok(())
}
