//! Checking on many threads changes nothing that can be seen: not a finding, not an order.

mod ledger;

use ledger::{Ledger, seal};
use muniment_evidence::bundle::Frame;
use muniment_evidence::class::FindingClass;
use muniment_evidence::ids::RecordIndex;
use muniment_evidence::record::Outcome;
use muniment_evidence::report::Report;
use muniment_evidence::verify::{BundleVerifier, Observer, SeenRecord, VerifyOptions};

/// Enough for many batches, also where there are many cores.
const DOWNLOADS: u64 = 1_500;

/// Remembers what went by: index, and whether nothing was found there.
#[derive(Default)]
struct Notes(Vec<(u64, bool)>);

impl Observer for Notes {
    fn see(&mut self, seen: SeenRecord<'_>) {
        self.0.push((seen.record.index.get(), seen.sound));
    }
}

fn options(ledger: &Ledger) -> VerifyOptions {
    VerifyOptions {
        trust: Some(ledger.trust()),
        ..VerifyOptions::default()
    }
}

fn verify(ledger: &Ledger, bytes: &[u8], piece: usize) -> (Report, Notes) {
    let mut verifier = BundleVerifier::observed(options(ledger), Notes::default());
    for piece in bytes.chunks(piece) {
        verifier.push(piece);
    }
    verifier.finish_observed()
}

fn long() -> Ledger {
    let mut ledger = Ledger::found(1);
    ledger.boot(1);
    let uid = ledger.issue(1, "A-1", Outcome::Ok);
    for _ in 1..DOWNLOADS {
        ledger.download(1, uid);
    }
    ledger
}

fn places(report: &Report) -> Vec<(FindingClass, Option<u64>)> {
    let findings = report.findings.iter();
    findings
        .map(|found| (found.class, found.index.map(RecordIndex::get)))
        .collect()
}

#[test]
fn findings_and_records_come_in_the_order_of_the_bundle() {
    let mut ledger = long();
    let forged: Vec<u64> = (0..DOWNLOADS).step_by(101).map(|n| n + 2).collect();
    for index in &forged {
        ledger.entries[*index as usize].record.signature.0[5] ^= 1;
    }
    ledger.rechain();
    let bytes = ledger.bundle();
    let expected: Vec<_> = forged
        .iter()
        .map(|index| (FindingClass::BadSignature, Some(*index)))
        .collect();
    for piece in [1_000, 4_096, bytes.len()] {
        let (report, notes) = verify(&ledger, &bytes, piece);
        assert_eq!(places(&report), expected);
        let seen = (0..ledger.len()).map(|index| (index, !forged.contains(&index)));
        assert_eq!(notes.0, seen.collect::<Vec<_>>());
    }
}

/// What was under way when the stream broke is still checked, before that is said.
#[test]
fn a_broken_stream_is_reported_after_all_that_came_before() {
    let mut ledger = long();
    ledger.entries[1_400].record.signature.0[5] ^= 1;
    ledger.rechain();
    let mut frames = ledger.frames(0);
    frames.truncate(1 + 1_450);
    let whole = seal(&frames);
    let cut = &whole[..whole.len() - 30];
    let (report, notes) = verify(&ledger, cut, 4_096);
    let expected = [
        (FindingClass::BadSignature, Some(1_400)),
        (FindingClass::MissingData, None),
    ];
    assert_eq!(places(&report), expected);
    assert_eq!(notes.0.len(), 1_450);
}

/// Bytes that are no record, far into the bundle: one finding, at their place.
#[test]
fn what_cannot_be_read_keeps_its_place_among_the_others() {
    let ledger = long();
    let mut frames = ledger.frames(0);
    match &mut frames[1 + 1_000] {
        Frame::Record(frame) => frame.record[0] = 99,
        other => panic!("not a record: {other:?}"),
    }
    let (report, _) = verify(&ledger, &seal(&frames), 4_096);
    assert_eq!(places(&report)[0], (FindingClass::Structure, Some(1_000)));
}

#[test]
fn a_verifier_that_is_given_up_ends_its_threads() {
    let ledger = long();
    let bytes = ledger.bundle();
    for length in [bytes.len() / 3, bytes.len()] {
        let mut verifier = BundleVerifier::new(options(&ledger));
        verifier.push(&bytes[..length]);
        // Waits for them; a thread that never ended would hold the test up.
        drop(verifier);
    }
}
