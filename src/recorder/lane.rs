//! The strict lane of this boot: numbered, signed, batched, sent, resent until resolved.
//!
//! Promises: statements leave in the order of their numbers; several entries are in
//! flight; on a gap, a lost route or a new leader nothing is guessed: the lane asks for a
//! read index, looks up in the applied state what became of each statement, and sends the
//! rest again as the same bytes (go-back-N). A statement that is numbered is resolved or
//! the node stops. Leaves the meaning of outcomes to the callers.

use super::intake::Intake;
use super::route::{BatchAnswer, LeaderRoute, RouteLost};
use super::{Intent, Recorded, RecorderError, StatementSigner};
use crate::domain::command::{Answer, Submission};
use crate::ledger::state::State;
use crate::raft::group::RaftGroup;
use crate::raft::reader::ReadBarrier;
use crate::stop::Stop;
use crate::store::Blocking;
use crate::transport::Transport;
use futures::stream::{FuturesUnordered, StreamExt as _};
use muniment_evidence::digest::Digest;
use muniment_evidence::statement::Lane;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

/// Statements accepted but not yet resolved. Equal to the window that the ledger
/// remembers of a lane, so that every one of them can still be looked up.
pub const UNRESOLVED_MAX: usize = crate::ledger::lanes::WINDOW as usize;
/// An entry closes at this size: many statements, yet far below a frame.
const ENTRY_BYTES: usize = 512 << 10;
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

type Waiter = oneshot::Sender<Result<Recorded, RecorderError>>;

struct Request {
    intent: Intent,
    waiter: Option<Waiter>,
}

/// Hands intents to the lane. Cheap to clone.
#[derive(Clone)]
pub struct Recorder {
    queue: mpsc::Sender<Request>,
}

impl Recorder {
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
pub fn start(context: LaneContext, boot: u64, queue_max: usize) -> Recorder {
    let (queue, requests) = mpsc::channel(queue_max);
    let worker = Worker {
        context,
        lane: Lane::Strict(boot),
        requests,
        next_seq: 0,
        last: Digest::ZERO,
        unresolved: VecDeque::new(),
        sent: 0,
        route: None,
        in_flight: FuturesUnordered::new(),
        oldest_unsent: None,
        unsent_bytes: 0,
    };
    tokio::spawn(worker.run());
    Recorder { queue }
}

struct Pending {
    submission: Submission,
    waiter: Option<Waiter>,
    resolved: bool,
}

type Flight = futures::future::BoxFuture<'static, (u64, usize, Result<Vec<Answer>, RouteLost>)>;

struct Worker {
    context: LaneContext,
    lane: Lane,
    requests: mpsc::Receiver<Request>,
    next_seq: u64,
    last: Digest,
    /// Numbered statements in order; resolved ones leave from the front.
    unresolved: VecDeque<Pending>,
    /// How many of `unresolved` were sent over the present route.
    sent: usize,
    route: Option<LeaderRoute>,
    in_flight: FuturesUnordered<Flight>,
    oldest_unsent: Option<Instant>,
    /// Encoded length of all that was not sent over the present route.
    unsent_bytes: usize,
}

/// The node must stop: the reason.
struct Broken(String);

impl Worker {
    async fn run(mut self) {
        let stop = self.context.stop.clone();
        tokio::select! {
            broken = self.work() => {
                if let Err(Broken(why)) = broken {
                    stop.broken(why);
                }
            }
            () = stop.over() => {}
        }
    }

    /// Ends when every handle is gone and everything is resolved.
    async fn work(&mut self) -> Result<(), Broken> {
        let mut open = true;
        while open || !self.unresolved.is_empty() {
            let room = self.unresolved.len() < UNRESOLVED_MAX;
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
            if self.unsent_bytes >= ENTRY_BYTES && self.in_flight.len() < ENTRIES_IN_FLIGHT {
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
        let (seq, prev) = (self.next_seq, self.last);
        let submission = self
            .context
            .signer
            .sign(&request.intent, self.lane, seq, prev);
        self.next_seq += 1;
        self.last = submission.statement.hash();
        self.unsent_bytes += submission.encoded_length();
        self.unresolved.push_back(Pending {
            submission,
            waiter: request.waiter,
            resolved: false,
        });
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
        let (mut batch, mut bytes) = (Vec::new(), 0);
        for pending in self.unresolved.iter().skip(self.sent) {
            let length = pending.submission.encoded_length();
            if bytes + length > ENTRY_BYTES && !batch.is_empty() {
                break;
            }
            bytes += length;
            batch.push(pending.submission.clone());
        }
        let Some(first) = batch.first() else {
            self.oldest_unsent = None;
            return Ok(());
        };
        let (first, count) = (first.statement.seq, batch.len());
        match route.send(batch).await {
            Ok(answered) => {
                self.in_flight.push(flight(first, count, answered));
                self.sent += count;
                self.unsent_bytes -= bytes;
                let all_sent = self.sent == self.unresolved.len();
                self.oldest_unsent = (!all_sent).then(Instant::now);
                Ok(())
            }
            Err(lost) => self.resolve(lost).await,
        }
    }

    async fn landed(
        &mut self,
        (first, count, answered): (u64, usize, Result<Vec<Answer>, RouteLost>),
    ) -> Result<(), Broken> {
        let answers = match answered {
            Ok(answers) if answers.len() == count => answers,
            Ok(_) => return self.resolve(RouteLost("answers are missing".into())).await,
            Err(lost) => return self.resolve(lost).await,
        };
        for (seq, answer) in (first..).zip(answers) {
            match answer {
                Answer::Recorded { index, outcome } => {
                    self.settle(seq, Recorded { index, outcome });
                }
                Answer::Gap { next } => {
                    let why = format!("the ledger expects seq {next}, not {seq}");
                    return self.resolve(RouteLost(why)).await;
                }
                other => return Err(self.broken(seq, other)),
            }
        }
        Ok(())
    }

    fn broken(&self, seq: u64, answer: Answer) -> Broken {
        let what = match answer {
            Answer::Equivocation => "the ledger holds another statement under this number",
            Answer::LaneClosed => "a later boot of this node id has closed the lane",
            Answer::Forgotten => "the ledger no longer remembers this number",
            _ => "this ledger does not take it",
        };
        Broken(format!(
            "statement {seq} of lane {}: {what}; is another process running under this \
             node's identity?",
            self.lane
        ))
    }

    fn settle(&mut self, seq: u64, recorded: Recorded) {
        let Some(front) = self.unresolved.front() else {
            return;
        };
        let Some(at) = seq.checked_sub(front.submission.statement.seq) else {
            return;
        };
        if let Some(pending) = self.unresolved.get_mut(at as usize) {
            pending.resolved = true;
            if let Some(waiter) = pending.waiter.take() {
                // A caller that has gone finds the outcome by its request id.
                let _ = waiter.send(Ok(recorded));
            }
        }
        while self.unresolved.front().is_some_and(|p| p.resolved) {
            self.unresolved.pop_front();
            self.sent = self.sent.saturating_sub(1);
        }
    }

    /// Finds out from the applied state what became of what was sent, and starts over
    /// from there.
    async fn resolve(&mut self, lost: RouteLost) -> Result<(), Broken> {
        tracing::info!(why = %lost.0, unresolved = self.unresolved.len(), "resolving the lane");
        self.route = None;
        self.in_flight = FuturesUnordered::new();
        loop {
            match self.context.reader.linearizable(RESOLVE_ROUND).await {
                Ok(_) => break,
                Err(why) => tracing::debug!(why = %why.0, "not resolved yet"),
            }
        }
        let (node, lane) = (self.context.signer.node, self.lane);
        let sent: Vec<(u64, Digest)> = self
            .unresolved
            .iter()
            .filter(|pending| !pending.resolved)
            .map(|p| (p.submission.statement.seq, p.submission.statement.hash()))
            .collect();
        let state = self.context.state.clone();
        let found = self
            .context
            .blocking
            .run(move || {
                let tables = state.tables()?;
                let Some(row) = tables.lane(node, lane)? else {
                    return Ok(None);
                };
                let mut found = Vec::new();
                for (seq, hash) in sent.into_iter().take_while(|(seq, _)| *seq < row.next_seq) {
                    found.push((seq, hash, tables.lane_window(node, lane, seq)?));
                }
                Ok(Some((row, found)))
            })
            .await
            .map_err(|error| Broken(error.to_string()))?;
        let Some((row, found)) = found else {
            return Err(Broken(format!("the ledger does not know lane {lane}")));
        };
        for (seq, hash, window) in found {
            match window {
                Some(window) if window.hash == hash => {
                    let (index, outcome) = (window.index, window.outcome);
                    self.settle(seq, Recorded { index, outcome });
                }
                Some(_) => return Err(self.broken(seq, Answer::Equivocation)),
                None => return Err(self.broken(seq, Answer::Forgotten)),
            }
        }
        if row.closed {
            return Err(self.broken(row.next_seq, Answer::LaneClosed));
        }
        self.sent = 0;
        let unsent = self.unresolved.iter();
        self.unsent_bytes = unsent.map(|p| p.submission.encoded_length()).sum();
        self.oldest_unsent = (!self.unresolved.is_empty()).then(Instant::now);
        Ok(())
    }
}

fn flight(first: u64, count: usize, answered: BatchAnswer) -> Flight {
    Box::pin(async move {
        let answered = tokio::time::timeout(ANSWER_MAX, answered)
            .await
            .unwrap_or_else(|_| Err(RouteLost("no answer in time".into())));
        (first, count, answered)
    })
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}
