//! Frozen bytes: what format v2 wrote once, it writes and reads for ever.
//!
//! Every file of `testdata/v2` is made again in memory and compared. New files are added thus:
//! describe them in `frozen/`, run this test once with `MUNIMENT_WRITE_VECTORS=1`, which
//! writes those that do not exist yet, and add a line to the manifest.

mod frozen;
mod ledger;
mod planning;
mod promising;

use muniment_evidence::policy::Policy;
use muniment_evidence::proof::TlogProof;
use muniment_evidence::tree;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const HINT: &str = "frozen files are added to, never edited: if the format itself must \
                    change, it needs a version of its own; a new file is written with \
                    MUNIMENT_WRITE_VECTORS=1";

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/v2")
}

#[test]
fn the_frozen_files_are_still_what_this_format_writes() {
    let write = std::env::var("MUNIMENT_WRITE_VECTORS").is_ok_and(|value| value == "1");
    let mut named = BTreeSet::from(["MANIFEST.tsv".to_owned()]);
    for (name, bytes) in frozen::all() {
        let path = directory().join(&name);
        if write && !path.exists() {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, &bytes).unwrap();
        }
        let Ok(frozen) = fs::read(&path) else {
            panic!("{name} is missing; {HINT}");
        };
        let differs = frozen.iter().zip(&bytes).position(|(a, b)| a != b);
        assert!(
            frozen == bytes,
            "{name} differs from byte {:?} on, lengths {} and {}; {HINT}",
            differs,
            frozen.len(),
            bytes.len()
        );
        assert!(named.insert(name.clone()), "{name} is made twice");
    }
    for below in ["", "negative"] {
        for entry in fs::read_dir(directory().join(below)).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_file() {
                let name = Path::new(below).join(entry.file_name());
                let name = name.to_str().unwrap();
                assert!(named.contains(name), "nothing makes {name}; {HINT}");
            }
        }
    }
}

/// A file that no line of the manifest names would be verified by nobody. The program is
/// run over them in `audit/tests/manifest.rs`.
#[test]
fn the_manifest_has_a_line_for_every_file() {
    let manifest = fs::read_to_string(directory().join("MANIFEST.tsv")).unwrap();
    let lines = manifest.lines().skip(1);
    let used: BTreeSet<&str> = lines.filter_map(|line| line.split('\t').next()).collect();
    for (name, _) in frozen::all() {
        if name.ends_with(".bin") && name != "genesis.bin" {
            assert!(
                used.contains(&name[..]),
                "no line of the manifest is about {name}"
            );
        }
    }
}

/// The page that says which file answers which claim is worth nothing where a file is gone.
#[test]
fn the_page_of_claims_names_files_that_are_there() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference/soundness.md");
    let page = fs::read_to_string(path).unwrap();
    let rows: Vec<&str> = page.lines().filter(|line| line.starts_with("| ")).collect();
    let manifest = fs::read_to_string(directory().join("MANIFEST.tsv")).unwrap();
    let judged: BTreeSet<&str> = manifest
        .lines()
        .skip(1)
        .flat_map(|line| line.split('\t').nth(1).unwrap().split(' '))
        .map(|name| {
            name.trim_start_matches("negative/")
                .trim_end_matches(".bin")
        })
        .collect();
    let mut named = 0;
    for row in rows {
        let files = row.trim_end_matches('|').rsplit('|').next().unwrap();
        for name in files.split('`').skip(1).step_by(2) {
            assert!(
                judged.contains(name),
                "{name}, which a claim names, is in no line"
            );
            named += 1;
        }
    }
    assert!(named > 80, "the page was read");
}

/// A tlog-proof has no command of its own. Its extra data is the record itself.
#[test]
fn the_frozen_tlog_proof_holds_under_the_frozen_policy() {
    let read = |name: &str| fs::read(directory().join(name)).unwrap();
    let proof = TlogProof::decode(&read("proof.tlog-proof")).unwrap();
    let policy = Policy::parse(std::str::from_utf8(&read("policy")).unwrap()).unwrap();
    let record = proof.extra.as_deref().unwrap();
    let proven = proof.verify(&tree::leaf_hash(record), &policy).unwrap();
    assert_eq!((proof.index.get(), proven.checkpoint.size.get()), (4, 11));
    assert_eq!(proof.encode().as_bytes(), read("proof.tlog-proof"));
    assert!(proof.verify(&tree::leaf_hash(b"another"), &policy).is_err());
}

/// A document that readers build on must not drift from the code.
#[test]
fn the_worked_example_of_the_document_is_what_the_code_makes() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("FORMAT.md");
    let document = fs::read_to_string(path).unwrap();
    let example = frozen::worked_example();
    assert!(
        document.contains(&example),
        "FORMAT.md should have this worked example:\n{example}"
    );
}
