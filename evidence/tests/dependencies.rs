//! An auditor must be able to read all that this crate rests upon; so it rests on little.

use std::collections::BTreeSet;

#[test]
fn the_library_depends_on_three_crates_and_no_more() {
    let manifest = include_str!("../Cargo.toml");
    let mut section = "";
    let mut found = BTreeSet::new();
    for line in manifest.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']');
            // Neither build scripts nor dependencies of one platform alone.
            // `lints` brings none in.
            let known = [
                "package",
                "[bin",
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
        BTreeSet::from(["base64", "ed25519-dalek", "sha2"]),
        "a new dependency of the evidence crate needs a decision, not a commit"
    );
}
