//! Was a promise kept? Its record is looked for by node, outbox and number.
//!
//! Promises: "kept" is said only of an OK record of the very statement that was promised.
//! Everything else is said by name, with a code of its own, and only of a promise that the
//! changes of keys in the bundle leave standing: where its record is shown, the record speaks
//! for it. Of another ledger's bundle no fate is told. That a node lost *another*
//! outbox is told and does not touch the answer. Memory for one answer.
//!
//! Tests: `audit/tests/promise.rs`.

use crate::answer::{AuditAnswer, Audited, Ending};
use crate::json::Value;
use crate::summary::words::{utc, uuid, who};
use muniment_evidence::bundle::Manifest;
use muniment_evidence::class::FindingClass;
use muniment_evidence::ids::{RecordIndex, TreeSize};
use muniment_evidence::opening::{BootDocument, Document};
use muniment_evidence::record::Outcome;
use muniment_evidence::report::{Report, shown};
use muniment_evidence::statement::Lane;
use muniment_evidence::trust::Trust;
use muniment_evidence::verify::{self, KnownKeys, Observer, Promised, SeenRecord};
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
    /// The BOOT at this index denies it: by then the node's outbox had no such number, was lost
    /// before the promise was made, or was none of the node's.
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
    file: Vec<u8>,
    trust: Option<Trust>,
    promised: Promised,
    /// Whether the bundle has every record from the first one on.
    whole: bool,
    end: TreeSize,
    same_ledger: bool,
    /// The record of its number.
    recorded: Option<PromiseFate>,
    /// What the first BOOT says that speaks of it.
    denied: Option<PromiseFate>,
    /// The first record that was committed after the deadline.
    passed: Option<RecordIndex>,
}

impl PromiseQuestion {
    /// About the bytes of a promise file; or the answer, where they do not verify.
    pub fn new(file: Vec<u8>, trust: Option<Trust>) -> Result<PromiseQuestion, Box<Audited>> {
        let (report, promised) = verify::promise(&file, trust.as_ref(), None);
        let Some(promised) = promised else {
            return Err(Box::new(stated(report, None)));
        };
        Ok(PromiseQuestion {
            file,
            trust,
            promised,
            whole: false,
            end: TreeSize::EMPTY,
            same_ledger: false,
            recorded: None,
            denied: None,
            passed: None,
        })
    }

    fn fate(&self) -> PromiseFate {
        let said = self.recorded.or(self.denied);
        match (said, self.whole, self.passed) {
            (Some(fate), ..) => fate,
            (None, true, Some(index)) => PromiseFate::Overdue(index),
            (None, true, None) => PromiseFate::Pending,
            (None, false, _) => PromiseFate::NotShown,
        }
    }

    /// What is wrong with the promise by the changes of keys that the bundle shows, and by
    /// those that are known.
    fn taken_back(&self, report: &Report, known: Option<&KnownKeys>) -> Option<Report> {
        let shown = KnownKeys::of(report);
        let judged = |keys| verify::promise(&self.file, self.trust.as_ref(), Some(keys)).0;
        let mut judged = shown.iter().chain(known).map(judged);
        judged.find(|report| !report.holds())
    }

    /// The answer; `known` are the changes of keys that the caller has from elsewhere.
    pub fn conclude(self, report: Report, known: Option<&KnownKeys>) -> Audited {
        let fate = self.same_ledger.then(|| self.fate());
        let on_record = matches!(
            self.recorded,
            Some(PromiseFate::Kept(_) | PromiseFate::Overdue(_) | PromiseFate::Refused(_))
        );
        if report.holds()
            && self.same_ledger
            && !on_record
            && let Some(fault) = self.taken_back(&report, known)
        {
            return stated(fault, None);
        }
        let ending = fate.map_or(Ending::Fault(FindingClass::Untrusted), PromiseFate::ending);
        let mut text = describe(&self.promised);
        let what = match fate {
            Some(fate) => self.words(fate),
            None => "the bundle is of another ledger, which says nothing of it".to_owned(),
        };
        let _ = writeln!(text, "  {:<13} {what}", "promise");
        for loss in &report.told {
            let _ = writeln!(text, "  {:<13} {loss}", "beside it");
        }
        let value = Value::object([
            ("promise", to_value(&self.promised)),
            ("fate", fate.map(PromiseFate::name).into()),
            ("index", fate.and_then(PromiseFate::index).into()),
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

impl PromiseQuestion {
    fn words(&self, fate: PromiseFate) -> String {
        match fate {
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
        }
    }

    /// What a BOOT of the node says of the promise; `is_later`: it is not older, by the node's
    /// own times. What a node says of itself, it is held to.
    fn said_by_boot(
        &self,
        boot: &BootDocument,
        is_later: bool,
    ) -> Option<fn(RecordIndex) -> PromiseFate> {
        let named = boot.outboxes.iter().find(|o| o.id == self.promised.outbox);
        let Some(outbox) = named else {
            let denies = is_later && self.whole;
            return denies.then_some(PromiseFate::Broken);
        };
        // In the whole log, what is not on record of a lost outbox was lost with it.
        let ended = outbox.next <= self.promised.seq;
        match (outbox.lost, is_later) {
            (true, false) => Some(PromiseFate::Broken),
            (true, true) if ended || self.whole => Some(PromiseFate::Lost),
            (false, true) if ended => Some(PromiseFate::Broken),
            _ => None,
        }
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
            self.recorded = Some(match record.outcome {
                _ if statement.hash() != wanted.statement => PromiseFate::Other(index),
                Outcome::Ok if late => PromiseFate::Overdue(index),
                Outcome::Ok => PromiseFate::Kept(index),
                Outcome::Refused(_) | Outcome::DuplicateOf(_) => PromiseFate::Refused(index),
            });
        }
        if let (None, Outcome::Ok, Some(Document::Boot(boot))) =
            (self.denied, record.outcome, seen.document)
        {
            let is_later = statement.witnessed_at_ms >= wanted.witnessed_at_ms;
            let said = self.said_by_boot(boot, is_later);
            self.denied = said.map(|fate| fate(index));
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
    let deadline = download.deadline_ms.map(utc);
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
        (
            "until",
            deadline.unwrap_or_else(|| "no time that it names".to_owned()),
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
