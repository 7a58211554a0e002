//! The forgeries among the frozen vectors: one change each.
//!
//! Promises that everything but the change is right, as a forger would have it. What each
//! must be found as stands in `MANIFEST.tsv`.

use super::forged_keys::founded;
use super::{Vector, forged_bundles, forged_keys, forged_orders, forged_records, forged_rules};
use super::{anchored, cosigned_frames, document, later, revoke, rotation, small, vouch};
use crate::ledger::{Ledger, ORIGIN, seal};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use muniment_evidence::bundle::{Frame, RecordFrame};
use muniment_evidence::digest::Digest;
use muniment_evidence::ids::{LogIndex, NodeId, OutboxId, RecordIndex, Sequence};
use muniment_evidence::key::{PublicKey, SecretKey, Signature, Signer as _};
use muniment_evidence::keychange::Action;
use muniment_evidence::note::VerifierKey;
use muniment_evidence::opening::{BootDocument, BootOutbox, Document, MembershipDocument};
use muniment_evidence::receipt::{LastRecord, Receipt};
use muniment_evidence::record::{Outcome, Reason};
use muniment_evidence::statement::Lane;
use sha2::{Digest as _, Sha512};

pub fn all() -> Vec<Vector> {
    let mut all: Vec<(&str, Vec<u8>)> = vec![
        ("trust-other", Ledger::found(2).trust().to_string().into()),
        ("head-2", small().note(2).into()),
    ];
    all.extend(receipts_by_bytes());
    all.extend(receipts().map(|(name, receipt)| (name, receipt.encode())));
    all.extend(bundles_by_bytes());
    all.extend(bundles_by_frames().map(|(name, frames)| (name, seal(&frames))));
    all.extend(bundles().map(|(name, ledger)| (name, ledger.bundle())));
    let receipts = forged_keys::all().into_iter().chain(forged_records::all());
    all.extend(receipts.map(|(name, receipt)| (name, receipt.encode())));
    all.extend(forged_bundles::all());
    let orders = forged_orders::all().into_iter();
    all.extend(orders.map(|(name, ledger)| (name, ledger.bundle())));
    all.extend(forged_rules::all());
    let name = |name: &str| format!("negative/{name}");
    all.into_iter().map(|(n, bytes)| (name(n), bytes)).collect()
}

fn receipts_by_bytes() -> [(&'static str, Vec<u8>); 3] {
    let bytes = small().receipt(4).encode();
    let mut version = bytes.clone();
    version["muniment-receipt/v".len()] = b'0';
    [
        ("receipt-truncated.bin", bytes[..bytes.len() - 1].to_vec()),
        ("receipt-trailing.bin", [&bytes[..], b"\n"].concat()),
        ("receipt-version.bin", version),
    ]
}

pub type Change<'a, T> = &'a dyn Fn(&mut T);

/// A receipt of `index`, changed after it was made.
pub fn altered(ledger: &Ledger, index: u64, change: Change<'_, Receipt>) -> Receipt {
    let mut receipt = ledger.receipt(index);
    change(&mut receipt);
    receipt
}

/// A ledger changed before anything was made of it; it hangs together again.
pub fn forged(change: Change<'_, Ledger>) -> Ledger {
    let mut ledger = small();
    change(&mut ledger);
    ledger.rechain();
    ledger
}

fn receipts() -> [(&'static str, Receipt); 27] {
    let small = small();
    let rotation = rotation();
    let signed = |signature: &dyn Fn(&SecretKey, &[u8], Signature) -> Signature| {
        let ledger = forged(&|ledger| {
            let key = ledger.key(1);
            let record = &mut ledger.entries[4].record;
            record.signature = signature(&key, &record.statement.signed_bytes(), record.signature);
        });
        ledger.receipt(4)
    };
    let unknown_node = forged(&|ledger| {
        ledger.boot(9);
    });
    let other_ledger = forged(&|ledger| {
        ledger.id = Digest([5; 32]);
        ledger.issue(1, "X", Outcome::Ok);
    });
    let of_number = |number: &str| {
        let ledger = forged(&|ledger| {
            ledger.issue(1, number, Outcome::Ok);
        });
        ledger.receipt(11)
    };
    let noted = |note: String| altered(&small, 4, &|receipt| receipt.checkpoint = note.clone());
    let size = small.len();
    let checkpoint = small.checkpoint(size);
    let elsewhere = small.checkpoint(3).cosign(
        &format!("{ORIGIN}/r1/z1/1"),
        &small.cosignature_key(1),
        1_795_467_600,
    );
    [
        (
            "receipt-signature.bin",
            signed(&|_, _, mut signature| {
                signature.0[5] ^= 1;
                signature
            }),
        ),
        ("receipt-s-above-l.bin", signed(&|_, _, s| with_larger_s(s))),
        (
            "receipt-small-order-r.bin",
            signed(&|key, message, _| with_small_order_r(key, message)),
        ),
        ("receipt-unknown-node.bin", unknown_node.receipt(11)),
        ("receipt-other-ledger.bin", other_ledger.receipt(11)),
        (
            "receipt-path.bin",
            altered(&small, 4, &|receipt| receipt.path = small.path(5, size)),
        ),
        (
            "receipt-outcome.bin",
            altered(&small, 7, &|receipt| {
                receipt.record[57..68].fill(0);
            }),
        ),
        (
            "receipt-opening.bin",
            altered(&small, 4, &|receipt| {
                receipt.document = Some(small.entries[10].document.clone());
            }),
        ),
        ("receipt-name.bin", of_number("F-3\u{200b}")),
        ("receipt-long.bin", of_number(&"9".repeat(257))),
        ("receipt-log-key.bin", noted(checkpoint.sign(&small.key(1)))),
        (
            "receipt-cosignature.bin",
            noted(small.note(size) + &elsewhere),
        ),
        ("receipt-extension.bin", noted(with_extension(&small))),
        ("receipt-no-quorum.bin", noted(small.note(size))),
        ("receipt-genesis-key.bin", with_second_writing_of_a_key()),
        (
            "receipt-key-hidden.bin",
            altered(&rotation, 12, &|receipt| {
                receipt.keys.remove(0);
            }),
        ),
        (
            "receipt-key-itself.bin",
            altered(&rotation, 10, &|receipt| {
                receipt.keys.pop();
            }),
        ),
        (
            "receipt-key-path.bin",
            altered(&rotation, 12, &|receipt| receipt.keys[1].path[0].0[0] ^= 1),
        ),
        ("receipt-key-unendorsed.bin", with_unendorsed_key()),
        ("receipt-revoked-log-key.bin", with_revoked_log_key()),
        (
            "receipt-revocation-stripped.bin",
            stripped(with_revoked_log_key()),
        ),
        (
            "receipt-node-revocation-stripped.bin",
            stripped(with_revoked_node_key().receipt(4)),
        ),
        (
            "receipt-before-revocation.bin",
            with_stolen_node_key().receipt(4),
        ),
        ("receipt-thief.bin", without_revocation().receipt(4)),
        (
            "receipt-last-withheld.bin",
            altered(&small, 4, &|receipt| receipt.last = None),
        ),
        (
            "receipt-last-other.bin",
            altered(&small, 4, &|receipt| {
                receipt.last = Some(LastRecord {
                    record: small.entries[9].record.encode().to_vec(),
                    path: small.path(9, size),
                });
            }),
        ),
        (
            "receipt-last-path.bin",
            altered(&small, 4, &|receipt| {
                let last = receipt.last.as_mut().expect("record 4 is not the last");
                last.path[0].0[0] ^= 1;
            }),
        ),
    ]
}

/// Without its newest KEY record: who was revoked is not, to whoever believes it.
fn stripped(mut receipt: Receipt) -> Receipt {
    receipt.keys.pop();
    receipt
}

/// Record 4 is signed with a stolen key, and nobody knows.
pub fn with_stolen_node_key() -> Ledger {
    let mut ledger = Ledger::found_with_roots(1, 2);
    ledger.boot(1);
    ledger.boot(2);
    ledger.issue(2, "V-1", Outcome::Ok);
    ledger.issue(2, "V-2", Outcome::Ok);
    ledger
}

/// It was revoked from there on.
pub fn with_revoked_node_key() -> Ledger {
    let mut ledger = with_stolen_node_key();
    revoke(&mut ledger, 2, 4);
    ledger.boot(1);
    ledger
}

/// Whoever stole the log key too goes on as if it had not been.
fn without_revocation() -> Ledger {
    let mut ledger = with_stolen_node_key();
    for number in ["V-3", "V-4", "V-5"] {
        ledger.issue(2, number, Outcome::Ok);
    }
    ledger
}

/// S + L: the same signature to whoever does not ask for the smallest.
fn with_larger_s(signature: Signature) -> Signature {
    let l = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde,
        0x14, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let mut larger = signature;
    let mut carry = 0;
    for (byte, add) in larger.0[32..].iter_mut().zip(l) {
        let sum = u16::from(*byte) + add + carry;
        (*byte, carry) = (sum as u8, sum >> 8);
    }
    larger
}

/// R is the identity and S = k·a: the equation holds, and strict verification refuses it.
fn with_small_order_r(key: &SecretKey, message: &[u8]) -> Signature {
    let key = ed25519_dalek::SigningKey::from_bytes(&key.seed());
    let mut r = [0; 32];
    r[0] = 1;
    let hash = Sha512::new()
        .chain_update(r)
        .chain_update(key.verifying_key().as_bytes())
        .chain_update(message)
        .finalize();
    let a = key.to_scalar();
    let mut k = number_like(a, 0);
    for byte in hash.iter().rev() {
        k = k * number_like(a, 256) + number_like(a, u64::from(*byte));
    }
    let s = (k * a).to_bytes();
    Signature([r, s].concat().try_into().expect("two halves of 32 bytes"))
}

/// A scalar, whose type has no name here.
fn number_like<T: From<u64>>(_like: T, number: u64) -> T {
    T::from(number)
}

/// A checkpoint of four lines, rightly signed.
fn with_extension(ledger: &Ledger) -> String {
    let text = ledger.checkpoint(ledger.len()).text() + "extension\n";
    log_note(&text, text.as_bytes(), &ledger.log_key())
}

/// A note of any text, with the line of a log key over what is given as signed.
pub fn log_note(text: &str, signed: &[u8], key: &SecretKey) -> String {
    let signature = key.sign(signed);
    let id = VerifierKey::log(ORIGIN, key.public()).id();
    let blob = BASE64.encode([&id[..], &signature.0].concat());
    format!("{text}\n\u{2014} {ORIGIN} {blob}\n")
}

/// A member's cosignature key is y = 3 written as 3 + p.
fn with_second_writing_of_a_key() -> Receipt {
    let mut key = [0xff; 32];
    (key[0], key[31]) = (0xf0, 0x7f);
    let ledger = founded(&|genesis| genesis.members[2].cosignature_key = PublicKey(key));
    ledger.receipt(0)
}

/// One of two root keys has not signed.
fn with_unendorsed_key() -> Receipt {
    let mut ledger = Ledger::found_with_roots(1, 2);
    ledger.boot(1);
    let thief = SecretKey::from_seed(&[77; 32]);
    let add = ledger.log_change(Action::Add, &thief);
    let mut change = ledger.key_document(vec![add], &[thief]);
    change.endorsements.list.pop();
    let at = ledger.strict(1, Document::Key(change), Outcome::Ok);
    ledger.receipt(at)
}

/// The key that signs was revoked from the size before on.
fn with_revoked_log_key() -> Receipt {
    let mut ledger = small();
    let (old, new) = (ledger.log_key_of(0), ledger.log_key_of(1));
    let trusted_until = ledger.len();
    let revoke = ledger.log_change(
        Action::Revoke {
            trusted_until: RecordIndex::new(trusted_until),
        },
        &old,
    );
    let add = ledger.log_change(Action::Add, &new);
    ledger.change_keys(vec![revoke, add], &[new]);
    ledger.receipt(4)
}

fn bundles_by_bytes() -> [(&'static str, Vec<u8>); 5] {
    let bytes = seal(&cosigned_frames(&small(), 0));
    let end = bytes.len();
    let changed = |at: usize, by: u8| {
        let mut bytes = bytes.clone();
        bytes[at] ^= by;
        bytes
    };
    let manifest_at = "muniment-bundle/v2\n".len();
    let length = &bytes[manifest_at + 1..manifest_at + 5];
    let length = u32::from_be_bytes(length.try_into().expect("four bytes"));
    let second_frame_at = manifest_at + 5 + length as usize;
    [
        ("bundle-truncated.bin", bytes[..end * 2 / 3].to_vec()),
        ("bundle-trailing.bin", [&bytes[..], b"x"].concat()),
        ("bundle-digest.bin", changed(end - 1, 1)),
        // The digest does not cover the counts beside it.
        ("bundle-counts.bin", changed(end - 33, 8)),
        // Type 2 becomes 66.
        ("bundle-frame.bin", changed(second_frame_at, 64)),
    ]
}

/// Where the records of a bundle without KEY records begin: after the manifest.
pub const AT: usize = 1;

fn bundles_by_frames() -> [(&'static str, Vec<Frame>); 14] {
    let small = small();
    let frames = |change: Change<'_, Vec<Frame>>| {
        let mut frames = cosigned_frames(&small, 0);
        change(&mut frames);
        frames
    };
    let chosen = |change: Change<'_, Vec<Frame>>| {
        let mut frames = small.selection(&[4, 5, 9]);
        change(&mut frames);
        frames
    };
    let other_root = forged(&|ledger| {
        ledger.entries[7].record.outcome = Outcome::Refused(Reason::NotFound);
    });
    let mut other_root = other_root.frames(0);
    vouch(&mut other_root, small.note(small.len()));
    let mut rotation = cosigned_frames(&rotation(), 0);
    rotation.remove(2);
    let mut miscounted = small.clone();
    for entry in &mut miscounted.entries[8..] {
        entry.record.keys = 1;
    }
    miscounted.rechain_only();
    let mut later = later();
    if let Some(Frame::Checkpoint(last)) = later.last_mut() {
        last.consistency[1].0[7] ^= 1;
    }
    [
        (
            "bundle-missing.bin",
            frames(&|frames| {
                frames.remove(AT + 6);
            }),
        ),
        (
            "bundle-repeated.bin",
            frames(&|frames| frames.insert(AT + 6, frames[AT + 6].clone())),
        ),
        (
            "bundle-public-opening.bin",
            frames(&|frames| opened(&mut frames[AT + 1]).document = None),
        ),
        (
            "bundle-no-checkpoint.bin",
            frames(&|frames| {
                frames.pop();
            }),
        ),
        ("bundle-root.bin", other_root),
        ("bundle-key-hidden.bin", rotation),
        ("bundle-later-consistency.bin", later),
        (
            "bundle-revocation-stripped.bin",
            without_keys(with_revoked_node_key().frames(0)),
        ),
        (
            "slice-revocation-stripped.bin",
            without_keys(with_revoked_node_key().frames(6)),
        ),
        (
            "selection-revocation-stripped.bin",
            without_keys(with_revoked_node_key().selection(&[3, 4])),
        ),
        (
            "bundle-last-withheld.bin",
            frames(&|frames| frames.retain(|frame| !matches!(frame, Frame::Last(_)))),
        ),
        ("bundle-keys-miscounted.bin", miscounted.frames(0)),
        (
            "selection-order.bin",
            chosen(&|frames| frames.swap(AT, AT + 1)),
        ),
        (
            "selection-path.bin",
            chosen(&|frames| {
                if let Frame::Proven(_, path) = &mut frames[AT + 1] {
                    path[0].0[3] ^= 1;
                }
            }),
        ),
    ]
}

fn without_keys(mut frames: Vec<Frame>) -> Vec<Frame> {
    frames.retain(|frame| !matches!(frame, Frame::Key(_)));
    frames
}

pub fn opened(frame: &mut Frame) -> &mut RecordFrame {
    match frame {
        Frame::Record(frame) => frame,
        other => panic!("not a record: {other:?}"),
    }
}

fn bundles() -> [(&'static str, Ledger); 18] {
    let boot_with = |ledger: &mut Ledger, outboxes: Vec<BootOutbox>| {
        let boot = Document::Boot(BootDocument {
            incarnation: [1; 16],
            statement_key: ledger.key(1).public(),
            software: "test".into(),
            outboxes,
        });
        ledger.record(1, Lane::Boot, boot, Outcome::Ok);
    };
    let pending = |lost| BootOutbox {
        id: OutboxId::new(7),
        next: Sequence::new(3),
        last: Digest([7; 32]),
        lost,
    };
    let mut stale_key = rotation();
    stale_key.turns.insert(1, 0);
    stale_key.issue(1, "K-4", Outcome::Ok);
    let revoked = with_revoked_node_key();
    [
        (
            "bundle-time.bin",
            forged(&|ledger| ledger.entries[6].record.committed_at_ms -= 1000),
        ),
        (
            "bundle-fork.bin",
            forged(&|ledger| ledger.entries[5].record.committed_at_ms += 1),
        ),
        (
            "bundle-lane-gap.bin",
            forged(&|ledger| {
                let seq = &mut ledger.entries[10].record.statement.seq;
                *seq = Sequence::new(seq.get() + 5);
                ledger.resign(10);
            }),
        ),
        (
            "bundle-lane-closed.bin",
            forged(&|ledger| {
                ledger.boot(1);
                let download = document(ledger, 5);
                ledger.record(1, Lane::Strict(RecordIndex::new(1)), download, Outcome::Ok);
            }),
        ),
        (
            "bundle-duplicate.bin",
            forged(&|ledger| {
                ledger.issue(1, "X", Outcome::DuplicateOf(RecordIndex::new(7)));
            }),
        ),
        (
            "bundle-end-twice.bin",
            forged(&|ledger| {
                ledger.end(2, &[5]);
            }),
        ),
        (
            "bundle-holding.bin",
            forged(&|ledger| {
                let mut invoice = ledger.invoice("H");
                invoice.holdings[1].signature.0[0] ^= 1;
                ledger.strict(1, Document::Issue(invoice), Outcome::Ok);
            }),
        ),
        (
            "bundle-zone.bin",
            forged(&|ledger| {
                let mut invoice = ledger.invoice("H");
                invoice.holdings[1].zone = "z3".into();
                ledger.strict(1, Document::Issue(invoice), Outcome::Ok);
            }),
        ),
        (
            "bundle-chunk-root-other.bin",
            forged(&|ledger| {
                let mut invoice = ledger.invoice("H");
                invoice.renditions[0].chunk_root.0[0] ^= 1;
                ledger.strict(1, Document::Issue(invoice), Outcome::Ok);
            }),
        ),
        (
            "bundle-chunk-root-single.bin",
            forged(&|ledger| {
                let mut invoice = ledger.invoice("H");
                invoice.renditions[0].chunk_root.0[0] ^= 1;
                for holding in &mut invoice.holdings {
                    holding.chunk_root.0[0] ^= 1;
                    let key = ledger.key(holding.node.get());
                    holding.signature = key.sign(&holding.signed_bytes());
                }
                ledger.strict(1, Document::Issue(invoice), Outcome::Ok);
            }),
        ),
        (
            "bundle-stranger.bin",
            forged(&|ledger| {
                let members = Document::Membership(MembershipDocument {
                    log_index: LogIndex::new(9),
                    voters: vec![vec![NodeId::new(1), NodeId::new(2), NodeId::new(9)]],
                    learners: Vec::new(),
                });
                ledger.strict(1, members, Outcome::Ok);
            }),
        ),
        ("bundle-stale-key.bin", stale_key),
        ("bundle-revoked.bin", revoked),
        ("bundle-thief.bin", without_revocation()),
        (
            "bundle-outbox-lost.bin",
            forged(&|ledger| boot_with(ledger, vec![pending(true)])),
        ),
        (
            "bundle-loss-and-fork.bin",
            forged(&|ledger| {
                boot_with(ledger, vec![pending(true)]);
                ledger.entries[7].record.outcome = Outcome::Refused(Reason::NotFound);
            }),
        ),
        (
            "bundle-outbox-forgotten.bin",
            forged(&|ledger| {
                boot_with(ledger, vec![pending(false)]);
                boot_with(ledger, Vec::new());
            }),
        ),
        ("bundle-anchor-root.bin", anchored(true)),
    ]
}
