//! Issue many: one stream of items, each issued as [`super::issue`] does, side by side.
//!
//! Promises: one outcome per item, in any order; an item that fails never ends the stream,
//! only messages out of order do, and then after the outcomes of what is in flight. The
//! stream is not read while as many items are in flight as allowed, or while their outcomes
//! are not taken. If the caller goes away, what is numbered goes on and all else ends; a
//! node that stops ends what is in flight first. Leaves each item to `issue`.

use super::issue::{self, Header, Issued, Pieces};
use super::{Core, Error, Principal};
use crate::domain::draft::{BadField, bad};
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt as _};
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::Poll;
use std::time::Duration;
use tokio::sync::{OwnedMutexGuard, mpsc, watch};
use tokio::task::JoinSet;

/// Items of one stream under way at once: enough to fill the group commits of the bodies
/// and of the log over a round trip between regions, few enough that eight such streams
/// fit into a node's default places for uploads. Bounds memory too: each holds at most
/// [`PIECES_AHEAD`] messages that its upload has not taken.
pub const ITEMS_IN_FLIGHT: usize = 32;
/// Pieces of an item that may wait for its upload: the next one arrives while one is stored.
const PIECES_AHEAD: usize = 1;
/// Outcomes that may wait for a caller who does not take them; then nothing more is read.
const OUTCOMES_AHEAD: usize = ITEMS_IN_FLIGHT;
/// How often an item that waited for a place may find it taken by another caller. Then the
/// caller is told to come back: it has waited for as many uploads.
const PLACE_TRIES_MAX: u32 = 32;

/// What a caller sends.
pub enum Message {
    /// Begins an item and ends the one before. A header that cannot be taken is the
    /// item's own failure.
    Header {
        item: u64,
        header: Result<Box<Header>, BadField>,
    },
    /// Of the last header's item.
    Chunk(Bytes),
    /// Ends the item before the next header does.
    End,
}

/// Messages as they arrive; a broken order or the transport's faults are told as an error.
pub type Messages = BoxStream<'static, Result<Message, Error>>;

/// What became of an item.
#[derive(Clone, Debug)]
pub struct Outcome<T = Issued> {
    /// As the caller numbered it.
    pub item: u64,
    pub result: Result<T, Error>,
}

/// An error is the stream's own, and its last word.
pub type Outcomes = BoxStream<'static, Result<Outcome, Error>>;

/// Runs until the messages end, the caller goes away or the node stops.
pub fn issue_many(core: Arc<Core>, principal: Principal, messages: Messages) -> Outcomes {
    let (answers, outcomes) = mpsc::channel(OUTCOMES_AHEAD);
    let ways = Ways {
        idle: Duration::from_millis(core.limits.idle_timeout_ms),
        draining: core.draining.clone(),
        leaving: core.unavailable("this node is stopping; go on at another"),
    };
    let turn = Arc::default();
    let issue = move |header, inbox| {
        let (core, principal, turn) = (core.clone(), principal.clone(), Arc::clone(&turn));
        async move { issue_one(&core, &principal, &turn, header, inbox).await }
    };
    tokio::spawn(run(issue, messages, ways, answers));
    tokio_stream::wrappers::ReceiverStream::new(outcomes).boxed()
}

/// Issues one item. Where a single call is turned away because all places for uploads are
/// taken, an item waits for one, in turn with the others of its stream.
async fn issue_one(
    core: &Core,
    principal: &Principal,
    turn: &Arc<tokio::sync::Mutex<()>>,
    header: Header,
    inbox: Inbox,
) -> Result<Issued, Error> {
    let (room, length) = (&core.bodies.disk_budget, header.length);
    let mut first = None;
    for _ in 0..PLACE_TRIES_MAX {
        let pieces = inbox.pieces(first.take());
        match issue::issue(core, principal, header.clone(), pieces).await {
            // A full disk is no place that somebody gives back.
            Err(Error::Exhausted { .. }) if inbox.untouched() && room.has(length) => {}
            done => return done,
        }
        first = Some(turn.clone().lock_owned().await);
        // Given back at once: the upload takes a place of its own. The semaphore is never
        // closed, and if it were, the upload would say so.
        drop(core.uploads.acquire().await);
    }
    issue::issue(core, principal, header, inbox.pieces(first)).await
}

/// What ends a stream besides its caller.
struct Ways {
    /// How long a caller with nothing in flight may say nothing.
    idle: Duration,
    draining: watch::Receiver<bool>,
    /// What is said then.
    leaving: Error,
}

/// The pieces of one item on their way to its upload.
#[derive(Clone)]
struct Inbox(Arc<Mutex<Arriving>>);

struct Arriving {
    pieces: mpsc::Receiver<Bytes>,
    /// Why no more come, where that is not the item's end.
    cut: Option<Error>,
    touched: bool,
}

impl Inbox {
    fn new() -> (mpsc::Sender<Bytes>, Inbox) {
        let (sender, pieces) = mpsc::channel(PIECES_AHEAD);
        let arriving = Arriving {
            pieces,
            cut: None,
            touched: false,
        };
        (sender, Inbox(Arc::new(Mutex::new(arriving))))
    }

    fn lock(&self) -> MutexGuard<'_, Arriving> {
        self.0.lock().expect("nobody panics with it")
    }

    /// No more will come of this item, and that is not its end.
    fn cut(&self, why: Error) {
        self.lock().cut = Some(why);
    }

    /// The item has its outcome: whoever has more of it need not wait.
    fn close(&self) {
        self.lock().pieces.close();
    }

    /// Nobody has asked for the first piece: the upload was refused before.
    fn untouched(&self) -> bool {
        !self.lock().touched
    }

    /// What is to come. `turn` is given up with the first look at it: then the upload has
    /// its place.
    fn pieces(&self, turn: Option<OwnedMutexGuard<()>>) -> Pieces {
        let (inbox, mut turn) = (self.clone(), turn);
        let pieces = stream::poll_fn(move |context| {
            drop(turn.take());
            let mut arriving = inbox.lock();
            arriving.touched = true;
            match arriving.pieces.poll_recv(context) {
                Poll::Pending => Poll::Pending,
                Poll::Ready(Some(piece)) => Poll::Ready(Some(Ok(piece))),
                Poll::Ready(None) => Poll::Ready(arriving.cut.take().map(Err)),
            }
        });
        pieces.boxed()
    }
}

/// The item that the last header began.
enum Open {
    /// None, or it was ended.
    Nothing,
    /// It has its outcome: what comes of it is thrown away.
    Settled,
    Item(mpsc::Sender<Bytes>, Inbox),
}

impl Open {
    fn cut(&mut self, why: &Error) {
        if let Open::Item(_, inbox) = self {
            inbox.cut(why.clone());
        }
        *self = Open::Nothing;
    }

    /// Waits for room for a piece; `None` when nobody wants it any more.
    async fn room(&self) -> Option<mpsc::OwnedPermit<Bytes>> {
        match self {
            Open::Item(sender, _) => sender.clone().reserve_owned().await.ok(),
            Open::Nothing | Open::Settled => None,
        }
    }
}

/// What was read and waits: for room in its item, or for one of the places in flight.
enum Held {
    Chunk(Bytes),
    Item(u64, Box<Header>),
}

async fn raised(draining: &mut watch::Receiver<bool>) {
    // If the sender is gone, so is the node.
    let _ = draining.wait_for(|draining| *draining).await;
}

/// Reads, starts, answers. `issue` issues one item from its inbox.
async fn run<T, I, F>(
    issue: I,
    mut messages: Messages,
    mut ways: Ways,
    answers: mpsc::Sender<Result<Outcome<T>, Error>>,
) where
    T: Send + 'static,
    I: Fn(Header, Inbox) -> F,
    F: Future<Output = Result<T, Error>> + Send + 'static,
{
    // Dropped when the caller is gone, which ends every item that is not numbered.
    let mut items = JoinSet::new();
    let (mut open, mut held) = (Open::Nothing, None);
    let mut ended: Option<Result<(), Error>> = None;
    loop {
        if items.len() < ITEMS_IN_FLIGHT
            && let Some(Held::Item(item, header)) =
                held.take_if(|held| matches!(held, Held::Item(..)))
        {
            let (sender, inbox) = Inbox::new();
            let issued = issue(*header, inbox.clone());
            open = Open::Item(sender, inbox.clone());
            items.spawn(async move {
                let result = issued.await;
                inbox.close();
                Outcome { item, result }
            });
        }
        if ended.is_some() && held.is_none() && items.is_empty() {
            break;
        }
        let reading = ended.is_none() && held.is_none();
        let answered = tokio::select! {
            () = answers.closed() => return,
            Some(done) = items.join_next() => match done {
                Ok(outcome) => Some(outcome),
                Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                // Only a runtime that shuts down cancels them.
                Err(_) => return,
            },
            room = open.room(), if matches!(held, Some(Held::Chunk(_))) => {
                match (room, held.take()) {
                    (Some(room), Some(Held::Chunk(chunk))) => drop(room.send(chunk)),
                    _ => open = Open::Settled,
                }
                None
            }
            () = raised(&mut ways.draining), if ended.is_none() => {
                open.cut(&ways.leaving);
                // What was not begun is not begun: the caller has no outcome of it.
                held = None;
                ended = Some(Err(ways.leaving.clone()));
                None
            }
            message = messages.next(), if reading => match message {
                None => {
                    open = Open::Nothing;
                    ended = Some(Ok(()));
                    None
                }
                Some(Err(why)) => {
                    open.cut(&why);
                    ended = Some(Err(why));
                    None
                }
                Some(Ok(Message::End)) => {
                    open = Open::Nothing;
                    None
                }
                Some(Ok(Message::Chunk(chunk))) => {
                    match open {
                        Open::Nothing => {
                            let why = bad("chunk", "follows the header of its item");
                            ended = Some(Err(why.into()));
                        }
                        Open::Settled => {}
                        Open::Item(..) => held = Some(Held::Chunk(chunk)),
                    }
                    None
                }
                Some(Ok(Message::Header { item, header })) => match header {
                    Ok(header) => {
                        open = Open::Nothing;
                        held = Some(Held::Item(item, header));
                        None
                    }
                    Err(why) => {
                        open = Open::Settled;
                        let result = Err(why.into());
                        Some(Outcome { item, result })
                    }
                },
            },
            () = tokio::time::sleep(ways.idle), if reading && items.is_empty() => {
                ended = Some(Err(Error::Unavailable {
                    why: "no item came for too long; go on with another stream".to_owned(),
                    leader_address: None,
                }));
                None
            }
        };
        if let Some(outcome) = answered
            && answers.send(Ok(outcome)).await.is_err()
        {
            return;
        }
    }
    if let Some(Err(why)) = ended {
        // The caller may have gone in the last moment.
        let _ = answers.send(Err(why)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::sync::Semaphore;

    /// An item's bytes, once it may end.
    type Told = Result<Outcome<Vec<u8>>, Error>;

    fn header() -> Header {
        Header {
            request_id: "r".into(),
            metadata: Default::default(),
            role: String::new(),
            media_type: String::new(),
            length: 0,
            sha256: None,
            level: None,
            patience: Default::default(),
        }
    }

    fn begin(item: u64) -> Result<Message, Error> {
        let header = Ok(Box::new(header()));
        Ok(Message::Header { item, header })
    }

    fn chunk(bytes: &'static [u8]) -> Result<Message, Error> {
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
    fn start(messages: Vec<Result<Message, Error>>, endless: bool) -> Stream {
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
        let issue = move |_: Header, inbox: Inbox| {
            let (end, living) = (end.clone(), living.clone());
            async move {
                let mut pieces = inbox.pieces(None);
                let mut bytes = Vec::new();
                while let Some(piece) = pieces.next().await {
                    bytes.extend_from_slice(&piece?);
                }
                end.acquire().await.unwrap().forget();
                drop(living);
                Ok(bytes)
            }
        };
        let ways = Ways {
            idle: Duration::from_secs(30),
            draining,
            leaving: Error::exhausted("leaving"),
        };
        tokio::spawn(run(issue, messages, ways, answers));
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
        let ways = Ways {
            idle: Duration::from_secs(30),
            draining,
            leaving: Error::exhausted("leaving"),
        };
        let issue = move |_: Header, inbox: Inbox| {
            let counted: Arc<AtomicUsize> = Arc::clone(&counted);
            async move {
                let _kept = inbox;
                counted.fetch_add(1, Ordering::SeqCst);
                std::future::pending().await
            }
        };
        let messages = stream::iter(messages).map(count).boxed();
        tokio::spawn(run(issue, messages, ways, answers));
        settle().await;
        assert_eq!(read.load(Ordering::SeqCst), 1 + PIECES_AHEAD + 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_bad_item_is_its_own_affair_and_an_item_can_be_ended_early() {
        let refused = Message::Header {
            item: 2,
            header: Err(bad("metadata", "is required")),
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
        assert!(matches!(&told[1].result, Err(Error::Invalid(bad)) if bad.field == "metadata"));
        assert_eq!(told[2].result.clone().unwrap(), b"c");
        // It waits for more, but not for ever.
        let last = stream.told.recv().await.unwrap();
        assert!(matches!(last, Err(Error::Unavailable { .. })), "{last:?}");
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
        let ways = Ways {
            idle: Duration::from_secs(30),
            draining,
            leaving: Error::exhausted("leaving"),
        };
        let issue = |_: Header, inbox: Inbox| async move {
            let mut pieces = inbox.pieces(None);
            match pieces.next().await {
                Some(Ok(first)) if first == "y" => Ok(first.to_vec()),
                _ => Err(Error::from(bad("length", "is less than that"))),
            }
        };
        tokio::spawn(run(issue, stream::iter(messages).boxed(), ways, answers));
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
        assert!(matches!(last, Err(Error::Invalid(_))), "{last:?}");
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
        assert!(matches!(cut.result, Err(Error::Exhausted { .. })));
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
