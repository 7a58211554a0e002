//! The program over every frozen file: it finds what `MANIFEST.tsv` says, and nothing else.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The files are the formats' and lie with them.
fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../evidence/testdata/v2")
}

/// The program itself is run, as an auditor would.
#[test]
fn the_verifier_finds_in_each_file_what_the_manifest_says() {
    let manifest = fs::read_to_string(directory().join("MANIFEST.tsv")).unwrap();
    let mut wrong = Vec::new();
    for line in manifest.lines().skip(1) {
        let [_, arguments, code, class, index, why] = line.split('\t').collect::<Vec<_>>()[..]
        else {
            panic!("six columns: {line}");
        };
        assert!(!why.is_empty(), "{line}");
        let output = Command::new(env!("CARGO_BIN_EXE_muniment-verify"))
            .current_dir(directory())
            .args(arguments.split(' '))
            .arg("--json")
            .output()
            .unwrap();
        let json: serde_json::Value =
            serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{arguments}: {e}"));
        // A question ends in an answer beside its report; only the report is compared here.
        let json = json.get("report").unwrap_or(&json);
        let text = |value: &serde_json::Value| match value {
            serde_json::Value::Null => "-".to_owned(),
            serde_json::Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let classes = json["classes"].as_array().unwrap();
        let column = |name: &str| match classes.len() {
            // UNPINNED is no finding, and stands as the class of the whole.
            0 if name == "class" => text(&json["class"]),
            0 => "-".to_owned(),
            _ => classes
                .iter()
                .map(|row| text(&row[name]))
                .collect::<Vec<_>>()
                .join(","),
        };
        let found = (
            output.status.code().unwrap().to_string(),
            column("class"),
            column("index"),
        );
        if (found.0.as_str(), found.1.as_str(), found.2.as_str()) != (code, class, index) {
            wrong.push(format!("{line}\n  found {found:?}: {}", json["findings"]));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
