//! The verifiers: a pin verifies nothing but what the pinned ledger recorded.
//!
//! The first bytes of an input say how the rest is to be verified, so that all ways to
//! verify are searched.

use crate::ledger::seal;
use crate::{LEDGER, POLICY, is_true_record};
use muniment_audit::report::{to_json, to_text};
use muniment_evidence::bundle::{BundleError, BundleParser, Frame};
use muniment_evidence::digest::Digest;
use muniment_evidence::receipt::Receipt;
use muniment_evidence::report::{Report, Verdict};
use muniment_evidence::trust::Trust;
use muniment_evidence::verify::{
    self, BundleVerifier, Expected, Observer, SeenRecord, VerifyOptions,
};

/// A pin of the same origin to which no input can belong.
fn foreign() -> Trust {
    Trust {
        genesis: Digest([0x5a; 32]),
        ..LEDGER.trust()
    }
}

fn pin(of_ledger: bool) -> Trust {
    if of_ledger { LEDGER.trust() } else { foreign() }
}

/// What is true of every report. Text from evidence may not drive a terminal.
fn is_verified(report: &Report, pinned_to_ledger: bool) -> bool {
    let text = to_text(report);
    assert!(
        !text.chars().any(|c| c.is_control() && c != '\n'),
        "{text:?}"
    );
    assert!(!to_json(report).chars().any(|c| c < ' ' && c != '\n'));
    let verdict = report.verdict();
    assert_eq!(verdict == Verdict::Verified, report.exit_code() == 0);
    let verified = matches!(verdict, Verdict::Verified | Verdict::Unwitnessed);
    assert!(
        pinned_to_ledger || !verified,
        "verified under a foreign pin: {text}"
    );
    verified
}

/// Byte 0: bit 0 the true pin, bit 1 a policy, bit 2 a document to compare. Says whether
/// it was verified.
pub fn receipt(data: &[u8]) -> bool {
    let Some((&how, bytes)) = data.split_first() else {
        return false;
    };
    let decoded = Receipt::decode(bytes);
    if let Ok(receipt) = &decoded {
        assert_eq!(receipt.encode(), bytes);
    }
    let trust = pin(how & 1 != 0);
    let digest = Digest::of(&[crate::ledger::BODY, b"A-1"]);
    let length = (crate::ledger::BODY.len() + 3) as u64;
    let expected = Expected {
        trust: Some(&trust),
        policy: (how & 2 != 0).then_some(&*POLICY),
        document: (how & 4 != 0).then_some((&digest, length)),
        ..Expected::default()
    };
    let report = verify::receipt(bytes, expected);
    let verified = is_verified(&report, how & 1 != 0);
    if verified {
        let receipt = decoded.expect("verified");
        assert!(is_true_record(&receipt.record), "a forged record");
        let entry = LEDGER
            .entries
            .iter()
            .find(|e| e.record.encode()[..] == receipt.record);
        let entry = entry.expect("a true record");
        assert!(
            receipt
                .document
                .is_none_or(|document| document == entry.document)
        );
        assert!(receipt.actor.is_none_or(|actor| actor == entry.actor));
    }
    verified
}

/// Which records went by, and whether all of them are the ledger's.
struct Witness {
    forged: u64,
}

impl Observer for Witness {
    fn see(&mut self, seen: SeenRecord<'_>) {
        if !is_true_record(&seen.record.encode()) {
            self.forged += 1;
        }
    }
}

/// Byte 0: bit 0 the true pin, bit 1 a policy, bit 2 a saved head, bit 3 the frames that
/// can be read are sealed again, with the digest that belongs to them. Byte 1: the level.
/// Byte 2: the length of the pieces, less one. Says whether it was verified.
pub fn bundle(data: &[u8]) -> bool {
    let Some((&[how, level, piece], bytes)) = data.split_first_chunk::<3>() else {
        return false;
    };
    let piece = usize::from(piece) + 1;
    let (frames, read) = parse(bytes, piece);
    assert_eq!(
        (&frames, &read),
        (&parse(bytes, bytes.len().max(1)).0, &read)
    );
    let sealed = seal(&frames);
    if read.is_ok() {
        assert_eq!(sealed, bytes, "the frames are written as other bytes");
    }
    let level = level % 8;
    let options = VerifyOptions {
        keys: None,
        trust: Some(pin(how & 1 != 0)),
        policy: (how & 2 != 0).then(|| POLICY.clone()),
        head: (how & 4 != 0).then(|| LEDGER.note(LEDGER.len() / 2).into_bytes()),
        level,
    };
    let mut verifier = BundleVerifier::observed(options, Witness { forged: 0 });
    let bytes = if how & 8 != 0 { &sealed } else { bytes };
    for piece in bytes.chunks(piece) {
        verifier.push(piece);
    }
    let (report, witness) = verifier.finish_observed();
    let verified = is_verified(&report, how & 1 != 0);
    // Below level 4 the records are not led to what was signed.
    if verified && level >= 4 {
        assert_eq!(witness.forged, 0, "forged records in a verified bundle");
    }
    verified
}

fn parse(bytes: &[u8], piece: usize) -> (Vec<Frame>, Result<(), BundleError>) {
    let mut parser = BundleParser::new();
    let mut frames = Vec::new();
    for piece in bytes.chunks(piece) {
        parser.push(piece);
        loop {
            match parser.next() {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => return (frames, Err(error)),
            }
        }
    }
    let read = parser.finish();
    (frames, read)
}
