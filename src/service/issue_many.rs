//! Issue many: one stream of items, each issued as [`super::issue`] does, side by side.
//!
//! Promises: one outcome per item, in any order; an item that fails never ends the stream,
//! only messages out of order do, and then after the outcomes of what is in flight. Where
//! a single call is turned away because all places for uploads are taken, an item waits
//! for one. The stream is not read while as many items are in flight as allowed, or while
//! their outcomes are not taken. If the caller goes away, what is numbered goes on and all
//! else ends; a node that stops ends what is in flight first. Leaves each item to `issue`.

use super::admission::UploadTurn;
use super::issue::{self, IssueDraft, Issued, UploadPieces};
use super::{Parts, Principal};
use crate::config::limits::{MESSAGE_BYTES, UPLOADS_IN_FLIGHT};
use crate::domain::call_error::CallError;
use crate::domain::draft::{BadField, bad};
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt as _};
use std::future::Future;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinSet};

/// Items of one stream under way at once: enough to fill the group commits of the bodies
/// and of the log over a round trip between regions, few enough that
/// [`STREAMS_AT_ONCE`] such streams fit into a node's default places for uploads. Bounds
/// memory too: each holds at most [`PIECES_AHEAD`] messages that its upload has not taken.
pub const ITEMS_IN_FLIGHT: usize = 32;
/// Streams that are not held up by each other's uploads.
const STREAMS_AT_ONCE: usize = 8;
const _: () = assert!(STREAMS_AT_ONCE * ITEMS_IN_FLIGHT <= UPLOADS_IN_FLIGHT);
/// Pieces of an item that may wait for its upload: the next one arrives while one is stored.
const PIECES_AHEAD: usize = 1;
/// What one stream may hold that its uploads have not taken, at the default size of messages.
const BYTES_AHEAD_MAX: usize = 128 << 20;
const _: () = assert!(ITEMS_IN_FLIGHT * PIECES_AHEAD * MESSAGE_BYTES <= BYTES_AHEAD_MAX);
/// Outcomes that may wait for a caller who does not take them; then nothing more is read.
const OUTCOMES_AHEAD: usize = ITEMS_IN_FLIGHT;

/// What a caller sends.
pub enum Message {
    /// Begins an item and ends the one before. A draft that cannot be taken is the item's
    /// own failure.
    Draft {
        item: u64,
        draft: Result<Box<IssueDraft>, BadField>,
    },
    /// Of the last draft's item.
    Chunk(Bytes),
    /// Ends the item before the next draft does.
    End,
}

/// Messages as they arrive; a broken order or the transport's faults are told as an error.
pub type Messages = BoxStream<'static, Result<Message, CallError>>;

/// What became of an item.
#[derive(Clone, Debug)]
pub struct ItemOutcome<T = Issued> {
    /// As the caller numbered it.
    pub item: u64,
    pub result: Result<T, CallError>,
}

/// An error is the stream's own, and its last word.
pub type Outcomes = BoxStream<'static, Result<ItemOutcome, CallError>>;

/// Runs until the messages end, the caller goes away or the node stops.
pub fn issue_many(parts: Arc<Parts>, principal: Principal, messages: Messages) -> Outcomes {
    let (answers, outcomes) = mpsc::channel(OUTCOMES_AHEAD);
    let limits = StreamLimits {
        idle: Duration::from_millis(parts.admission.limits.idle_timeout_ms),
        draining: parts.admission.draining.clone(),
        leaving: parts
            .reads
            .unavailable("this node is stopping; go on at another"),
    };
    let issue = move |draft, pieces| {
        let (parts, principal) = (parts.clone(), principal.clone());
        async move { issue::issue(&parts, &principal, draft, pieces, UploadTurn::Waited).await }
    };
    tokio::spawn(ItemStream::new(issue, messages, limits).run(answers));
    tokio_stream::wrappers::ReceiverStream::new(outcomes).boxed()
}

/// What ends a stream besides its caller.
struct StreamLimits {
    /// How long a caller with nothing in flight may say nothing.
    idle: Duration,
    draining: watch::Receiver<bool>,
    /// What is said then.
    leaving: CallError,
}

/// The way of one item's pieces to its upload, which is closed when the upload has had
/// enough of them.
struct ItemPieces {
    sender: mpsc::Sender<Bytes>,
    /// Why no more come, where that is not the item's end.
    cut: Arc<OnceLock<CallError>>,
}

impl ItemPieces {
    fn new() -> (ItemPieces, UploadPieces) {
        let (sender, receiver) = mpsc::channel(PIECES_AHEAD);
        let cut = Arc::<OnceLock<CallError>>::default();
        let pieces = tokio_stream::wrappers::ReceiverStream::new(receiver).map(Ok);
        let why = cut.clone();
        let end = stream::once(async move { why.get().cloned().map(Err) });
        let end = end.filter_map(std::future::ready);
        (ItemPieces { sender, cut }, pieces.chain(end).boxed())
    }
}

/// The item that the last draft began.
enum Open {
    /// None, or it was ended.
    Nothing,
    /// Its upload wants no more of it: what comes is thrown away.
    Settled,
    Item(ItemPieces),
}

impl Open {
    /// No more will come of the item, and that is not its end.
    fn cut(&mut self, why: &CallError) {
        if let Open::Item(item) = self {
            // Only cut here, and once: it is open no more.
            item.cut.get_or_init(|| why.clone());
        }
        *self = Open::Nothing;
    }

    /// Waits for room for a piece; `None` when nobody wants it any more.
    async fn room(&self) -> Option<mpsc::OwnedPermit<Bytes>> {
        match self {
            Open::Item(item) => item.sender.clone().reserve_owned().await.ok(),
            Open::Nothing | Open::Settled => None,
        }
    }
}

/// What was read and waits: for room in its item, or for one of the places in flight.
enum Waiting {
    Chunk(Bytes),
    Item(u64, Box<IssueDraft>),
}

/// What happens to a stream next.
enum Event<T> {
    /// The caller is gone, or the runtime is.
    Gone,
    Done(ItemOutcome<T>),
    /// The waiting chunk has its room, or is not wanted.
    Room(Option<mpsc::OwnedPermit<Bytes>>),
    Draining,
    Read(Option<Result<Message, CallError>>),
    Idle,
}

/// One stream; `issue` issues one item from its pieces.
struct ItemStream<T, I> {
    issue: I,
    messages: Messages,
    limits: StreamLimits,
    /// Dropped when the caller is gone, which ends every item that is not numbered.
    items: JoinSet<ItemOutcome<T>>,
    open: Open,
    waiting: Option<Waiting>,
    /// Set when nothing more is read; an error is the stream's last word.
    ended: Option<Result<(), CallError>>,
}

async fn raised(draining: &mut watch::Receiver<bool>) {
    // If the sender is gone, so is the node.
    let _ = draining.wait_for(|draining| *draining).await;
}

impl<T, I, F> ItemStream<T, I>
where
    T: Send + 'static,
    I: Fn(IssueDraft, UploadPieces) -> F,
    F: Future<Output = Result<T, CallError>> + Send + 'static,
{
    fn new(issue: I, messages: Messages, limits: StreamLimits) -> ItemStream<T, I> {
        ItemStream {
            issue,
            messages,
            limits,
            items: JoinSet::new(),
            open: Open::Nothing,
            waiting: None,
            ended: None,
        }
    }

    /// Reads, starts, answers.
    async fn run(mut self, answers: mpsc::Sender<Result<ItemOutcome<T>, CallError>>) {
        loop {
            self.start_waiting();
            if self.ended.is_some() && self.waiting.is_none() && self.items.is_empty() {
                break;
            }
            let outcome = match self.next(&answers).await {
                Event::Gone => return,
                Event::Done(outcome) => Some(outcome),
                Event::Room(room) => {
                    self.pass_on(room);
                    None
                }
                Event::Draining => {
                    let leaving = self.limits.leaving.clone();
                    // What was not begun is not begun: the caller has no outcome of it.
                    self.waiting = None;
                    self.cut(leaving);
                    None
                }
                Event::Read(message) => self.take(message),
                Event::Idle => {
                    self.ended = Some(Err(CallError::Unavailable {
                        why: "no item came for too long; go on with another stream".into(),
                        leader_address: None,
                    }));
                    None
                }
            };
            if let Some(outcome) = outcome
                && answers.send(Ok(outcome)).await.is_err()
            {
                return;
            }
        }
        if let Some(Err(why)) = self.ended {
            // The caller may have gone in the last moment.
            let _ = answers.send(Err(why)).await;
        }
    }

    /// Starts the item that waits, if there is a place in flight for it.
    fn start_waiting(&mut self) {
        if self.items.len() >= ITEMS_IN_FLIGHT {
            return;
        }
        let is_item = |waiting: &mut Waiting| matches!(waiting, Waiting::Item(..));
        if let Some(Waiting::Item(item, draft)) = self.waiting.take_if(is_item) {
            let (sending, pieces) = ItemPieces::new();
            let issued = (self.issue)(*draft, pieces);
            self.open = Open::Item(sending);
            self.items.spawn(async move {
                let result = issued.await;
                ItemOutcome { item, result }
            });
        }
    }

    async fn next(
        &mut self,
        answers: &mpsc::Sender<Result<ItemOutcome<T>, CallError>>,
    ) -> Event<T> {
        let reading = self.ended.is_none() && self.waiting.is_none();
        let has_chunk = matches!(self.waiting, Some(Waiting::Chunk(_)));
        let is_empty = self.items.is_empty();
        tokio::select! {
            () = answers.closed() => Event::Gone,
            Some(done) = self.items.join_next() => ended(done),
            room = self.open.room(), if has_chunk => Event::Room(room),
            () = raised(&mut self.limits.draining), if self.ended.is_none() => Event::Draining,
            message = self.messages.next(), if reading => Event::Read(message),
            () = tokio::time::sleep(self.limits.idle), if reading && is_empty => Event::Idle,
        }
    }

    fn pass_on(&mut self, room: Option<mpsc::OwnedPermit<Bytes>>) {
        match (room, self.waiting.take()) {
            (Some(room), Some(Waiting::Chunk(chunk))) => drop(room.send(chunk)),
            _ => self.open = Open::Settled,
        }
    }

    /// Nothing more is read, and what is open is not at its end.
    fn cut(&mut self, why: CallError) {
        self.open.cut(&why);
        self.ended = Some(Err(why));
    }

    /// Takes a message; the outcome of an item that ends by it.
    fn take(&mut self, message: Option<Result<Message, CallError>>) -> Option<ItemOutcome<T>> {
        match message {
            None => {
                self.open = Open::Nothing;
                self.ended = Some(Ok(()));
            }
            Some(Err(why)) => self.cut(why),
            Some(Ok(Message::End)) => self.open = Open::Nothing,
            Some(Ok(Message::Chunk(chunk))) => match self.open {
                Open::Nothing => {
                    let why = bad("chunk", "follows the header of its item");
                    self.ended = Some(Err(why.into()));
                }
                Open::Settled => {}
                Open::Item(..) => self.waiting = Some(Waiting::Chunk(chunk)),
            },
            Some(Ok(Message::Draft { item, draft })) => match draft {
                Ok(draft) => {
                    self.open = Open::Nothing;
                    self.waiting = Some(Waiting::Item(item, draft));
                }
                Err(why) => {
                    self.open = Open::Settled;
                    let result = Err(why.into());
                    return Some(ItemOutcome { item, result });
                }
            },
        }
        None
    }
}

fn ended<T>(done: Result<ItemOutcome<T>, JoinError>) -> Event<T> {
    match done {
        Ok(outcome) => Event::Done(outcome),
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        // Only a runtime that shuts down cancels them.
        Err(_) => Event::Gone,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::sync::Semaphore;

    /// An item's bytes, once it may end.
    type Told = Result<ItemOutcome<Vec<u8>>, CallError>;

    fn begin(item: u64) -> Result<Message, CallError> {
        let draft = Ok(Box::default());
        Ok(Message::Draft { item, draft })
    }

    fn chunk(bytes: &'static [u8]) -> Result<Message, CallError> {
        Ok(Message::Chunk(Bytes::from_static(bytes)))
    }

    /// A stream under way: what it was told to read, and how far it has read.
    struct Stream {
        read: Arc<AtomicUsize>,
        /// One permit lets one item end.
        end: Arc<Semaphore>,
        drain: watch::Sender<bool>,
        told: mpsc::Receiver<Told>,
        living: Arc<()>,
    }

    /// Items whose uploads take all bytes, then end by permit. `endless` streams stay open.
    fn start(messages: Vec<Result<Message, CallError>>, endless: bool) -> Stream {
        let (drain, draining) = watch::channel(false);
        let (answers, told) = mpsc::channel(OUTCOMES_AHEAD);
        let stream = Stream {
            read: Arc::default(),
            end: Arc::new(Semaphore::new(0)),
            drain,
            told,
            living: Arc::default(),
        };
        let read = stream.read.clone();
        let count = move |message| {
            read.fetch_add(1, Ordering::SeqCst);
            message
        };
        let mut messages = stream::iter(messages).map(count).boxed();
        if endless {
            messages = messages.chain(stream::pending()).boxed();
        }
        let (end, living) = (stream.end.clone(), stream.living.clone());
        let issue = move |_: IssueDraft, mut pieces: UploadPieces| {
            let (end, living) = (end.clone(), living.clone());
            async move {
                let mut bytes = Vec::new();
                while let Some(piece) = pieces.next().await {
                    bytes.extend_from_slice(&piece?);
                }
                end.acquire().await.unwrap().forget();
                drop(living);
                Ok(bytes)
            }
        };
        let limits = StreamLimits {
            idle: Duration::from_secs(30),
            draining,
            leaving: CallError::exhausted("leaving"),
        };
        tokio::spawn(ItemStream::new(issue, messages, limits).run(answers));
        stream
    }

    /// Lets all that can run, run: time stands still until everything waits.
    async fn settle() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }

    async fn bytes_of(stream: &mut Stream) -> (u64, Vec<u8>) {
        let outcome = stream.told.recv().await.unwrap().unwrap();
        (outcome.item, outcome.result.unwrap())
    }

    /// Backpressure: what is not read stays with the caller.
    #[tokio::test(start_paused = true)]
    async fn no_more_is_read_than_may_be_in_flight() {
        let many = 3 * ITEMS_IN_FLIGHT as u64;
        let messages = (0..many).flat_map(|item| [begin(item), chunk(b"x")]);
        let mut stream = start(messages.collect(), false);
        settle().await;
        // Two messages an item, and the header that waits.
        let full = 2 * ITEMS_IN_FLIGHT + 1;
        assert_eq!(stream.read.load(Ordering::SeqCst), full);
        assert_eq!(Arc::strong_count(&stream.living), 2 + ITEMS_IN_FLIGHT);
        stream.end.add_permits(1);
        bytes_of(&mut stream).await;
        settle().await;
        assert_eq!(stream.read.load(Ordering::SeqCst), full + 2);
        // Outcomes that nobody takes hold the stream up too.
        stream.end.add_permits(many as usize);
        settle().await;
        let read = stream.read.load(Ordering::SeqCst);
        assert!(read <= full + 2 * OUTCOMES_AHEAD + 4, "{read}");
        let mut seen = vec![false; many as usize];
        for _ in 1..many {
            let (item, bytes) = bytes_of(&mut stream).await;
            assert_eq!(bytes, b"x");
            assert!(!std::mem::replace(&mut seen[item as usize], true));
        }
        assert!(stream.told.recv().await.is_none());
    }

    /// An upload that takes nothing leaves the rest of its bytes with the caller.
    #[tokio::test(start_paused = true)]
    async fn pieces_wait_for_their_upload() {
        let mut messages = vec![begin(1)];
        messages.extend((0..50).map(|_| chunk(b"x")));
        let (read, counted) = (Arc::new(AtomicUsize::new(0)), Arc::default());
        let count = {
            let read = read.clone();
            move |message| {
                read.fetch_add(1, Ordering::SeqCst);
                message
            }
        };
        let (answers, _told) = mpsc::channel::<Told>(1);
        let (_drain, draining) = watch::channel(false);
        let limits = StreamLimits {
            idle: Duration::from_secs(30),
            draining,
            leaving: CallError::exhausted("leaving"),
        };
        let issue = move |_: IssueDraft, pieces: UploadPieces| {
            let counted: Arc<AtomicUsize> = Arc::clone(&counted);
            async move {
                let _kept = pieces;
                counted.fetch_add(1, Ordering::SeqCst);
                std::future::pending().await
            }
        };
        let messages = stream::iter(messages).map(count).boxed();
        tokio::spawn(ItemStream::new(issue, messages, limits).run(answers));
        settle().await;
        assert_eq!(read.load(Ordering::SeqCst), 1 + PIECES_AHEAD + 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_bad_item_is_its_own_affair_and_an_item_can_be_ended_early() {
        let refused = Message::Draft {
            item: 2,
            draft: Err(bad("metadata", "is required")),
        };
        let messages = vec![
            begin(1),
            chunk(b"a"),
            chunk(b"b"),
            Ok(refused),
            chunk(b"thrown away"),
            begin(3),
            chunk(b"c"),
            Ok(Message::End),
        ];
        let mut stream = start(messages, true);
        stream.end.add_permits(10);
        let mut told = Vec::new();
        for _ in 0..3 {
            told.push(stream.told.recv().await.unwrap().unwrap());
        }
        told.sort_by_key(|outcome| outcome.item);
        assert_eq!(told[0].result.clone().unwrap(), b"ab");
        assert!(matches!(&told[1].result, Err(CallError::Invalid(bad)) if bad.field == "metadata"));
        assert_eq!(told[2].result.clone().unwrap(), b"c");
        // It waits for more, but not for ever.
        let last = stream.told.recv().await.unwrap();
        assert!(
            matches!(last, Err(CallError::Unavailable { .. })),
            "{last:?}"
        );
        assert!(stream.told.recv().await.is_none());
    }

    /// An item may have its outcome before its bytes: what is still to come of it must not
    /// hold up the others.
    #[tokio::test(start_paused = true)]
    async fn the_rest_of_an_item_that_has_its_outcome_is_thrown_away() {
        let mut messages = vec![begin(1)];
        messages.extend((0..9).map(|_| chunk(b"x")));
        messages.extend([begin(2), chunk(b"y")]);
        let (answers, mut told) = mpsc::channel::<Told>(OUTCOMES_AHEAD);
        let (_drain, draining) = watch::channel(false);
        let limits = StreamLimits {
            idle: Duration::from_secs(30),
            draining,
            leaving: CallError::exhausted("leaving"),
        };
        let issue = |_: IssueDraft, mut pieces: UploadPieces| async move {
            match pieces.next().await {
                Some(Ok(first)) if first == "y" => Ok(first.to_vec()),
                _ => Err(CallError::from(bad("length", "is less than that"))),
            }
        };
        let messages = stream::iter(messages).boxed();
        tokio::spawn(ItemStream::new(issue, messages, limits).run(answers));
        let first = told.recv().await.unwrap().unwrap();
        assert!(first.item == 1 && first.result.is_err());
        let second = told.recv().await.unwrap().unwrap();
        assert!(second.item == 2 && second.result.is_ok());
        assert!(told.recv().await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_broken_order_ends_the_stream_after_what_is_in_flight() {
        let messages = vec![
            begin(1),
            chunk(b"a"),
            Ok(Message::End),
            chunk(b"whose?"),
            begin(2),
        ];
        let mut stream = start(messages, false);
        stream.end.add_permits(10);
        assert_eq!(bytes_of(&mut stream).await, (1, b"a".to_vec()));
        let last = stream.told.recv().await.unwrap();
        assert!(matches!(last, Err(CallError::Invalid(_))), "{last:?}");
        assert!(stream.told.recv().await.is_none());
    }

    /// What has all its bytes ends as it would have; what has not is cut, not cut short.
    #[tokio::test(start_paused = true)]
    async fn a_node_that_stops_ends_what_is_in_flight_and_says_so() {
        let messages = vec![begin(1), chunk(b"a"), begin(2), chunk(b"b")];
        let mut stream = start(messages, true);
        settle().await;
        stream.drain.send_replace(true);
        let cut = stream.told.recv().await.unwrap().unwrap();
        assert_eq!(cut.item, 2);
        assert!(matches!(cut.result, Err(CallError::Exhausted { .. })));
        stream.end.add_permits(1);
        assert_eq!(bytes_of(&mut stream).await, (1, b"a".to_vec()));
        assert!(matches!(stream.told.recv().await, Some(Err(_))));
        assert!(stream.told.recv().await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_who_goes_away_ends_what_nobody_asks_for_any_more() {
        let mut stream = start(vec![begin(1), begin(2)], true);
        settle().await;
        assert_eq!(Arc::strong_count(&stream.living), 4);
        stream.told.close();
        settle().await;
        // Neither the items nor the stream live on.
        assert_eq!(Arc::strong_count(&stream.living), 1);
    }
}
