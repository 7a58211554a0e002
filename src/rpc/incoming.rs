//! From protobuf to the domain: every field checked or named in the refusal.
//!
//! Tests: `tests/cluster/limits.rs`, `tests/cluster/breadth.rs`.

use crate::domain::draft::{BadField, InvoiceKey, bad};
use crate::domain::ids::{NodeId, RecordIndex, TreeSize};
use crate::ledger::state::Status;
use crate::membership::accepted::Accepted;
use crate::membership::plan::{Wanted, Wish};
use crate::objective::read::{ReadLevel, Token};
use crate::objective::write::WriteLevel;
use crate::service::add_rendition::RenditionDraft;
use crate::service::declare::Declaration;
use crate::service::export::{ExportRequest, Issuer};
use crate::service::founding::MemberSpec;
use crate::service::issue::{BodyDraft, IssueDraft};
use crate::service::levels::WaitBudget;
use crate::service::list::InvoiceFilter;
use crate::service::prove::ReceiptTerms;
use crate::service::records::RecordFilter;
use muniment_evidence::digest::Digest;
use muniment_evidence::key::PublicKey;
use muniment_evidence::keychange::KeyDocument;
use muniment_evidence::opening::{
    AlternativeId, Document, DrillDocument, Identity, Label, Metadata, ModeDocument, Money, Party,
    ReadGap, Reference, TaxSubtotal,
};
use muniment_evidence::policy::Policy;
use muniment_evidence::statement::{Kind, Mode};
use muniment_proto::v1;
use muniment_proto::v1::draft_order_request::Wish as AskedChange;
use std::time::Duration;

type Result<T> = std::result::Result<T, BadField>;

fn need<T>(field: &str, value: Option<T>) -> Result<T> {
    value.ok_or_else(|| bad(field, "is required"))
}

/// 32 bytes, or none at all.
fn digest(field: &str, bytes: &[u8]) -> Result<Option<Digest>> {
    match bytes.try_into() {
        Ok(digest) => Ok(Some(Digest(digest))),
        Err(_) if bytes.is_empty() => Ok(None),
        Err(_) => Err(bad(field, "is a SHA-256 digest of 32 bytes, or empty")),
    }
}

pub fn identity(identity: v1::Identity) -> Identity {
    Identity {
        tenant: identity.tenant,
        scheme: identity.scheme,
        issuer: identity.issuer,
        number: identity.number,
        period: identity.period,
    }
}

pub fn money(field: &str, money: v1::Money) -> Result<Money> {
    let exponent = u8::try_from(money.exponent)
        .map_err(|_| bad(&format!("{field}.exponent"), "is not an exponent"))?;
    Ok(Money {
        minor_units: money.minor_units,
        currency: money.currency,
        exponent,
    })
}

fn party(party: v1::Party) -> Party {
    Party {
        scheme: party.scheme,
        id: party.id,
        name: party.name,
    }
}

pub fn metadata(given: v1::Metadata) -> Result<Metadata> {
    let tax = given.tax.into_iter().map(|tax| {
        Ok(TaxSubtotal {
            category: tax.category,
            rate_millionths: tax.rate_millionths,
            taxable: money(
                "metadata.tax.taxable",
                need("metadata.tax.taxable", tax.taxable)?,
            )?,
            tax: money("metadata.tax.tax", need("metadata.tax.tax", tax.tax)?)?,
        })
    });
    let references = given.references.into_iter().map(|reference| {
        Ok(Reference {
            relation: reference.relation,
            target: reference.target,
            sha256: digest("metadata.references.sha256", &reference.sha256)?,
            amount: reference
                .amount
                .map(|amount| money("metadata.references.amount", amount))
                .transpose()?,
        })
    });
    Ok(Metadata {
        identity: identity(need("metadata.identity", given.identity)?),
        alternative_ids: given
            .alternative_ids
            .into_iter()
            .map(|id| AlternativeId {
                scheme: id.scheme,
                value: id.value,
            })
            .collect(),
        type_code: given.type_code,
        issue_date: given.issue_date,
        seller: given.seller.map(party),
        buyer: given.buyer.map(party),
        total: given
            .total
            .map(|total| money("metadata.total", total))
            .transpose()?,
        tax: tax.collect::<Result<_>>()?,
        references: references.collect::<Result<_>>()?,
        residency_domain: given.residency_domain,
        retain_until: given.retain_until,
        labels: given
            .labels
            .into_iter()
            .map(|label| Label {
                key: label.key,
                value: label.value,
            })
            .collect(),
        // The protocol has no field for them yet.
        dates: Vec::new(),
    })
}

/// Absent means the tenant's default.
pub fn write_level(level: Option<v1::WriteLevel>) -> Result<Option<WriteLevel>> {
    use v1::write_level::Level;
    let count = |field, k: u32| match u8::try_from(k) {
        Ok(k) if k > 0 => Ok(k),
        _ => Err(bad(field, "is a number from 1 to 255")),
    };
    Ok(match level.and_then(|level| level.level) {
        None => None,
        Some(Level::Quorum(_)) => Some(WriteLevel::Quorum),
        Some(Level::Zones(k)) => Some(WriteLevel::Zones(count("level.zones", k)?)),
        Some(Level::Regions(k)) => Some(WriteLevel::Regions(count("level.regions", k)?)),
        Some(Level::All(_)) => Some(WriteLevel::All),
    })
}

/// Absent means linearizable.
pub fn read_level(level: Option<v1::ReadLevel>) -> Result<ReadLevel> {
    use v1::read_level::Level;
    Ok(match level.and_then(|level| level.level) {
        None | Some(Level::Linearizable(_)) => ReadLevel::Linearizable,
        Some(Level::Local(_)) => ReadLevel::Local,
        Some(Level::Bounded(bounded)) if bounded.max_ms == 0 => {
            // Linearizable is what no staleness at all is called.
            return Err(bad("read.bounded.max_ms", "is at least 1"));
        }
        Some(Level::Bounded(bounded)) => ReadLevel::Bounded {
            ms: bounded.max_ms,
            local_only: bounded.local_only,
        },
        Some(Level::Session(token)) => match Token::decode(&token) {
            Ok(token) => ReadLevel::Session(token),
            Err(_) => return Err(bad("read.session", "is no token that an answer carried")),
        },
        // The last number would have no size of its own.
        Some(Level::AsOf(u64::MAX)) => return Err(bad("read.as_of", "is no record index")),
        Some(Level::AsOf(index)) => ReadLevel::AsOf(RecordIndex::new(index)),
    })
}

pub fn evidence_mode(mode: i32) -> Result<Mode> {
    match v1::EvidenceMode::try_from(mode) {
        Ok(v1::EvidenceMode::Unspecified | v1::EvidenceMode::Strict) => Ok(Mode::Strict),
        Ok(v1::EvidenceMode::Deferred) => Ok(Mode::Deferred),
        Err(_) => Err(bad("evidence", "is strict or deferred")),
    }
}

pub fn issue(header: v1::UploadHeader) -> Result<IssueDraft> {
    Ok(IssueDraft {
        request_id: header.request_id,
        metadata: metadata(need("metadata", header.metadata)?)?,
        body: BodyDraft {
            role: header.role,
            media_type: header.media_type,
            length: header.length,
            sha256: digest("sha256", &header.sha256)?,
            level: write_level(header.level)?,
            wait: wait_budget(header.level_wait_ms),
        },
    })
}

fn wait_budget(level_wait_ms: u32) -> WaitBudget {
    let wait = u64::from(level_wait_ms);
    WaitBudget {
        level_wait: (wait > 0).then(|| Duration::from_millis(wait)),
        deadline: None,
    }
}

pub fn add_rendition(header: v1::AddRenditionHeader) -> Result<RenditionDraft> {
    Ok(RenditionDraft {
        request_id: header.request_id,
        key: key("key", header.key)?,
        body: BodyDraft {
            role: header.role,
            media_type: header.media_type,
            length: header.length,
            sha256: digest("sha256", &header.sha256)?,
            level: write_level(header.level)?,
            wait: wait_budget(header.level_wait_ms),
        },
    })
}

/// The digest of a check; `None` when chunks follow.
pub fn check_digest(header: &v1::CheckHeader) -> Result<Option<Digest>> {
    digest("sha256", &header.sha256)
}

pub fn key(field: &str, key: Option<v1::InvoiceKey>) -> Result<InvoiceKey> {
    use v1::invoice_key::Key as Named;
    match need(field, key.and_then(|key| key.key))? {
        Named::Uid(uid) => match uid.parse() {
            Ok(uid) => Ok(InvoiceKey::Uid(uid)),
            Err(_) => Err(bad(&format!("{field}.uid"), "is not a UUID")),
        },
        Named::Identity(named) => Ok(InvoiceKey::Identity(identity(named))),
        Named::AlternativeId(named) => Ok(InvoiceKey::AlternativeId {
            tenant: named.tenant,
            id: AlternativeId {
                scheme: named.scheme,
                value: named.value,
            },
        }),
        Named::RequestId(named) => Ok(InvoiceKey::RequestId {
            tenant: named.tenant,
            request_id: named.request_id,
        }),
    }
}

pub fn filter(request: &v1::ListRequest) -> Result<InvoiceFilter> {
    let status = match v1::InvoiceStatus::try_from(request.status) {
        Ok(v1::InvoiceStatus::Unspecified) => None,
        Ok(v1::InvoiceStatus::Issued) => Some(Status::Issued),
        Ok(v1::InvoiceStatus::PartlyReversed) => Some(Status::PartlyReversed),
        Ok(v1::InvoiceStatus::Reversed) => Some(Status::Reversed),
        Ok(v1::InvoiceStatus::Void) => Some(Status::Void),
        Err(_) => return Err(bad("status", "is unknown")),
    };
    Ok(InvoiceFilter {
        tenant: request.tenant.clone(),
        scheme: request.scheme.clone(),
        issuer: request.issuer.clone(),
        buyer: request.buyer.clone(),
        month: request.month.clone(),
        number: request.number.clone(),
        status,
    })
}

pub fn member(at: usize, member: v1::MemberSpec) -> Result<MemberSpec> {
    let key = |name: &str, bytes: &[u8]| match bytes.try_into() {
        Ok(key) => Ok(PublicKey(key)),
        Err(_) => Err(bad(&format!("members[{at}].{name}"), "is 32 bytes")),
    };
    Ok(MemberSpec {
        node: NodeId::new(member.node),
        statement_key: key("statement_key", &member.statement_key)?,
        cosignature_key: key("cosignature_key", &member.cosignature_key)?,
        region: member.region,
        zone: member.zone,
        peer_address: member.peer_address,
        client_address: member.client_address,
    })
}

/// The public keys of a field.
pub fn public_keys(field: &str, keys: &[bytes::Bytes]) -> Result<Vec<PublicKey>> {
    let key = |(at, bytes): (usize, &bytes::Bytes)| match bytes.as_ref().try_into() {
        Ok(key) => Ok(PublicKey(key)),
        Err(_) => Err(bad(&format!("{field}[{at}]"), "is 32 bytes")),
    };
    keys.iter().enumerate().map(key).collect()
}

pub fn terms(request: &v1::GetReceiptRequest) -> Result<ReceiptTerms> {
    let policy = match request.policy.as_str() {
        "" => None,
        text => Some(Policy::parse(text).map_err(|why| bad("policy", why))?),
    };
    let wait = u64::from(request.wait_ms);
    Ok(ReceiptTerms {
        policy,
        fresh: request.fresh,
        wait: (wait > 0).then(|| Duration::from_millis(wait)),
    })
}

pub fn record_filter(request: v1::ListRecordsRequest) -> Result<RecordFilter> {
    let kind = |name: &String| {
        let mut all = Kind::ALL.into_iter();
        all.find(|kind| kind.name() == name)
            .ok_or_else(|| bad("kinds", format!("{name:?} is no kind of record")))
    };
    let invoice = match request.invoice {
        None => None,
        Some(invoice) => Some(key("invoice", Some(invoice))?),
    };
    Ok(RecordFilter {
        from: RecordIndex::new(request.from_index),
        to: RecordIndex::new(request.to_index),
        kinds: request.kinds.iter().map(kind).collect::<Result<_>>()?,
        invoice,
        without_openings: request.without_openings,
    })
}

pub fn export(request: v1::ExportRequest) -> ExportRequest {
    let by_issuer = !request.issuer.is_empty();
    ExportRequest {
        from: RecordIndex::new(request.from_index),
        to: TreeSize::new(request.to_index),
        from_ms: request.from_ms,
        to_ms: request.to_ms,
        head: TreeSize::new(request.head),
        issuer: by_issuer.then_some(Issuer {
            tenant: request.tenant,
            issuer: request.issuer,
        }),
        skip_frames: request.skip_frames,
    }
}

pub fn key_document(bytes: &[u8]) -> Result<KeyDocument> {
    match Document::decode(bytes) {
        Ok(Document::Key(document)) => Ok(document),
        Ok(_) => Err(bad("change", "is no change of keys")),
        Err(why) => Err(bad("change", why.to_string())),
    }
}

/// The order of a change of the members, if one is given.
pub fn order(bytes: &[u8]) -> Result<Option<ModeDocument>> {
    match Document::decode(bytes) {
        _ if bytes.is_empty() => Ok(None),
        Ok(Document::Mode(document)) => Ok(Some(document)),
        Ok(_) => Err(bad("order", "is no change of the members")),
        Err(why) => Err(bad("order", why)),
    }
}

/// A change that an operator orders, and what it may cost; whether it is drafted or asked for.
pub fn wanted(asked: &AskedChange) -> Result<Wanted> {
    let node = NodeId::new;
    let (wish, accept) = match asked {
        AskedChange::Add(add) => {
            let (node, sync) = (node(add.node), add.sync);
            (Wish::Add { node, sync }, &add.accept)
        }
        AskedChange::Promote(promote) => (Wish::Promote(node(promote.node)), &promote.accept),
        AskedChange::Remove(remove) => (Wish::Remove(node(remove.node)), &remove.accept),
        AskedChange::Replace(replace) => {
            let (old, new) = (node(replace.old), node(replace.new));
            (Wish::Replace { old, new }, &replace.accept)
        }
    };
    let accepted = Accepted::parse(accept)?;
    Ok(Wanted { wish, accepted })
}

/// What is to be declared.
pub fn declaration(request: v1::DraftDeclarationRequest) -> Result<Declaration> {
    use v1::draft_declaration_request::Declaration as Asked;
    Ok(match request.declaration {
        Some(Asked::Waive(waive)) => Declaration::Waive {
            index: RecordIndex::new(waive.index),
            reason: waive.reason,
        },
        Some(Asked::Lost(lost)) => Declaration::Lost {
            key: key("key", lost.key)?,
            role: lost.role,
            reason: lost.reason,
        },
        Some(Asked::Raise(raise)) => Declaration::Raise(raise.level),
        None => return Err(bad("declaration", "is missing")),
    })
}

/// A document that was drafted.
pub fn declared(bytes: &[u8]) -> Result<Document> {
    Document::decode(bytes).map_err(|why| bad("document", why))
}

pub fn drill(request: v1::RecordDrillRequest) -> DrillDocument {
    let reads = request.reads.into_iter();
    DrillDocument {
        target: request.target,
        mode: request.mode,
        nodes: request.nodes.into_iter().map(NodeId::new).collect(),
        write_level: request.write_level,
        acknowledged: request.acknowledged,
        missing: request.missing,
        write_gap_ms: request.write_gap_ms,
        reads: reads
            .map(|read| ReadGap {
                level: read.level,
                gap_ms: read.gap_ms,
            })
            .collect(),
    }
}
