//! A report as JSON: stable names, for machines.

use super::{Counts, Report, Verdict};
use crate::json::Value;
use crate::report::Class;

impl Report {
    pub fn to_json(&self) -> String {
        self.to_value().to_string()
    }

    pub fn to_value(&self) -> Value {
        let class = match self.verdict() {
            Verdict::Verified => Value::Null,
            Verdict::Unpinned => Class::Unpinned.name().into(),
            Verdict::Failed(class) => class.name().into(),
        };
        let counts = self.counts.rows().map(|(kind, row)| {
            let row = Counts::OUTCOMES.iter().zip(row);
            let row = row.map(|(name, n)| ((*name).to_owned(), n.into()));
            (kind.name().to_owned(), Value::Object(row.collect()))
        });
        let cosigners = self.cosigners.iter().map(|cosigner| {
            Value::object([
                ("node", cosigner.node.into()),
                ("zone", cosigner.zone.as_str().into()),
                ("time_s", cosigner.time_s.into()),
            ])
        });
        let findings = self.findings.iter().map(|finding| {
            Value::object([
                ("class", finding.class.name().into()),
                ("exit_code", u64::from(finding.class.exit_code()).into()),
                ("index", finding.index.into()),
                ("detail", finding.detail.as_str().into()),
            ])
        });
        let outside = self.outside.iter().map(|witness| {
            Value::object([
                ("name", witness.name.as_str().into()),
                ("time_s", witness.time_s.into()),
            ])
        });
        let open = self.open_outboxes.iter().map(|open| {
            Value::object([
                ("node", open.node.into()),
                ("outbox", open.outbox.into()),
                ("pending", open.pending.into()),
            ])
        });
        let unfinished = self.unfinished.as_ref().map(|unfinished| {
            Value::object([
                ("count", unfinished.count.into()),
                ("first", Value::list(unfinished.indexes.iter().copied())),
                ("ends_unread", unfinished.ends_unread.into()),
            ])
        });
        Value::object([
            ("evidence", self.evidence.name().into()),
            ("verdict", self.verdict().name().into()),
            ("class", class),
            ("exit_code", u64::from(self.exit_code()).into()),
            ("pinned", self.pinned.into()),
            ("self_attested", self.is_self_attested().into()),
            ("level", u64::from(self.level).into()),
            ("origin", self.origin.clone().into()),
            ("ledger", self.ledger.into()),
            ("size", self.size.into()),
            ("root", self.root.into()),
            ("first", self.range.map(|range| range.0).into()),
            ("end", self.range.map(|range| range.1).into()),
            ("selection", self.selection.clone().into()),
            ("head_size", self.head_size.into()),
            ("cosigners", Value::list(cosigners)),
            ("key_records", self.key_records.into()),
            ("policy_met", self.policy_met.into()),
            ("outside_cosigners", Value::list(outside)),
            ("anchors", self.anchors.into()),
            ("open_outboxes", Value::list(open)),
            ("records", self.counts.total().into()),
            ("counts", Value::Object(counts.collect())),
            ("downloads_without_end", unfinished.into()),
            (
                "record",
                self.account
                    .as_ref()
                    .map(|account| account.to_value(self.holds(), self.pinned))
                    .into(),
            ),
            ("document_matches", self.document_matches.into()),
            ("findings", Value::list(findings)),
            ("findings_count", self.findings_count.into()),
        ])
    }
}
