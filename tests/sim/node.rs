//! One simulated node: seams and a configuration for [`muniment::assemble`].
//!
//! Its disk is memory that is slow, fails and forgets, its transport simulated TCP, its
//! clock and its chance those of the seed; everything else is the node that ships. What
//! survives a crash is a [`Machine`], which the world keeps. Leaves listeners and graceful
//! stops to tests of the real node.

use crate::clock::SimClock;
use crate::cluster::{Cluster, Machine, ORIGIN, region, zone};
use crate::net::{self, Net};
use crate::rng::Rng;
use crate::{callers, operator};
use muniment::assemble::{Assembled, DiskSeams, Engines, Seams, assemble};
use muniment::bodies::disk_budget::DiskBudget;
use muniment::config::Config;
use muniment::keyring::guard::SignGuard;
use muniment::service::Parts;
use muniment::service::founding::{self, Founding};
use muniment::stop::{Stop, Why};
use muniment::store::Blocking;
use muniment::telemetry::Metrics;
use muniment_evidence::key::Signer as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Between attempts to found while the others start.
const PAUSE: Duration = Duration::from_millis(50);
/// What a full disk keeps for evidence.
const DISK_RESERVE_BYTES: u64 = 1 << 20;

/// The profile is that of a city: each simulated call dials, which is four messages. A node
/// that was away for a while is sent a snapshot, not the log; callers cut off by a partition
/// turn elsewhere within the run; uploads cross epochs.
fn config(node: u64) -> Config {
    let text = format!(
        r#"
        [node]
        id = {node}
        zone = "{}"
        region = "{}"
        data_dir = "memory"
        [listen]
        client = "127.0.0.1:1"
        peer = "127.0.0.1:1"
        http = "127.0.0.1:1"
        [keys]
        dir = "memory"
        [cluster]
        origin = "{ORIGIN}"
        profile = "metro"
        snapshot_after_entries = 100
        log_entries_kept = 30
        upload_epoch_s = 5
        [limits]
        request_deadline_ms = 3000
        disk_reserve_bytes = {DISK_RESERVE_BYTES}
        "#,
        zone(node),
        region(node),
    );
    Config::parse(&text).unwrap()
}

/// Runs a node until it is crashed. One that ends by itself says so and then stands still:
/// a process that is over takes its tasks along, which only the world can do, in that very
/// step.
pub async fn run(machine: Arc<Machine>, cluster: Arc<Cluster>) -> turmoil::Result {
    let why = run_until_it_ends(&machine, &cluster).await;
    // The world judges whether it had reason to.
    *machine.ended.lock().unwrap() = Some(why);
    std::future::pending().await
}

/// Why the node ended.
async fn run_until_it_ends(machine: &Arc<Machine>, cluster: &Arc<Cluster>) -> String {
    let boot = machine.boots.fetch_add(1, Ordering::SeqCst);
    // Each start draws other numbers: a node that draws the same ids again is broken.
    let source = boot << 8 | machine.node;
    *machine.runtime.lock().unwrap() = Some(tokio::runtime::Handle::current());
    let stop = Stop::new();
    let built = build(machine, cluster, source, &stop).await;
    let assembled = match built {
        Ok(assembled) => assembled,
        Err(error) => return format!("cannot start: {error}"),
    };
    let (peers, listening) = (assembled.peers.clone(), stop.clone());
    let net = Net::new(machine.node, cluster);
    tokio::spawn(async move {
        if let Err(why) = net::serve(net, peers).await {
            listening.broken(format!("the peer listener: {why}"));
        }
    });
    let running = assembled.start();
    *machine.disks().log.lock().unwrap() = Some(running.log.clone());
    let parts = &running.parts;
    if machine.node == 1 && !cluster.is_founded() {
        tokio::spawn(found(parts.clone(), cluster.clone()));
    }
    // What rotted while the node was down is found although nobody reads it.
    parts.bodies.repairs.ask_scrub();
    callers::start(parts, cluster, machine, source);
    operator::start(parts, cluster);
    match stop.stopped().await {
        Why::Broken(what) => what.to_string(),
        Why::Requested => "it was asked to".to_owned(),
    }
}

async fn build(
    machine: &Machine,
    cluster: &Cluster,
    source: u64,
    stop: &Stop,
) -> Result<Assembled, muniment::store::StoreError> {
    let (node, mood, disks) = (machine.node, machine.mood, machine.disks());
    let rng = Rng::of(cluster.seed, 1 << 32 | source);
    let free = Arc::new(move || mood.free_bytes());
    let seams = Seams {
        engines: Engines {
            ledger: disks.ledger.clone(),
            bodies: disks.bodies.clone(),
        },
        disk: DiskSeams {
            incarnation: disks.incarnation,
            snapshots: None,
            budget: DiskBudget::new(DISK_RESERVE_BYTES, free),
            probe: Arc::new(|| Ok(Duration::ZERO)),
        },
        watermark: disks.watermark()?,
        outboxes: disks.outboxes.clone(),
        guard: SignGuard::in_memory(ORIGIN),
        blocking: Blocking::Paced(mood),
        clock: Arc::new(SimClock::new(
            node,
            rng,
            machine.wall.clone(),
            cluster.trace.clone(),
        )),
        transport: Arc::new(Net::new(node, cluster)),
        keyring: Arc::new(cluster.keys(node)),
        witnesses: Vec::new(),
        metrics: Arc::new(Metrics::new()),
        stop: stop.clone(),
    };
    assemble(seams, &config(node)).await
}

async fn found(parts: Arc<Parts>, cluster: Arc<Cluster>) {
    let founding = Founding {
        origin: ORIGIN.to_owned(),
        members: cluster.founders(),
        root_keys: Vec::new(),
        threshold: 0,
        operator_keys: vec![cluster.operator_key().public()],
    };
    loop {
        match founding::found(&parts, founding.clone()).await {
            Ok(trust) => {
                *cluster.trust.lock().unwrap() = Some(trust);
                return;
            }
            Err(error) => tracing::debug!(%error, "not founded yet"),
        }
        tokio::time::sleep(PAUSE).await;
    }
}
