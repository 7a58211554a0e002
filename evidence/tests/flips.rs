//! One byte of a bundle of some hundred records is flipped, anywhere: it is reported, with
//! a class, and at the record it stands in.
//!
//! Each flip is made twice: as an accident, which the digest at the end finds, and by a
//! forger who repairs the digest. Every byte is too many for each run; those tried are
//! spread over all of them, other ones with another `MUNIMENT_FLIPS_FROM` (0 by default),
//! and `MUNIMENT_FLIPS_STRIDE=1` tries all.

mod ledger;

use ledger::Ledger;
use muniment_evidence::bundle::MAGIC;
use muniment_evidence::class::FindingClass;
use muniment_evidence::digest::{Digest, tag};
use muniment_evidence::ids::RecordIndex;
use muniment_evidence::keychange::Action;
use muniment_evidence::record::{Outcome, Record};
use muniment_evidence::report::Report;
use muniment_evidence::verify::{BundleVerifier, VerifyOptions};
use std::ops::Range;

/// A prime near the length of a frame, so that flips wander through its fields.
const STRIDE: usize = 787;
/// Type and length of a frame, and the length of the record in it.
const BEFORE_RECORD: usize = 1 + 4 + 4;

/// Some hundred records: boots, issues, downloads and their ends, and a change of keys.
fn some_hundred() -> Ledger {
    let mut ledger = Ledger::realistic(1);
    let next = ledger.log_key_of(1);
    let add = ledger.log_change(Action::Add, &next);
    ledger.change_keys(vec![add], std::slice::from_ref(&next));
    ledger.log_keys = vec![0, 1];
    for n in 0..90 {
        let node = 1 + n % ledger::NODES;
        let uid = ledger.issue(node, &format!("F-{n}"), Outcome::Ok);
        let download = ledger.download(node, uid);
        ledger.end(node, &[download]);
    }
    ledger
}

/// Where each record frame of the bundle stands, and the index it has.
fn record_frames(bytes: &[u8]) -> Vec<(Range<usize>, u64)> {
    const RECORD: u8 = 2;
    let (mut at, mut frames) = (MAGIC.len(), Vec::new());
    while at < bytes.len() {
        let length = u32::from_be_bytes(bytes[at + 1..at + 5].try_into().unwrap()) as usize;
        let end = at + 5 + length;
        if bytes[at] == RECORD {
            let record = &bytes[at + BEFORE_RECORD..][..Record::LENGTH];
            frames.push((at..end, Record::decode(record).unwrap().index.get()));
        }
        at = end;
    }
    frames
}

fn verify(bytes: &[u8], ledger: &Ledger) -> Report {
    let mut verifier = BundleVerifier::new(VerifyOptions {
        trust: Some(ledger.trust()),
        ..VerifyOptions::default()
    });
    verifier.push(bytes);
    verifier.finish()
}

fn number(name: &str) -> Option<usize> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn a_flipped_byte_anywhere_is_reported_where_it_is() {
    let ledger = some_hundred();
    assert!(ledger.len() > 300);
    let bytes = ledger.bundle();
    assert_eq!(verify(&bytes, &ledger).findings, []);
    let frames = record_frames(&bytes);
    assert_eq!(frames.len() as u64, ledger.len());
    let end = bytes.len() - 32;
    let stride = number("MUNIMENT_FLIPS_STRIDE").unwrap_or(STRIDE);
    let from = number("MUNIMENT_FLIPS_FROM").unwrap_or(0);
    let mut flips = 0;
    for at in (from..bytes.len()).step_by(stride) {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (at % 8);
        let accident = verify(&flipped, &ledger);
        assert!(!accident.findings.is_empty(), "byte {at}");
        if at >= end {
            continue;
        }
        // The END frame's own header and counts are not under its digest.
        let digest_of = end_frame(&bytes);
        if at < digest_of {
            let digest = Digest::of(&[tag::BUNDLE, &flipped[..digest_of]]);
            flipped[end..].copy_from_slice(&digest.0);
        }
        let forged = verify(&flipped, &ledger);
        let first = forged.findings.first();
        let first = first.unwrap_or_else(|| panic!("byte {at} under a repaired digest"));
        if let Some((frame, index)) = frames.iter().find(|(frame, _)| frame.contains(&at)) {
            // A frame that is broken as a frame, or too long now, is reported by its offset; what is in it,
            // by the record.
            let broken = first.index.is_none()
                && matches!(
                    first.class,
                    FindingClass::Structure | FindingClass::MissingData
                );
            let inside = (at - frame.start).checked_sub(BEFORE_RECORD);
            let here = inside.is_some() && first.index == Some(RecordIndex::new(*index));
            // A record that gives itself another number is reported under that one.
            let renumbered = inside.is_some_and(|at| (1..9).contains(&at))
                && matches!(
                    first.class,
                    FindingClass::MissingData | FindingClass::BrokenChain
                );
            // No node signs position and outcome: another one shows in what follows, the
            // next record or, after the last, the root.
            let unsigned = inside.is_some_and(|at| at < 60);
            let follows = match first.index {
                Some(at) => {
                    at == RecordIndex::new(index + 1)
                        && matches!(first.class, FindingClass::BrokenChain | FindingClass::Time)
                }
                None => index + 1 == ledger.len() && first.class == FindingClass::BadTree,
            };
            assert!(
                broken || here || renumbered || unsigned && follows,
                "byte {at} of record {index}: {first}"
            );
        }
        flips += 1;
    }
    println!(
        "{flips} flips in {} bytes of {} records",
        bytes.len(),
        ledger.len()
    );
}

/// Where the END frame begins: the digest is over all before it.
fn end_frame(bytes: &[u8]) -> usize {
    let mut at = MAGIC.len();
    loop {
        let length = u32::from_be_bytes(bytes[at + 1..at + 5].try_into().unwrap()) as usize;
        if at + 5 + length == bytes.len() {
            return at;
        }
        at += 5 + length;
    }
}

/// The tree is right and everything is signed: only the chain tells.
#[test]
fn a_record_that_names_another_before_it_breaks_the_chain_under_a_right_tree() {
    for at in [1, 5, 12] {
        let mut ledger = Ledger::realistic(1);
        ledger.entries[at].record.prev.0[9] ^= 1;
        // The ones after it follow the altered record.
        for later in at + 1..ledger.entries.len() {
            ledger.entries[later].record.prev = ledger.leaf(later as u64 - 1);
        }
        let report = verify(&ledger.bundle(), &ledger);
        let found: Vec<_> = report
            .findings
            .iter()
            .map(|f| (f.class, f.index.map(RecordIndex::get)))
            .collect();
        assert_eq!(found, [(FindingClass::BrokenChain, Some(at as u64))]);
    }
}
