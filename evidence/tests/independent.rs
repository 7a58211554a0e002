//! A second verifier, in another language, must agree with this one on every frozen file.
//!
//! `python/verify.py` was written from FORMAT.md alone: where it disagrees, the document or
//! one of the two is wrong. Where Python or its package `cryptography` is not there, this
//! says so and passes, unless `MUNIMENT_PYTHON_READER=required`. Rows whose policy names ML-DSA keys
//! are left out, and said to be, where that package is too old for them.

use std::path::{Path, PathBuf};
use std::process::Command;

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn python(program: &str) -> Command {
    let mut python = Command::new(program);
    // Leaves no compiled files beside the sources.
    python.arg("-B");
    python
}

/// The first Python with what the verifier needs; the packages of a distribution serve
/// the second. Or why there is none.
fn find_python() -> Result<&'static str, String> {
    let mut why = String::new();
    for program in ["python3", "/usr/bin/python3"] {
        match python(program).args(["-c", "import cryptography"]).output() {
            Ok(output) if output.status.success() => return Ok(program),
            Ok(output) => why += &String::from_utf8_lossy(&output.stderr),
            Err(e) => why += &format!("{program} does not start: {e}"),
        }
    }
    Err(why)
}

fn word(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::Null => "-".to_owned(),
        serde_json::Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[test]
fn a_verifier_written_from_the_document_agrees_on_every_frozen_file() {
    let program = match find_python() {
        Ok(program) => program,
        Err(why) => {
            let required = std::env::var("MUNIMENT_PYTHON_READER").is_ok_and(|v| v == "required");
            assert!(!required, "the second verifier is required here: {why}");
            println!("SKIPPED the second verifier, which needs python3 and cryptography: {why}");
            return;
        }
    };
    let manifest_path = directory().join("testdata/v2/MANIFEST.tsv");
    let output = python(program)
        .arg(directory().join("tests/python/verify.py"))
        .arg("manifest")
        .arg(&manifest_path)
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let found = String::from_utf8(output.stdout).unwrap();
    let manifest = std::fs::read_to_string(manifest_path).unwrap();
    let expected: Vec<&str> = manifest.lines().skip(1).collect();
    assert_eq!(found.lines().count(), expected.len(), "{errors}");
    let mut wrong = Vec::new();
    for (line, found) in expected.into_iter().zip(found.lines()) {
        let json: serde_json::Value = serde_json::from_str(found).unwrap();
        let columns: Vec<&str> = line.split('\t').collect();
        if let Some(why) = json["unjudged"].as_str() {
            println!("SKIPPED {}: {why}", columns[1]);
            continue;
        }
        // The fate of a promise stands in the place of classes, where there are none to tell.
        let fate = json.get("fate").map(std::slice::from_ref);
        let classes = fate.unwrap_or_else(|| json["classes"].as_array().unwrap());
        let column = |at: usize| match classes.len() {
            0 => "-".to_owned(),
            _ => classes
                .iter()
                .map(|row| word(&row[at]))
                .collect::<Vec<_>>()
                .join(","),
        };
        let got = [word(&json["exit_code"]), column(0), column(1)];
        if got[..] != columns[2..5] {
            wrong.push(format!("{line}\n  the second verifier found {found}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
