//! What one record says, in words for a stranger and as JSON.
//!
//! Promises: says only what stands in the record and in openings that it commits to, and
//! uses "issued", "downloaded" and the like for outcome OK alone. Leaves the question
//! whether the record is proven to the report around it.

mod json;
pub(crate) mod words;

pub use json::to_value;

use muniment_evidence::drill::DRILL_TENANT;
use muniment_evidence::opening::{
    AnchoredBy, Document, Holding, HoldingKind, IssueDocument, Rendition,
};
use muniment_evidence::record::Outcome;
use muniment_evidence::report::OpenedRecord;
use muniment_evidence::statement::{Kind, Level, Mode};
use std::collections::BTreeSet;
use words::{amount, invoice, key_change, level, mode, utc, uuid, who};

/// Names and texts, in a fixed order.
type Lines = Vec<(&'static str, String)>;

/// One or two sentences, for a record that is proven.
pub fn sentence(opened: &OpenedRecord) -> String {
    let when = utc(opened.record.committed_at_ms);
    let kind = opened.record.statement.kind;
    match opened.record.outcome {
        Outcome::Refused(reason) => format!(
            "A request of kind {kind} was refused ({}) at {when}. Nothing took effect.",
            reason.name()
        ),
        Outcome::DuplicateOf(index) => format!(
            "A request of kind {kind} at {when} repeated what record {index} had done \
                 before. It took no effect of its own."
        ),
        Outcome::Ok => format!("{} at {when}.", effect(opened)),
    }
}

/// What took effect; only for outcome OK.
fn effect(opened: &OpenedRecord) -> String {
    match (&opened.document, opened.record.statement.kind) {
        (Some(Document::Issue(d)), _) if d.metadata.identity.tenant == DRILL_TENANT => {
            let probe = &d.metadata.identity.number;
            format!("The probe {probe} of a drill, nobody's invoice, was written")
        }
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
        (Some(Document::DownloadEnd(d)), _) => format!(
            "The end of {} downloads (of {} handed over in full) was noted",
            d.downloads.len(),
            d.downloads.iter().filter(|end| end.complete).count()
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
        (_, Kind::Boot) => format!("Node {} started", opened.record.statement.node),
        (_, Kind::Membership) => "A change of the members was noted".to_owned(),
        (_, Kind::Leader) => "A new leader was noted".to_owned(),
        (_, Kind::Key) => "Keys of the ledger were changed".to_owned(),
        (_, Kind::Anchor) => "That somebody outside vouches for a checkpoint was noted".to_owned(),
        (_, Kind::Scrub) => "Damage to a stored body was noted".to_owned(),
        (Some(Document::Mode(d)), _) => {
            format!(
                "A change of the members: {} of change {}",
                d.phase, d.number
            )
        }
        (_, Kind::Mode) => "A change of the members was prepared, done or given up".to_owned(),
        (_, kind) => format!("A statement of the later kind {kind} took effect"),
    }
}

/// The details of a record, name and text, in a fixed order.
pub fn lines(opened: &OpenedRecord) -> Vec<(&'static str, String)> {
    let statement = &opened.record.statement;
    let mut lines = vec![
        ("record", opened.record.index.to_string()),
        ("kind", statement.kind.to_string()),
        ("outcome", opened.record.outcome.to_string()),
        ("committed at", utc(opened.record.committed_at_ms)),
        ("witnessed at", utc(statement.witnessed_at_ms)),
        ("by node", node(opened)),
    ];
    if statement.level != Level::None {
        lines.push(("level asked", level(statement.level)));
    }
    if statement.mode != Mode::None {
        lines.push(("evidence mode", mode(statement.mode).to_owned()));
    }
    document_lines(opened, &mut lines);
    match &opened.actor {
        None => lines.push(("asked by", "not shown (erased or withheld)".to_owned())),
        Some(actor) => lines.push(("asked by", who(actor))),
    }
    lines
}

fn document_lines(opened: &OpenedRecord, lines: &mut Lines) {
    match &opened.document {
        None => lines.push(("document", "not shown (erased or withheld)".to_owned())),
        Some(Document::Issue(d) | Document::Reverse(d)) => {
            issue_lines(d, checked_holdings(opened, &d.holdings), lines);
        }
        Some(Document::AddRendition(d)) => {
            lines.push(("invoice", uuid(&d.uid)));
            rendition_lines(
                std::slice::from_ref(&d.rendition),
                checked_holdings(opened, &d.holdings),
                lines,
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
        Some(Document::DownloadEnd(d)) => lines.extend(d.downloads.iter().map(|end| {
            let how = if end.complete {
                "complete"
            } else {
                "cut short"
            };
            let text = format!("record {}: {} bytes, {how}", end.download, end.bytes);
            ("download", text)
        })),
        Some(system) => system_lines(system, lines),
    }
}

/// The documents of system kinds.
fn system_lines(document: &Document, lines: &mut Lines) {
    match document {
        Document::Genesis(d) => lines.extend(d.members.iter().map(|member| {
            let text = format!("{} in {}/{}", member.node, member.region, member.zone);
            ("member", text)
        })),
        Document::Boot(d) => lines.push(("software", d.software.clone())),
        Document::Membership(d) => {
            lines.push(("voters", format!("{:?}", d.voters)));
            lines.push(("learners", format!("{:?}", d.learners)));
        }
        Document::Leader(d) => {
            lines.push(("leader", format!("node {} in term {}", d.leader, d.term)));
        }
        Document::Key(d) => {
            lines.push(("serial", d.serial.to_string()));
            lines.extend(d.changes.iter().map(|change| ("key", key_change(change))));
        }
        Document::Anchor(d) => lines.push(match &d.by {
            AnchoredBy::Witness(witness) => ("witness", witness.clone()),
            AnchoredBy::TimeStamp { authority, .. } => {
                let text = format!("{authority}, whose time stamp is not checked here");
                ("authority", text)
            }
        }),
        Document::Drill(d) => {
            lines.push((
                "drill",
                format!("{} of {}: nodes {:?}", d.mode, d.target, d.nodes),
            ));
            lines.push((
                "outcome",
                format!("{} acknowledged, {} missing", d.acknowledged, d.missing),
            ));
        }
        Document::Policy(d) => lines.extend(d.settings.iter().map(|setting| {
            let text = format!("{} = {}", setting.name, setting.value);
            ("setting", text)
        })),
        Document::Scrub(d) => {
            lines.push(("body", d.body_id.to_string()));
            lines.push(("found", d.to_string()));
        }
        Document::Mode(d) => {
            lines.push(("step", format!("{} of change {}", d.phase, d.number)));
            lines.push(("voters", format!("{:?}", d.voters)));
            lines.push(("sync learners", format!("{:?}", d.sync_learners)));
            lines.push(("async learners", format!("{:?}", d.async_learners)));
            lines.push(("reason", d.reason.clone()));
        }
        Document::Planned(d) => lines.extend(d.named()),
        Document::Issue(_)
        | Document::Reverse(_)
        | Document::AddRendition(_)
        | Document::Download(_)
        | Document::DownloadEnd(_)
        | Document::Void(_) => {}
    }
}

/// Holdings are checked, and so worth telling, where they took effect.
fn checked_holdings<'a>(opened: &OpenedRecord, holdings: &'a [Holding]) -> &'a [Holding] {
    match opened.record.outcome {
        Outcome::Ok => holdings,
        _ => &[],
    }
}

fn node(opened: &OpenedRecord) -> String {
    let node = opened.record.statement.node;
    match &opened.place {
        Some((region, zone)) => format!("{node} in zone {zone}, region {region}"),
        None => format!("{node}, which the genesis does not name"),
    }
}

fn issue_lines(d: &IssueDocument, holdings: &[Holding], lines: &mut Lines) {
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

fn rendition_lines(renditions: &[Rendition], holdings: &[Holding], lines: &mut Lines) {
    for rendition in renditions {
        let text = format!(
            "{}, {}, {} bytes, SHA-256 {}",
            rendition.role, rendition.media_type, rendition.length, rendition.sha256
        );
        lines.push(("rendition", text));
        let of_it = |holding: &&Holding| holding.body_id == rendition.body_id;
        let (held, stored): (Vec<&Holding>, Vec<&Holding>) = holdings
            .iter()
            .filter(of_it)
            .partition(|holding| holding.kind == HoldingKind::Node);
        // A store signs nothing: it is the word of the node that put the body there.
        for holding in stored {
            let text = format!("{}, says node {}", holding.zone, holding.node);
            lines.push(("  in the store", text));
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use muniment_evidence::digest::Digest;
    use muniment_evidence::ids::{NodeId, RecordIndex, Sequence};
    use muniment_evidence::key::Signature;
    use muniment_evidence::opening::Money;
    use muniment_evidence::record::{Reason, Record};
    use muniment_evidence::statement::{Lane, Statement};

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
        let mut opened = OpenedRecord {
            record: Record {
                index: RecordIndex::new(3),
                prev: Digest::ZERO,
                committed_at_ms: 0,
                keys: 0,
                outcome: Outcome::Ok,
                statement: Statement {
                    kind: Kind::Issue,
                    mode: Mode::None,
                    level: Level::Zones(2),
                    ledger: Digest::ZERO,
                    node: NodeId::new(2),
                    lane: Lane::Strict(RecordIndex::new(7)),
                    seq: Sequence::new(3),
                    prev: Digest::ZERO,
                    witnessed_at_ms: 5,
                    document: Digest::ZERO,
                    actor: Digest::ZERO,
                },
                signature: Signature([0; 64]),
            },
            document: None,
            actor: None,
            place: None,
        };
        assert!(sentence(&opened).contains("was issued"));
        for outcome in [
            Outcome::Refused(Reason::IdentityTaken),
            Outcome::DuplicateOf(RecordIndex::new(1)),
        ] {
            opened.record.outcome = outcome;
            let all = format!("{} {:?}", sentence(&opened), lines(&opened));
            assert!(!all.contains("issued") && !all.contains("valid"), "{all}");
        }
    }
}
