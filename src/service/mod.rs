//! The verbs: what a node does for its callers, one file each.
//!
//! Each takes a [`Principal`] and checked domain values, flows down once and comes back
//! once. Knows no gRPC type. Every verb that changes or reveals leaves its evidence
//! through the recorder before it answers.
//!
//! * [`issue`], [`reverse`], [`add_rendition`], [`void`]: changes
//! * [`issue_many`]: many issues over one stream
//! * [`download`]: bytes, evidence first; [`deferred`]: its promise now, its record later
//! * [`lookup`], [`list`], [`check`], [`watch`]: reading
//! * [`prove`], [`records`], [`checkpoints`], [`export`], [`policy`]: handing over
//!   evidence, never judging it
//! * [`admin`]: founding, status, leadership; [`drills`]: what was broken on purpose
//! * [`members`]: members come and go, one change at a time
//! * [`keys`]: the ledger's keys, and changing them
//! * [`levels`], [`standing`]: how durable a write is, and how every node stands; [`vigil`]:
//!   how long nobody led
//! * [`freshness`]: what makes a read level true, and what an answer may claim
//! * [`epochs`]: upload epochs, by which orphans are collected
//! * [`joining`]: two calls that are the same one
//! * [`booting`], [`guarding`]: what must be true before anything is said or signed
//! * [`cosigning`]: vouching for checkpoints, and comparing replicas by the way
//! * [`witnessing`]: the ledger shown to outside witnesses
//! * [`scrubbing`]: damage to bodies, put on record; a scrub asked for by an operator
//! * [`peers`]: what other nodes may ask
//! * [`acquaintance`], [`hello`], [`disk`], [`budgets`]: distances, disks, descriptors, memory

pub mod acquaintance;
pub mod add_rendition;
pub mod admin;
pub mod booting;
pub mod budgets;
pub mod check;
pub mod checkpoints;
pub mod cosigning;
pub mod deferred;
pub mod disk;
pub mod download;
pub mod drills;
pub mod epochs;
pub mod error;
pub mod export;
pub mod freshness;
pub mod guarding;
pub mod hello;
pub mod issue;
pub mod issue_many;
pub mod joining;
pub mod keys;
pub mod levels;
pub mod list;
pub mod lookup;
pub mod members;
pub mod peers;
pub mod policy;
pub mod prove;
pub mod records;
pub mod reverse;
pub mod scrubbing;
pub mod standing;
pub mod vigil;
pub mod void;
pub mod watch;
pub mod witnessing;

pub use error::Error;

use crate::bodies::Bodies;
use crate::clock::SharedClock;
use crate::config::{Deferred, Limits, Tenant};
use crate::domain::ids::Uid;
use crate::keyring::Keyring;
use crate::ledger::state::{Invoice, Key, State, Tables};
use crate::objective::read::{ReadLevel, Token};
use crate::objective::timing::Profile;
use crate::raft::group::RaftGroup;
use crate::raft::reader::ReadBarrier;
use crate::recorder::download_ends::DownloadEnds;
use crate::recorder::lane::Recorder;
use crate::recorder::outbox::OutboxLane;
use crate::recorder::{Intent, Recorded};
use crate::stop::Stop;
use crate::store::Blocking;
use crate::store::outbox::OutboxDir;
use muniment_evidence::genesis::Genesis;
use muniment_evidence::opening::Actor;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, watch as signal};

/// How long this replica may take to apply what the leader has committed.
const APPLY_MAX: Duration = Duration::from_secs(5);

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    pub name: String,
    pub address: String,
    pub agent: String,
}

impl Principal {
    /// Nobody in particular, until callers authenticate.
    pub fn anonymous(address: String, agent: String) -> Principal {
        Principal {
            name: "anonymous".to_owned(),
            address,
            agent,
        }
    }

    pub(crate) fn actor(&self) -> Actor {
        Actor {
            principal: self.name.clone(),
            address: self.address.clone(),
            agent: self.agent.clone(),
        }
    }
}

/// What a node has once its BOOT record is committed; before that it says nothing.
#[derive(Clone)]
pub struct Booted {
    pub recorder: Recorder,
    pub download_ends: DownloadEnds,
    /// `None` below the feature level that knows outboxes.
    pub outbox: Option<OutboxLane>,
    pub genesis: Arc<Genesis>,
    pub origin: String,
    /// Where the sign guard stood when this boot was allowed to sign.
    pub guarded: u64,
}

/// Who answered, and as of when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    pub node: u64,
    pub zone: String,
    pub region: String,
    pub applied_index: u64,
    /// Records that the answer folds.
    pub log_size: u64,
    /// Whatever was acknowledged so long before the call, or earlier, is in the answer;
    /// absent where nothing is proven, and where the answer is not of now.
    pub staleness_ms_max: Option<u64>,
    /// What the caller has seen by this answer; none before the founding.
    pub token: Option<Token>,
}

/// What the verbs work with; one per node.
pub struct Core {
    pub node: u64,
    pub zone: String,
    pub region: String,
    pub group: RaftGroup,
    pub reader: ReadBarrier,
    pub state: State,
    pub blocking: Blocking,
    pub bodies: Bodies,
    pub keys: Arc<Keyring>,
    pub key_book: Arc<keys::KeyBook>,
    pub clock: SharedClock,
    pub limits: Limits,
    pub profile: Profile,
    pub tenants: Vec<Tenant>,
    pub uploads: Arc<Semaphore>,
    pub downloads: Arc<Semaphore>,
    pub booted: signal::Receiver<Option<Booted>>,
    pub founder: admin::Founder,
    pub cosigned: cosigning::Cosigned,
    pub standings: standing::Standings,
    pub vigil: vigil::Vigil,
    pub witnesses: witnessing::Board,
    pub members: members::Desk,
    pub stop: Stop,
    /// Raised when the node stops taking work.
    pub draining: signal::Receiver<bool>,
    pub joining: joining::Joining,
    pub deferred: Deferred,
    /// Where the outboxes lie.
    pub outboxes: OutboxDir,
    /// Lent to downloads.
    pub memory: budgets::Memory,
    pub acquaintance: acquaintance::Acquaintance,
}

impl Core {
    /// The recorder, or why there is none yet.
    pub fn booted(&self) -> Result<Booted, Error> {
        let booted = self.booted.borrow().clone();
        booted.ok_or_else(|| self.unavailable("this node has not booted into a ledger yet"))
    }

    /// A passing fault, with the leader to try next.
    pub fn unavailable(&self, why: impl Into<String>) -> Error {
        Error::Unavailable {
            why: why.into(),
            leader_address: self.group.leader().map(|(_, peer)| peer.client_address),
        }
    }

    pub(crate) fn tenant(&self, name: &str) -> Result<&Tenant, Error> {
        let name = if name.is_empty() { "default" } else { name };
        self.tenants
            .iter()
            .find(|tenant| tenant.name == name)
            .ok_or_else(|| Error::not_found(format!("tenant {name:?}")))
    }

    /// Reads the tables off the async workers.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Tables) -> Result<T, crate::store::Error> + Send + 'static,
    ) -> Result<T, Error> {
        let state = self.state.clone();
        let found = self.blocking.run(move || read(&state.tables()?)).await;
        found.map_err(|error| self.storage_failed(&error))
    }

    /// Storage that fails or lies is a broken promise: the node stops, and its callers go
    /// elsewhere.
    pub(crate) fn storage_failed(&self, error: &crate::store::Error) -> Error {
        if !matches!(error, crate::store::Error::Stopped) {
            self.stop
                .broken(format!("storage failed under a request: {error}"));
        }
        self.unavailable("this node's storage failed")
    }

    /// Fills what a key leaves to its tenant's defaults.
    pub(crate) fn named(&self, mut key: Key) -> Result<Key, Error> {
        if let Key::Identity(identity) = &mut key {
            let tenant = self.tenant(&identity.tenant)?;
            for (field, default) in [
                (&mut identity.scheme, &tenant.scheme),
                (&mut identity.issuer, &tenant.issuer),
            ] {
                if field.is_empty() {
                    field.clone_from(default);
                }
            }
        }
        Ok(key)
    }

    /// Finds an invoice; a miss joins the node's read index before it is believed.
    pub(crate) async fn find(&self, key: &Key) -> Result<Uid, Error> {
        let key = &self.named(key.clone())?;
        for attempt in 0..2 {
            let wanted = key.clone();
            if let Some(uid) = self.read(move |tables| tables.find(&wanted)).await? {
                return Ok(uid);
            }
            if attempt == 0 {
                self.fresh(ReadLevel::Linearizable).await?;
            }
        }
        Err(Error::not_found(describe(key)))
    }

    /// Finds an invoice and folds it, in one visit to the store where it is there.
    pub(crate) async fn find_invoice(&self, key: &Key) -> Result<(Uid, Invoice), Error> {
        let wanted = self.named(key.clone())?;
        let found = self
            .read(move |tables| match tables.find(&wanted)? {
                Some(uid) => {
                    let size = tables.head()?.size;
                    Ok(tables.invoice(uid, size)?.map(|invoice| (uid, invoice)))
                }
                None => Ok(None),
            })
            .await?;
        if let Some(found) = found {
            return Ok(found);
        }
        let uid = self.find(key).await?;
        Ok((uid, self.invoice(uid).await?))
    }

    /// The invoice as of everything applied here.
    pub(crate) async fn invoice(&self, uid: Uid) -> Result<Invoice, Error> {
        let found = self
            .read(move |tables| {
                let size = tables.head()?.size;
                tables.invoice(uid, size)
            })
            .await?;
        found.ok_or_else(|| Error::not_found(format!("invoice {uid}")))
    }

    /// Records and waits until the record is applied here too. What takes longer than a
    /// request may is not undone: its outcome is unknown to the caller, who asks again.
    pub(crate) async fn record(&self, booted: &Booted, intent: Intent) -> Result<Recorded, Error> {
        let limit = Duration::from_millis(self.limits.request_deadline_ms);
        let recorded = tokio::time::timeout(limit, booted.recorder.record(intent)).await;
        let recorded = match recorded {
            Ok(Ok(recorded)) => recorded,
            Ok(Err(crate::recorder::RecorderError::Full)) => {
                return Err(Error::exhausted("the recorder's queue is full"));
            }
            Ok(Err(crate::recorder::RecorderError::Stopped)) => {
                return Err(self.unavailable("the node is stopping; the outcome is unknown"));
            }
            Err(_) => {
                return Err(self.unavailable(
                    "no quorum answered in time; the outcome is unknown: make the same call \
                     again to learn it",
                ));
            }
        };
        if !self.group.wait_size(recorded.index + 1, APPLY_MAX).await {
            return Err(self.unavailable("this replica lags behind; make the same call again"));
        }
        Ok(recorded)
    }
}

/// A key in words.
pub(crate) fn describe(key: &Key) -> String {
    match key {
        Key::Uid(uid) => format!("invoice {uid}"),
        Key::Identity(id) => format!(
            "invoice {} of issuer {} (tenant {}, scheme {})",
            id.number, id.issuer, id.tenant, id.scheme
        ),
        Key::AlternativeId { id, .. } => format!("invoice with {} {}", id.scheme, id.value),
        Key::RequestId { request_id, .. } => format!("invoice of request {request_id}"),
    }
}
