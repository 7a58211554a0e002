//! The HTTP connections: how many, how long, and how they end.
//!
//! Promises: at most [`CONNECTIONS_MAX`] at once, each of which serves one request at a
//! time; none can be held by sending or reading slowly for longer than [`LIFE_MAX`]; a
//! shutdown ends idle ones at once and all within [`GRACE`]. Leaves the answers to the
//! router.

use axum::Router;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

/// Scrapers, probes and a few auditors. Bounds tile reads too.
pub const CONNECTIONS_MAX: usize = crate::objective::budget::HTTP_CONNECTIONS_MAX;
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

/// Serves until `shutdown`; returns once the connections have ended or [`GRACE`] is over.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    shutdown: impl Future<Output = ()> + Send,
) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let (ending, ended) = watch::channel(false);
    let mut connections = JoinSet::new();
    tokio::pin!(shutdown);
    loop {
        // A place first: who finds none waits in the kernel's queue, not in our memory.
        let place = tokio::select! {
            () = &mut shutdown => break,
            place = places.clone().acquire_owned() => {
                place.expect("the semaphore is never closed")
            }
        };
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let (router, ended) = (router.clone(), ended.clone());
                connections.spawn(async move {
                    connection(stream, router, ended).await;
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

async fn connection(stream: TcpStream, router: Router, mut ended: watch::Receiver<bool>) {
    // Answers are small; waiting to fill a packet would only delay them.
    let _ = stream.set_nodelay(true);
    let serving = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    tokio::pin!(serving);
    let end = async {
        tokio::select! {
            _ = ended.wait_for(|ended| *ended) => {}
            () = tokio::time::sleep(LIFE_MAX) => {}
        }
    };
    let result = tokio::select! {
        result = &mut serving => result,
        () = end => {
            serving.as_mut().graceful_shutdown();
            match tokio::time::timeout(ANSWER_TIMEOUT, serving).await {
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
