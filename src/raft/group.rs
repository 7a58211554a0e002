//! The Raft group as the rest of the node sees it: propose, read, wait, lead.
//!
//! Promises: what `propose` returns was applied here; an unknown outcome is said to be
//! unknown; a fatal error of the library stops the node. Names of the library end here.

use super::identity::{Disk, Disks};
use super::log::{Log, floor_id};
use super::machine::{Applied, Hashes, Machine};
use super::network::Factory;
use super::runtime::drawing_from;
use super::types::{LogId, Payload, Peer, TypeConfig};
use crate::clock::SharedClock;
use crate::domain::command::Answer;
use crate::ledger::membership::ModeRow;
use crate::ledger::state::State;
use crate::objective::timing::Timing;
use crate::objective::write::{Member, Role};
use crate::stop::Stop;
use crate::store::engine::Engine;
use crate::store::floor::FloorLogId;
use crate::store::log::LogStore;
use crate::store::{Blocking, Error};
use crate::transport::{Failure, Transport};
use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt as _};
use futures::stream::{self, BoxStream, StreamExt as _};
use muniment_evidence::digest::Digest;
use openraft::async_runtime::WatchReceiver as _;
use openraft::errors::{ClientWriteError, ForwardToLeader, LinearizableReadError, RaftError};
use openraft::raft::ReadPolicy;
use openraft::storage::RaftLogStorage as _;
use openraft::vote::RaftLeaderId as _;
use openraft::{Config, ServerState, SnapshotPolicy};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// Entries in one append message; with the byte limit of the log reader, whichever is
/// met first.
const APPEND_ENTRIES_MAX: u64 = 64;
/// Proposals waiting for the library's core.
const PROPOSALS_WAITING_MAX: u64 = 256;
/// A snapshot transfer makes its own progress check; this only bounds a dead one.
const SNAPSHOT_TIMEOUT_MS: u64 = 600_000;
/// How long a leadership hand-over may take before it is given up.
const TRANSFER_MAX: Duration = Duration::from_secs(5);

/// What a group needs to start.
pub struct Settings {
    pub node: u64,
    pub timing: Timing,
    /// Entries after which a snapshot is taken.
    pub snapshot_after_entries: u64,
    /// Entries kept behind the newest snapshot, for followers that lag.
    pub log_entries_kept: u64,
    pub snapshots: Option<PathBuf>,
    /// Whether there is room on the disk for a snapshot, taken or received.
    pub room: Room,
    /// Of this node's disk; shown to peers with what it says.
    pub incarnation: Disk,
    /// Election timeouts are drawn from it.
    pub clock: SharedClock,
}

/// Asked before a snapshot is taken or received.
pub type Room = Arc<dyn Fn() -> bool + Send + Sync>;

/// Why a proposal or read did not happen here.
#[derive(Clone, Debug)]
pub enum Refusal {
    /// Surely not proposed here; the leader, if known.
    NotLeader(Option<(u64, Peer)>),
    /// It may or may not take effect.
    Unknown(String),
    Stopped,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Refusal::NotLeader(Some((node, _))) => write!(f, "not the leader; node {node} is"),
            Refusal::NotLeader(None) => f.write_str("no leader is known"),
            Refusal::Unknown(why) => write!(f, "outcome unknown: {why}"),
            Refusal::Stopped => f.write_str("the node is stopping"),
        }
    }
}

/// Where a command went.
#[derive(Clone, Debug)]
pub struct Proposed {
    pub raft_index: u64,
    pub answers: Vec<Answer>,
}

/// Tells what became of a queued command, once it was applied here.
pub struct Ticket(BoxFuture<'static, Result<Proposed, Refusal>>);

impl Ticket {
    pub async fn done(self) -> Result<Proposed, Refusal> {
        self.0.await
    }
}

/// Who leads whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Office {
    pub leader: Option<u64>,
    pub term: u64,
    pub members_at: Option<u64>,
}

/// A picture of the group.
#[derive(Clone, Debug, Default)]
pub struct Status {
    pub role: &'static str,
    pub term: u64,
    pub leader: Option<u64>,
    pub last_log_index: u64,
    pub committed_index: u64,
    pub applied_index: u64,
    pub snapshot_index: u64,
    /// Voters and learners.
    pub members: BTreeMap<u64, Peer>,
    pub voters: Vec<u64>,
    /// Durable log index per follower; only the leader knows.
    pub matched: BTreeMap<u64, Option<u64>>,
}

/// Cheap to clone.
#[derive(Clone)]
pub struct Group {
    pub(super) raft: openraft::Raft<TypeConfig, Machine>,
    pub(super) engine: Arc<dyn Engine>,
    pub(super) blocking: Blocking,
    pub(super) installing: Arc<tokio::sync::Mutex<()>>,
    pub(super) changing: Arc<tokio::sync::Mutex<()>>,
    pub(super) disks: Disks,
    pub(super) stop: Stop,
    node: u64,
    applied: watch::Receiver<Applied>,
    hashes: Arc<Mutex<Hashes>>,
    roles: watch::Receiver<Arc<ModeRow>>,
    below_floor: Arc<AtomicBool>,
    retired: Arc<AtomicBool>,
    held_back: Arc<AtomicBool>,
    pub(super) room: Room,
    /// When a leader was heard last.
    pub(super) heard: Arc<Mutex<Option<Instant>>>,
}

impl Group {
    pub async fn start(
        settings: Settings,
        engine: Arc<dyn Engine>,
        blocking: Blocking,
        log: LogStore,
        transport: Arc<dyn Transport>,
        stop: Stop,
    ) -> Result<Group, Error> {
        let timing = &settings.timing;
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
            purge_batch_size: 256,
            max_payload_entries: APPEND_ENTRIES_MAX,
            max_append_entries: Some(2 * APPEND_ENTRIES_MAX),
            api_channel_size: Some(PROPOSALS_WAITING_MAX),
            ..Config::default()
        };
        let config = config
            .validate()
            .map_err(|error| Error::Engine(format!("raft timing: {error}").into()))?;
        let floor = log.floor().last_log;
        let mut log = Log::new(log);
        let recovered = log
            .get_log_state()
            .await
            .map_err(|error| Error::corrupt(format!("raft log: {error}")))?
            .last_log_id
            .map(|id| floor_id(&id));
        let (machine, applied) =
            Machine::open(engine.clone(), blocking, settings.snapshots).await?;
        let machine = machine.while_there_is(settings.room.clone());
        let hashes = machine.hashes();
        let roles = machine.watch_roles();
        let state = State::new(engine.clone());
        let disks = Disks::new(settings.incarnation, state, blocking);
        let factory = Factory {
            transport,
            blocking,
            disks: disks.clone(),
        };
        let clock = settings.clock;
        let building =
            openraft::Raft::build(settings.node, Arc::new(config), factory, log, machine);
        let raft = drawing_from(clock.clone(), building)
            .await
            .map_err(|error| Error::Engine(format!("raft cannot start: {error}").into()))?;
        let group = Group {
            raft,
            engine,
            blocking,
            installing: Arc::default(),
            changing: Arc::default(),
            disks,
            stop: stop.clone(),
            node: settings.node,
            applied,
            hashes,
            roles,
            below_floor: Arc::default(),
            held_back: Arc::default(),
            retired: Arc::default(),
            room: settings.room,
            heard: Arc::default(),
        };
        if let Some(floor) = floor
            && recovered < Some(floor)
        {
            group.wait_for_floor(recovered, floor);
        }
        drawing_from(clock, async { group.raft.run() }).await;
        group.watch_for_fatal(stop);
        Ok(group)
    }

    /// The engine has lost log that was durable: no vote and no candidacy until the
    /// leader has sent it again.
    fn wait_for_floor(&self, recovered: Option<FloorLogId>, floor: FloorLogId) {
        tracing::warn!(
            ?recovered,
            ?floor,
            "the log's tail is lost; not voting until the leader has sent it again"
        );
        self.below_floor.store(true, Ordering::SeqCst);
        self.stand();
        let (group, raft) = (self.clone(), self.raft.clone());
        tokio::spawn(async move {
            let mut metrics = raft.metrics();
            loop {
                let last = metrics.borrow_watched().last_log_index;
                if last.is_some_and(|last| last >= floor.index) {
                    tracing::info!(last, "the log is above its floor again");
                    group.below_floor.store(false, Ordering::SeqCst);
                    group.stand();
                    return;
                }
                if metrics.changed().await.is_err() {
                    return;
                }
            }
        });
    }

    /// Whether this node leaves elections to others; it votes as before.
    pub fn hold_back(&self, back: bool) {
        if self.held_back.swap(back, Ordering::SeqCst) != back {
            self.stand();
        }
    }

    /// This node is about to go: it stands for no election until it is started again.
    pub fn retire(&self) {
        self.retired.store(true, Ordering::SeqCst);
        self.stand();
    }

    /// Stands for election unless there is a reason not to.
    fn stand(&self) {
        let reasons = [&self.below_floor, &self.held_back, &self.retired];
        let free = reasons.iter().all(|reason| !reason.load(Ordering::SeqCst));
        self.raft.runtime_config().elect(free);
    }

    fn watch_for_fatal(&self, stop: Stop) {
        let mut metrics = self.raft.metrics();
        tokio::spawn(async move {
            loop {
                let running = metrics.borrow_watched().running_state.clone();
                if let Err(fatal) = running {
                    if stop.why().is_none() {
                        stop.broken(format!("raft: {fatal}"));
                    }
                    return;
                }
                if metrics.changed().await.is_err() {
                    return;
                }
            }
        });
    }

    pub(super) fn above_floor(&self) -> Result<(), Failure> {
        if self.below_floor.load(Ordering::SeqCst) {
            return Err(Failure::Refused(
                "this node's log is below its floor".into(),
            ));
        }
        Ok(())
    }

    pub fn node(&self) -> u64 {
        self.node
    }

    /// The disks that the ledger knows.
    pub fn disks(&self) -> &Disks {
        &self.disks
    }

    /// What learners count for, and the change of members in preparation, as applied here.
    pub fn roles(&self) -> Arc<ModeRow> {
        self.roles.borrow().clone()
    }

    /// All members, as levels see them.
    pub fn level_members(&self) -> Vec<Member> {
        let status = self.status();
        let roles = self.roles();
        let target = roles.preparing.as_ref().map(|change| &change.target.voters);
        let votes = |node: &u64| {
            // Who is to vote counts as if it did: apply asks for both sets.
            status.voters.contains(node) || target.is_some_and(|to| to.contains(node))
        };
        status
            .members
            .iter()
            .map(|(node, peer)| Member {
                node: *node,
                zone: peer.zone.clone(),
                region: peer.region.clone(),
                role: match votes(node) {
                    true => Role::Voter,
                    false if roles.sync_learners.contains(node) => Role::SyncLearner,
                    false => Role::AsyncLearner,
                },
            })
            .collect()
    }

    /// Founds the group with these voters.
    pub async fn initialize(&self, members: BTreeMap<u64, Peer>) -> Result<(), String> {
        let founded = self.raft.initialize(members).await;
        founded.map_err(|error| error.to_string())
    }

    pub async fn is_initialized(&self) -> bool {
        self.raft.is_initialized().await.unwrap_or(false)
    }

    /// Queues an encoded command after all that were queued before it.
    pub async fn queue(&self, command: Bytes) -> Result<Ticket, Refusal> {
        let (responder, receiver) = openraft::impls::ProgressResponder::complete_only();
        let queued = self
            .raft
            .client_write_ff(Payload(command), Some(responder))
            .await;
        queued.map_err(|_| Refusal::Stopped)?;
        Ok(Ticket(
            async move {
                match receiver.await {
                    Ok(Ok(done)) => Ok(Proposed {
                        raft_index: done.log_id.index(),
                        answers: done.data.0,
                    }),
                    Ok(Err(ClientWriteError::ForwardToLeader(to))) => {
                        Err(Refusal::NotLeader(leader_of(to)))
                    }
                    Ok(Err(error)) => Err(Refusal::Unknown(error.to_string())),
                    Err(_) => Err(Refusal::Stopped),
                }
            }
            .boxed(),
        ))
    }

    /// A Raft index such that whoever has applied it misses nothing that was
    /// acknowledged before this call. Asks the quorum; only a leader answers.
    pub async fn leader_read_index(&self) -> Result<u64, Refusal> {
        match self.raft.get_read_log_id(ReadPolicy::ReadIndex).await {
            Ok((read, _)) => Ok(read.index()),
            Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(to))) => {
                Err(Refusal::NotLeader(leader_of(to)))
            }
            Err(RaftError::APIError(error)) => Err(Refusal::Unknown(error.to_string())),
            Err(RaftError::Fatal(_)) => Err(Refusal::Stopped),
        }
    }

    /// The leader as this node knows it.
    pub fn leader(&self) -> Option<(u64, Peer)> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let leader = metrics.current_leader?;
        let peer = metrics.membership_config.get_node(&leader)?;
        Some((leader, peer.clone()))
    }

    pub fn is_leader(&self) -> bool {
        self.raft.is_leader()
    }

    pub fn member(&self, node: u64) -> Option<Peer> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        metrics.membership_config.get_node(&node).cloned()
    }

    pub fn applied(&self) -> Applied {
        *self.applied.borrow()
    }

    /// The rolling state hash after an entry applied here, if it is remembered.
    pub fn state_hash_at(&self, raft_index: u64) -> Option<Digest> {
        let hashes = self.hashes.lock().expect("nobody panics with it");
        hashes.at(raft_index)
    }

    /// When this node heard a leader last, as a follower.
    pub fn leader_heard(&self) -> Option<Instant> {
        *self.heard.lock().expect("nobody panics with it")
    }

    /// Tells whenever something about the group has changed, such as how far others have
    /// flushed; at least once. Ends with the library.
    pub fn changes(&self) -> BoxStream<'static, ()> {
        let metrics = self.raft.metrics();
        stream::unfold(metrics, |mut metrics| async move {
            metrics.changed().await.ok().map(|()| ((), metrics))
        })
        .boxed()
    }

    /// Follows what is applied.
    pub fn watch_applied(&self) -> watch::Receiver<Applied> {
        self.applied.clone()
    }

    /// Waits until `raft_index` is applied here; false if that takes too long.
    pub async fn wait_applied(&self, raft_index: u64, limit: Duration) -> bool {
        let mut applied = self.applied.clone();
        let reached = applied.wait_for(|now| now.raft_index >= raft_index);
        matches!(tokio::time::timeout(limit, reached).await, Ok(Ok(_)))
    }

    /// Waits until the evidence log here has at least `size` records.
    pub async fn wait_size(&self, size: u64, limit: Duration) -> bool {
        let mut applied = self.applied.clone();
        let reached = applied.wait_for(|now| now.size >= size);
        matches!(tokio::time::timeout(limit, reached).await, Ok(Ok(_)))
    }

    /// Waits until term, leader or members differ from `seen`; returns what they are.
    pub async fn office_changed(&self, seen: Option<Office>) -> Office {
        let mut metrics = self.raft.server_metrics();
        loop {
            let now = {
                let metrics = metrics.borrow_watched();
                Office {
                    leader: metrics.current_leader,
                    term: metrics.vote.leader_id().term(),
                    members_at: metrics
                        .membership_config
                        .log_id()
                        .as_ref()
                        .map(LogId::index),
                }
            };
            if Some(now) != seen {
                return now;
            }
            if metrics.changed().await.is_err() {
                // The library has ended; the node is on its way out.
                std::future::pending::<()>().await;
            }
        }
    }

    pub fn status(&self) -> Status {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let index = |id: &Option<LogId>| id.as_ref().map_or(0, LogId::index);
        let members = &metrics.membership_config;
        Status {
            role: match metrics.state {
                ServerState::Learner => "learner",
                ServerState::Follower => "follower",
                ServerState::Candidate => "candidate",
                ServerState::Leader => "leader",
                ServerState::Shutdown => "stopping",
            },
            term: metrics.current_term,
            leader: metrics.current_leader,
            last_log_index: metrics.last_log_index.unwrap_or(0),
            committed_index: index(&metrics.local_committed),
            applied_index: index(&metrics.last_applied),
            snapshot_index: index(&metrics.snapshot),
            members: members.nodes().map(|(n, p)| (*n, p.clone())).collect(),
            voters: members.voter_ids().collect(),
            matched: metrics
                .replication
                .iter()
                .flatten()
                .map(|(node, matched)| (*node, matched.as_ref().map(LogId::index)))
                .collect(),
        }
    }

    /// Hands leadership to `to`, which must be a caught-up voter.
    pub async fn transfer(&self, to: u64) -> Result<(), String> {
        let status = self.status();
        if to == self.node {
            return Ok(());
        }
        if !status.voters.contains(&to) {
            return Err(format!("node {to} is not a voter"));
        }
        match status.matched.get(&to).copied().flatten() {
            Some(matched) if matched + APPEND_ENTRIES_MAX >= status.last_log_index => {}
            _ => return Err(format!("node {to} has not caught up")),
        }
        let asked = self.raft.trigger().transfer_leader(to).await;
        asked.map_err(|error| error.to_string())?;
        let mut metrics = self.raft.server_metrics();
        let changed = async {
            while metrics.borrow_watched().current_leader != Some(to) {
                if metrics.changed().await.is_err() {
                    break;
                }
            }
        };
        tokio::time::timeout(TRANSFER_MAX, changed)
            .await
            .map_err(|_| format!("node {to} did not take over in time"))
    }

    /// Hands leadership to the most advanced follower, if this node leads.
    pub async fn hand_over(&self) {
        self.hand_over_to_one_of(&self.status().voters).await;
    }

    /// The same, to the most advanced of `nodes`; one that does not take over is followed by
    /// the next.
    pub async fn hand_over_to_one_of(&self, nodes: &[u64]) {
        if !self.is_leader() {
            return;
        }
        let status = self.status();
        let mut able: Vec<_> = status
            .matched
            .iter()
            .filter(|(node, _)| **node != self.node && status.voters.contains(node))
            .filter(|(node, _)| nodes.contains(node))
            .collect();
        able.sort_unstable_by_key(|(_, matched)| std::cmp::Reverse(**matched));
        for (to, _) in able {
            match self.transfer(*to).await {
                Ok(()) => return,
                Err(why) => tracing::warn!(%why, "leadership could not be handed over"),
            }
            if !self.is_leader() {
                return;
            }
        }
    }

    pub async fn shutdown(&self) {
        if let Err(error) = self.raft.shutdown().await {
            tracing::warn!(%error, "raft did not end cleanly");
        }
    }
}

pub(super) fn leader_of(to: ForwardToLeader<TypeConfig>) -> Option<(u64, Peer)> {
    Some((to.leader_id?, to.leader_node?))
}
