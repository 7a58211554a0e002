//! Declare: what an operator says of the whole ledger, on record.
//!
//! A record that fails a check and a body that nobody has hold up every cosignature until an
//! operator has looked into it and said so; and a feature level is his to raise. Promises: what
//! is drafted is what this node sees itself, byte for byte what would be recorded, so that he
//! signs that and nothing else; a body that a member still has is not declared lost. Leaves
//! deciding to apply, which asks for his order again.
//!
//! Tests: `src/ledger/tests/exception_tests.rs`, `tests/cluster/scrubbing.rs`.

use super::{Parts, Principal, find};
use crate::domain::call_error::CallError;
use crate::domain::draft::{InvoiceKey, bad};
use crate::domain::ids::RecordIndex;
use crate::ledger::policy::{FEATURE_LEVEL, RAISED_LEVEL};
use crate::membership::order::OrderDraft;
use crate::objective::read::ReadLevel;
use crate::raft::reads::Answered;
use crate::recorder::Intent;
use muniment_evidence::endorsement::Endorsements;
use muniment_evidence::opening::{Document, PlannedDocument, PolicyDocument, Setting};
use muniment_evidence::planned::{BodyLostDocument, WaiverDocument};
use muniment_evidence::record::Outcome;
use muniment_evidence::statement::{Level, Mode};
use muniment_evidence::tree::leaf_hash;

/// What is to be declared.
#[derive(Clone, Debug)]
pub enum Declaration {
    /// The ledger goes on after this record, which fails a check.
    Waive { index: RecordIndex, reason: String },
    /// No holder has these bytes any more.
    Lost {
        key: InvoiceKey,
        role: String,
        reason: String,
    },
    /// From the next record on, this feature level.
    Raise(u64),
}

/// What has to be signed, as of now.
pub async fn draft(parts: &Parts, wanted: Declaration) -> Result<OrderDraft, CallError> {
    parts.writes.booted()?;
    parts.reads.fresh(ReadLevel::Linearizable).await?;
    let head = parts.reads.read(|tables| tables.head()).await?;
    let after = head.size.last().unwrap_or(RecordIndex::FIRST);
    let unsigned = Endorsements::new(after, head.last_leaf, u64::MAX);
    let document = match wanted {
        Declaration::Waive { index, reason } => waiver(parts, index, reason, unsigned).await?,
        Declaration::Lost { key, role, reason } => {
            let key = parts.tenants.resolve_key("key", key)?;
            lost(parts, &key, role, reason, unsigned).await?
        }
        Declaration::Raise(level) if level <= head.feature_level => {
            return Err(not_now(
                "LEVEL",
                format!(
                    "the ledger is at feature level {} already",
                    head.feature_level
                ),
            ));
        }
        Declaration::Raise(level) if level > FEATURE_LEVEL => {
            return Err(not_now(
                "LEVEL",
                format!("this node's software knows feature levels up to {FEATURE_LEVEL}"),
            ));
        }
        Declaration::Raise(level) => Document::Policy(PolicyDocument {
            settings: vec![Setting {
                name: RAISED_LEVEL.to_owned(),
                value: level,
            }],
            order: None,
        }),
    };
    Ok(OrderDraft {
        needed: parts.keys.willed(&head, &document).await?.is_err(),
        document,
        ledger: head.ledger,
        after,
        leaf: head.last_leaf,
        committed_at_ms: head.committed_at_ms,
    })
}

/// Records what was drafted; the index of its record.
pub async fn declare(
    parts: &Parts,
    principal: &Principal,
    document: Document,
) -> Result<(RecordIndex, Answered), CallError> {
    let booted = parts.writes.booted()?;
    let declared = matches!(
        document,
        Document::Policy(_)
            | Document::Planned(PlannedDocument::Waiver(_) | PlannedDocument::BodyLost(_))
    );
    if !declared || !document.needs_order() {
        return Err(bad("document", "is none that an operator declares").into());
    }
    parts.reads.fresh(ReadLevel::Linearizable).await?;
    let head = parts.reads.read(|tables| tables.head()).await?;
    if let Err(why) = parts.keys.willed(&head, &document).await? {
        return Err(not_now("NOT_ENTITLED", why));
    }
    let intent = Intent {
        document,
        actor: principal.actor(),
        mode: Mode::Strict,
        level: Level::None,
    };
    let recorded = parts.writes.record(&booted, intent).await?;
    match recorded.outcome {
        Outcome::Ok => Ok((recorded.index, parts.reads.answered(true))),
        Outcome::Refused(reason) => Err(CallError::refused(reason, "the declaration")),
        Outcome::DuplicateOf(_) => Err(parts
            .reads
            .unavailable("a declaration was taken for another")),
    }
}

async fn waiver(
    parts: &Parts,
    index: RecordIndex,
    reason: String,
    endorsements: Endorsements,
) -> Result<Document, CallError> {
    let bad = parts.cosigning.verified().bad;
    let Some(bad) = bad.filter(|bad| bad.index == index) else {
        return Err(not_now(
            "RECORD_HOLDS",
            format!("this node has not found that record {index} fails a check"),
        ));
    };
    let record = parts
        .reads
        .read(move |tables| tables.record_bytes(index))
        .await?;
    let record = record.ok_or_else(|| CallError::not_found(format!("record {index}")))?;
    Ok(Document::Planned(PlannedDocument::Waiver(WaiverDocument {
        index,
        leaf: leaf_hash(&record),
        check: bad.check.to_owned(),
        reason,
        endorsements,
    })))
}

async fn lost(
    parts: &Parts,
    key: &InvoiceKey,
    role: String,
    reason: String,
    endorsements: Endorsements,
) -> Result<Document, CallError> {
    let (uid, invoice) = find::find_invoice(&parts.reads, key).await?;
    let role = match role.as_str() {
        "" => super::issue::ORIGINAL.to_owned(),
        _ => role,
    };
    let mut renditions = invoice.renditions.iter();
    let rendition = renditions
        .find(|rendition| rendition.role == role)
        .ok_or_else(|| CallError::not_found(format!("rendition {role:?} of invoice {uid}")))?;
    let whole = parts.bodies.whole_at(rendition).await;
    let whole = whole.map_err(|error| parts.reads.unavailable(error))?;
    if let Some(node) = whole {
        return Err(not_now("BODY_HELD", format!("node {node} has these bytes")));
    }
    let members = parts.reads.context.group.status().members;
    let document = BodyLostDocument {
        tenant: invoice.metadata.identity.tenant.clone(),
        uid: uid.0,
        role,
        body_id: rendition.body_id,
        sha256: rendition.sha256,
        chunk_root: rendition.chunk_root,
        length: rendition.length,
        asked: members.into_keys().collect(),
        reason,
        endorsements,
    };
    Ok(Document::Planned(PlannedDocument::BodyLost(document)))
}

fn not_now(reason: &'static str, detail: String) -> CallError {
    CallError::NotNow { reason, detail }
}
