//! The program over every frozen file: it finds what `MANIFEST.tsv` says, and nothing else.

mod listed;

use std::path::Path;

/// The files are the formats' and lie with them.
#[test]
fn the_verifier_finds_in_each_file_what_the_manifest_says() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../evidence/testdata/v2");
    let (lines, wrong) = listed::differing(&directory);
    assert!(lines > 0 && wrong.is_empty(), "{}", wrong.join("\n"));
}
