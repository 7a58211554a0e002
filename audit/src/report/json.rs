//! A report as JSON: stable names, for machines.

use crate::json::Value;
use crate::summary;
use muniment_evidence::class::FindingClass;
use muniment_evidence::report::{Counts, Finding, Report, Verdict};

/// One line of JSON.
///
/// ```
/// use muniment_audit::report::to_json;
/// use muniment_evidence::verify::{self, Expected};
///
/// let report = verify::receipt(b"no receipt", Expected::default());
/// assert!(to_json(&report).contains("\"class\":\"STRUCTURE\""));
/// ```
pub fn to_json(report: &Report) -> String {
    to_value(report).to_string()
}

/// The report as a value, to stand within another.
pub fn to_value(report: &Report) -> Value {
    let class = match report.verdict() {
        Verdict::Verified => Value::Null,
        Verdict::Unpinned => FindingClass::Unpinned.name().into(),
        Verdict::Unwitnessed => FindingClass::Unwitnessed.name().into(),
        Verdict::Failed(class) => class.name().into(),
    };
    let counts = report.counts.rows().map(|(kind, row)| {
        let row = Counts::OUTCOMES.iter().zip(row);
        let row = row.map(|(name, n)| ((*name).to_owned(), n.into()));
        (kind.to_string(), Value::Object(row.collect()))
    });
    let cosigners = report.cosigners.iter().map(|cosigner| {
        Value::object([
            ("node", cosigner.node.into()),
            ("zone", cosigner.zone.as_str().into()),
            ("time_s", cosigner.time_s.into()),
        ])
    });
    let classes = report.classes().into_iter().map(|(class, index)| {
        Value::object([("class", class.name().into()), ("index", index.into())])
    });
    let findings = report.findings.iter().map(finding_value);
    let told = report.told.iter().map(finding_value);
    let outside = report.outside.iter().map(|witness| {
        Value::object([
            ("name", witness.name.as_str().into()),
            ("time_s", witness.time_s.into()),
        ])
    });
    let open = report.open_outboxes.iter().map(|open| {
        Value::object([
            ("node", open.node.into()),
            ("outbox", open.outbox.into()),
            ("pending", open.pending.into()),
        ])
    });
    let not_judged = report.not_judged.iter();
    let not_judged = not_judged.map(|(why, count)| (why.name().to_owned(), (*count).into()));
    let unfinished = report.unfinished.as_ref().map(|unfinished| {
        Value::object([
            ("count", unfinished.count.into()),
            ("first", Value::list(unfinished.indexes.iter().copied())),
            ("ends_unread", unfinished.ends_unread.into()),
        ])
    });
    // A selection begins nowhere, and what it was selected by is the exporter's word alone.
    let selects = report.selection.is_some();
    let first = report.range.map(|range| range.0).filter(|_| !selects);
    let unsigned = report.selection.as_deref();
    let unsigned = unsigned.map(|words| Value::object([("selection", words.into())]));
    Value::object([
        ("evidence", report.evidence.name().into()),
        ("verdict", report.verdict().name().into()),
        ("class", class),
        ("exit_code", u64::from(report.exit_code()).into()),
        ("pinned", report.pinned.into()),
        ("self_attested", report.is_self_attested().into()),
        ("level", u64::from(report.level).into()),
        ("origin", report.origin.clone().into()),
        ("ledger", report.ledger.into()),
        ("size", report.size.into()),
        ("root", report.root.into()),
        ("first", first.into()),
        ("end", report.range.map(|range| range.1).into()),
        ("selects", report.range.map(|_| selects).into()),
        ("unsigned", unsigned.into()),
        ("head_size", report.head_size.into()),
        ("cosigners", Value::list(cosigners)),
        ("key_records", (report.keys.len() as u64).into()),
        ("keys_tied", report.keys_tied.into()),
        ("endorsements_not_placed", report.unplaced.into()),
        ("rules_held", report.ruled.into()),
        ("rules_not_judged", Value::Object(not_judged.collect())),
        ("policy_met", report.policy_met.into()),
        ("outside_cosigners", Value::list(outside)),
        ("anchors", report.anchors.into()),
        ("anchored_size", report.anchored.into()),
        ("open_outboxes", Value::list(open)),
        ("records", report.counts.total().into()),
        ("counts", Value::Object(counts.collect())),
        ("downloads_without_end", unfinished.into()),
        (
            "record",
            report
                .record
                .as_ref()
                .map(|opened| summary::to_value(opened, report.holds(), report.pinned))
                .into(),
        ),
        ("document_matches", report.document_matches.into()),
        ("classes", Value::list(classes)),
        ("findings", Value::list(findings)),
        ("findings_count", report.findings_count.into()),
        ("told", Value::list(told)),
        ("told_count", report.told_count.into()),
    ])
}

fn finding_value(finding: &Finding) -> Value {
    Value::object([
        ("check", finding.check.id().into()),
        ("class", finding.class.name().into()),
        ("exit_code", u64::from(finding.class.exit_code()).into()),
        ("index", finding.index.into()),
        ("detail", finding.detail.as_str().into()),
    ])
}
