//! Serving peers over gRPC: frames in, frames out.
//!
//! Promises that a node of another ledger is refused, and that who speaks to whom reaches
//! every layer below. Leaves comparing that with the members, and frames, to the layers.

use crate::domain::cause::Cause;
use crate::domain::ids::NodeId;
use crate::transport::{Failure, FrameEnds, Method, Serve};
use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt as _};
use muniment_proto::v1::PeerFrame;
use muniment_proto::v1::peer_service_server::PeerService;
use std::sync::Arc;
use tonic::{Request, Response, Status, Streaming};

/// See the module.
pub struct Peers {
    pub origin: String,
    pub serve: Arc<dyn Serve>,
}

impl Peers {
    fn method(&self, frame: &PeerFrame) -> Result<Method, Status> {
        if frame.origin != self.origin {
            return Err(Status::failed_precondition(format!(
                "this node belongs to {}, not to {:?}",
                self.origin, frame.origin
            )));
        }
        Method::from_code(frame.method)
            .ok_or_else(|| Status::failed_precondition("a peer method this node does not know"))
    }
}

/// Who speaks to whom, as the frame says. Whoever serves compares it with what is known.
fn ends(frame: &PeerFrame) -> FrameEnds {
    FrameEnds {
        from: NodeId::new(frame.from),
        to: NodeId::new(frame.to),
    }
}

fn status(failure: Failure) -> Status {
    match failure {
        Failure::Unreachable(why) => Status::unavailable(why.to_string()),
        Failure::Timeout => Status::deadline_exceeded("no frame in time"),
        Failure::Refused(why) => Status::failed_precondition(why.to_string()),
    }
}

fn answer(body: Result<Bytes, Failure>) -> Result<PeerFrame, Status> {
    body.map_err(status).map(|body| PeerFrame {
        body,
        ..PeerFrame::default()
    })
}

#[tonic::async_trait]
impl PeerService for Peers {
    async fn call(&self, request: Request<PeerFrame>) -> Result<Response<PeerFrame>, Status> {
        let frame = request.into_inner();
        let method = self.method(&frame)?;
        let body = self.serve.call(ends(&frame), method, frame.body).await;
        answer(body).map(Response::new)
    }

    type StreamStream = BoxStream<'static, Result<PeerFrame, Status>>;

    async fn stream(
        &self,
        request: Request<Streaming<PeerFrame>>,
    ) -> Result<Response<Self::StreamStream>, Status> {
        let mut incoming = request.into_inner();
        let Some(first) = incoming.message().await? else {
            return Err(Status::failed_precondition("a peer stream without a frame"));
        };
        let method = self.method(&first)?;
        let frames = incoming.map(|frame| match frame {
            Ok(frame) => Ok(frame.body),
            Err(status) => Err(Failure::Unreachable(Cause::new(status))),
        });
        let served = self
            .serve
            .stream(ends(&first), method, frames.boxed())
            .await;
        Ok(Response::new(served.map_err(status)?.map(answer).boxed()))
    }
}
