//! What peers may ask of this node: frames go to the layer that understands them.
//!
//! Promises that a frame reaches no layer before its two ends were held against the members
//! that this node knows, and that each layer is told whose it is. Leaves that judgement to
//! [`crate::raft::hearing`], and the meaning of frames to the layers.

use crate::bodies::Bodies;
use crate::checkpoint::Cosigning;
use crate::raft::group::RaftGroup;
use crate::recorder::intake::Intake;
use crate::recorder::route;
use crate::status::table::StatusTable;
use crate::transport::{Failure, FrameEnds, Frames, Method, Serve};
use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt as _};

/// See the module.
pub(super) struct PeerDispatch {
    pub group: RaftGroup,
    pub intake: Intake,
    pub bodies: Bodies,
    pub cosigning: Cosigning,
    pub status: StatusTable,
}

impl Serve for PeerDispatch {
    fn call(
        &self,
        ends: FrameEnds,
        method: Method,
        body: Bytes,
    ) -> BoxFuture<'static, Result<Bytes, Failure>> {
        let (group, cosigning) = (self.group.clone(), self.cosigning.clone());
        let status = self.status.clone();
        async move {
            group.hear(ends, method)?;
            match method {
                Method::Cosign
                | Method::Note
                | Method::DivergenceNotice
                | Method::WantNote
                | Method::Announce => cosigning.serve(ends.from, method, body).await,
                Method::Status | Method::Durable | Method::Promised => {
                    status.serve(ends.from, method, body).await
                }
                _ => group.serve_call(ends.from, method, body).await,
            }
        }
        .boxed()
    }

    fn stream(
        &self,
        ends: FrameEnds,
        method: Method,
        frames: Frames,
    ) -> BoxFuture<'static, Result<Frames, Failure>> {
        let (group, bodies, intake) =
            (self.group.clone(), self.bodies.clone(), self.intake.clone());
        async move {
            group.hear(ends, method)?;
            let from = ends.from;
            match method {
                Method::Append => Ok(group.serve_append(from, frames)),
                Method::Snapshot => group.serve_snapshot(from, frames),
                Method::Submit => Ok(route::serve(intake, from, frames)),
                Method::PutBody => bodies.serve_put(frames).await,
                Method::GetBody => bodies.serve_get(frames).await,
                _ => Err(Failure::Refused("not a stream".into())),
            }
        }
        .boxed()
    }
}
