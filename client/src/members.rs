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
    /// What an operator orders: a node joins, gets a vote, leaves, or takes another's place.
    Ordered(Wish),
    /// This node is emptied of work.
    Drain(u64),
    /// This node takes up its work again.
    Undrain(u64),
    /// This node is reached at another address.
    Move(v1::MoveMemberRequest),
}

/// The same with the order that was given for it.
fn ordered(wish: &Wish, order: &Bytes) -> Wish {
    let mut wish = wish.clone();
    let place = match &mut wish {
        Wish::Add(request) => &mut request.order,
        Wish::Promote(request) => &mut request.order,
        Wish::Remove(request) => &mut request.order,
        Wish::Replace(request) => &mut request.order,
    };
    *place = order.clone();
    wish
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
    /// # use muniment_client::{Wish, v1::PromoteRequest};
    /// let promote = PromoteRequest { node: 4, ..PromoteRequest::default() };
    /// let change = MemberChange::Ordered(Wish::Promote(promote));
    /// let mut steps = client.change_members(&change, Vec::new()).await?;
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
                match change {
                    MemberChange::Ordered(wish) => match ordered(wish, &given) {
                        Wish::Add(request) => service.add_member(request).await,
                        Wish::Promote(request) => service.promote(request).await,
                        Wish::Remove(request) => service.remove(request).await,
                        Wish::Replace(request) => service.replace(request).await,
                    },
                    MemberChange::Drain(node) => {
                        service.drain(v1::DrainRequest { node: *node }).await
                    }
                    MemberChange::Undrain(node) => {
                        service.undrain(v1::UndrainRequest { node: *node }).await
                    }
                    MemberChange::Move(request) => service.move_member(request.clone()).await,
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
