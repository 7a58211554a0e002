//! The callers: each sits at one node, uses its verbs, and tells the oracle what it saw.
//!
//! They die with their node, as clients behind a lost connection do: what they were doing
//! stays unknown, and a caller elsewhere asks again. Promises that every answer that is
//! neither a success nor a passing fault is a breach. Leaves judging to the invariants.

use crate::dice::Dice;
use crate::host::Town;
use crate::oracle::{self, Phase};
use futures::stream::{self, StreamExt as _};
use muniment::domain::call_error::CallError;
use muniment::domain::draft::InvoiceKey;
use muniment::domain::ids::RecordIndex;
use muniment::service::download::{self, DownloadEvidence, DownloadPiece, DownloadRequest};
use muniment::service::export::ExportRequest;
use muniment::service::issue::{self, BodyDraft, IssueDraft};
use muniment::service::{Parts, Principal, export};
use muniment_evidence::digest::{Digest, Hasher};
use muniment_evidence::ledger::Ledger;
use muniment_evidence::record::Record;
use muniment_evidence::statement::Mode;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

const CALLERS_PER_NODE: u64 = 2;
/// Between calls of one caller, at most.
const THINK_MS_MAX: u64 = 60;
const PAUSE: Duration = Duration::from_millis(20);
/// A node that is cut off gets no note; its caller goes on.
const NOTE_MAX: Duration = Duration::from_secs(3);
/// Bytes that a caller hands in at a time.
const PIECE_BYTES: usize = 2_000;

pub fn start(parts: &Arc<Parts>, town: &Arc<Town>, seed: u64) {
    for caller in 0..CALLERS_PER_NODE {
        let dice = Dice::new(seed << 3 | caller);
        tokio::spawn(call(parts.clone(), town.clone(), dice));
    }
    tokio::spawn(hand_over(parts.clone(), town.clone()));
}

fn someone() -> Principal {
    Principal::anonymous("simulated".into(), "caller".into())
}

async fn call(parts: Arc<Parts>, town: Arc<Town>, mut dice: Dice) {
    loop {
        tokio::time::sleep(Duration::from_millis(1 + dice.roll(THINK_MS_MAX))).await;
        let phase = town.oracle.phase();
        if parts.writes.booted().is_err() || !matches!(phase, Phase::Load | Phase::Finish) {
            continue;
        }
        if phase == Phase::Load && dice.roll(3) == 0 {
            if let Some(number) = town.oracle.number_to_download(&mut dice) {
                let evidence = match dice.roll(2) {
                    0 => Mode::Strict,
                    _ => Mode::Deferred,
                };
                download_one(&parts, &town, number, evidence).await;
            }
        } else if let Some(number) = town.oracle.number_to_issue(&mut dice) {
            issue_one(&parts, &town, number, &mut dice).await;
        }
    }
}

async fn issue_one(parts: &Parts, town: &Town, number: u64, dice: &mut Dice) {
    let body = oracle::body(number);
    let draft = IssueDraft {
        request_id: format!("request-{number}"),
        metadata: oracle::metadata(number),
        body: BodyDraft {
            length: body.len() as u64,
            // Without it a repeat is found in apply alone.
            sha256: (dice.roll(2) == 0).then(|| Digest::of(&[&body])),
            ..BodyDraft::default()
        },
    };
    let pieces: Vec<_> = body
        .chunks(PIECE_BYTES)
        .map(|piece| Ok(body.slice_ref(piece)))
        .collect();
    let pieces = stream::iter(pieces).boxed();
    let issued = async {
        let permit = parts.admission.try_upload()?;
        issue::issue(parts, &someone(), draft, pieces, permit).await
    };
    match issued.await {
        Ok(issued) => {
            let index = issued.invoice.record_index;
            town.oracle.issued(number, index.get());
            if dice.roll(3) == 0 {
                wait_for_note(parts, town, index.get()).await;
            }
        }
        Err(error) => failed(parts, town, &format!("issue of {number}"), &error).await,
    }
}

/// Wants two of the three nodes to vouch for the record. No note in time is a passing
/// fault.
async fn wait_for_note(parts: &Parts, town: &Town, index: u64) {
    let Ok(booted) = parts.writes.booted() else {
        return;
    };
    let ledger = Ledger::open(&booted.genesis).unwrap();
    let by_two = |note: &str| {
        let vouched = ledger.checkpoint(note.as_bytes());
        vouched.is_ok_and(|vouched| vouched.cosigners.len() >= 2)
    };
    let deadline = Instant::now() + NOTE_MAX;
    let Some(note) = parts.cosigning.wait(RecordIndex::new(index), deadline, by_two).await else {
        let why = format!("no note for record {index}");
        return town.oracle.failed(parts.reads.place.node.get(), why);
    };
    match ledger.checkpoint(note.as_bytes()) {
        Ok(vouched) => {
            let checkpoint = vouched.checkpoint;
            town.oracle.noted(index, checkpoint.size.get(), checkpoint.root);
        }
        Err((_, why)) => town.oracle.breach(format!("a cosigned note {why}")),
    }
}

async fn download_one(parts: &Parts, town: &Town, number: u64, evidence: Mode) {
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
        Err(error) => return failed(parts, town, &what, &error).await,
    };
    let index = match &started.evidence {
        DownloadEvidence::Receipt(receipt) => match Record::decode(&receipt.record) {
            Ok(record) => Some(record.index),
            Err(error) => return town.oracle.breach(format!("{what}: {error}")),
        },
        DownloadEvidence::Promise { promise, .. } => {
            town.oracle.promised(&promise.statement);
            None
        }
    };
    let mut hasher = Hasher::new();
    while let Some(piece) = pieces.next().await {
        match piece {
            Ok(DownloadPiece::Bytes(bytes)) => hasher.update(&bytes),
            Ok(DownloadPiece::End { .. }) => {
                let index = index.map(RecordIndex::get);
                return town.oracle.downloaded(number, index, hasher.finish());
            }
            Err(error) => return failed(parts, town, &what, &error).await,
        }
    }
    town.oracle.breach(format!("{what} ended without an end"));
}

/// A passing fault leaves the outcome unknown; nothing else may come.
async fn failed(parts: &Parts, town: &Town, what: &str, error: &CallError) {
    match error {
        CallError::Unavailable { .. } | CallError::Exhausted { .. } => {
            town.oracle
                .failed(parts.reads.place.node.get(), format!("{what}: {error:?}"));
        }
        error => {
            let node = parts.reads.place.node;
            town.oracle
                .breach(format!("{what} at node {node}: {error:?}"));
        }
    }
    tokio::time::sleep(PAUSE).await;
}

/// The whole log as this node has it, once the world asks for it.
async fn hand_over(parts: Arc<Parts>, town: Arc<Town>) {
    while town.oracle.phase() != Phase::Export {
        tokio::time::sleep(PAUSE).await;
    }
    loop {
        match whole_log(&parts).await {
            Ok(bundle) => {
                town.oracle
                    .seen()
                    .bundles
                    .insert(parts.reads.place.node.get(), bundle);
                return;
            }
            Err(error) => failed(&parts, &town, "export", &error).await,
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
