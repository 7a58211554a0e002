//! Download: evidence first, bytes second.
//!
//! Promises: no byte leaves before the DOWNLOAD record is committed with outcome OK, which
//! is the read barrier too; or, where the caller asks for deferred evidence, before its
//! statement is durable here ([`super::deferred`]). Each chunk is checked before it is
//! sent. What was handed to the transport is noted for a DOWNLOAD_END, also when the
//! caller goes away.

use super::levels::{self, Patience};
use super::{Booted, Core, Error, Principal, deferred, prove};
use crate::bodies;
use crate::domain::draft::bad;
use crate::domain::ids::Uid;
use crate::ledger::state::{Invoice, Key};
use crate::objective::read::ReadLevel;
use crate::recorder::Intent;
use crate::recorder::download_ends::DownloadEnds;
use crate::recorder::outbox::PromisedDelivery;
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt as _};
use muniment_evidence::digest::{Digest, Hasher};
use muniment_evidence::opening::{Delivered, Document, DownloadDocument, Rendition};
use muniment_evidence::promise::Promise;
use muniment_evidence::receipt::Receipt;
use muniment_evidence::record::Outcome;
use muniment_evidence::statement::{Level, Mode};
use std::ops::Range;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;

/// Bytes handed to the transport at a time: small enough that one slow reader holds
/// little, large enough to be few.
const PIECE_BYTES: usize = 256 << 10;

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Wanted {
    pub key: Key,
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
    pub patience: Patience,
}

/// The evidence of the release.
#[derive(Clone, Debug)]
pub enum Evidence {
    Receipt(Box<Receipt>),
    Promise {
        promise: Box<Promise>,
        /// How stale the node was at most.
        staleness: Duration,
    },
}

/// What precedes the bytes.
#[derive(Clone, Debug)]
pub struct Started {
    pub invoice: Invoice,
    pub rendition: Rendition,
    pub range: Range<u64>,
    pub evidence: Evidence,
    /// Node whose disk the bytes come from.
    pub body_from: u64,
}

/// The bytes, then their digest.
#[derive(Clone, Debug)]
pub enum Piece {
    Bytes(Bytes),
    End { sha256: Digest, length: u64 },
}

pub type Pieces = BoxStream<'static, Result<Piece, Error>>;

/// Bytes of a rendition.
pub async fn download(
    core: &Core,
    principal: &Principal,
    wanted: Wanted,
) -> Result<(Started, Pieces), Error> {
    let Wanted {
        key,
        role,
        start,
        end,
        read,
        evidence,
        patience,
    } = wanted;
    let booted = core.booted()?;
    let Ok(permit) = core.downloads.clone().try_acquire_owned() else {
        return Err(Error::exhausted(
            "as many downloads as allowed are in flight",
        ));
    };
    let leave = match evidence {
        Mode::Deferred => Some(deferred::leave(core, &booted).await?),
        Mode::Strict | Mode::None => None,
    };
    if let Some(level) = read {
        super::lookup::get(core, principal, key.clone(), level).await?;
    }
    let (uid, invoice) = core.find_invoice(&key).await?;
    let role = if role.is_empty() {
        super::issue::ORIGINAL.to_owned()
    } else {
        role
    };
    let rendition = invoice
        .renditions
        .iter()
        .find(|rendition| rendition.role == role)
        .cloned()
        .ok_or_else(|| Error::not_found(format!("rendition {role:?} of invoice {uid}")))?;
    let end = if end == 0 { rendition.length } else { end };
    if start > end || end > rendition.length {
        let why = format!("{start}..{end} is not within 0..{}", rendition.length);
        return Err(bad("range", why).into());
    }
    let Some(memory) = core.memory.for_download(end - start) else {
        return Err(Error::exhausted(
            "downloads in flight hold as much memory as allowed",
        ));
    };
    // A holder is found first, so that a record is not made for bytes nobody can send.
    let source = core.bodies.source(&rendition).await;
    let source = source.map_err(|error| core.unavailable(error.to_string()))?;
    let intent = Intent {
        document: Document::Download(DownloadDocument {
            tenant: invoice.metadata.identity.tenant.clone(),
            uid: uid.0,
            role,
            sha256: rendition.sha256,
            start,
            end,
            length: rendition.length,
        }),
        actor: principal.actor(),
        mode: evidence,
        level: Level::None,
    };
    let (invoice, evidence, release) = match leave {
        Some(leave) => {
            let (promise, kept) = deferred::promise(core, &booted, &leave, intent).await?;
            let evidence = Evidence::Promise {
                promise: Box::new(promise),
                staleness: leave.staleness(core),
            };
            (invoice, evidence, Release::Promised(Box::new(kept)))
        }
        None => record(core, &booted, intent, uid, &key, &patience).await?,
    };
    let started = Started {
        invoice,
        evidence,
        rendition: rendition.clone(),
        range: start..end,
        body_from: source.node,
    };
    let bytes = core.bodies.read(source, rendition, start..end);
    let ending = Ending::new(release, end - start, [permit, memory]);
    Ok((started, send(bytes, ending)))
}

/// The strict way: what is sent waits for the record.
async fn record(
    core: &Core,
    booted: &Booted,
    intent: Intent,
    uid: Uid,
    key: &Key,
    patience: &Patience,
) -> Result<(Invoice, Evidence, Release), Error> {
    let recorded = core.record(booted, intent).await?;
    match recorded.outcome {
        Outcome::Ok => {}
        Outcome::Refused(reason) => return Err(Error::refused(reason, &super::describe(key))),
        Outcome::DuplicateOf(_) => {
            return Err(core.unavailable("a download was taken for another"));
        }
    }
    let (prover, index) = (prove::Prover::new(core, booted).await?, recorded.index);
    // As of the record, which may be later than what was looked up before.
    let (invoice, receipt) = core
        .read(move |tables| {
            let invoice = tables.invoice(uid, index + 1)?;
            Ok((invoice, prover.receipt(tables, index)?))
        })
        .await?;
    let invoice = invoice.ok_or_else(|| Error::not_found(super::describe(key)))?;
    // What is told about an invoice is to be as safe as the invoice itself.
    let reached = levels::reach(core, index, None, invoice.level, patience.until()).await;
    if let Err(error) = reached {
        // Nothing was delivered, and the log shall say so.
        let nothing = Delivered {
            download: index,
            bytes: 0,
            complete: false,
        };
        booted.download_ends.note(nothing).await;
        return Err(error);
    }
    let receipt = receipt.ok_or_else(|| core.without_log_key())?;
    let release = Release::Recorded {
        index,
        download_ends: booted.download_ends.clone(),
    };
    Ok((invoice, Evidence::Receipt(Box::new(receipt)), release))
}

/// By what the bytes were released.
enum Release {
    Recorded {
        index: u64,
        download_ends: DownloadEnds,
    },
    Promised(Box<PromisedDelivery>),
}

impl Release {
    async fn ended(self, bytes: u64, complete: bool) {
        match self {
            Release::Recorded {
                index,
                download_ends,
            } => {
                let delivered = Delivered {
                    download: index,
                    bytes,
                    complete,
                };
                download_ends.note(delivered).await;
            }
            Release::Promised(kept) => kept.ended(bytes, complete).await,
        }
    }
}

/// Notes what was handed over when it is dropped: at the end, or when the caller goes.
struct Ending {
    /// Until it is noted.
    release: Option<Release>,
    asked: u64,
    sent: u64,
    /// Its place, and its memory.
    _permits: [OwnedSemaphorePermit; 2],
}

impl Ending {
    fn new(release: Release, asked: u64, permits: [OwnedSemaphorePermit; 2]) -> Ending {
        Ending {
            release: Some(release),
            asked,
            sent: 0,
            _permits: permits,
        }
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        let (bytes, complete) = (self.sent, self.sent == self.asked);
        if let Some(release) = self.release.take()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(async move { release.ended(bytes, complete).await });
        }
    }
}

fn send(bytes: BoxStream<'static, Result<Bytes, bodies::BodyError>>, ending: Ending) -> Pieces {
    let pieces = bytes.flat_map(|chunk| match chunk {
        Ok(chunk) => stream::iter(cut(chunk).into_iter().map(Ok).collect::<Vec<_>>()),
        Err(error) => stream::iter(vec![Err(error)]),
    });
    let state = (pieces.boxed(), ending, Hasher::new(), false);
    stream::unfold(
        state,
        |(mut pieces, mut ending, mut hasher, ended)| async move {
            if ended {
                return None;
            }
            match pieces.next().await {
                Some(Ok(piece)) => {
                    hasher.update(&piece);
                    ending.sent += piece.len() as u64;
                    Some((Ok(Piece::Bytes(piece)), (pieces, ending, hasher, false)))
                }
                Some(Err(error)) => {
                    let error = Error::Unavailable {
                        why: error.to_string(),
                        leader_address: None,
                    };
                    Some((Err(error), (pieces, ending, hasher, true)))
                }
                None => {
                    let end = Piece::End {
                        sha256: hasher.clone().finish(),
                        length: ending.sent,
                    };
                    Some((Ok(end), (pieces, ending, hasher, true)))
                }
            }
        },
    )
    .boxed()
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
