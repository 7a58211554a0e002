//! C2SP tlog-proofs: a published one holds, and every other writing or claim is refused.
//!
//! The proof is of entry "six" in tessera's published test log of 15 entries, cosigned
//! with a published test key of transparency-dev. `EVIDENCE_VECTORS_DIR` compares it with
//! the same proof as others keep it; without it that test says that it was skipped.

use muniment_evidence::digest::Digest;
use muniment_evidence::ids::{RecordIndex, TreeSize};
use muniment_evidence::key::SecretKey;
use muniment_evidence::note::{Checkpoint, NOTE_BYTES_MAX};
use muniment_evidence::policy::Policy;
use muniment_evidence::proof::{EXTRA_BYTES_MAX, PATH_MAX, PROOF_BYTES_MAX, ProofError, TlogProof};
use muniment_evidence::tree::{self, Frontier, MemoryRows};

const PROOF: &str = "c2sp.org/tlog-proof@v1
index 5
zMKa4OAqd7D0V4wawXST15z0JiEEkprIBPkfxOesWvA=
nk9gCR+floFqznAPtqjjcnnV64dge2jQB95D5t164Hg=
zY1lN35vrXYAPixXSd59LsU29xUJtuW4o2dNNg5Y2Co=
5jLpqTgjsBDSEX6SgZiRnbTMdTuRd8bQ5tSsAOxe0Ks=

example.com/log/testdata
15
rKbDipCvhuX1GZ7g5BBe8sA6BbJ7ja/1nk427v383cs=

\u{2014} example.com/log/testdata M9e0luh4jTG+UMBqOUo9/q+yAEvx1ilBEniMvjf1zfcBOhg+CKubMt53MvIt/uEWP6zdkdIQzd/fmwlM/dlPWF74ewI=
\u{2014} Wit1 mz+y1QAAAABlU/EAYEDMPd8Ge7XzsHcNU+F3AzavfsuzhRT3gC4BORiySViMAWQq5znn5g+ruu+iDztzMS3EeF6xr4ug+O66ORoSAw==
";

const LOG: &str =
    "log example.com/log/testdata+33d7b496+AeHTu4Q3hEIMHNqc6fASMsq3rKNx280NI+oO5xCFkkSx\n";
const WITNESS: &str =
    "witness wit1 Wit1+9b3fb2d5+BFhZSmQj9+SoL+p/nN0Hh76xXmF7QcHfytUrI1XfSClk\nquorum wit1\n";

fn policy() -> Policy {
    Policy::parse(&format!("{LOG}{WITNESS}")).unwrap()
}

fn leaf() -> Digest {
    tree::leaf_hash(b"six")
}

fn refused(text: &str) -> String {
    match TlogProof::decode(text.as_bytes()) {
        Err(why @ (ProofError::Format(_) | ProofError::Checkpoint(_))) => why.to_string(),
        other => panic!("{text:?}: {other:?}"),
    }
}

#[test]
fn the_published_proof_holds() {
    assert_eq!(
        leaf().to_hex(),
        "ca233e7a26b8c35c2c93f524c7b905e7a2105640d6dcc594694cff56d26efb25"
    );
    let proof = TlogProof::decode(PROOF.as_bytes()).unwrap();
    assert_eq!((proof.index.get(), proof.path.len()), (5, 4));
    assert_eq!(proof.extra, None);
    assert_eq!(proof.encode(), PROOF);
    let proven = proof.verify(&leaf(), &policy()).unwrap();
    assert_eq!(proven.checkpoint.size, TreeSize::new(15));
    assert_eq!(proven.checkpoint.origin, "example.com/log/testdata");
    assert_eq!(
        proven.checkpoint.root.to_hex(),
        "aca6c38a90af86e5f5199ee0e4105ef2c03a05b27b8daff59e4e36eefdfcddcb"
    );
    assert_eq!(proven.verdict.cosigned[0].time_s, 1_700_000_000);
    assert!(proven.verdict.is_met());
}

/// We would have made the same bytes from the log's entries.
#[test]
fn the_published_proof_is_made_again_from_the_entries() {
    let entries = "one two three four five six seven eit nain ten ileven twelf threeten fourten";
    let (mut rows, mut frontier) = (MemoryRows::new(), Frontier::new());
    for entry in entries.split(' ').chain(["fivten"]) {
        rows.extend(frontier.append(tree::leaf_hash(entry.as_bytes())));
    }
    let Ok(path) = tree::inclusion_proof(&rows, RecordIndex::new(5), TreeSize::new(15));
    let (_, checkpoint) = PROOF.split_once("\n\n").unwrap();
    let ours = TlogProof {
        extra: None,
        index: RecordIndex::new(5),
        path,
        checkpoint: checkpoint.to_owned(),
    };
    assert_eq!(ours.encode(), PROOF);
}

#[test]
fn the_vector_that_others_keep_is_the_same() {
    let Some(directory) = std::env::var_os("EVIDENCE_VECTORS_DIR") else {
        // Straight to the terminal: the test harness would swallow eprintln.
        let line = b"SKIPPED tlog-proof vector: EVIDENCE_VECTORS_DIR is not set\n";
        let _ = std::io::Write::write_all(&mut std::io::stderr(), line);
        return;
    };
    let file = std::path::Path::new(&directory).join("evidence_vectors.json");
    let vectors: serde_json::Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    assert_eq!(vectors["tlog_proof_index5_size15"], PROOF);
    let text = vectors["leaf5_data"].as_str().unwrap();
    assert_eq!(tree::leaf_hash(text.as_bytes()), leaf());
    let witness = vectors["wit1_cosig_vkey"].as_str().unwrap();
    assert!(WITNESS.contains(witness));
}

#[test]
fn another_writing_is_refused() {
    let hash = "zMKa4OAqd7D0V4wawXST15z0JiEEkprIBPkfxOesWvA=";
    for (from, to, why) in [
        ("@v1", "@v2", "another format"),
        ("c2sp.org/tlog-proof@v1\n", "", "another format"),
        ("index 5\n", "", "index is missing"),
        ("index 5", "index", "index is missing"),
        ("index 5", "Index 5", "index is missing"),
        ("index 5", "index  5", "decimal"),
        ("index 5", "index 05", "decimal"),
        ("index 5", "index +5", "decimal"),
        ("index 5", "index -5", "decimal"),
        ("index 5", "index notanumber", "decimal"),
        ("index 5", "index 18446744073709551616", "decimal"),
        ("index 5", "extra !!notbase64!!\nindex 5", "not base64"),
        // Bits beyond the last byte, and no padding.
        ("index 5", "extra QQ=\nindex 5", "not base64"),
        ("index 5", "extra QR==\nindex 5", "not base64"),
        ("index 5", "extra QQ==\nextra QQ==\nindex 5", "missing"),
        ("index 5", "index 5\nextra QQ==", "32 bytes"),
        ("index 5", "extraQQ==\nindex 5", "index is missing"),
        (hash, "!!notbase64!!", "32 bytes"),
        (hash, &hash[..43], "32 bytes"),
        (hash, &format!("{hash} "), "32 bytes"),
        (hash, &hash.replace("vA=", "vB="), "32 bytes"),
        (hash, &hash.repeat(2), "32 bytes"),
        (hash, "AAAA", "32 bytes"),
        ("\n\n", "\n", "32 bytes"),
        ("\n\nexample", "\n\n\nexample", "checkpoint"),
        ("\n15\n", "\n015\n", "canonically"),
        ("\n15\n", "\n15\nextension\n", "checkpoint"),
        ("\n", "\r\n", "empty line"),
        ("\u{2014} Wit1", "- Wit1", "em dash"),
    ] {
        // All line ends, but of anything else the first.
        let times = if from == "\n" { usize::MAX } else { 1 };
        let text = PROOF.replacen(from, to, times);
        assert_ne!(text, PROOF);
        let said = refused(&text);
        assert!(said.contains(why), "{text}: {said}");
    }
    for length in 0..PROOF.len() {
        // A note may lose its last line and is still a note, of fewer signatures.
        if !PROOF[..].is_char_boundary(length) || PROOF[length..].starts_with("\u{2014} Wit1") {
            continue;
        }
        let cut = &PROOF.as_bytes()[..length];
        assert!(TlogProof::decode(cut).is_err(), "cut at {length}");
    }
    assert!(refused(&format!("{PROOF}\n")).contains("checkpoint"));
}

#[test]
fn another_claim_does_not_hold() {
    let good = TlogProof::decode(PROOF.as_bytes()).unwrap();
    let with = |change: fn(&mut TlogProof)| {
        let mut proof = good.clone();
        change(&mut proof);
        assert_ne!(proof, good);
        proof.verify(&leaf(), &policy()).unwrap_err()
    };
    let other = tree::leaf_hash(b"seven");
    assert_eq!(good.verify(&other, &policy()), Err(ProofError::Path));
    assert_eq!(with(|p| p.index = RecordIndex::new(4)), ProofError::Path);
    assert_eq!(with(|p| p.index = RecordIndex::new(15)), ProofError::Path);
    assert_eq!(
        with(|p| p.index = RecordIndex::new(u64::MAX)),
        ProofError::Path
    );
    assert_eq!(with(|p| p.path[3].0[31] ^= 1), ProofError::Path);
    assert_eq!(with(|p| p.path.swap(0, 1)), ProofError::Path);
    assert_eq!(with(|p| p.path.truncate(3)), ProofError::Path);
    assert_eq!(with(|p| p.path.push(Digest::ZERO)), ProofError::Path);
    assert_eq!(with(|p| p.path.clear()), ProofError::Path);
    for (from, to) in [
        ("\n15\n", "\n14\n"),
        ("testdata\n15", "otherlog\n15"),
        ("rKbD", "rKbE"),
    ] {
        let mut proof = good.clone();
        proof.checkpoint = proof.checkpoint.replacen(from, to, 1);
        assert_ne!(proof, good);
        let verified = proof.verify(&leaf(), &policy());
        assert!(
            matches!(verified, Err(ProofError::Policy(_))),
            "{verified:?}"
        );
    }
    let no_note = with(|p| p.checkpoint.push('x'));
    assert!(matches!(no_note, ProofError::Checkpoint(_)));
}

#[test]
fn the_policy_decides_whose_signatures_are_enough() {
    let good = TlogProof::decode(PROOF.as_bytes()).unwrap();
    let mut uncosigned = good.clone();
    let end = uncosigned.checkpoint.find("\u{2014} Wit1").unwrap();
    uncosigned.checkpoint.truncate(end);
    let log_alone = Policy::parse(&format!("{LOG}quorum none\n")).unwrap();
    assert!(uncosigned.verify(&leaf(), &log_alone).is_ok());
    let why = uncosigned.verify(&leaf(), &policy()).unwrap_err();
    assert!(why.to_string().contains("wit1 has not cosigned"), "{why}");
    let no_log = Policy::parse(WITNESS).unwrap();
    let why = good.verify(&leaf(), &no_log).unwrap_err();
    assert!(why.to_string().contains("names no log"), "{why}");
}

#[test]
fn extra_data_is_kept_and_changes_no_verdict() {
    let mut proof = TlogProof::decode(PROOF.as_bytes()).unwrap();
    for extra in [
        vec![],
        vec![0xff],
        b"a hint".to_vec(),
        vec![7; EXTRA_BYTES_MAX],
    ] {
        proof.extra = Some(extra);
        let text = proof.encode();
        assert_eq!(text.parse(), Ok(proof.clone()));
        assert!(proof.verify(&leaf(), &policy()).is_ok());
    }
    proof.extra = Some(vec![7; EXTRA_BYTES_MAX + 1]);
    assert!(refused(&proof.encode()).contains("too long"));
}

#[test]
fn the_greatest_proof_fits_and_a_greater_one_is_refused() {
    let checkpoint = Checkpoint {
        origin: "o".repeat(1000),
        size: TreeSize::new(u64::MAX),
        root: Digest::ZERO,
    };
    let mut note = checkpoint.sign(&SecretKey::from_seed(&[1; 32]));
    let line = note.len() - note.find("\u{2014}").unwrap();
    while note.len() + line <= NOTE_BYTES_MAX {
        let last = note[note.len() - line..].to_owned();
        note += &last;
    }
    let mut proof = TlogProof {
        extra: Some(vec![0; EXTRA_BYTES_MAX]),
        index: RecordIndex::new(u64::MAX - 1),
        path: vec![Digest::ZERO; PATH_MAX],
        checkpoint: note,
    };
    let text = proof.encode();
    assert!(text.len() <= PROOF_BYTES_MAX);
    assert_eq!(TlogProof::decode(text.as_bytes()), Ok(proof.clone()));
    proof.path.push(Digest::ZERO);
    assert!(refused(&proof.encode()).contains("path is too long"));
    assert!(refused(&"x".repeat(PROOF_BYTES_MAX + 1)).contains("too long"));
}

/// A log of one record has an empty path.
#[test]
fn a_log_of_one_is_proven_without_a_path() {
    let key = SecretKey::from_seed(&[5; 32]);
    let checkpoint = Checkpoint {
        origin: "one.example".into(),
        size: TreeSize::new(1),
        root: leaf(),
    };
    let proof = TlogProof {
        extra: None,
        index: RecordIndex::new(0),
        path: Vec::new(),
        checkpoint: checkpoint.sign(&key),
    };
    let text = proof.encode();
    assert!(text.starts_with("c2sp.org/tlog-proof@v1\nindex 0\n\none.example\n1\n"));
    let key = muniment_evidence::key::Signer::public(&key);
    let key = muniment_evidence::note::VerifierKey::log("one.example", key);
    let policy = Policy::parse(&format!("log {key}\nquorum none\n")).unwrap();
    let read = TlogProof::decode(text.as_bytes()).unwrap();
    assert_eq!(
        read.verify(&leaf(), &policy).unwrap().checkpoint,
        checkpoint
    );
}
