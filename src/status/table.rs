//! The statuses of all nodes, as the leader knows them and tells them.
//!
//! From them come lags and recovery points, and how durable an entry is beyond Raft's
//! majority. Promises: what is shown says how old it is; who is a member no more is
//! forgotten; what a member tells of another is for show, and nothing follows from it.

use super::messages::{AllStatuses, DurabilityRequest, NodeStatus, StatusReply, StatusRequest};
use super::own::OwnStatus;
use crate::domain::cause::Cause;
use crate::domain::ids::{NodeId, TreeSize};
use crate::objective::lag::{History, Lag, Sample};
use crate::raft::context::Context;
use crate::supervise::{self, Life};
use crate::transport::{Failure, Method};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::watch;

/// Between two reports of a node: an operator's figures are this old, and so is what a
/// level above Raft's majority waits for.
const REPORT_EVERY: Duration = Duration::from_millis(100);
/// A report that is not answered by then is made anew.
const REPORT_MAX: Duration = Duration::from_secs(1);
/// One member's answer to a direct question.
const ASK_MAX: Duration = Duration::from_secs(2);

/// A status, and when it was true by this node's clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownStatus {
    pub status: NodeStatus,
    pub at: Duration,
    /// By whose word.
    pub by: StatusSource,
}

/// Who told a status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatusSource {
    /// The node that it is about.
    Itself,
    /// Whoever led then.
    Leader,
}

/// See the module. Cheap to clone.
#[derive(Clone)]
pub struct StatusTable(Arc<Inner>);

struct Inner {
    own: OwnStatus,
    known: watch::Sender<BTreeMap<NodeId, KnownStatus>>,
    history: Mutex<History>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("nobody panics with it")
}

impl StatusTable {
    /// Starts reporting to the leader; it ends with the node.
    pub fn start(own: OwnStatus) -> StatusTable {
        let table = StatusTable(Arc::new(Inner {
            own,
            known: watch::channel(BTreeMap::new()).0,
            history: Mutex::default(),
        }));
        let running = table.clone();
        let stop = running.context().stop.clone();
        let reporting = async move { running.report().await };
        supervise::keep(
            &stop,
            Life::UntilDrained,
            "the reports to the leader",
            reporting,
        );
        table
    }

    /// What is known, by node.
    pub fn known(&self) -> BTreeMap<NodeId, KnownStatus> {
        self.0.known.borrow().clone()
    }

    /// The same, as it changes.
    pub(super) fn watch(&self) -> watch::Receiver<BTreeMap<NodeId, KnownStatus>> {
        self.0.known.subscribe()
    }

    pub(super) fn own(&self) -> &OwnStatus {
        &self.0.own
    }

    pub(super) fn context(&self) -> &Context {
        self.0.own.context()
    }

    /// How often a replica was found with another state than a majority.
    pub fn divergences(&self) -> u64 {
        self.0.own.replicas().divergences()
    }

    /// How far a holder of everything below `complete` is behind this node's log.
    pub fn lag(&self, complete: TreeSize) -> Lag {
        let now = self.context().clock.monotonic();
        lock(&self.0.history).lag(complete, now)
    }

    /// How a member is now, asked directly; `None` when it does not answer, or answers
    /// from another disk than the ledger knows it by.
    pub async fn ask(&self, node: NodeId) -> Option<NodeStatus> {
        let group = &self.context().group;
        if node == group.node() {
            return Some(self.0.own.now());
        }
        let to = group.member(node)?.destination(node);
        let asked = self.0.own.exchange(to, false, ASK_MAX).await;
        Some(asked.ok()?.0.own)
    }

    async fn report(&self) {
        let mut due = tokio::time::interval(REPORT_EVERY);
        due.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            due.tick().await;
            let applied = self.context().group.applied();
            lock(&self.0.history).note(Sample {
                size: applied.size,
                body_bytes: applied.body_bytes,
                at: self.context().clock.monotonic(),
            });
            self.take(self.0.own.now(), Duration::ZERO, StatusSource::Itself);
            let group = &self.context().group;
            let leader = group.leader().filter(|(leader, _)| *leader != group.node());
            let Some((node, peer)) = leader else { continue };
            let to = peer.destination(node);
            match self.0.own.exchange(to, true, REPORT_MAX).await {
                Ok((reply, _)) => match reply.of_all {
                    Some(all) => self.take_all(all),
                    None => tracing::debug!("nobody leads there any more"),
                },
                // It is away: the next one tells.
                Err(failure) => tracing::debug!(%failure, "a report was not taken"),
            }
        }
    }

    fn take_all(&self, all: AllStatuses) {
        for (status, age_ms) in all.statuses {
            if status.node() != self.context().group.node() {
                let age = Duration::from_millis(age_ms);
                self.take(status, age, StatusSource::Leader);
            }
        }
    }

    fn take(&self, status: NodeStatus, age: Duration, by: StatusSource) {
        let at = self.context().clock.monotonic().saturating_sub(age);
        let members = self.context().group.status().members;
        self.0.known.send_modify(|known| {
            known.retain(|node, _| members.contains_key(node));
            known.insert(status.node(), KnownStatus { status, at, by });
        });
    }

    /// Answers a call of another node.
    pub async fn serve(&self, from: NodeId, method: Method, body: Bytes) -> Result<Bytes, Failure> {
        match method {
            Method::Status => {
                let request = StatusRequest::decode(&body)?;
                let recognised = self.0.own.recognise(from, &request.own).await;
                recognised.map_err(|unheard| Failure::Refused(Cause::new(unheard)))?;
                let reply = self.answer(request);
                Ok(Bytes::from(reply.encode()))
            }
            Method::Durable => {
                let reached = self.reach(DurabilityRequest::decode(&body)?).await?;
                Ok(Bytes::from(reached.encode()))
            }
            Method::Promised => self.serve_promised(&body),
            _ => Err(Failure::Refused("not about statuses".into())),
        }
    }

    /// Whoever asks is who it says it is.
    fn answer(&self, request: StatusRequest) -> StatusReply {
        let group = &self.context().group;
        let mut of_all = None;
        if group.member(request.own.node()).is_some() {
            self.0.own.replicas().hear(&request.own);
            if request.of_all && group.is_leader() {
                self.take(request.own, Duration::ZERO, StatusSource::Itself);
                of_all = Some(self.all());
            }
        }
        StatusReply {
            own: self.0.own.now(),
            of_all,
        }
    }

    fn all(&self) -> AllStatuses {
        let now = self.context().clock.monotonic();
        let known = self.known().into_values().map(|known| {
            let age = now.saturating_sub(known.at);
            (known.status, age.as_millis() as u64)
        });
        AllStatuses {
            statuses: known.collect(),
        }
    }
}
