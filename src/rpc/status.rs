//! One table from the verbs' errors to gRPC statuses with `google.rpc` details.
//!
//! | error | code | details |
//! |---|---|---|
//! | Invalid | INVALID_ARGUMENT | BadRequest naming the field |
//! | NotFound | NOT_FOUND | ErrorInfo |
//! | Taken | ALREADY_EXISTS | ErrorInfo with the reason; `stored_sha256` |
//! | NotNow | FAILED_PRECONDITION | ErrorInfo with the reason |
//! | BelowLevel | UNAVAILABLE | RetryInfo; ErrorInfo COMMITTED_BELOW_LEVEL with `index`, `level`, `nodes`, `zones` |
//! | Exhausted | RESOURCE_EXHAUSTED | RetryInfo |
//! | Unavailable | UNAVAILABLE | RetryInfo; ErrorInfo with `leader_address` |
//! | DataLoss | DATA_LOSS | ErrorInfo with the reason |

use crate::domain::call_error::CallError;
use crate::domain::ids::NodeId;
use std::collections::HashMap;
use std::time::Duration;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

/// Domain of the reason codes.
pub const DOMAIN: &str = "muniment";
/// When to try again after a passing fault: an election of the `lan` profile.
const RETRY: Duration = Duration::from_millis(250);

pub fn status(error: CallError) -> Status {
    let message = error.to_string();
    let mut details = ErrorDetails::new();
    let mut info = HashMap::new();
    let (code, reason) = match error {
        CallError::Invalid(bad) => {
            details.add_bad_request_violation(bad.field, bad.why.to_string());
            (Code::InvalidArgument, "INVALID")
        }
        CallError::NotFound(_) => (Code::NotFound, "NOT_FOUND"),
        CallError::Taken {
            reason,
            stored_sha256,
            ..
        } => {
            if let Some(digest) = stored_sha256 {
                info.insert("stored_sha256".to_owned(), digest.to_hex());
            }
            (Code::AlreadyExists, reason.name())
        }
        CallError::NotNow { reason, .. } => (Code::FailedPrecondition, reason),
        CallError::BelowLevel {
            index,
            level,
            nodes,
            zones,
        } => {
            details.set_retry_info(Some(RETRY));
            let nodes: Vec<String> = nodes.iter().map(NodeId::to_string).collect();
            info.insert("index".to_owned(), index.to_string());
            info.insert("level".to_owned(), level);
            info.insert("nodes".to_owned(), nodes.join(","));
            info.insert("zones".to_owned(), zones.join(","));
            (Code::Unavailable, "COMMITTED_BELOW_LEVEL")
        }
        CallError::Exhausted { retry_after_ms, .. } => {
            details.set_retry_info(Some(Duration::from_millis(retry_after_ms)));
            (Code::ResourceExhausted, "EXHAUSTED")
        }
        CallError::Unavailable { leader_address, .. } => {
            details.set_retry_info(Some(RETRY));
            if let Some(address) = leader_address {
                info.insert("leader_address".to_owned(), address);
            }
            (Code::Unavailable, "UNAVAILABLE")
        }
        // Without RetryInfo: the same call would fail the same way, everywhere.
        CallError::DataLoss { reason, .. } => (Code::DataLoss, reason),
    };
    details.set_error_info(reason, DOMAIN, info);
    Status::with_error_details(code, message, details)
}

/// A fault of the transport under an upload.
pub fn from_upload(status: &Status) -> CallError {
    match status.code() {
        Code::OutOfRange | Code::ResourceExhausted => {
            crate::domain::draft::bad("chunk", status.message().to_owned()).into()
        }
        _ => CallError::Unavailable {
            why: format!("the upload broke off: {}", status.message()).into(),
            leader_address: None,
        },
    }
}
