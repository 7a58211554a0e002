//! From the outbox to the leader: in order, the original bytes, until each is recorded.
//!
//! Promises: one batch is under way at a time; on a gap, a lost route or a new leader it
//! asks for a read index, looks up in the applied state how far the lane is, and goes on
//! from there. What contradicts the ledger stops the node. Leaves the file to the store.
//! Tests: `src/recorder/window_tests.rs` (what answers say), `src/recorder/lane_tests.rs`.

use super::{Download, Shared};
use crate::domain::command::{Answer, Submission};
use crate::domain::ids::{OutboxId, Sequence};
use crate::ledger::lanes::WINDOW;
use crate::ledger::state::Tables;
use crate::recorder::Recorded;
use crate::recorder::answers::{
    Doubt, Landed, LaneContradiction, Then, landed, outbox_agrees, place,
};
use crate::recorder::lane::{ENTRY_BYTES, fruitless_pause};
use crate::recorder::route::{LeaderRoute, RouteLost};
use crate::supervise::{self, Life};
use muniment_evidence::opening::Delivered;
use muniment_evidence::record::Outcome;
use muniment_evidence::statement::Lane;
use std::sync::Arc;
use std::time::Duration;

/// Bytes of one batch: half of what a strict lane puts into an entry, so that draining a
/// full outbox hardly delays what callers wait for.
const BATCH_BYTES: usize = ENTRY_BYTES / 2;
/// After this long without an answer the route is taken for lost.
const ANSWER_MAX: Duration = Duration::from_secs(3);
/// One question for a read index while resolving; asked again until answered.
const RESOLVE_ROUND: Duration = Duration::from_secs(2);
/// Pause between attempts to find a leader, and at least after a route that failed.
const ROUTE_PAUSE: Duration = Duration::from_millis(50);

/// The node must stop: the reason.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error("{}", .0.describe(&format!("outbox {}", .1)))]
    Contradiction(LaneContradiction, OutboxId),
    #[error("the outbox failed: {0}")]
    Store(#[from] crate::store::StoreError),
}

/// Drains for as long as the node runs.
pub(super) fn start(shared: Arc<Shared>) {
    let stop = shared.context.stop.clone();
    let mut worker = Worker {
        shared,
        route: None,
        fruitless: 0,
    };
    let broken = stop.clone();
    supervise::keep(&stop, Life::UntilStopped, "an outbox", async move {
        broken.broken(worker.work().await.to_string());
    });
}

struct Worker {
    shared: Arc<Shared>,
    route: Option<LeaderRoute>,
    /// How often in a row the route failed with nothing recorded in between.
    fruitless: u32,
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
            let first_seq = batch[0].statement.seq;
            let lane = Lane::Outbox(self.shared.counts().id);
            let answered = self.send(&batch).await;
            let Landed { recorded, then } = landed(lane, first_seq, batch.len(), answered);
            if !recorded.is_empty() {
                self.fruitless = 0;
            }
            let recorded = recorded.into_iter().map(|(seq, at)| (seq, Some(at)));
            self.settle(recorded.collect()).await?;
            match then {
                Then::GoOn => {}
                Then::LookUp(why) => return self.lose(&why).await,
                Then::Stop(contradiction) => return Err(self.broken(&contradiction)),
            }
        }
    }

    async fn lose(&mut self, why: &Doubt) -> Result<(), Broken> {
        match why {
            Doubt::Lost(lost) if lost.is_about_content() => {
                tracing::error!(%why, "the outbox's statements are not taken");
            }
            _ => tracing::debug!(%why, "the outbox does not drain now"),
        }
        self.route = None;
        let pause = fruitless_pause(self.fruitless).max(ROUTE_PAUSE);
        self.fruitless = self.fruitless.saturating_add(1);
        tokio::time::sleep(pause).await;
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
            return Err(RouteLost::NoLeader);
        };
        let answered = route.send(batch.to_vec()).await?;
        let answers = tokio::time::timeout(ANSWER_MAX, answered).await;
        answers.unwrap_or_else(|_| Err(RouteLost::NoAnswer))
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
        let look_up = move |tables: &Tables<'_>| {
            let log = shared.log();
            let lane = Lane::Outbox(log.id());
            let row = tables.lane(node, lane)?.unwrap_or_default();
            if let Err(contradiction) = outbox_agrees(&row, log.hash_before(row.next_seq)) {
                return Ok(Err(contradiction));
            }
            let mut recorded = Vec::new();
            for seq in log.first().up_to(row.next_seq) {
                let seen = match seq.after(WINDOW) < row.next_seq {
                    // Recorded so long ago that its place is forgotten.
                    true => None,
                    false => tables.lane_window(node, lane, seq)?,
                };
                recorded.push((seq, seen.as_ref().map(place)));
            }
            Ok(Ok(recorded))
        };
        let found = context.blocking.run(move || state.read(look_up));
        match found.await? {
            Ok(recorded) => self.settle(recorded).await,
            Err(contradiction) => Err(self.broken(&contradiction)),
        }
    }

    /// Drops these, which are the first ones; notes the ends of their downloads.
    async fn settle(&self, recorded: Vec<(Sequence, Option<Recorded>)>) -> Result<(), Broken> {
        let Some((last, _)) = recorded.last() else {
            return Ok(());
        };
        let (shared, first, next) = (self.shared.clone(), recorded[0].0, last.next());
        let dropped = self.shared.context.blocking.run(move || {
            let mut log = shared.log();
            assert_eq!(first, log.first(), "the first ones are recorded first");
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
            if let Some((tenant, delivered)) = self.known(seq, recorded) {
                self.shared.download_ends.note(tenant, delivered).await;
            }
        }
        Ok(())
    }

    /// The end of the download, if it has ended already.
    fn known(&self, seq: Sequence, recorded: Option<Recorded>) -> Option<(String, Delivered)> {
        let mut counts = self.shared.counts();
        let download = counts.downloads.remove(&seq)?;
        let Recorded { index, outcome } = recorded?;
        if outcome != Outcome::Ok {
            tracing::error!(index = index.get(), %outcome, "a promised download has no OK record");
            return None;
        }
        match download {
            Download::Ended {
                tenant,
                bytes,
                complete,
            } => {
                let delivered = Delivered {
                    download: index,
                    bytes,
                    complete,
                };
                Some((tenant, delivered))
            }
            Download::UnderWay | Download::Recorded(_) => {
                counts.downloads.insert(seq, Download::Recorded(index));
                None
            }
        }
    }

    fn broken(&self, contradiction: &LaneContradiction) -> Broken {
        let id = self.shared.counts().id;
        Broken::Contradiction(*contradiction, id)
    }
}
