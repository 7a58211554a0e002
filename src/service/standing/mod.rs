//! How every node stands, known at every node.
//!
//! Each node reports to the leader a few times a second and is answered with how all
//! others stand. From that come lags and recovery points, how durable an entry is beyond
//! Raft's majority, and whether replicas have the same state (I12): a node that a majority
//! contradicts stops.
//!
//! Promises: a report is small, urgent traffic and never waits for bulk; what is shown
//! says how old it is; nothing here is needed for a commit. Trusts what nodes say of
//! themselves, as Raft does; what must be proven is cosigned ([`super::cosigning`]).
//!
//! * [`messages`]: byte for byte
//! * [`agreement`]: whose state is astray
//! * [`durable`]: waiting until a level is reached

pub mod agreement;
pub mod durable;
pub mod messages;

use crate::clock::SharedClock;
use crate::objective::lag::{History, Lag, Sample};
use crate::raft::group::RaftGroup;
use crate::stop::Stop;
use crate::transport::{Class, Failure, Method, Transport};
use agreement::{Agreement, Verdict};
use bytes::Bytes;
use messages::{Ask, Board, Standing};
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

/// What a node knows of itself beyond the group.
pub struct Own {
    pub complete: watch::Receiver<u64>,
    /// Fills in what other floors know: disk, syncs, repair, readiness.
    pub fill: Box<dyn Fn(&mut Standing) + Send + Sync>,
}

/// What standings work with.
pub struct Means {
    pub group: RaftGroup,
    pub clock: SharedClock,
    pub stop: Stop,
    pub transport: Arc<dyn Transport>,
    pub own: Own,
}

/// A standing, and when it was true by this node's clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub standing: Standing,
    pub at: Duration,
}

/// See the module. Cheap to clone.
#[derive(Clone)]
pub struct Standings(Arc<Inner>);

struct Inner {
    means: Means,
    board: watch::Sender<BTreeMap<u64, Seen>>,
    history: Mutex<History>,
    /// Made anew with each term that this node leads.
    agreement: Mutex<(u64, Agreement)>,
    /// Replicas found with another state, this one included.
    divergences: AtomicU64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("nobody panics with it")
}

impl Standings {
    /// Starts reporting; it ends with the node.
    pub fn start(means: Means) -> Standings {
        let standings = Standings(Arc::new(Inner {
            means,
            board: watch::channel(BTreeMap::new()).0,
            history: Mutex::default(),
            agreement: Mutex::default(),
            divergences: AtomicU64::default(),
        }));
        let running = standings.clone();
        tokio::spawn(async move {
            let stop = running.0.means.stop.clone();
            tokio::select! {
                () = stop.over() => {}
                () = running.report() => {}
            }
        });
        standings
    }

    /// What is known, by node.
    pub fn board(&self) -> BTreeMap<u64, Seen> {
        self.0.board.borrow().clone()
    }

    /// How often a replica was found with another state than a majority.
    pub fn divergences(&self) -> u64 {
        self.0.divergences.load(Ordering::Relaxed)
    }

    /// How far a holder of everything below `complete` is behind this node's log.
    pub fn lag(&self, complete: u64) -> Lag {
        let now = self.0.means.clock.monotonic();
        lock(&self.0.history).lag(complete, now)
    }

    fn own(&self) -> Standing {
        let means = &self.0.means;
        let applied = means.group.applied();
        let mut standing = Standing {
            node: means.group.node(),
            applied_index: applied.raft_index,
            state_hash: applied.state_hash,
            log_size: applied.size,
            body_complete: *means.own.complete.borrow(),
            ..Standing::default()
        };
        lock(&self.0.history).note(Sample {
            size: applied.size,
            body_bytes: applied.body_bytes,
            at: means.clock.monotonic(),
        });
        (means.own.fill)(&mut standing);
        standing
    }

    async fn report(&self) {
        let mut due = tokio::time::interval(REPORT_EVERY);
        due.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            due.tick().await;
            let own = self.own();
            let means = &self.0.means;
            match means.group.leader() {
                Some((leader, _)) if leader == means.group.node() => self.take(own, Duration::ZERO),
                Some((_, peer)) => {
                    let body = Bytes::from(own.encode());
                    self.take(own, Duration::ZERO);
                    let (class, method) = (Class::Control, Method::Report);
                    let call = means
                        .transport
                        .call(peer.address, class, method, body, REPORT_MAX);
                    match call.await.and_then(|answer| Board::decode(&answer)) {
                        Ok(board) => self.hear(board),
                        // Nobody leads there any more, or it is away: the next one tells.
                        Err(failure) => tracing::debug!(%failure, "a report was not taken"),
                    }
                }
                None => self.take(own, Duration::ZERO),
            }
        }
    }

    fn hear(&self, board: Board) {
        if let Some(at) = board.diverged_at {
            self.0.means.stop.broken(format!(
                "this node's replicated state has diverged: at Raft index {at} a majority has \
                 another state hash; keep its disk for the inquiry, remove the node and let it \
                 join under a new id"
            ));
            return;
        }
        for (standing, age_ms) in board.standings {
            if standing.node != self.0.means.group.node() {
                self.take(standing, Duration::from_millis(age_ms));
            }
        }
    }

    fn take(&self, standing: Standing, age: Duration) {
        let at = self.0.means.clock.monotonic().saturating_sub(age);
        let members = self.0.means.group.status().members;
        self.0.board.send_modify(|board| {
            // Who is a member no more is forgotten, so that the board stays small.
            board.retain(|node, _| members.contains_key(node));
            board.insert(standing.node, Seen { standing, at });
        });
    }

    /// Answers a call of another node.
    pub async fn serve(&self, method: Method, body: Bytes) -> Result<Bytes, Failure> {
        match method {
            Method::Report => self.answer(Standing::decode(&body)?),
            Method::Durable => {
                let reached = self.reach(Ask::decode(&body)?).await?;
                Ok(Bytes::from(reached.encode()))
            }
            _ => Err(Failure::Refused("not about standings".into())),
        }
    }

    fn answer(&self, standing: Standing) -> Result<Bytes, Failure> {
        let group = &self.0.means.group;
        if !group.is_leader() {
            return Err(Failure::Refused("not the leader".into()));
        }
        if group.member(standing.node).is_none() {
            return Err(Failure::Refused("not a member".into()));
        }
        let diverged_at = match self.compare(&standing) {
            Verdict::Nothing => None,
            Verdict::Astray(at) => {
                self.0.divergences.fetch_add(1, Ordering::Relaxed);
                tracing::error!(node = standing.node, at, "a replica has another state");
                Some(at)
            }
            Verdict::Outvoted(at) => {
                self.0.divergences.fetch_add(1, Ordering::Relaxed);
                self.0.means.stop.broken(format!(
                    "this node's replicated state has diverged: at Raft index {at} a majority \
                     of the members has another state hash than this node, which leads"
                ));
                return Err(Failure::Refused("this node has diverged".into()));
            }
        };
        self.take(standing, Duration::ZERO);
        let now = self.0.means.clock.monotonic();
        let standings = self
            .board()
            .into_values()
            .map(|seen| {
                let age = now.saturating_sub(seen.at);
                (seen.standing, age.as_millis() as u64)
            })
            .collect();
        let board = Board {
            diverged_at,
            standings,
        };
        Ok(Bytes::from(board.encode()))
    }

    fn compare(&self, standing: &Standing) -> Verdict {
        let group = &self.0.means.group;
        if standing.applied_index == 0 {
            // Nothing is applied there, or the first entry alone: the index does not tell.
            return Verdict::Nothing;
        }
        let Some(own) = group.state_hash_at(standing.applied_index) else {
            // Not applied here yet, or too long ago.
            return Verdict::Nothing;
        };
        let status = group.status();
        let voters: BTreeSet<u64> = status.voters.into_iter().collect();
        let mut agreement = lock(&self.0.agreement);
        if agreement.0 != status.term {
            *agreement = (status.term, Agreement::default());
        }
        let (node, at) = (standing.node, standing.applied_index);
        let same = own == standing.state_hash;
        agreement.1.compare(group.node(), &voters, node, at, same)
    }
}
