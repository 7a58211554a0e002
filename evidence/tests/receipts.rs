//! Whoever changes a receipt, or shows one with another document, is found out.

mod expecting;
mod ledger;
mod promising;

use expecting::{gravest, pinned};
use ledger::{BODY, Ledger};
use muniment_evidence::class::FindingClass;
use muniment_evidence::digest::Digest;
use muniment_evidence::promise::Promise;
use muniment_evidence::receipt::{KEYS_MAX, KeyRecord, Receipt};
use muniment_evidence::record::{Outcome, Record};
use muniment_evidence::report::Verdict;
use muniment_evidence::trust::Trust;
use muniment_evidence::verify::{self, Expected};

fn about<'a>(trust: &'a Trust, digest: &'a Digest, length: u64) -> Expected<'a> {
    Expected {
        document: Some((digest, length)),
        ..pinned(trust)
    }
}

#[test]
fn every_receipt_of_an_honest_ledger_verifies() {
    let ledger = Ledger::realistic(1);
    for index in 0..ledger.len() {
        let bytes = ledger.receipt(index).encode();
        let report = verify::receipt(&bytes, pinned(&ledger.trust()));
        assert_eq!(report.findings, [], "record {index}");
        assert_eq!(report.verdict(), Verdict::Unwitnessed);
        assert_eq!(report.cosigners.len(), 3);
        let unpinned = verify::receipt(&bytes, Expected::default());
        assert_eq!(unpinned.exit_code(), 3);
    }
}

#[test]
fn any_flipped_byte_of_a_receipt_is_found() {
    let ledger = Ledger::small();
    let mut receipt = ledger.receipt(2);
    receipt.checkpoint = ledger.note(ledger.len());
    let bytes = receipt.encode();
    for at in 0..bytes.len() {
        for bit in [0x01, 0x80] {
            let mut flipped = bytes.clone();
            flipped[at] ^= bit;
            let report = verify::receipt(&flipped, pinned(&ledger.trust()));
            assert!(!report.findings.is_empty(), "byte {at} bit {bit}");
        }
    }
    for length in 0..bytes.len() {
        let report = verify::receipt(&bytes[..length], pinned(&ledger.trust()));
        assert_eq!(gravest(&report), (FindingClass::Structure, None));
    }
}

/// A verifier learns and keeps each KEY record, so their number bounds it; the ledger takes no
/// more.
#[test]
fn no_more_key_records_are_read_than_there_can_be() {
    let ledger = Ledger::small();
    let key = KeyRecord {
        record: ledger.entries[1].record.encode().to_vec(),
        opening: vec![2],
        path: Vec::new(),
    };
    let reads = |count| {
        let keys = vec![key.clone(); count];
        let receipt = Receipt {
            keys: keys.clone(),
            ..ledger.receipt(2)
        };
        let mut promise = promising::promise(&ledger, 3);
        promise.keys = keys;
        let receipt = Receipt::decode(&receipt.encode()).is_ok();
        assert_eq!(Promise::decode(&promise.encode()).is_ok(), receipt);
        receipt
    };
    assert!(reads(KEYS_MAX));
    assert!(!reads(KEYS_MAX + 1));
}

#[test]
fn a_false_cosignature_spoils_the_note() {
    let ledger = Ledger::small();
    let mut receipt = ledger.receipt(2);
    let other = ledger.checkpoint(3);
    let line = other.cosign(
        &format!("{}/r1/z1/1", ledger::ORIGIN),
        &ledger.cosignature_key(1),
        1,
    );
    receipt.checkpoint = ledger.note(ledger.len()) + &line;
    let report = verify::receipt(&receipt.encode(), pinned(&ledger.trust()));
    assert_eq!(gravest(&report), (FindingClass::Checkpoint, None));
}

#[test]
fn a_receipt_of_another_record_or_path_is_found() {
    let ledger = Ledger::realistic(1);
    let trust = ledger.trust();
    let check = |receipt: &Receipt| gravest(&verify::receipt(&receipt.encode(), pinned(&trust)));
    let mut moved = ledger.receipt(5);
    moved.path = ledger.receipt(6).path;
    assert_eq!(check(&moved), (FindingClass::BadTree, Some(5)));
    let mut short = ledger.receipt(5);
    short.path.pop();
    assert_eq!(check(&short), (FindingClass::BadTree, Some(5)));
    // A refused request made to look accepted: the node signed the statement only.
    let refused = (0..ledger.len())
        .find(|i| {
            matches!(
                ledger.entries[*i as usize].record.outcome,
                Outcome::Refused(_)
            )
        })
        .unwrap();
    let mut accepted = ledger.receipt(refused);
    let mut record = Record::decode(&accepted.record).unwrap();
    record.outcome = Outcome::Ok;
    accepted.record = record.encode().to_vec();
    assert_eq!(check(&accepted), (FindingClass::BadTree, Some(refused)));
    // A record of a ledger with the same keys but another genesis.
    let mut other = ledger.clone();
    other.id = Digest([5; 32]);
    let uid = other.issue(1, "X", Outcome::Ok);
    let _ = uid;
    let last = other.len() - 1;
    let mut receipt = other.receipt(last);
    receipt.document = None;
    assert_eq!(check(&receipt), (FindingClass::BrokenChain, Some(last)));
}

#[test]
fn the_given_document_must_be_the_records() {
    let ledger = Ledger::small();
    let trust = ledger.trust();
    let check = |index, bytes: &[u8], length| {
        let digest = Digest::of(&[bytes]);
        let receipt = ledger.receipt(index).encode();
        verify::receipt(&receipt, about(&trust, &digest, length))
    };
    let body = [BODY, b"A-1"].concat();
    let same = check(2, &body, body.len() as u64);
    assert!(same.holds());
    assert_eq!(same.document_matches, Some(true));
    let download = check(3, &body, body.len() as u64);
    assert_eq!(download.document_matches, Some(true));
    for report in [
        check(2, BODY, body.len() as u64),
        check(2, &body, body.len() as u64 + 1),
        check(1, &body, body.len() as u64),
    ] {
        assert_eq!(gravest(&report).0, FindingClass::Document);
        assert_eq!(report.document_matches, Some(false));
    }
    let mut erased = ledger.receipt(2);
    erased.document = None;
    let digest = Digest::of(&[&body]);
    let given = about(&trust, &digest, body.len() as u64);
    let report = verify::receipt(&erased.encode(), given);
    assert_eq!(gravest(&report), (FindingClass::Document, Some(2)));
    assert!(verify::receipt(&erased.encode(), pinned(&trust)).holds());
}
