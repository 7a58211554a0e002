//! Permission to read: how fresh this replica is known to be.
//!
//! Promises: a read index that is given out covers everything acknowledged before it was
//! asked for. One is in flight per node and serves all who wait; those who come while it
//! is in flight wait for the next. Each one answered is also a proof of freshness, dated
//! by this node's own clock, and while there is a leader one is taken at least every
//! [`PROBE_EVERY`], so that local answers can say how stale they may be. Never uses
//! leases, and never compares clocks of two nodes. What a level needs, `objective/`
//! decides.

use super::group::RaftGroup;
use super::proposals::GroupRefusal;
use crate::clock::SharedClock;
use crate::domain::cause::Cause;
use crate::domain::ids::LogIndex;
use crate::objective::freshness::Freshness;
use crate::supervise::{self, Life};
use crate::transport::{Class, Method, Transport};
use bytes::Bytes;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// How long one question to the leader may take: above a quorum round of a healthy
/// group, below the shortest request deadline.
const READ_INDEX_MAX: Duration = Duration::from_millis(1000);
/// How long the answer may take to be applied here.
const APPLY_MAX: Duration = Duration::from_secs(5);
/// Pause before asking again when no leader is known.
const RETRY_PAUSE: Duration = Duration::from_millis(50);
/// Without a question for this long, one is asked for its proof alone: one small round of
/// the quorum per node and second, and bounds of about a second on local answers.
const PROBE_EVERY: Duration = Duration::from_secs(1);

/// One question fits into the wait for its answer to be applied.
const _: () = assert!(READ_INDEX_MAX.as_millis() < APPLY_MAX.as_millis());

/// Why a read may not go ahead. A passing fault.
#[derive(Clone, Debug)]
pub struct NotFresh(pub Cause);

type Waiter = oneshot::Sender<Result<LogIndex, NotFresh>>;

/// Cheap to clone.
#[derive(Clone)]
pub struct ReadBarrier {
    group: RaftGroup,
    waiting: mpsc::UnboundedSender<Waiter>,
    freshness: Arc<Mutex<Freshness>>,
}

impl ReadBarrier {
    pub fn start(
        group: RaftGroup,
        transport: Arc<dyn Transport>,
        clock: SharedClock,
    ) -> ReadBarrier {
        // Bounded by the requests in flight, each of which waits for its answer.
        let (waiting, mut queue) = mpsc::unbounded_channel::<Waiter>();
        let freshness = Arc::new(Mutex::new(Freshness::default()));
        let (asking, proofs) = (group.clone(), freshness.clone());
        let stop = group.stop.clone();
        supervise::keep(&stop, Life::UntilUnused, "the read index", async move {
            loop {
                let mut waiters = match tokio::time::timeout(PROBE_EVERY, queue.recv()).await {
                    Ok(Some(first)) => vec![first],
                    // The node has gone.
                    Ok(None) => return,
                    Err(_) if asking.leader().is_none() => continue,
                    Err(_) => Vec::new(),
                };
                while let Ok(next) = queue.try_recv() {
                    waiters.push(next);
                }
                // Before anything is sent: what was acknowledged until now is covered.
                let sent = clock.monotonic();
                let answer = ask(&asking, transport.as_ref()).await;
                match &answer {
                    Ok(index) => lock(&proofs).note(sent, *index),
                    Err(why) => tracing::debug!(why = %why.0, "no read index"),
                }
                for waiter in waiters {
                    // A waiter that has gone needs no answer.
                    let _ = waiter.send(answer.clone());
                }
            }
        });
        ReadBarrier {
            group,
            waiting,
            freshness,
        }
    }

    /// How stale this replica may be, as of `now` of the node's monotonic clock; `None`
    /// when nothing is proven. Grows while there is no leader to ask.
    pub fn staleness(&self, now: Duration) -> Option<Duration> {
        lock(&self.freshness).bound(self.group.applied().raft_index, now)
    }

    /// Asks for a read index within `limit`, however often leadership moves meanwhile.
    pub async fn read_index(&self, limit: Duration) -> Result<LogIndex, NotFresh> {
        let asked = async {
            loop {
                let (sender, receiver) = oneshot::channel();
                let stopped = || NotFresh("the node is stopping".into());
                self.waiting.send(sender).map_err(|_| stopped())?;
                match receiver.await.map_err(|_| stopped())? {
                    Ok(index) => return Ok(index),
                    Err(_) => tokio::time::sleep(RETRY_PAUSE).await,
                }
            }
        };
        tokio::time::timeout(limit, asked)
            .await
            .unwrap_or_else(|_| Err(NotFresh("no quorum answered in time".into())))
    }

    /// Waits until this replica misses nothing acknowledged before the call.
    pub async fn linearizable(&self, limit: Duration) -> Result<LogIndex, NotFresh> {
        let index = self.read_index(limit).await?;
        if self.group.wait_applied(index, limit.min(APPLY_MAX)).await {
            Ok(index)
        } else {
            Err(NotFresh(
                format!("this replica has not applied index {index} in time").into(),
            ))
        }
    }
}

fn lock(freshness: &Mutex<Freshness>) -> MutexGuard<'_, Freshness> {
    freshness.lock().expect("nobody panics with it")
}

async fn ask(group: &RaftGroup, transport: &dyn Transport) -> Result<LogIndex, NotFresh> {
    let Some(leader) = group.leader() else {
        return Err(NotFresh("no leader is known".into()));
    };
    if leader.0 == group.node() {
        let asked = tokio::time::timeout(READ_INDEX_MAX, group.leader_read_index()).await;
        return match asked {
            Ok(Ok(index)) => Ok(index),
            Ok(Err(
                refusal @ (GroupRefusal::NotLeader(_)
                | GroupRefusal::Unknown(_)
                | GroupRefusal::Stopped),
            )) => Err(NotFresh(Cause::new(refusal))),
            Err(_) => Err(NotFresh("no quorum answered in time".into())),
        };
    }
    let answer = transport
        .call(
            leader.1.destination(leader.0),
            Class::Control,
            Method::ReadIndex,
            Bytes::new(),
            READ_INDEX_MAX,
        )
        .await
        .map_err(|failure| NotFresh(Cause::new(failure)))?;
    match answer[..].try_into() {
        Ok(index) => Ok(LogIndex::new(u64::from_be_bytes(index))),
        Err(_) => Err(NotFresh("a read index is eight bytes".into())),
    }
}
