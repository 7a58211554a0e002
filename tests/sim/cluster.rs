//! What the nodes of one run share with the world: keys, places, the oracle, the trace.
//!
//! Promises that nothing in it is shared between runs: seeds may run side by side. What
//! survives the end of a process is a [`Machine`], which the world keeps.

use crate::clock::WallClock;
use crate::disk::{Disk, Mood, Which};
use crate::facts::{Event, Events};
use crate::operator::Orders;
use crate::oracle::Oracle;
use crate::rng::Rng;
use crate::rows;
use crate::trace::Trace;
use muniment::domain::ids::NodeId;
use muniment::keyring::Keyring;
use muniment::ledger::rows::{LedgerHead, Row as _};
use muniment::service::founding::MemberSpec;
use muniment::store::engine::{Batch, Engine as _, View as _};
use muniment::store::log::LogStore;
use muniment::store::outbox::OutboxDir;
use muniment::store::watermark::{Watermark, WatermarkFile};
use muniment_evidence::key::SecretKey;
use muniment_evidence::key::Signer as _;
use muniment_evidence::keychange::Role;
use muniment_evidence::trust::Trust;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

pub const ORIGIN: &str = "simulated.example/0";
/// Founding members: five, in three zones of two regions.
pub const FOUNDERS: u64 = 5;
/// With those that may join later.
pub const NODES: u64 = 7;
/// Rows of bodies that are looked at: more than a run stores.
const ROWS_MAX: usize = 100_000;

/// A node's host name.
pub fn name(node: u64) -> String {
    format!("node-{node}")
}

pub fn address(node: u64) -> String {
    format!("{}:{}", name(node), crate::net::PORT)
}

pub fn zone(node: u64) -> String {
    format!("zone-{}", node % 3)
}

/// Zones 0 and 1 are of one region.
pub fn region(node: u64) -> String {
    format!("region-{}", node % 3 / 2)
}

/// See the module.
pub struct Cluster {
    pub seed: u64,
    pub oracle: Oracle,
    /// Set once the ledger is founded: what an auditor pins.
    pub trust: Mutex<Option<Trust>>,
    pub trace: Trace,
    pub events: Events,
    pub orders: Orders,
}

impl Cluster {
    pub fn new(seed: u64, trace: Trace) -> Cluster {
        Cluster {
            seed,
            oracle: Oracle::new(),
            trust: Mutex::default(),
            trace,
            events: Events::default(),
            orders: Orders::default(),
        }
    }

    pub fn key(&self, node: u64, use_: u8) -> SecretKey {
        let mut seed = [use_; 32];
        seed[..8].copy_from_slice(&self.seed.to_be_bytes());
        seed[8..16].copy_from_slice(&node.to_be_bytes());
        SecretKey::from_seed(&seed)
    }

    pub fn statement_key(&self, node: u64) -> SecretKey {
        self.key(node, 1)
    }

    pub fn cosignature_key(&self, node: u64) -> SecretKey {
        self.key(node, 2)
    }

    /// The ledger's own, the same on every node.
    pub fn log_key(&self) -> SecretKey {
        self.key(0, 3)
    }

    /// Of whoever operates the cluster; no node has it.
    pub fn operator_key(&self) -> SecretKey {
        self.key(0, 5)
    }

    pub fn keys(&self, node: u64) -> Keyring {
        let held = vec![
            (Role::Statement, Arc::new(self.statement_key(node))),
            (Role::Cosignature, Arc::new(self.cosignature_key(node))),
            (Role::Log, Arc::new(self.log_key())),
        ];
        Keyring::holding(held).unwrap()
    }

    pub fn founders(&self) -> Vec<MemberSpec> {
        let member = |node| MemberSpec {
            node: NodeId::new(node),
            region: region(node),
            zone: zone(node),
            peer_address: address(node),
            client_address: name(node),
            statement_key: self.statement_key(node).public(),
            cosignature_key: self.cosignature_key(node).public(),
        };
        (1..=FOUNDERS).map(member).collect()
    }

    pub fn is_founded(&self) -> bool {
        self.trust.lock().unwrap().is_some()
    }
}

/// The disks of a node, and what else lies on them.
pub struct Disks {
    pub ledger: Arc<Disk>,
    pub bodies: Arc<Disk>,
    pub outboxes: OutboxDir,
    pub incarnation: [u8; 16],
    /// The last run's log: its watermark is what the file would say now.
    pub log: Mutex<Option<LogStore>>,
    /// What the file said when the last run began.
    watermark: Mutex<Watermark>,
}

/// What is left of a node when its process ends.
pub struct Machine {
    pub node: u64,
    pub mood: &'static Mood,
    pub wall: WallClock,
    disks: Mutex<Arc<Disks>>,
    wipes: AtomicU64,
    pub boots: AtomicU64,
    events: Events,
    /// The node has ended by itself, and why.
    pub ended: Mutex<Option<String>>,
    pub runtime: Mutex<Option<tokio::runtime::Handle>>,
    /// How often its runtime was woken, as of the last step.
    pub polls: AtomicU64,
}

impl Machine {
    pub fn new(node: u64, cluster: &Cluster) -> Machine {
        let rng = Rng::of(cluster.seed, 100 + node);
        // Lives as long as the process: the seam to the disk is copied freely. A few
        // hundred bytes for each node of each run.
        let mood = Box::leak(Box::new(Mood::new(node, rng, cluster.trace.clone())));
        let events = cluster.events.clone();
        Machine {
            node,
            mood,
            wall: WallClock::default(),
            disks: Mutex::new(Arc::new(Disks::new(node, 0, mood, &events))),
            wipes: AtomicU64::new(0),
            boots: AtomicU64::new(0),
            events,
            ended: Mutex::default(),
            runtime: Mutex::default(),
            polls: AtomicU64::new(0),
        }
    }

    pub fn disks(&self) -> Arc<Disks> {
        self.disks.lock().unwrap().clone()
    }

    /// A power cut: of what was not synced some prefix is left.
    pub fn cut_power(&self, rng: &mut Rng) -> (usize, usize) {
        let disks = self.disks();
        let mut cut = |disk: &Disk| {
            let kept = rng.below(disk.memory.unsynced() as u64 + 1) as usize;
            disk.memory.crash_keeping(kept);
            kept
        };
        (cut(&disks.ledger), cut(&disks.bodies))
    }

    /// The disk is replaced by an empty one. The node must be down.
    pub fn wipe(&self) {
        let wipes = self.wipes.fetch_add(1, Ordering::SeqCst) + 1;
        let fresh = Disks::new(self.node, wipes, self.mood, &self.events);
        *self.disks.lock().unwrap() = Arc::new(fresh);
        self.events.push(Event::Wiped { node: self.node });
    }

    /// Something stored of a body has changed, or is gone. The node must be down.
    pub fn rot(&self, rng: &mut Rng) -> bool {
        let bodies = &self.disks().bodies.memory;
        let kinds: [(&[u8], &[u8]); 2] = [(b"c", b"d"), (b"m", b"n")];
        let (start, end) = kinds[rng.below(2) as usize];
        let rows = bodies.scan(start, end, ROWS_MAX).unwrap();
        if rows.is_empty() {
            return false;
        }
        let (key, mut value) = rng.pick(&rows).clone();
        let mut batch = Batch::new();
        if value.is_empty() || rng.once_in(2) {
            batch.delete(key);
        } else {
            let at = rng.below(value.len() as u64) as usize;
            value[at] ^= 1;
            batch.put(key, value);
        }
        bodies.write(batch).unwrap();
        bodies.sync().unwrap();
        let (node, which) = (self.node, Which::Bodies);
        self.events.push(Event::Synced { node, which });
        true
    }

    /// The state is another than the log says, from now on. The node must be down.
    pub fn diverge(&self) {
        let ledger = &self.disks().ledger.memory;
        let mut batch = Batch::new();
        for (key, value) in ledger.scan(b"S", b"T", ROWS_MAX).unwrap() {
            let (_, table, _) = rows::state_key(&key).unwrap();
            if table == rows::HEAD {
                let mut head = LedgerHead::decode(&value).unwrap();
                head.state_hash.0[0] ^= 1;
                batch.put(key, head.encode());
            }
        }
        ledger.write(batch).unwrap();
        ledger.sync().unwrap();
        let (node, which) = (self.node, Which::Ledger);
        self.events.push(Event::Synced { node, which });
        self.events.push(Event::Diverged { node });
    }

    /// Bodies that are known to be damaged here.
    pub fn damaged(&self) -> usize {
        let bodies = &self.disks().bodies.memory;
        bodies.scan(b"d", b"e", ROWS_MAX).unwrap().len()
    }
}

impl Disks {
    fn new(node: u64, wipes: u64, mood: &'static Mood, events: &Events) -> Disks {
        let disk = |which| Arc::new(Disk::new(node, which, mood, events.clone()));
        let mut incarnation = [node as u8; 16];
        incarnation[..8].copy_from_slice(&wipes.to_be_bytes());
        Disks {
            ledger: disk(Which::Ledger),
            bodies: disk(Which::Bodies),
            outboxes: OutboxDir::in_memory(),
            incarnation,
            log: Mutex::default(),
            watermark: Mutex::default(),
        }
    }

    pub fn watermark(&self) -> Result<WatermarkFile, muniment::store::StoreError> {
        let mut file = WatermarkFile::in_memory();
        let mut watermark = self.watermark.lock().unwrap();
        if let Some(log) = self.log.lock().unwrap().take() {
            *watermark = log.watermark();
        }
        file.set(*watermark)?;
        Ok(file)
    }
}
