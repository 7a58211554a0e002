//! What a start reads of the ledger, and proofs from its tree rows.
//!
//! Promises: every proof that is timed is verified too, outside of its time; each is made
//! as the node makes it, from a view of its own. Indexes are spread by a fixed rule.

use super::serving::data_of;
use muniment::domain::ids::{RecordIndex, TreeSize};
use muniment::keyring::guard::SignedHead;
use muniment::ledger::state::State;
use muniment::raft::machine::Machine;
use muniment::store::Blocking;
use muniment::store::engine::Engine;
use muniment::store::rocks::{Purpose, RocksEngine};
use muniment_evidence::digest::Digest;
use muniment_evidence::tree::{
    consistency_proof, inclusion_proof, leaf_hash, verify_consistency, verify_inclusion,
};
use serde_json::{Value, json};
use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

const SIZES: [u64; 4] = [1_000, 10_000, 100_000, 1_000_000];
/// Enough for a steady 99th percentile.
const ROUNDS: u64 = 2_000;

pub async fn open(dir: &Path) -> Result<Value, Box<dyn Error>> {
    let data = data_of(dir);
    let begun = Instant::now();
    let engine: Arc<dyn Engine> =
        Arc::new(RocksEngine::open(&data.join("ledger"), Purpose::Ledger)?);
    let engine_ms = milliseconds(begun);
    let begun = Instant::now();
    let (_machine, applied) =
        Machine::open(engine.clone(), Blocking::Pool, None, SignedHead::default()).await?;
    let machine_ms = milliseconds(begun);
    let size = applied.borrow().size;
    let state = State::new(engine);
    // A ledger filled with fewer has its whole size in the place of the largest.
    let sizes = SIZES.iter().map(|wanted| size.get().min(*wanted));
    let proofs: Result<Vec<_>, _> = sizes.map(|size| proofs(&state, size)).collect();
    Ok(json!({
        "records": size.get(),
        "engine_ms": engine_ms,
        "machine_ms": machine_ms,
        "proofs": proofs?,
    }))
}

fn proofs(state: &State, size: u64) -> Result<Value, Box<dyn Error>> {
    let root_at = |size| state.read(|tables| tables.root_at(TreeSize::new(size)));
    let root = root_at(size)?;
    let (mut inclusion, mut consistency) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let index = scattered(round) % size;
        let begun = Instant::now();
        let path = state.read(|tables| {
            let (index, size) = (RecordIndex::new(index), TreeSize::new(size));
            inclusion_proof(&tables.tree_rows(), index, size)
        })?;
        inclusion.push(begun.elapsed().as_nanos() as u64);
        let record = state.read(|tables| tables.record_bytes(RecordIndex::new(index)))?;
        let record = record.ok_or("a record is missing")?;
        let leaf = leaf_hash(&record);
        if !verify_inclusion(
            &leaf,
            RecordIndex::new(index),
            TreeSize::new(size),
            &path,
            &root,
        ) {
            return Err(format!("the path of {index} in {size} does not hold").into());
        }
        let old = index + 1;
        let begun = Instant::now();
        let proof = state.read(|tables| {
            let rows = tables.tree_rows();
            consistency_proof(&rows, TreeSize::new(old), TreeSize::new(size))
        })?;
        consistency.push(begun.elapsed().as_nanos() as u64);
        let old_root = root_at(old)?;
        if !verify_consistency(
            TreeSize::new(old),
            TreeSize::new(size),
            &proof,
            &old_root,
            &root,
        ) {
            return Err(format!("{size} does not go on from {old}").into());
        }
    }
    Ok(json!({
        "size": size,
        "inclusion": percentiles(inclusion),
        "consistency": percentiles(consistency),
    }))
}

/// Far apart for neighbours, equal in every run.
fn scattered(round: u64) -> u64 {
    let digest = Digest::of(&[&round.to_be_bytes()]).0;
    let head: [u8; 8] = std::array::from_fn(|i| digest[i]);
    u64::from_be_bytes(head)
}

fn milliseconds(since: Instant) -> f64 {
    (since.elapsed().as_secs_f64() * 10_000.0).round() / 10.0
}

/// In microseconds.
fn percentiles(mut nanoseconds: Vec<u64>) -> Value {
    nanoseconds.sort_unstable();
    let at = |hundredth: usize| {
        let place = (nanoseconds.len() * hundredth / 100).min(nanoseconds.len() - 1);
        (nanoseconds[place] as f64 / 10.0).round() / 100.0
    };
    json!({ "p50_us": at(50), "p99_us": at(99) })
}
