//! The Raft group as the rest of the node sees it: started, founded, ended.
//!
//! Promises: a fatal error of the library stops the node; a node that has lost the tail of
//! its log abstains before the library runs. Names of the library end here. What can be
//! asked of a group is beside this file, one idea each: [`super::proposals`],
//! [`super::progress`], [`super::elections`], [`super::leadership`], [`super::status`],
//! [`super::membership`].
//! Tests: `src/raft/group_tests.rs`.

use super::clock_bound::ClockBound;
use super::elections::Campaign;
use super::identity::{Disk, DiskWords, KnownDisks};
use super::log::{RaftLog, watermark_id};
use super::machine::Machine;
use super::network::{Addresses, PeerNetwork};
use super::progress::Progress;
use super::proposals::GroupRefusal;
use super::runtime::drawing_from;
use super::snapshot_judge::SnapshotJudge;
use super::types::{Peer, TypeConfig};
use crate::clock::SharedClock;
use crate::domain::ids::NodeId;
use crate::keyring::guard::SignedHead;
use crate::ledger::state::State;
use crate::misconduct::Misconduct;
use crate::objective::timing::Timing;
use crate::stop::Stop;
use crate::store::engine::Engine;
use crate::store::log::LogStore;
use crate::store::snapshot::Installs;
use crate::store::{Blocking, StoreError};
use crate::supervise::{self, Life};
use crate::sync::Shared;
use crate::transport::Transport;
use openraft::async_runtime::WatchReceiver as _;
use openraft::storage::RaftLogStorage as _;
use openraft::{Config, SnapshotPolicy};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::Instant;

/// Entries in one append message; with the byte limit of the log reader, whichever is
/// met first.
pub(super) const APPEND_ENTRIES_MAX: u64 = 64;
/// Proposals waiting for the library's core.
const PROPOSALS_WAITING_MAX: u64 = 256;
/// A snapshot transfer makes its own progress check; this only bounds a dead one.
const SNAPSHOT_TIMEOUT_MS: u64 = 600_000;
/// Entries that must wait for their purge together. The library purges after a snapshot
/// only, in one range: a batch would keep this many more than the configuration says.
const PURGE_ENTRIES_MIN: u64 = 1;

/// What a group needs to start.
pub struct GroupSettings {
    pub node: NodeId,
    pub timing: Timing,
    /// Entries after which a snapshot is taken.
    pub snapshot_after_entries: u64,
    /// Entries kept behind the newest snapshot, for followers that lag.
    pub log_entries_kept: u64,
    pub snapshots: Option<PathBuf>,
    /// Whether there is room on the disk for a snapshot, taken or received.
    pub has_disk_space: HasDiskSpace,
    /// Of this node's disk; shown to peers with what it says.
    pub incarnation: Disk,
    /// Election timeouts are drawn from it.
    pub clock: SharedClock,
    pub misconduct: Misconduct,
}

/// Asked before a snapshot is taken or received.
pub type HasDiskSpace = Arc<dyn Fn() -> bool + Send + Sync>;

/// Cheap to clone.
#[derive(Clone)]
pub struct RaftGroup {
    pub(super) raft: openraft::Raft<TypeConfig, Machine>,
    /// Where a received snapshot is installed.
    pub(super) engine: Arc<dyn Engine>,
    pub(super) blocking: Blocking,
    /// Lets in one snapshot at a time.
    pub(super) installs: Installs,
    pub(super) judge: SnapshotJudge,
    /// Held while members are changed: one change at a time from this node.
    pub(super) changing: Arc<tokio::sync::Mutex<()>>,
    pub(super) disks: KnownDisks,
    pub(super) addresses: Addresses,
    /// What others say about this node's disk.
    pub(super) disk_words: Shared<DiskWords>,
    pub(super) transport: Arc<dyn Transport>,
    pub(super) stop: Stop,
    pub(super) node: NodeId,
    pub(super) progress: Progress,
    pub(super) campaign: Arc<Campaign>,
    pub(super) has_disk_space: HasDiskSpace,
    /// When an append of a leader came in last.
    pub(super) leader_seen: Arc<Mutex<Option<Instant>>>,
    pub(super) misconduct: Misconduct,
    /// What entries' times are held against.
    pub(super) clock: SharedClock,
    pub(super) clock_bound: ClockBound,
}

impl RaftGroup {
    pub async fn start(
        settings: GroupSettings,
        engine: Arc<dyn Engine>,
        blocking: Blocking,
        log: LogStore,
        transport: Arc<dyn Transport>,
        stop: Stop,
        signed: SignedHead,
    ) -> Result<RaftGroup, StoreError> {
        let timing = &settings.timing;
        let election_max = Duration::from_millis(timing.election_max_ms);
        let config = Config {
            cluster_name: "muniment".to_owned(),
            heartbeat_interval: timing.heartbeat_ms,
            election_timeout_min: timing.election_min_ms,
            election_timeout_max: timing.election_max_ms,
            enable_pre_vote: Some(true),
            enable_leader_restore: Some(false),
            quorum_loss_probe_interval: Some(2 * timing.election_max_ms),
            install_snapshot_timeout: SNAPSHOT_TIMEOUT_MS,
            snapshot_policy: SnapshotPolicy::LogsSinceLast(settings.snapshot_after_entries),
            max_in_snapshot_log_to_keep: settings.log_entries_kept,
            replication_lag_threshold: 2 * settings.snapshot_after_entries,
            purge_batch_size: PURGE_ENTRIES_MIN,
            max_payload_entries: APPEND_ENTRIES_MAX,
            max_append_entries: Some(2 * APPEND_ENTRIES_MAX),
            api_channel_size: Some(PROPOSALS_WAITING_MAX),
            ..Config::default()
        };
        let config = config
            .validate()
            .map_err(|error| StoreError::engine_in("raft timing", error))?;
        let watermark = log.watermark().last_log;
        let mut log = RaftLog::new(log);
        let recovered = log
            .get_log_state()
            .await
            .map_err(|error| StoreError::corrupt_in("raft log", error))?
            .last_log_id
            .map(|id| watermark_id(&id));
        let (machine, applied) =
            Machine::open(engine.clone(), blocking, settings.snapshots, signed).await?;
        let machine = machine
            .only_with(settings.has_disk_space.clone())
            .naming(settings.misconduct.clone());
        let (installs, judge) = (machine.installs(), machine.judge());
        let progress = Progress {
            applied,
            hashes: machine.hashes(),
            members: machine.watch_members(),
        };
        let state = State::new(engine.clone());
        let disks = KnownDisks::new(settings.incarnation, state, blocking);
        let addresses = Addresses::default();
        let factory = PeerNetwork {
            transport: transport.clone(),
            blocking,
            disks: disks.clone(),
            addresses: addresses.clone(),
        };
        let clock = settings.clock;
        let building =
            openraft::Raft::build(settings.node, Arc::new(config), factory, log, machine);
        let raft = drawing_from(clock.clone(), building)
            .await
            .map_err(|error| StoreError::engine_in("raft cannot start", error))?;
        let group = RaftGroup {
            raft,
            engine,
            blocking,
            installs,
            judge,
            changing: Arc::default(),
            disks,
            addresses,
            disk_words: Shared::default(),
            transport,
            stop: stop.clone(),
            node: settings.node,
            progress,
            campaign: Arc::default(),
            has_disk_space: settings.has_disk_space,
            leader_seen: Arc::default(),
            misconduct: settings.misconduct,
            clock: clock.clone(),
            clock_bound: ClockBound::default(),
        };
        if let Some(watermark) = watermark
            && recovered < Some(watermark)
        {
            group.wait_for_watermark(recovered, watermark);
        }
        drawing_from(clock, async { group.raft.run() }).await;
        group.watch_for_fatal(stop);
        group.stand_when_needed(election_max);
        Ok(group)
    }

    fn watch_for_fatal(&self, stop: Stop) {
        let mut metrics = self.raft.metrics();
        let kept = stop.clone();
        supervise::keep(
            &kept,
            Life::UntilUnused,
            "the watch over Raft",
            async move {
                loop {
                    let running = metrics.borrow_watched().running_state.clone();
                    if let Err(fatal) = running {
                        if stop.why().is_none() {
                            stop.broken(format!("raft: {fatal}"));
                        }
                        return;
                    }
                    if metrics.changed().await.is_err() {
                        if stop.why().is_none() {
                            stop.broken("raft has ended before the node".to_owned());
                        }
                        return;
                    }
                }
            },
        );
    }

    pub fn node(&self) -> NodeId {
        self.node
    }

    /// Where misdeeds of peers are noted.
    pub fn misconduct(&self) -> &Misconduct {
        &self.misconduct
    }

    /// The disks that the ledger knows.
    pub fn disks(&self) -> &KnownDisks {
        &self.disks
    }

    /// Founds the group with these voters.
    pub async fn initialize(&self, members: BTreeMap<NodeId, Peer>) -> Result<(), GroupRefusal> {
        let founded = self.raft.initialize(members).await;
        founded.map_err(GroupRefusal::unknown)
    }

    pub async fn is_initialized(&self) -> bool {
        self.raft.is_initialized().await.unwrap_or(false)
    }

    pub async fn shutdown(&self) {
        if let Err(error) = self.raft.shutdown().await {
            tracing::warn!(%error, "raft did not end cleanly");
        }
    }
}
