//! How long proofs and receipts take: made from rows in memory, and verified.
//!
//! Promises: every proof that is timed is verified too, outside of its time; indexes are
//! spread by a fixed rule, so that two runs ask for the same. Leaves printing to `main`.

use muniment_evidence::digest::Digest;
use muniment_evidence::ids::{RecordIndex, TreeSize};
use muniment_evidence::tree::{
    Frontier, MemoryRows, consistency_proof, inclusion_proof, leaf_hash, root_at,
    verify_consistency, verify_inclusion,
};
use muniment_evidence::trust::Trust;
use muniment_evidence::verify::{self, Expected};
use serde_json::{Value, json};
use std::hint::black_box;
use std::time::Instant;

const SIZES: [u64; 4] = [1_000, 10_000, 100_000, 1_000_000];
/// Enough for a steady 99th percentile.
const ROUNDS: u64 = 10_000;
const RECEIPT_ROUNDS: u64 = 3_000;

/// Inclusion and consistency, at growing sizes of one tree.
pub fn measure() -> Value {
    let (mut frontier, mut rows) = (Frontier::new(), MemoryRows::new());
    for index in 0..SIZES[SIZES.len() - 1] {
        rows.extend(frontier.append(leaf(index)));
    }
    let per_size = SIZES.map(|size| {
        let Ok(root) = root_at(&rows, TreeSize::new(size));
        let (mut inclusion, mut consistency) = (Vec::new(), Vec::new());
        for round in 0..ROUNDS {
            let index = scattered(round) % size;
            let begun = Instant::now();
            let Ok(path) = black_box(inclusion_proof(
                &rows,
                RecordIndex::new(index),
                TreeSize::new(size),
            ));
            inclusion.push(begun.elapsed().as_nanos() as u64);
            let holds = verify_inclusion(
                &leaf(index),
                RecordIndex::new(index),
                TreeSize::new(size),
                &path,
                &root,
            );
            assert!(holds, "the path of {index} in {size}");

            let old = index + 1;
            let begun = Instant::now();
            let Ok(proof) = black_box(consistency_proof(
                &rows,
                TreeSize::new(old),
                TreeSize::new(size),
            ));
            consistency.push(begun.elapsed().as_nanos() as u64);
            let Ok(old_root) = root_at(&rows, TreeSize::new(old));
            let holds = verify_consistency(
                TreeSize::new(old),
                TreeSize::new(size),
                &proof,
                &old_root,
                &root,
            );
            assert!(holds, "from {old} to {size}");
        }
        json!({
            "size": size,
            "inclusion": percentiles(inclusion),
            "consistency": percentiles(consistency),
        })
    });
    Value::from(per_size.to_vec())
}

/// A receipt, verified again and again on one core.
pub fn receipt(bytes: &[u8], trust: &Trust) -> Value {
    let expected = Expected {
        trust: Some(trust),
        ..Expected::default()
    };
    let times = (0..RECEIPT_ROUNDS).map(|_| {
        let begun = Instant::now();
        let report = black_box(verify::receipt(bytes, expected));
        let took = begun.elapsed().as_nanos() as u64;
        assert_eq!(report.findings, [], "an honest receipt verifies");
        took
    });
    let mut measured = percentiles(times.collect());
    measured["bytes"] = Value::from(bytes.len());
    measured
}

fn leaf(index: u64) -> Digest {
    leaf_hash(&index.to_be_bytes())
}

/// Far apart for neighbours, equal in every run.
fn scattered(round: u64) -> u64 {
    let digest = Digest::of(&[&round.to_be_bytes()]).0;
    let head: [u8; 8] = std::array::from_fn(|i| digest[i]);
    u64::from_be_bytes(head)
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
