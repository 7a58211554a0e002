//! Streams that go on, or end: what moves no byte gives its place and memory back.
//!
//! Promises: bytes that come in end with a refusal when for too long none came, however many
//! empty pieces did ([`moving`]); what goes out is given up when for too long nobody took
//! the next piece, and with it all that the stream holds, though the transport never asks
//! again ([`taken`]). Leaves how long that is to `limits.idle_timeout_ms`, and a minimum
//! rate to nobody: one byte is progress.

use super::issue::UploadPieces;
use crate::domain::draft::bad;
use futures::stream::{self, BoxStream, Stream, StreamExt as _};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::task::AbortHandle;
use tokio::time::Instant;

/// The pieces that have bytes, as long as one comes within `idle` of the one before.
pub fn moving(pieces: UploadPieces, idle: Duration) -> UploadPieces {
    stream::unfold(Some(pieces), move |pieces| async move {
        let mut pieces = pieces?;
        let until = Instant::now() + idle;
        loop {
            let next = tokio::time::timeout_at(until, pieces.next()).await;
            // Empty pieces that are always at hand would keep the time from being looked at.
            let late = next.is_err() || Instant::now() >= until;
            match next.ok().flatten() {
                Some(Ok(piece)) if piece.is_empty() && !late => {}
                Some(Ok(piece)) if !piece.is_empty() => return Some((Ok(piece), Some(pieces))),
                Some(Err(error)) => return Some((Err(error), None)),
                None if !late => return None,
                _ => {
                    let why = "no bytes came for too long; nothing is kept";
                    return Some((Err(bad("chunk", why).into()), None));
                }
            }
        }
    })
    .boxed()
}

/// The stream as long as each item is asked for within `idle` of the one before; else it is
/// dropped, whoever holds what is returned, and `given_up` is its last item. Time that
/// the stream itself takes for an item does not count.
pub fn taken<T: Send + 'static>(
    stream: BoxStream<'static, T>,
    idle: Duration,
    given_up: impl FnOnce() -> T + Send + Unpin + 'static,
) -> BoxStream<'static, T> {
    let held = Arc::new(Mutex::new(Held {
        stream: Some(stream),
        asked: false,
        moved: Instant::now(),
    }));
    let watching = tokio::spawn(watch(held.clone(), idle)).abort_handle();
    Taken {
        held,
        watching,
        given_up: Some(given_up),
    }
    .boxed()
}

struct Held<T> {
    /// `None` once it has ended or was given up.
    stream: Option<BoxStream<'static, T>>,
    /// Whether somebody waits for the next item.
    asked: bool,
    /// When the last item was handed out.
    moved: Instant,
}

struct Taken<T, F> {
    held: Arc<Mutex<Held<T>>>,
    watching: AbortHandle,
    /// Until the end was told.
    given_up: Option<F>,
}

fn lock<T>(held: &Mutex<Held<T>>) -> MutexGuard<'_, Held<T>> {
    held.lock().expect("a stream that panics ends its task")
}

/// Ends with the stream, or when it gives it up.
async fn watch<T>(held: Arc<Mutex<Held<T>>>, idle: Duration) {
    loop {
        let until = {
            let held = lock(&held);
            match held.asked {
                true => Instant::now() + idle,
                false => held.moved + idle,
            }
        };
        tokio::time::sleep_until(until).await;
        let mut held = lock(&held);
        if !held.asked && held.moved + idle <= Instant::now() {
            let given_up = held.stream.take();
            drop(held);
            drop(given_up);
            return;
        }
    }
}

impl<T, F: FnOnce() -> T + Unpin> Stream for Taken<T, F> {
    type Item = T;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let polled = {
            let mut held = lock(&self.held);
            let polled = held
                .stream
                .as_mut()
                .map(|stream| stream.poll_next_unpin(cx));
            held.asked = matches!(polled, Some(Poll::Pending));
            held.moved = Instant::now();
            polled
        };
        match polled {
            Some(Poll::Ready(None)) => {
                self.given_up = None;
                lock(&self.held).stream = None;
                Poll::Ready(None)
            }
            Some(polled) => polled,
            None => Poll::Ready(self.given_up.take().map(|given_up| given_up())),
        }
    }
}

impl<T, F> Drop for Taken<T, F> {
    fn drop(&mut self) {
        self.watching.abort();
        // The watch may have been about to look: what it would have dropped goes here.
        let stream = lock(&self.held).stream.take();
        drop(stream);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::call_error::CallError;
    use bytes::Bytes;

    const IDLE: Duration = Duration::from_secs(30);

    fn upload(pieces: impl Stream<Item = &'static [u8]> + Send + 'static) -> UploadPieces {
        let pieces = pieces.map(|piece| Ok(Bytes::from_static(piece)));
        moving(pieces.boxed(), IDLE)
    }

    fn refused(end: Option<Result<Bytes, CallError>>) -> bool {
        matches!(end, Some(Err(CallError::Invalid(bad))) if bad.field == "chunk")
    }

    /// An upload holds a place: empty chunks would hold it for ever.
    #[tokio::test(start_paused = true)]
    async fn empty_pieces_are_no_progress() {
        let tick = Duration::from_secs(1);
        let empty = move |n: u32| {
            stream::once(async move {
                tokio::time::sleep(tick).await;
                if n == 20 { &b"x"[..] } else { b"" }
            })
        };
        let started = Instant::now();
        let mut pieces = upload(stream::iter(0u32..).flat_map(empty));
        assert_eq!(pieces.next().await, Some(Ok(Bytes::from_static(b"x"))));
        assert!(refused(pieces.next().await));
        assert!(started.elapsed() <= 21 * tick + IDLE + tick, "{started:?}");
        assert!(pieces.next().await.is_none());
        // Silence is none either, and an end is an end.
        let mut silent = upload(stream::iter([&b"y"[..]]).chain(stream::pending()));
        assert_eq!(silent.next().await, Some(Ok(Bytes::from_static(b"y"))));
        assert!(refused(silent.next().await));
        let whole = upload(stream::iter([&b""[..], b"a", b"", b"b", b""]));
        assert_eq!(whole.collect::<Vec<_>>().await.len(), 2);
    }

    /// Empty pieces that need no waiting for: the time is looked at all the same.
    #[tokio::test]
    async fn empty_pieces_without_a_pause_end_too() {
        let short = Duration::from_millis(20);
        let endless = stream::repeat_with(|| Ok(Bytes::new())).boxed();
        assert!(refused(moving(endless, short).next().await));
    }

    /// A download holds a place and memory, and its reader may never come back for more.
    #[tokio::test(start_paused = true)]
    async fn what_nobody_takes_is_given_up_though_it_is_never_asked_again() {
        let place = Arc::new(());
        let held = place.clone();
        let pieces = stream::iter(0..9).map(move |n| {
            let _held = &held;
            n
        });
        let mut pieces = taken(pieces.boxed(), IDLE, || 99);
        assert_eq!(pieces.next().await, Some(0));
        tokio::time::sleep(IDLE - Duration::from_secs(1)).await;
        assert_eq!(pieces.next().await, Some(1));
        tokio::time::sleep(IDLE - Duration::from_secs(1)).await;
        assert_eq!(Arc::strong_count(&place), 2);
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(Arc::strong_count(&place), 1, "its place is free");
        assert_eq!(pieces.next().await, Some(99));
        assert_eq!(pieces.next().await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_is_slow_itself_is_not_given_up_and_an_end_is_an_end() {
        let slow = stream::iter(0..2).then(|n| async move {
            tokio::time::sleep(5 * IDLE).await;
            n
        });
        let all: Vec<i32> = taken(slow.boxed(), IDLE, || 99).collect().await;
        assert_eq!(all, [0, 1]);
        // Dropped by its caller, it is gone at once.
        let place = Arc::new(());
        let held = place.clone();
        let kept = stream::repeat_with(move || Arc::strong_count(&held)).boxed();
        drop(taken(kept, IDLE, || 0));
        assert_eq!(Arc::strong_count(&place), 1);
    }
}
