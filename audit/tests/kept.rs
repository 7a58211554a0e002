//! Formats are kept: the verifier of today over the frozen files as they were at each commit
//! that `evidence/testdata/KEPT` names.
//!
//! Promises that evidence which was given out then has the verdict that it had then. A tree
//! without its history (a source archive, a shallow clone) says so, and has the files of the
//! present alone looked at. Leaves these to `manifest`, where there is a history.

mod listed;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const FILES: &str = "evidence/testdata/v2";

fn root() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    root.canonicalize().unwrap()
}

/// A line of the list.
struct Kept {
    commit: String,
    line: String,
}

fn kept(list: &str) -> Vec<Kept> {
    let lines = list.lines().filter(|line| !line.starts_with('#'));
    let read = |line: &str| {
        let [commit, date, what] = line.split('\t').collect::<Vec<_>>()[..] else {
            panic!("commit, date, what came: {line}");
        };
        let hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
        assert!(commit.len() == 40 && commit.chars().all(hex), "{line}");
        assert!(date.len() == 10 && !what.is_empty(), "{line}");
        Kept {
            commit: commit.to_owned(),
            line: line.to_owned(),
        }
    };
    lines.map(read).collect()
}

/// What git says of this tree; `None` where it cannot be asked.
fn git(arguments: &[&str]) -> Option<Output> {
    let asked = Command::new("git")
        .current_dir(root())
        .args(arguments)
        .output();
    asked.ok()
}

fn holds(arguments: &[&str]) -> bool {
    git(arguments).is_some_and(|output| output.status.success())
}

/// Why there is no history to read, if there is none.
fn without_history() -> Option<&'static str> {
    let said = |arguments: &[&str]| {
        let output = git(arguments).filter(|output| output.status.success())?;
        Some(String::from_utf8(output.stdout).unwrap().trim().to_owned())
    };
    let Some(top) = said(&["rev-parse", "--show-toplevel"]) else {
        return Some("no git repository");
    };
    if Path::new(&top).canonicalize().ok() != Some(root()) {
        return Some("a copy within another repository");
    }
    let shallow = said(&["rev-parse", "--is-shallow-repository"]);
    (shallow.as_deref() != Some("false")).then_some("a shallow clone")
}

/// The frozen files as they were, in a directory of their own.
struct Then(PathBuf);

impl Then {
    fn at(commit: &str) -> Then {
        let name = format!("muniment-kept-{commit}-{}", std::process::id());
        let then = Then(std::env::temp_dir().join(name));
        fs::create_dir_all(&then.0).unwrap();
        let archive = then.0.join("files.tar");
        let path = archive.to_str().unwrap();
        let archived = git(&["archive", "--format=tar", "-o", path, commit, FILES]).unwrap();
        let said = String::from_utf8_lossy(&archived.stderr);
        assert!(archived.status.success(), "{commit}: {said}");
        let mut unpack = Command::new("tar");
        unpack.arg("-xf").arg(&archive).current_dir(&then.0);
        let unpacked = unpack.status().unwrap();
        assert!(unpacked.success(), "{commit} is not unpacked");
        then
    }

    fn files(&self) -> PathBuf {
        self.0.join(FILES)
    }
}

impl Drop for Then {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Who was given evidence may show it after years, and must be believed no less than then.
#[test]
fn what_was_given_out_has_the_verdict_that_it_had() {
    let list = fs::read_to_string(root().join("evidence/testdata/KEPT")).unwrap();
    let kept = kept(&list);
    if let Some(why) = without_history() {
        // Straight to the terminal: the test harness would swallow eprintln.
        let line = format!("NOT LOOKED AT: {} kept commits, {why}\n", kept.len());
        let _ = std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes());
        let (lines, wrong) = listed::differing(&root().join(FILES));
        assert!(lines > 0 && wrong.is_empty(), "{}", wrong.join("\n"));
        return;
    }
    let mut broken = Vec::new();
    for Kept { commit, line } in &kept {
        let ours = holds(&["merge-base", "--is-ancestor", commit, "HEAD"]);
        assert!(ours, "not in the history of this tree: {line}");
        let then = Then::at(commit);
        let (lines, wrong) = listed::differing(&then.files());
        assert!(lines > 0, "no line of the manifest at {line}");
        if !wrong.is_empty() {
            broken.push(format!("as it was at {line}:\n{}", wrong.join("\n")));
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n\n"));
}

/// A list that cannot be read out of the history would be found out too late: nothing before
/// the first line of it would try.
#[test]
fn files_are_read_out_of_the_history() {
    let Some(why) = without_history() else {
        let then = Then::at("HEAD");
        let manifest = fs::read_to_string(then.files().join("MANIFEST.tsv")).unwrap();
        let named = manifest
            .lines()
            .skip(1)
            .filter_map(|l| l.split('\t').next());
        let there = named.filter(|name| then.files().join(name).exists());
        assert!(there.count() > 100, "the frozen files of HEAD");
        return;
    };
    let line = format!("NOT READ: {why}\n");
    let _ = std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes());
}

#[test]
fn a_line_of_the_list_names_one_commit_in_full() {
    let id = "2c1f".repeat(10);
    let read = kept(&format!("# about\n{id}\t2026-12-01\twhat came\n"));
    assert_eq!(read.len(), 1);
    assert_eq!(read[0].commit, id);
}
