//! The strict lane of this boot: numbered, signed, batched, sent, resent until resolved.
//!
//! Promises: statements leave in the order of their numbers; several entries are in
//! flight; on a gap, a lost route or a new leader nothing is guessed: the lane asks for a
//! read index, looks up in the applied state what became of each statement, and sends the
//! rest again as the same bytes (go-back-N). A statement that is numbered is resolved or
//! the node stops. What is numbered and sent is kept in [`super::window`], what the ledger
//! says is read in [`super::answers`]; here is what waits and what is sent. Leaves the
//! meaning of outcomes to the callers.
//! Tests: `src/recorder/lane_tests.rs`.

use super::answers::{Doubt, Landed, LaneContradiction, LookedUp, Then, landed, looked_up};
use super::intake::Intake;
use super::route::{
    BATCHES_ON_STREAM_MAX, BATCHES_SERVED_MAX, BatchAnswer, LeaderRoute, RouteLost,
};
use super::window::SendWindow;
pub use super::window::UNRESOLVED_MAX;
use super::{Intent, Recorded, RecorderError, StatementSigner};
use crate::domain::command::Answer;
use crate::domain::ids::{RecordIndex, Sequence};
use crate::ledger::rows::{LaneRow, WindowRow};
use crate::ledger::state::{State, Tables};
use crate::raft::group::RaftGroup;
use crate::raft::reader::ReadBarrier;
use crate::stop::Stop;
use crate::store::Blocking;
use crate::supervise::{self, Life};
use crate::transport::{FRAME_BYTES_MAX, Transport};
use futures::stream::{FuturesUnordered, StreamExt as _};
use muniment_evidence::digest::Digest;
use muniment_evidence::statement::Lane;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

/// An entry closes at this size: many statements, yet far below a frame.
pub(super) const ENTRY_BYTES: usize = 512 << 10;
/// ... or after this time, when others are in flight already.
const ENTRY_LINGER: Duration = Duration::from_millis(1);
/// Entries in flight: enough to cover a round trip and an fsync.
const ENTRIES_IN_FLIGHT: usize = 8;
/// After this long without an answer the route is taken for lost.
const ANSWER_MAX: Duration = Duration::from_secs(3);
/// One question for a read index while resolving; asked again until answered.
const RESOLVE_ROUND: Duration = Duration::from_secs(2);
/// Pause between attempts to find a leader.
const ROUTE_PAUSE: Duration = Duration::from_millis(20);
/// Between two routes that brought nothing, at most: a leader that answers at once, and
/// refuses, is not asked as fast as it answers.
const FRUITLESS_PAUSE_MAX: Duration = Duration::from_secs(1);

/// Sending never waits for the stream, and the leader verifies all that is in flight side
/// by side; an entry, and one more that Raft may append behind a full message, fit a frame.
const _: () = assert!(
    ENTRIES_IN_FLIGHT < BATCHES_ON_STREAM_MAX
        && ENTRIES_IN_FLIGHT <= BATCHES_SERVED_MAX
        && crate::raft::log::APPEND_BYTES_MAX + 2 * ENTRY_BYTES <= FRAME_BYTES_MAX
);

type Waiter = oneshot::Sender<Result<Recorded, RecorderError>>;

pub(super) struct Request {
    pub intent: Intent,
    waiter: Option<Waiter>,
}

#[cfg(test)]
impl Request {
    /// What the lane does when the record is there.
    pub(super) fn answer(self, recorded: Recorded) {
        if let Some(waiter) = self.waiter {
            let _ = waiter.send(Ok(recorded));
        }
    }
}

/// Hands intents to the lane. Cheap to clone.
#[derive(Clone)]
pub struct Recorder {
    queue: mpsc::Sender<Request>,
}

impl Recorder {
    /// One whose queue nobody serves but the test.
    #[cfg(test)]
    pub(super) fn unserved(queue_max: usize) -> (Recorder, mpsc::Receiver<Request>) {
        let (queue, requests) = mpsc::channel(queue_max);
        (Recorder { queue }, requests)
    }

    /// Records an intent; returns when its record is committed, whatever its outcome. If
    /// the caller goes away, a numbered statement goes on all the same.
    pub async fn record(&self, intent: Intent) -> Result<Recorded, RecorderError> {
        let (waiter, receiver) = oneshot::channel();
        let request = Request {
            intent,
            waiter: Some(waiter),
        };
        self.queue.try_send(request).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => RecorderError::Full,
            mpsc::error::TrySendError::Closed(_) => RecorderError::Stopped,
        })?;
        receiver.await.unwrap_or(Err(RecorderError::Stopped))
    }

    /// The same, and waits for room in the queue: what the node itself has to say. Room goes to
    /// who waits for it before it goes to callers, so that no load of theirs keeps it out.
    pub async fn record_in_turn(&self, intent: Intent) -> Result<Recorded, RecorderError> {
        let (waiter, receiver) = oneshot::channel();
        let request = Request {
            intent,
            waiter: Some(waiter),
        };
        let queued = self.queue.send(request).await;
        queued.map_err(|_| RecorderError::Stopped)?;
        receiver.await.unwrap_or(Err(RecorderError::Stopped))
    }

    /// Records without waiting for the outcome; waits for room in the queue.
    pub async fn note(&self, intent: Intent) -> Result<(), RecorderError> {
        let request = Request {
            intent,
            waiter: None,
        };
        self.queue
            .send(request)
            .await
            .map_err(|_| RecorderError::Stopped)
    }
}

/// What the lane works with.
#[derive(Clone)]
pub struct LaneContext {
    pub signer: StatementSigner,
    pub group: RaftGroup,
    pub reader: ReadBarrier,
    pub intake: Intake,
    pub state: State,
    pub blocking: Blocking,
    pub transport: Arc<dyn Transport>,
    pub stop: Stop,
}

/// Starts the lane of the boot whose BOOT record is at `boot`. `queue_max` statements
/// wait unnumbered; beyond that callers are turned away.
pub fn start(context: LaneContext, boot: RecordIndex, queue_max: usize) -> Recorder {
    let (queue, requests) = mpsc::channel(queue_max);
    let worker = Worker {
        context,
        lane: Lane::Strict(boot),
        requests,
        window: SendWindow::default(),
        route: None,
        in_flight: FuturesUnordered::new(),
        oldest_unsent: None,
        fruitless: 0,
    };
    let stop = worker.context.stop.clone();
    supervise::keep(&stop, Life::UntilUnused, "the lane", worker.run());
    Recorder { queue }
}

type Flight =
    futures::future::BoxFuture<'static, (Sequence, usize, Result<Vec<Answer>, RouteLost>)>;

struct Worker {
    context: LaneContext,
    lane: Lane,
    requests: mpsc::Receiver<Request>,
    window: SendWindow<Waiter>,
    /// To the leader that was last known; `None` until the next batch is sent.
    route: Option<LeaderRoute>,
    /// Batches of this route that are not answered.
    in_flight: FuturesUnordered<Flight>,
    /// Since when something waits to be sent.
    oldest_unsent: Option<Instant>,
    /// How often it was looked up in a row with nothing new recorded.
    fruitless: u32,
}

/// Number and hash of a statement, and what the ledger remembers under that number.
type Seen = Vec<(Sequence, Digest, Option<WindowRow>)>;

/// The node must stop: the reason.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error("{}", .0.describe(&format!("lane {}", .1)))]
    Contradiction(LaneContradiction, Lane),
    #[error("the ledger does not know lane {0}")]
    UnknownLane(Lane),
    #[error("the applied state cannot be read: {0}")]
    Store(#[from] crate::store::StoreError),
}

impl Worker {
    async fn run(mut self) {
        let stop = self.context.stop.clone();
        tokio::select! {
            broken = self.work() => {
                if let Err(why) = broken {
                    stop.broken(why.to_string());
                }
            }
            () = stop.over() => {}
        }
    }

    /// Ends when every handle is gone and everything is resolved.
    async fn work(&mut self) -> Result<(), Broken> {
        let mut open = true;
        while open || !self.window.is_empty() {
            let room = !self.window.is_full();
            let may_send = self.in_flight.len() < ENTRIES_IN_FLIGHT;
            let due = match (self.oldest_unsent, self.in_flight.is_empty()) {
                (Some(_), true) => Some(Instant::now()),
                (Some(since), false) => Some(since + ENTRY_LINGER),
                (None, _) => None,
            };
            tokio::select! {
                biased;
                Some(flight) = self.in_flight.next() => self.landed(flight).await?,
                request = self.requests.recv(), if open && room => match request {
                    None => open = false,
                    Some(request) => self.number(request),
                },
                () = sleep_until(due), if may_send && due.is_some() => self.send().await?,
            }
            if self.window.unsent_bytes() >= ENTRY_BYTES && self.in_flight.len() < ENTRIES_IN_FLIGHT
            {
                self.send().await?;
            }
        }
        Ok(())
    }

    fn number(&mut self, request: Request) {
        if request.waiter.as_ref().is_some_and(Waiter::is_closed) {
            // Its caller left before it was numbered: nothing has happened.
            return;
        }
        let (seq, prev) = self.window.next();
        let signer = &self.context.signer;
        let submission = signer.sign(&request.intent, self.lane, seq, prev);
        self.window.push(submission, request.waiter);
        self.oldest_unsent.get_or_insert_with(Instant::now);
    }

    /// Sends one entry over the route, opening one if need be.
    async fn send(&mut self) -> Result<(), Broken> {
        if self.route.is_none() {
            let context = &self.context;
            self.route = LeaderRoute::open(&context.group, &context.intake, &context.transport);
        }
        let Some(route) = &mut self.route else {
            tokio::time::sleep(ROUTE_PAUSE).await;
            return Ok(());
        };
        let Some(batch) = self.window.batch(ENTRY_BYTES) else {
            self.oldest_unsent = None;
            return Ok(());
        };
        let (first, count, bytes) = (batch.first_seq, batch.submissions.len(), batch.bytes);
        match route.send(batch.submissions).await {
            Ok(answered) => {
                self.in_flight.push(flight(first, count, answered));
                self.window.sent(first, count, bytes);
                self.oldest_unsent = self.window.has_unsent().then(Instant::now);
                Ok(())
            }
            Err(lost) => self.resolve(Doubt::Lost(lost)).await,
        }
    }

    /// A batch is answered, or its route is lost.
    async fn landed(
        &mut self,
        (first, count, answered): (Sequence, usize, Result<Vec<Answer>, RouteLost>),
    ) -> Result<(), Broken> {
        let Landed { recorded, then } = landed(self.lane, first, count, answered);
        self.settle(recorded);
        match then {
            Then::GoOn => Ok(()),
            Then::LookUp(why) => self.resolve(why).await,
            Then::Stop(contradiction) => Err(self.broken(&contradiction)),
        }
    }

    /// Tells those who wait.
    fn settle(&mut self, recorded: Vec<(Sequence, Recorded)>) {
        if !recorded.is_empty() {
            self.fruitless = 0;
        }
        for (seq, recorded) in recorded {
            if let Some(waiter) = self.window.resolve(seq) {
                // A caller that has gone finds the outcome by its request id.
                let _ = waiter.send(Ok(recorded));
            }
        }
    }

    /// Finds out from the applied state what became of what was sent, and starts over
    /// from there.
    async fn resolve(&mut self, why: Doubt) -> Result<(), Broken> {
        let unresolved = self.window.len();
        match &why {
            Doubt::Lost(lost) if lost.is_about_content() => {
                tracing::error!(%why, unresolved, "this node's statements are not taken");
            }
            _ => tracing::info!(%why, unresolved, "resolving the lane"),
        }
        self.route = None;
        self.in_flight = FuturesUnordered::new();
        tokio::time::sleep(fruitless_pause(self.fruitless)).await;
        self.fruitless = self.fruitless.saturating_add(1);
        while let Err(why) = self.context.reader.linearizable(RESOLVE_ROUND).await {
            tracing::debug!(why = %why.0, "not resolved yet");
        }
        let Some((row, seen)) = self.look_up().await? else {
            return Err(Broken::UnknownLane(self.lane));
        };
        let LookedUp {
            recorded,
            contradiction,
        } = looked_up(&row, &seen);
        self.settle(recorded);
        if let Some(contradiction) = contradiction {
            return Err(self.broken(&contradiction));
        }
        self.window.go_back();
        self.oldest_unsent = self.window.has_unsent().then(Instant::now);
        Ok(())
    }

    /// How far the applied state has the lane, and what it remembers of the statements that
    /// are not resolved here.
    async fn look_up(&mut self) -> Result<Option<(LaneRow, Seen)>, Broken> {
        let (node, lane) = (self.context.signer.node, self.lane);
        let (state, unresolved) = (self.context.state.clone(), self.window.unresolved());
        let look_up = move |tables: &Tables<'_>| {
            let Some(row) = tables.lane(node, lane)? else {
                return Ok(None);
            };
            let taken = |(seq, _): &(Sequence, Digest)| *seq < row.next_seq;
            let seen = unresolved.into_iter().take_while(taken);
            let seen =
                seen.map(|(seq, hash)| Ok((seq, hash, tables.lane_window(node, lane, seq)?)));
            Ok(Some((
                row,
                seen.collect::<Result<Seen, crate::store::StoreError>>()?,
            )))
        };
        let read = self.context.blocking.run(move || state.read(look_up));
        Ok(read.await?)
    }

    fn broken(&self, contradiction: &LaneContradiction) -> Broken {
        Broken::Contradiction(*contradiction, self.lane)
    }
}

fn flight(first: Sequence, count: usize, answered: BatchAnswer) -> Flight {
    Box::pin(async move {
        let answered = tokio::time::timeout(ANSWER_MAX, answered)
            .await
            .unwrap_or_else(|_| Err(RouteLost::NoAnswer));
        (first, count, answered)
    })
}

/// Nothing after the first loss, so that a change of leaders costs no more than it must.
pub(super) fn fruitless_pause(times: u32) -> Duration {
    match times.checked_sub(1) {
        None => Duration::ZERO,
        Some(more) => ROUTE_PAUSE
            .saturating_mul(1 << more.min(10))
            .min(FRUITLESS_PAUSE_MAX),
    }
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_that_bring_nothing_are_opened_ever_more_slowly() {
        let pauses = [0, 1, 2, 3, 7, u32::MAX].map(fruitless_pause);
        let ms = pauses.map(|pause| pause.as_millis());
        assert_eq!(ms, [0, 20, 40, 80, 1000, 1000]);
    }
}
