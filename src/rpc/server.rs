//! The gRPC listeners, with every limit set (tonic alone sets next to none).
//!
//! Promises: streams, headers and messages are bounded; a stopping server takes no new calls
//! and lets those in flight end. Leaves how many connections there are, and for how long, to
//! [`super::connections`].
//!
//! Tests: `tests/cluster/limits.rs`.

use super::cluster::ClusterHandler;
use super::connections::{ConnectionLimits, IdleLimits, accept};
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
use futures::stream::StreamExt as _;
use muniment_proto::DESCRIPTORS;
use muniment_proto::v1::cluster_service_server::ClusterServiceServer;
use muniment_proto::v1::evidence_service_server::EvidenceServiceServer;
use muniment_proto::v1::invoice_service_server::InvoiceServiceServer;
use muniment_proto::v1::peer_service_server::PeerServiceServer;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tonic::transport::Server;

/// Uploads, appends and questions of one peer, side by side.
const PEER_STREAMS_MAX: u32 = 1024;
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
    let allowed = ConnectionLimits {
        connections: limits.connections,
        handshake: Duration::from_millis(limits.handshake_timeout_ms),
        idle: Some(IdleLimits::default()),
    };
    let connections = accept(listener, allowed).inspect(move |_| accepted.inc());
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
    let allowed = ConnectionLimits {
        connections: PEER_CONNECTIONS_MAX,
        handshake: Duration::from_millis(limits.handshake_timeout_ms),
        // Peers are few, and are spoken to again.
        idle: None,
    };
    let served = builder(limits, PEER_STREAMS_MAX)
        .add_service(peers)
        .serve_with_incoming_shutdown(accept(listener, allowed), shutdown)
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
