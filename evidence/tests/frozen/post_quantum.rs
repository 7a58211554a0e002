//! Vectors of ML-DSA cosignatures, and of witnesses whose type nobody here knows.
//!
//! Promises the same bytes at every run: the keys have derived seeds and sign
//! deterministically. The nodes of `small` cosign with both of their keys.

use super::{Vector, small};
use crate::ledger::{BODY, Ledger, NODES, ORIGIN, checkpoint_frame, seal};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use muniment_evidence::digest::hex;
use muniment_evidence::key::Signer as _;
use muniment_evidence::ml_dsa::{KEY_BYTES, MlDsaSecretKey};
use muniment_evidence::note::VerifierKey;

/// After the Ed25519 cosignatures of the same nodes.
const AT_S: u64 = 1_795_467_601;

pub fn all() -> Vec<Vector> {
    let ledger = small();
    let size = ledger.len();
    let plain = ledger.cosigned_note(size);
    let with = |lines: [String; NODES as usize]| receipt(&ledger, plain.clone() + &lines.concat());
    let honest = || [1, 2, 3].map(|node| line(&ledger, node, node));
    let changed = |node: usize, change: &dyn Fn(&mut Vec<u8>)| {
        let mut lines = honest();
        lines[node - 1] = altered(&lines[node - 1], change);
        with(lines)
    };
    let mut frames = ledger.frames(0);
    let whole = plain.clone() + &honest().concat();
    *frames.last_mut().expect("a bundle has frames") = checkpoint_frame(whole);
    let [_, two, three] = honest();
    let as_two = line(&ledger, 1, 2);
    [
        ("policy-post-quantum", policy(&ledger, true).into_bytes()),
        ("policy-unknown-type", policy(&ledger, false).into_bytes()),
        ("receipt-post-quantum.bin", with(honest())),
        ("bundle-post-quantum.bin", seal(&frames)),
        // A bit of c̃, of z, and of the count of hints at the end.
        ("negative/receipt-ml-dsa-c.bin", changed(1, &|b| b[12] ^= 1)),
        (
            "negative/receipt-ml-dsa-z.bin",
            changed(1, &|b| b[900] ^= 1),
        ),
        (
            "negative/receipt-ml-dsa-hint.bin",
            changed(1, &|b| *b.last_mut().expect("a signature") ^= 64),
        ),
        // The time is signed.
        (
            "negative/receipt-ml-dsa-time.bin",
            changed(1, &|b| b[11] ^= 1),
        ),
        (
            "negative/receipt-ml-dsa-short.bin",
            changed(1, &|b| b.truncate(b.len() - 1)),
        ),
        // Node 1 signs as node 2, and not as itself.
        (
            "negative/receipt-ml-dsa-name.bin",
            with([as_two, two.clone(), three.clone()]),
        ),
        // What node 1 signed as node 2 stands under its own name.
        (
            "negative/receipt-ml-dsa-moved.bin",
            with([moved(&ledger), two, three]),
        ),
        ("negative/policy-ml-dsa-length", wrong_length().into_bytes()),
        (
            "negative/policy-plain-witness",
            plain_witness(&ledger).into_bytes(),
        ),
        ("negative/policy-same-key", same_key(&ledger).into_bytes()),
    ]
    .map(|(name, bytes)| (name.to_owned(), bytes))
    .into()
}

fn name(node: u64) -> String {
    format!("{ORIGIN}/r1/z{node}/{node}")
}

fn secret(node: u64) -> MlDsaSecretKey {
    let mut seed = [0; 32];
    (seed[0], seed[1], seed[2]) = (1, node as u8, 6);
    MlDsaSecretKey::from_seed(&seed)
}

/// The line of `node`'s key under the name of `named`.
fn line(ledger: &Ledger, node: u64, named: u64) -> String {
    let checkpoint = ledger.checkpoint(ledger.len());
    let line = checkpoint.cosign_ml_dsa(&name(named), &secret(node), AT_S);
    line.expect("a short name")
}

/// The line with other bytes after its key id.
fn altered(line: &str, change: &dyn Fn(&mut Vec<u8>)) -> String {
    let (head, blob) = line.trim_end().rsplit_once(' ').expect("a name and a blob");
    let mut blob = BASE64.decode(blob).expect("base64");
    change(&mut blob);
    format!("{head} {}\n", BASE64.encode(blob))
}

fn moved(ledger: &Ledger) -> String {
    let own = VerifierKey::ml_dsa_cosigner(&name(1), secret(1).public());
    let line = altered(&line(ledger, 1, 2), &|blob| {
        blob[..4].copy_from_slice(&own.id());
    });
    line.replacen(&name(2), &name(1), 1)
}

fn receipt(ledger: &Ledger, note: String) -> Vec<u8> {
    let mut receipt = ledger.receipt(4);
    receipt.checkpoint = note;
    receipt.encode()
}

/// Two of three zones, each with both of its keys; or two zones of four, of which one has a
/// key of a later type.
fn policy(ledger: &Ledger, quantum: bool) -> String {
    let log = VerifierKey::log(ORIGIN, ledger.log_key().public());
    let mut text = format!("log {log}\n");
    for node in 1..=NODES {
        let key = VerifierKey::cosigner(&name(node), ledger.cosignature_key(node).public());
        text += &format!("witness n{node} {key}\n");
        if quantum {
            let key = VerifierKey::ml_dsa_cosigner(&name(node), secret(node).public());
            text += &format!("witness q{node} {key}\ngroup both-{node} all n{node} q{node}\n");
        }
    }
    if quantum {
        return text + "group zones 2 both-1 both-2 both-3\nquorum zones\n";
    }
    let typed = BASE64.encode([&[0x63][..], &BODY[..8]].concat());
    text + &format!("witness later later.example+0badcafe+{typed}\n")
        + "group zones 2 n1 n2 n3 later\nquorum zones\n"
}

/// A key that lacks its last byte, with the id that it would have.
fn wrong_length() -> String {
    let public = secret(1).public();
    let key = VerifierKey::ml_dsa_cosigner("w", public.clone());
    let typed = BASE64.encode([&[6], &public.bytes()[..KEY_BYTES - 1]].concat());
    format!("witness w w+{}+{typed}\nquorum w\n", hex(&key.id()))
}

/// A log's signature is no cosignature.
fn plain_witness(ledger: &Ledger) -> String {
    let key = VerifierKey::log(ORIGIN, ledger.log_key().public());
    format!("witness w {key}\nquorum w\n")
}

/// Two names for one ML-DSA key would count it twice.
fn same_key(ledger: &Ledger) -> String {
    let log = VerifierKey::log(ORIGIN, ledger.log_key().public());
    let [a, b] = ["a", "b"].map(|name| VerifierKey::ml_dsa_cosigner(name, secret(1).public()));
    format!("log {log}\nwitness a {a}\nwitness b {b}\ngroup g 2 a b\nquorum g\n")
}
