//! Was a promise kept? Its record is looked for by node, outbox and number.
//!
//! Promises: "kept" is said only of an OK record of the very statement that was promised.
//! Everything else is said by name, with a code of its own. That a node lost *another*
//! outbox is told and does not touch the answer. Memory for one answer.
//!
//! Tests: `audit/tests/promise.rs`.

use crate::answer::{AuditAnswer, Audited, Ending};
use crate::json::Value;
use crate::summary::words::{utc, uuid, who};
use muniment_evidence::bundle::Manifest;
use muniment_evidence::class::FindingClass;
use muniment_evidence::ids::{RecordIndex, TreeSize};
use muniment_evidence::opening::Document;
use muniment_evidence::record::Outcome;
use muniment_evidence::report::{Report, shown};
use muniment_evidence::statement::Lane;
use muniment_evidence::verify::{Observer, Promised, SeenRecord};
use std::fmt::Write as _;

/// What became of a promise, as far as a bundle shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PromiseFate {
    /// The OK record at this index.
    Kept(RecordIndex),
    /// Recorded at this index, and refused.
    Refused(RecordIndex),
    /// Another statement stands under this number, at this index: the node signed twice.
    Other(RecordIndex),
    /// The BOOT at this index says that the outbox was lost before it came to it.
    Lost(RecordIndex),
    /// The BOOT at this index denies it: by then the node's outbox had no such number, or
    /// was lost before the promise was made.
    Broken(RecordIndex),
    /// By the record at this index, the deadline of the promise had passed: it is this record
    /// itself, or there was none of it before.
    Overdue(RecordIndex),
    /// The bundle has the whole log up to its end, and not this: it may still come.
    Pending,
    /// The bundle is only a part of the log, and this is not in it.
    NotShown,
}

impl PromiseFate {
    pub fn name(self) -> &'static str {
        match self {
            PromiseFate::Kept(_) => "KEPT",
            PromiseFate::Refused(_) => "REFUSED",
            PromiseFate::Other(_) => "OTHER",
            PromiseFate::Lost(_) => "LOST",
            PromiseFate::Broken(_) => "BROKEN",
            PromiseFate::Overdue(_) => "OVERDUE",
            PromiseFate::Pending => "PENDING",
            PromiseFate::NotShown => "NOT_SHOWN",
        }
    }

    fn index(self) -> Option<RecordIndex> {
        match self {
            PromiseFate::Kept(index)
            | PromiseFate::Refused(index)
            | PromiseFate::Other(index)
            | PromiseFate::Lost(index)
            | PromiseFate::Broken(index)
            | PromiseFate::Overdue(index) => Some(index),
            PromiseFate::Pending | PromiseFate::NotShown => None,
        }
    }

    fn ending(self) -> Ending {
        match self {
            PromiseFate::Kept(_) => Ending::Answered,
            PromiseFate::Lost(_) => Ending::Fault(FindingClass::Lost),
            _ => Ending::Fault(FindingClass::Promise),
        }
    }
}

/// See the module.
pub struct PromiseQuestion {
    promised: Promised,
    /// Whether the bundle has every record from the first one on.
    whole: bool,
    end: TreeSize,
    same_ledger: bool,
    found: Option<PromiseFate>,
    /// The first record that was committed after the deadline.
    passed: Option<RecordIndex>,
}

impl PromiseQuestion {
    pub fn new(promised: Promised) -> PromiseQuestion {
        PromiseQuestion {
            promised,
            whole: false,
            end: TreeSize::EMPTY,
            same_ledger: false,
            found: None,
            passed: None,
        }
    }

    pub fn conclude(self, report: Report) -> Audited {
        let fate = match (self.found, self.whole, self.passed) {
            (Some(fate), ..) => fate,
            (None, true, Some(index)) => PromiseFate::Overdue(index),
            (None, true, None) => PromiseFate::Pending,
            (None, false, _) => PromiseFate::NotShown,
        };
        let ending = match self.same_ledger {
            true => fate.ending(),
            false => Ending::Fault(FindingClass::Untrusted),
        };
        let mut text = describe(&self.promised);
        let what = match fate {
            _ if !self.same_ledger => "the bundle is of another ledger".to_owned(),
            PromiseFate::Kept(index) => format!("kept: it is the record {index}, OK"),
            PromiseFate::Refused(index) => format!("it is the record {index}, which was refused"),
            PromiseFate::Other(index) => {
                format!("not kept: the record {index} has another statement under this number")
            }
            PromiseFate::Lost(index) => format!(
                "lost: the BOOT at {index} says that the outbox was lost, and it will never be \
                 recorded"
            ),
            PromiseFate::Broken(index) => format!(
                "broken: the BOOT at {index} says that the outbox does not hold it, and it will \
                 never be recorded"
            ),
            PromiseFate::Overdue(index) => {
                format!("overdue: the record {index} was committed after the deadline")
            }
            PromiseFate::Pending => {
                format!("not recorded up to size {}; it may still be", self.end)
            }
            PromiseFate::NotShown => {
                "not in this part of the log; ask for the whole, from record 0".to_owned()
            }
        };
        let _ = writeln!(text, "  {:<13} {what}", "promise");
        for loss in &report.told {
            let _ = writeln!(text, "  {:<13} {loss}", "beside it");
        }
        let value = Value::object([
            ("promise", to_value(&self.promised)),
            ("fate", fate.name().into()),
            ("index", fate.index().into()),
            (
                "losses",
                Value::list(report.told.iter().map(ToString::to_string)),
            ),
        ]);
        let answer = AuditAnswer {
            ending,
            text,
            value,
        };
        Audited { report, answer }
    }
}

/// A promise by itself: what it says, if it verifies.
pub fn stated(report: Report, promised: Option<&Promised>) -> Audited {
    let answer = AuditAnswer {
        ending: Ending::Answered,
        text: promised.map(describe).unwrap_or_default(),
        value: Value::object([
            ("promise", promised.map(to_value).into()),
            ("fate", Value::Null),
        ]),
    };
    Audited { report, answer }
}

impl Observer for PromiseQuestion {
    fn begin(&mut self, manifest: &Manifest) {
        self.whole = manifest.first == RecordIndex::FIRST && manifest.selection.is_empty();
        self.end = manifest.end;
        self.same_ledger = manifest.ledger == self.promised.ledger;
    }

    fn see(&mut self, seen: SeenRecord<'_>) {
        let (record, wanted) = (seen.record, &self.promised);
        let (statement, index) = (&record.statement, record.index);
        let deadline = wanted.download.deadline_ms;
        let late = deadline.is_some_and(|deadline| record.committed_at_ms > deadline);
        if late && self.passed.is_none() {
            self.passed = Some(index);
        }
        if statement.node != wanted.node {
            return;
        }
        if statement.lane == Lane::Outbox(wanted.outbox) && statement.seq == wanted.seq {
            self.found = Some(match record.outcome {
                _ if statement.hash() != wanted.statement => PromiseFate::Other(index),
                Outcome::Ok if late => PromiseFate::Overdue(index),
                Outcome::Ok => PromiseFate::Kept(index),
                Outcome::Refused(_) | Outcome::DuplicateOf(_) => PromiseFate::Refused(index),
            });
        }
        if let (None, Outcome::Ok, Some(Document::Boot(boot))) =
            (self.found, record.outcome, seen.document)
        {
            let named = boot.outboxes.iter().find(|o| o.id == wanted.outbox);
            // Both are the node's own times: what it says of itself, it is held to.
            let is_later = statement.witnessed_at_ms >= wanted.witnessed_at_ms;
            self.found = match named {
                Some(outbox) if is_later && outbox.next <= wanted.seq => Some(match outbox.lost {
                    true => PromiseFate::Lost(index),
                    false => PromiseFate::Broken(index),
                }),
                Some(outbox) if !is_later && outbox.lost => Some(PromiseFate::Broken(index)),
                _ => None,
            };
        }
    }
}

fn describe(promised: &Promised) -> String {
    let download = &promised.download;
    let node = match &promised.place {
        Some((region, zone)) => format!("node {} in {region}/{zone}", promised.node),
        None => format!("node {}", promised.node),
    };
    let mut text = String::new();
    let lines = [
        ("promised by", node),
        ("at", utc(promised.witnessed_at_ms)),
        (
            "number",
            format!("{} of outbox {}", promised.seq, promised.outbox),
        ),
        (
            "to record",
            "a download that was released at once".to_owned(),
        ),
        ("by", who(&promised.actor)),
        ("invoice", uuid(&download.uid)),
        ("rendition", download.role.clone()),
        (
            "range",
            format!(
                "{}..{} of {}",
                download.start, download.end, download.length
            ),
        ),
        ("sha256", download.sha256.to_hex()),
    ];
    for (name, line) in lines {
        let _ = writeln!(text, "  {name:<13} {}", shown(&line));
    }
    text
}

fn to_value(promised: &Promised) -> Value {
    let download = &promised.download;
    Value::object([
        ("node", promised.node.into()),
        ("outbox", promised.outbox.into()),
        ("seq", promised.seq.into()),
        ("statement", promised.statement.into()),
        ("witnessed_at_ms", promised.witnessed_at_ms.into()),
        ("issuer", promised.actor.issuer.as_str().into()),
        ("subject", promised.actor.subject.as_str().into()),
        ("address", promised.actor.address.as_str().into()),
        ("tenant", download.tenant.as_str().into()),
        ("uid", uuid(&download.uid).into()),
        ("role", download.role.as_str().into()),
        ("sha256", download.sha256.into()),
        ("start", download.start.into()),
        ("end", download.end.into()),
        ("length", download.length.into()),
        ("deadline_ms", download.deadline_ms.into()),
    ])
}
