//! What a question ends in: an answer, beside the report on the evidence that it was
//! taken from.
//!
//! Promises: one exit code for both, in which a fault of the evidence comes before the
//! answer. Leaves the answers to the questions.

use crate::json::Value;
use crate::report;
use muniment_evidence::class::FindingClass;
use muniment_evidence::report::Report;
use std::fmt;

/// How a question ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With a plain answer.
    Answered,
    /// The evidence does not speak of what was asked for.
    NotFound,
    /// What was asked for is not one thing; all of them are listed.
    Several,
    /// With a fault of this class.
    Fault(FindingClass),
}

/// Several things have the name that was asked for: as for wrong usage, name one.
pub const SEVERAL_CODE: u8 = 2;
/// Nothing has the name that was asked for.
pub const NOT_FOUND_CODE: u8 = 5;

impl Ending {
    pub fn name(self) -> &'static str {
        match self {
            Ending::Answered => "ANSWERED",
            Ending::NotFound => "NOT_FOUND",
            Ending::Several => "SEVERAL",
            Ending::Fault(class) => class.name(),
        }
    }

    pub fn exit_code(self) -> u8 {
        match self {
            Ending::Answered => 0,
            Ending::NotFound => NOT_FOUND_CODE,
            Ending::Several => SEVERAL_CODE,
            Ending::Fault(class) => class.exit_code(),
        }
    }
}

/// What a question found: how it ended, in words, and as JSON.
#[derive(Clone, Debug)]
pub struct AuditAnswer {
    pub ending: Ending,
    /// Lines for people, nothing in them that drives a terminal.
    pub text: String,
    pub value: Value,
}

/// An answer with the report on the evidence that it was taken from.
#[derive(Clone, Debug)]
pub struct Audited {
    pub report: Report,
    pub answer: AuditAnswer,
}

impl Audited {
    /// The evidence's fault if it has one; else how the question ended; else whether a pin
    /// was given.
    pub fn exit_code(&self) -> u8 {
        match self.answer.ending.exit_code() {
            _ if !self.report.holds() => self.report.exit_code(),
            0 => self.report.exit_code(),
            code => code,
        }
    }

    pub fn to_value(&self) -> Value {
        Value::object([
            ("exit_code", u64::from(self.exit_code()).into()),
            ("ending", self.answer.ending.name().into()),
            ("proven", (self.report.holds() && self.report.pinned).into()),
            ("answer", self.answer.value.clone()),
            ("report", report::to_value(&self.report)),
        ])
    }

    pub fn to_json(&self) -> String {
        self.to_value().to_string()
    }
}

impl fmt::Display for Audited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", report::to_text(&self.report))?;
        if !self.report.holds() {
            writeln!(
                f,
                "The evidence does not verify, so what follows is not proven:"
            )?;
        }
        f.write_str(&self.answer.text)
    }
}
