//! An auditor must be able to read all that this crate rests upon, and the crate itself; so
//! it rests on little and stays small.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// More cannot be read in an afternoon or two. Unit tests in a file of code count, since they
/// are read too.
const LINES_MAX: usize = 14_400;

#[test]
fn the_library_depends_on_six_crates_and_no_more() {
    let manifest = include_str!("../Cargo.toml");
    let mut section = "";
    let mut found = BTreeSet::new();
    for line in manifest.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']');
            // Neither build scripts, nor dependencies of one platform alone, nor a program.
            // `lints` brings none in.
            let known = [
                "package",
                "[bench",
                "dependencies",
                "dev-dependencies",
                "lints",
            ];
            assert!(known.contains(&section), "section {section}");
        } else if section == "dependencies"
            && let Some((name, _)) = line.split_once('=')
        {
            found.insert(name.trim());
        }
    }
    assert_eq!(
        found,
        BTreeSet::from([
            "base64",
            "ed25519-dalek",
            "ml-dsa",
            "sha2",
            "unicode-normalization",
            "unicode-properties"
        ]),
        "a new dependency of the evidence crate needs a decision, not a commit"
    );
}

#[test]
fn the_library_can_be_read_whole() {
    let lines = lines_below(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    assert!(
        lines <= LINES_MAX,
        "{lines} lines: what is not a format, a proof or the verifier belongs elsewhere"
    );
}

/// The same evidence must be verified alike everywhere, so the library asks nobody but its
/// caller: no files, no network, no time, no chance.
#[test]
fn the_library_reads_and_writes_nothing() {
    let mut wrong = Vec::new();
    each_source(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
        &mut |path, text| {
            for word in [
                "std::fs",
                "std::net",
                "std::time",
                "std::env",
                "std::process",
                "println!",
            ] {
                if text
                    .lines()
                    .any(|line| !line.trim_start().starts_with("//") && line.contains(word))
                {
                    wrong.push(format!("{} names {word}", path.display()));
                }
            }
        },
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn lines_below(directory: &Path) -> usize {
    let mut lines = 0;
    each_source(directory, &mut |_, text| lines += text.lines().count());
    lines
}

/// What is shipped: a file of tests is not.
fn each_source(directory: &Path, look: &mut impl FnMut(&Path, &str)) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            each_source(&path, look);
        } else if !path.to_string_lossy().ends_with("_tests.rs") {
            look(&path, &fs::read_to_string(&path).unwrap());
        }
    }
}
