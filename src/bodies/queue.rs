//! Frames on their way to one peer, bounded in bytes, and given up when nobody takes them.
//!
//! Promises: at most [`AHEAD_BYTES`] of one upload and [`PEER_AHEAD_BYTES`] of all
//! uploads wait for a peer, whatever it does; whoever pushes waits for room, which holds
//! the client up in turn; a peer that takes nothing for [`STALL_MAX`] is given up for this
//! body, and what waited for it is let go at once. Leaves what frames say to `serve`, and
//! who gets them to `fanout`.

use super::writer::CHUNK_BYTES;
use crate::domain::ids::NodeId;
use bytes::Bytes;
use futures::stream::Stream;
use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// Bytes of one upload that may wait for one peer: some chunks, so that a short pause of
/// the peer is not the client's.
pub const AHEAD_BYTES: usize = 4 << 20;
/// Bytes of all uploads that may wait for one peer: what a slow or dead one costs at most.
pub const PEER_AHEAD_BYTES: usize = 16 << 20;
/// Bytes of all uploads that this node holds on their way to its disk and to its peers:
/// eight peers that take nothing, or a hundred chunks while all of them do.
pub const INGEST_BYTES: usize = 128 << 20;
/// A peer that takes no frame for this long is given up for this body.
pub const STALL_MAX: Duration = Duration::from_secs(2);
/// How often it is looked at.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(500);
/// What a frame costs beyond its bytes: its place in the queue, so that a client that
/// sends byte by byte fills no memory either.
const FRAME_COST: usize = 256;

/// One upload takes no more than a peer may have, one peer no more than the node; a chunk
/// fits; permits are counted in 32 bits; and who is stalled is looked at before it is late.
const _: () = assert!(
    CHUNK_BYTES + FRAME_COST < AHEAD_BYTES
        && AHEAD_BYTES <= PEER_AHEAD_BYTES
        && PEER_AHEAD_BYTES <= INGEST_BYTES
        && INGEST_BYTES <= u32::MAX as usize
        && LOOK_EVERY.as_millis() < STALL_MAX.as_millis()
);

/// The budgets of a node's body plane.
pub struct IngestBudget {
    ingest: Arc<Semaphore>,
    peers: Mutex<HashMap<NodeId, Arc<Semaphore>>>,
}

/// A piece that is held in memory; its bytes are given back when the last holder is gone.
pub type IngestPermit = Arc<OwnedSemaphorePermit>;

impl Default for IngestBudget {
    fn default() -> IngestBudget {
        IngestBudget {
            ingest: Arc::new(Semaphore::new(INGEST_BYTES)),
            peers: Mutex::default(),
        }
    }
}

impl IngestBudget {
    /// Waits until this node may hold a further piece of a client; `None` when it ends.
    pub async fn take_in(&self, bytes: usize) -> Option<IngestPermit> {
        let ingest = self.ingest.clone();
        let permit = ingest.acquire_many_owned(cost(bytes, INGEST_BYTES)).await;
        permit.ok().map(Arc::new)
    }

    fn of_peer(&self, node: NodeId) -> Arc<Semaphore> {
        let mut peers = self.peers.lock().expect("nobody panics with it");
        let places = peers.entry(node);
        places
            .or_insert_with(|| Arc::new(Semaphore::new(PEER_AHEAD_BYTES)))
            .clone()
    }

    /// A queue to a peer, and what its connection takes from it.
    pub fn queue(&self, node: NodeId) -> (PeerQueue, PeerStream) {
        let queue = PeerQueue(Arc::new(Inner {
            room: Arc::new(Semaphore::new(AHEAD_BYTES)),
            peer: self.of_peer(node),
            cut: Notify::new(),
            state: Mutex::new(State {
                frames: VecDeque::new(),
                ended: false,
                cut: false,
                given_up: false,
                moved_at: Instant::now(),
                waker: None,
            }),
        }));
        let taken = PeerStream(queue.clone());
        (queue, taken)
    }
}

fn cost(bytes: usize, most: usize) -> u32 {
    u32::try_from((bytes + FRAME_COST).min(most)).expect("budgets are far below 4 GiB")
}

/// The sender's side. Cheap to clone.
#[derive(Clone)]
pub struct PeerQueue(Arc<Inner>);

/// The connection's side; when it is dropped, nobody will take anything any more.
pub struct PeerStream(PeerQueue);

struct Inner {
    room: Arc<Semaphore>,
    peer: Arc<Semaphore>,
    cut: Notify,
    state: Mutex<State>,
}

struct State {
    frames: VecDeque<Waiting>,
    /// The last frame is in.
    ended: bool,
    /// Nobody takes frames any more.
    cut: bool,
    /// ... because the sender does not want it either: no answer is waited for.
    given_up: bool,
    /// When a frame was taken last, or came into an empty queue.
    moved_at: Instant,
    waker: Option<Waker>,
}

struct Waiting {
    frame: Bytes,
    _ahead: Option<(OwnedSemaphorePermit, OwnedSemaphorePermit)>,
    _held: Option<IngestPermit>,
}

impl PeerQueue {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().expect("nobody panics with it")
    }

    /// Waits for room; false when the peer is given up.
    pub async fn push(&self, frame: Bytes, held: Option<IngestPermit>) -> bool {
        let bytes = cost(frame.len(), AHEAD_BYTES);
        let room = async {
            let own = self.0.room.clone().acquire_many_owned(bytes).await.ok()?;
            let peer = self.0.peer.clone().acquire_many_owned(bytes).await.ok()?;
            Some((own, peer))
        };
        let ahead = tokio::select! {
            room = room => room,
            () = self.cut_off() => None,
        };
        ahead.is_some() && self.add(frame, ahead, held, false)
    }

    /// The last frame; it is small and finds its place behind the others.
    pub fn end(&self, frame: Bytes) {
        self.add(frame, None, None, true);
    }

    fn add(
        &self,
        frame: Bytes,
        ahead: Option<(OwnedSemaphorePermit, OwnedSemaphorePermit)>,
        held: Option<IngestPermit>,
        ended: bool,
    ) -> bool {
        let mut state = self.state();
        if state.cut || state.ended {
            return false;
        }
        if state.frames.is_empty() {
            state.moved_at = Instant::now();
        }
        assert!(
            ended || ahead.is_some(),
            "what waits is counted, but for the end"
        );
        state.frames.push_back(Waiting {
            frame,
            _ahead: ahead,
            _held: held,
        });
        state.ended = ended;
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
        true
    }

    /// Gives the peer up: what waits is let go, and the stream ends without an end frame.
    pub fn give_up(&self) {
        self.cut(true);
    }

    fn cut(&self, given_up: bool) {
        let mut state = self.state();
        state.cut = true;
        state.given_up |= given_up;
        state.moved_at = Instant::now();
        let (waiting, waker) = (std::mem::take(&mut state.frames), state.waker.take());
        drop(state);
        drop(waiting);
        self.0.cut.notify_waiters();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Returns once nothing can be pushed any more.
    async fn cut_off(&self) {
        let cut = self.0.cut.notified();
        if !self.state().cut {
            cut.await;
        }
    }

    /// Returns when the peer is to be given up: it takes nothing, or it has taken the end
    /// and is still silent after `answer_max`, or it was given up.
    pub async fn stalled(&self, answer_max: Duration) {
        loop {
            let cut = self.0.cut.notified();
            if self.is_stalled(answer_max) {
                return;
            }
            // Woken early or not, it is looked at again.
            let _ = tokio::time::timeout(LOOK_EVERY, cut).await;
        }
    }

    fn is_stalled(&self, answer_max: Duration) -> bool {
        let state = self.state();
        let still = state.moved_at.elapsed();
        if state.given_up {
            return true;
        }
        if state.cut {
            // It takes no more, perhaps since it has answered: the answer is on its way.
            return still > STALL_MAX;
        }
        match (state.frames.is_empty(), state.ended) {
            (false, _) => still > STALL_MAX,
            (true, true) => still > answer_max,
            // The client is slow, not the peer.
            (true, false) => false,
        }
    }
}

impl Stream for PeerStream {
    type Item = Bytes;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let mut state = self.0.state();
        if state.cut {
            return Poll::Ready(None);
        }
        match state.frames.pop_front() {
            Some(waiting) => {
                state.moved_at = Instant::now();
                drop(state);
                Poll::Ready(Some(waiting.frame))
            }
            None if state.ended => Poll::Ready(None),
            None => {
                state.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Drop for PeerStream {
    fn drop(&mut self) {
        let over = {
            let state = self.0.state();
            state.ended && state.frames.is_empty()
        };
        // After its natural end only the answer is outstanding.
        if !over {
            self.0.cut(false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt as _;
    use futures::stream::StreamExt as _;

    const MIB: usize = 1 << 20;

    fn frame(bytes: usize) -> Bytes {
        Bytes::from(vec![7; bytes])
    }

    #[tokio::test]
    async fn a_peer_that_takes_nothing_costs_its_budget_and_no_more() {
        let ingest = IngestBudget::default();
        let queues: Vec<_> = (0..8).map(|_| ingest.queue(NodeId::new(2))).collect();
        let mut waiting = 0;
        for (queue, _) in &queues {
            while queue.push(frame(MIB), None).now_or_never() == Some(true) {
                waiting += MIB;
            }
        }
        assert!(waiting <= PEER_AHEAD_BYTES && waiting > PEER_AHEAD_BYTES / 2);
        // Another peer has room; and so has this one when one upload is given up.
        let (other, _kept) = ingest.queue(NodeId::new(3));
        assert!(other.push(frame(MIB), None).await);
        let last = &queues[7].0;
        assert!(last.push(frame(MIB), None).now_or_never().is_none());
        queues[0].0.give_up();
        assert!(last.push(frame(MIB), None).await);
    }

    #[tokio::test]
    async fn one_upload_is_at_most_its_own_share_ahead() {
        let ingest = IngestBudget::default();
        let (queue, mut taken) = ingest.queue(NodeId::new(2));
        let mut pushed = 0;
        while queue.push(frame(MIB / 4), None).now_or_never() == Some(true) {
            pushed += MIB / 4;
        }
        assert!(pushed <= AHEAD_BYTES && pushed > AHEAD_BYTES / 2);
        // Single bytes count for what they cost.
        let (bytewise, _kept) = ingest.queue(NodeId::new(2));
        let mut pieces = 0;
        while bytewise.push(frame(1), None).now_or_never() == Some(true) {
            pieces += 1;
        }
        assert!(pieces <= AHEAD_BYTES / FRAME_COST);
        let pushing = queue.push(frame(MIB / 4), None);
        assert_eq!(taken.next().await.map(|f| f.len()), Some(MIB / 4));
        assert!(pushing.await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stalled_peer_is_given_up_and_whoever_waits_for_it_goes_on() {
        let ingest = IngestBudget::default();
        let (queue, _taken) = ingest.queue(NodeId::new(2));
        while queue.push(frame(MIB), None).now_or_never() == Some(true) {}
        let watch = async {
            queue.stalled(STALL_MAX).await;
            queue.give_up();
        };
        let (pushed, ()) = futures::join!(queue.push(frame(MIB), None), watch);
        assert!(!pushed);
        // A slow client is not a slow peer.
        let (slow, _kept) = ingest.queue(NodeId::new(2));
        let watch = tokio::time::timeout(STALL_MAX * 10, slow.stalled(STALL_MAX));
        assert!(watch.await.is_err());
    }

    #[tokio::test]
    async fn frames_come_in_order_and_the_end_is_last() {
        let ingest = IngestBudget::default();
        let (queue, mut taken) = ingest.queue(NodeId::new(2));
        let held = ingest.take_in(MIB).await;
        assert!(queue.push(frame(3), held).await);
        queue.end(frame(1));
        assert!(
            !queue.push(frame(2), None).await,
            "nothing comes after the end"
        );
        assert_eq!(taken.next().await.map(|f| f.len()), Some(3));
        assert_eq!(taken.next().await.map(|f| f.len()), Some(1));
        assert_eq!(taken.next().await, None);
        assert_eq!(ingest.ingest.available_permits(), INGEST_BYTES);
    }

    /// Every way in which an upload may go, step by step, in the order of time.
    #[tokio::test(start_paused = true)]
    async fn a_queue_by_script() {
        // p: push, t: take, e: end, g: give up, d: the connection goes, w: wait for the
        // stall, a: wait for the answer. Upper case: it must be refused, or not be stalled.
        for script in [
            "ptpt", "ppttetT", "pettT", "pgPT", "pwgP", "ptWpt", "peta", "pettW", "petta", "pedP",
            "pdPa", "eda", "etdW", "etda", "egP", "ppgT", "W",
        ] {
            play(script).await;
        }
    }

    async fn play(script: &str) {
        let ingest = IngestBudget::default();
        let (queue, taken) = ingest.queue(NodeId::new(2));
        let mut taken = Some(taken);
        let answer_max = STALL_MAX * 2;
        let still = |limit| tokio::time::timeout(limit, queue.stalled(answer_max));
        for (at, step) in script.chars().enumerate() {
            let came = match step.to_ascii_lowercase() {
                'p' => queue.push(frame(MIB), None).await,
                't' => match &mut taken {
                    Some(taken) => taken.next().now_or_never().flatten().is_some(),
                    None => false,
                },
                'e' => {
                    queue.end(frame(1));
                    true
                }
                'g' => {
                    queue.give_up();
                    true
                }
                'd' => taken.take().is_some(),
                'w' => still(STALL_MAX + LOOK_EVERY * 2).await.is_ok(),
                'a' => still(answer_max + LOOK_EVERY * 2).await.is_ok(),
                _ => unreachable!("no such step"),
            };
            assert_eq!(came, step.is_lowercase(), "{script}, step {at}");
        }
        queue.give_up();
        drop(taken);
        let peer = ingest.of_peer(NodeId::new(2));
        assert_eq!(peer.available_permits(), PEER_AHEAD_BYTES, "{script}");
        assert_eq!(queue.0.room.available_permits(), AHEAD_BYTES, "{script}");
    }
}
