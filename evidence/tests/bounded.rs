//! A bundle is verified in bounded memory: four times the records, hardly more heap.
//!
//! In a program of its own, since it counts every allocation of its process.

#[path = "../benches/million/bundle.rs"]
#[allow(dead_code, reason = "the benchmark looks at more of it")]
mod bundle;
#[path = "../benches/million/traffic.rs"]
mod traffic;

use muniment_evidence::rules::INVOICE_BYTES;
use muniment_evidence::verify::{BundleVerifier, VerifyOptions};
use peak_alloc::PeakAlloc;
use std::fs::File;
use std::io::{BufWriter, Read as _};
use std::path::Path;

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

const FEW: u64 = 5_000;
const MANY: u64 = 20_000;

/// A record leaves 40 bytes in the chain, its leaf hash among them, in a list that doubles as it
/// grows and is there twice while it moves; an invoice leaves [`INVOICE_BYTES`] besides.
const BYTES_PER_RECORD_MAX: u64 = 120;

/// What is under way differs from moment to moment, by a part of what the shorter bundle
/// takes, which is nearly all that: more on more cores.
const UNDER_WAY_PART: u64 = 4;

/// Read at a time.
const PIECE_BYTES: usize = 64 * 1024;

/// The most heap that verifying so many records took.
fn peak(records: u64) -> u64 {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let path = dir.join(format!("bounded-{records}-{}", std::process::id()));
    let mut file = BufWriter::new(File::create(&path).unwrap());
    let sealed = bundle::write(&mut file, records, |_| {}).unwrap();
    drop(file);

    let mut file = File::open(&path).unwrap();
    let mut piece = vec![0; PIECE_BYTES];
    let before = HEAP.current_usage();
    HEAP.reset_peak_usage();
    let mut verifier = BundleVerifier::new(VerifyOptions {
        trust: Some(sealed.trust),
        ..VerifyOptions::default()
    });
    loop {
        match file.read(&mut piece).unwrap() {
            0 => break,
            length => verifier.push(&piece[..length]),
        }
    }
    let report = verifier.finish();
    let peak = HEAP.peak_usage() - before;
    std::fs::remove_file(&path).unwrap();
    assert_eq!(report.findings, []);
    assert_eq!(report.counts.total(), records);
    assert!(sealed.bytes > 500 * records, "openings are shown");
    peak as u64
}

#[test]
fn four_times_the_records_take_hardly_more_memory() {
    let (few, many) = (peak(FEW), peak(MANY));
    let invoices = (MANY - FEW) * traffic::ISSUES_PER_ROUND / traffic::ROUND;
    let remembered = (MANY - FEW) * BYTES_PER_RECORD_MAX + invoices * INVOICE_BYTES;
    let allowed = remembered + few / UNDER_WAY_PART;
    assert!(
        many <= few + allowed,
        "{FEW} records took {few} bytes of heap, {MANY} took {many}: more than {allowed} more"
    );
}
