//! Vectors that others made: RFC 6962 proofs, a C2SP log, a cosigned note, a tlog-proof.
//!
//! They lie outside of the repository; `EVIDENCE_VECTORS_DIR` names the directory, and
//! without it these tests say that they were skipped.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use muniment_evidence::digest::Digest;
use muniment_evidence::ids::{RecordIndex, TreeSize};
use muniment_evidence::key::SecretKey;
use muniment_evidence::note::{Checkpoint, Note, VerifierKey, Vouch};
use muniment_evidence::tree::{self, Frontier, MemoryRows};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

const LOG_KEY: &str =
    "example.com/log/testdata+33d7b496+AeHTu4Q3hEIMHNqc6fASMsq3rKNx280NI+oO5xCFkkSx";
const LOG_SEED: &str = "AeymY/SZAX0jZcJ8enZ5FY1Dz+wTML2yWSkK+9DSF3eg";

fn directory(test: &str) -> Option<PathBuf> {
    let directory = std::env::var_os("EVIDENCE_VECTORS_DIR").map(PathBuf::from);
    if directory.is_none() {
        // Straight to the terminal: the test harness would swallow eprintln.
        let line = format!("SKIPPED {test}: EVIDENCE_VECTORS_DIR is not set\n");
        let _ = std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes());
    }
    directory
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).expect("the vectors are readable") {
        let path = entry.expect("the vectors are readable").path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// transparency-dev refuses to compare with an empty tree at all. Here the empty tree is
/// a prefix of every tree, as C2SP tlog-witness has it, and its root is checked.
const DECIDED_OTHERWISE: &str = "additional/size1-is-zero-and-size2-is-not-zero.json";

/// Roots may be words ("don't care") where only their equality counts: a hash of the
/// words stands for them, since our types cannot express a root of another length.
fn root(value: &Value) -> Option<Digest> {
    let bytes = BASE64.decode(value.as_str()?).ok()?;
    digest(value).or_else(|| Some(Digest::of(&[&bytes])))
}

/// `None` for what is not 32 bytes.
fn digest(value: &Value) -> Option<Digest> {
    let bytes = BASE64.decode(value.as_str()?).ok()?;
    Some(Digest(bytes.try_into().ok()?))
}

fn proof(value: &Value) -> Option<Vec<Digest>> {
    match value {
        Value::Null => Some(Vec::new()),
        value => value.as_array()?.iter().map(digest).collect(),
    }
}

fn inclusion(case: &Value) -> Option<bool> {
    Some(tree::verify_inclusion(
        &digest(&case["leafHash"])?,
        RecordIndex::new(case["leafIdx"].as_u64()?),
        TreeSize::new(case["treeSize"].as_u64()?),
        &proof(&case["proof"])?,
        &root(&case["root"])?,
    ))
}

fn consistency(case: &Value) -> Option<bool> {
    Some(tree::verify_consistency(
        TreeSize::new(case["size1"].as_u64()?),
        TreeSize::new(case["size2"].as_u64()?),
        &proof(&case["proof"])?,
        &root(&case["root1"])?,
        &root(&case["root2"])?,
    ))
}

#[test]
fn rfc_6962_proofs_are_verified_as_transparency_dev_verifies_them() {
    let Some(directory) = directory("RFC 6962 proofs") else {
        return;
    };
    let mut verified = 0;
    let mut differing = Vec::new();
    type Verify = fn(&Value) -> Option<bool>;
    let kinds: [(&str, Verify); 2] = [("inclusion", inclusion), ("consistency", consistency)];
    for (kind, verify) in kinds {
        for path in files(&directory.join("merkle/testdata").join(kind)) {
            if path.extension().is_none_or(|e| e != "json") {
                continue;
            }
            let case = json(&path);
            let accepted = verify(&case).unwrap_or(false);
            let refused = case["wantErr"].as_bool().unwrap_or(false);
            let expected = !refused || path.ends_with(DECIDED_OTHERWISE);
            verified += 1;
            if accepted != expected {
                differing.push(path);
            }
        }
    }
    // The subtree cases beside them are of proofs that this ledger does not make.
    assert!(verified >= 196, "only {verified} cases found");
    assert!(differing.is_empty(), "{differing:#?}");
}

fn leaves(directory: &Path) -> Vec<Vec<u8>> {
    let bundle = fs::read(directory.join("tessera/testdata/log/tile/entries/000.p/15")).unwrap();
    let mut rest = &bundle[..];
    let mut leaves = Vec::new();
    while let Some((length, after)) = rest.split_first_chunk::<2>() {
        let (leaf, after) = after.split_at(u16::from_be_bytes(*length).into());
        leaves.push(leaf.to_vec());
        rest = after;
    }
    leaves
}

/// Every checkpoint and tile of the log is rebuilt from its entries and key, byte by byte.
#[test]
fn the_tessera_log_is_rebuilt_byte_by_byte() {
    let Some(directory) = directory("tessera log") else {
        return;
    };
    let log = directory.join("tessera/testdata/log");
    let leaves = leaves(&directory);
    assert_eq!(leaves.len(), 15);
    let roots = &json(&directory.join("evidence_vectors.json"))["roots"];
    let key = VerifierKey::parse(LOG_KEY).unwrap();
    let seed = BASE64.decode(LOG_SEED).unwrap();
    let signer = SecretKey::from_seed(seed[1..].try_into().unwrap());
    let mut frontier = Frontier::new();
    let mut tile = Vec::new();
    for size in 0..=leaves.len() {
        let root = frontier.root();
        assert_eq!(roots[size.to_string()], Value::from(root.to_hex()));
        let stored = fs::read(log.join(format!("checkpoint.{size}"))).unwrap();
        let note = Note::parse(&stored).unwrap();
        assert_eq!(note.vouch(&key), Vouch::Signed);
        let checkpoint = Checkpoint::parse(&note.text).unwrap();
        assert_eq!(
            (checkpoint.size.get(), checkpoint.root),
            (size as u64, root)
        );
        assert_eq!(checkpoint.sign(&signer).as_bytes(), stored);
        if size > 0 {
            let stored = fs::read(log.join(format!("tile/0/000.p/{size}"))).unwrap();
            assert_eq!(tile, stored);
        }
        if let Some(leaf) = leaves.get(size) {
            let hash = tree::leaf_hash(leaf);
            frontier.append(hash);
            tile.extend(hash.0);
        }
    }
}

#[test]
fn the_cosigned_note_and_the_tlog_proof_hold() {
    let Some(directory) = directory("cosigned note and tlog-proof") else {
        return;
    };
    let vectors = json(&directory.join("evidence_vectors.json"));
    let text = |name: &str| vectors[name].as_str().unwrap().to_owned();
    let log = VerifierKey::parse(LOG_KEY).unwrap();
    let witness = VerifierKey::parse(&text("wit1_cosig_vkey")).unwrap();

    let tlog_proof = text("tlog_proof_index5_size15");
    let (head, note) = tlog_proof.split_once("\n\n").unwrap();
    assert_eq!(note, text("checkpoint_cosigned"));
    let note = Note::parse(note.as_bytes()).unwrap();
    assert_eq!(note.vouch(&log), Vouch::Signed);
    let time_s = 1_700_000_000;
    assert_eq!(note.vouch(&witness), Vouch::Cosigned { time_s });

    let checkpoint = Checkpoint::parse(&note.text).unwrap();
    let leaf = tree::leaf_hash(text("leaf5_data").as_bytes());
    assert_eq!(leaf.to_hex(), text("leaf5_hash"));
    let path: Vec<Digest> = head
        .lines()
        .skip(2)
        .map(|line| digest(&Value::from(line)).unwrap())
        .collect();
    let Checkpoint { size, root, .. } = checkpoint;
    assert!(tree::verify_inclusion(
        &leaf,
        RecordIndex::new(5),
        size,
        &path,
        &root
    ));
    // And we would have made the same proof.
    let (mut rows, mut frontier) = (MemoryRows::new(), Frontier::new());
    for leaf in leaves(&directory) {
        rows.extend(frontier.append(tree::leaf_hash(&leaf)));
    }
    let Ok(ours) = tree::inclusion_proof(&rows, RecordIndex::new(5), TreeSize::new(15));
    assert_eq!(ours, path);
}
