//! Reaching peers over gRPC: the transport between real nodes.
//!
//! Promises: one connection per peer and class, kept and reopened as needed; calls end by
//! their deadline; a silent connection is noticed within [`KEEPALIVE_INTERVAL`] plus
//! [`KEEPALIVE_TIMEOUT`]. Leaves retries to the layers that call.

use crate::domain::cause::Cause;
use crate::domain::ids::NodeId;
use crate::transport::{Class, Destination, Failure, Frames, Method, Transport};
use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt as _};
use futures::stream::{BoxStream, Stream, StreamExt as _};
use muniment_proto::v1::PeerFrame;
use muniment_proto::v1::peer_service_client::PeerServiceClient;
use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll};
use std::time::Duration;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

/// A peer that does not accept by then is away.
const CONNECT_MAX: Duration = Duration::from_millis(1000);
/// Silence on a connection before it is asked whether it is alive.
const KEEPALIVE_INTERVAL: Duration = Duration::from_millis(2000);
/// ... and how long it may take to answer.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_millis(2000);
/// Bytes in flight on one stream: two frames.
const STREAM_WINDOW_BYTES: u32 = 4 << 20;
/// Bytes in flight on one connection: several bodies side by side.
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;

/// See the module.
pub struct Dialer {
    node: NodeId,
    origin: String,
    message_bytes: usize,
    channels: Mutex<HashMap<(String, Class), Channel>>,
}

impl Dialer {
    pub fn new(node: NodeId, origin: String, message_bytes: usize) -> Dialer {
        Dialer {
            node,
            origin,
            message_bytes,
            channels: Mutex::default(),
        }
    }

    fn client(&self, address: &str, class: Class) -> Result<PeerServiceClient<Channel>, Failure> {
        let mut channels = self.channels.lock().expect("nobody panics with it");
        let key = (address.to_owned(), class);
        let channel = match channels.get(&key) {
            Some(channel) => channel.clone(),
            None => {
                let endpoint = Endpoint::from_shared(format!("http://{address}"))
                    .map_err(|error| Failure::Unreachable(Cause::new(error)))?
                    .connect_timeout(CONNECT_MAX)
                    .tcp_nodelay(true)
                    .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
                    .keep_alive_timeout(KEEPALIVE_TIMEOUT)
                    .keep_alive_while_idle(true)
                    .initial_stream_window_size(STREAM_WINDOW_BYTES)
                    .initial_connection_window_size(CONNECTION_WINDOW_BYTES);
                let channel = endpoint.connect_lazy();
                channels.insert(key, channel.clone());
                channel
            }
        };
        Ok(PeerServiceClient::new(channel)
            .max_decoding_message_size(self.message_bytes)
            .max_encoding_message_size(self.message_bytes))
    }

    fn frame(&self, to: NodeId, method: Method, body: Bytes) -> PeerFrame {
        PeerFrame {
            method: method as u32,
            from: self.node.get(),
            to: to.get(),
            origin: self.origin.clone(),
            body,
        }
    }
}

fn failure(status: Status) -> Failure {
    match status.code() {
        Code::DeadlineExceeded => Failure::Timeout,
        Code::FailedPrecondition | Code::PermissionDenied | Code::InvalidArgument => {
            Failure::Refused(status.message().into())
        }
        _ => Failure::Unreachable(Cause::at(status.code(), status.message())),
    }
}

impl Transport for Dialer {
    fn call(
        &self,
        to: Destination,
        class: Class,
        method: Method,
        body: Bytes,
        deadline: Duration,
    ) -> BoxFuture<'static, Result<Bytes, Failure>> {
        let client = self.client(&to.address, class);
        let frame = self.frame(to.node, method, body);
        async move {
            let mut client = client?;
            let called = tokio::time::timeout(deadline, client.call(frame)).await;
            match called {
                Ok(Ok(response)) => Ok(response.into_inner().body),
                Ok(Err(status)) => Err(failure(status)),
                Err(_) => Err(Failure::Timeout),
            }
        }
        .boxed()
    }

    fn stream(
        &self,
        to: Destination,
        class: Class,
        method: Method,
        frames: BoxStream<'static, Bytes>,
    ) -> BoxFuture<'static, Result<Frames, Failure>> {
        let client = self.client(&to.address, class);
        let first = self.frame(to.node, method, Bytes::new());
        let outgoing = Outgoing {
            first: Some(first),
            rest: frames,
        };
        Box::pin(open(client, outgoing))
    }
}

/// The naming frame, then the bodies. A type of its own, since the compiler cannot see
/// that a future over a boxed stream may be sent.
struct Outgoing {
    first: Option<PeerFrame>,
    rest: BoxStream<'static, Bytes>,
}

impl Stream for Outgoing {
    type Item = PeerFrame;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<PeerFrame>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(first));
        }
        let body = std::task::ready!(self.rest.poll_next_unpin(cx));
        Poll::Ready(body.map(|body| PeerFrame {
            body,
            ..PeerFrame::default()
        }))
    }
}

async fn open(
    client: Result<PeerServiceClient<Channel>, Failure>,
    outgoing: Outgoing,
) -> Result<Frames, Failure> {
    let answers = client?.stream(outgoing).await.map_err(failure)?;
    Ok(answers.into_inner().map(body).boxed())
}

fn body(frame: Result<PeerFrame, Status>) -> Result<Bytes, Failure> {
    frame.map(|frame| frame.body).map_err(failure)
}
