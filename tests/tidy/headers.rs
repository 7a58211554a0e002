//! The fifth law: each file says what it is for, and no name says nothing.
//!
//! Leaves whether what is said can be understood to the reader.

use super::reading::{Broken, ident, sources, words};

/// Names that say nothing about what is inside.
const EMPTY_NAMES: [&str; 8] = [
    "util", "utils", "common", "manager", "helper", "helpers", "misc", "stuff",
];

#[test]
fn every_file_says_what_it_is_for() {
    let mut broken = Broken::default();
    for source in &sources() {
        if !source.text.starts_with("//! ") {
            broken.note(source, 1, "a file opens with //! and what it is for");
        }
    }
    broken.tell();
}

#[test]
fn names_say_what_is_inside() {
    let mut broken = Broken::default();
    for source in &sources() {
        let path = source.path.trim_end_matches(".rs");
        if path.split('/').any(is_empty_name) {
            broken.note(source, 1, "the path has a name that says nothing");
        }
        for (line, code) in source.lines() {
            if declared(code).any(is_empty_name) {
                broken.note(source, line, "a name that says nothing");
            }
        }
    }
    broken.tell();
}

/// What is not done is told where work is planned, not in the code; a test that does not
/// run is none.
#[test]
fn nothing_is_left_for_later() {
    let mut broken = Broken::default();
    for source in sources().iter().filter(|source| !source.is_a_law()) {
        for (line, text) in (1..).zip(source.text.lines()) {
            let later = ["TODO", "FIXME", "XXX", "#[ignore"];
            if later.iter().any(|word| text.contains(word)) {
                broken.note(source, line, "left for later");
            }
        }
    }
    broken.tell();
}

/// The names that a line declares.
fn declared(code: &str) -> impl Iterator<Item = &str> {
    let pairs = code.split_whitespace().zip(code.split_whitespace().skip(1));
    pairs.filter_map(|(word, name)| {
        let declares = matches!(word, "mod" | "fn" | "struct" | "enum" | "trait" | "type");
        declares.then(|| ident(name))
    })
}

/// Whether one of the words of `snake_case` or `CamelCase` says nothing.
fn is_empty_name(name: &str) -> bool {
    words(name)
        .iter()
        .any(|word| EMPTY_NAMES.contains(&word.as_str()))
}

#[test]
fn names_that_say_nothing_are_found() {
    for name in ["utils", "PeerManager", "test_helper", "common"] {
        assert!(is_empty_name(name), "{name}");
    }
    for name in ["utility", "commonwealth", "uncommon", "managed"] {
        assert!(!is_empty_name(name), "{name}");
    }
    let names: Vec<_> = declared("pub(crate) mod util; fn f<T>() {}").collect();
    assert_eq!(names, ["util", "f"]);
}
