//! Rounds: the leader asks every member to cosign its applied head, again and again.
//!
//! Promises: a round is begun at once when somebody waits for one, else at most once per
//! second and only when the log has grown; each line is published as it arrives, so that
//! nobody waits for the slowest; sizes never go back. A round also compares the replicas:
//! a leader that a majority contradicts stops itself, and a node that contradicts what a
//! majority has cosigned is sent that note as a divergence notice. Leaves the counting to
//! [`super::tally`] and the effect of such a notice to [`super::accept`].

use super::cosigners::{self, Cosigners, Lines};
use super::messages::{self, CosignReply, CosignRequest};
use super::recent::RecentCheckpoint;
use super::tally::Tally;
use super::{AGAIN_PAUSE, Cosigning, ROUND_MAX, Want};
use crate::domain::ids::{NodeId, TreeSize};
use crate::raft::types::Peer;
use crate::recorder::booted::Booted;
use crate::transport::{Class, Failure, Method};
use bytes::Bytes;
use futures::stream::{FuturesUnordered, StreamExt as _};
use muniment_evidence::digest::Digest;
use muniment_evidence::note::Checkpoint;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::{Instant, sleep_until, timeout_at};

/// Between the beginnings of two rounds that are waited for.
const PAUSE_MIN: Duration = Duration::from_millis(2);
/// Between rounds that nobody waits for: also how old the newest note of a busy log is.
const EVERY: Duration = Duration::from_secs(1);
/// Questions to one member under way: a member that is slower than this many rounds is
/// left out of the next until it has caught up.
const ASKS_MAX: usize = 64;

/// Questions under way, by member.
#[derive(Default)]
pub struct Asks(Mutex<HashMap<NodeId, Arc<Semaphore>>>);

impl Asks {
    fn of(&self, node: NodeId) -> Arc<Semaphore> {
        let mut all = self.0.lock().expect("nobody panics with it");
        let places = all.entry(node);
        places
            .or_insert_with(|| Arc::new(Semaphore::new(ASKS_MAX)))
            .clone()
    }
}

/// The round that was begun last.
struct Last {
    size: TreeSize,
    began: Instant,
    /// How often notes had been asked for when it began.
    asked: u64,
    /// Set once every member has cosigned.
    complete: Arc<AtomicBool>,
}

impl Last {
    /// When the next round begins; `None` while there is no reason for one.
    fn next(&self, head: TreeSize, want: Want) -> Option<Instant> {
        let nothing_to_gain = head == self.size && self.complete.load(Ordering::Acquire);
        if want.size > self.size && head >= want.size {
            Some(self.began + PAUSE_MIN)
        } else if want.asked > self.asked && !nothing_to_gain {
            Some(self.began + AGAIN_PAUSE)
        } else if head > self.size {
            Some(self.began + EVERY)
        } else {
            None
        }
    }
}

/// What one round is about.
struct Round {
    cosigned: Cosigning,
    cosigners: Cosigners,
    checkpoint: Checkpoint,
    /// The checkpoint under the log key.
    signed: String,
    members: BTreeMap<NodeId, Peer>,
    voters: BTreeSet<NodeId>,
    complete: Arc<AtomicBool>,
}

impl Cosigning {
    /// Runs rounds whenever this node leads, for as long as it runs.
    pub(super) async fn lead(&self) {
        let group = &self.0.context.group;
        let mut booted = self.0.parts.booted.clone();
        let ready = booted.wait_for(Option::is_some).await;
        let Some(booted) = ready.ok().and_then(|booted| booted.clone()) else {
            return;
        };
        let mut leadership = None;
        loop {
            leadership = Some(group.leadership_changed(leadership).await);
            if group.is_leader() {
                self.lead_term(&booted).await;
            }
        }
    }

    async fn lead_term(&self, booted: &Booted) {
        let group = &self.0.context.group;
        let mut applied = group.watch_applied();
        let mut wants = self.0.wants.subscribe();
        let mut last = Last {
            size: TreeSize::EMPTY,
            began: Instant::now(),
            asked: 0,
            complete: Arc::default(),
        };
        while group.is_leader() {
            let head = applied.borrow_and_update().size;
            let want = *wants.borrow_and_update();
            let next = last.next(head, want);
            if next.is_some_and(|next| next <= Instant::now()) {
                let began = Instant::now();
                let complete = Arc::<AtomicBool>::default();
                let Some(size) = self.round(booted, complete.clone()).await else {
                    return;
                };
                last = Last {
                    size,
                    began,
                    asked: want.asked,
                    complete,
                };
                continue;
            }
            // Leadership may end without any of these, so none is waited for long.
            let until = next.unwrap_or(Instant::now() + EVERY);
            tokio::select! {
                () = sleep_until(until) => {}
                _ = applied.changed() => {}
                _ = wants.changed() => {}
            }
        }
    }

    /// Begins a round; returns its size once a majority has cosigned or all have answered.
    /// The answers of the others are taken on the side.
    async fn round(&self, booted: &Booted, complete: Arc<AtomicBool>) -> Option<TreeSize> {
        let context = &self.0.context;
        let state = context.state.clone();
        let head = context
            .blocking
            .run(move || state.read(|tables| tables.head()))
            .await;
        let head = match head {
            Ok(head) => head,
            Err(error) => {
                self.storage_failed(&error);
                return None;
            }
        };
        let status = context.group.status();
        let checkpoint = Checkpoint {
            origin: booted.origin.clone(),
            size: head.size,
            root: head.root,
        };
        let cosigners = match self.cosigners(booted).await {
            Ok(cosigners) => cosigners,
            Err(error) => {
                self.storage_failed(&error);
                return None;
            }
        };
        let Some(signed) = cosigners.checkpoint(&checkpoint) else {
            tracing::error!(
                size = checkpoint.size.get(),
                "a log key in force is not held here; no checkpoint is cosigned under this leader"
            );
            return Some(head.size);
        };
        let round = Round {
            signed,
            cosigners,
            cosigned: self.clone(),
            checkpoint,
            members: status.members,
            voters: status.voters.into_iter().collect(),
            complete,
        };
        let (settled, settles) = oneshot::channel();
        tokio::spawn(round.run(settled));
        // An error means that all have answered without a majority.
        let _ = settles.await;
        Some(head.size)
    }

    async fn ask(
        &self,
        node: NodeId,
        peer: Peer,
        ask: CosignRequest,
    ) -> (NodeId, Result<CosignReply, Failure>) {
        let context = &self.0.context;
        if node == context.group.node() {
            return (node, self.cosign(ask).await);
        }
        let places = self.0.asks.of(node);
        let Ok(_place) = places.try_acquire() else {
            let busy = Failure::Refused("too many questions wait for it".into());
            return (node, Err(busy));
        };
        let body = Bytes::from(ask.encode());
        let (class, method) = (Class::Control, Method::Cosign);
        let call = context
            .transport
            .call(peer.destination(node), class, method, body, ROUND_MAX);
        let answer = call.await.and_then(|bytes| CosignReply::decode(&bytes));
        (node, answer)
    }
}

impl Round {
    async fn run(self, settled: oneshot::Sender<()>) {
        let size = self.checkpoint.size;
        let before = self.cosigned.0.recent.of_size(size);
        let before = before.map_or_else(Lines::new, |posted| {
            self.cosigners.lines(size, &posted.note)
        });
        let ask = CosignRequest {
            size,
            root: self.checkpoint.root,
        };
        let asking: FuturesUnordered<_> = self
            .members
            .iter()
            .filter(|(node, _)| !before.contains_key(node))
            .map(|(node, peer)| self.cosigned.ask(*node, peer.clone(), ask))
            .collect();
        let mut tally = Tally::new(self.checkpoint.root, self.voters.clone(), before);
        let mut answers = asking;
        let (mut settled, mut told) = (Some(settled), BTreeSet::new());
        let limit = Instant::now() + ROUND_MAX;
        while let Ok(Some((node, answer))) = timeout_at(limit, answers.next()).await {
            self.take(&mut tally, node, answer);
            self.act_on_divergence(&tally, &mut told);
            if tally.is_agreed()
                && let Some(settled) = settled.take()
            {
                // Nobody waits any more once leadership is lost.
                let _ = settled.send(());
            }
        }
        let all = self.members.keys().all(|n| tally.lines().contains_key(n));
        self.complete.store(all, Ordering::Release);
    }

    fn take(&self, tally: &mut Tally, node: NodeId, answer: Result<CosignReply, Failure>) {
        let size = self.checkpoint.size;
        match answer {
            Ok(CosignReply::Lines(lines)) => {
                let Some(lines) = self.cosigners.hold(node, &self.checkpoint, lines) else {
                    tracing::error!(
                        node = node.get(),
                        size = size.get(),
                        "a cosignature does not hold; left out"
                    );
                    return;
                };
                tally.agrees(node, lines);
                self.cosigned.post(
                    &self.checkpoint,
                    cosigners::note(&self.signed, tally.lines()),
                    tally.lines().len(),
                    tally.is_agreed(),
                );
            }
            Ok(CosignReply::Other(root)) => {
                let own = self.checkpoint.root;
                tracing::error!(node = node.get(), size = size.get(), %root, %own, "a replica has another root");
                self.cosigned.count_divergence();
                tally.differs(node, root);
            }
            Err(failure) => {
                tracing::debug!(node = node.get(), size = size.get(), %failure, "not cosigned");
            }
        }
    }

    /// Acts on roots that differ; `told` are the nodes that have been told.
    fn act_on_divergence(&self, tally: &Tally, told: &mut BTreeSet<NodeId>) {
        let (size, own) = (self.checkpoint.size, self.checkpoint.root);
        let context = &self.cosigned.0.context;
        if let Some((root, nodes)) = tally.leader_diverged() {
            context.stop.broken(diverged(size, own, &nodes, root));
            return;
        }
        for (node, root) in tally.diverged() {
            if !told.insert(node) {
                continue;
            }
            let agreeing: Vec<NodeId> = tally.lines().keys().copied().collect();
            if node == context.group.node() {
                // Its head says what the others say, and its stored rows do not.
                context.stop.broken(diverged(size, root, &agreeing, own));
                return;
            }
            let Some(peer) = self.members.get(&node) else {
                continue;
            };
            let note = cosigners::note(&self.signed, tally.lines());
            let body = Bytes::from(messages::encode_notes(&[note]));
            let (class, method) = (Class::Control, Method::DivergenceNotice);
            let telling =
                context
                    .transport
                    .call(peer.destination(node), class, method, body, ROUND_MAX);
            tokio::spawn(async move {
                if let Err(failure) = telling.await {
                    // The next round finds it again.
                    tracing::warn!(node = node.get(), %failure, "a divergence notice was not delivered");
                }
            });
        }
    }
}

/// What a node says that stops because it differs.
pub(super) fn diverged(size: TreeSize, own: Digest, nodes: &[NodeId], root: Digest) -> String {
    format!(
        "this node's evidence log has diverged: at size {size} its root is {own}, and nodes \
         {nodes:?}, a majority, have root {root}; keep its disk for the inquiry, remove the \
         node and let it join under a new id"
    )
}

impl Cosigning {
    pub(super) fn post(&self, checkpoint: &Checkpoint, note: String, by: usize, agreed: bool) {
        self.0.recent.post(RecentCheckpoint {
            size: checkpoint.size,
            note: note.into(),
            cosigners: by,
            is_agreed: agreed,
            at: self.0.context.clock.monotonic(),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_round_begins_when_it_is_wanted_and_else_once_a_second() {
        let began = Instant::now();
        let last = Last {
            size: TreeSize::new(10),
            began,
            asked: 5,
            complete: Arc::default(),
        };
        let want = |size, asked| Want { size, asked };
        // Nobody waits: only growth is a reason.
        assert_eq!(
            last.next(TreeSize::new(10), want(TreeSize::new(10), 5)),
            None
        );
        assert_eq!(
            last.next(TreeSize::new(11), want(TreeSize::new(10), 5)),
            Some(began + EVERY)
        );
        // Somebody waits for what the last round did not cover.
        assert_eq!(
            last.next(TreeSize::new(12), want(TreeSize::new(12), 6)),
            Some(began + PAUSE_MIN)
        );
        // It is not applied here yet.
        assert_eq!(
            last.next(TreeSize::new(11), want(TreeSize::new(12), 5)),
            Some(began + EVERY)
        );
        // Somebody is not satisfied with what there is.
        assert_eq!(
            last.next(TreeSize::new(10), want(TreeSize::new(10), 6)),
            Some(began + AGAIN_PAUSE)
        );
        // All have cosigned: the same again would satisfy nobody.
        last.complete.store(true, Ordering::Release);
        assert_eq!(
            last.next(TreeSize::new(10), want(TreeSize::new(10), 6)),
            None
        );
    }
}
