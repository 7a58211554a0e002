//! One simulated node: the composition of `src/node.rs` on memory and simulated TCP.
//!
//! Promises the same order of a start (stores, Raft, peers, boot, callers). What survives
//! a crash is a [`Machine`], which the world keeps; everything else is made anew at each
//! start. Leaves listeners, telemetry and graceful stops to tests of the real node.

use crate::callers;
use crate::dice::Dice;
use crate::net::{self, Net};
use crate::oracle::Oracle;
use muniment::bodies::disk_budget::DiskBudget;
use muniment::bodies::{Bodies, BodyContext, Holder, complete, orphans, repair};
use muniment::clock::{SeededClock, SharedClock};
use muniment::config::{Deferred, Limits, Tenant};
use muniment::keyring::Keyring;
use muniment::ledger::state::State;
use muniment::objective::timing::Profile;
use muniment::raft::group::{GroupSettings, RaftGroup};
use muniment::raft::reader::ReadBarrier;
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
use muniment::store::engine::{Batch, Engine, View as _};
use muniment::store::floor::FloorFile;
use muniment::store::flush::Flusher;
use muniment::store::log::LogStore;
use muniment::store::memory::MemoryEngine;
use muniment::store::notes::NoteStore;
use muniment::store::outbox::OutboxDir;
use muniment::transport::Transport;
use muniment_evidence::digest::Digest;
use muniment_evidence::key::{SecretKey, Signer as _};
use muniment_evidence::keychange::Role;
use muniment_evidence::trust::Trust;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{Semaphore, watch};

pub const ORIGIN: &str = "simulated.example/0";
pub const NODES: u64 = 3;
/// So low that a node that was away for a while is sent a snapshot, not the log.
const SNAPSHOT_AFTER_ENTRIES: u64 = 100;
const LOG_ENTRIES_KEPT: u64 = 30;
/// Short, so that callers cut off by a partition turn elsewhere within the run.
const REQUEST_MAX_MS: u64 = 3_000;
/// So short that uploads cross it, and that the log is still again before it is judged.
const EPOCH_INTERVAL: Duration = Duration::from_secs(1);
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

    fn floor(&self) -> Result<FloorFile, muniment::store::Error> {
        let mut file = FloorFile::in_memory();
        if let Some(log) = self.log.lock().unwrap().take() {
            file.set(log.floor())?;
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

    fn members(&self) -> Vec<admin::MemberSpec> {
        let member = |node| admin::MemberSpec {
            node,
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

/// Runs a node until it is crashed, or a promise breaks, which fails the run.
pub async fn run(machine: Arc<Machine>, town: Arc<Town>) -> turmoil::Result {
    let boot = machine.boots.fetch_add(1, Ordering::SeqCst);
    // Each start draws other numbers: a node that draws the same ids again is broken.
    let seed = town.seed << 16 | boot << 2 | machine.node;
    let clock: SharedClock = Arc::new(SeededClock::new(seed));
    let stop = Stop::new();
    let (core, means, booted) = build(&machine, &town, clock, &stop).await?;
    let peers = Arc::new(PeerFloor {
        group: core.group.clone(),
        intake: means.intake.clone(),
        bodies: core.bodies.clone(),
        cosigned: core.cosigned.clone(),
        acquaintance: core.acquaintance.clone(),
        standings: core.standings.clone(),
    });
    let listening = stop.clone();
    tokio::spawn(async move {
        if let Err(why) = net::serve(peers).await {
            listening.broken(format!("the peer listener: {why}"));
        }
    });
    tokio::spawn(booting::boot(core.clone(), means, None, booted));
    tokio::spawn(members::tend::tend(core.clone()));
    if machine.node == 1 && town.trust.lock().unwrap().is_none() {
        tokio::spawn(found(core.clone(), town.clone()));
    }
    tokio::spawn(scrubbing::attest(core.clone()));
    // What rotted while the node was down is found although nobody reads it.
    core.bodies.repairs.ask_scrub();
    callers::start(&core, &town, seed);
    match stop.stopped().await {
        Why::Broken(what) => Err(format!("node {}: {what}", machine.node).into()),
        Why::Requested => Ok(()),
    }
}

async fn found(core: Arc<Core>, town: Arc<Town>) {
    let operator = Principal::anonymous("simulated".into(), "world".into());
    loop {
        match admin::init(&core, &operator, ORIGIN, town.members(), Vec::new(), 0).await {
            Ok(trust) => {
                *town.trust.lock().unwrap() = Some(trust);
                return;
            }
            Err(error) => tracing::debug!(%error, "not founded yet"),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

type Built = (Arc<Core>, boot::BootContext, watch::Sender<Option<Booted>>);

async fn build(
    machine: &Machine,
    town: &Town,
    clock: SharedClock,
    stop: &Stop,
) -> Result<Built, muniment::store::Error> {
    let (node, blocking) = (machine.node, Blocking::Inline);
    let keys = Arc::new(town.keys(node));
    let ledger: Arc<dyn Engine> = machine.ledger.clone();
    let bodies: Arc<dyn Engine> = machine.bodies.clone();
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
        machine.floor()?,
        stop.clone(),
    );
    *machine.log.lock().unwrap() = Some(log.clone());
    let transport: Arc<dyn Transport> = Arc::new(Net { node });
    let settings = GroupSettings {
        node,
        timing: Profile::Lan.timing(),
        snapshot_after_entries: SNAPSHOT_AFTER_ENTRIES,
        log_entries_kept: LOG_ENTRIES_KEPT,
        snapshots: None,
        has_disk_space: Arc::new(|| true),
        incarnation: [node as u8; 16],
    };
    let group = RaftGroup::start(
        settings,
        ledger.clone(),
        blocking,
        log,
        transport.clone(),
        stop.clone(),
    )
    .await?;
    let reader = ReadBarrier::start(group.clone(), transport.clone(), clock.clone());
    let state = State::new(ledger.clone());
    let means = boot::BootContext {
        group: group.clone(),
        reader: reader.clone(),
        intake: Intake::new(group.clone(), state.clone(), blocking, clock.clone()),
        state: state.clone(),
        blocking,
        transport: transport.clone(),
    };
    let bodies = Bodies::new(BodyContext {
        holder: Holder {
            node,
            region: "region".into(),
            zone: zone(node),
            incarnation: [node as u8; 16],
            signer: keys.clone(),
        },
        store: BodyStore::new(bodies, blocking, bodies_flusher),
        group: group.clone(),
        blocking,
        transport: transport.clone(),
        clock: clock.clone(),
        epoch_interval: EPOCH_INTERVAL,
        disk_budget: DiskBudget::endless(),
        repair: Default::default(),
    });
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
    let silence_max = Duration::from_millis(Profile::Lan.timing().election_max_ms);
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
        incarnation: [node as u8; 16],
        digest: Digest::of(&[ORIGIN.as_bytes()]),
        // Each simulated call dials: four messages of up to LATENCY_MAX, beyond a LAN's.
        profile: Profile::Wan,
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
        limit: Profile::Wan.fsync_max(),
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
        region: "region".into(),
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
        profile: Profile::Lan,
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
        outboxes: machine.outboxes.clone(),
        memory: budgets::Memory::of(memory_bytes),
        acquaintance,
        joining: Default::default(),
    };
    Ok((Arc::new(core), means, booted))
}
