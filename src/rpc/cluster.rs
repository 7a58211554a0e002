//! Handlers of ClusterService.
//!
//! Tests: `tests/cluster/members.rs`, `tests/cluster/keys.rs`.

use super::invoices::principal;
use super::status::status;
use super::{incoming, outgoing};
use crate::domain::call_error::CallError;
use crate::domain::draft::bad;
use crate::domain::ids::NodeId;
use crate::membership::ChangeSteps;
use crate::service::founding::{self, Founding};
use crate::service::{self, Parts, declare, drills, keys, scrub};
use futures::stream::{BoxStream, StreamExt as _};
use muniment_proto::v1;
use muniment_proto::v1::draft_order_request::Wish as AskedChange;
use std::sync::Arc;
use std::time::Duration;
use tonic::{Request, Response, Status};

/// See the module.
pub struct ClusterHandler {
    pub parts: Arc<Parts>,
    /// The node's monotonic clock when it started.
    pub started: Duration,
}

/// What a change of the members says, and how it ends.
type Progress = BoxStream<'static, Result<v1::MemberProgress, Status>>;

fn progress(begun: Result<ChangeSteps, CallError>) -> Answer<Progress> {
    let steps = begun.map_err(status)?.map(|step| match step {
        Ok(step) => Ok(v1::MemberProgress {
            phase: step.phase.to_owned(),
            detail: step.detail,
            done: step.done,
        }),
        Err(error) => Err(status(error)),
    });
    Ok(Response::new(steps.boxed()))
}

type Answer<T> = Result<Response<T>, Status>;

impl ClusterHandler {
    async fn change(
        &self,
        asked: AskedChange,
        addresses: Option<(String, String)>,
        order: &[u8],
    ) -> Answer<Progress> {
        let begun = async {
            let (wanted, order) = (incoming::wanted(&asked)?, incoming::order(order)?);
            self.parts.membership.change(wanted, addresses, order).await
        };
        progress(begun.await)
    }
}

#[tonic::async_trait]
impl v1::cluster_service_server::ClusterService for ClusterHandler {
    async fn init(&self, request: Request<v1::InitRequest>) -> Answer<v1::InitResponse> {
        let request = request.into_inner();
        let called = async {
            let members = request
                .members
                .into_iter()
                .enumerate()
                .map(|(at, member)| incoming::member(at, member))
                .collect::<Result<_, _>>()?;
            let root_keys = incoming::public_keys("root_keys", &request.root_keys)?;
            let operator_keys = incoming::public_keys("operator_keys", &request.operator_keys)?;
            let threshold = u8::try_from(request.root_threshold).unwrap_or(u8::MAX);
            let founding = Founding {
                origin: request.origin,
                members,
                root_keys,
                threshold,
                operator_keys,
            };
            founding::found(&self.parts, founding).await
        };
        let trust = called.await.map_err(status)?;
        Ok(Response::new(v1::InitResponse {
            trust: trust.to_string(),
        }))
    }

    async fn status(&self, _request: Request<v1::StatusRequest>) -> Answer<v1::StatusResponse> {
        let view = service::status::status(&self.parts).await;
        let view = view.map_err(status)?;
        let uptime = self
            .parts
            .reads
            .context
            .clock
            .monotonic()
            .saturating_sub(self.started);
        let uptime_ms = uptime.as_millis() as u64;
        Ok(Response::new(outgoing::status(
            &self.parts,
            view,
            uptime_ms,
        )))
    }

    async fn transfer(
        &self,
        request: Request<v1::TransferRequest>,
    ) -> Answer<v1::TransferResponse> {
        let to = request.into_inner().to;
        let group = &self.parts.reads.context.group;
        let leader = service::status::transfer(group, NodeId::new(to)).await;
        Ok(Response::new(v1::TransferResponse {
            leader: leader.map_err(status)?.get(),
        }))
    }

    async fn get_keys(&self, _request: Request<v1::GetKeysRequest>) -> Answer<v1::GetKeysResponse> {
        let view = keys::list(&self.parts).await;
        Ok(Response::new(outgoing::keys(view.map_err(status)?)))
    }

    async fn change_keys(
        &self,
        request: Request<v1::ChangeKeysRequest>,
    ) -> Answer<v1::ChangeKeysResponse> {
        let called = async {
            let document = incoming::key_document(&request.into_inner().change)?;
            keys::change(&self.parts, document).await
        };
        let (record_index, answered) = called.await.map_err(status)?;
        Ok(Response::new(v1::ChangeKeysResponse {
            record_index: record_index.get(),
            answered: Some(outgoing::answered(answered)),
        }))
    }

    async fn record_drill(
        &self,
        request: Request<v1::RecordDrillRequest>,
    ) -> Answer<v1::RecordDrillResponse> {
        let principal = principal(&request);
        let drill = incoming::drill(request.into_inner());
        let recorded =
            drills::record(&self.parts.reads, &self.parts.writes, &principal, drill).await;
        let (record_index, answered) = recorded.map_err(status)?;
        Ok(Response::new(v1::RecordDrillResponse {
            record_index: record_index.get(),
            answered: Some(outgoing::answered(answered)),
        }))
    }

    async fn scrub(&self, _request: Request<v1::ScrubRequest>) -> Answer<v1::ScrubResponse> {
        let started = scrub::scrub(&self.parts.writes, &self.parts.bodies);
        Ok(Response::new(v1::ScrubResponse {
            started: started.map_err(status)?,
            node: self.parts.reads.place.node.get(),
        }))
    }

    async fn draft_order(
        &self,
        request: Request<v1::DraftOrderRequest>,
    ) -> Answer<v1::DraftOrderResponse> {
        let called = async {
            let asked = request.into_inner().wish;
            let asked = asked.ok_or_else(|| bad("wish", "is one of the changes of the members"))?;
            self.parts.membership.draft(incoming::wanted(&asked)?).await
        };
        let draft = called.await.map_err(status)?;
        Ok(Response::new(outgoing::draft(&draft)))
    }

    async fn draft_declaration(
        &self,
        request: Request<v1::DraftDeclarationRequest>,
    ) -> Answer<v1::DraftOrderResponse> {
        let called = async {
            let wanted = incoming::declaration(request.into_inner())?;
            declare::draft(&self.parts, wanted).await
        };
        let draft = called.await.map_err(status)?;
        Ok(Response::new(outgoing::draft(&draft)))
    }

    async fn declare(&self, request: Request<v1::DeclareRequest>) -> Answer<v1::DeclareResponse> {
        let principal = principal(&request);
        let called = async {
            let document = incoming::declared(&request.get_ref().document)?;
            declare::declare(&self.parts, &principal, document).await
        };
        let (record_index, answered) = called.await.map_err(status)?;
        Ok(Response::new(v1::DeclareResponse {
            record_index: record_index.get(),
            answered: Some(outgoing::answered(answered)),
        }))
    }

    type AddMemberStream = Progress;

    async fn add_member(&self, request: Request<v1::AddMemberRequest>) -> Answer<Progress> {
        let add = request.into_inner();
        let is_new = !add.peer_address.is_empty() || !add.client_address.is_empty();
        let addresses = is_new.then(|| (add.peer_address.clone(), add.client_address.clone()));
        let order = add.order.clone();
        self.change(AskedChange::Add(add), addresses, &order).await
    }

    type PromoteStream = Progress;

    async fn promote(&self, request: Request<v1::PromoteRequest>) -> Answer<Progress> {
        let promote = request.into_inner();
        let order = promote.order.clone();
        self.change(AskedChange::Promote(promote), None, &order)
            .await
    }

    type RemoveStream = Progress;

    async fn remove(&self, request: Request<v1::RemoveRequest>) -> Answer<Progress> {
        let remove = request.into_inner();
        let order = remove.order.clone();
        self.change(AskedChange::Remove(remove), None, &order).await
    }

    type ReplaceStream = Progress;

    async fn replace(&self, request: Request<v1::ReplaceRequest>) -> Answer<Progress> {
        let replace = request.into_inner();
        let order = replace.order.clone();
        self.change(AskedChange::Replace(replace), None, &order)
            .await
    }

    type DrainStream = Progress;

    async fn drain(&self, request: Request<v1::DrainRequest>) -> Answer<Progress> {
        let node = request.into_inner().node;
        progress(self.parts.membership.drain(NodeId::new(node)).await)
    }

    type UndrainStream = Progress;

    async fn undrain(&self, request: Request<v1::UndrainRequest>) -> Answer<Progress> {
        let node = request.into_inner().node;
        progress(self.parts.membership.undrain(NodeId::new(node)))
    }

    type MoveMemberStream = Progress;

    async fn move_member(&self, request: Request<v1::MoveMemberRequest>) -> Answer<Progress> {
        let v1::MoveMemberRequest {
            node,
            peer_address,
            client_address,
        } = request.into_inner();
        let membership = &self.parts.membership;
        let moved = membership.relocate(NodeId::new(node), peer_address, client_address);
        progress(moved.await)
    }
}
