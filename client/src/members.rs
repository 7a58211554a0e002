//! Changing the members, and following how it goes.
//!
//! Promises: a change is asked of endpoint after endpoint only until one has begun it; what
//! breaks off afterwards is not asked for again, since the change may go on without its
//! caller. Leaves waiting to the server: lines come for as long as something moves.

use crate::services::cluster_service;
use crate::{Client, ClientError};
use bytes::Bytes;
use muniment_proto::v1;
pub use muniment_proto::v1::draft_order_request::Wish;
use tonic::{Status, Streaming};

/// What is asked for.
#[derive(Clone, Debug)]
pub enum MemberChange {
    /// A new node joins, without a vote.
    Add(v1::AddMemberRequest),
    /// This node gets a vote.
    Promote(u64),
    /// This node leaves.
    Remove(u64),
    /// One node's vote goes to another.
    Replace {
        /// The node that leaves.
        old: u64,
        /// The node that takes its place.
        new: u64,
    },
    /// This node is emptied of work.
    Drain(u64),
    /// This node takes up its work again.
    Undrain(u64),
    /// This node is reached at another address.
    Move(v1::MoveMemberRequest),
}

impl MemberChange {
    /// What an operator orders; `None` for what needs no order.
    pub fn wish(&self) -> Option<Wish> {
        let order = Bytes::new();
        Some(match self.clone() {
            MemberChange::Add(request) => Wish::Add(request),
            MemberChange::Promote(node) => Wish::Promote(v1::PromoteRequest { node, order }),
            MemberChange::Remove(node) => Wish::Remove(v1::RemoveRequest { node, order }),
            MemberChange::Replace { old, new } => {
                Wish::Replace(v1::ReplaceRequest { old, new, order })
            }
            MemberChange::Drain(_) | MemberChange::Undrain(_) | MemberChange::Move(_) => {
                return None;
            }
        })
    }
}

/// A change that has begun.
pub struct MemberSteps {
    stream: Streaming<v1::MemberProgress>,
    url: String,
}

impl Client {
    /// What has to be signed for a change, before it is asked for.
    pub async fn draft_order(&self, wish: Wish) -> Result<v1::DraftOrderResponse, ClientError> {
        self.call(|channel| {
            let wish = Some(wish.clone());
            let request = v1::DraftOrderRequest { wish };
            async move { cluster_service(channel).draft_order(request).await }
        })
        .await
    }

    /// Begins a change at whoever may begin it. The order is the drafted document with an
    /// operator's signature; empty where none is needed.
    ///
    /// ```no_run
    /// # use muniment_client::{Client, ClientError, MemberChange};
    /// # async fn example(client: &Client) -> Result<(), ClientError> {
    /// let mut steps = client.change_members(&MemberChange::Promote(4), Vec::new()).await?;
    /// loop {
    ///     let step = steps.next().await?;
    ///     println!("{step:?}");
    ///     if step.done {
    ///         return Ok(());
    ///     }
    /// }
    /// # }
    /// ```
    pub async fn change_members(
        &self,
        change: &MemberChange,
        order: Vec<u8>,
    ) -> Result<MemberSteps, ClientError> {
        let given = Bytes::from(order);
        let mut attempts = self.endpoints.attempts(self.deadline);
        loop {
            let mut service = cluster_service(attempts.channel_for_stream());
            let begun = async {
                let order = given.clone();
                match change.clone() {
                    MemberChange::Add(request) => {
                        let request = v1::AddMemberRequest { order, ..request };
                        service.add_member(request).await
                    }
                    MemberChange::Promote(node) => {
                        service.promote(v1::PromoteRequest { node, order }).await
                    }
                    MemberChange::Remove(node) => {
                        service.remove(v1::RemoveRequest { node, order }).await
                    }
                    MemberChange::Replace { old, new } => {
                        let request = v1::ReplaceRequest { old, new, order };
                        service.replace(request).await
                    }
                    MemberChange::Drain(node) => service.drain(v1::DrainRequest { node }).await,
                    MemberChange::Undrain(node) => {
                        service.undrain(v1::UndrainRequest { node }).await
                    }
                    MemberChange::Move(request) => service.move_member(request).await,
                }
            };
            match attempts.within(begun).await {
                Ok(response) => {
                    attempts.succeeded();
                    return Ok(MemberSteps {
                        stream: response.into_inner(),
                        url: attempts.url().to_owned(),
                    });
                }
                Err(status) => attempts.next(status).await?,
            }
        }
    }
}

impl MemberSteps {
    /// The next line; the last one is done, or an error.
    pub async fn next(&mut self) -> Result<v1::MemberProgress, ClientError> {
        let status = match self.stream.message().await {
            Ok(Some(line)) => return Ok(line),
            Ok(None) => Status::unavailable("it broke off; the next leader goes on with it"),
            Err(status) => status,
        };
        Err(ClientError::from_status(&status, &self.url))
    }
}
