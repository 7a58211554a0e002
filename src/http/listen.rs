//! The HTTP connections: how many, how long, and how they end.
//!
//! Promises: at most [`CONNECTIONS_MAX`] at once, each of which serves one request at a
//! time; of these, [`QUICK_PLACES`] are given back within seconds, so that a probe or a
//! scrape finds one while auditors hold all others; none can be held by sending or reading slowly for longer than [`LIFE_MAX`]; a
//! shutdown ends idle ones at once and all within [`GRACE`]. Leaves the answers to the
//! router.

use axum::Router;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;

/// Scrapers, probes and a few auditors. Bounds tile reads too.
pub const CONNECTIONS_MAX: usize = crate::objective::budget::HTTP_CONNECTIONS_MAX;
/// Places for one quick request each, taken when all others are.
pub const QUICK_PLACES: usize = 16;
/// For the head of a quick request to arrive.
pub const QUICK_HEAD_TIMEOUT: Duration = Duration::from_secs(1);
/// For a quick request as a whole.
pub const QUICK_LIFE_MAX: Duration = Duration::from_secs(5);
/// For a request's head to arrive, the wait on a kept connection included.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// Who reads slowly gives his place back in the end.
pub const LIFE_MAX: Duration = Duration::from_secs(300);
/// For the last answer of a connection to be taken, once it is to end.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// For open answers to end after the shutdown.
pub const GRACE: Duration = Duration::from_secs(3);
/// Between attempts to accept when the machine is out of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

const _: () = assert!(QUICK_PLACES < CONNECTIONS_MAX);

/// What a connection may take of time.
#[derive(Clone, Copy)]
struct Allowance {
    head: Duration,
    life: Duration,
    /// For the last answer to be taken, once the connection is to end.
    answer: Duration,
    /// Whether more than one request may come over it.
    keep_alive: bool,
}

const USUAL: Allowance = Allowance {
    head: HEAD_TIMEOUT,
    life: LIFE_MAX,
    answer: ANSWER_TIMEOUT,
    keep_alive: true,
};

const QUICK: Allowance = Allowance {
    head: QUICK_HEAD_TIMEOUT,
    life: QUICK_LIFE_MAX,
    answer: QUICK_HEAD_TIMEOUT,
    keep_alive: false,
};

/// The places of all connections.
struct Places {
    usual: Arc<Semaphore>,
    quick: Arc<Semaphore>,
}

impl Places {
    fn new() -> Places {
        Places {
            usual: Arc::new(Semaphore::new(CONNECTIONS_MAX - QUICK_PLACES)),
            quick: Arc::new(Semaphore::new(QUICK_PLACES)),
        }
    }

    /// The next one that is free, and what it allows.
    async fn take(&self) -> (OwnedSemaphorePermit, Allowance) {
        let never_closed = "the semaphore is never closed";
        tokio::select! {
            biased;
            place = self.usual.clone().acquire_owned() => (place.expect(never_closed), USUAL),
            place = self.quick.clone().acquire_owned() => (place.expect(never_closed), QUICK),
        }
    }
}

/// Serves until `shutdown`; returns once the connections have ended or [`GRACE`] is over.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    shutdown: impl Future<Output = ()> + Send,
) {
    let places = Places::new();
    let (ending, ended) = watch::channel(false);
    let mut connections = JoinSet::new();
    tokio::pin!(shutdown);
    loop {
        // A place first: who finds none waits in the kernel's queue, not in our memory.
        let (place, allowed) = tokio::select! {
            () = &mut shutdown => break,
            taken = places.take() => taken,
        };
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let (router, ended) = (router.clone(), ended.clone());
                connections.spawn(async move {
                    connection(stream, router, allowed, ended).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "the HTTP listener could not accept");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
        while connections.try_join_next().is_some() {}
    }
    drop(listener);
    ending.send_replace(true);
    let all = async { while connections.join_next().await.is_some() {} };
    // Whoever still reads slowly is cut off when the set is dropped.
    let _ = tokio::time::timeout(GRACE, all).await;
}

async fn connection(
    stream: TcpStream,
    router: Router,
    allowed: Allowance,
    mut ended: watch::Receiver<bool>,
) {
    // Answers are small; waiting to fill a packet would only delay them.
    let _ = stream.set_nodelay(true);
    let serving = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(allowed.head)
        .keep_alive(allowed.keep_alive)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    tokio::pin!(serving);
    let end = async {
        tokio::select! {
            _ = ended.wait_for(|ended| *ended) => {}
            () = tokio::time::sleep(allowed.life) => {}
        }
    };
    let result = tokio::select! {
        result = &mut serving => result,
        () = end => {
            serving.as_mut().graceful_shutdown();
            match tokio::time::timeout(allowed.answer, serving).await {
                Ok(result) => result,
                Err(_) => return,
            }
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "an HTTP connection ended early");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing::get;
    use std::net::SocketAddr;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::sync::oneshot;
    use tokio::task::JoinHandle;

    async fn start() -> (SocketAddr, oneshot::Sender<()>, JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let router = Router::new().route("/", get(|| async { "here\n" }));
        let done = tokio::spawn(serve(listener, router, async {
            let _ = stopped.await;
        }));
        (address, stop, done)
    }

    async fn ask(stream: &mut TcpStream) -> String {
        stream
            .write_all(b"GET / HTTP/1.1\r\nhost: test\r\n\r\n")
            .await
            .unwrap();
        let mut answer = String::new();
        while !answer.ends_with("here\n") {
            let mut piece = [0; 256];
            let length = stream.read(&mut piece).await.unwrap();
            assert!(length > 0, "ended after {answer:?}");
            answer.push_str(std::str::from_utf8(&piece[..length]).unwrap());
        }
        answer
    }

    /// Auditors who hold their connections open must not make a probe fail: a node that does
    /// not answer one is killed.
    #[tokio::test]
    async fn a_probe_is_answered_while_all_usual_places_are_held() {
        let (address, _stop, _done) = start().await;
        let mut held = Vec::new();
        for _ in 0..CONNECTIONS_MAX {
            held.push(TcpStream::connect(address).await.unwrap());
        }
        for _ in 0..3 {
            let mut probe = TcpStream::connect(address).await.unwrap();
            let answered = tokio::time::timeout(3 * QUICK_HEAD_TIMEOUT, ask(&mut probe)).await;
            let answer = answered.expect("answered in time");
            assert!(answer.starts_with("HTTP/1.1 200"));
            // One request, and the place is free again.
            assert_eq!(probe.read(&mut [0; 1]).await.unwrap(), 0);
        }
    }

    /// A scraper's kept connection must not hold up the end of a node.
    #[tokio::test]
    async fn a_shutdown_ends_idle_connections_at_once() {
        let (address, stop, done) = start().await;
        let mut kept = TcpStream::connect(address).await.unwrap();
        for _ in 0..2 {
            assert!(ask(&mut kept).await.starts_with("HTTP/1.1 200"));
        }
        stop.send(()).unwrap();
        tokio::time::timeout(GRACE / 2, done)
            .await
            .expect("well below the grace")
            .unwrap();
        assert_eq!(kept.read(&mut [0; 1]).await.unwrap(), 0);
    }

    /// The head comes byte by byte, for ever: the place is given to someone else.
    #[tokio::test(start_paused = true)]
    async fn a_slow_head_loses_its_place() {
        let (address, _stop, _done) = start().await;
        let mut slow = TcpStream::connect(address).await.unwrap();
        slow.write_all(b"GET / HT").await.unwrap();
        let mut left = Vec::new();
        tokio::time::timeout(HEAD_TIMEOUT * 2, slow.read_to_end(&mut left))
            .await
            .expect("cut off in time")
            .unwrap();
        assert!(!left.starts_with(b"HTTP/1.1 200"));
    }
}
