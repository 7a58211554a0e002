//! From the outbox to the leader: in order, the original bytes, until each is recorded.
//!
//! Promises: one batch is under way at a time; on a gap, a lost route or a new leader it
//! asks for a read index, looks up in the applied state how far the lane is, and goes on
//! from there. What contradicts the ledger stops the node. Leaves the file to the store.

use super::{Download, Shared};
use crate::domain::command::{Answer, Submission};
use crate::ledger::lanes::WINDOW;
use crate::recorder::Recorded;
use crate::recorder::route::{LeaderRoute, RouteLost};
use muniment_evidence::opening::Delivered;
use muniment_evidence::record::Outcome;
use muniment_evidence::statement::Lane;
use std::sync::Arc;
use std::time::Duration;

/// Bytes of one batch: half of what a strict lane puts into an entry, so that draining a
/// full outbox hardly delays what callers wait for.
const BATCH_BYTES: usize = 256 << 10;
/// After this long without an answer the route is taken for lost.
const ANSWER_MAX: Duration = Duration::from_secs(3);
/// One question for a read index while resolving; asked again until answered.
const RESOLVE_ROUND: Duration = Duration::from_secs(2);
/// Pause between attempts to find a leader, and after a route that failed.
const ROUTE_PAUSE: Duration = Duration::from_millis(50);

/// The node must stop: the reason.
struct Broken(String);

impl From<crate::store::Error> for Broken {
    fn from(error: crate::store::Error) -> Broken {
        Broken(format!("the outbox failed: {error}"))
    }
}

/// Drains for as long as the node runs.
pub(super) async fn drain(shared: Arc<Shared>) {
    let stop = shared.context.stop.clone();
    let mut worker = Worker {
        shared,
        route: None,
    };
    tokio::select! {
        Broken(why) = worker.work() => stop.broken(why),
        _ = stop.stopped() => {}
    }
}

struct Worker {
    shared: Arc<Shared>,
    route: Option<LeaderRoute>,
}

impl Worker {
    async fn work(&mut self) -> Broken {
        loop {
            if let Err(broken) = self.run().await {
                return broken;
            }
        }
    }

    /// From looking the lane up to the next loss of the route.
    async fn run(&mut self) -> Result<(), Broken> {
        self.resolve().await?;
        loop {
            let batch = self.front().await?;
            if batch.is_empty() {
                self.shared.appended.notified().await;
                continue;
            }
            match self.send(&batch).await {
                Ok(answers) => {
                    if let Err(lost) = self.landed(&batch, answers).await? {
                        return self.lose(lost).await;
                    }
                }
                Err(lost) => return self.lose(lost).await,
            }
        }
    }

    async fn lose(&mut self, lost: RouteLost) -> Result<(), Broken> {
        tracing::debug!(why = %lost.0, "the outbox does not drain now");
        self.route = None;
        tokio::time::sleep(ROUTE_PAUSE).await;
        Ok(())
    }

    /// What is to be recorded next, as much as one batch may have.
    async fn front(&self) -> Result<Vec<Submission>, Broken> {
        let shared = self.shared.clone();
        let front = self.shared.context.blocking.run(move || {
            let (mut batch, mut bytes) = (Vec::new(), 0);
            for submission in shared.log().waiting() {
                bytes += submission.encoded_length();
                if bytes > BATCH_BYTES && !batch.is_empty() {
                    break;
                }
                batch.push(submission.clone());
            }
            Ok(batch)
        });
        Ok(front.await?)
    }

    async fn send(&mut self, batch: &[Submission]) -> Result<Vec<Answer>, RouteLost> {
        let context = &self.shared.context;
        if self.route.is_none() {
            self.route = LeaderRoute::open(&context.group, &context.intake, &context.transport);
        }
        let Some(route) = &mut self.route else {
            return Err(RouteLost("no leader is known".into()));
        };
        let answered = route.send(batch.to_vec()).await?;
        let answers = tokio::time::timeout(ANSWER_MAX, answered).await;
        let answers = answers.unwrap_or_else(|_| Err(RouteLost("no answer in time".into())))?;
        if answers.len() != batch.len() {
            return Err(RouteLost("answers are missing".into()));
        }
        Ok(answers)
    }

    /// Drops what was recorded, up to the first that was not.
    async fn landed(
        &self,
        batch: &[Submission],
        answers: Vec<Answer>,
    ) -> Result<Result<(), RouteLost>, Broken> {
        let mut recorded = Vec::new();
        let mut ended = Ok(());
        for (submission, answer) in batch.iter().zip(answers) {
            let seq = submission.statement.seq;
            match answer {
                Answer::Recorded { index, outcome } => {
                    recorded.push((seq, Some(Recorded { index, outcome })));
                }
                Answer::Gap { next } => {
                    ended = Err(RouteLost(format!(
                        "the ledger expects seq {next}, not {seq}"
                    )));
                    break;
                }
                // It is recorded, but which record is no longer known by number.
                Answer::Forgotten => {
                    ended = Err(RouteLost(format!("the ledger has long had seq {seq}")));
                    break;
                }
                Answer::Equivocation => {
                    return Err(self.broken(seq, "the ledger holds another statement there"));
                }
                Answer::LaneClosed => {
                    return Err(self.broken(seq, "the lane is closed"));
                }
                Answer::WrongLedger => {
                    return Err(self.broken(seq, "this ledger does not take it"));
                }
            }
        }
        self.settle(recorded).await?;
        Ok(ended)
    }

    /// Finds out from the applied state how far the lane is, and drops what it has.
    async fn resolve(&self) -> Result<(), Broken> {
        let context = &self.shared.context;
        if self.front().await?.is_empty() {
            return Ok(());
        }
        while let Err(why) = context.reader.linearizable(RESOLVE_ROUND).await {
            tracing::debug!(why = %why.0, "the outbox is not resolved yet");
        }
        let (shared, state) = (self.shared.clone(), context.state.clone());
        let node = context.signer.node;
        let found = context.blocking.run(move || {
            let log = shared.log();
            let lane = Lane::Outbox(log.id());
            let tables = state.tables()?;
            let row = tables.lane(node, lane)?.unwrap_or_default();
            let (first, seq) = (log.first(), row.next_seq);
            if row.closed {
                return Ok(Err((seq, "the lane is closed")));
            }
            if log.hash_before(seq) != Some(row.last) {
                return Ok(Err((seq, "the ledger holds another past")));
            }
            // Each names the hash of the one before, so that the last speaks for all.
            let mut recorded = Vec::new();
            for seq in first..seq {
                let seen = match seq + WINDOW < row.next_seq {
                    true => None,
                    false => tables.lane_window(node, lane, seq)?,
                };
                let place = |seen: crate::ledger::rows::WindowRow| Recorded {
                    index: seen.index,
                    outcome: seen.outcome,
                };
                recorded.push((seq, seen.map(place)));
            }
            Ok(Ok(recorded))
        });
        match found.await? {
            Ok(recorded) => self.settle(recorded).await,
            Err((seq, why)) => Err(self.broken(seq, why)),
        }
    }

    /// Drops these, which are the first ones; notes the ends of their downloads.
    async fn settle(&self, recorded: Vec<(u64, Option<Recorded>)>) -> Result<(), Broken> {
        let Some((last, _)) = recorded.last() else {
            return Ok(());
        };
        let (shared, next) = (self.shared.clone(), last + 1);
        let dropped = self.shared.context.blocking.run(move || {
            let mut log = shared.log();
            log.drained(next)?;
            let waiting = log.waiting().len();
            let mut counts = shared.counts();
            while counts.since.len() > waiting {
                counts.since.pop_front();
                counts.drained += 1;
            }
            Ok(())
        });
        dropped.await?;
        for (seq, recorded) in recorded {
            if let Some(delivered) = self.known(seq, recorded) {
                self.shared.download_ends.note(delivered).await;
            }
        }
        Ok(())
    }

    /// The end of the download, if it has ended already.
    fn known(&self, seq: u64, recorded: Option<Recorded>) -> Option<Delivered> {
        let mut counts = self.shared.counts();
        let download = counts.downloads.remove(&seq)?;
        let Recorded { index, outcome } = recorded?;
        if outcome != Outcome::Ok {
            tracing::error!(index, %outcome, "a promised download has no OK record");
            return None;
        }
        match download {
            Download::Ended { bytes, complete } => Some(Delivered {
                download: index,
                bytes,
                complete,
            }),
            Download::UnderWay | Download::Recorded(_) => {
                counts.downloads.insert(seq, Download::Recorded(index));
                None
            }
        }
    }

    fn broken(&self, seq: u64, why: &str) -> Broken {
        let id = self.shared.counts().id;
        Broken(format!(
            "statement {seq} of outbox {id}: {why}; is another process running under this \
             node's identity?"
        ))
    }
}
