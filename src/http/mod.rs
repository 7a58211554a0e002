//! HTTP for machines: tlog-tiles, metrics, health.
//!
//! Read only and without secrets, so it may stand open to auditors and monitors. Leaves
//! where the data comes from to [`source`], and the connections to [`listen`].
//!
//! A HEAD is answered as its GET, without the body. Nothing is compressed: most bytes of a
//! tile or record are hashes and signatures.
//!
//! | path | what |
//! |---|---|
//! | `/checkpoint` | the newest cosigned note; while that is older than 2 s and the log has grown since, the newest checkpoint under the log key alone; its size never goes back on one node |
//! | `/tile/<L>/<N>[.p/<W>]` | rows of the tree (C2SP tlog-tiles) |
//! | `/tile/entries/<N>[.p/<W>]` | records, each led by its u16 length |
//! | `/metrics` | Prometheus text |
//! | `/healthz` | 200 while the process lives |
//! | `/readyz` | 200 when this node may serve, else 503 with reasons |

pub mod listen;
pub mod source;
pub mod tiles;

use crate::telemetry::Metrics;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use source::NodeSource;
use std::future::Future;
use std::sync::Arc;
use tiles::Tile;
use tokio::net::TcpListener;

/// A tile never changes once it is complete for its width.
const IMMUTABLE: &str = "public, max-age=31536000, immutable";
/// A checkpoint is replaced with every entry.
const SHORT: &str = "public, max-age=1";
/// What is not here now may be here in a moment; a cache that may guess would keep the 404.
const NOT_KEPT: &str = "no-store";

type Shared = (Arc<NodeSource>, Arc<Metrics>);

/// Serves until `shutdown`.
pub async fn serve(
    listener: TcpListener,
    source: Arc<NodeSource>,
    metrics: Arc<Metrics>,
    shutdown: impl Future<Output = ()> + Send,
) {
    let app = Router::new()
        .route("/checkpoint", get(checkpoint))
        .route("/tile/{*path}", get(tile))
        .route("/metrics", get(render))
        .route("/healthz", get(|| async { "alive\n" }))
        .route("/readyz", get(ready))
        .with_state((source, metrics));
    listen::serve(listener, app, shutdown).await;
}

fn refuse(status: StatusCode, why: String) -> Response {
    let headers = [(header::CACHE_CONTROL, NOT_KEPT)];
    (status, headers, why + "\n").into_response()
}

fn unavailable(why: String) -> Response {
    refuse(StatusCode::SERVICE_UNAVAILABLE, why)
}

fn not_found(why: &str) -> Response {
    refuse(StatusCode::NOT_FOUND, why.to_owned())
}

async fn checkpoint(State((source, _)): State<Shared>) -> Response {
    match source.checkpoint().await {
        Ok(note) => {
            let headers = [
                (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
                (header::CACHE_CONTROL, SHORT),
            ];
            (headers, note).into_response()
        }
        Err(error) => unavailable(error.to_string()),
    }
}

async fn tile(State((source, _)): State<Shared>, uri: Uri) -> Response {
    // As it was sent: a decoded path would give one tile a second name.
    let path = uri.path().strip_prefix("/tile/").and_then(Tile::parse);
    let Some(tile) = path else {
        return not_found("not a tile path");
    };
    match source.tile(tile).await {
        Ok(Some(bytes)) => {
            let headers = [
                (header::CONTENT_TYPE, "application/octet-stream"),
                (header::CACHE_CONTROL, IMMUTABLE),
            ];
            (headers, bytes).into_response()
        }
        Ok(None) => not_found("beyond the log"),
        Err(error) => unavailable(error.to_string()),
    }
}

async fn render(State((source, metrics)): State<Shared>) -> Response {
    source.refresh(&metrics);
    let headers = [(header::CONTENT_TYPE, "text/plain; version=0.0.4")];
    (headers, metrics.render()).into_response()
}

async fn ready(State((source, _)): State<Shared>) -> Response {
    match source.ready() {
        Ok(()) => "ready\n".into_response(),
        Err(reasons) => unavailable(reasons.join("\n")),
    }
}
