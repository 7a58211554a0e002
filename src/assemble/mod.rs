//! The composition root: [`Seams`] and a configuration in, a node out.
//!
//! Everything by which a node touches the world outside its process is a seam: where its
//! data lie, the time, the transport, its private keys. What stands on them is built here,
//! once, for the node that ships (`node`) and for the simulator (`tests/sim`): neither has
//! a wiring of its own. Promises that nothing here asks what kind of seam it was given.
//!
//! The order of a start: [`assemble`] builds all layers, bottom first, and starts what
//! runs by itself; then the caller serves [`Assembled::peers`], since nobody can boot
//! before a quorum talks; then [`Assembled::start`] boots into the ledger; then callers
//! are served with [`Running::parts`].
//!
//! * [`booting`]: what a node does before it says or signs anything
//! * [`peer_dispatch`]: what peers may ask
//!
//! Tests: `tests/sim/node.rs`, `tests/cluster/restarts.rs`.

mod booting;
mod peer_dispatch;

use crate::bodies::disk_budget::DiskBudget;
use crate::bodies::{Bodies, BodyContext, LocalHolder, complete, damage_records, orphans, repair};
use crate::checkpoint::keys::KeysInForce;
use crate::checkpoint::{Cosigning, CosigningParts};
use crate::clock::SharedClock;
use crate::config::Config;
use crate::config::effective::EffectiveConfig;
use crate::domain::ids::{NodeId, TreeSize};
use crate::keyring::Keyring;
use crate::keyring::guard::SignGuard;
use crate::ledger::state::State;
use crate::membership::{MembershipChanges, MembershipParts};
use crate::misconduct::Misconduct;
use crate::objective::disk::evidence_reserve;
use crate::raft::context::Context;
use crate::raft::group::{GroupSettings, RaftGroup};
use crate::raft::identity::Disk;
use crate::raft::reader::ReadBarrier;
use crate::raft::reads::{NodePlace, Reads};
use crate::recorder::boot;
use crate::recorder::booted::Booted;
use crate::recorder::holdings::HoldingVerifier;
use crate::recorder::intake::Intake;
use crate::recorder::outbox::OutboxBounds;
use crate::recorder::writes::Writes;
use crate::service::admission::CallAdmission;
use crate::service::tenants::Tenants;
use crate::service::{ClusterMonitor, Founder, Parts};
use crate::signatures::Signatures;
use crate::status::clock_health::ClockWatch;
use crate::status::disk_health::{DiskHealth, DiskWatch, Probe};
use crate::status::leader_monitor::LeaderMonitor;
use crate::status::messages::NodeIdentity;
use crate::status::own::{OwnParts, OwnStatus};
use crate::status::peer_monitor::PeerMonitor;
use crate::status::processes::Process;
use crate::status::table::StatusTable;
use crate::stop::Stop;
use crate::store::bodies::BodyStore;
use crate::store::engine::Engine;
use crate::store::flush::Flusher;
use crate::store::log::LogStore;
use crate::store::notes::NoteStore;
use crate::store::outbox::OutboxDir;
use crate::store::watermark::WatermarkFile;
use crate::store::{Blocking, StoreError};
use crate::supervise::{self, Life};
use crate::telemetry::Metrics;
use crate::transport::{Serve, Transport};
use crate::witness::client::WitnessSchedule;
use crate::witness::source::{WitnessNotes, WitnessSource, WitnessTarget};
use booting::Booting;
use peer_dispatch::PeerDispatch;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// By what a node touches the world outside its process.
pub struct Seams {
    pub engines: Engines,
    pub disk: DiskSeams,
    /// The vote and the last log entry that are known to be durable, kept beside the
    /// ledger database.
    pub watermark: WatermarkFile,
    pub outboxes: OutboxDir,
    /// What this node has signed.
    pub guard: SignGuard,
    /// Where work that waits for the disk goes.
    pub blocking: Blocking,
    pub clock: SharedClock,
    pub transport: Arc<dyn Transport>,
    /// The private keys of this node.
    pub keyring: Arc<Keyring>,
    /// Outside witnesses.
    pub witnesses: Vec<WitnessTarget>,
    pub metrics: Arc<Metrics>,
    /// Ends the node.
    pub stop: Stop,
}

/// The two databases of a node.
#[derive(Clone)]
pub struct Engines {
    pub ledger: Arc<dyn Engine>,
    pub bodies: Arc<dyn Engine>,
}

/// The disk of a node, apart from its databases.
pub struct DiskSeams {
    /// Drawn when the data directory was made.
    pub incarnation: Disk,
    /// The folder of snapshot files, where they are files.
    pub snapshots: Option<PathBuf>,
    pub budget: DiskBudget,
    /// Writes a little, syncs it, and says how long that took.
    pub probe: Probe,
}

/// A node whose layers are built and that has not begun to boot.
pub struct Assembled {
    /// What peers are to be served with.
    pub peers: Arc<dyn Serve>,
    running: Running,
    booting: Booting,
    source: WitnessSource,
    witnesses: Vec<WitnessTarget>,
    schedule: WitnessSchedule,
}

/// A node that boots, or has booted.
pub struct Running {
    /// What callers are to be served with.
    pub parts: Arc<Parts>,
    /// The log; its watermark is what a crash leaves behind.
    pub log: LogStore,
    draining: watch::Sender<bool>,
    /// Held until the end, so that readers of the signal never see it closed.
    _booted: watch::Sender<Option<Booted>>,
    engines: Engines,
}

impl Assembled {
    /// Begins to boot and starts what needs peers; each part of it ends with the node.
    pub fn start(self) -> Running {
        let parts = &self.running.parts;
        let stop = &parts.reads.context.stop;
        supervise::keep(stop, Life::UntilUnused, "booting", self.booting.run());
        parts.membership.start_resuming();
        parts.membership.start_handing_back();
        self.source.start(self.witnesses, self.schedule);
        let (bodies, context) = (parts.bodies.clone(), parts.reads.context.clone());
        damage_records::start(bodies, context, parts.writes.clone());
        self.running
    }
}

impl Running {
    /// Takes no new calls from now on, and hands leadership over.
    pub async fn drain(&self) {
        self.draining.send_replace(true);
        self.parts.reads.context.group.hand_over().await;
    }

    /// Records how the last downloads ended, as far as a quorum answers within the limit.
    pub async fn record_download_ends(&self, limit: Duration) {
        if let Ok(booted) = self.parts.writes.booted() {
            let flushed = tokio::time::timeout(limit, booted.download_ends.flush()).await;
            if flushed.is_err() {
                tracing::warn!("no quorum in time for the last DOWNLOAD_ENDs");
            }
        }
    }

    /// Ends Raft.
    pub async fn end_raft(&self) {
        self.parts.reads.context.group.shutdown().await;
    }

    /// Syncs the databases, when nothing writes to them any more.
    pub async fn sync(self) -> Result<(), StoreError> {
        let blocking = self.parts.reads.context.blocking;
        for engine in [self.engines.ledger, self.engines.bodies] {
            blocking.run(move || engine.sync()).await?;
        }
        Ok(())
    }
}

/// Builds a node.
pub async fn assemble(seams: Seams, config: &Config) -> Result<Assembled, StoreError> {
    let Seams {
        engines,
        disk,
        watermark,
        outboxes,
        guard,
        blocking,
        clock,
        transport,
        keyring,
        witnesses,
        metrics,
        stop,
    } = seams;
    let flusher = |name, engine: &Arc<dyn Engine>| {
        let histogram = metrics.fsync_of(name);
        let observe = Arc::new(move |took: Duration| histogram.observe(took.as_secs_f64()));
        Flusher::start(name, engine.clone(), blocking, stop.clone(), observe)
    };
    let bodies_flusher = flusher("bodies", &engines.bodies);
    let ledger_flusher = flusher("ledger", &engines.ledger);
    let log = LogStore::start(
        engines.ledger.clone(),
        blocking,
        ledger_flusher.clone(),
        watermark,
        stop.clone(),
    );
    let group = RaftGroup::start(
        group_settings(config, &disk, clock.clone(), &metrics),
        engines.ledger.clone(),
        blocking,
        log.clone(),
        transport.clone(),
        stop.clone(),
        guard.signed(),
    )
    .await?;
    let context = Context {
        state: State::new(engines.ledger.clone()),
        group,
        blocking,
        clock,
        stop,
        transport,
        signatures: Signatures::default(),
    };
    let ground = Ground {
        config,
        engines,
        disk,
        ledger_flusher,
        bodies_flusher,
        metrics,
        keyring,
        context,
    };
    let (booted, boots) = watch::channel(None);
    let (draining, drain) = watch::channel(false);
    let built = ground.build(boots, drain);
    let booting = Booting {
        context: ground.context.clone(),
        means: built.parts.founder.means.clone(),
        origin: config.cluster.origin.clone(),
        software: software(),
        keys: built.parts.keys.clone(),
        bodies: built.parts.bodies.clone(),
        outboxes,
        guard,
        queue: config.limits.recorder_queue,
        bounds: OutboxBounds {
            pending_max: config.deferred.max_pending,
            age_max: Duration::from_millis(config.deferred.max_age_ms),
        },
        config: EffectiveConfig::of(config).at_start(),
        booted: booted.clone(),
    };
    Ok(Assembled {
        peers: built.peers,
        booting,
        source: ground.witness_source(&built.parts),
        schedule: WitnessSchedule {
            interval: Duration::from_secs(config.witnessing.interval_s),
            lag_alarm: Duration::from_secs(config.witnessing.lag_alarm_s),
        },
        witnesses,
        running: Running {
            parts: built.parts,
            log,
            draining,
            _booted: booted,
            engines: ground.engines,
        },
    })
}

fn software() -> String {
    format!("muniment {}", env!("CARGO_PKG_VERSION"))
}

fn group_settings(
    config: &Config,
    disk: &DiskSeams,
    clock: SharedClock,
    metrics: &Metrics,
) -> GroupSettings {
    let reserve = config.limits.disk_reserve_bytes;
    let budget = disk.budget.clone();
    GroupSettings {
        node: NodeId::new(config.node.id),
        timing: config.cluster.profile.timing(),
        snapshot_after_entries: config.cluster.snapshot_after_entries,
        log_entries_kept: config.cluster.log_entries_kept,
        snapshots: disk.snapshots.clone(),
        has_disk_space: Arc::new(move || budget.free() >= evidence_reserve(reserve)),
        incarnation: disk.incarnation,
        misconduct: Misconduct::new(metrics.peer_misdeeds.clone(), clock.clone()),
        clock,
    }
}

/// What the layers after Raft are built on.
struct Ground<'a> {
    config: &'a Config,
    engines: Engines,
    disk: DiskSeams,
    ledger_flusher: Flusher,
    bodies_flusher: Flusher,
    metrics: Arc<Metrics>,
    keyring: Arc<Keyring>,
    context: Context,
}

/// What they come to.
struct Built {
    parts: Arc<Parts>,
    peers: Arc<dyn Serve>,
}

impl Ground<'_> {
    /// Bottom first, as the layers stand.
    fn build(&self, boots: watch::Receiver<Option<Booted>>, drain: watch::Receiver<bool>) -> Built {
        let (config, context) = (self.config, &self.context);
        let (group, state, stop) = (&context.group, &context.state, &context.stop);
        let reads = self.reads();
        let intake = Intake::new(
            group.clone(),
            state.clone(),
            context.blocking,
            context.clock.clone(),
            context.signatures.clone(),
        );
        let means = boot::BootContext {
            group: group.clone(),
            reader: reads.reader.clone(),
            intake: intake.clone(),
            state: state.clone(),
            blocking: context.blocking,
            transport: context.transport.clone(),
        };
        let writes = Writes {
            group: group.clone(),
            booted: boots.clone(),
            record_max: Duration::from_millis(config.limits.request_deadline_ms),
        };
        let bodies = self.bodies(boots.clone());
        let complete = complete::start(bodies.clone(), state.clone(), stop.clone());
        let keys = Arc::new(KeysInForce::new(context.clone(), self.keyring.clone()));
        let cluster = self.cluster(complete.clone(), boots.clone(), bodies.clone());
        let cosigning = Cosigning::start(
            context.clone(),
            CosigningParts {
                flusher: self.ledger_flusher.clone(),
                notes: NoteStore::new(self.engines.ledger.clone(), context.blocking),
                complete,
                booted: boots,
                keys_in_force: keys.clone(),
            },
        );
        let tenants = Tenants::of(&config.tenants);
        let membership = MembershipChanges::new(MembershipParts {
            reads: reads.clone(),
            writes: writes.clone(),
            keys: keys.clone(),
            status: cluster.status.clone(),
            peers: cluster.peers.clone(),
            promised: tenants.promised(),
        });
        let peers = Arc::new(PeerDispatch {
            group: group.clone(),
            intake,
            bodies: bodies.clone(),
            cosigning: cosigning.clone(),
            status: cluster.status.clone(),
        });
        let witnesses = config.witness.iter().map(|w| w.key.name.clone());
        let parts = Arc::new(Parts {
            reads,
            writes,
            bodies,
            tenants,
            admission: CallAdmission::new(config.limits.clone(), drain),
            deferred: config.deferred.clone(),
            keys,
            cosigning,
            cluster,
            membership,
            witnesses: Arc::new(WitnessNotes::of(witnesses)),
            founder: Founder {
                origin: config.cluster.origin.clone(),
                means,
            },
        });
        Built { parts, peers }
    }

    fn reads(&self) -> Reads {
        let context = self.context.clone();
        let (transport, clock) = (context.transport.clone(), context.clock.clone());
        let node = &self.config.node;
        Reads {
            reader: ReadBarrier::start(context.group.clone(), transport, clock),
            context,
            place: NodePlace {
                node: NodeId::new(node.id),
                zone: node.zone.clone(),
                region: node.region.clone(),
            },
        }
    }

    /// The body layer, and what collects and repairs in it.
    fn bodies(&self, booted: watch::Receiver<Option<Booted>>) -> Bodies {
        let (node, context) = (&self.config.node, &self.context);
        let (engine, flusher) = (self.engines.bodies.clone(), self.bodies_flusher.clone());
        let bodies = Bodies::new(BodyContext {
            holder: LocalHolder {
                node: NodeId::new(node.id),
                region: node.region.clone(),
                zone: node.zone.clone(),
                incarnation: self.disk.incarnation,
                signer: context.signatures.signing(self.keyring.clone()),
            },
            store: BodyStore::new(engine, context.blocking, flusher),
            group: context.group.clone(),
            holdings: HoldingVerifier {
                state: context.state.clone(),
                blocking: context.blocking,
                signatures: context.signatures.clone(),
            },
            booted,
            blocking: context.blocking,
            transport: context.transport.clone(),
            clock: context.clock.clone(),
            stop: context.stop.clone(),
            epoch_interval: Duration::from_secs(self.config.cluster.upload_epoch_s),
            disk_budget: self.disk.budget.clone(),
            repair: self.config.repair.clone(),
        });
        let (state, stop) = (context.state.clone(), context.stop.clone());
        orphans::start(&bodies, state, self.ledger_flusher.clone(), stop);
        repair::start(&bodies, &context.state, &context.stop);
        bodies
    }

    /// How every node is, the leader, and this node's disk.
    fn cluster(
        &self,
        complete: watch::Receiver<TreeSize>,
        booted: watch::Receiver<Option<Booted>>,
        bodies: Bodies,
    ) -> ClusterMonitor {
        let profile = self.config.cluster.profile;
        let disk = DiskHealth::default();
        let mut process = Process::default();
        self.context.clock.random(&mut process);
        let parts = OwnParts {
            identity: NodeIdentity {
                node: NodeId::new(self.config.node.id),
                incarnation: self.disk.incarnation,
                process,
                config_digest: self.config.cluster_digest(),
                profile,
                software: software(),
            },
            complete,
            booted,
            bodies,
            disk: disk.clone(),
        };
        let own = OwnStatus::new(self.context.clone(), parts);
        let status = StatusTable::start(own.clone());
        let peers = PeerMonitor::start(own);
        let watch = DiskWatch {
            context: self.context.clone(),
            peers: peers.clone(),
            flusher: self.ledger_flusher.clone(),
            health: disk,
            limit: profile.fsync_max(),
            probe: self.disk.probe.clone(),
        };
        watch.start();
        let watch = ClockWatch {
            context: self.context.clone(),
            peers: peers.clone(),
        };
        watch.start();
        let metrics = &self.metrics;
        let (failover, leaderless) = (metrics.failover.clone(), metrics.leaderless.clone());
        let over = Arc::new(move |took: Duration| {
            failover.observe(took.as_secs_f64());
            leaderless.inc_by(took.as_secs_f64());
        });
        let silence_max = Duration::from_millis(profile.timing().election_max_ms);
        ClusterMonitor {
            status,
            peers,
            leader: LeaderMonitor::start(&self.context, silence_max, over),
            profile,
        }
    }

    fn witness_source(&self, parts: &Parts) -> WitnessSource {
        let keys = self.config.witness.iter().map(|w| &w.key);
        WitnessSource {
            reads: parts.reads.clone(),
            writes: parts.writes.clone(),
            keys: parts.keys.clone(),
            notes: parts.witnesses.clone(),
            metrics: self.metrics.clone(),
            witnesses: keys.map(|key| (key.name.clone(), key.clone())).collect(),
            anchor_interval: Duration::from_secs(self.config.witnessing.anchor_interval_s),
        }
    }
}
