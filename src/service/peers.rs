//! What peers may ask of this node: frames go to the floor that understands them.

use super::acquaintance::Acquaintance;
use super::cosigning::Cosigned;
use super::members;
use super::standing::Standings;
use crate::bodies::Bodies;
use crate::raft::group::RaftGroup;
use crate::recorder::intake::Intake;
use crate::recorder::route;
use crate::transport::{Failure, Frames, Method, Serve};
use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt as _};

/// See the module.
pub struct PeerFloor {
    pub group: RaftGroup,
    pub intake: Intake,
    pub bodies: Bodies,
    pub cosigned: Cosigned,
    pub acquaintance: Acquaintance,
    pub standings: Standings,
}

impl Serve for PeerFloor {
    fn call(
        &self,
        _from: u64,
        method: Method,
        body: Bytes,
    ) -> BoxFuture<'static, Result<Bytes, Failure>> {
        let (group, cosigned) = (self.group.clone(), self.cosigned.clone());
        let acquaintance = self.acquaintance.clone();
        let standings = self.standings.clone();
        async move {
            match method {
                Method::Cosign | Method::Note | Method::Verdict | Method::WantNote => {
                    cosigned.serve(method, body).await
                }
                Method::Hello => acquaintance.serve(&body),
                Method::Report | Method::Durable => standings.serve(method, body).await,
                Method::Member => {
                    group.recognise_self(&body)?;
                    Ok(members::standing(&group, &cosigned).encode())
                }
                _ => group.serve_call(method, body).await,
            }
        }
        .boxed()
    }

    fn stream(
        &self,
        from: u64,
        method: Method,
        frames: Frames,
    ) -> BoxFuture<'static, Result<Frames, Failure>> {
        let (group, bodies, intake) =
            (self.group.clone(), self.bodies.clone(), self.intake.clone());
        async move {
            match method {
                Method::Append => Ok(group.serve_append(frames)),
                Method::Snapshot => group.serve_snapshot(frames),
                Method::Submit => Ok(route::serve(intake, from, frames)),
                Method::PutBody => bodies.serve_put(frames).await,
                Method::GetBody => bodies.serve_get(frames).await,
                _ => Err(Failure::Refused("not a stream".into())),
            }
        }
        .boxed()
    }
}
