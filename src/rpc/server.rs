//! The gRPC listeners, with every limit set (tonic alone sets next to none).
//!
//! Promises: at most `connections` at a time; a connection that says nothing during its
//! handshake time is closed; streams, headers and messages are bounded; a stopping
//! server takes no new calls and lets those in flight end.
//!
//! Tests: `tests/cluster/limits.rs`.

use super::cluster::ClusterHandler;
use super::evidence::EvidenceHandler;
use super::invoices::InvoiceHandler;
use super::observe::Observe;
use super::peers::Peers;
use crate::config::Limits;
use crate::objective::budget::PEER_CONNECTIONS_MAX;
use crate::service::Parts;
use crate::supervise;
use crate::telemetry::Metrics;
use crate::transport::Serve;
use futures::stream::{self, Stream, StreamExt as _};
use muniment_proto::DESCRIPTORS;
use muniment_proto::v1::cluster_service_server::ClusterServiceServer;
use muniment_proto::v1::evidence_service_server::EvidenceServiceServer;
use muniment_proto::v1::invoice_service_server::InvoiceServiceServer;
use muniment_proto::v1::peer_service_server::PeerServiceServer;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::transport::Server;
use tonic::transport::server::{Connected, TcpConnectInfo};

/// Uploads, appends and questions of one peer, side by side.
const PEER_STREAMS_MAX: u32 = 1024;
/// Pause after an accept that failed (out of descriptors): others may end meanwhile.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Between looks at what nobody signals: free space, and how the others are configured.
const HEALTH_EVERY: Duration = Duration::from_secs(1);
/// Bytes in flight on one client stream and connection.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 8 << 20;

fn builder(limits: &Limits, streams: u32) -> Server {
    Server::builder()
        .tcp_nodelay(true)
        .max_concurrent_streams(streams)
        .concurrency_limit_per_connection(streams as usize)
        .http2_max_header_list_size(limits.header_bytes)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .http2_keepalive_interval(Some(Duration::from_millis(limits.keepalive_interval_ms)))
        .http2_keepalive_timeout(Some(Duration::from_millis(limits.keepalive_timeout_ms)))
}

/// Why a listener cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error(transparent)]
    Reflection(#[from] tonic_reflection::server::Error),
    #[error(transparent)]
    Transport(#[from] tonic::transport::Error),
}

/// Serves clients until `shutdown`, then drains.
pub async fn serve_clients(
    parts: Arc<Parts>,
    metrics: Arc<Metrics>,
    listener: TcpListener,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), ServeError> {
    let limits = parts.admission.limits.clone();
    let bytes = limits.message_bytes;
    let (health, health_service) = tonic_health::server::health_reporter();
    let (stop, reporting) = (parts.reads.context.stop.clone(), parts.clone());
    let watching = supervise::restart(&stop, "the health service", move || {
        report_health(reporting.clone(), health.clone())
    });
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()?;
    let cluster = ClusterHandler {
        started: parts.reads.context.clock.monotonic(),
        parts: parts.clone(),
    };
    let invoices = InvoiceServiceServer::new(InvoiceHandler(parts.clone()));
    let evidence = EvidenceServiceServer::new(EvidenceHandler(parts.clone()));
    let cluster = ClusterServiceServer::new(cluster);
    let accepted = metrics.accepted_connections.clone();
    let connections = accept(listener, limits.connections, &limits, move || {
        accepted.inc();
    });
    let served = builder(&limits, limits.streams_per_connection)
        .layer(Observe(metrics, parts.clone()))
        .add_service(health_service)
        .add_service(reflection)
        .add_service(
            invoices
                .max_decoding_message_size(bytes)
                .max_encoding_message_size(bytes),
        )
        .add_service(
            evidence
                .max_decoding_message_size(bytes)
                .max_encoding_message_size(bytes),
        )
        .add_service(
            cluster
                .max_decoding_message_size(bytes)
                .max_encoding_message_size(bytes),
        )
        .serve_with_incoming_shutdown(connections, shutdown)
        .await;
    watching.abort();
    Ok(served?)
}

/// Serves peers until `shutdown`.
pub async fn serve_peers(
    origin: String,
    serve: Arc<dyn Serve>,
    limits: &Limits,
    listener: TcpListener,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), ServeError> {
    let bytes = limits.message_bytes;
    let peers = PeerServiceServer::new(Peers { origin, serve })
        .max_decoding_message_size(bytes)
        .max_encoding_message_size(bytes);
    let served = builder(limits, PEER_STREAMS_MAX)
        .add_service(peers)
        .serve_with_incoming_shutdown(
            accept(listener, PEER_CONNECTIONS_MAX, limits, || {}),
            shutdown,
        )
        .await;
    Ok(served?)
}

/// Keeps the standard health service in step with readiness, also when what signals a change
/// of it has gone: it is looked at every second all the same.
async fn report_health(parts: Arc<Parts>, health: tonic_health::server::HealthReporter) {
    let (mut booted, mut draining) = (
        parts.writes.booted.clone(),
        parts.admission.draining.clone(),
    );
    let mut drained = parts.membership.drained();
    let mut seen = None;
    loop {
        let ready = crate::service::status::ready(&parts).is_ok();
        if ready {
            health
                .set_serving::<InvoiceServiceServer<InvoiceHandler>>()
                .await;
            health
                .set_serving::<EvidenceServiceServer<EvidenceHandler>>()
                .await;
        } else {
            health
                .set_not_serving::<InvoiceServiceServer<InvoiceHandler>>()
                .await;
            health
                .set_not_serving::<EvidenceServiceServer<EvidenceHandler>>()
                .await;
        }
        let status = if ready {
            tonic_health::ServingStatus::Serving
        } else {
            tonic_health::ServingStatus::NotServing
        };
        health.set_service_status("", status).await;
        tokio::select! {
            now = parts.reads.context.group.leadership_changed(seen) => seen = Some(now),
            () = supervise::changed(&mut booted) => {}
            () = supervise::changed(&mut draining) => {}
            () = tokio::time::sleep(HEALTH_EVERY) => {}
            () = supervise::changed(&mut drained) => {}
        }
    }
}

/// Accepts at most `max` connections at a time; the others wait in the backlog.
fn accept<F: Fn() + Send + 'static>(
    listener: TcpListener,
    max: usize,
    limits: &Limits,
    on_accept: F,
) -> impl Stream<Item = io::Result<Connection>> + use<F> {
    let handshake = Duration::from_millis(limits.handshake_timeout_ms);
    let permits = Arc::new(Semaphore::new(max));
    let state = (listener, permits);
    stream::unfold(state, move |(listener, permits)| async move {
        loop {
            let Ok(permit) = permits.clone().acquire_owned().await else {
                return None;
            };
            match listener.accept().await {
                Ok((io, _)) => {
                    // Small answers must not wait for more to send.
                    if let Err(error) = io.set_nodelay(true) {
                        tracing::debug!(%error, "no nodelay on a connection");
                    }
                    let connection = Connection {
                        io,
                        quiet: Some(Box::pin(tokio::time::sleep(handshake))),
                        _permit: permit,
                    };
                    return Some((Ok(connection), (listener, permits)));
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    })
    .inspect(move |_| on_accept())
}

/// A connection that holds its place, and must speak within its handshake time.
struct Connection {
    io: TcpStream,
    quiet: Option<Pin<Box<tokio::time::Sleep>>>,
    _permit: OwnedSemaphorePermit,
}

impl Connected for Connection {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.io.connect_info()
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
        if polled.is_ready() && buffer.filled().len() > before {
            self.quiet = None;
        } else if let Some(quiet) = &mut self.quiet
            && quiet.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
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
