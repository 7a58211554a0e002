//! What fuzzing begins with: real values of every format, encoded by the crate itself.
//!
//! A change of a format changes these with it; nothing here is written by hand but texts
//! that no encoder writes.

use crate::ledger::{Ledger, checkpoint_frame, seal};
use crate::{LEDGER, POLICY};
use muniment_evidence::bundle::Frame;
use muniment_evidence::ids::{RecordIndex, TreeSize};
use muniment_evidence::opening::Document;
use muniment_evidence::proof::TlogProof;
use muniment_evidence::tree;
use muniment_evidence::witness::AddCheckpoint;

/// The targets, each with its first inputs.
pub fn all() -> Vec<(&'static str, Vec<Vec<u8>>)> {
    vec![
        ("statement", statements()),
        ("record", records()),
        ("document", documents()),
        ("actor", actors()),
        ("note", notes()),
        ("vkey", vkeys()),
        ("policy", policies()),
        ("proof", proofs()),
        ("witness", requests()),
        ("trust", vec![LEDGER.trust().to_string().into_bytes()]),
        ("receipt", receipts()),
        ("bundle", bundles()),
        ("tree", trees()),
    ]
}

/// Another ledger of the same origin: true, and not the one that is meant.
fn other_ledger() -> Ledger {
    Ledger::realistic(9)
}

fn entries() -> Vec<crate::ledger::Entry> {
    let mut entries = LEDGER.entries.clone();
    entries.extend(other_ledger().entries);
    entries
}

fn statements() -> Vec<Vec<u8>> {
    let statements = entries().into_iter().map(|entry| entry.record.statement);
    statements
        .map(|statement| statement.encode().to_vec())
        .collect()
}

fn records() -> Vec<Vec<u8>> {
    let records = entries().into_iter().map(|entry| entry.record);
    records.map(|record| record.encode().to_vec()).collect()
}

fn documents() -> Vec<Vec<u8>> {
    entries()
        .into_iter()
        .map(|entry| entry.document.bytes)
        .collect()
}

fn actors() -> Vec<Vec<u8>> {
    let actors = LEDGER.entries.iter().map(|entry| entry.actor.bytes.clone());
    let holdings =
        LEDGER
            .entries
            .iter()
            .filter_map(|entry| match Document::decode(&entry.document.bytes) {
                Ok(Document::Issue(issue)) => Some(issue.holdings[0].encode()),
                _ => None,
            });
    actors.chain(holdings).collect()
}

fn notes() -> Vec<Vec<u8>> {
    let sizes = [0, 1, LEDGER.len()];
    let plain = sizes.map(|size| LEDGER.note(size).into_bytes());
    let cosigned = sizes.map(|size| LEDGER.cosigned_note(size).into_bytes());
    plain.into_iter().chain(cosigned).collect()
}

fn vkeys() -> Vec<Vec<u8>> {
    let logs = POLICY.logs().iter().map(|log| log.key.to_string());
    let witnesses = POLICY.witnesses().iter().map(|w| w.key.to_string());
    logs.chain(witnesses).map(String::into_bytes).collect()
}

fn policies() -> Vec<Vec<u8>> {
    let policy = POLICY.to_string();
    let loose = "# a comment\n\n\twitness a \t$1 https://w.example/\nwitness b $2\n\
                 group g any a b\ngroup h 1 g\nlog $0\nquorum h";
    let loose = loose
        .replace("$0", &POLICY.logs()[0].key.to_string())
        .replace("$1", &POLICY.witnesses()[0].key.to_string())
        .replace("$2", &POLICY.witnesses()[1].key.to_string());
    let mut seeds = vec!["quorum none\n".to_owned(), policy.clone(), loose.clone()];
    for text in [policy, loose] {
        seeds.push(format!("{text}\0{}", LEDGER.note(3)));
        seeds.push(format!("{text}\0{}", LEDGER.cosigned_note(3)));
    }
    seeds.into_iter().map(String::into_bytes).collect()
}

fn proofs() -> Vec<Vec<u8>> {
    let size = LEDGER.len();
    let proof = |index: u64, extra: Option<&[u8]>| {
        let proof = TlogProof {
            extra: extra.map(<[u8]>::to_vec),
            index: RecordIndex::new(index),
            path: LEDGER.path(index, size),
            checkpoint: LEDGER.cosigned_note(size),
        };
        proof.encode().into_bytes()
    };
    vec![
        proof(0, None),
        proof(5, Some(b"hint")),
        proof(size - 1, None),
    ]
}

fn requests() -> Vec<Vec<u8>> {
    let size = LEDGER.len();
    let request = |old: u64| {
        let Ok(proof) =
            tree::consistency_proof(&LEDGER.rows(), TreeSize::new(old), TreeSize::new(size));
        let proof = if old == 0 { Vec::new() } else { proof };
        let request = AddCheckpoint::new(TreeSize::new(old), proof, &LEDGER.note(size));
        request
            .expect("the ledger's own note")
            .encode()
            .into_bytes()
    };
    vec![request(0), request(1), request(5), request(size)]
}

/// Before each, how it is to be verified.
fn receipts() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for index in 0..LEDGER.len() {
        let how = [0b001, 0b011, 0b111, 0b010][index as usize % 4];
        seeds.push([&[how], &LEDGER.receipt(index).encode()[..]].concat());
    }
    let mut erased = LEDGER.receipt(2);
    (erased.document, erased.actor) = (None, None);
    seeds.push([&[1], &erased.encode()[..]].concat());
    let other = other_ledger();
    seeds.push([&[1], &other.receipt(5).encode()[..]].concat());
    seeds
}

fn bundles() -> Vec<Vec<u8>> {
    let how = |bits: u8, level: u8, bytes: &[u8]| [&[bits, level, 200], bytes].concat();
    let whole = LEDGER.bundle();
    let mut seeds: Vec<Vec<u8>> = (0..=6).map(|level| how(0b0001, level, &whole)).collect();
    let mut cosigned = LEDGER.frames(0);
    cosigned.pop();
    cosigned.push(checkpoint_frame(LEDGER.cosigned_note(LEDGER.len())));
    let cosigned = seal(&cosigned);
    seeds.push(how(0b0111, 5, &cosigned));
    seeds.push(how(0b1111, 6, &cosigned));
    seeds.push(how(0b1000, 5, &whole));
    seeds.push(how(0b1001, 5, &seal(&LEDGER.frames(3))));
    seeds.push(how(0b1001, 5, &seal(&selection(&LEDGER))));
    seeds.push(how(0b1001, 5, &other_ledger().bundle()));
    let mut rewritten = Ledger::small();
    rewritten.generation = 2;
    seeds.push(how(0b1001, 4, &rewritten.bundle()));
    let mut no_records = LEDGER.frames(LEDGER.len());
    no_records.push(checkpoint_frame(LEDGER.note(1)));
    seeds.push(how(0b1001, 5, &seal(&no_records)));
    seeds
}

/// Every other record, each with its path.
fn selection(ledger: &Ledger) -> Vec<Frame> {
    let mut index = 0u64;
    let mut frames = Vec::new();
    for frame in ledger.frames(0) {
        match frame {
            Frame::Manifest(mut manifest) => {
                manifest.selection = "every other record".into();
                frames.push(Frame::Manifest(manifest));
            }
            Frame::Record(record) => {
                if index.is_multiple_of(2) {
                    frames.push(Frame::Proven(record, ledger.path(index, ledger.len())));
                }
                index += 1;
            }
            other => frames.push(other),
        }
    }
    frames
}

/// Shift, index or old size, size, then leaf or old root, and the proof.
fn trees() -> Vec<Vec<u8>> {
    let size = LEDGER.len();
    let mut seeds = Vec::new();
    let mut seed = |m: u64, n: u64, first: [u8; 32], proof: Vec<_>| {
        let mut bytes = vec![0];
        bytes.extend(m.to_be_bytes());
        bytes.extend(n.to_be_bytes());
        bytes.extend(first);
        for hash in proof {
            let hash: muniment_evidence::digest::Digest = hash;
            bytes.extend(hash.0);
        }
        seeds.push(bytes);
    };
    for m in 0..size {
        seed(m, size, LEDGER.leaf(m).0, LEDGER.path(m, size));
        let Ok(proof) =
            tree::consistency_proof(&LEDGER.rows(), TreeSize::new(m), TreeSize::new(size));
        seed(m, size, LEDGER.checkpoint(m).root.0, proof);
        seed(
            m,
            m,
            [0; 32],
            LEDGER.frontier(2 * m % size).peaks().to_vec(),
        );
    }
    seeds
}
