//! The library's state machine, on [`crate::ledger`].
//!
//! Promises: an entry's writes, its log id and the membership go into one batch, so that
//! a crash leaves whole applies only and start-up may apply again; answers go out after
//! their writes are readable. A snapshot comes in force only if [`super::snapshot_judge`]
//! lets it. Leaves what a command does to `ledger/`.
//! Tests: `src/raft/install_tests.rs`, `src/raft/storage_tests.rs`, `src/raft/group_tests.rs`.

use super::codec;
use super::group::HasDiskSpace;
use super::inadmissible::Inadmissible;
use super::progress::AppliedMembers;
use super::snapshot_judge::{Depth, SnapshotJudge};
use super::types::{Answers, EntryPayload, LogId, SnapshotMeta, StoredMembership, TypeConfig};
use crate::domain::command::{Command, ReceivedCommand};
use crate::domain::ids::{LogIndex, NodeId, RecordIndex, Term, TreeSize, UploadEpoch};
use crate::keyring::guard::SignedHead;
use crate::ledger::apply::EntryPlace;
use crate::ledger::roles::ModeRow;
use crate::ledger::tip::{self, Tip};
use crate::ledger::txn::Txn;
use crate::ledger::{apply, policy, tables};
use crate::misconduct::{Misconduct, Misdeed};
use crate::store::engine::Engine;
use crate::store::keys::Generation;
use crate::store::snapshot::{Installs, Received, Snapshot};
use crate::store::{Blocking, StoreError, snapshot};
use futures::{Stream, StreamExt as _};
use muniment_evidence::codec::{DecodeError, Reader, Writer};
use muniment_evidence::digest::Digest;
use muniment_evidence::statement::Kind;
use openraft::entry::RaftEntry as _;
use openraft::storage::{EntryResponder, RaftStateMachine};
use openraft::{OptionalSend, RaftSnapshotBuilder};
use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::sync::watch;

/// Entries applied in one visit to the blocking pool.
const APPLY_ENTRIES: usize = 64;

/// How far this replica has applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Applied {
    /// Raft index; 0 also stands for "nothing yet".
    pub raft_index: LogIndex,
    /// Records in the evidence log.
    pub size: TreeSize,
    /// Zero before the founding.
    pub ledger: Digest,
    pub upload_epoch: UploadEpoch,
    pub feature_level: u64,
    /// OK KEY records: the keys are those that were known when it last changed.
    pub key_serial: u64,
    /// The rolling hash of the replicated state at `raft_index` (I12).
    pub state_hash: Digest,
    /// Bytes of all bodies named.
    pub body_bytes: u64,
    /// What was applied here since the start and said nothing that a ledger takes.
    pub inadmissible: Inadmissible,
}

/// What a snapshot is on this node: taken here, or received from the leader.
pub enum SnapshotData {
    Taken(Snapshot),
    /// Everything in it was looked at when it came in ([`SnapshotJudge`]).
    Received(Received),
}

/// What apply stands on, as far as it is kept in memory.
pub struct AppliedState {
    pub(super) tip: Tip,
    pub(super) applied: Option<LogId>,
    pub(super) membership: Arc<StoredMembership>,
    roles: Arc<ModeRow>,
    inadmissible: Inadmissible,
}

/// State hashes remembered: above the entries that two healthy replicas are apart.
const HASHES_KEPT: usize = 4096;

/// The rolling state hash after each of the last entries, oldest first (I12).
#[derive(Default)]
pub struct StateHashes(VecDeque<(LogIndex, Digest)>);

impl StateHashes {
    fn note(&mut self, raft_index: LogIndex, hash: Digest) {
        if (self.0.back()).is_some_and(|(last, _)| last.next() != raft_index) {
            // What is remembered must be one run of indexes.
            self.0.clear();
        }
        self.0.push_back((raft_index, hash));
        if self.0.len() > HASHES_KEPT {
            self.0.pop_front();
        }
    }

    /// The hash after the entry at this index, if it is remembered.
    pub fn at(&self, raft_index: LogIndex) -> Option<Digest> {
        let first = self.0.front()?.0;
        let at = usize::try_from(raft_index.get().checked_sub(first.get())?).ok()?;
        // Entries are applied one after the other, so the indexes have no holes.
        self.0.get(at).map(|(_, hash)| *hash)
    }
}

/// See the module.
pub struct Machine {
    engine: Arc<dyn Engine>,
    blocking: Blocking,
    state: Arc<Mutex<AppliedState>>,
    progress: watch::Sender<Applied>,
    members: watch::Sender<AppliedMembers>,
    snapshots: SnapshotStore,
    has_disk_space: HasDiskSpace,
    hashes: Arc<Mutex<StateHashes>>,
    installs: Installs,
    signed: SignedHead,
    /// Where members are named that record what no ledger takes.
    misconduct: Option<Misconduct>,
}

/// The newest snapshot, and where the next one is put.
#[derive(Clone)]
struct SnapshotStore {
    engine: Arc<dyn Engine>,
    blocking: Blocking,
    /// `None` in memory.
    dir: Option<PathBuf>,
    newest: Arc<Mutex<Option<(SnapshotMeta, Snapshot)>>>,
    count: Arc<std::sync::atomic::AtomicU64>,
}

impl Machine {
    /// Loads the state and checks the tree's tip; `snapshots` is emptied, since a
    /// snapshot is cheap to take again. A ledger above what this software knows is left as it is.
    pub async fn open(
        engine: Arc<dyn Engine>,
        blocking: Blocking,
        snapshots: Option<PathBuf>,
        signed: SignedHead,
    ) -> Result<(Machine, watch::Receiver<Applied>), StoreError> {
        let (opened, dir) = (engine.clone(), snapshots.clone());
        let state = blocking
            .run(move || {
                let current = snapshot::current(opened.as_ref())?;
                if let Some(head) = tip::head(opened.as_ref(), current)? {
                    policy::is_known(&head)?;
                }
                snapshot::sweep(opened.as_ref())?;
                if let Some(dir) = dir {
                    empty_dir(&dir)?;
                }
                load(opened.as_ref(), current)
            })
            .await?;
        let (progress, watched) = watch::channel(state.progress());
        let machine = Machine {
            members: watch::channel(state.members()).0,
            snapshots: SnapshotStore {
                engine: engine.clone(),
                blocking,
                dir: snapshots,
                newest: Arc::default(),
                count: Arc::default(),
            },
            engine,
            blocking,
            state: Arc::new(Mutex::new(state)),
            progress,
            has_disk_space: Arc::new(|| true),
            hashes: Arc::default(),
            installs: Installs::default(),
            signed,
            misconduct: None,
        };
        Ok((machine, watched))
    }

    /// Takes snapshots only while there is room: on a nearly full disk they would use up
    /// what records need, and the log is kept instead.
    pub fn only_with(self, has_disk_space: HasDiskSpace) -> Machine {
        Machine {
            has_disk_space,
            ..self
        }
    }

    /// Names members that record what no ledger takes.
    pub fn naming(self, misconduct: Misconduct) -> Machine {
        Machine {
            misconduct: Some(misconduct),
            ..self
        }
    }

    /// What other replicas are compared with.
    pub fn hashes(&self) -> Arc<Mutex<StateHashes>> {
        self.hashes.clone()
    }

    /// Lets in what is to be installed here.
    pub fn installs(&self) -> Installs {
        self.installs.clone()
    }

    /// Judges what is to be installed here.
    pub fn judge(&self) -> SnapshotJudge {
        SnapshotJudge {
            engine: self.engine.clone(),
            blocking: self.blocking,
            own: self.state.clone(),
            signed: self.signed.clone(),
        }
    }

    /// Follows who is what.
    pub(super) fn watch_members(&self) -> watch::Receiver<AppliedMembers> {
        self.members.subscribe()
    }

    fn show_progress(&self) {
        let state = lock(&self.state);
        self.members.send_if_modified(|members| {
            let moved = !Arc::ptr_eq(&members.roles, &state.roles)
                || !Arc::ptr_eq(&members.membership, &state.membership);
            *members = state.members();
            moved
        });
        self.progress.send_replace(state.progress());
    }
}

impl AppliedState {
    /// Goes on from another copy; what this node has counted stays counted.
    fn follow(&mut self, installed: AppliedState) {
        *self = AppliedState {
            inadmissible: self.inadmissible,
            ..installed
        };
    }

    fn members(&self) -> AppliedMembers {
        AppliedMembers {
            membership: self.membership.clone(),
            roles: self.roles.clone(),
        }
    }

    fn progress(&self) -> Applied {
        Applied {
            raft_index: LogIndex::new(self.applied.as_ref().map_or(0, LogId::index)),
            size: self.tip.head.size,
            ledger: self.tip.head.ledger,
            upload_epoch: self.tip.head.upload_epoch,
            feature_level: self.tip.head.feature_level,
            key_serial: self.tip.head.key_serial,
            state_hash: self.tip.head.state_hash,
            body_bytes: self.tip.head.body_bytes,
            inadmissible: self.inadmissible,
        }
    }
}

pub(super) fn lock(state: &Mutex<AppliedState>) -> MutexGuard<'_, AppliedState> {
    state.lock().expect("an apply that panics ends the process")
}

fn empty_dir(dir: &std::path::Path) -> Result<(), StoreError> {
    let fail = |error: io::Error| StoreError::file(dir, error);
    if dir.exists() {
        std::fs::remove_dir_all(dir).map_err(fail)?;
    }
    std::fs::create_dir_all(dir).map_err(fail)
}

pub(super) fn encode_applied(applied: Option<LogId>, membership: &StoredMembership) -> Vec<u8> {
    let mut w = Writer::new();
    w.u8(1);
    codec::Wire::write(&applied, &mut w);
    codec::Wire::write(membership, &mut w);
    w.finish()
}

fn decode_applied(bytes: &[u8]) -> Result<(Option<LogId>, StoredMembership), DecodeError> {
    let mut r = Reader::new(bytes);
    if r.u8()? != 1 {
        return Err(r.error("applied version 1"));
    }
    let read = (codec::Wire::read(&mut r)?, codec::Wire::read(&mut r)?);
    r.end()?;
    Ok(read)
}

pub(super) fn load(
    engine: &dyn Engine,
    generation: Generation,
) -> Result<AppliedState, StoreError> {
    let (applied, membership) = match engine.get(&generation.key(&tables::applied()))? {
        None => Default::default(),
        Some(bytes) => decode_applied(&bytes)
            .map_err(|error| StoreError::corrupt_in("the applied row", error))?,
    };
    Ok(AppliedState {
        tip: Tip::load(engine, generation)?,
        applied,
        membership: Arc::new(membership),
        roles: load_roles(engine, generation)?,
        inadmissible: Inadmissible::default(),
    })
}

fn load_roles(engine: &dyn Engine, generation: Generation) -> Result<Arc<ModeRow>, StoreError> {
    let row = tables::mode().read(engine, generation)?;
    Ok(Arc::new(row.unwrap_or_default()))
}

/// What came of one entry.
#[derive(Default)]
struct AppliedEntry {
    answers: Answers,
    /// Who recorded what no ledger takes, and where.
    malformed: Vec<(NodeId, RecordIndex)>,
}

/// One entry, one batch.
fn apply_entry(
    engine: &dyn Engine,
    state: &mut AppliedState,
    log_id: LogId,
    payload: &EntryPayload,
) -> Result<AppliedEntry, StoreError> {
    assert!(
        state.applied.as_ref().is_none_or(|last| *last < log_id),
        "what is applied never goes back"
    );
    let generation = snapshot::current(engine)?;
    let mut txn = Txn::begin(engine, generation);
    let mut tip = state.tip.clone();
    let mut applied = AppliedEntry::default();
    let (mut membership, mut moded, mut inadmissible) = (None, false, state.inadmissible);
    match payload {
        EntryPayload::Blank => {
            let term = log_id.committed_leader_id().term;
            apply::leader(
                &mut txn,
                &mut tip,
                Term::new(term),
                LogIndex::new(log_id.index()),
            )?;
        }
        EntryPayload::Normal(payload) => {
            let place = EntryPlace {
                index: LogIndex::new(log_id.index()),
                term: Term::new(log_id.committed_leader_id().term),
            };
            let command = Command::decode(&payload.0).unwrap_or_else(|error| {
                // It is committed, and the same nothing on every replica: no member can stop
                // the others by an entry.
                tracing::error!(index = place.index.get(), %error, "an entry is no command, and says nothing");
                inadmissible.unreadable += 1;
                ReceivedCommand::default()
            });
            let read = command.submissions.iter().flatten();
            let mut kinds = read.map(|proposed| proposed.submission.statement.kind);
            moded = kinds.any(|kind| kind == Kind::Mode);
            applied.answers.0 = apply::command(&mut txn, &mut tip, &command, place)?;
            applied.malformed = inadmissible.count(&command, &applied.answers.0);
        }
        EntryPayload::Membership(new) => {
            let voters = new
                .get_joint_config()
                .iter()
                .map(|set| set.iter().copied().collect())
                .collect();
            let learners = new.learner_ids().collect();
            apply::membership(
                &mut txn,
                &mut tip,
                LogIndex::new(log_id.index()),
                voters,
                learners,
            );
            let stored = StoredMembership::new(Some(log_id), new.clone());
            membership = Some(Arc::new(stored));
        }
    }
    let membership = membership.unwrap_or_else(|| state.membership.clone());
    let mut batch = txn.into_batch();
    batch.put(
        generation.key(&tables::applied()),
        encode_applied(Some(log_id), &membership),
    );
    engine.write(batch)?;
    if moded {
        state.roles = load_roles(engine, generation)?;
    }
    assert!(
        tip.head.size >= state.tip.head.size,
        "records are never taken back"
    );
    state.tip = tip;
    state.inadmissible = inadmissible;
    state.applied = Some(log_id);
    state.membership = membership;
    Ok(applied)
}

impl RaftStateMachine<TypeConfig> for Machine {
    type SnapshotData = SnapshotData;
    type SnapshotBuilder = SnapshotBuild;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        let state = lock(&self.state);
        Ok((state.applied, StoredMembership::clone(&state.membership)))
    }

    async fn apply<S>(&mut self, entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<TypeConfig>>> + Unpin + OptionalSend,
    {
        let mut chunks = entries.ready_chunks(APPLY_ENTRIES);
        while let Some(chunk) = chunks.next().await {
            let (mut entries, mut responders) = (Vec::new(), Vec::new());
            for item in chunk {
                let (entry, responder) = item?;
                entries.push((entry.log_id(), entry.payload));
                responders.push(responder);
            }
            let (engine, state) = (self.engine.clone(), self.state.clone());
            let hashes = self.hashes.clone();
            let applied = self
                .blocking
                .run(move || {
                    let mut state = lock(&state);
                    let mut hashes = hashes.lock().expect("nobody panics with it");
                    entries
                        .iter()
                        .map(|(log_id, payload)| {
                            let applied =
                                apply_entry(engine.as_ref(), &mut state, *log_id, payload);
                            hashes.note(LogIndex::new(log_id.index()), state.tip.head.state_hash);
                            applied
                        })
                        .collect::<Result<Vec<_>, _>>()
                })
                .await?;
            self.show_progress();
            for (responder, applied) in responders.into_iter().zip(applied) {
                for (node, index) in applied.malformed {
                    if let Some(misconduct) = &self.misconduct {
                        let why = format!("its record {index} is refused as malformed");
                        misconduct.saw(node, Misdeed::Inadmissible, &why);
                    }
                }
                if let Some(responder) = responder {
                    responder.send(applied.answers);
                }
            }
        }
        Ok(())
    }

    async fn try_create_snapshot_builder(&mut self, force: bool) -> Option<SnapshotBuild> {
        if !force && !(self.has_disk_space)() {
            tracing::warn!("no snapshot is taken: the disk is nearly full");
            return None;
        }
        Some(self.get_snapshot_builder().await)
    }

    /// The checkpoint is taken here, between two applies, so that it is consistent with
    /// the applied log id; building afterwards runs beside apply.
    async fn get_snapshot_builder(&mut self) -> SnapshotBuild {
        SnapshotBuild {
            taken: self.snapshots.take().await,
            snapshots: self.snapshots.clone(),
        }
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        data: SnapshotData,
    ) -> io::Result<()> {
        let (received, depth) = match data {
            SnapshotData::Received(received) => (received, Depth::SinceThen),
            SnapshotData::Taken(taken) => {
                let (engine, permit) = (self.engine.clone(), self.installs.begin());
                let permit = permit.ok_or_else(|| io::Error::other("another is installed"))?;
                let copied = self.blocking.run(move || taken.copy_into(engine, permit));
                (copied.await?, Depth::Everything)
            }
        };
        let state = self
            .judge()
            .judge(received.generation(), meta, depth)
            .await?;
        received.flip(self.engine.clone(), self.blocking).await?;
        lock(&self.state).follow(state);
        // What came before was of another copy; indexes would have a hole.
        *self.hashes.lock().expect("nobody panics with it") = StateHashes::default();
        self.show_progress();
        self.snapshots.take().await?;
        let now = lock(&self.state).progress();
        tracing::info!(
            index = now.raft_index.get(),
            size = now.size.get(),
            "snapshot installed"
        );
        Ok(())
    }

    async fn get_current_snapshot(
        &mut self,
    ) -> io::Result<Option<openraft::alias::SnapshotOf<TypeConfig, SnapshotData>>> {
        Ok(self.snapshots.newest())
    }
}

impl SnapshotStore {
    fn newest(&self) -> Option<openraft::alias::SnapshotOf<TypeConfig, SnapshotData>> {
        let newest = self.newest.lock().expect("nobody panics with it");
        newest
            .clone()
            .map(|(meta, snapshot)| openraft::storage::Snapshot {
                meta,
                snapshot: SnapshotData::Taken(snapshot),
            })
    }

    /// Takes a snapshot of now. An older one lives on until its last reader is done.
    async fn take(&self) -> Result<(), StoreError> {
        let this = self.clone();
        self.blocking
            .run(move || {
                let number = this
                    .count
                    .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                let dir = this.dir.as_ref().map(|dir| dir.join(number.to_string()));
                let generation = snapshot::current(this.engine.as_ref())?;
                let snapshot = Snapshot::take(this.engine.as_ref(), generation, dir)?;
                let row = snapshot.get(&tables::applied())?;
                let (last_log_id, last_membership) = match row {
                    None => Default::default(),
                    Some(bytes) => decode_applied(&bytes)
                        .map_err(|error| StoreError::corrupt_in("a snapshot", error))?,
                };
                let meta = SnapshotMeta {
                    last_log_id,
                    last_membership,
                };
                *this.newest.lock().expect("nobody panics with it") = Some((meta, snapshot));
                Ok(())
            })
            .await
    }
}

/// Hands out the snapshot that was taken when it was made.
pub struct SnapshotBuild {
    taken: Result<(), StoreError>,
    snapshots: SnapshotStore,
}

impl RaftSnapshotBuilder<TypeConfig> for SnapshotBuild {
    type SnapshotData = SnapshotData;

    async fn build_snapshot(
        &mut self,
    ) -> io::Result<openraft::alias::SnapshotOf<TypeConfig, SnapshotData>> {
        self.taken.clone()?;
        self.snapshots
            .newest()
            .ok_or_else(|| io::Error::other("the snapshot taken is gone"))
    }
}
