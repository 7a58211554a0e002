//! The seventh law: a test file is known by its name, and a long file says where it is tried.
//!
//! A file that only tests have is called `<what>_tests.rs` or lies in a folder `tests/`.
//! A shipped file of 250 lines or more has its tests at its end, or has a line of comment
//! with the paths of those who try it:
//!
//! ```text
//! //! Tests: `src/ledger/apply_tests.rs`, `tests/cluster/divergence.rs`.
//! ```

use super::reading::{Broken, Source, exists, ident, places, sources};

/// From so many lines on, a file says where it is tried.
const LINES_WITHOUT_TESTS_MAX: usize = 250;

#[test]
fn test_files_are_known_by_their_names() {
    let mut broken = Broken::default();
    for source in sources().iter().filter(|source| source.is_shipped()) {
        for (line, module) in test_modules(source) {
            if module != "tests" && !module.ends_with("_tests") {
                let what = format!("{module} is for tests: call it {module}_tests");
                broken.note(source, line, &what);
            }
        }
        let code = &source.shipped_code;
        for attribute in ["#[test]", "#[tokio::test"] {
            if let Some(at) = code.find(attribute)
                && !code[..at].contains("#[cfg(test)]\nmod ")
                && !code[..at].contains("#[cfg(all(test")
            {
                let what = "a test among what is shipped: the file ends in _tests.rs";
                broken.note(source, source.line_of(at), what);
            }
        }
    }
    broken.tell();
}

#[test]
fn a_long_file_says_where_it_is_tried() {
    let mut broken = Broken::default();
    for source in sources().iter().filter(|source| source.is_shipped()) {
        let lines = source.text.lines().count();
        let tried_here = source.code.contains("#[cfg(test)]\nmod ");
        let named = named_tests(&source.text);
        for path in named.iter().filter(|path| !exists(path)) {
            broken.note(
                source,
                1,
                &format!("{path} is named as its test and is not there"),
            );
        }
        if lines >= LINES_WITHOUT_TESTS_MAX && !tried_here && named.is_empty() {
            let what = format!("{lines} lines: name its tests (`//! Tests: path`)");
            broken.note(source, 1, &what);
        }
    }
    broken.tell();
}

/// Modules that only tests have, and that are files: the line and the name.
fn test_modules(source: &Source) -> Vec<(usize, &str)> {
    let found = places(&source.code, "mod ").filter_map(|at| {
        let name = ident(&source.code[at + "mod ".len()..]);
        let is_file = source.code[at + "mod ".len() + name.len()..].starts_with(';');
        let line = source.code[..at]
            .trim_end_matches("pub(crate) ")
            .trim_end_matches("pub ");
        let for_tests = line.trim_end().ends_with("#[cfg(test)]");
        (is_file && for_tests).then(|| (source.line_of(at), name))
    });
    found.collect()
}

/// The paths in the comment lines that begin with `Tests:`.
fn named_tests(text: &str) -> Vec<&str> {
    let mut paths = Vec::new();
    for line in text.lines() {
        let comment = line
            .trim_start()
            .trim_start_matches(['/', '!'])
            .trim_start();
        if line.trim_start().starts_with("//")
            && let Some(listed) = comment.strip_prefix("Tests: ")
        {
            paths.extend(listed.split('`').skip(1).step_by(2));
        }
    }
    paths
}

#[test]
fn test_modules_and_named_tests_are_read() {
    let text = "mod a;\n#[cfg(test)]\nmod story;\n#[cfg(test)]\npub(crate) mod b_tests;\n\
                #[cfg(test)]\nmod tests {\n}\n";
    let source = Source::new("src/x/mod.rs", text);
    assert_eq!(test_modules(&source), [(3, "story"), (5, "b_tests")]);
    let named = named_tests("//! One.\n//! Tests: `a_tests.rs`, `tests/b.rs`.\nfn f() {}\n");
    assert_eq!(named, ["a_tests.rs", "tests/b.rs"]);
    assert!(named_tests("//! Tests of what is here.\n").is_empty());
}
