//! I7: the same identity, canonical metadata and bytes are the first outcome and receipt;
//! other content is ALREADY_EXISTS naming what differs; a request id reused with other
//! content has its own reason. Both live as long as the invoice.
//!
//! Checked on every record as it is applied first: an identity and a request id have one
//! OK record each, be it of an issue or of a reversal, and nothing else is acknowledged; a
//! duplicate points at the OK record of the same content; a refusal as taken or reused has
//! such a record of other content before it. What callers are told is
//! compared by the oracle.

use super::Invariant;
use crate::facts::{Event, Fact, Recorded};
use crate::mirror::Mirror;
use muniment_evidence::digest::Digest;
use muniment_evidence::opening::{Document, IssueDocument, content_digest};
use muniment_evidence::record::{Outcome, Reason};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

#[derive(Default)]
pub struct IssuedOnce {
    judged: u64,
    /// Identity to record and content.
    identities: BTreeMap<String, (u64, Digest)>,
    requests: BTreeMap<String, (u64, Digest)>,
    /// OK records.
    issued: BTreeSet<u64>,
}

impl IssuedOnce {
    fn issue(&mut self, recorded: &Recorded, issue: &IssueDocument) -> Result<(), String> {
        let index = recorded.record.index;
        let content = content_digest(&issue.metadata, &issue.renditions);
        let identity = format!("{:?}", issue.metadata.identity);
        let request = format!("{}/{}", issue.metadata.identity.tenant, issue.request_id);
        let same_identity = self.identities.get(&identity).copied();
        let same_request = self.requests.get(&request).copied();
        let wrong = match recorded.record.outcome {
            Outcome::Ok => {
                self.issued.insert(index.get());
                self.identities.insert(identity, (index.get(), content));
                self.requests.insert(request, (index.get(), content));
                same_identity.or(same_request).is_some()
            }
            Outcome::DuplicateOf(first) => {
                // The invoice may be asked for by this request id too from now on.
                self.requests
                    .entry(request)
                    .or_insert((first.get(), content));
                let firsts = [same_identity, same_request];
                !firsts.contains(&Some((first.get(), content)))
            }
            Outcome::Refused(Reason::IdentityTaken) => {
                same_identity.is_none_or(|(_, first)| first == content)
            }
            Outcome::Refused(Reason::RequestIdReused) => {
                same_request.is_none_or(|(_, first)| first == content)
            }
            Outcome::Refused(_) => same_request.is_some_and(|(_, first)| first == content),
        };
        self.judged += 1;
        match wrong {
            true => Err(format!(
                "record {index} has outcome {:?}; the identity has {same_identity:?}, the \
                 request {same_request:?}, the content is {content}",
                recorded.record.outcome
            )),
            false => Ok(()),
        }
    }
}

impl Invariant for IssuedOnce {
    fn name(&self) -> &'static str {
        "i7"
    }

    fn take(&mut self, _mirror: &Mirror, fact: &Fact, _now: Duration) -> Result<(), String> {
        match fact {
            Fact::Recorded(recorded) => match &recorded.document {
                Some(Document::Issue(issue) | Document::Reverse(issue)) => {
                    self.issue(recorded, issue)
                }
                _ => Ok(()),
            },
            Fact::Raw(Event::Issued { number, index, .. }) if !self.issued.contains(index) => Err(
                format!("{number} was acknowledged as record {index}, which is none"),
            ),
            _ => Ok(()),
        }
    }

    fn judged(&self) -> u64 {
        self.judged
    }
}
