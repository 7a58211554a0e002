//! Exit codes, and the failures that lead to them.
//!
//! Promises: the codes are stable (docs/cli.md has the table); what ends with a verdict on
//! evidence ends with the code that `muniment-verify` has for it; a failure goes to stderr,
//! in words or as one JSON document. Leaves what counts as a failure to the commands.

use crate::output::{self, shown};
use muniment_audit::answer::{NOT_FOUND_CODE, SEVERAL_CODE};
use muniment_client::ClientError;
use serde_json::{Value, json};
use std::process::ExitCode;

/// How a call ends. Never renumbered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Ok,
    Other,
    Usage,
    NotFound,
    Conflict,
    Invalid,
    Unavailable,
    Exhausted,
    Unproven,
    Ambiguous,
    /// `check`: not issued here.
    NotIssued,
    /// `check`: issued, but reversed or void.
    NotInForce,
    /// What a token names is not in the ledger.
    Lost,
    /// `evidence` and its questions: the verifier's own code, UNPINNED among them.
    Verdict(u8),
}

impl Exit {
    /// As scripts see it. 12 was `evidence reconcile` before it ended with the verifier's
    /// code, and is not used again.
    pub fn code(self) -> u8 {
        self.row().0
    }

    fn name(self) -> &'static str {
        self.row().1
    }

    fn row(self) -> (u8, &'static str) {
        match self {
            Exit::Ok => (0, "ok"),
            Exit::Other => (1, "other"),
            Exit::Usage => (2, "usage"),
            Exit::NotFound => (3, "not_found"),
            Exit::Conflict => (4, "conflict"),
            Exit::Invalid => (5, "invalid"),
            Exit::Unavailable => (6, "unavailable"),
            Exit::Exhausted => (7, "exhausted"),
            Exit::Unproven => (8, "unproven"),
            Exit::Ambiguous => (9, "ambiguous"),
            Exit::NotIssued => (10, "not_issued"),
            Exit::NotInForce => (11, "not_in_force"),
            Exit::Lost => (13, "lost"),
            Exit::Verdict(NOT_FOUND_CODE) => (NOT_FOUND_CODE, "not_found"),
            Exit::Verdict(SEVERAL_CODE) => (SEVERAL_CODE, "ambiguous"),
            Exit::Verdict(code) => (code, "verdict"),
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.code())
    }
}

/// Why a command failed.
#[derive(Clone, Debug)]
pub struct CommandFailure {
    pub exit: Exit,
    message: String,
    /// Reason code, fields and the like; null when there is nothing more to say.
    details: Value,
    /// Whoever was to read went away: there is nobody to complain to.
    quiet: bool,
}

impl CommandFailure {
    pub fn new(exit: Exit, message: impl Into<String>) -> CommandFailure {
        CommandFailure {
            exit,
            message: message.into(),
            details: Value::Null,
            quiet: false,
        }
    }

    pub fn usage(message: impl Into<String>) -> CommandFailure {
        CommandFailure::new(Exit::Usage, message)
    }

    pub fn invalid(message: impl Into<String>) -> CommandFailure {
        CommandFailure::new(Exit::Invalid, message)
    }

    /// A file of this machine that cannot be read or written.
    pub fn local(what: impl std::fmt::Display, error: &std::io::Error) -> CommandFailure {
        let mut failure = CommandFailure::new(Exit::Other, format!("{what}: {error}"));
        failure.quiet = error.kind() == std::io::ErrorKind::BrokenPipe;
        failure
    }

    pub fn with(mut self, details: Value) -> CommandFailure {
        self.details = details;
        self
    }

    pub fn to_value(&self) -> Value {
        json!({
            "error": self.exit.name(),
            "exit_code": self.exit.code(),
            "message": self.message,
            "details": self.details,
        })
    }

    pub fn message(&self) -> &str {
        &self.message
    }
}

impl From<ClientError> for CommandFailure {
    fn from(error: ClientError) -> CommandFailure {
        let exit = match &error {
            ClientError::Usage(_) | ClientError::Policy(_) => Exit::Usage,
            ClientError::Invalid(_) => Exit::Invalid,
            ClientError::NotFound(_) => Exit::NotFound,
            ClientError::Conflict(_) => Exit::Conflict,
            ClientError::Exhausted(_) => Exit::Exhausted,
            ClientError::Unavailable(_) => Exit::Unavailable,
            ClientError::Unproven(_) => Exit::Unproven,
            ClientError::Lost(_) => Exit::Lost,
            ClientError::Denied(_) | ClientError::Local { .. } | ClientError::Broken(_) => {
                Exit::Other
            }
        };
        let mut details = Value::Null;
        if let Some(refusal) = error.refusal() {
            details = json!({
                "code": refusal.code,
                "reason": refusal.reason,
                "fields": refusal.fields,
                "info": refusal.details,
                "endpoint": refusal.endpoint,
            });
        }
        if let ClientError::Unproven(unproven) = &error
            && let Some(report) = &unproven.report
        {
            details = json!({ "report": output::report_value(report) });
        }
        let mut failure = CommandFailure::new(exit, error.to_string()).with(details);
        failure.quiet = matches!(&error, ClientError::Local { source, .. }
            if source.kind() == std::io::ErrorKind::BrokenPipe);
        failure
    }
}

/// Says on stderr what failed, and gives the code.
pub fn conclude(result: Result<Exit, CommandFailure>, json: bool) -> ExitCode {
    match result {
        Ok(exit) => exit.into(),
        Err(failure) if failure.quiet => failure.exit.into(),
        Err(failure) => {
            if json {
                output::complain(&output::pretty(&failure.to_value()));
            } else {
                // Lines of the command's own (a table, a hint) stay lines.
                let lines = failure.message.lines().map(shown);
                let text = lines.collect::<Vec<_>>().join("\n");
                output::complain(&format!("muniment: {text}"));
            }
            failure.exit.into()
        }
    }
}
