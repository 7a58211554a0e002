//! Checkpoints: what the ledger was at a size, vouched for by every node.
//!
//! **The problem.** A checkpoint is a size of the log and the root of its tree, signed by
//! the log key. That signature says who speaks, not that anybody else holds the records, nor
//! that all replicas have the same ones. An auditor wants both: cosignatures of several
//! nodes, in several zones, each with a key of its own. And a node whose records differ from
//! those of the others must find out soon, without anybody being believed alone.
//!
//! A *cosignature* of a node is one line under a checkpoint, and means: I hold every record
//! below this size durably, and every body that they name. A *note* is a checkpoint with
//! such lines.
//!
//! **The messages.** The leader asks a node to cosign a size and a root; the answer is its
//! lines, or the other root that it has at that size (or a refusal). With lines under ML-DSA
//! keys, which no record names, comes the node's word for the key. The leader sends notes
//! that a majority of the voters has cosigned to all members. It sends a *divergence notice*,
//! which is such a note, to a node that answered with another root. A node where somebody
//! waits for a note tells the leader for which size.
//!
//! **The order.** A round, on the leader ([`rounds`]): 1 sign the head of the log with the
//! log keys in force ([`keys`]); 2 ask every member to cosign it; 3 check and publish each
//! line as it arrives ([`recent`]); 4 once a majority has cosigned, spread the note
//! ([`spread`]). A member that is asked ([`signing`]): 1 wait until it has applied as much,
//! has flushed it, has verified every record ([`verified`]) and holds all bodies; 2 compare the root with its own; 3 see that it never
//! signed a larger size, nor another root of this one; 4 sign. A round begins at once when
//! somebody waits for one, else once a second while the log grows. Every node keeps the last
//! note of each second ([`keep`]), so that old records find a note too.
//!
//! **An example.** Nodes 1, 2 and 3; node 1 leads, the log has 900 records with root R. Node
//! 2 has its lines there in a millisecond: with node 1's own they are those of a majority,
//! the note is published and sent to 2 and 3. Node 3 is slow to flush; its lines come
//! 40 ms later, and the note with three cosigners replaces the one with two.
//!
//! **What can go wrong.** A member does not answer within a second: the round ends without
//! it. Node 3 answers that its root at 900 is S: once nodes 1 and 2 have cosigned R, node 3
//! is told by the note itself, checks the signatures, and stops ([`accept`]). Nodes 2 and 3
//! both answer S: a majority has S and the leader has not, so the leader stops. Each has
//! another root: nobody knows who is right, and nobody is convicted ([`tally`]). A node was
//! restored from an old copy of its disk: before it signs anything again it has to catch up
//! with what it signed before ([`guarding`]). A log key in force has no file here: this node
//! signs no checkpoint and says so.
//!
//! Promises: two notes of this node's never contradict each other; a waiter is answered
//! by the first note that satisfies it, and all who wait share rounds. Leaves to callers
//! which cosignatures satisfy them.
//!
//! * [`keys`]: the ledger's keys in force here, and signing with them; [`cosigners`]: whose
//!   cosignatures count; [`announcement`]: which ML-DSA keys a node says are its own
//! * [`guarding`]: the sign guard, kept in step
//! * [`heads`]: what all receipts under one checkpoint have in common
//! * [`signing`]: what must be true before this node cosigns; [`verified`]: that its log holds
//! * [`rounds`], [`tally`]: the leader's rounds, and what the answers come to
//! * [`accept`]: notes and divergence notices from elsewhere
//! * [`recent`]: the newest notes; [`spread`], [`keep`]: sent to the followers, kept on disk
//! * [`waiting`]: who waits for a note, and telling the leader
//! * [`messages`]: byte for byte
//!
//! Tests: `tests/cluster/cosignatures.rs`, `tests/cluster/divergence.rs`.

mod accept;
pub mod announcement;
pub mod cosigners;
pub mod guarding;
pub mod heads;
mod keep;
pub mod keys;
mod messages;
pub mod recent;
mod rounds;
mod signing;
mod spread;
pub mod tally;
mod verified;
mod waiting;

use crate::domain::ids::{NodeId, RecordIndex, TreeSize};
use crate::raft::context::Context;
use crate::recorder::booted::Booted;
use crate::store::StoreError;
use crate::store::flush::Flusher;
use crate::store::notes::NoteStore;
use crate::supervise::{self, Life};
use crate::transport::{Class, Failure, Method};
use announcement::Announcement;
use bytes::Bytes;
use cosigners::Cosigners;
use futures::stream::{FuturesUnordered, StreamExt as _};
use keys::KeysInForce;
use messages::CosignRequest;
use muniment_evidence::ml_dsa::MlDsaPublicKey;
use recent::{RecentCheckpoint, RecentCheckpoints};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
pub use verified::{BadRecord, Verified};
use waiting::{Waiter, Waiting};

/// How long a round may take, and each member for its answer: beyond it the member is too
/// far behind to cosign what is new.
const ROUND_MAX: Duration = Duration::from_secs(1);
/// Before somebody who is not satisfied is tried to be satisfied again.
const AGAIN_PAUSE: Duration = Duration::from_millis(50);
/// A follower may have applied a little more than the leader; who waits for more than
/// this is mistaken, and would keep the others waiting.
const AHEAD_MAX: u64 = 4096;
/// Kept notes that one waiter looks through before it waits for a new one: beyond this
/// many unsatisfying seconds a new note is had sooner.
const KEPT_LOOKED_AT_MAX: usize = 256;
/// A note younger than this is published although the log has grown since.
const PUBLISHED_AGE_MAX: Duration = Duration::from_secs(2);

/// What cosigning needs of its node besides the context.
pub struct CosigningParts {
    /// Of the ledger database.
    pub flusher: Flusher,
    pub notes: NoteStore,
    /// The body-complete index.
    pub complete: watch::Receiver<TreeSize>,
    pub booted: watch::Receiver<Option<Booted>>,
    pub keys_in_force: Arc<KeysInForce>,
}

/// What the leader is asked for: the largest size, and how often it was asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Want {
    size: TreeSize,
    asked: u64,
}

/// See the module. Cheap to clone.
#[derive(Clone)]
pub struct Cosigning(Arc<Inner>);

struct Inner {
    context: Context,
    parts: CosigningParts,
    recent: RecentCheckpoints,
    verified: watch::Receiver<Verified>,
    signed_sizes: signing::SignedSizes,
    asks: rounds::Asks,
    wants: watch::Sender<Want>,
    waiting: watch::Sender<Waiting>,
    /// The largest size of a kept note.
    kept_to: AtomicU64,
    /// The largest size that was published.
    published: AtomicU64,
    divergences: AtomicU64,
}

impl Cosigning {
    /// Starts what runs beside the calls; it ends with the node.
    pub fn start(context: Context, parts: CosigningParts) -> Cosigning {
        let verified = verified::start(context.clone(), parts.notes.clone(), parts.booted.clone());
        let cosigned = Cosigning(Arc::new(Inner {
            context,
            parts,
            recent: RecentCheckpoints::default(),
            verified,
            signed_sizes: signing::SignedSizes::default(),
            asks: rounds::Asks::default(),
            wants: watch::channel(Want::default()).0,
            waiting: watch::channel(Waiting::default()).0,
            kept_to: AtomicU64::new(0),
            published: AtomicU64::new(0),
            divergences: AtomicU64::new(0),
        }));
        let running = cosigned.clone();
        let stop = running.0.context.stop.clone();
        supervise::keep(&stop, Life::UntilStopped, "cosigning", async move {
            // None of them ends before the node.
            tokio::select! {
                () = running.lead() => {}
                () = running.spread() => {}
                () = running.keep() => {}
                () = running.forward_wants() => {}
            }
        });
        cosigned
    }

    /// The newest note that a majority has cosigned, if there is one since the start.
    pub fn newest(&self) -> Option<Arc<str>> {
        self.0.recent.newest().map(|posted| posted.note.clone())
    }

    /// The size of [`Self::newest`]; 0 when there is none.
    pub fn newest_size(&self) -> TreeSize {
        self.0
            .recent
            .newest()
            .map_or(TreeSize::EMPTY, |posted| posted.size)
    }

    /// The newest note, if it is no worse than a fresh checkpoint at size `head` under the
    /// log key alone; what is published never goes back in size.
    pub fn to_publish(&self, head: TreeSize) -> Option<Arc<str>> {
        let newest = self.0.recent.newest();
        let age =
            |posted: &RecentCheckpoint| self.0.context.clock.monotonic().saturating_sub(posted.at);
        let current = |p: &Arc<RecentCheckpoint>| p.size >= head || age(p) < PUBLISHED_AGE_MAX;
        if let Some(newest) = newest.filter(current)
            && self
                .0
                .published
                .fetch_max(newest.size.get(), Ordering::AcqRel)
                <= newest.size.get()
        {
            return Some(newest.note.clone());
        }
        self.0.published.fetch_max(head.get(), Ordering::AcqRel);
        None
    }

    /// Up to which record every body is held here.
    pub fn body_complete(&self) -> TreeSize {
        *self.0.parts.complete.borrow()
    }

    /// Up to which record this node has verified its log, and what ended that.
    pub fn verified(&self) -> Verified {
        self.0.verified.borrow().clone()
    }

    /// Roots other than this node's own that it has met.
    pub fn divergences(&self) -> u64 {
        self.0.divergences.load(Ordering::Relaxed)
    }

    /// Waits for a note that covers record `index` and satisfies the caller: first among
    /// the kept ones, the smallest size first, then among the recent ones, then in rounds
    /// that are begun for it. `None` when the deadline passes. Dropping it ends the wait.
    pub async fn wait(
        &self,
        index: RecordIndex,
        deadline: Instant,
        satisfied: impl Fn(&str) -> bool,
    ) -> Option<String> {
        let mut following = self.0.recent.follow();
        if let Some(kept) = self.kept(index, &satisfied).await {
            return Some(kept);
        }
        let _waiting = Waiter::enter(self, index.size_through());
        // Size to cosigners of what was looked at: no note is looked at twice.
        let mut seen: HashMap<TreeSize, usize> = HashMap::new();
        loop {
            let recent = following.borrow_and_update().clone();
            for posted in recent
                .iter()
                .filter(|posted| posted.size > index.size_before())
            {
                let cosigners = seen.insert(posted.size, posted.cosigners);
                if cosigners != Some(posted.cosigners) && satisfied(&posted.note) {
                    return Some(posted.note.to_string());
                }
            }
            let changed = timeout_at(deadline, following.changed()).await;
            if !matches!(changed, Ok(Ok(()))) {
                return None;
            }
        }
    }

    async fn kept(&self, index: RecordIndex, satisfied: impl Fn(&str) -> bool) -> Option<String> {
        let (mut from, mut looked_at) = (index, 0);
        while TreeSize::new(self.0.kept_to.load(Ordering::Acquire)).contains(from)
            && looked_at < KEPT_LOOKED_AT_MAX
        {
            let page = match self.0.parts.notes.above(from).await {
                Ok(page) => page,
                Err(error) => {
                    self.storage_failed(&error);
                    return None;
                }
            };
            from = page.last()?.size.next_index();
            looked_at += page.len();
            if let Some(kept) = page.into_iter().find(|kept| satisfied(&kept.note)) {
                return Some(kept.note);
            }
        }
        None
    }

    /// Answers a call of another node.
    pub async fn serve(&self, from: NodeId, method: Method, body: Bytes) -> Result<Bytes, Failure> {
        match method {
            Method::Cosign => {
                let answer = self.cosign(CosignRequest::decode(&body)?).await?;
                Ok(Bytes::from(answer.encode()))
            }
            Method::Announce => {
                let announced = self.announce().await?;
                Ok(Bytes::from(messages::encode_announcements(&announced)))
            }
            Method::Note => {
                // It has checked lines that nobody else can, under keys in no record.
                let leader = self.0.context.group.leader();
                if leader.is_none_or(|(leader, _)| leader != from) {
                    return Err(Failure::Refused("notes are taken from the leader".into()));
                }
                for note in messages::decode_notes(&body)? {
                    self.accept(&note).await?;
                }
                Ok(Bytes::new())
            }
            Method::DivergenceNotice => {
                for note in messages::decode_notes(&body)? {
                    self.take_divergence_notice(from, &note).await?;
                }
                Ok(Bytes::new())
            }
            Method::WantNote => {
                let size = messages::decode_want(&body)?;
                if !self.0.context.group.is_leader() {
                    return Err(Failure::Refused("not the leader".into()));
                }
                self.want(size);
                Ok(Bytes::new())
            }
            _ => Err(Failure::Refused("not about cosignatures".into())),
        }
    }

    /// The ML-DSA keys that each member cosigns with, as it says itself now. Members that
    /// do not answer are left out.
    pub async fn ml_dsa_keys(&self) -> Result<BTreeMap<NodeId, Vec<MlDsaPublicKey>>, Failure> {
        let context = &self.0.context;
        let (own, members) = (context.group.node(), context.group.status().members);
        let asking: FuturesUnordered<_> = members
            .into_iter()
            .map(|(node, peer)| async move {
                if node == own {
                    return (node, self.announce().await);
                }
                let (class, method) = (Class::Control, Method::Announce);
                let to = peer.destination(node);
                let call = context
                    .transport
                    .call(to, class, method, Bytes::new(), ROUND_MAX);
                let answer = call.await;
                (
                    node,
                    answer.and_then(|bytes| messages::decode_announcements(&bytes)),
                )
            })
            .collect();
        let answers: Vec<_> = asking.collect().await;
        let (cosigners, size) = self.cosigners_now().await?;
        let mut announced = BTreeMap::new();
        for (node, answer) in answers {
            match answer {
                Ok(keys) => {
                    announced.insert(node, cosigners.announced(node, size, keys));
                }
                Err(failure) => {
                    tracing::debug!(node = node.get(), %failure, "its ML-DSA keys are unknown");
                }
            }
        }
        Ok(announced)
    }

    async fn announce(&self) -> Result<Vec<Announcement>, Failure> {
        let (cosigners, size) = self.cosigners_now().await?;
        Ok(cosigners.announce(size))
    }

    async fn cosigners_now(&self) -> Result<(Cosigners, TreeSize), Failure> {
        let booted = self.0.parts.booted.borrow().clone();
        let booted = booted.ok_or_else(|| Failure::Refused("not booted yet".into()))?;
        let cosigners = self.cosigners(&booted).await;
        let cosigners = cosigners.map_err(|error| self.storage_failed(&error))?;
        let size = self.0.context.group.applied().size;
        Ok((cosigners, size))
    }

    /// The kept or newest note of exactly this size.
    pub async fn of_size(&self, size: TreeSize) -> Option<String> {
        if let Some(posted) = self.0.recent.of_size(size) {
            return Some(posted.note.to_string());
        }
        let page = self.0.parts.notes.above(size.last()?).await;
        match page {
            Ok(page) => page
                .into_iter()
                .find(|kept| kept.size == size)
                .map(|kept| kept.note),
            Err(error) => {
                self.storage_failed(&error);
                None
            }
        }
    }

    /// The next note of a size above this one; `None` when the node ends.
    pub async fn next_above(&self, size: TreeSize) -> Option<String> {
        let mut following = self.0.recent.follow();
        let above = |recent: &recent::RecentList| {
            recent
                .iter()
                .filter(|posted| posted.size > size)
                .max_by_key(|posted| posted.size)
                .cloned()
        };
        let found = following.wait_for(|recent| above(recent).is_some()).await;
        found
            .ok()
            .and_then(|recent| above(&recent))
            .map(|posted| posted.note.to_string())
    }

    /// The keys as of everything applied here.
    async fn cosigners(&self, booted: &Booted) -> Result<Cosigners, StoreError> {
        let signer = self
            .0
            .parts
            .keys_in_force
            .load_signer(&booted.origin)
            .await?;
        let node = self.0.context.group.node();
        Ok(Cosigners::of(booted.genesis.leaf_hash(), signer, node))
    }

    /// Asks the rounds of this node, which leads, for a note of at least `size`.
    fn want(&self, size: TreeSize) {
        let most = self.0.context.group.applied().size.grown_by(AHEAD_MAX);
        self.0.wants.send_modify(|want| {
            want.size = want.size.max(size.min(most));
            want.asked += 1;
        });
    }

    fn count_divergence(&self) {
        self.0.divergences.fetch_add(1, Ordering::Relaxed);
    }

    /// Storage that fails or lies is a broken promise: the node stops.
    fn storage_failed(&self, error: &StoreError) -> Failure {
        if !matches!(error, StoreError::Stopped) {
            let what = format!("storage failed while cosigning: {error}");
            self.0.context.stop.broken(what);
        }
        Failure::Refused("this node's storage failed".into())
    }
}
