//! A directory of frozen files, and what its `MANIFEST.tsv` says that the program finds in each.

use std::fs;
use std::path::Path;
use std::process::Command;

/// Runs the program itself over every line, as an auditor would: how many lines there are, and
/// those where it finds something else.
pub fn differing(directory: &Path) -> (usize, Vec<String>) {
    let manifest = fs::read_to_string(directory.join("MANIFEST.tsv")).unwrap();
    let (mut lines, mut wrong) = (0, Vec::new());
    for line in manifest.lines().skip(1) {
        let [_, arguments, code, class, index, why] = line.split('\t').collect::<Vec<_>>()[..]
        else {
            panic!("six columns: {line}");
        };
        assert!(!why.is_empty(), "{line}");
        lines += 1;
        let output = Command::new(env!("CARGO_BIN_EXE_muniment-verify"))
            .current_dir(directory)
            .args(arguments.split(' '))
            .arg("--json")
            .output()
            .unwrap();
        let json: serde_json::Value =
            serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{arguments}: {e}"));
        // A question ends in an answer beside its report: the fate of a promise, if there is one.
        let fate = answered(&json);
        let json = json.get("report").unwrap_or(&json);
        let text = |value: &serde_json::Value| match value {
            serde_json::Value::Null => "-".to_owned(),
            serde_json::Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let classes = json["classes"].as_array().unwrap();
        let column = |name: &str| match (classes.len(), &fate) {
            (0, Some(fate)) => text(&fate[name]),
            // UNPINNED is no finding, and stands as the class of the whole.
            (0, None) if name == "class" => text(&json["class"]),
            (0, None) => "-".to_owned(),
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
    (lines, wrong)
}

/// What became of a promise, or why that is not told; `None` where nothing of it was asked.
fn answered(json: &serde_json::Value) -> Option<serde_json::Value> {
    let (answer, ending) = (json.get("answer")?, json.get("ending")?);
    let told = [&answer["fate"], ending];
    let class = told
        .into_iter()
        .find(|name| !name.is_null() && *name != "ANSWERED")?;
    Some(serde_json::json!({ "class": class, "index": answer["index"] }))
}
