//! Download: evidence first, bytes second.
//!
//! Promises: no byte leaves before the DOWNLOAD record is committed with outcome OK, which
//! is the read barrier too; or, where the caller asks for deferred evidence, before its
//! statement is durable here ([`super::deferred`]). Each chunk is checked before it is
//! sent. What was handed to the transport is noted for a DOWNLOAD_END, also when the
//! caller goes away. Where a level cannot be met now, a call that is repeated does not make a
//! record each time.
//!
//! Tests: `tests/cluster/streams.rs`, `tests/cluster/deferred.rs`.

use super::admission::{DownloadPermit, MemoryPermit};
use super::levels::{self, WaitBudget};
use super::progress::taken;
use super::{Parts, Principal, deferred, find, lookup, prove};
use crate::bodies::BodyError;
use crate::bodies::names::lost_by;
use crate::domain::call_error::CallError;
use crate::domain::cause::Cause;
use crate::domain::draft::{InvoiceKey, bad};
use crate::domain::ids::{BodyId, NodeId, Uid};
use crate::ledger::state::Invoice;
use crate::objective::read::ReadLevel;
use crate::objective::write::WriteLevel;
use crate::raft::reads::Reads;
use crate::recorder::Intent;
use crate::recorder::booted::Booted;
use crate::recorder::download_ends::RecordedDownload;
use crate::recorder::outbox::PromisedDelivery;
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt as _};
use muniment_evidence::digest::{Digest, Hasher};
use muniment_evidence::opening::{Document, DownloadDocument, Rendition};
use muniment_evidence::promise::Promise;
use muniment_evidence::receipt::Receipt;
use muniment_evidence::record::Outcome;
use muniment_evidence::statement::{Level, Mode};
use std::ops::Range;
use std::time::Duration;
use tokio::time::Instant;

/// Bytes handed to the transport at a time: small enough that one slow reader holds
/// little, large enough to be few.
const PIECE_BYTES: usize = 256 << 10;

/// What is asked for.
#[derive(Clone, Debug)]
pub struct DownloadRequest {
    pub key: InvoiceKey,
    /// `original` when empty.
    pub role: String,
    /// Bytes `start..end`; `end` 0 means to the end.
    pub start: u64,
    pub end: u64,
    /// The level at which the invoice is looked up first. Without one the record alone is
    /// the barrier, which is as fresh.
    pub read: Option<ReadLevel>,
    /// Strict or deferred.
    pub evidence: Mode,
    /// How long the invoice's own level is waited for.
    pub wait: WaitBudget,
}

/// The evidence of the release.
#[derive(Clone, Debug)]
pub enum DownloadEvidence {
    Receipt(Box<Receipt>),
    Promise {
        promise: Box<Promise>,
        /// How stale the node was at most.
        staleness: Duration,
    },
}

/// What precedes the bytes.
#[derive(Clone, Debug)]
pub struct StartedDownload {
    pub invoice: Invoice,
    pub rendition: Rendition,
    pub range: Range<u64>,
    pub evidence: DownloadEvidence,
    /// How durable its record is: the invoice's level, or the best that the members can
    /// still meet. `None` for a promise.
    pub level: Option<WriteLevel>,
    /// Node whose disk the bytes come from.
    pub body_from: NodeId,
}

/// The bytes, then their digest.
#[derive(Clone, Debug)]
pub enum DownloadPiece {
    Bytes(Bytes),
    End { sha256: Digest, length: u64 },
}

pub type DownloadPieces = BoxStream<'static, Result<DownloadPiece, CallError>>;

/// Bytes of a rendition.
pub async fn download(
    parts: &Parts,
    principal: &Principal,
    request: DownloadRequest,
) -> Result<(StartedDownload, DownloadPieces), CallError> {
    let key = parts.tenants.resolve_key("key", request.key.clone())?;
    let booted = parts.writes.booted()?;
    let place = parts.admission.try_download()?;
    let permit = match request.evidence {
        Mode::Deferred => Some(deferred::permit(parts, &booted).await?),
        Mode::Strict | Mode::None => None,
    };
    if let Some(level) = request.read {
        lookup::get(&parts.reads, &parts.tenants, key.clone(), level).await?;
    }
    let (uid, invoice) = find::find_invoice(&parts.reads, &key).await?;
    let (rendition, range) = choose(&request, uid, &invoice)?;
    let asked = range.end - range.start;
    let memory = parts.admission.try_memory(asked)?;
    // A holder is found first, so that a record is not made for bytes nobody can send.
    let source = match parts.bodies.source(&rendition).await {
        Ok(source) => source,
        Err(error) => {
            let lost = said_lost(&parts.reads, rendition.body_id).await;
            return Err(lost.unwrap_or_else(|| parts.reads.unavailable(error)));
        }
    };
    let body = rendition.body_id;
    let intent = Intent {
        document: Document::Download(DownloadDocument {
            tenant: invoice.metadata.identity.tenant.clone(),
            uid: uid.0,
            role: rendition.role.clone(),
            sha256: rendition.sha256,
            chunk_root: rendition.chunk_root,
            start: range.start,
            end: range.end,
            length: rendition.length,
            deadline_ms: permit.as_ref().map(|_| deferred::deadline_ms(parts)),
        }),
        actor: principal.actor(),
        mode: request.evidence,
        level: Level::None,
    };
    let tenant = invoice.metadata.identity.tenant.clone();
    let (invoice, evidence, delivery, level) = match permit {
        Some(permit) => {
            let (promise, kept) = deferred::promise(parts, &booted, &permit, intent).await?;
            let evidence = DownloadEvidence::Promise {
                promise: Box::new(promise),
                staleness: permit.staleness(parts),
            };
            (invoice, evidence, Delivery::Promised(Box::new(kept)), None)
        }
        None => {
            let until = request.wait.until();
            // What is recorded only to be told as too little is recorded again and again.
            levels::within_reach(parts, invoice.level, until).await?;
            let recorded = record(parts, &booted, tenant, intent, uid, &key, until).await?;
            let (invoice, evidence, delivery, level) = recorded;
            (invoice, evidence, delivery, Some(level))
        }
    };
    let started = StartedDownload {
        invoice,
        evidence,
        rendition,
        level,
        range: range.clone(),
        body_from: source.node,
    };
    let bytes = parts.bodies.read(source, range);
    let end = DownloadEnd {
        delivery,
        asked,
        sent: 0,
        body,
        reads: parts.reads.clone(),
        _place: place,
        _memory: memory,
    };
    let idle = Duration::from_millis(parts.admission.limits.idle_timeout_ms);
    Ok((started, taken(send(bytes, end), idle, unread)))
}

fn unread() -> Result<DownloadPiece, CallError> {
    Err(CallError::Unavailable {
        why: "nobody took the next bytes for too long; go on with a range".into(),
        leader_address: None,
    })
}

/// The rendition that is asked for, and which of its bytes.
fn choose(
    request: &DownloadRequest,
    uid: Uid,
    invoice: &Invoice,
) -> Result<(Rendition, Range<u64>), CallError> {
    let role = match request.role.as_str() {
        "" => super::issue::ORIGINAL,
        role => role,
    };
    let mut renditions = invoice.renditions.iter();
    let rendition = renditions.find(|rendition| rendition.role == role);
    let rendition = rendition
        .ok_or_else(|| CallError::not_found(format!("rendition {role:?} of invoice {uid}")))?;
    let start = request.start;
    let end = match request.end {
        0 => rendition.length,
        end => end,
    };
    if start > end || end > rendition.length {
        let why = format!("{start}..{end} is not within 0..{}", rendition.length);
        return Err(bad("range", why).into());
    }
    Ok((rendition.clone(), start..end))
}

/// The strict way: what is sent waits for the record.
async fn record(
    parts: &Parts,
    booted: &Booted,
    tenant: String,
    intent: Intent,
    uid: Uid,
    key: &InvoiceKey,
    until: Instant,
) -> Result<(Invoice, DownloadEvidence, Delivery, WriteLevel), CallError> {
    let (recorded, download) = parts.writes.record_download(booted, tenant, intent).await?;
    let download = match (recorded.outcome, download) {
        (Outcome::Ok, Some(download)) => download,
        (Outcome::Refused(reason), _) => {
            return Err(CallError::refused(reason, &key.to_string()));
        }
        (Outcome::DuplicateOf(_) | Outcome::Ok, _) => {
            return Err(parts.reads.unavailable("a download was taken for another"));
        }
    };
    let (prover, index) = (
        prove::Prover::new(&parts.keys, booted).await?,
        recorded.index,
    );
    // As of the record, which may be later than what was looked up before.
    let (invoice, receipt) = parts
        .reads
        .read(move |tables| {
            let invoice = tables.invoice(uid, index.next().size_before())?;
            Ok((invoice, prover.receipt(tables, index)?))
        })
        .await?;
    let invoice = invoice.ok_or_else(|| CallError::not_found(key.to_string()))?;
    // What is told about an invoice is to be as safe as the invoice itself.
    let level = levels::of_invoice(&parts.bodies, invoice.level);
    levels::reach(parts, index, None, level, until).await?;
    let receipt = receipt.ok_or_else(|| parts.keys.without_log_key())?;
    Ok((
        invoice,
        DownloadEvidence::Receipt(Box::new(receipt)),
        Delivery::Recorded(download),
        level,
    ))
}

/// What the bytes were delivered on.
enum Delivery {
    Recorded(RecordedDownload),
    Promised(Box<PromisedDelivery>),
}

/// Counts what was handed over. Its delivery notes that when it is dropped: at the end, or
/// when the caller goes.
struct DownloadEnd {
    delivery: Delivery,
    asked: u64,
    sent: u64,
    body: BodyId,
    reads: Reads,
    _place: DownloadPermit,
    _memory: MemoryPermit,
}

impl DownloadEnd {
    fn count(&mut self, bytes: u64) {
        self.sent += bytes;
        let (sent, complete) = (self.sent, self.sent == self.asked);
        match &mut self.delivery {
            Delivery::Recorded(download) => (download.sent, download.complete) = (sent, complete),
            Delivery::Promised(kept) => kept.sent(sent, complete),
        }
    }
}

fn send(bytes: BoxStream<'static, Result<Bytes, BodyError>>, end: DownloadEnd) -> DownloadPieces {
    let pieces = bytes.flat_map(|chunk| match chunk {
        Ok(chunk) => stream::iter(cut(chunk).into_iter().map(Ok).collect::<Vec<_>>()),
        Err(error) => stream::iter(vec![Err(error)]),
    });
    let state = (pieces.boxed(), end, Hasher::new(), false);
    stream::unfold(
        state,
        |(mut pieces, mut end, mut hasher, ended)| async move {
            if ended {
                return None;
            }
            match pieces.next().await {
                Some(Ok(piece)) => {
                    hasher.update(&piece);
                    end.count(piece.len() as u64);
                    Some((
                        Ok(DownloadPiece::Bytes(piece)),
                        (pieces, end, hasher, false),
                    ))
                }
                Some(Err(error)) => {
                    let lost = said_lost(&end.reads, end.body).await;
                    let error = lost.unwrap_or_else(|| CallError::Unavailable {
                        why: Cause::new(error),
                        leader_address: None,
                    });
                    Some((Err(error), (pieces, end, hasher, true)))
                }
                None => {
                    // Of no bytes, none are all.
                    end.count(0);
                    let last = DownloadPiece::End {
                        sha256: hasher.clone().finish(),
                        length: end.sent,
                    };
                    Some((Ok(last), (pieces, end, hasher, true)))
                }
            }
        },
    )
    .boxed()
}

/// What a caller is told of a body that an operator has said to be lost: that trying again is
/// of no use.
async fn said_lost(reads: &Reads, body: BodyId) -> Option<CallError> {
    match reads.read(move |tables| lost_by(tables, &body)).await {
        Ok(None) => None,
        Ok(Some(index)) => Some(CallError::DataLoss {
            reason: "BODY_LOST",
            detail: format!("no holder has these bytes any more, as record {index} says"),
        }),
        Err(error) => Some(error),
    }
}

fn cut(mut chunk: Bytes) -> Vec<Bytes> {
    let mut pieces = Vec::new();
    while chunk.len() > PIECE_BYTES {
        pieces.push(chunk.split_to(PIECE_BYTES));
    }
    if !chunk.is_empty() {
        pieces.push(chunk);
    }
    pieces
}
