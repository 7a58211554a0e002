//! What one record says, in words for a stranger and as JSON.
//!
//! Promises: says only what stands in the record and in openings that it commits to, and
//! uses "issued", "downloaded" and the like for outcome OK alone. Leaves the question
//! whether the record is proven to the report around it.

use crate::digest::hex;
use crate::json::Value;
use crate::opening::{
    Actor, Document, DownloadDocument, Holding, Identity, IssueDocument, Money, Rendition,
};
use crate::record::{Outcome, Record};
use crate::statement::{Level, Mode};
use std::collections::BTreeSet;

/// A record with the openings that belong to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    pub record: Record,
    pub document: Option<Document>,
    pub actor: Option<Actor>,
    /// Region and zone of the node, by the genesis.
    pub place: Option<(String, String)>,
}

impl Account {
    /// One or two sentences, for a record that is proven.
    pub fn sentence(&self) -> String {
        let when = utc(self.record.committed_at_ms);
        let kind = self.record.statement.kind;
        match self.record.outcome {
            Outcome::Refused(reason) => format!(
                "A request of kind {kind} was refused ({}) at {when}. Nothing took effect.",
                reason.name()
            ),
            Outcome::DuplicateOf(index) => format!(
                "A request of kind {kind} at {when} repeated what record {index} had done \
                 before. It took no effect of its own."
            ),
            Outcome::Ok => format!("{} at {when}.", self.deed()),
        }
    }

    /// What took effect; only for outcome OK.
    fn deed(&self) -> String {
        use crate::statement::Kind;
        match (&self.document, self.record.statement.kind) {
            (Some(Document::Issue(d)), _) => {
                format!("{} was issued", invoice(&d.metadata.identity))
            }
            (Some(Document::Reverse(d)), _) => {
                format!("{} was issued as a reversal", invoice(&d.metadata.identity))
            }
            (Some(Document::AddRendition(d)), _) => format!(
                "A rendition in the role {} was added to the invoice {}",
                d.rendition.role,
                uuid(&d.uid)
            ),
            (Some(Document::Download(d)), _) => format!(
                "The bytes {}..{} of {} of the rendition {} of the invoice {} were released \
                 for download",
                d.start,
                d.end,
                d.length,
                d.role,
                uuid(&d.uid)
            ),
            (Some(Document::DownloadEnd(ends)), _) => format!(
                "The end of {} downloads (of {} handed over in full) was noted",
                ends.len(),
                ends.iter().filter(|end| end.complete).count()
            ),
            (Some(Document::Void(d)), _) => {
                format!("The invoice {} was declared void", uuid(&d.uid))
            }
            (_, Kind::Issue) => "An invoice (details not shown) was issued".to_owned(),
            (_, Kind::Reverse) => "A reversing invoice (details not shown) was issued".to_owned(),
            (_, Kind::AddRendition) => {
                "A rendition (details not shown) was added to an invoice".to_owned()
            }
            (_, Kind::Download) => {
                "Bytes of an invoice (details not shown) were released for download".to_owned()
            }
            (_, Kind::DownloadEnd) => "The end of downloads was noted".to_owned(),
            (_, Kind::Void) => "An invoice (details not shown) was declared void".to_owned(),
            (_, Kind::Genesis) => "The ledger was founded".to_owned(),
            (_, Kind::Boot) => format!("Node {} started", self.record.statement.node),
            (_, Kind::Membership) => "A change of the members was noted".to_owned(),
            (_, Kind::Leader) => "A new leader was noted".to_owned(),
        }
    }

    /// The details, name and text, in a fixed order.
    pub fn lines(&self) -> Vec<(&'static str, String)> {
        let statement = &self.record.statement;
        let mut lines = vec![
            ("record", self.record.index.to_string()),
            ("kind", statement.kind.name().to_owned()),
            ("outcome", self.record.outcome.to_string()),
            ("committed at", utc(self.record.committed_at_ms)),
            ("witnessed at", utc(statement.witnessed_at_ms)),
            ("by node", self.node()),
        ];
        if statement.level != Level::None {
            lines.push(("level asked", level(statement.level)));
        }
        if statement.mode != Mode::None {
            lines.push(("evidence mode", mode(statement.mode).to_owned()));
        }
        match &self.document {
            None => lines.push(("document", "not shown (erased or withheld)".to_owned())),
            Some(Document::Issue(d) | Document::Reverse(d)) => {
                issue_lines(d, self.holdings(&d.holdings), &mut lines);
            }
            Some(Document::AddRendition(d)) => {
                lines.push(("invoice", uuid(&d.uid)));
                rendition_lines(
                    std::slice::from_ref(&d.rendition),
                    self.holdings(&d.holdings),
                    &mut lines,
                );
            }
            Some(Document::Download(d)) => {
                lines.push(("invoice", uuid(&d.uid)));
                lines.push(("rendition", d.role.clone()));
                lines.push(("range", format!("{}..{} of {}", d.start, d.end, d.length)));
                lines.push(("sha256", d.sha256.to_hex()));
            }
            Some(Document::Void(d)) => {
                lines.push(("invoice", uuid(&d.uid)));
                lines.push(("reason", d.reason.clone()));
            }
            Some(Document::DownloadEnd(ends)) => lines.extend(ends.iter().map(|end| {
                let how = if end.complete {
                    "complete"
                } else {
                    "cut short"
                };
                let text = format!("record {}: {} bytes, {how}", end.download, end.bytes);
                ("download", text)
            })),
            Some(Document::Genesis(d)) => lines.extend(d.members.iter().map(|member| {
                let text = format!("{} in {}/{}", member.node, member.region, member.zone);
                ("member", text)
            })),
            Some(Document::Boot(d)) => lines.push(("software", d.software.clone())),
            Some(Document::Membership(d)) => {
                lines.push(("voters", format!("{:?}", d.voters)));
                lines.push(("learners", format!("{:?}", d.learners)));
            }
            Some(Document::Leader(d)) => {
                lines.push(("leader", format!("node {} in term {}", d.leader, d.term)));
            }
        }
        match &self.actor {
            None => lines.push(("asked by", "not shown (erased or withheld)".to_owned())),
            Some(actor) if actor.principal.is_empty() => {
                lines.push(("asked by", "the system itself".to_owned()));
            }
            Some(actor) => lines.push((
                "asked by",
                format!("{} {} {}", actor.principal, actor.address, actor.agent)
                    .trim_end()
                    .to_owned(),
            )),
        }
        lines
    }

    /// `holds`: every check does, so there is a `sentence`; `pinned`: and it is of the
    /// ledger that the reader means, so it is `proven`.
    pub fn to_value(&self, holds: bool, pinned: bool) -> Value {
        let statement = &self.record.statement;
        let actor = self.actor.as_ref().map(|actor| {
            Value::object([
                ("principal", actor.principal.as_str().into()),
                ("address", actor.address.as_str().into()),
                ("agent", actor.agent.as_str().into()),
            ])
        });
        Value::object([
            ("proven", (holds && pinned).into()),
            ("sentence", holds.then(|| self.sentence()).into()),
            ("index", self.record.index.into()),
            ("kind", statement.kind.name().into()),
            ("outcome", self.record.outcome.to_string().into()),
            ("leaf_hash", self.record.leaf_hash().into()),
            ("committed_at_ms", self.record.committed_at_ms.into()),
            ("committed_at", utc(self.record.committed_at_ms).into()),
            ("witnessed_at_ms", statement.witnessed_at_ms.into()),
            ("node", statement.node.into()),
            ("region", self.place.as_ref().map(|p| p.0.as_str()).into()),
            ("zone", self.place.as_ref().map(|p| p.1.as_str()).into()),
            ("lane", statement.lane.to_string().into()),
            ("seq", statement.seq.into()),
            ("level", level(statement.level).into()),
            ("mode", mode(statement.mode).into()),
            ("document", self.document_value().into()),
            ("actor", actor.into()),
        ])
    }

    /// Holdings are checked, and so worth telling, where they took effect.
    fn holdings<'a>(&self, holdings: &'a [Holding]) -> &'a [Holding] {
        match self.record.outcome {
            Outcome::Ok => holdings,
            _ => &[],
        }
    }

    fn node(&self) -> String {
        let node = self.record.statement.node;
        match &self.place {
            Some((region, zone)) => format!("{node} in zone {zone}, region {region}"),
            None => format!("{node}, which the genesis does not name"),
        }
    }
}

fn issue_lines(d: &IssueDocument, holdings: &[Holding], lines: &mut Vec<(&'static str, String)>) {
    let identity = &d.metadata.identity;
    lines.push(("invoice", uuid(&d.uid)));
    lines.push(("number", identity.number.clone()));
    lines.push((
        "issuer",
        format!("{} ({})", identity.issuer, identity.scheme),
    ));
    lines.push(("tenant", identity.tenant.clone()));
    let optional = [
        ("period", &identity.period),
        ("issue date", &d.metadata.issue_date),
        ("request id", &d.request_id),
    ];
    for (name, text) in optional {
        if !text.is_empty() {
            lines.push((name, text.clone()));
        }
    }
    if let Some(total) = &d.metadata.total {
        lines.push(("total", amount(total)));
    }
    rendition_lines(&d.renditions, holdings, lines);
}

fn rendition_lines(
    renditions: &[Rendition],
    holdings: &[Holding],
    lines: &mut Vec<(&'static str, String)>,
) {
    for rendition in renditions {
        let text = format!(
            "{}, {}, {} bytes, SHA-256 {}",
            rendition.role, rendition.media_type, rendition.length, rendition.sha256
        );
        lines.push(("rendition", text));
        let held: Vec<&Holding> = holdings
            .iter()
            .filter(|holding| holding.body_id == rendition.body_id)
            .collect();
        if held.is_empty() {
            continue;
        }
        let zones: BTreeSet<&str> = held.iter().map(|h| h.zone.as_str()).collect();
        let text = format!(
            "{} nodes in {} zones ({})",
            held.iter().map(|h| h.node).collect::<BTreeSet<_>>().len(),
            zones.len(),
            zones.into_iter().collect::<Vec<_>>().join(", ")
        );
        lines.push(("  held by", text));
    }
}

impl Account {
    fn document_value(&self) -> Option<Value> {
        let document = self.document.as_ref()?;
        Some(match document {
            Document::Issue(d) | Document::Reverse(d) => {
                let identity = &d.metadata.identity;
                Value::object([
                    ("uid", uuid(&d.uid).into()),
                    ("tenant", identity.tenant.as_str().into()),
                    ("scheme", identity.scheme.as_str().into()),
                    ("issuer", identity.issuer.as_str().into()),
                    ("number", identity.number.as_str().into()),
                    ("period", identity.period.as_str().into()),
                    ("issue_date", d.metadata.issue_date.as_str().into()),
                    ("type_code", d.metadata.type_code.as_str().into()),
                    ("total", d.metadata.total.as_ref().map(amount).into()),
                    ("request_id", d.request_id.as_str().into()),
                    ("renditions", renditions_value(&d.renditions)),
                    ("holdings", holdings_value(self.holdings(&d.holdings))),
                ])
            }
            Document::AddRendition(d) => Value::object([
                ("uid", uuid(&d.uid).into()),
                ("tenant", d.tenant.as_str().into()),
                ("request_id", d.request_id.as_str().into()),
                (
                    "renditions",
                    renditions_value(std::slice::from_ref(&d.rendition)),
                ),
                ("holdings", holdings_value(self.holdings(&d.holdings))),
            ]),
            Document::Download(d) => download_value(d),
            Document::DownloadEnd(ends) => Value::list(ends.iter().map(|end| {
                Value::object([
                    ("download", end.download.into()),
                    ("bytes", end.bytes.into()),
                    ("complete", end.complete.into()),
                ])
            })),
            Document::Void(d) => Value::object([
                ("uid", uuid(&d.uid).into()),
                ("tenant", d.tenant.as_str().into()),
                ("request_id", d.request_id.as_str().into()),
                ("reason", d.reason.as_str().into()),
            ]),
            Document::Genesis(d) => Value::object([
                ("origin", d.origin.as_str().into()),
                (
                    "members",
                    Value::list(d.members.iter().map(|member| {
                        Value::object([
                            ("node", member.node.into()),
                            ("region", member.region.as_str().into()),
                            ("zone", member.zone.as_str().into()),
                        ])
                    })),
                ),
            ]),
            Document::Boot(d) => Value::object([
                ("incarnation", hex(&d.incarnation).into()),
                ("software", d.software.as_str().into()),
            ]),
            Document::Membership(d) => Value::object([
                ("log_index", d.log_index.into()),
                (
                    "voters",
                    Value::list(d.voters.iter().map(|set| Value::list(set.iter().copied()))),
                ),
                ("learners", Value::list(d.learners.iter().copied())),
            ]),
            Document::Leader(d) => Value::object([
                ("term", d.term.into()),
                ("leader", d.leader.into()),
                ("log_index", d.log_index.into()),
            ]),
        })
    }
}

fn download_value(d: &DownloadDocument) -> Value {
    Value::object([
        ("uid", uuid(&d.uid).into()),
        ("tenant", d.tenant.as_str().into()),
        ("role", d.role.as_str().into()),
        ("sha256", d.sha256.into()),
        ("start", d.start.into()),
        ("end", d.end.into()),
        ("length", d.length.into()),
    ])
}

fn renditions_value(renditions: &[Rendition]) -> Value {
    Value::list(renditions.iter().map(|rendition| {
        Value::object([
            ("role", rendition.role.as_str().into()),
            ("media_type", rendition.media_type.as_str().into()),
            ("length", rendition.length.into()),
            ("sha256", rendition.sha256.into()),
            ("body_id", uuid(&rendition.body_id).into()),
        ])
    }))
}

fn holdings_value(holdings: &[Holding]) -> Value {
    Value::list(holdings.iter().map(|holding| {
        Value::object([
            ("body_id", uuid(&holding.body_id).into()),
            ("node", holding.node.into()),
            ("zone", holding.zone.as_str().into()),
            ("incarnation", hex(&holding.incarnation).into()),
            ("epoch", holding.epoch.into()),
        ])
    }))
}

fn invoice(identity: &Identity) -> String {
    format!("The invoice {} of {}", identity.number, identity.issuer)
}

fn level(level: Level) -> String {
    match level {
        Level::None => "none".to_owned(),
        Level::Quorum => "quorum".to_owned(),
        Level::Zones(k) => format!("zones:{k}"),
        Level::Regions(k) => format!("regions:{k}"),
        Level::All => "all".to_owned(),
    }
}

fn mode(mode: Mode) -> &'static str {
    match mode {
        Mode::None => "none",
        Mode::Strict => "strict",
        Mode::Deferred => "deferred",
    }
}

/// Minor units with the point where the exponent puts it.
fn amount(money: &Money) -> String {
    let sign = if money.minor_units < 0 { "-" } else { "" };
    let exponent = usize::from(money.exponent);
    let digits = format!("{:0>1$}", money.minor_units.unsigned_abs(), exponent + 1);
    let (units, rest) = digits.split_at(digits.len() - exponent);
    let point = if rest.is_empty() { "" } else { "." };
    format!("{sign}{units}{point}{rest} {}", money.currency)
        .trim_end()
        .to_owned()
}

fn uuid(id: &[u8; 16]) -> String {
    let hex = hex(id);
    [
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..],
    ]
    .join("-")
}

/// `2026-11-23T20:59:54.123Z`, by the proleptic Gregorian calendar.
pub(crate) fn utc(ms: u64) -> String {
    let (days, in_day) = (ms / 86_400_000, ms % 86_400_000);
    let (second, milli) = (in_day / 1000, in_day % 1000);
    // Howard Hinnant's civil_from_days: years begin in March, eras have 400 years.
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march + 2) / 5 + 1;
    let month = if march < 10 { march + 3 } else { march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{milli:03}Z",
        second / 3600,
        second / 60 % 60,
        second % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::Signature;
    use crate::record::Reason;

    #[test]
    fn dates_and_amounts_read_as_people_write_them() {
        assert_eq!(utc(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(utc(951_782_400_000), "2000-02-29T00:00:00.000Z");
        assert_eq!(utc(1_795_467_594_123), "2026-11-23T20:59:54.123Z");
        assert!(!utc(u64::MAX).is_empty());
        let money = |minor_units, exponent| {
            amount(&Money {
                minor_units,
                currency: "EUR".into(),
                exponent,
            })
        };
        assert_eq!(money(-1234, 2), "-12.34 EUR");
        assert_eq!(money(5, 2), "0.05 EUR");
        assert_eq!(money(5, 0), "5 EUR");
    }

    /// A reader must not take a refused request for an issued invoice.
    #[test]
    fn only_ok_is_called_issued() {
        let mut account = Account {
            record: Record {
                index: 3,
                prev: crate::digest::Digest::ZERO,
                committed_at_ms: 0,
                outcome: Outcome::Ok,
                statement: crate::statement::tests::sample(),
                signature: Signature([0; 64]),
            },
            document: None,
            actor: None,
            place: None,
        };
        assert!(account.sentence().contains("was issued"));
        for outcome in [
            Outcome::Refused(Reason::IdentityTaken),
            Outcome::DuplicateOf(1),
        ] {
            account.record.outcome = outcome;
            let all = format!("{} {:?}", account.sentence(), account.lines());
            assert!(!all.contains("issued") && !all.contains("valid"), "{all}");
        }
    }
}
