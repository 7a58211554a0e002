//! The texts: one writing for one value, and no signature that nobody made.

use crate::{LEDGER, POLICY};
use muniment_evidence::ids::TreeSize;
use muniment_evidence::note::{Checkpoint, Note, VerifierKey, Vouch};
use muniment_evidence::policy::{Policy, PolicyVerdict};
use muniment_evidence::proof::TlogProof;
use muniment_evidence::tree;
use muniment_evidence::trust::Trust;
use muniment_evidence::witness::{AddCheckpoint, Head, decide};
use std::collections::BTreeSet;

pub fn note(data: &[u8]) {
    let Ok(note) = Note::parse(data) else {
        return;
    };
    assert!(data.starts_with(note.text.as_bytes()) && note.text.ends_with('\n'));
    let lines = data.iter().filter(|&&c| c == b'\n').count();
    let of_text = note.text.matches('\n').count();
    assert_eq!(lines, of_text + 1 + note.signatures.len());
    let checkpoint = Checkpoint::parse(&note.text);
    if let Ok(checkpoint) = &checkpoint {
        assert_eq!(checkpoint.text(), note.text);
    }
    let logs = POLICY.logs().iter().map(|log| &log.key);
    for key in logs.chain(POLICY.witnesses().iter().map(|witness| &witness.key)) {
        if matches!(note.vouch(key), Vouch::Signed | Vouch::Cosigned { .. }) {
            is_true_checkpoint(checkpoint.as_ref().expect("only checkpoints were signed"));
        }
    }
    check_verdict(&POLICY, &note, &POLICY.evaluate(&note));
}

fn is_true_checkpoint(checkpoint: &Checkpoint) {
    assert!(
        checkpoint.size <= TreeSize::new(LEDGER.len()),
        "a forged checkpoint"
    );
    assert_eq!(*checkpoint, LEDGER.checkpoint(checkpoint.size.get()));
}

/// A request to a witness: one writing, and cosigned only when the ledger's log key signed
/// it and it goes on from what was cosigned before.
pub fn witness(data: &[u8]) {
    let Ok(request) = AddCheckpoint::decode(data) else {
        return;
    };
    assert_eq!(request.encode().as_bytes(), data);
    let keys: Vec<VerifierKey> = POLICY.logs().iter().map(|log| log.key.clone()).collect();
    for last in [0, 1, 5] {
        let last = (last > 0).then(|| {
            let checkpoint = LEDGER.checkpoint(last);
            Head {
                size: checkpoint.size,
                root: checkpoint.root,
            }
        });
        if decide(&request, &keys, last).is_ok() {
            is_true_checkpoint(request.checkpoint());
            assert!(last.is_none_or(|last| last.size <= request.checkpoint().size));
        }
    }
}

pub fn vkey(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Ok(key) = VerifierKey::parse(text) {
        assert_eq!(key.to_string(), text);
    }
}

/// A policy, and after a zero byte a note for it to evaluate.
pub fn policy(data: &[u8]) {
    let mut parts = data.splitn(2, |&c| c == 0);
    let (text, note) = (parts.next().unwrap_or_default(), parts.next());
    let Ok(text) = std::str::from_utf8(text) else {
        return;
    };
    let Ok(policy) = Policy::parse(text) else {
        return;
    };
    let printed = policy.to_string();
    assert_eq!(Policy::parse(&printed).as_ref(), Ok(&policy));
    if let Some(Ok(note)) = note.map(Note::parse) {
        check_verdict(&policy, &note, &policy.evaluate(&note));
    }
}

/// The verdict against the definition: a witness has witnessed when it cosigned, a group
/// when enough of its members have.
fn check_verdict(policy: &Policy, note: &Note, verdict: &PolicyVerdict) {
    let origin = note.text.split('\n').next();
    assert!(verdict.log.is_none() || verdict.log.as_deref() == origin);
    let cosigned: BTreeSet<&str> = verdict.cosigned.iter().map(|c| c.name.as_str()).collect();
    for name in &cosigned {
        let key = policy.witness(name).expect("a witness of the policy");
        assert!(matches!(note.vouch(key), Vouch::Cosigned { .. }));
    }
    let groups: Vec<&str> = verdict.groups.iter().map(String::as_str).collect();
    let expected = policy.groups().iter().map(|group| group.name.as_str());
    let expected: Vec<&str> = expected
        .filter(|name| has_witnessed(policy, name, &cosigned))
        .collect();
    assert_eq!(groups, expected);
    let quorum = policy.quorum();
    assert!(!verdict.quorum_met || quorum.is_none_or(|q| has_witnessed(policy, q, &cosigned)));
    assert_eq!(
        verdict.is_met(),
        verdict.quorum_met && verdict.log.is_some()
    );
}

fn has_witnessed(policy: &Policy, name: &str, cosigned: &BTreeSet<&str>) -> bool {
    match policy.groups().iter().find(|group| group.name == name) {
        None => cosigned.contains(name),
        Some(group) => {
            let members = group.members.iter();
            let present = members.filter(|m| has_witnessed(policy, m, cosigned));
            present.count() >= group.needed
        }
    }
}

/// A proof that holds is one of a true record, by its only path.
pub fn proof(data: &[u8]) {
    let Ok(proof) = TlogProof::decode(data) else {
        return;
    };
    assert_eq!(proof.encode().as_bytes(), data);
    let leaf = match LEDGER.entries.get(proof.index.get() as usize) {
        Some(entry) => entry.record.leaf_hash(),
        None => tree::leaf_hash(data),
    };
    if let Ok(proven) = proof.verify(&leaf, &POLICY) {
        is_true_checkpoint(&proven.checkpoint);
        let path = LEDGER.path(proof.index.get(), proven.checkpoint.size.get());
        assert_eq!(proof.path, path);
    }
    assert!(proof.verify(&tree::leaf_hash(data), &POLICY).is_err());
}

pub fn trust(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Ok(trust) = Trust::parse(text) {
        assert_eq!(trust.to_string(), text);
    }
}
