//! The answer about one invoice, in words and as JSON.
//!
//! Promises: a download without an end is called just that, and "nobody else" is said only
//! where nothing is in doubt.
//!
//! Tests: `audit/tests/questions.rs`.

use super::{FoundInvoice, InvoiceEvent, InvoiceQuestion};
use crate::answer::{AuditAnswer, Audited};
use crate::json::Value;
use crate::summary;
use crate::summary::words::{utc, uuid, who};
use muniment_evidence::opening::Document;
use muniment_evidence::report::{Report, shown};
use std::fmt::Write as _;

impl InvoiceQuestion {
    pub fn conclude(self, report: Report) -> Audited {
        let mut doubts = self.doubts();
        if !report.holds() {
            doubts.push("the evidence does not verify".to_owned());
        }
        if !report.open_outboxes.is_empty() {
            let pending: u64 = report.open_outboxes.iter().map(|open| open.pending).sum();
            doubts.push(format!(
                "{pending} statements that nodes have signed are not recorded up to here"
            ));
        }
        let answer = AuditAnswer {
            ending: self.ending(),
            text: self.text(&doubts),
            value: self.value(&doubts, &report),
        };
        Audited { report, answer }
    }

    fn text(&self, doubts: &[String]) -> String {
        let mut text = String::new();
        if self.found.is_empty() {
            let _ = writeln!(
                text,
                "No such invoice in the records {}..{}.",
                self.first, self.end
            );
            for why in doubts {
                let _ = writeln!(text, "That proves nothing: {why}.");
            }
            return text;
        }
        if self.found.len() > 1 {
            let count = self.found.len() as u64 + self.more;
            let _ = writeln!(
                text,
                "{count} invoices are meant by that; name one by its uid, or its series:"
            );
            for found in &self.found {
                let _ = writeln!(text, "  {}", shown(&title(found)));
            }
            return text;
        }
        for found in &self.found {
            write_found(&mut text, found);
        }
        if self.coverage.ends_withheld > 0 {
            let _ = writeln!(
                text,
                "{} DOWNLOAD_END records are not shown and may end some of these.",
                self.coverage.ends_withheld
            );
        }
        if self.coverage.others_withheld > 0 {
            let _ = writeln!(
                text,
                "{} records of additions and voids are not shown and may be of this invoice.",
                self.coverage.others_withheld
            );
        }
        if doubts.is_empty() {
            let _ = writeln!(
                text,
                "Nobody else downloaded it up to size {}: every download in the records 0..{} ({} in \
                 all) was shown and checked.",
                self.end, self.end, self.coverage.downloads
            );
        }
        for why in doubts {
            let _ = writeln!(text, "Further downloads cannot be excluded: {why}.");
        }
        text
    }

    fn value(&self, doubts: &[String], report: &Report) -> Value {
        let coverage = self.coverage;
        Value::object([
            ("first", self.first.into()),
            ("end", self.end.into()),
            (
                "invoices",
                Value::list(
                    self.found
                        .iter()
                        .map(|found| self.found_value(found, report)),
                ),
            ),
            ("invoices_more", self.more.into()),
            (
                "nobody_else",
                (doubts.is_empty() && self.found.len() == 1).into(),
            ),
            ("doubts", Value::list(doubts.iter().cloned())),
            ("downloads_in_range", coverage.downloads.into()),
            ("downloads_withheld", coverage.downloads_withheld.into()),
            ("issues_withheld", coverage.issues_withheld.into()),
            ("ends_withheld", coverage.ends_withheld.into()),
            ("others_withheld", coverage.others_withheld.into()),
        ])
    }

    fn found_value(&self, found: &FoundInvoice, report: &Report) -> Value {
        let identity = found.identity.as_ref().map(|identity| {
            Value::object([
                ("tenant", identity.tenant.as_str().into()),
                ("scheme", identity.scheme.as_str().into()),
                ("issuer", identity.issuer.as_str().into()),
                ("number", identity.number.as_str().into()),
                ("period", identity.period.as_str().into()),
            ])
        });
        // Of several, only their names: the caller has to choose first.
        let events = match self.found.len() {
            1 => &found.events[..],
            _ => &[],
        };
        Value::object([
            ("uid", uuid(&found.uid).into()),
            ("identity", identity.into()),
            ("downloads", (found.downloads().count() as u64).into()),
            (
                "records",
                Value::list(events.iter().map(|event| event_value(event, report))),
            ),
            ("records_more", found.more.into()),
        ])
    }
}

fn title(found: &FoundInvoice) -> String {
    let uid = uuid(&found.uid);
    match &found.identity {
        Some(identity) => format!(
            "{} of {} (scheme {}, tenant {}{}{}), uid {uid}",
            identity.number,
            identity.issuer,
            identity.scheme,
            identity.tenant,
            if identity.period.is_empty() {
                ""
            } else {
                ", period "
            },
            identity.period
        ),
        None => format!("uid {uid}; its issue is not among these records"),
    }
}

fn write_found(text: &mut String, found: &FoundInvoice) {
    let _ = writeln!(text, "Invoice     {}", shown(&title(found)));
    let is_download =
        |event: &&InvoiceEvent| matches!(event.opened.document, Some(Document::Download(_)));
    for event in found.events.iter().filter(|event| !is_download(event)) {
        let line = format!(
            "record {}: {} Asked by {}; node {}.",
            event.opened.record.index,
            summary::sentence(&event.opened),
            asker(event),
            node(event)
        );
        let _ = writeln!(text, "  {}", shown(&line));
    }
    let downloads = found.downloads().count();
    let _ = writeln!(text, "Downloads   {downloads}");
    for event in found.events.iter().filter(is_download) {
        let _ = writeln!(text, "  {}", shown(&download_line(event)));
    }
    if found.more > 0 {
        let _ = writeln!(text, "  and {} further records", found.more);
    }
}

fn download_line(event: &InvoiceEvent) -> String {
    let record = &event.opened.record;
    let mut line = format!(
        "record {} at {}: by {}; node {}",
        record.index,
        utc(record.committed_at_ms),
        asker(event),
        node(event)
    );
    if let Some(Document::Download(d)) = &event.opened.document {
        let _ = write!(
            line,
            "; bytes {}..{} of {}, {}",
            d.start, d.end, d.length, d.role
        );
    }
    line + &match (&event.delivery, event.under) {
        (Some(end), _) if end.complete => {
            format!("; handed over in full (record {})", end.index)
        }
        (Some(end), _) => format!(
            "; handed over in part, {} bytes (record {})",
            end.bytes, end.index
        ),
        (None, _) => "; no end on record: possibly all delivered".to_owned(),
    } + &event
        .under
        .map(|uid| format!("; the same bytes, as the invoice {}", uuid(&uid)))
        .unwrap_or_default()
}

/// Who asked, as the node knew it.
fn asker(event: &InvoiceEvent) -> String {
    match &event.opened.actor {
        None => "someone not shown (erased or withheld)".to_owned(),
        Some(actor) => who(actor),
    }
}

fn node(event: &InvoiceEvent) -> String {
    let node = event.opened.record.statement.node;
    match &event.opened.place {
        Some((_, zone)) => format!("{node} in zone {zone}"),
        None => node.to_string(),
    }
}

fn event_value(event: &InvoiceEvent, report: &Report) -> Value {
    let delivery = event.delivery.map(|end| {
        Value::object([
            ("index", end.index.into()),
            ("bytes", end.bytes.into()),
            ("complete", end.complete.into()),
        ])
    });
    Value::object([
        (
            "record",
            summary::to_value(&event.opened, report.holds(), report.pinned),
        ),
        ("delivery", delivery.into()),
        ("under_uid", event.under.map(|uid| uuid(&uid)).into()),
    ])
}
