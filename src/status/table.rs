//! The statuses of all nodes, as the leader knows them and tells them.
//!
//! From them come lags and recovery points, how durable an entry is beyond Raft's
//! majority, and whether replicas have the same state (I12): a node that a majority
//! contradicts stops. Promises: what is shown says how old it is; who is a member no more
//! is forgotten.

use super::agreement::{Agreement, StateComparison};
use super::messages::{AllStatuses, DurabilityRequest, NodeStatus, StatusReply, StatusRequest};
use super::own::OwnStatus;
use crate::domain::ids::{LogIndex, NodeId, Term, TreeSize};
use crate::objective::lag::{History, Lag, Sample};
use crate::raft::context::Context;
use crate::transport::{Failure, Method};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
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
}

/// See the module. Cheap to clone.
#[derive(Clone)]
pub struct StatusTable(Arc<Inner>);

struct Inner {
    own: OwnStatus,
    known: watch::Sender<BTreeMap<NodeId, KnownStatus>>,
    history: Mutex<History>,
    /// Made anew with each term that this node leads.
    agreement: Mutex<(Term, Agreement)>,
    /// Replicas found with another state, this one included.
    divergences: AtomicU64,
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
            agreement: Mutex::default(),
            divergences: AtomicU64::default(),
        }));
        let running = table.clone();
        tokio::spawn(async move {
            let stop = running.context().stop.clone();
            tokio::select! {
                () = stop.over() => {}
                () = running.report() => {}
            }
        });
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

    pub(super) fn context(&self) -> &Context {
        self.0.own.context()
    }

    /// How often a replica was found with another state than a majority.
    pub fn divergences(&self) -> u64 {
        self.0.divergences.load(Ordering::Relaxed)
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
        let peer = group.member(node)?;
        let known = group.disks().of(node).await.ok()?;
        let asked = self.0.own.exchange(&peer.address, false, ASK_MAX).await;
        let status = asked.ok()?.0.own;
        let same_disk = known.is_none_or(|known| known == status.identity.incarnation);
        (status.node() == node && same_disk).then_some(status)
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
            self.take(self.0.own.now(), Duration::ZERO);
            let group = &self.context().group;
            let leader = group.leader().filter(|(leader, _)| *leader != group.node());
            let Some((_, peer)) = leader else { continue };
            match self.0.own.exchange(&peer.address, true, REPORT_MAX).await {
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
        if let Some(at) = all.diverged_at {
            self.context().stop.broken(format!(
                "this node's replicated state has diverged: at Raft index {at} a majority has \
                 another state hash; keep its disk for the inquiry, remove the node and let it \
                 join under a new id"
            ));
            return;
        }
        for (status, age_ms) in all.statuses {
            if status.node() != self.context().group.node() {
                self.take(status, Duration::from_millis(age_ms));
            }
        }
    }

    fn take(&self, status: NodeStatus, age: Duration) {
        let at = self.context().clock.monotonic().saturating_sub(age);
        let members = self.context().group.status().members;
        self.0.known.send_modify(|known| {
            known.retain(|node, _| members.contains_key(node));
            known.insert(status.node(), KnownStatus { status, at });
        });
    }

    /// Answers a call of another node.
    pub async fn serve(&self, method: Method, body: Bytes) -> Result<Bytes, Failure> {
        match method {
            Method::Status => {
                let reply = self.answer(StatusRequest::decode(&body)?)?;
                Ok(Bytes::from(reply.encode()))
            }
            Method::Durable => {
                let reached = self.reach(DurabilityRequest::decode(&body)?).await?;
                Ok(Bytes::from(reached.encode()))
            }
            _ => Err(Failure::Refused("not about statuses".into())),
        }
    }

    fn answer(&self, request: StatusRequest) -> Result<StatusReply, Failure> {
        let group = &self.context().group;
        let is_member = group.member(request.own.node()).is_some();
        let of_all = match request.of_all && group.is_leader() && is_member {
            true => Some(self.answer_as_leader(request.own)?),
            false => None,
        };
        Ok(StatusReply {
            own: self.0.own.now(),
            of_all,
        })
    }

    fn answer_as_leader(&self, status: NodeStatus) -> Result<AllStatuses, Failure> {
        let diverged_at = match self.compare(&status) {
            StateComparison::Agrees => None,
            StateComparison::Diverged(at) => {
                self.0.divergences.fetch_add(1, Ordering::Relaxed);
                tracing::error!(
                    node = status.node().get(),
                    at = at.get(),
                    "a replica has another state"
                );
                Some(at)
            }
            StateComparison::LeaderDiverged(at) => {
                self.0.divergences.fetch_add(1, Ordering::Relaxed);
                self.context().stop.broken(format!(
                    "this node's replicated state has diverged: at Raft index {at} a majority \
                     of the members has another state hash than this node, which leads"
                ));
                return Err(Failure::Refused("this node has diverged".into()));
            }
        };
        self.take(status, Duration::ZERO);
        let now = self.context().clock.monotonic();
        let known = self.known().into_values().map(|known| {
            let age = now.saturating_sub(known.at);
            (known.status, age.as_millis() as u64)
        });
        Ok(AllStatuses {
            diverged_at,
            statuses: known.collect(),
        })
    }

    fn compare(&self, status: &NodeStatus) -> StateComparison {
        let group = &self.context().group;
        let at = status.progress.applied_index;
        if at == LogIndex::START {
            // Nothing is applied there, or the first entry alone: the index does not tell.
            return StateComparison::Agrees;
        }
        let Some(own) = group.state_hash_at(at) else {
            // Not applied here yet, or too long ago.
            return StateComparison::Agrees;
        };
        let raft = group.status();
        let voters: BTreeSet<NodeId> = raft.voters.into_iter().collect();
        let mut agreement = lock(&self.0.agreement);
        if agreement.0 != raft.term {
            *agreement = (raft.term, Agreement::default());
        }
        let same = own == status.progress.state_hash;
        let node = status.node();
        agreement.1.compare(group.node(), &voters, node, at, same)
    }
}
