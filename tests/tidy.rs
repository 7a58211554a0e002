//! The borders and habits of the house, checked by reading the sources.
//!
//! Promises that each line that breaks a rule is named, all at once. Leaves what the
//! compiler and clippy see to them. Knows no Rust grammar: it strips comments and looks
//! for words, so that a rule can be read in a minute.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

/// What lies in the house; other folders (target, generated code) are not ours.
const ROOMS: [&str; 12] = [
    "src",
    "tests",
    "benches",
    "evidence/src",
    "evidence/tests",
    "fuzz/src",
    "fuzz/targets",
    "evidence/benches",
    "proto/src/lib.rs",
    "proto/tests",
    "client/src",
    "client/tests",
];

/// Past this, a second idea has moved in.
const LINES_MAX: usize = 600;

/// Names that say nothing about what is inside.
const EMPTY_NAMES: [&str; 8] = [
    "util", "utils", "common", "manager", "helper", "helpers", "misc", "stuff",
];

/// A border: who may name these words. Folders end in a slash.
struct Border {
    what: &'static str,
    words: &'static [&'static str],
    rooms: &'static [&'static str],
}

const BORDERS: [Border; 4] = [
    Border {
        what: "RocksDB is named in src/store/ only",
        words: &["rocksdb::"],
        rooms: &["src/store/"],
    },
    Border {
        what: "openraft is named in src/raft/ only",
        words: &["openraft::"],
        rooms: &["src/raft/"],
    },
    Border {
        what: "tonic is named in client/, proto/, src/rpc/, src/node.rs and the binary only",
        words: &[
            "tonic::",
            "tonic_prost::",
            "tonic_health::",
            "tonic_reflection::",
            "tonic_types::",
        ],
        rooms: &[
            "client/",
            "proto/",
            "src/rpc/",
            "src/node.rs",
            "src/bin/",
            "tests/",
            "benches/",
        ],
    },
    Border {
        what: "OS time and randomness are read in src/clock.rs only (timers are tokio's)",
        words: &[
            "SystemTime",
            "std::time::Instant",
            "getrandom::",
            "rand::",
            "OsRng",
        ],
        // Tests that run real processes measure them with the machine's clock.
        rooms: &[
            "src/clock.rs",
            "tests/cluster/",
            "benches/",
            "evidence/benches/",
        ],
    },
];

struct Source {
    path: String,
    text: String,
}

impl Source {
    /// Lines with their numbers, without comments.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().zip(1..).map(|(line, number)| {
            let code = line.split("//").next().unwrap_or_default();
            (number, code)
        })
    }

    /// This file spells out what it looks for.
    fn is_this(&self) -> bool {
        self.path == "tests/tidy.rs"
    }
}

#[test]
fn the_borders_are_kept() {
    let mut broken = String::new();
    for source in sources().iter().filter(|source| !source.is_this()) {
        for border in &BORDERS {
            if border
                .rooms
                .iter()
                .any(|room| source.path.starts_with(room))
            {
                continue;
            }
            for (number, code) in source.code() {
                if border.words.iter().any(|word| names(code, word)) || imports(code, border) {
                    note(&mut broken, source, number, border.what);
                }
            }
        }
    }
    tell(&broken);
}

/// Apply decides on records alone: were a body read there, replicas could differ, and one
/// that lacks it would stand still.
#[test]
fn i4_the_ledger_never_reaches_for_a_body() {
    let mut broken = String::new();
    let ledger = |source: &&Source| source.path.starts_with("src/ledger/");
    for source in sources().iter().filter(ledger) {
        for (number, code) in source.code() {
            let ways = ["crate::bodies", "store::bodies", "BodyStore"];
            if ways.iter().any(|way| names(code, way)) {
                note(&mut broken, source, number, "apply never reads a body (I4)");
            }
        }
    }
    tell(&broken);
}

#[test]
fn every_file_says_what_it_is_for_and_stays_short() {
    let mut broken = String::new();
    for source in &sources() {
        if !source.text.starts_with("//! ") {
            note(
                &mut broken,
                source,
                1,
                "a file opens with //! and what it is for",
            );
        }
        let lines = source.text.lines().count();
        if lines > LINES_MAX {
            let what = format!("{lines} lines, more than {LINES_MAX}: which second idea moved in?");
            note(&mut broken, source, lines, &what);
        }
    }
    tell(&broken);
}

#[test]
fn names_say_what_is_inside() {
    let mut broken = String::new();
    for source in &sources() {
        let path = source.path.trim_end_matches(".rs");
        if path.split('/').any(is_empty_name) {
            note(
                &mut broken,
                source,
                1,
                "the path has a name that says nothing",
            );
        }
        for (number, code) in source.code() {
            let mut words = code.split_whitespace();
            while let Some(word) = words.next() {
                let declares = matches!(word, "mod" | "fn" | "struct" | "enum" | "trait" | "type");
                if declares && words.next().is_some_and(|name| is_empty_name(ident(name))) {
                    note(&mut broken, source, number, "a name that says nothing");
                }
            }
        }
    }
    tell(&broken);
}

/// What is not done stands in an issue, not in the code; a test that does not run is none.
#[test]
fn nothing_is_left_for_later() {
    let mut broken = String::new();
    for source in sources().iter().filter(|source| !source.is_this()) {
        for (number, line) in source.text.lines().enumerate() {
            let later = ["TODO", "FIXME", "XXX", "#[ignore"];
            if later.iter().any(|word| line.contains(word)) {
                note(&mut broken, source, number + 1, "left for later");
            }
        }
    }
    tell(&broken);
}

/// The rules above are worth what they find.
#[test]
fn the_rules_find_what_they_look_for() {
    assert!(names("let db = rocksdb::DB::open()", "rocksdb::"));
    assert!(names("use ::rand::Rng;", "rand::"));
    assert!(!names("operand::take()", "rand::"));
    assert!(!names("#[cfg(feature = \"rocksdb\")]", "rocksdb::"));
    assert!(imports("use std::time::{Duration, Instant};", &BORDERS[3]));
    assert!(!imports("use std::time::Duration;", &BORDERS[3]));
    assert!(!imports(
        "use tokio::time::{Duration, Instant};",
        &BORDERS[3]
    ));
    assert!(imports("use openraft as raft;", &BORDERS[1]));
    for name in ["utils", "PeerManager", "test_helper", "common"] {
        assert!(is_empty_name(name), "{name}");
    }
    for name in ["utility", "commonwealth", "uncommon", "managed"] {
        assert!(!is_empty_name(name), "{name}");
    }
}

/// Whether the code has the word, and not as the end of a longer one.
fn names(code: &str, word: &str) -> bool {
    code.match_indices(word).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || c == '_')
    })
}

/// Imports that name a thing without the `::` behind it.
fn imports(code: &str, border: &Border) -> bool {
    let Some(rest) = code
        .trim_start()
        .trim_start_matches("pub ")
        .strip_prefix("use ")
    else {
        return false;
    };
    let grouped_instant = rest.starts_with("std::time::{")
        && names(rest, "Instant")
        && border.words.contains(&"std::time::Instant");
    let whole = border.words.iter().any(|word| {
        word.strip_suffix("::")
            .is_some_and(|name| ident(rest.trim_start_matches("::")) == name)
    });
    grouped_instant || whole
}

/// The identifier that a text begins with.
fn ident(text: &str) -> &str {
    let end = text
        .find(|c: char| !c.is_alphanumeric() && c != '_')
        .unwrap_or(text.len());
    &text[..end]
}

/// Whether one of the words of `snake_case` or `CamelCase` says nothing.
fn is_empty_name(name: &str) -> bool {
    let mut words = String::new();
    for c in name.chars() {
        if c.is_uppercase() {
            words.push('_');
        }
        words.extend(c.to_lowercase());
    }
    words.split('_').any(|word| EMPTY_NAMES.contains(&word))
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    for room in ROOMS {
        collect(root, &root.join(room), &mut found);
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(found.len() > 20, "the sources were not found");
    found
}

fn collect(root: &Path, path: &Path, found: &mut Vec<Source>) {
    if path.is_dir() {
        for entry in fs::read_dir(path).expect("a folder of the checkout is readable") {
            collect(root, &entry.expect("and so are its entries").path(), found);
        }
    } else if path.extension().is_some_and(|extension| extension == "rs") {
        let below = path
            .strip_prefix(root)
            .expect("it was found below the root");
        found.push(Source {
            path: below.to_string_lossy().into_owned(),
            text: fs::read_to_string(path).expect("sources are UTF-8"),
        });
    }
}

fn note(broken: &mut String, source: &Source, number: usize, what: &str) {
    let _ = writeln!(broken, "{}:{number}: {what}", source.path);
}

fn tell(broken: &str) {
    assert!(broken.is_empty(), "\n{broken}");
}
