//! Exit codes, and the failures that lead to them.
//!
//! Promises: the codes are stable (docs/cli.md has the table); a failure goes to stderr, in
//! words or as one JSON document. Leaves what counts as a failure to the commands.

use crate::output::{self, shown};
use muniment_client::ClientError;
use serde_json::{Value, json};
use std::process::ExitCode;

/// How the process ends. Never renumbered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    Ok = 0,
    Other = 1,
    Usage = 2,
    NotFound = 3,
    Conflict = 4,
    Invalid = 5,
    Unavailable = 6,
    Exhausted = 7,
    Unproven = 8,
    Ambiguous = 9,
    /// `check`: not issued here.
    NotIssued = 10,
    /// `check`: issued, but reversed or void.
    NotInForce = 11,
    /// `evidence reconcile`: the ledger's figures are not those of the file.
    Differs = 12,
    /// What a token names is not in the ledger.
    Lost = 13,
}

impl Exit {
    fn name(self) -> &'static str {
        match self {
            Exit::Ok => "ok",
            Exit::Other => "other",
            Exit::Usage => "usage",
            Exit::NotFound => "not_found",
            Exit::Conflict => "conflict",
            Exit::Invalid => "invalid",
            Exit::Unavailable => "unavailable",
            Exit::Exhausted => "exhausted",
            Exit::Unproven => "unproven",
            Exit::Ambiguous => "ambiguous",
            Exit::NotIssued => "not_issued",
            Exit::NotInForce => "not_in_force",
            Exit::Differs => "differs",
            Exit::Lost => "lost",
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

/// Why a command failed.
#[derive(Clone, Debug)]
pub struct CommandFailure {
    pub exit: Exit,
    message: String,
    /// Reason code, fields and the like; null when there is nothing more to say.
    details: Value,
}

impl CommandFailure {
    pub fn new(exit: Exit, message: impl Into<String>) -> CommandFailure {
        CommandFailure {
            exit,
            message: message.into(),
            details: Value::Null,
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
        CommandFailure::new(Exit::Other, format!("{what}: {error}"))
    }

    pub fn with(mut self, details: Value) -> CommandFailure {
        self.details = details;
        self
    }

    pub fn to_value(&self) -> Value {
        json!({
            "error": self.exit.name(),
            "exit_code": self.exit as u8,
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
        CommandFailure::new(exit, error.to_string()).with(details)
    }
}

/// Says on stderr what failed, and gives the code.
pub fn conclude(result: Result<Exit, CommandFailure>, json: bool) -> ExitCode {
    match result {
        Ok(exit) => exit.into(),
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
