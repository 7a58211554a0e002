//! Why a call did not do what it should, by what the caller does next.
//!
//! Promises: each kind has one next step, said beside it; the server's reason code, field
//! and message are kept. Leaves exit codes and wording to the command line.

use muniment_evidence::policy::PolicyError;
use muniment_evidence::report::Report;
use std::collections::HashMap;
use std::fmt;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// A call's failure.
///
/// ```no_run
/// # use muniment_client::{BodySource, Client, ClientError, UploadRequest};
/// # async fn example(client: &Client, upload: UploadRequest, source: BodySource) {
/// match client.issue(&upload, &source).await {
///     Ok(issued) => println!("issued, record {}", issued.proof.record_index),
///     // The request id makes the very same call safe.
///     Err(ClientError::Unavailable(refusal)) => println!("repeat it: {refusal}"),
///     Err(ClientError::Conflict(refusal)) => println!("taken: {}", refusal.reason),
///     Err(error) => println!("{error}"),
/// }
/// # }
/// ```
#[derive(Debug)]
pub enum ClientError {
    /// Correct the options or arguments: nothing was sent.
    Usage(String),
    /// Correct the policy: nothing was sent.
    Policy(PolicyError),
    /// Correct the field that the refusal names: nothing was changed.
    Invalid(Box<ServerRefusal>),
    /// Look for something else: there is no such thing.
    NotFound(Box<ServerRefusal>),
    /// Look at what the ledger has: it contradicts what was asked.
    Conflict(Box<ServerRefusal>),
    /// Get the right to do this.
    Denied(Box<ServerRefusal>),
    /// Slow down or make room, then repeat.
    Exhausted(Box<ServerRefusal>),
    /// Repeat the very same call: it may or may not have taken effect, and the request id
    /// makes the repetition safe.
    Unavailable(Box<ServerRefusal>),
    /// Do not rely on the answer: its evidence or its bytes do not hold.
    Unproven(Unproven),
    /// Repair this machine: a file or stream of the caller's failed.
    Local {
        /// Which file, and what was to be done with it.
        what: String,
        /// Why that failed.
        source: std::io::Error,
    },
    /// Find out what happened to the ledger before going on: what this client has seen is
    /// not there, at no node. Not repeated; [`crate::Client::forget_session`] lets go of it.
    Lost(Box<ServerRefusal>),
    /// Report it: the server broke a promise of the protocol.
    Broken(Box<ServerRefusal>),
}

/// What a server (or the way to it) said.
#[derive(Clone, Debug, Default)]
pub struct ServerRefusal {
    /// gRPC's name of the code, such as `NOT_FOUND`.
    pub code: &'static str,
    /// The reason code of google.rpc.ErrorInfo, such as `IDENTITY_TAKEN`.
    pub reason: String,
    /// In words.
    pub message: String,
    /// The fields that google.rpc.BadRequest names.
    pub fields: Vec<String>,
    /// The metadata of google.rpc.ErrorInfo.
    pub details: HashMap<String, String>,
    /// The endpoint that answered, or did not.
    pub endpoint: String,
    /// What all of it was read from; its source is the broken connection, if it was one.
    status: Option<Status>,
}

/// An answer that does not prove what it says.
#[derive(Debug)]
pub struct Unproven {
    /// In words: the first thing that does not hold.
    pub why: String,
    /// What the verifier found, where a receipt was there to be judged.
    pub report: Option<Box<Report>>,
}

/// The reason code of a commit that is durable, but not yet as widely as asked.
const BELOW_LEVEL: &str = "COMMITTED_BELOW_LEVEL";
/// The reason code of a token that names what the ledger does not have.
const TOKEN_LOST: &str = "TOKEN_LOST";

impl ClientError {
    pub(crate) fn unproven(why: impl Into<String>) -> ClientError {
        ClientError::Unproven(Unproven {
            why: why.into(),
            report: None,
        })
    }

    /// The server left out what the protocol promises.
    pub(crate) fn lacks(what: &str) -> ClientError {
        ClientError::Broken(Box::new(ServerRefusal {
            code: "INTERNAL",
            message: format!("the answer lacks {what}"),
            ..ServerRefusal::default()
        }))
    }

    pub(crate) fn local(what: impl Into<String>, source: std::io::Error) -> ClientError {
        ClientError::Local {
            what: what.into(),
            source,
        }
    }

    pub(crate) fn from_status(status: &Status, endpoint: &str) -> ClientError {
        let refusal = Box::new(ServerRefusal::from_status(status, endpoint));
        // Durable but below the level asked: the same call again waits for the rest.
        if refusal.reason == BELOW_LEVEL || is_of_transport(status) {
            return ClientError::Unavailable(refusal);
        }
        if refusal.reason == TOKEN_LOST {
            return ClientError::Lost(refusal);
        }
        match status.code() {
            Code::InvalidArgument | Code::OutOfRange => ClientError::Invalid(refusal),
            Code::NotFound => ClientError::NotFound(refusal),
            Code::AlreadyExists | Code::FailedPrecondition => ClientError::Conflict(refusal),
            Code::PermissionDenied | Code::Unauthenticated => ClientError::Denied(refusal),
            Code::ResourceExhausted => ClientError::Exhausted(refusal),
            Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Aborted => {
                ClientError::Unavailable(refusal)
            }
            Code::Ok | Code::Unknown | Code::Unimplemented | Code::Internal | Code::DataLoss => {
                ClientError::Broken(refusal)
            }
        }
    }

    /// The gRPC code's name, or the kind's own where no server was involved.
    pub fn code(&self) -> &'static str {
        match self {
            ClientError::Usage(_) | ClientError::Policy(_) => "USAGE",
            ClientError::Unproven(_) => "UNPROVEN",
            ClientError::Local { .. } => "LOCAL",
            ClientError::Invalid(refusal)
            | ClientError::NotFound(refusal)
            | ClientError::Conflict(refusal)
            | ClientError::Denied(refusal)
            | ClientError::Exhausted(refusal)
            | ClientError::Unavailable(refusal)
            | ClientError::Lost(refusal)
            | ClientError::Broken(refusal) => refusal.code,
        }
    }

    /// What the server said, where one did.
    pub fn refusal(&self) -> Option<&ServerRefusal> {
        match self {
            ClientError::Usage(_)
            | ClientError::Policy(_)
            | ClientError::Unproven(_)
            | ClientError::Local { .. } => None,
            ClientError::Invalid(refusal)
            | ClientError::NotFound(refusal)
            | ClientError::Conflict(refusal)
            | ClientError::Denied(refusal)
            | ClientError::Exhausted(refusal)
            | ClientError::Unavailable(refusal)
            | ClientError::Lost(refusal)
            | ClientError::Broken(refusal) => Some(refusal),
        }
    }
}

impl ServerRefusal {
    fn from_status(status: &Status, endpoint: &str) -> ServerRefusal {
        let details = status.get_error_details();
        let info = details.error_info();
        ServerRefusal {
            code: code_name(status.code()),
            reason: info.map(|info| info.reason.clone()).unwrap_or_default(),
            message: message(status),
            fields: details
                .bad_request()
                .map(|bad| bad.field_violations.iter().map(|v| v.field.clone()))
                .into_iter()
                .flatten()
                .collect(),
            details: info.map(|info| info.metadata.clone()).unwrap_or_default(),
            endpoint: endpoint.to_owned(),
            status: Some(status.clone()),
        }
    }
}

/// A server's status has no source; one that this side made of a broken connection has.
pub(crate) fn is_of_transport(status: &Status) -> bool {
    std::error::Error::source(status).is_some()
}

/// The innermost cause says most: "connection refused", where the outer ones say
/// "transport error".
fn message(status: &Status) -> String {
    let mut text = status.message().to_owned();
    let mut next = std::error::Error::source(status);
    while let Some(error) = next {
        let inner = error.to_string();
        if !text.contains(&inner) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&inner);
        }
        next = error.source();
    }
    text
}

fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClientError::Usage(why) => f.write_str(why),
            ClientError::Policy(error) => error.fmt(f),
            ClientError::Unproven(unproven) => {
                write!(f, "the answer is not proven: {}", unproven.why)
            }
            ClientError::Local { what, source } => write!(f, "{what}: {source}"),
            ClientError::Unavailable(refusal) if refusal.reason == BELOW_LEVEL => refusal.fmt(f),
            ClientError::Unavailable(refusal) => {
                write!(f, "{refusal}; the outcome is unknown, repeat the same call")
            }
            ClientError::Invalid(refusal)
            | ClientError::NotFound(refusal)
            | ClientError::Conflict(refusal)
            | ClientError::Denied(refusal)
            | ClientError::Exhausted(refusal)
            | ClientError::Lost(refusal)
            | ClientError::Broken(refusal) => refusal.fmt(f),
        }
    }
}

impl fmt::Display for ServerRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if !self.reason.is_empty() {
            write!(f, " [{}]", self.reason)?;
        }
        if let Some(digest) = self.details.get("stored_sha256") {
            write!(f, "; stored are bytes of SHA-256 {digest}")?;
        }
        if !self.endpoint.is_empty() {
            write!(f, " ({} from {})", self.code, self.endpoint)?;
        }
        Ok(())
    }
}

impl std::error::Error for ClientError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ClientError::Local { source, .. } => Some(source),
            ClientError::Policy(error) => Some(error),
            _ => self.refusal()?.status.as_ref()?.source(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic_types::ErrorDetails;

    /// The caller branches on the kind, so the reason and the field must survive the way.
    #[test]
    fn a_refusal_keeps_reason_and_field() {
        let mut details = ErrorDetails::new();
        details.set_error_info("IDENTITY_TAKEN", "muniment", [("uid".into(), "u".into())]);
        details.add_bad_request_violation("metadata.identity", "taken");
        let status =
            Status::with_error_details(Code::AlreadyExists, "taken by other bytes", details);
        match ClientError::from_status(&status, "http://a") {
            ClientError::Conflict(refusal) => {
                assert_eq!(refusal.reason, "IDENTITY_TAKEN");
                assert_eq!(refusal.fields, ["metadata.identity"]);
                assert_eq!(refusal.details["uid"], "u");
                assert_eq!(refusal.code, "ALREADY_EXISTS");
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_lost_token_is_a_kind_of_its_own() {
        let mut details = ErrorDetails::new();
        details.set_error_info(TOKEN_LOST, "muniment", HashMap::<String, String>::new());
        let status = Status::with_error_details(Code::DataLoss, "lost", details);
        assert!(matches!(
            ClientError::from_status(&status, ""),
            ClientError::Lost(_)
        ));
        let other = Status::data_loss("a damaged message");
        assert!(matches!(
            ClientError::from_status(&other, ""),
            ClientError::Broken(_)
        ));
    }

    #[test]
    fn a_commit_below_its_level_is_to_be_repeated() {
        let mut details = ErrorDetails::new();
        details.set_error_info(BELOW_LEVEL, "muniment", HashMap::<String, String>::new());
        let status = Status::with_error_details(Code::Unavailable, "below", details);
        assert!(matches!(
            ClientError::from_status(&status, ""),
            ClientError::Unavailable(_)
        ));
    }
}
