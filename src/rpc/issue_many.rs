//! The handler of IssueMany: a stream of items in, a stream of outcomes out.
//!
//! Promises: an item's failure says what the status of an Issue call would have said, from
//! the same table. Leaves the order of messages, and what is in flight, to
//! [`crate::service::issue_many`].

use super::incoming;
use super::invoices::issued;
use super::status::{from_upload, status};
use crate::domain::call_error::CallError;
use crate::domain::draft::bad;
use crate::service::issue_many::{self, Message};
use crate::service::{Parts, Principal};
use futures::stream::{BoxStream, StreamExt as _};
use muniment_proto::v1;
use std::sync::Arc;
use std::time::Duration;
use tonic::Status;
use tonic_types::StatusExt as _;

pub(super) fn serve(
    parts: Arc<Parts>,
    principal: Principal,
    requests: BoxStream<'static, Result<v1::IssueManyRequest, Status>>,
) -> BoxStream<'static, Result<v1::IssueManyResponse, Status>> {
    let messages = requests.map(|request| match request {
        Ok(request) => message(request),
        Err(status) => Err(from_upload(&status)),
    });
    let outcomes = issue_many::issue_many(parts.clone(), principal, messages.boxed());
    let responses = outcomes.map(move |outcome| {
        let outcome = outcome.map_err(status)?;
        let answer = match outcome.result {
            Ok(done) => v1::issue_many_response::Outcome::Issued(issued(&parts.reads, done)),
            Err(error) => v1::issue_many_response::Outcome::Error(item_error(error)),
        };
        Ok(v1::IssueManyResponse {
            item: outcome.item,
            outcome: Some(answer),
        })
    });
    responses.boxed()
}

fn message(request: v1::IssueManyRequest) -> Result<Message, CallError> {
    use v1::issue_many_request::Part;
    match request.part {
        Some(Part::Header(header)) => {
            let upload = header.upload.ok_or_else(|| bad("upload", "is required"));
            Ok(Message::Draft {
                item: header.item,
                draft: upload.and_then(incoming::issue).map(Box::new),
            })
        }
        Some(Part::Chunk(chunk)) => Ok(Message::Chunk(chunk)),
        Some(Part::End(v1::IssueManyEnd {})) => Ok(Message::End),
        None => Err(bad("part", "is a header, a chunk or an end").into()),
    }
}

/// The one table's status, as a message.
fn item_error(error: CallError) -> v1::ItemError {
    let status = status(error);
    let details = status.get_error_details();
    let (reason, info) = match details.error_info() {
        Some(info) => (info.reason.clone(), info.metadata.clone()),
        None => Default::default(),
    };
    let mut violations = details
        .bad_request()
        .into_iter()
        .flat_map(|bad| &bad.field_violations);
    let field = violations.next().map(|violation| violation.field.clone());
    let retry = details
        .retry_info()
        .map(|retry| retry.retry_delay.unwrap_or(Duration::ZERO));
    v1::ItemError {
        code: status.code() as u32,
        reason,
        message: status.message().to_owned(),
        field: field.unwrap_or_default(),
        details: info,
        retry_after_ms: retry.map(|delay| u64::try_from(delay.as_millis()).unwrap_or(u64::MAX)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use muniment_evidence::digest::Digest;
    use muniment_evidence::record::Reason;
    use tonic::Code;

    /// A caller branches on an item as on a call.
    #[test]
    fn an_item_says_what_the_status_of_a_call_says() {
        let invalid = item_error(bad("sha256", "is of other bytes").into());
        assert_eq!(invalid.code, Code::InvalidArgument as u32);
        assert_eq!(
            (&*invalid.reason, &*invalid.field, invalid.retry_after_ms),
            ("INVALID", "sha256", None)
        );
        let taken = item_error(CallError::Taken {
            reason: Reason::IdentityTaken,
            detail: "it has other content".into(),
            stored_sha256: Some(Digest::ZERO),
        });
        assert_eq!(taken.code, Code::AlreadyExists as u32);
        assert_eq!(taken.reason, "IDENTITY_TAKEN");
        assert_eq!(taken.details["stored_sha256"], Digest::ZERO.to_hex());
        let full = item_error(CallError::exhausted("full"));
        assert_eq!(full.code, Code::ResourceExhausted as u32);
        assert_eq!(full.retry_after_ms, Some(200));
        let away = item_error(CallError::Unavailable {
            why: "no quorum".into(),
            leader_address: Some("a:1".into()),
        });
        assert_eq!(away.code, Code::Unavailable as u32);
        assert_eq!(away.details["leader_address"], "a:1");
        assert!(away.retry_after_ms.is_some());
    }

    #[test]
    fn a_bad_header_is_its_items_own_fault_and_an_empty_message_is_the_streams() {
        let request = |part| v1::IssueManyRequest { part };
        let header = v1::IssueManyHeader {
            item: 7,
            upload: None,
        };
        let part = v1::issue_many_request::Part::Header(header);
        assert!(matches!(
            message(request(Some(part))),
            Ok(Message::Draft {
                item: 7,
                draft: Err(_)
            })
        ));
        assert!(message(request(None)).is_err());
    }
}
