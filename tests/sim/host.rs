//! One simulated node: seams and a configuration for [`muniment::assemble`].
//!
//! Its disk is memory, its transport simulated TCP, its clock seeded; everything else is
//! the node that ships. What survives a crash is a [`Machine`], which the world keeps.
//! Leaves listeners and graceful stops to tests of the real node.

use crate::callers;
use crate::dice::Dice;
use crate::net::{self, Net};
use crate::oracle::Oracle;
use muniment::assemble::{DiskSeams, Engines, Seams, assemble};
use muniment::bodies::disk_budget::DiskBudget;
use muniment::clock::SeededClock;
use muniment::config::Config;
use muniment::domain::ids::NodeId;
use muniment::keyring::Keyring;
use muniment::keyring::guard::SignGuard;
use muniment::service::Parts;
use muniment::service::found::{self, Founding, MemberSpec};
use muniment::stop::{Stop, Why};
use muniment::store::Blocking;
use muniment::store::engine::{Batch, Engine, View as _};
use muniment::store::log::LogStore;
use muniment::store::memory::MemoryEngine;
use muniment::store::outbox::OutboxDir;
use muniment::store::watermark::WatermarkFile;
use muniment::telemetry::Metrics;
use muniment_evidence::key::{SecretKey, Signer as _};
use muniment_evidence::keychange::Role;
use muniment_evidence::trust::Trust;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub const ORIGIN: &str = "simulated.example/0";
pub const NODES: u64 = 3;
/// Rows of bodies that are looked at: more than a run stores.
const ROWS_MAX: usize = 100_000;
/// Between attempts to found while the others start.
const PAUSE: Duration = Duration::from_millis(50);

/// What is left of a node when it crashes.
pub struct Machine {
    pub node: u64,
    pub ledger: Arc<MemoryEngine>,
    pub bodies: Arc<MemoryEngine>,
    pub outboxes: OutboxDir,
    /// The last run's log: its floor is what a floor file would say now.
    log: Mutex<Option<LogStore>>,
    boots: AtomicU64,
}

impl Machine {
    pub fn new(node: u64) -> Machine {
        Machine {
            node,
            ledger: Arc::default(),
            bodies: Arc::default(),
            outboxes: OutboxDir::in_memory(),
            log: Mutex::default(),
            boots: AtomicU64::new(0),
        }
    }

    /// A power cut: what was not synced is gone.
    pub fn cut_power(&self) {
        self.ledger.crash();
        self.bodies.crash();
    }

    /// Something stored of a body has changed, or is gone. The node must be down.
    pub fn rot(&self, dice: &mut Dice) {
        let kinds: [(&[u8], &[u8]); 2] = [(b"c", b"d"), (b"m", b"n")];
        let (start, end) = kinds[dice.roll(2) as usize];
        let rows = self.bodies.scan(start, end, ROWS_MAX).unwrap();
        if rows.is_empty() {
            return;
        }
        let (key, mut value) = rows[dice.roll(rows.len() as u64) as usize].clone();
        let mut batch = Batch::new();
        if value.is_empty() || dice.roll(2) == 0 {
            batch.delete(key);
        } else {
            let at = dice.roll(value.len() as u64) as usize;
            value[at] ^= 1;
            batch.put(key, value);
        }
        self.bodies.write(batch).unwrap();
        self.bodies.sync().unwrap();
    }

    /// Bodies that are known to be damaged here.
    pub fn damaged(&self) -> usize {
        self.bodies.scan(b"d", b"e", ROWS_MAX).unwrap().len()
    }

    fn floor(&self) -> Result<WatermarkFile, muniment::store::Error> {
        let mut file = WatermarkFile::in_memory();
        if let Some(log) = self.log.lock().unwrap().take() {
            file.set(log.watermark())?;
        }
        Ok(file)
    }
}

/// What the nodes of one run share with the world.
pub struct Town {
    pub seed: u64,
    pub oracle: Oracle,
    /// Set once the ledger is founded: what an auditor pins.
    pub trust: Mutex<Option<Trust>>,
}

impl Town {
    fn key(&self, node: u64, use_: u8) -> SecretKey {
        let mut seed = [use_; 32];
        seed[..8].copy_from_slice(&self.seed.to_be_bytes());
        seed[8..16].copy_from_slice(&node.to_be_bytes());
        SecretKey::from_seed(&seed)
    }

    fn keys(&self, node: u64) -> Keyring {
        let held = vec![
            (Role::Statement, Arc::new(self.key(node, 1))),
            (Role::Cosignature, Arc::new(self.key(node, 2))),
            // The ledger's own, the same on every node.
            (Role::Log, Arc::new(self.key(0, 3))),
        ];
        Keyring::holding(held).unwrap()
    }

    fn members(&self) -> Vec<MemberSpec> {
        let member = |node| MemberSpec {
            node: NodeId::new(node),
            region: "region".into(),
            zone: zone(node),
            peer_address: format!("{}:{}", name(node), net::PORT),
            client_address: name(node),
            statement_key: self.key(node, 1).public(),
            cosignature_key: self.key(node, 2).public(),
        };
        (1..=NODES).map(member).collect()
    }
}

/// A node's host name.
pub fn name(node: u64) -> String {
    format!("node-{node}")
}

fn zone(node: u64) -> String {
    format!("zone-{node}")
}

/// The profile is that of a WAN: each simulated call dials, which is four messages. A node
/// that was away for a while is sent a snapshot, not the log; callers cut off by a partition
/// turn elsewhere within the run; uploads cross epochs.
fn config(node: u64) -> Config {
    let text = format!(
        r#"
        [node]
        id = {node}
        zone = "{}"
        region = "region"
        data_dir = "memory"
        [listen]
        client = "127.0.0.1:1"
        peer = "127.0.0.1:1"
        http = "127.0.0.1:1"
        [keys]
        dir = "memory"
        [cluster]
        origin = "{ORIGIN}"
        profile = "wan"
        snapshot_after_entries = 100
        log_entries_kept = 30
        upload_epoch_s = 1
        [limits]
        request_deadline_ms = 3000
        "#,
        zone(node)
    );
    Config::parse(&text).unwrap()
}

/// Runs a node until it is crashed, or a promise breaks, which fails the run.
pub async fn run(machine: Arc<Machine>, town: Arc<Town>) -> turmoil::Result {
    let (node, boot) = (machine.node, machine.boots.fetch_add(1, Ordering::SeqCst));
    // Each start draws other numbers: a node that draws the same ids again is broken.
    let seed = town.seed << 16 | boot << 2 | node;
    let stop = Stop::new();
    let seams = Seams {
        engines: Engines {
            ledger: machine.ledger.clone(),
            bodies: machine.bodies.clone(),
        },
        disk: DiskSeams {
            incarnation: [node as u8; 16],
            snapshots: None,
            budget: DiskBudget::endless(),
            probe: Arc::new(|| Ok(Duration::ZERO)),
        },
        watermark: machine.floor()?,
        outboxes: machine.outboxes.clone(),
        guard: SignGuard::in_memory(ORIGIN),
        blocking: Blocking::Inline,
        clock: Arc::new(SeededClock::new(seed)),
        transport: Arc::new(Net { node }),
        keyring: Arc::new(town.keys(node)),
        witnesses: Vec::new(),
        metrics: Arc::new(Metrics::new()),
        stop: stop.clone(),
    };
    let assembled = assemble(seams, &config(node)).await?;
    let (peers, listening) = (assembled.peers.clone(), stop.clone());
    tokio::spawn(async move {
        if let Err(why) = net::serve(peers).await {
            listening.broken(format!("the peer listener: {why}"));
        }
    });
    let running = assembled.start();
    *machine.log.lock().unwrap() = Some(running.log.clone());
    let parts = &running.parts;
    if node == 1 && town.trust.lock().unwrap().is_none() {
        tokio::spawn(found(parts.clone(), town.clone()));
    }
    // What rotted while the node was down is found although nobody reads it.
    parts.bodies.repairs.ask_scrub();
    callers::start(parts, &town, seed);
    match stop.stopped().await {
        Why::Broken(what) => Err(format!("node {node}: {what}").into()),
        Why::Requested => Ok(()),
    }
}

async fn found(parts: Arc<Parts>, town: Arc<Town>) {
    let founding = Founding {
        origin: ORIGIN.to_owned(),
        members: town.members(),
        root_keys: Vec::new(),
        threshold: 0,
    };
    loop {
        match found::found(&parts, founding.clone()).await {
            Ok(trust) => {
                *town.trust.lock().unwrap() = Some(trust);
                return;
            }
            Err(error) => tracing::debug!(%error, "not founded yet"),
        }
        tokio::time::sleep(PAUSE).await;
    }
}
