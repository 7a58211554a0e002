//! What verifiers were once made to believe, and what shows too little to be judged.
//!
//! Promises one change each, as in `negative`, rightly signed. Which claim of a hostile reader each
//! answers stands in `docs/reference/soundness.md`.

use super::forged_bundles::{statement_twice, with_stolen_outbox_key};
use super::negative::{AT, altered, forged, with_revoked_node_key, with_stolen_node_key};
use super::{Vector, anchor, cosigned_frames, document, key_of_turn, reopen, small};
use crate::ledger::{Ledger, seal};
use crate::promising;
use muniment_evidence::bundle::{Frame, Manifest};
use muniment_evidence::ids::RecordIndex;
use muniment_evidence::key::SecretKey;
use muniment_evidence::keychange::{Action, Role};
use muniment_evidence::opening::{Document, Opening};
use muniment_evidence::promise::Promise;
use muniment_evidence::receipt::{KeyRecord, Receipt};
use muniment_evidence::record::Outcome;
use muniment_evidence::statement::{Kind, Lane};

/// A kind that may change what chain and keys mean.
const CRITICAL: u8 = 128;

pub fn all() -> Vec<Vector> {
    let small = small();
    let nothing = |change: &dyn Fn(&mut Manifest)| {
        let mut frames = cosigned_frames(&small, small.len());
        change(announced(&mut frames));
        seal(&frames)
    };
    let mut words = small.selection(&[4, 5, 9]);
    announced(&mut words).selection = "all that there is".into();
    let twice = statement_twice();
    [
        ("range-empty.bin", nothing(&|_| {})),
        ("selection-empty.bin", seal(&small.selection(&[]))),
        ("bundle-anchor-first.bin", anchored_first().bundle()),
        (
            "negative/range-empty-peaks.bin",
            nothing(&|manifest| manifest.peaks[0].0[0] ^= 1),
        ),
        ("negative/selection-words.bin", seal(&words)),
        ("negative/promise-revoked", promise_revoked().encode()),
        (
            "negative/bundle-before-revocation.bin",
            with_stolen_node_key().bundle(),
        ),
        ("negative/bundle-restatement.bin", restated()),
        (
            "negative/receipt-revoked-cosigners.bin",
            revoked_cosigners().encode(),
        ),
        ("negative/note-revoked-key.bin", with_revoked_key_too()),
        (
            "negative/bundle-keys-miscounted-twice.bin",
            miscounted_twice().bundle(),
        ),
        ("negative/slice-lanes.bin", seal(&two_lanes().frames(12))),
        ("negative/bundle-lanes.bin", two_lanes().bundle()),
        (
            "negative/receipt-refused-then-ok.bin",
            twice.receipt(11).encode(),
        ),
    ]
    .map(|(name, bytes)| (name.to_owned(), bytes))
    .into_iter()
    .chain(readings())
    .collect()
}

/// What of a record's columns is part of decoding, and what is not.
fn readings() -> [Vector; 3] {
    let small = small();
    let written = |index, at: usize| altered(&small, index, &|receipt| receipt.record[at] = 1);
    let itself = forged(&|ledger| {
        ledger.issue(1, "X", Outcome::DuplicateOf(RecordIndex::new(11)));
    });
    [
        ("record-reason.bin", written(4, 59)),
        ("record-boot-lane.bin", written(1, 121)),
        ("receipt-duplicate-itself.bin", itself.receipt(11)),
    ]
    .map(|(name, receipt)| (format!("negative/{name}"), receipt.encode()))
}

fn announced(frames: &mut [Frame]) -> &mut Manifest {
    match &mut frames[0] {
        Frame::Manifest(manifest) => manifest,
        other => panic!("not a manifest: {other:?}"),
    }
}

/// An outside witness has seen the founding, and nothing after it.
fn anchored_first() -> Ledger {
    let mut ledger = small();
    let anchor = anchor(&ledger, &ledger.checkpoint(1), true);
    ledger.strict(1, anchor, Outcome::Ok);
    ledger
}

/// Promised under a stolen key, with the KEY record that revokes it.
fn promise_revoked() -> Promise {
    let revoked = with_revoked_node_key();
    Promise {
        keys: revoked.key_records(revoked.len()),
        ..promising::promise(&with_stolen_outbox_key(), 4)
    }
}

/// A thief of the log key founds the keys anew: root keys that stand in this record alone, and
/// have endorsed it, add a key under which he goes on. No version before the one that understands
/// the kind may take it for a change of keys.
fn restated() -> Vec<u8> {
    let mut ledger = Ledger::found_with_roots(1, 2);
    ledger.boot(1);
    ledger.boot(2);
    let fresh = key_of_turn(&ledger, 2, 1);
    let roots = [71, 72].map(|seed| SecretKey::from_seed(&[seed; 32]));
    let mut changes: Vec<_> = roots
        .iter()
        .map(|root| ledger.ledger_change(Action::Add, Role::Root, root))
        .collect();
    changes.push(ledger.node_change(Action::Add, Role::Statement, 2, &fresh));
    let endorsers = [&roots[..], std::slice::from_ref(&fresh)].concat();
    let mut document = ledger.key_document(changes, &endorsers);
    // Without those of the roots that the ledger has.
    document.endorsements.list.truncate(endorsers.len());
    let mut opening = Document::Key(document.clone()).encode();
    opening[1] = CRITICAL;
    let at = ledger.strict(1, Document::Key(document), Outcome::Ok);
    let kind = Kind::from_code(CRITICAL).expect("kinds of later versions have codes");
    ledger.entries[at as usize].record.statement.kind = kind;
    reopen(&mut ledger, at, Opening::public(opening));
    ledger.turns.insert(2, 1);
    ledger.issue(2, "T-1", Outcome::Ok);
    ledger.rechain();
    let mut frames = ledger.frames(0);
    let entry = &ledger.entries[at as usize];
    let key = KeyRecord {
        record: entry.record.encode().to_vec(),
        opening: entry.document.bytes.clone(),
        path: ledger.path(at, ledger.len()),
    };
    frames.insert(AT, Frame::Key(key));
    seal(&frames)
}

/// Two of three nodes' cosignature keys are revoked from before the checkpoint on, and have
/// cosigned it.
fn revoked_cosigners() -> Receipt {
    let mut ledger = Ledger::found_with_roots(1, 2);
    ledger.boot(1);
    let at = ledger.issue_at(1, "C-1");
    let revoke = |node: u64| {
        let action = Action::Revoke {
            trusted_until: RecordIndex::new(at),
        };
        let key = ledger.cosignature_key(node);
        ledger.node_change(action, Role::Cosignature, node, &key)
    };
    let changes = vec![revoke(2), revoke(3)];
    ledger.change_keys(changes, &[]);
    Receipt {
        checkpoint: ledger.cosigned_note(ledger.len()),
        ..ledger.receipt(at)
    }
}

/// A revoked log key has signed beside one that is in force.
fn with_revoked_key_too() -> Vec<u8> {
    let mut ledger = small();
    let (old, new) = (ledger.log_key_of(0), ledger.log_key_of(1));
    let action = Action::Revoke {
        trusted_until: RecordIndex::new(ledger.len()),
    };
    let changes = vec![
        ledger.log_change(action, &old),
        ledger.log_change(Action::Add, &new),
    ];
    ledger.change_keys(changes, &[new]);
    ledger.log_keys = vec![0, 1];
    let checkpoint = ledger.cosigned_note(ledger.len());
    let receipt = Receipt {
        checkpoint,
        ..ledger.receipt(4)
    };
    receipt.encode()
}

/// After the only KEY record one record counts two, and the next none.
fn miscounted_twice() -> Ledger {
    let mut ledger = with_revoked_node_key();
    for (number, keys) in [("V-3", 2), ("V-4", 0), ("V-5", 1)] {
        let at = ledger.issue_at(1, number);
        ledger.entries[at as usize].record.keys = keys;
    }
    ledger.rechain_only();
    ledger
}

/// A node goes on in the lane of its start before beside that of its newest.
fn two_lanes() -> Ledger {
    forged(&|ledger| {
        let newest = ledger.boot(1);
        for boot in [1, newest] {
            let download = document(ledger, 5);
            let lane = Lane::Strict(RecordIndex::new(boot));
            ledger.record(1, lane, download, Outcome::Ok);
        }
    })
}
