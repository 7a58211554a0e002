//! HTTP for machines: tlog-tiles, metrics, health.
//!
//! Read only and without secrets, so it may stand open to auditors and monitors. Leaves
//! where the data comes from to [`source`], and the connections to [`listen`].
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
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
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

fn unavailable(why: String) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, why + "\n").into_response()
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
        Err(why) => unavailable(why),
    }
}

async fn tile(State((source, _)): State<Shared>, Path(path): Path<String>) -> Response {
    let Some(tile) = Tile::parse(&path) else {
        return (StatusCode::NOT_FOUND, "not a tile path\n").into_response();
    };
    match source.tile(tile).await {
        Ok(Some(bytes)) => {
            let headers = [
                (header::CONTENT_TYPE, "application/octet-stream"),
                (header::CACHE_CONTROL, IMMUTABLE),
            ];
            (headers, bytes).into_response()
        }
        Ok(None) => (StatusCode::NOT_FOUND, "beyond the log\n").into_response(),
        Err(why) => unavailable(why),
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
