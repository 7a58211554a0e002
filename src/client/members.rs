//! Changing the members, and following how it goes.
//!
//! Promises: a change is asked of endpoint after endpoint only until one has begun it; what
//! breaks off afterwards is not asked for again, since the change may go on without its
//! caller. Leaves waiting to the server: lines come for as long as something moves.

use super::{Client, Error, cluster};
use crate::wire::v1;
use tonic::{Status, Streaming};

/// What is asked for.
#[derive(Clone, Debug)]
pub enum Change {
    Add(v1::AddMemberRequest),
    Promote(u64),
    Remove(u64),
    Replace { old: u64, new: u64 },
    Drain(u64),
}

/// A change that has begun.
pub struct Steps {
    stream: Streaming<v1::MemberProgress>,
    url: String,
}

impl Client {
    /// Begins a change at whoever may begin it.
    pub async fn change_members(&self, change: &Change) -> Result<Steps, Error> {
        let mut journey = self.route.journey(self.deadline);
        loop {
            let mut service = cluster(journey.line_for_stream());
            let begun = async {
                match change.clone() {
                    Change::Add(request) => service.add_member(request).await,
                    Change::Promote(node) => service.promote(v1::PromoteRequest { node }).await,
                    Change::Remove(node) => service.remove(v1::RemoveRequest { node }).await,
                    Change::Replace { old, new } => {
                        service.replace(v1::ReplaceRequest { old, new }).await
                    }
                    Change::Drain(node) => service.drain(v1::DrainRequest { node }).await,
                }
            };
            match journey.within(begun).await {
                Ok(response) => {
                    journey.arrived();
                    return Ok(Steps {
                        stream: response.into_inner(),
                        url: journey.url().to_owned(),
                    });
                }
                Err(status) => journey.onward(status).await?,
            }
        }
    }
}

impl Steps {
    /// The next line; the last one is done, or an error.
    pub async fn next(&mut self) -> Result<v1::MemberProgress, Error> {
        let status = match self.stream.message().await {
            Ok(Some(line)) => return Ok(line),
            Ok(None) => Status::unavailable("it broke off; the next leader goes on with it"),
            Err(status) => status,
        };
        Err(Error::from_status(&status, &self.url))
    }
}
