//! The callers: each sits at one node, uses its verbs, and tells the oracle what it saw.
//!
//! They die with their node, as clients behind a lost connection do: what they were doing
//! stays unknown, and a caller elsewhere asks again. Promises that every answer that is
//! neither a success nor a passing fault is a breach. Leaves judging to the invariants.

use crate::amending;
use crate::cluster::{Cluster, Machine};
use crate::facts::Event;
use crate::oracle::{self, Phase};
use crate::rng::Rng;
use crate::trace::{What, digest};
use bytes::Bytes;
use futures::stream::{self, StreamExt as _};
use muniment::domain::call_error::CallError;
use muniment::domain::draft::InvoiceKey;
use muniment::domain::ids::RecordIndex;
use muniment::objective::write::WriteLevel;
use muniment::service::admission::UploadTurn;
use muniment::service::download::{self, DownloadEvidence, DownloadPiece, DownloadRequest};
use muniment::service::export::ExportRequest;
use muniment::service::issue::{self, BodyDraft, IssueDraft, Issued};
use muniment::service::{Parts, Principal, export};
use muniment_evidence::digest::{Digest, Hasher};
use muniment_evidence::ledger::Ledger;
use muniment_evidence::record::{Reason, Record};
use muniment_evidence::statement::Mode;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

const CALLERS_PER_NODE: u64 = 2;
/// Between calls of one caller, at most.
const THINK_MS_MAX: u64 = 500;
const PAUSE: Duration = Duration::from_millis(20);
/// A node that is cut off gets no note; its caller goes on.
const NOTE_MAX: Duration = Duration::from_secs(3);
/// Bytes that a caller hands in at a time.
const PIECE_BYTES: usize = 2_000;

pub fn start(parts: &Arc<Parts>, cluster: &Arc<Cluster>, machine: &Arc<Machine>, source: u64) {
    for caller in 0..CALLERS_PER_NODE {
        let rng = Rng::of(cluster.seed, 2 << 32 | source << 3 | caller);
        let caller = Caller {
            parts: parts.clone(),
            cluster: cluster.clone(),
            machine: machine.clone(),
            rng,
        };
        tokio::spawn(caller.call());
    }
    tokio::spawn(hand_over(parts.clone(), cluster.clone()));
}

pub fn someone() -> Principal {
    Principal::anonymous("simulated".into(), "caller".into())
}

struct Caller {
    parts: Arc<Parts>,
    cluster: Arc<Cluster>,
    machine: Arc<Machine>,
    rng: Rng,
}

impl Caller {
    async fn call(mut self) {
        loop {
            tokio::time::sleep(Duration::from_millis(1 + self.rng.below(THINK_MS_MAX))).await;
            let oracle = &self.cluster.oracle;
            let phase = oracle.phase();
            if self.parts.writes.booted().is_err() || !matches!(phase, Phase::Load | Phase::Finish)
            {
                continue;
            }
            let turn = self.rng.below(13);
            if phase == Phase::Finish || turn < 7 {
                if let Some(number) = oracle.number_to_issue(&mut self.rng) {
                    self.issue(number).await;
                }
            } else if let Some(number) = oracle.number_known(&mut self.rng) {
                match turn {
                    7 => self.issue(number).await,
                    8 => self.issue_another(number).await,
                    9 | 10 => download_one(&self.parts, &self.cluster, number, Mode::Strict).await,
                    11 => self.amend(number).await,
                    _ => download_one(&self.parts, &self.cluster, number, Mode::Deferred).await,
                }
            }
        }
    }

    /// Most ask for their tenant's level.
    fn level(&mut self) -> Option<WriteLevel> {
        match self.rng.below(20) {
            0 => Some(WriteLevel::Quorum),
            1 => Some(WriteLevel::Regions(2)),
            2 => Some(WriteLevel::Zones(3)),
            3 => Some(WriteLevel::All),
            _ => None,
        }
    }

    fn draft(&mut self, request_id: String, identity: u64, body: &Bytes) -> IssueDraft {
        IssueDraft {
            request_id,
            metadata: oracle::metadata(identity),
            body: BodyDraft {
                length: body.len() as u64,
                // Without it a repeat is found in apply alone.
                sha256: self.rng.once_in(2).then(|| Digest::of(&[body])),
                level: self.level(),
                ..BodyDraft::default()
            },
        }
    }

    async fn send(&self, draft: IssueDraft, body: &Bytes) -> Result<Issued, CallError> {
        let turn = UploadTurn::AtOnce;
        issue::issue(&self.parts, &someone(), draft, pieces(body), turn).await
    }

    async fn issue(&mut self, number: u64) {
        let (parts, cluster) = (self.parts.clone(), self.cluster.clone());
        let body = oracle::body(number);
        let draft = self.draft(format!("request-{number}"), number, &body);
        let began_us = now_us();
        match self.send(draft, &body).await {
            Ok(issued) => {
                let index = issued.invoice.record_index;
                cluster.trace.note(
                    What::Call,
                    parts.reads.place.node.get(),
                    number,
                    index.get(),
                );
                cluster
                    .oracle
                    .issued(number, index.get(), &issued.receipt.record);
                cluster.events.push(Event::Issued {
                    node: self.machine.node,
                    number,
                    index: index.get(),
                    took_body: !issued.repeated,
                    began_us,
                });
                if self.rng.once_in(5) {
                    wait_for_note(&parts, &cluster, index.get()).await;
                }
            }
            Err(error) => failed(&parts, &cluster, &format!("issue of {number}"), &error).await,
        }
    }

    /// Something is added to what was issued, by the first call or by a repetition.
    async fn amend(&self, number: u64) {
        let (parts, cluster) = (&self.parts, &self.cluster);
        let Some(kind) = amending::kind(number) else {
            return;
        };
        match amending::amend(parts, kind, number).await {
            Ok(receipt) => cluster.oracle.amended(kind, number, &receipt.record),
            Err(error) => failed(parts, cluster, &format!("{kind} of {number}"), &error).await,
        }
    }

    /// What was issued, with other content: it must be refused, with the reason.
    async fn issue_another(&mut self, number: u64) {
        let (parts, cluster) = (self.parts.clone(), self.cluster.clone());
        let body = oracle::body(number + 1_000_000);
        let same_identity = self.rng.once_in(2);
        let (request, identity, wanted) = match same_identity {
            true => (format!("other-{number}"), number, Reason::IdentityTaken),
            false => (
                format!("request-{number}"),
                number + 1_000_000,
                Reason::RequestIdReused,
            ),
        };
        let draft = self.draft(request, identity, &body);
        match self.send(draft, &body).await {
            Err(CallError::Taken { reason, .. }) if reason == wanted => {
                cluster.oracle.seen().refused += 1;
            }
            Ok(_) => {
                let what = format!("i7: {number} was issued again with other content");
                cluster.oracle.breach(what);
            }
            Err(error) => {
                failed(
                    &parts,
                    &cluster,
                    &format!("other content for {number}"),
                    &error,
                )
                .await;
            }
        }
    }
}

fn now_us() -> u64 {
    turmoil::sim_elapsed().map_or(0, |elapsed| elapsed.as_micros() as u64)
}

pub fn pieces(body: &Bytes) -> issue::UploadPieces {
    let pieces: Vec<_> = body
        .chunks(PIECE_BYTES)
        .map(|piece| Ok(body.slice_ref(piece)))
        .collect();
    stream::iter(pieces).boxed()
}

/// Wants three of the nodes to vouch for the record. No note in time is a passing
/// fault.
async fn wait_for_note(parts: &Parts, cluster: &Cluster, index: u64) {
    let Ok(booted) = parts.writes.booted() else {
        return;
    };
    let ledger = Ledger::open(&booted.genesis).unwrap();
    let by_three = |note: &str| {
        let vouched = ledger.checkpoint(note.as_bytes());
        vouched.is_ok_and(|vouched| vouched.cosigners.len() >= 3)
    };
    let deadline = Instant::now() + NOTE_MAX;
    let Some(note) = parts
        .cosigning
        .wait(RecordIndex::new(index), deadline, by_three)
        .await
    else {
        let why = format!("no note for record {index}");
        return cluster.oracle.failed(parts.reads.place.node.get(), why);
    };
    match ledger.checkpoint(note.as_bytes()) {
        Ok(vouched) => {
            let checkpoint = vouched.checkpoint;
            cluster
                .oracle
                .noted(index, checkpoint.size.get(), checkpoint.root);
        }
        Err((_, why)) => cluster.oracle.breach(format!("a cosigned note {why}")),
    }
}

async fn download_one(parts: &Parts, cluster: &Cluster, number: u64, evidence: Mode) {
    let what = format!("download of {number}");
    let request = DownloadRequest {
        key: InvoiceKey::Identity(oracle::identity(number)),
        role: String::new(),
        start: 0,
        end: 0,
        read: None,
        evidence,
        wait: Default::default(),
    };
    let started = download::download(parts, &someone(), request).await;
    let (started, mut pieces) = match started {
        Ok(started) => started,
        // It was acknowledged, so `not found` is a breach on every node.
        Err(error) => return failed(parts, cluster, &what, &error).await,
    };
    let index = match &started.evidence {
        DownloadEvidence::Receipt(receipt) => match Record::decode(&receipt.record) {
            Ok(record) => Some(record.index),
            Err(error) => return cluster.oracle.breach(format!("{what}: {error}")),
        },
        DownloadEvidence::Promise { promise, .. } => {
            cluster.oracle.promised(&promise.statement);
            None
        }
    };
    let mut hasher = Hasher::new();
    while let Some(piece) = pieces.next().await {
        match piece {
            Ok(DownloadPiece::Bytes(bytes)) => hasher.update(&bytes),
            Ok(DownloadPiece::End { .. }) => {
                let index = index.map(RecordIndex::get);
                return cluster.oracle.downloaded(number, index, hasher.finish());
            }
            Err(error) => return failed(parts, cluster, &what, &error).await,
        }
    }
    cluster
        .oracle
        .breach(format!("{what} ended without an end"));
}

/// A passing fault leaves the outcome unknown; nothing else may come.
async fn failed(parts: &Parts, cluster: &Cluster, what: &str, error: &CallError) {
    cluster.trace.note(
        What::Call,
        parts.reads.place.node.get(),
        u64::MAX,
        digest(what.as_bytes()),
    );
    match error {
        CallError::Unavailable { .. }
        | CallError::Exhausted { .. }
        | CallError::BelowLevel { .. } => {
            cluster
                .oracle
                .failed(parts.reads.place.node.get(), format!("{what}: {error:?}"));
        }
        error => {
            let node = parts.reads.place.node;
            cluster
                .oracle
                .breach(format!("{what} at node {node}: {error:?}"));
        }
    }
    tokio::time::sleep(PAUSE).await;
}

/// The whole log as this node has it, once the world asks for it.
async fn hand_over(parts: Arc<Parts>, cluster: Arc<Cluster>) {
    while cluster.oracle.phase() != Phase::Export {
        tokio::time::sleep(PAUSE).await;
    }
    loop {
        match whole_log(&parts).await {
            Ok(bundle) => {
                cluster
                    .oracle
                    .seen()
                    .bundles
                    .insert(parts.reads.place.node.get(), bundle);
                return;
            }
            Err(error) => failed(&parts, &cluster, "export", &error).await,
        }
    }
}

async fn whole_log(parts: &Parts) -> Result<Vec<u8>, CallError> {
    let mut pieces = export::export(parts, ExportRequest::default()).await?;
    let mut bundle = Vec::new();
    while let Some(piece) = pieces.next().await {
        bundle.extend_from_slice(&piece?);
    }
    Ok(bundle)
}
