//! What one record says, as JSON with stable names.
//!
//! Tests: `audit/tests/questions.rs`.

use super::words::{amount, level, mode, utc, uuid};
use super::{checked_holdings, sentence};
use crate::json::Value;
use muniment_evidence::digest::hex;
use muniment_evidence::keychange::{Action, KeyChange};
use muniment_evidence::opening::{AnchoredBy, Document, DownloadDocument, Holding, Rendition};
use muniment_evidence::report::OpenedRecord;

/// `holds`: every check does, so there is a `sentence`; `pinned`: and it is of the
/// ledger that the reader means, so it is `proven`.
pub fn to_value(opened: &OpenedRecord, holds: bool, pinned: bool) -> Value {
    let statement = &opened.record.statement;
    let actor = opened.actor.as_ref().map(|actor| {
        Value::object([
            ("issuer", actor.issuer.as_str().into()),
            ("subject", actor.subject.as_str().into()),
            ("tenant", actor.tenant.as_str().into()),
            ("roles", Value::list(actor.roles.iter().map(String::as_str))),
            ("authenticated", actor.authenticated.as_str().into()),
            ("address", actor.address.as_str().into()),
            ("agent", actor.agent.as_str().into()),
            ("on_behalf_of", actor.on_behalf_of.as_str().into()),
            ("link", actor.link.as_str().into()),
        ])
    });
    Value::object([
        ("proven", (holds && pinned).into()),
        ("sentence", holds.then(|| sentence(opened)).into()),
        ("index", opened.record.index.into()),
        ("kind", statement.kind.to_string().into()),
        ("outcome", opened.record.outcome.to_string().into()),
        ("leaf_hash", opened.record.leaf_hash().into()),
        ("committed_at_ms", opened.record.committed_at_ms.into()),
        ("committed_at", utc(opened.record.committed_at_ms).into()),
        ("witnessed_at_ms", statement.witnessed_at_ms.into()),
        ("node", statement.node.into()),
        ("region", opened.place.as_ref().map(|p| p.0.as_str()).into()),
        ("zone", opened.place.as_ref().map(|p| p.1.as_str()).into()),
        ("lane", statement.lane.to_string().into()),
        ("seq", statement.seq.into()),
        ("level", level(statement.level).into()),
        ("mode", mode(statement.mode).into()),
        ("document", document_value(opened).into()),
        ("actor", actor.into()),
    ])
}

fn document_value(opened: &OpenedRecord) -> Option<Value> {
    Some(match opened.document.as_ref()? {
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
                (
                    "holdings",
                    holdings_value(checked_holdings(opened, &d.holdings)),
                ),
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
            (
                "holdings",
                holdings_value(checked_holdings(opened, &d.holdings)),
            ),
        ]),
        Document::Download(d) => download_value(d),
        Document::DownloadEnd(d) => Value::list(d.downloads.iter().map(|end| {
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
        system => system_value(system),
    })
}

/// The documents of system kinds; `null` for any other.
fn system_value(document: &Document) -> Value {
    match document {
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
        Document::Key(d) => Value::object([
            ("serial", d.serial.into()),
            ("threshold", u64::from(d.threshold).into()),
            ("changes", Value::list(d.changes.iter().map(change_value))),
        ]),
        Document::Anchor(d) => {
            let (witness, authority) = match &d.by {
                AnchoredBy::Witness(witness) => (Some(witness.as_str()), None),
                AnchoredBy::TimeStamp { authority, .. } => (None, Some(authority.as_str())),
            };
            Value::object([
                ("witness", witness.into()),
                ("authority_not_checked", authority.into()),
                ("note", d.note.as_str().into()),
            ])
        }
        Document::Drill(d) => Value::object([
            ("target", d.target.as_str().into()),
            ("mode", d.mode.as_str().into()),
            ("nodes", Value::list(d.nodes.iter().copied())),
            ("write_level", d.write_level.as_str().into()),
            ("acknowledged", d.acknowledged.into()),
            ("missing", d.missing.into()),
            ("write_gap_ms", d.write_gap_ms.into()),
        ]),
        Document::Policy(d) => Value::object([(
            "settings",
            Value::list(d.settings.iter().map(|setting| {
                Value::object([
                    ("name", setting.name.as_str().into()),
                    ("value", setting.value.into()),
                ])
            })),
        )]),
        Document::Scrub(d) => Value::object([
            ("body_id", d.body_id.to_string().into()),
            ("chunk", d.chunk.map(u64::from).into()),
            ("found", d.found.name().into()),
            ("how", d.how.name().into()),
            ("outcome", d.outcome.name().into()),
            ("from", d.outcome.from().into()),
        ]),
        Document::Mode(d) => Value::object([
            ("phase", d.phase.name().into()),
            ("number", d.number.into()),
            ("voters", Value::list(d.voters.iter().copied())),
            (
                "sync_learners",
                Value::list(d.sync_learners.iter().copied()),
            ),
            (
                "async_learners",
                Value::list(d.async_learners.iter().copied()),
            ),
            ("reason", d.reason.as_str().into()),
        ]),
        Document::Planned(d) => {
            let named = d.named().into_iter();
            Value::Object(named.map(|(n, v)| (n.to_owned(), v.into())).collect())
        }
        Document::Issue(_)
        | Document::Reverse(_)
        | Document::AddRendition(_)
        | Document::Download(_)
        | Document::DownloadEnd(_)
        | Document::Void(_) => Value::Null,
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
        ("deadline_ms", d.deadline_ms.into()),
    ])
}

fn renditions_value(renditions: &[Rendition]) -> Value {
    Value::list(renditions.iter().map(|rendition| {
        Value::object([
            ("role", rendition.role.as_str().into()),
            ("media_type", rendition.media_type.as_str().into()),
            ("length", rendition.length.into()),
            ("sha256", rendition.sha256.into()),
            ("body_id", rendition.body_id.to_string().into()),
        ])
    }))
}

fn holdings_value(holdings: &[Holding]) -> Value {
    Value::list(holdings.iter().map(|holding| {
        Value::object([
            ("kind", holding.kind.name().into()),
            ("body_id", holding.body_id.to_string().into()),
            ("node", holding.node.into()),
            ("zone", holding.zone.as_str().into()),
            ("incarnation", hex(&holding.incarnation).into()),
            ("epoch", holding.epoch.into()),
        ])
    }))
}

fn change_value(change: &KeyChange) -> Value {
    let (action, trusted_until) = match change.action {
        Action::Add => ("ADD", None),
        Action::Retire { .. } => ("RETIRE", None),
        Action::Revoke { trusted_until } => ("REVOKE", Some(trusted_until)),
    };
    Value::object([
        ("action", action.into()),
        ("trusted_until", trusted_until.into()),
        ("role", change.role.to_string().into()),
        ("node", change.node.into()),
        ("region", change.region.as_str().into()),
        ("zone", change.zone.as_str().into()),
        ("key", hex(&change.key.0).into()),
    ])
}
