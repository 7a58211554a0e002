//! The outbox lane: numbered, signed and durable at once, recorded later.
//!
//! Promises: a statement that was handed out as a promise is durable here first, and goes
//! to the leader in its place, as the same bytes, over restarts, until it is recorded or
//! the node stops. Nothing is handed out past the bounds. What a caller of a deferred
//! download was sent is noted for a DOWNLOAD_END once the DOWNLOAD has its index; a
//! restart forgets that (no END: possibly all delivered). A clean stop does not wait.
//!
//! * here: appending, one writer per outbox
//! * [`drain`]: to the leader, in order
//! * [`inventory`]: which outboxes there are, for BOOT to tell
//!
//! Tests: `src/recorder/lane_tests.rs`.

mod drain;
pub mod inventory;

use super::download_ends::DownloadEnds;
use super::lane::LaneContext;
use super::{Intent, StatementSigner};
use crate::domain::command::Submission;
use crate::domain::ids::{OutboxId, RecordIndex, Sequence};
use crate::ledger::roles::Target;
use crate::store::outbox::{APPEND_MAX, AppendRefusal, OutboxLog};
use crate::supervise::{self, Life};
use muniment_evidence::opening::{Delivered, Document};
use muniment_evidence::statement::Lane;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::{Notify, mpsc, oneshot};

/// Appends that wait for the writer; each has a caller, whose download counts in
/// `limits.downloads_in_flight` already.
const APPENDS_WAITING_MAX: usize = 4096;

/// What an outbox may hold.
#[derive(Clone, Copy, Debug)]
pub struct OutboxBounds {
    pub pending_max: u64,
    pub age_max: Duration,
}

/// Why nothing was promised. Nothing was numbered either.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OutboxRefusal {
    /// As many wait as may.
    Full(u64),
    /// The oldest has waited for longer than it may.
    Aged(Duration),
    /// The disk has no room.
    NoRoom(String),
    /// This node is to leave the ledger, and what it promised is recorded first.
    Leaving,
    Stopped,
}

/// How an outbox stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutboxStats {
    pub id: OutboxId,
    pub pending: u64,
    /// Age of the oldest that waits.
    pub oldest: Option<Duration>,
    /// Recorded since this node started.
    pub drained: u64,
}

type Answer = Result<PromisedDelivery, OutboxRefusal>;

struct Request {
    intent: Intent,
    reply: oneshot::Sender<Answer>,
}

/// Hands intents to the outbox. Cheap to clone.
#[derive(Clone)]
pub struct OutboxLane {
    queue: mpsc::Sender<Request>,
    shared: Arc<Shared>,
}

struct Shared {
    context: LaneContext,
    download_ends: DownloadEnds,
    bounds: OutboxBounds,
    /// Locked where blocking is allowed: it is held over an fsync.
    log: Mutex<OutboxLog>,
    /// Never held for long.
    counts: Mutex<Counts>,
    appended: Notify,
}

struct Counts {
    id: OutboxId,
    /// Appends that have begun and not ended: whoever asks counts them as promised.
    entering: u64,
    /// When each that waits was signed, the oldest first.
    since: VecDeque<Since>,
    drained: u64,
    /// Downloads of this process whose end is to be noted, by seq.
    downloads: HashMap<Sequence, Download>,
}

/// An age that goes on counting.
#[derive(Clone, Copy)]
struct Since {
    from: Duration,
    /// Age at `from`: of what an earlier process signed, by its clock.
    already: Duration,
}

/// What is known so far of a download that was promised.
enum Download {
    UnderWay,
    Recorded(RecordIndex),
    Ended {
        tenant: String,
        bytes: u64,
        complete: bool,
    },
}

/// A release that is durable in the outbox: its statement is the promise. Dropped, it has
/// ended.
pub struct PromisedDelivery {
    pub submission: Submission,
    shared: Arc<Shared>,
    /// Whose END it is to have; only downloads have one.
    tenant: Option<String>,
    bytes: u64,
    complete: bool,
}

impl OutboxLane {
    /// Goes on with an outbox that a BOOT of this node has named.
    pub fn start(
        context: LaneContext,
        download_ends: DownloadEnds,
        log: OutboxLog,
        bounds: OutboxBounds,
    ) -> OutboxLane {
        let (now, now_ms) = (
            context.signer.clock.monotonic(),
            context.signer.clock.now_ms(),
        );
        let since = log.waiting().iter().map(|submission| Since {
            from: now,
            already: Duration::from_millis(
                now_ms.saturating_sub(submission.statement.witnessed_at_ms),
            ),
        });
        let counts = Counts {
            id: log.id(),
            entering: 0,
            since: since.collect(),
            drained: 0,
            downloads: HashMap::new(),
        };
        let shared = Arc::new(Shared {
            context,
            download_ends,
            bounds,
            log: Mutex::new(log),
            counts: Mutex::new(counts),
            appended: Notify::new(),
        });
        let (queue, requests) = mpsc::channel(APPENDS_WAITING_MAX);
        let stop = &shared.context.stop;
        let writing = write(shared.clone(), requests);
        supervise::keep(stop, Life::UntilUnused, "an outbox's writer", writing);
        drain::start(shared.clone());
        OutboxLane { queue, shared }
    }

    /// Numbers, signs and makes durable; returns when that is so.
    pub async fn append(&self, intent: Intent) -> Result<PromisedDelivery, OutboxRefusal> {
        let (reply, receiver) = oneshot::channel();
        let queued = self.queue.try_send(Request { intent, reply });
        queued.map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => OutboxRefusal::Full(APPENDS_WAITING_MAX as u64),
            mpsc::error::TrySendError::Closed(_) => OutboxRefusal::Stopped,
        })?;
        receiver.await.unwrap_or(Err(OutboxRefusal::Stopped))
    }

    pub fn stats(&self) -> OutboxStats {
        self.shared.stats()
    }
}

impl Shared {
    fn stats(&self) -> OutboxStats {
        let now = self.context.signer.clock.monotonic();
        let counts = self.counts();
        let age = |since: &Since| now.saturating_sub(since.from) + since.already;
        OutboxStats {
            id: counts.id,
            pending: counts.since.len() as u64,
            oldest: counts.since.front().map(age),
            drained: counts.drained,
        }
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().expect("nobody panics with it")
    }

    fn log(&self) -> MutexGuard<'_, OutboxLog> {
        // A panic with it leaves numbers that may or may not be taken: stop.
        self.log.lock().expect("nobody panics with it")
    }

    /// Whether a change of the members in preparation, or one that was done, takes this node's
    /// lanes away.
    fn is_leaving(&self) -> bool {
        let (roles, own) = (self.context.group.roles(), self.context.signer.node);
        let stays = |target: &Target| target.nodes().any(|node| node == own);
        let preparing = roles.preparing.as_ref();
        roles.gone.contains(&own) || preparing.is_some_and(|change| !stays(&change.target))
    }

    /// How many more may be promised now.
    fn room(&self) -> Result<usize, OutboxRefusal> {
        if self.is_leaving() {
            return Err(OutboxRefusal::Leaving);
        }
        let stats = self.stats();
        if let Some(age) = stats.oldest.filter(|age| *age >= self.bounds.age_max) {
            return Err(OutboxRefusal::Aged(age));
        }
        match self.bounds.pending_max.saturating_sub(stats.pending) {
            0 => Err(OutboxRefusal::Full(stats.pending)),
            room => Ok(usize::try_from(room).unwrap_or(usize::MAX)),
        }
    }
}

/// What all outboxes of a node hold. Cheap to clone.
#[derive(Clone, Default)]
pub struct Promises(Arc<[Arc<Shared>]>);

impl Promises {
    pub fn of(outboxes: &[OutboxLane]) -> Promises {
        Promises(outboxes.iter().map(|lane| lane.shared.clone()).collect())
    }

    /// Those that are not recorded yet, and those that may be made just now.
    pub fn waiting(&self) -> u64 {
        let each = self.0.iter().map(|shared| {
            let counts = shared.counts();
            counts.since.len() as u64 + counts.entering
        });
        each.sum()
    }
}

/// Appends that have begun. Counted before it is asked whether the node leaves: so whoever hears,
/// after that is applied here, that nothing waits, has heard of all.
struct Entering<'a>(&'a Shared, u64);

impl<'a> Entering<'a> {
    fn begin(shared: &'a Shared, count: usize) -> Entering<'a> {
        let count = count as u64;
        shared.counts().entering += count;
        Entering(shared, count)
    }
}

impl Drop for Entering<'_> {
    fn drop(&mut self) {
        self.0.counts().entering -= self.1;
    }
}

impl PromisedDelivery {
    /// Counts what was handed to the transport; `complete` when that is all of it.
    pub fn sent(&mut self, bytes: u64, complete: bool) {
        (self.bytes, self.complete) = (bytes, complete);
    }
}

impl Drop for PromisedDelivery {
    /// It has ended, with what was counted until now: nothing, if its caller had gone before
    /// the promise was made.
    fn drop(&mut self) {
        let (seq, bytes, complete) = (self.submission.statement.seq, self.bytes, self.complete);
        let Some(tenant) = self.tenant.take() else {
            self.shared.counts().downloads.remove(&seq);
            return;
        };
        let recorded = {
            let mut counts = self.shared.counts();
            match counts.downloads.remove(&seq) {
                Some(Download::Recorded(index)) => Some(index),
                Some(_) => {
                    let tenant = tenant.clone();
                    let ended = Download::Ended {
                        tenant,
                        bytes,
                        complete,
                    };
                    counts.downloads.insert(seq, ended);
                    None
                }
                None => None,
            }
        };
        if let Some(download) = recorded {
            let delivered = Delivered {
                download,
                bytes,
                complete,
            };
            self.shared.download_ends.note_at_once(tenant, delivered);
        }
    }
}

/// The writer: what waits together is numbered together and shares an fsync.
async fn write(shared: Arc<Shared>, mut requests: mpsc::Receiver<Request>) {
    let stop = shared.context.stop.clone();
    let work = async {
        while let Some(first) = requests.recv().await {
            let mut batch = vec![first];
            while batch.len() < APPEND_MAX
                && let Ok(next) = requests.try_recv()
            {
                batch.push(next);
            }
            if let Err(error) = append(&shared, batch).await {
                if !matches!(error, crate::store::StoreError::Stopped) {
                    stop.broken(format!("the outbox failed: {error}"));
                }
                return;
            }
        }
    };
    tokio::select! {
        () = work => {}
        () = stop.over() => {}
    }
}

async fn append(shared: &Arc<Shared>, batch: Vec<Request>) -> Result<(), crate::store::StoreError> {
    // Its caller left before it was numbered: nothing has happened.
    let mut batch: Vec<_> = batch.into_iter().filter(|r| !r.reply.is_closed()).collect();
    let _entering = Entering::begin(shared, batch.len());
    let (room, why) = match shared.room() {
        Ok(room) => (room, OutboxRefusal::Full(shared.bounds.pending_max)),
        Err(why) => (0, why),
    };
    for request in batch.split_off(room.min(batch.len())) {
        // A caller that has gone needs no answer.
        let _ = request.reply.send(Err(why.clone()));
    }
    if batch.is_empty() {
        return Ok(());
    }
    let (intents, replies): (Vec<Intent>, Vec<_>) = (batch.into_iter())
        .map(|r| {
            let tenant = match &r.intent.document {
                Document::Download(download) => Some(download.tenant.clone()),
                _ => None,
            };
            (r.intent, (tenant, r.reply))
        })
        .unzip();
    let writing = shared.clone();
    let written = shared.context.blocking.run(move || {
        let mut log = writing.log();
        let submissions = number(&writing.context.signer, &log, &intents);
        match log.append(submissions.clone()) {
            Ok(()) => {
                // Under the lock of the log, so that the drain finds them counted.
                let from = writing.context.signer.clock.monotonic();
                let mut counts = writing.counts();
                for submission in &submissions {
                    let already = Duration::ZERO;
                    counts.since.push_back(Since { from, already });
                    let seq = submission.statement.seq;
                    counts.downloads.insert(seq, Download::UnderWay);
                }
                Ok(Ok(submissions))
            }
            Err(AppendRefusal::NoRoom(why)) => Ok(Err(why.to_string())),
            Err(AppendRefusal::Failed(error)) => Err(error),
        }
    });
    match written.await? {
        Ok(submissions) => {
            shared.appended.notify_one();
            for (submission, (tenant, reply)) in submissions.into_iter().zip(replies) {
                let shared = shared.clone();
                // It is recorded whether its caller waits or not.
                let _ = reply.send(Ok(PromisedDelivery {
                    submission,
                    shared,
                    tenant,
                    bytes: 0,
                    complete: false,
                }));
            }
        }
        Err(why) => {
            for (_, reply) in replies {
                let _ = reply.send(Err(OutboxRefusal::NoRoom(why.clone())));
            }
        }
    }
    Ok(())
}

fn number(signer: &StatementSigner, log: &OutboxLog, intents: &[Intent]) -> Vec<Submission> {
    let (mut seq, mut prev) = (log.next(), log.last());
    let write = |intent: &Intent| {
        let submission = signer.sign(intent, Lane::Outbox(log.id()), seq, prev);
        (seq, prev) = (seq.next(), submission.statement.hash());
        submission
    };
    intents.iter().map(write).collect()
}
