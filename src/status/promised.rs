//! How much a member has promised and not recorded yet: asked before it leaves for good.
//!
//! A promise of a deferred download lies in the outbox of the node that gave it, and nobody else
//! can have it recorded. Promises: a node answers for an index only when it has applied the record
//! there, so that from a PREPARE which removes it, on which it promises no more, an answer of none
//! stays true; its answer is taken from the disk that the ledger knows, and else from nobody. A
//! message of its own, not a part of every status: it is asked when a member is removed. Leaves
//! what follows to [`crate::membership`].

use super::table::StatusTable;
use crate::domain::ids::{NodeId, TreeSize};
use crate::raft::identity::Disk;
use crate::transport::{Class, Failure, MESSAGE_VERSION, Method, read_message};
use bytes::Bytes;
use muniment_evidence::codec::Writer;
use std::time::Duration;

/// One member's answer, as long as for its status.
const ASK_MAX: Duration = Duration::from_secs(2);

/// Asks for what waits in all outboxes of a node, by the time it has this many records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PromisedRequest {
    pub since: TreeSize,
}

/// What it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PromisedReply {
    pub incarnation: Disk,
    /// Promises that wait; absent while it has not booted, or not so many records.
    pub waiting: Option<u64>,
}

impl PromisedRequest {
    fn encode(&self) -> Vec<u8> {
        let mut w = Writer::new();
        w.u8(MESSAGE_VERSION).u64(self.since.get());
        w.finish()
    }

    fn decode(bytes: &[u8]) -> Result<PromisedRequest, Failure> {
        read_message(bytes, |r| {
            Ok(PromisedRequest {
                since: TreeSize::read(r)?,
            })
        })
    }
}

impl PromisedReply {
    fn encode(&self) -> Vec<u8> {
        let mut w = Writer::new();
        w.u8(MESSAGE_VERSION).raw(&self.incarnation);
        w.option(self.waiting.as_ref(), |w, waiting| {
            w.u64(*waiting);
        });
        w.finish()
    }

    fn decode(bytes: &[u8]) -> Result<PromisedReply, Failure> {
        read_message(bytes, |r| {
            Ok(PromisedReply {
                incarnation: r.array()?,
                waiting: r.option(muniment_evidence::codec::Reader::u64)?,
            })
        })
    }
}

impl StatusTable {
    /// How many promises of a member wait, once it has so many records; `None` when it cannot
    /// say, or does not answer.
    pub async fn ask_promised(&self, node: NodeId, since: TreeSize) -> Option<u64> {
        let group = &self.context().group;
        let request = PromisedRequest { since };
        if node == group.node() {
            return self.promised(request).waiting;
        }
        let to = group.member(node)?.destination(node);
        let body = Bytes::from(request.encode());
        let (class, method) = (Class::Control, Method::Promised);
        let transport = &self.context().transport;
        let asked = transport.call(to, class, method, body, ASK_MAX).await;
        let reply = asked.and_then(|answer| PromisedReply::decode(&answer));
        let reply = reply.inspect_err(|failure| {
            tracing::debug!(%failure, node = node.get(), "it does not say what it has promised");
        });
        let reply = reply.ok()?;
        let disks = group.disks();
        disks.recognise(node, &reply.incarnation).await.ok()?;
        reply.waiting
    }

    /// The other side.
    pub(super) fn serve_promised(&self, body: &Bytes) -> Result<Bytes, Failure> {
        let request = PromisedRequest::decode(body)?;
        Ok(Bytes::from(self.promised(request).encode()))
    }

    fn promised(&self, request: PromisedRequest) -> PromisedReply {
        // First what is applied: what is counted afterwards was promised before, or knew of it.
        let applied = self.context().group.applied().size;
        let waiting = self.own().promises_waiting();
        PromisedReply {
            incarnation: self.own().identity().incarnation,
            waiting: waiting.filter(|_| applied >= request.since),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn question_and_answer_read_back() {
        let request = PromisedRequest {
            since: TreeSize::new(900),
        };
        assert_eq!(PromisedRequest::decode(&request.encode()), Ok(request));
        for waiting in [None, Some(0), Some(12)] {
            let reply = PromisedReply {
                incarnation: [7; 16],
                waiting,
            };
            assert_eq!(PromisedReply::decode(&reply.encode()), Ok(reply));
        }
        let mut later = request.encode();
        later[0] += 1;
        assert!(PromisedRequest::decode(&later).is_err());
        assert!(PromisedReply::decode(&[]).is_err());
    }
}
