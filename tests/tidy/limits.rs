//! The ninth law: what one limit owes to another is a `const` assertion.
//!
//! A limit is a number that somebody will change. Where its comment tells of another limit,
//! the compiler must know of it too: either the one is computed from the other, or an
//! assertion of the same file, `const _: () = assert!(..)`, names both.

use super::reading::{Broken, Source, closing, ident, places, sources};
use std::collections::BTreeSet;

#[test]
fn what_a_limit_owes_to_another_is_asserted() {
    let sources = sources();
    let mut constants = BTreeSet::new();
    for source in &sources {
        constants.extend(declared(source).into_iter().map(|(_, name)| name));
    }
    let mut broken = Broken::default();
    for source in sources.iter().filter(|source| source.is_shipped()) {
        for (at, name, other) in told(source) {
            if constants.contains(other) && !is_known(source, at, name, other) {
                let what = format!("{name} tells of {other}: assert how they stand");
                broken.note(source, source.line_of(at), &what);
            }
        }
    }
    broken.tell();
}

/// The constants of a file: where each is declared, and its name.
fn declared(source: &Source) -> Vec<(usize, &str)> {
    let found = places(&source.code, "const ").filter_map(|at| {
        let name = ident(&source.code[at + "const ".len()..]);
        is_constant(name).then_some((at, name))
    });
    found.collect()
}

fn is_constant(name: &str) -> bool {
    name.len() > 2
        && name
            .chars()
            .all(|c| c.is_uppercase() || c.is_numeric() || c == '_')
}

/// Constants whose comment tells of another: where, whose, and of which.
fn told(source: &Source) -> Vec<(usize, &str, &str)> {
    let mut found = Vec::new();
    for (at, name) in declared(source) {
        let before = source.text[..at]
            .trim_end_matches("pub ")
            .trim_end_matches("pub(crate) ");
        let start = before.rfind('\n').map_or(0, |end| end + 1);
        let mut end = start;
        // The comment lines right above it.
        while let Some(line) = source.text[..end.saturating_sub(1)].lines().next_back()
            && line.trim_start().starts_with("///")
        {
            end -= line.len() + 1;
        }
        let comment = &source.text[end..start];
        let mut words = comment.split(|c: char| !c.is_alphanumeric() && c != '_');
        let others = words
            .by_ref()
            .filter(|word| word.contains('_') && is_constant(word));
        found.extend(
            others
                .filter(|other| *other != name)
                .map(|other| (at, name, other)),
        );
    }
    found
}

/// Whether the one is computed from the other, or an assertion names both.
fn is_known(source: &Source, at: usize, name: &str, other: &str) -> bool {
    let value = source.code[at..].split(';').next().unwrap_or_default();
    let both = |text: &str| text.contains(name) && text.contains(other);
    let asserted = places(&source.code, "const _: () = assert!").any(|at| {
        let open = at + "const _: () = assert!".len();
        closing(&source.code[open..]).is_some_and(|end| both(&source.code[open..open + end]))
    });
    value.contains(other) || asserted
}

#[test]
fn relations_that_only_a_comment_knows_are_found() {
    let unknown = |text: &str| {
        let source = Source::new("src/x.rs", text);
        let found = told(&source).into_iter();
        let unknown = found.filter(|(at, name, other)| !is_known(&source, *at, name, other));
        unknown.count()
    };
    let other = "const TAKEN_MAX: usize = 8;\n";
    let above = "/// Above [`TAKEN_MAX`], so that it fits.\npub const GIVEN_MAX: usize";
    assert_eq!(unknown(&format!("{other}{above} = 9;\n")), 1);
    assert_eq!(unknown(&format!("{other}{above} = TAKEN_MAX + 1;\n")), 0);
    let asserted = "const _: () = assert!(GIVEN_MAX > TAKEN_MAX);\n";
    assert_eq!(unknown(&format!("{other}{above} = 9;\n{asserted}")), 0);
    assert_eq!(unknown("/// Eight.\nconst TAKEN_MAX: usize = 8;\n"), 0);
}
