//! From the domain to protobuf: total, nothing can go wrong.
//!
//! Tests: `tests/cluster/breadth.rs`.

use crate::domain::ids::{LogIndex, NodeId, RecordIndex, TreeSize, UploadEpoch};
use crate::ledger::policy;
use crate::ledger::state::{Invoice, Status};
use crate::membership::order::OrderDraft;
use crate::misconduct::MisdeedCount;
use crate::objective::lag::Lag;
use crate::objective::write::WriteLevel;
use crate::raft::reads::Answered;
use crate::service::Parts;
use crate::service::keys::KeysView;
use crate::service::records::ListedRecord;
use crate::service::status::{StatusView, ZoneView};
use crate::status::messages::NodeStatus;
use bytes::Bytes;
use muniment_evidence::digest::Digest;
use muniment_evidence::keychange::Role;
use muniment_evidence::keys::KeyLife;
use muniment_evidence::opening::{Identity, Metadata, Money, Party, Rendition};
use muniment_evidence::promise::Promise;
use muniment_evidence::receipt::Receipt;
use muniment_proto::v1;
use std::time::Duration;

fn bytes_of(digest: &Digest) -> Bytes {
    Bytes::copy_from_slice(&digest.0)
}

fn identity(identity: Identity) -> v1::Identity {
    v1::Identity {
        tenant: identity.tenant,
        scheme: identity.scheme,
        issuer: identity.issuer,
        number: identity.number,
        period: identity.period,
    }
}

fn money(money: Money) -> v1::Money {
    v1::Money {
        minor_units: money.minor_units,
        currency: money.currency,
        exponent: u32::from(money.exponent),
    }
}

fn party(party: Party) -> v1::Party {
    v1::Party {
        scheme: party.scheme,
        id: party.id,
        name: party.name,
    }
}

fn metadata(metadata: Metadata) -> v1::Metadata {
    v1::Metadata {
        identity: Some(identity(metadata.identity)),
        alternative_ids: metadata
            .alternative_ids
            .into_iter()
            .map(|id| v1::AlternativeId {
                scheme: id.scheme,
                value: id.value,
            })
            .collect(),
        type_code: metadata.type_code,
        issue_date: metadata.issue_date,
        seller: metadata.seller.map(party),
        buyer: metadata.buyer.map(party),
        total: metadata.total.map(money),
        tax: metadata
            .tax
            .into_iter()
            .map(|tax| v1::TaxSubtotal {
                category: tax.category,
                rate_millionths: tax.rate_millionths,
                taxable: Some(money(tax.taxable)),
                tax: Some(money(tax.tax)),
            })
            .collect(),
        references: metadata
            .references
            .into_iter()
            .map(|reference| v1::Reference {
                relation: reference.relation,
                target: reference.target,
                sha256: reference.sha256.as_ref().map(bytes_of).unwrap_or_default(),
                amount: reference.amount.map(money),
            })
            .collect(),
        residency_domain: metadata.residency_domain,
        retain_until: metadata.retain_until,
        labels: metadata
            .labels
            .into_iter()
            .map(|label| v1::Label {
                key: label.key,
                value: label.value,
            })
            .collect(),
    }
}

pub fn rendition(rendition: Rendition) -> v1::Rendition {
    v1::Rendition {
        role: rendition.role,
        media_type: rendition.media_type,
        length: rendition.length,
        sha256: bytes_of(&rendition.sha256),
        body_id: rendition.body_id.to_string(),
    }
}

pub fn invoice(invoice: Invoice) -> v1::Invoice {
    let status = match invoice.status {
        Status::Issued => v1::InvoiceStatus::Issued,
        Status::PartlyReversed => v1::InvoiceStatus::PartlyReversed,
        Status::Reversed => v1::InvoiceStatus::Reversed,
        Status::Void => v1::InvoiceStatus::Void,
    };
    v1::Invoice {
        uid: invoice.uid.to_string(),
        metadata: Some(metadata(invoice.metadata)),
        renditions: invoice.renditions.into_iter().map(rendition).collect(),
        status: status.into(),
        reversed_minor_units: invoice.reversed_minor_units,
        reversed_by: invoice
            .reversed_by
            .iter()
            .map(ToString::to_string)
            .collect(),
        record_index: invoice.record_index.get(),
        committed_at_ms: invoice.committed_at_ms,
    }
}

pub fn receipt(receipt: &Receipt) -> v1::Receipt {
    v1::Receipt {
        bytes: Bytes::from(receipt.encode()),
    }
}

pub fn promise(promise: &Promise) -> v1::Promise {
    v1::Promise {
        bytes: Bytes::from(promise.encode()),
    }
}

pub fn answered(answered: Answered) -> v1::Answered {
    v1::Answered {
        served_by: answered.place.node.get(),
        zone: answered.place.zone,
        region: answered.place.region,
        applied_index: answered.applied_index.get(),
        log_size: answered.log_size.get(),
        staleness_ms_max: answered.staleness_ms_max,
        session_token: answered
            .token
            .map(|token| Bytes::from(token.encode()))
            .unwrap_or_default(),
    }
}

pub fn durability(level: WriteLevel, nodes: Vec<NodeId>, zones: Vec<String>) -> v1::Durability {
    v1::Durability {
        level: level.to_string(),
        nodes: nodes.into_iter().map(NodeId::get).collect(),
        zones,
    }
}

pub fn draft(draft: &OrderDraft) -> v1::DraftOrderResponse {
    v1::DraftOrderResponse {
        needed: draft.needed,
        document: draft.document.encode().into(),
        ledger: bytes_of(&draft.ledger),
        after: draft.after.get(),
        leaf: bytes_of(&draft.leaf),
        committed_at_ms: draft.committed_at_ms,
    }
}

pub fn keys(view: KeysView) -> v1::GetKeysResponse {
    let history = &view.known.history;
    let life = |role: Role, node: NodeId, place: (&str, &str), life: &KeyLife| v1::KeyLife {
        role: role.to_string(),
        node: node.get(),
        region: place.0.to_owned(),
        zone: place.1.to_owned(),
        key: Bytes::copy_from_slice(&life.key.0),
        added: life.added.map(RecordIndex::get),
        retired: life.retired.map(RecordIndex::get),
        trusted_until: life.trusted_until.map(RecordIndex::get),
        last_epoch: life.last_epoch.map(UploadEpoch::get),
    };
    let mut lives = Vec::new();
    for (role, all) in [
        (Role::Log, &history.log),
        (Role::Root, &history.roots),
        (Role::Operator, &history.operators),
    ] {
        lives.extend(
            all.iter()
                .map(|one| life(role, NodeId::NONE, ("", ""), one)),
        );
    }
    for (node, member) in &history.members {
        let place = (member.region.as_str(), member.zone.as_str());
        for (role, all) in [
            (Role::Statement, &member.statement),
            (Role::Cosignature, &member.cosignature),
        ] {
            lives.extend(all.iter().map(|one| life(role, *node, place, one)));
        }
    }
    v1::GetKeysResponse {
        origin: view.origin,
        ledger: bytes_of(&view.ledger),
        serial: history.serial,
        threshold: u32::from(history.threshold),
        keys: lives,
        answered: Some(answered(view.answered)),
        after: view.after.get(),
        leaf: bytes_of(&view.leaf),
        committed_at_ms: view.committed_at_ms,
        upload_epoch: view.upload_epoch.get(),
    }
}

pub fn digest(digest: &Digest) -> Bytes {
    bytes_of(digest)
}

pub fn record(listed: ListedRecord) -> v1::LogRecord {
    let (document_salt, document) = opening(listed.document);
    let (actor_salt, actor) = opening(listed.actor);
    v1::LogRecord {
        index: listed.index.get(),
        record: listed.record.into(),
        document_salt,
        document,
        actor_salt,
        actor,
    }
}

fn opening(opening: Option<muniment_evidence::opening::Opening>) -> (Bytes, Bytes) {
    match opening {
        None => Default::default(),
        Some(opening) => (
            Bytes::copy_from_slice(&opening.salt),
            Bytes::from(opening.bytes),
        ),
    }
}

pub fn status(parts: &Parts, view: StatusView, uptime_ms: u64) -> v1::StatusResponse {
    let (place, group) = (&parts.reads.place, view.group);
    let peers = group
        .members
        .iter()
        .map(|(node, peer)| v1::PeerStatus {
            node: node.get(),
            zone: peer.zone.clone(),
            region: peer.region.clone(),
            client_address: peer.client_address.clone(),
            voter: group.voters.contains(node),
            lag_entries: group.matched.get(node).map(|matched| {
                group
                    .last_log_index
                    .count_since(matched.unwrap_or(LogIndex::START))
            }),
        })
        .collect();
    let founded = view.head.size > TreeSize::EMPTY;
    let verified = parts.cosigning.verified();
    v1::StatusResponse {
        node: place.node.get(),
        zone: place.zone.clone(),
        region: place.region.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        origin: parts.founder.origin.clone(),
        ledger: if founded {
            view.head.ledger.to_hex()
        } else {
            String::new()
        },
        role: group.role.to_owned(),
        leader: group.leader.unwrap_or(NodeId::NONE).get(),
        term: group.term.get(),
        last_log_index: group.last_log_index.get(),
        committed_index: group.committed_index.get(),
        applied_index: view.applied_index.get(),
        operator_keys: view.operator_keys as u32,
        log_size: view.head.size.get(),
        state_hash: view.head.state_hash.to_hex(),
        root: view.head.root.to_hex(),
        ready: view.ready.is_ok(),
        reasons: view.ready.err().unwrap_or_default(),
        peers,
        feature_level: view.head.feature_level,
        known_feature_level: policy::FEATURE_LEVEL,
        snapshot_index: group.snapshot_index.get(),
        uptime_ms,
        body_complete_index: parts.cosigning.body_complete().get(),
        cosigned_size: parts.cosigning.newest_size().get(),
        profile: parts.cluster.profile.to_string(),
        worst_leaderless_ms: parts.cluster.profile.timing().worst_leaderless_ms(),
        standings: view.statuses.into_iter().map(node_status).collect(),
        losses: view.zones.into_iter().map(loss).collect(),
        write_level: view.write_level.to_string(),
        upload_epoch: view.head.upload_epoch.get(),
        leaderless_ms: parts.cluster.leader.leaderless().as_millis() as u64,
        misdeeds: view.misdeeds.into_iter().map(misdeed).collect(),
        verified_index: verified.size.get(),
        bad_record: verified.bad.map(|bad| bad.why).unwrap_or_default(),
    }
}

fn misdeed((counted, age): (MisdeedCount, Duration)) -> v1::PeerMisdeed {
    v1::PeerMisdeed {
        node: counted.node.get(),
        misdeed: counted.misdeed.label().to_owned(),
        count: counted.count,
        last_ms_ago: age.as_millis() as u64,
    }
}

fn node_status((status, age, lag): (NodeStatus, Duration, Lag)) -> v1::NodeStanding {
    let (progress, health) = (status.progress, status.health);
    v1::NodeStanding {
        node: status.identity.node.get(),
        age_ms: age.as_millis() as u64,
        applied_index: progress.applied_index.get(),
        log_size: progress.log_size.get(),
        body_complete_index: progress.body_complete.get(),
        lag_records: lag.records,
        lag_bytes: lag.bytes,
        lag_ms: lag.ms,
        disk_free_bytes: health.disk_free_bytes,
        fsync_p99_us: health.fsync_p99.unwrap_or_default().as_micros() as u64,
        ready: health.ready,
        bodies_missing: health.bodies_missing,
        repair_queue: health.repair_queue,
        orphan_bytes: health.orphan_bytes,
    }
}

fn loss(zone: ZoneView) -> v1::ZoneLoss {
    let ZoneView { loss, behind, lost } = zone;
    v1::ZoneLoss {
        zone: loss.zone,
        region: loss.region,
        nodes: loss.nodes.into_iter().map(NodeId::get).collect(),
        records: lost.records,
        bytes: lost.bytes,
        ms: lost.ms,
        quorum_left: loss.quorum_left,
        level_left: loss.level_left,
        lag_records: behind.records,
        lag_bytes: behind.bytes,
        lag_ms: behind.ms,
    }
}
