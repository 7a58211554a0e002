//! Cosignatures: every node vouches for checkpoints with a key of its own.
//!
//! A cosignature means: I hold every record below this size durably, and every body that
//! they name. The leader runs rounds over its applied head; a note is a checkpoint under
//! the log key with the lines of those who vouched. Rounds are also how replicas compare
//! themselves: one that differs from a majority stops and says so.
//!
//! Promises: two notes of this node's never contradict each other; a waiter is answered
//! by the first note that satisfies it, and all who wait share rounds. Leaves to callers
//! which cosignatures satisfy them.
//!
//! * [`keys`]: whose cosignatures count; the one place that chooses keys
//! * [`vouching`]: what must be true before this node cosigns
//! * [`rounds`], [`tally`]: the leader's rounds, and what the answers come to
//! * [`accept`]: notes and verdicts from elsewhere
//! * [`board`]: the notes at hand
//! * [`keeping`]: notes spread to the followers, and kept on the disk
//! * [`messages`]: byte for byte

mod accept;
pub mod board;
mod keeping;
pub mod keys;
mod messages;
mod rounds;
pub mod tally;
mod vouching;

use super::Booted;
use super::keys::KeyBook;
use crate::clock::SharedClock;
use crate::ledger::state::State;
use crate::raft::group::RaftGroup;
use crate::stop::Stop;
use crate::store::flush::Flusher;
use crate::store::notes::NoteStore;
use crate::store::{Blocking, Error};
use crate::transport::{Failure, Method, Transport};
use board::{Board, Posted};
use bytes::Bytes;
use keys::Cosigners;
use messages::Ask;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

/// How long a round may take, and each member for its answer: beyond it the member is too
/// far behind to vouch for what is new.
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

/// What cosigning works with.
pub struct Means {
    pub group: RaftGroup,
    pub state: State,
    pub blocking: Blocking,
    pub clock: SharedClock,
    pub stop: Stop,
    pub transport: Arc<dyn Transport>,
    /// Of the ledger database.
    pub flusher: Flusher,
    pub notes: NoteStore,
    /// The body-complete index.
    pub complete: watch::Receiver<u64>,
    pub booted: watch::Receiver<Option<Booted>>,
    pub key_book: Arc<KeyBook>,
}

/// What the leader is asked for: the largest size, and how often it was asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Want {
    size: u64,
    asked: u64,
}

/// Who waits here.
#[derive(Clone, Copy, Debug, Default)]
struct Waiting {
    size: u64,
    waiters: usize,
}

/// See the module. Cheap to clone.
#[derive(Clone)]
pub struct Cosigned(Arc<Inner>);

struct Inner {
    means: Means,
    board: Board,
    vouching: vouching::Vouching,
    asks: rounds::Asks,
    wants: watch::Sender<Want>,
    waiting: watch::Sender<Waiting>,
    /// The largest size of a kept note.
    kept_to: AtomicU64,
    /// The largest size that was published.
    published: AtomicU64,
    divergences: AtomicU64,
}

impl Cosigned {
    /// Starts what runs beside the calls; it ends with the node.
    pub fn start(means: Means) -> Cosigned {
        let cosigned = Cosigned(Arc::new(Inner {
            means,
            board: Board::default(),
            vouching: vouching::Vouching::default(),
            asks: rounds::Asks::default(),
            wants: watch::channel(Want::default()).0,
            waiting: watch::channel(Waiting::default()).0,
            kept_to: AtomicU64::new(0),
            published: AtomicU64::new(0),
            divergences: AtomicU64::new(0),
        }));
        let running = cosigned.clone();
        tokio::spawn(async move {
            let stop = running.0.means.stop.clone();
            tokio::select! {
                _ = stop.stopped() => {}
                _ = async {
                    tokio::join!(
                        running.lead(),
                        running.spread(),
                        running.keep(),
                        running.forward_wants(),
                    )
                } => {}
            }
        });
        cosigned
    }

    /// The newest note that a majority has cosigned, if there is one since the start.
    pub fn newest(&self) -> Option<Arc<str>> {
        self.0.board.newest().map(|posted| posted.note.clone())
    }

    /// The size of [`Self::newest`]; 0 when there is none.
    pub fn newest_size(&self) -> u64 {
        self.0.board.newest().map_or(0, |posted| posted.size)
    }

    /// The newest note, if it is no worse than a fresh checkpoint at size `head` under the
    /// log key alone; what is published never goes back in size.
    pub fn to_publish(&self, head: u64) -> Option<Arc<str>> {
        let newest = self.0.board.newest();
        let age = |posted: &Posted| self.0.means.clock.monotonic().saturating_sub(posted.at);
        let current = |p: &Arc<Posted>| p.size >= head || age(p) < PUBLISHED_AGE_MAX;
        if let Some(newest) = newest.filter(current)
            && self.0.published.fetch_max(newest.size, Ordering::AcqRel) <= newest.size
        {
            return Some(newest.note.clone());
        }
        self.0.published.fetch_max(head, Ordering::AcqRel);
        None
    }

    /// Up to which record every body is held here.
    pub fn body_complete(&self) -> u64 {
        *self.0.means.complete.borrow()
    }

    /// Roots other than this node's own that it has met.
    pub fn divergences(&self) -> u64 {
        self.0.divergences.load(Ordering::Relaxed)
    }

    /// Waits for a note that covers record `index` and satisfies the caller: first among
    /// the kept ones, the smallest size first, then among those at hand, then in rounds
    /// that are begun for it. `None` when the deadline passes. Dropping it ends the wait.
    pub async fn wait(
        &self,
        index: u64,
        deadline: Instant,
        satisfied: impl Fn(&str) -> bool,
    ) -> Option<String> {
        let mut board = self.0.board.follow();
        if let Some(kept) = self.kept(index, &satisfied).await {
            return Some(kept);
        }
        let _waiting = Waiter::enter(self, index.saturating_add(1));
        // Size to cosigners of what was looked at: no note is judged twice.
        let mut seen: HashMap<u64, usize> = HashMap::new();
        loop {
            let at_hand = board.borrow_and_update().clone();
            for posted in at_hand.iter().filter(|posted| posted.size > index) {
                let cosigners = seen.insert(posted.size, posted.cosigners);
                if cosigners != Some(posted.cosigners) && satisfied(&posted.note) {
                    return Some(posted.note.to_string());
                }
            }
            let changed = timeout_at(deadline, board.changed()).await;
            if !matches!(changed, Ok(Ok(()))) {
                return None;
            }
        }
    }

    async fn kept(&self, index: u64, satisfied: impl Fn(&str) -> bool) -> Option<String> {
        let (mut from, mut looked_at) = (index, 0);
        while from < self.0.kept_to.load(Ordering::Acquire) && looked_at < KEPT_LOOKED_AT_MAX {
            let page = match self.0.means.notes.above(from).await {
                Ok(page) => page,
                Err(error) => {
                    self.storage_failed(&error);
                    return None;
                }
            };
            from = page.last()?.size;
            looked_at += page.len();
            if let Some(kept) = page.into_iter().find(|kept| satisfied(&kept.note)) {
                return Some(kept.note);
            }
        }
        None
    }

    /// Answers a call of another node.
    pub async fn serve(&self, method: Method, body: Bytes) -> Result<Bytes, Failure> {
        match method {
            Method::Cosign => {
                let answer = self.vouch(Ask::decode(&body)?).await?;
                Ok(Bytes::from(answer.encode()))
            }
            Method::Note => {
                for note in messages::decode_notes(&body)? {
                    self.accept(&note).await?;
                }
                Ok(Bytes::new())
            }
            Method::Verdict => {
                for note in messages::decode_notes(&body)? {
                    self.hear_verdict(&note).await?;
                }
                Ok(Bytes::new())
            }
            Method::WantNote => {
                let size = messages::decode_want(&body)?;
                if !self.0.means.group.is_leader() {
                    return Err(Failure::Refused("not the leader".into()));
                }
                self.want(size);
                Ok(Bytes::new())
            }
            _ => Err(Failure::Refused("not about cosignatures".into())),
        }
    }

    /// The kept or newest note of exactly this size.
    pub async fn of_size(&self, size: u64) -> Option<String> {
        if let Some(posted) = self.0.board.of_size(size) {
            return Some(posted.note.to_string());
        }
        let page = self.0.means.notes.above(size.checked_sub(1)?).await;
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
    pub async fn next_above(&self, size: u64) -> Option<String> {
        let mut board = self.0.board.follow();
        let above = |at_hand: &board::AtHand| {
            at_hand
                .iter()
                .filter(|posted| posted.size > size)
                .max_by_key(|posted| posted.size)
                .cloned()
        };
        let found = board.wait_for(|at_hand| above(at_hand).is_some()).await;
        found
            .ok()
            .and_then(|at_hand| above(&at_hand))
            .map(|posted| posted.note.to_string())
    }

    /// The keys as of everything applied here.
    async fn cosigners(&self, booted: &Booted) -> Result<Cosigners, Error> {
        let means = &self.0.means;
        let serial = means.group.applied().key_serial;
        let pen = means.key_book.log_pen(&booted.origin, serial).await?;
        Ok(Cosigners::of(
            booted.genesis.leaf_hash(),
            pen,
            means.group.node(),
        ))
    }

    /// Asks the rounds of this node, which leads, for a note of at least `size`.
    fn want(&self, size: u64) {
        let most = self.0.means.group.applied().size.saturating_add(AHEAD_MAX);
        self.0.wants.send_modify(|want| {
            want.size = want.size.max(size.min(most));
            want.asked += 1;
        });
    }

    fn count_divergence(&self) {
        self.0.divergences.fetch_add(1, Ordering::Relaxed);
    }

    /// Storage that fails or lies is a broken promise: the node stops.
    fn storage_failed(&self, error: &Error) -> Failure {
        if !matches!(error, Error::Stopped) {
            let what = format!("storage failed while cosigning: {error}");
            self.0.means.stop.broken(what);
        }
        Failure::Refused("this node's storage failed".into())
    }
}

/// Counts one who waits for as long as it lives.
struct Waiter<'a>(&'a Cosigned);

impl Waiter<'_> {
    fn enter(cosigned: &Cosigned, size: u64) -> Waiter<'_> {
        cosigned.0.waiting.send_modify(|waiting| {
            waiting.size = waiting.size.max(size);
            waiting.waiters += 1;
        });
        Waiter(cosigned)
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        let leave = |waiting: &mut Waiting| {
            waiting.waiters -= 1;
            // Nobody is waiting for what was asked for long ago.
            if waiting.waiters == 0 {
                waiting.size = 0;
            }
            false
        };
        self.0.0.waiting.send_if_modified(leave);
    }
}
