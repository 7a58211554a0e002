//! One span and one measurement per call, and the access table before it.
//!
//! Promises: a call is counted once, with the code it ended in, also when its stream is
//! dropped midway; a path without a row in the access table is refused; a drained node
//! takes no calls about invoices and evidence.

use super::access::{self, Right};
use super::connections::{CallUnderWay, OfConnection};
use super::status::status;
use crate::service::Parts;
use crate::telemetry::Metrics;
use bytes::Bytes;
use futures::future::BoxFuture;
use http_body::{Body as HttpBody, Frame, SizeHint};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::time::Instant;
use tonic::body::Body;
use tonic::{Code, Status};
use tracing::Instrument as _;

/// Wraps every service of a listener.
#[derive(Clone)]
pub struct Observe(pub Arc<Metrics>, pub Arc<Parts>);

impl<S> tower::Layer<S> for Observe {
    type Service = Observed<S>;

    fn layer(&self, inner: S) -> Observed<S> {
        Observed {
            inner,
            metrics: self.0.clone(),
            parts: self.1.clone(),
        }
    }
}

#[derive(Clone)]
pub struct Observed<S> {
    inner: S,
    metrics: Arc<Metrics>,
    parts: Arc<Parts>,
}

impl<S> tower::Service<http::Request<Body>> for Observed<S>
where
    S: tower::Service<http::Request<Body>, Response = http::Response<Body>>
        + Clone
        + Send
        + 'static,
    S::Future: Send,
{
    type Response = http::Response<Body>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Self::Response, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        // The service that was polled ready is the one to call.
        let ready = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, ready);
        let path = request.uri().path().to_owned();
        let method = path.rsplit('/').next().unwrap_or_default().to_owned();
        let span = tracing::info_span!("call", method);
        let known = access::right(&path);
        let over = request.extensions_mut().remove::<OfConnection>();
        let under_way = over.map(|over| {
            request.extensions_mut().insert(over.tcp);
            over.calls.begin()
        });
        let call = Call {
            // Unknown paths share a name, so that callers cannot grow the metrics.
            method: if known.is_some() {
                method
            } else {
                "unknown".to_owned()
            },
            metrics: self.metrics.clone(),
            started: Instant::now(),
            code: None,
            _under_way: under_way,
        };
        let away = known.and_then(|right| drained(&self.parts, right));
        let handled = async move {
            let response = match (away, known) {
                (Some(away), _) => away.into_http(),
                (None, Some(right)) if access::allowed(right) => inner.call(request).await?,
                (None, Some(_)) => Status::permission_denied("not allowed").into_http(),
                (None, None) => {
                    Status::unimplemented(format!("no such method: {path}")).into_http()
                }
            };
            let mut call = call;
            call.code = code_in(response.headers());
            let (parts, body) = response.into_parts();
            let body = Body::new(Counted { body, call });
            Ok(http::Response::from_parts(parts, body))
        };
        Box::pin(handled.instrument(span))
    }
}

/// What a drained node answers to what others can do as well.
fn drained(parts: &Parts, right: Right) -> Option<Status> {
    let others = matches!(
        right,
        Right::ReadInvoices | Right::WriteInvoices | Right::ReadEvidence
    );
    let away = others && *parts.membership.drained().borrow();
    away.then(|| status(parts.reads.unavailable("this node is drained")))
}

fn code_in(headers: &http::HeaderMap) -> Option<Code> {
    headers
        .get("grpc-status")
        .map(|code| Code::from_bytes(code.as_bytes()))
}

struct Call {
    method: String,
    metrics: Arc<Metrics>,
    started: Instant,
    code: Option<Code>,
    /// Its connection is not idle meanwhile.
    _under_way: Option<CallUnderWay>,
}

impl Drop for Call {
    fn drop(&mut self) {
        let code = format!("{:?}", self.code.unwrap_or(Code::Cancelled));
        let elapsed = self.started.elapsed();
        let labels = [self.method.as_str(), code.as_str()];
        self.metrics.requests.with_label_values(&labels).inc();
        let latency = self.metrics.latency.with_label_values(&[&self.method]);
        latency.observe(elapsed.as_secs_f64());
        tracing::debug!(method = self.method, code, ?elapsed, "call ended");
    }
}

/// A body that notes the status in its trailers.
struct Counted {
    body: Body,
    call: Call,
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(trailers) = frame.trailers_ref()
        {
            self.call.code = code_in(trailers).or(self.call.code);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
