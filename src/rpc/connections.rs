//! Connections of a gRPC listener: how many, and when one ends that nobody uses.
//!
//! Promises: at most so many at a time, the others wait in the backlog; one that has not said
//! its HTTP/2 hello within the handshake time is closed; one without a call under way is
//! closed after [`IDLE_MAX`], and after [`IDLE_CROWDED`] while others wait for a place. Leaves
//! peers that are gone to HTTP/2's keepalive, and what a call holds to `service/`.

use futures::stream::{self, Stream};
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep};
use tonic::transport::server::{Connected, TcpConnectInfo};

/// A client's connection without a call: a caller that comes back later opens another in one
/// round trip.
pub const IDLE_MAX: Duration = Duration::from_secs(300);
/// ... while all places are taken: longer than a busy caller pauses, and short for whoever
/// waits in the backlog.
pub const IDLE_CROWDED: Duration = Duration::from_secs(5);
/// Between two looks at whether a connection is idle: a thousand of them cost nothing.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Pause after an accept that failed (out of descriptors): others may end meanwhile.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// A client's hello: the preface, and the head of the SETTINGS frame after it (RFC 9113, 3.4).
/// Whoever has sent that is served by HTTP/2, which has a keepalive.
const HELLO_BYTES: usize = 24 + 9;

/// What the connections of a listener may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct ConnectionLimits {
    pub connections: usize,
    pub handshake: Duration,
    /// `None` where calls are not counted: connections stay.
    pub idle: Option<IdleLimits>,
}

/// How long a connection without a call stays.
#[derive(Clone, Copy, Debug)]
pub(super) struct IdleLimits {
    pub usual: Duration,
    /// While others wait for a place.
    pub crowded: Duration,
    pub look_every: Duration,
}

impl Default for IdleLimits {
    fn default() -> IdleLimits {
        IdleLimits {
            usual: IDLE_MAX,
            crowded: IDLE_CROWDED,
            look_every: LOOK_EVERY,
        }
    }
}

/// Accepts within the limits.
pub(super) fn accept(
    listener: TcpListener,
    limits: ConnectionLimits,
) -> impl Stream<Item = io::Result<Connection>> {
    let permits = Arc::new(Semaphore::new(limits.connections));
    let crowded = Arc::new(AtomicBool::new(false));
    let state = (listener, permits, crowded);
    stream::unfold(state, move |(listener, permits, crowded)| async move {
        loop {
            crowded.store(permits.available_permits() == 0, Ordering::Relaxed);
            let permit = permits.clone().acquire_owned().await.ok()?;
            crowded.store(false, Ordering::Relaxed);
            match listener.accept().await {
                Ok((io, _)) => {
                    // Small answers must not wait for more to send.
                    if let Err(error) = io.set_nodelay(true) {
                        tracing::debug!(%error, "no nodelay on a connection");
                    }
                    let connection = Connection {
                        io,
                        heard: 0,
                        handshake: Box::pin(tokio::time::sleep(limits.handshake)),
                        idle: limits.idle.map(|limits| Idle {
                            limits,
                            look: Box::pin(tokio::time::sleep(limits.look_every)),
                            crowded: crowded.clone(),
                        }),
                        calls: CallsUnderWay::default(),
                        _permit: permit,
                    };
                    return Some((Ok(connection), (listener, permits, crowded)));
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    })
}

/// A connection that holds its place.
pub(super) struct Connection {
    io: TcpStream,
    /// Bytes of the hello that have come.
    heard: usize,
    handshake: Pin<Box<Sleep>>,
    idle: Option<Idle>,
    calls: CallsUnderWay,
    _permit: OwnedSemaphorePermit,
}

struct Idle {
    limits: IdleLimits,
    look: Pin<Box<Sleep>>,
    crowded: Arc<AtomicBool>,
}

/// Which connection a request came over.
#[derive(Clone)]
pub(super) struct OfConnection {
    pub tcp: TcpConnectInfo,
    pub calls: CallsUnderWay,
}

/// The calls of one connection. Cheap to clone.
#[derive(Clone)]
pub(super) struct CallsUnderWay(Arc<Mutex<Calls>>);

struct Calls {
    count: usize,
    /// Since when there is none.
    none_since: Instant,
}

/// A call under way, until it is dropped.
pub(super) struct CallUnderWay(CallsUnderWay);

impl Default for CallsUnderWay {
    fn default() -> CallsUnderWay {
        CallsUnderWay(Arc::new(Mutex::new(Calls {
            count: 0,
            none_since: Instant::now(),
        })))
    }
}

impl CallsUnderWay {
    pub fn begin(&self) -> CallUnderWay {
        self.lock().count += 1;
        CallUnderWay(self.clone())
    }

    fn idle_for(&self) -> Duration {
        let calls = self.lock();
        match calls.count {
            0 => calls.none_since.elapsed(),
            _ => Duration::ZERO,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Calls> {
        self.0.lock().expect("nobody panics with it")
    }
}

impl Drop for CallUnderWay {
    fn drop(&mut self) {
        let mut calls = self.0.lock();
        calls.count -= 1;
        calls.none_since = Instant::now();
    }
}

impl Connected for Connection {
    type ConnectInfo = OfConnection;

    fn connect_info(&self) -> OfConnection {
        OfConnection {
            tcp: self.io.connect_info(),
            calls: self.calls.clone(),
        }
    }
}

impl Connection {
    /// Whether nobody has used it for as long as it may be.
    fn is_idle(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(idle) = &mut self.idle else {
            return false;
        };
        while idle.look.as_mut().poll(cx).is_ready() {
            let most = match idle.crowded.load(Ordering::Relaxed) {
                true => idle.limits.crowded,
                false => idle.limits.usual,
            };
            if self.calls.idle_for() >= most {
                return true;
            }
            idle.look
                .as_mut()
                .reset(Instant::now() + idle.limits.look_every);
        }
        false
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.io).poll_read(cx, buffer);
        if self.heard < HELLO_BYTES {
            self.heard += buffer.filled().len() - before;
            if self.heard < HELLO_BYTES && self.handshake.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
        } else if polled.is_pending() && self.is_idle(cx) {
            // As if it had been closed at the other end.
            return Poll::Ready(Ok(()));
        }
        polled
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::StreamExt as _;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    const SHORT: Duration = Duration::from_millis(100);
    const NEVER: Duration = Duration::from_secs(3600);
    /// Longer than a busy machine takes for anything here.
    const SOON: Duration = Duration::from_secs(20);

    fn limits(connections: usize, idle: Duration, crowded: Duration) -> ConnectionLimits {
        ConnectionLimits {
            connections,
            handshake: SHORT,
            idle: Some(IdleLimits {
                usual: idle,
                crowded,
                look_every: SHORT / 4,
            }),
        }
    }

    async fn listening(
        limits: ConnectionLimits,
    ) -> (
        std::net::SocketAddr,
        Pin<Box<dyn Stream<Item = io::Result<Connection>> + Send>>,
    ) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        (at, accept(listener, limits).boxed())
    }

    /// A client that says so many bytes of its hello, and both ends of its connection.
    async fn said(
        at: std::net::SocketAddr,
        accepted: &mut (impl Stream<Item = io::Result<Connection>> + Unpin),
        bytes: usize,
    ) -> (TcpStream, Connection) {
        let mut client = TcpStream::connect(at).await.unwrap();
        client.write_all(&vec![b'x'; bytes]).await.unwrap();
        let next = tokio::time::timeout(SOON, accepted.next()).await;
        (client, next.expect("there is a place").unwrap().unwrap())
    }

    /// Reads until the connection ends.
    async fn ends(mut connection: Connection) -> io::Result<u64> {
        let mut nowhere = tokio::io::sink();
        let read = tokio::io::copy(&mut connection, &mut nowhere);
        tokio::time::timeout(SOON, read).await.expect("it ends")
    }

    #[tokio::test]
    async fn a_hello_that_stops_midway_ends_at_the_handshake_time() {
        let (at, mut accepted) = listening(limits(8, NEVER, NEVER)).await;
        for bytes in [0, 1, HELLO_BYTES - 1] {
            let (_client, connection) = said(at, &mut accepted, bytes).await;
            let ended = ends(connection).await.unwrap_err();
            assert_eq!(ended.kind(), io::ErrorKind::TimedOut, "{bytes}");
        }
        let (_client, mut connection) = said(at, &mut accepted, HELLO_BYTES).await;
        let mut hello = [0; HELLO_BYTES];
        connection.read_exact(&mut hello).await.unwrap();
        let more = tokio::time::timeout(3 * SHORT, connection.read_u8()).await;
        assert!(more.is_err(), "it stays: {more:?}");
    }

    #[tokio::test]
    async fn a_connection_without_a_call_ends_and_one_with_a_call_stays() {
        let (at, mut accepted) = listening(limits(8, SHORT, SHORT)).await;
        let (_client, idle) = said(at, &mut accepted, HELLO_BYTES).await;
        assert_eq!(ends(idle).await.unwrap(), HELLO_BYTES as u64);
        let (_client, mut busy) = said(at, &mut accepted, HELLO_BYTES).await;
        let call = busy.connect_info().calls.begin();
        let mut hello = [0; HELLO_BYTES];
        busy.read_exact(&mut hello).await.unwrap();
        let more = tokio::time::timeout(4 * SHORT, busy.read_u8()).await;
        assert!(more.is_err(), "it stays: {more:?}");
        drop(call);
        assert_eq!(ends(busy).await.unwrap(), 0);
    }

    /// A crowd of idle connections kept all others out, of a node that said READY.
    #[tokio::test]
    async fn who_waits_for_a_place_gets_that_of_one_who_makes_no_call() {
        let (at, mut accepted) = listening(limits(2, NEVER, SHORT)).await;
        let (_first, idle) = said(at, &mut accepted, HELLO_BYTES).await;
        let (_second, mut busy) = said(at, &mut accepted, HELLO_BYTES).await;
        let _call = busy.connect_info().calls.begin();
        let mut hello = [0; HELLO_BYTES];
        busy.read_exact(&mut hello).await.unwrap();
        let ended = tokio::spawn(ends(idle));
        let (_third, _served) = said(at, &mut accepted, HELLO_BYTES).await;
        assert_eq!(ended.await.unwrap().unwrap(), HELLO_BYTES as u64);
        let more = tokio::time::timeout(4 * SHORT, busy.read_u8()).await;
        assert!(more.is_err(), "a call keeps its connection: {more:?}");
    }
}
