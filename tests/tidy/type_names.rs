//! The third law: one word for one thing, so no public type name stands twice.
//!
//! Counts what is `pub` without a narrower reach, in every crate of the workspace; a name
//! that is handed on by `pub use` stays one name.

use super::reading::{Broken, Source, ident, places, sources};
use std::collections::BTreeMap;

#[test]
fn no_public_type_name_stands_twice() {
    let sources = sources();
    let shipped: Vec<&Source> = sources.iter().filter(|s| s.is_shipped()).collect();
    let mut broken = Broken::default();
    for (name, found) in twice(&shipped) {
        for (source, line) in &found {
            let what = format!("{name} is the name of {} public types", found.len());
            broken.note(source, *line, &what);
        }
    }
    broken.tell();
}

/// The names of more than one public type, with where each is declared.
fn twice<'a>(sources: &[&'a Source]) -> BTreeMap<&'a str, Vec<(&'a Source, usize)>> {
    let mut found: BTreeMap<&str, Vec<(&Source, usize)>> = BTreeMap::new();
    for source in sources {
        let code = &source.shipped_code;
        for kind in ["struct ", "enum ", "union ", "trait ", "type "] {
            for at in places(code, kind) {
                if code[..at].ends_with("pub ") {
                    let name = ident(&code[at + kind.len()..]);
                    // In a macro, the name is whatever the macro is given.
                    if name.is_empty() {
                        continue;
                    }
                    let line = source.line_of(at);
                    found.entry(name).or_default().push((source, line));
                }
            }
        }
    }
    found.retain(|_, places| places.len() > 1);
    found
}

#[test]
fn a_name_that_stands_twice_is_found() {
    let a = Source::new("src/a.rs", "pub struct One;\npub(crate) enum Two {}\n");
    let b = Source::new(
        "src/b.rs",
        "struct One;\npub enum Two {}\npub type Three = u8;\n",
    );
    assert!(twice(&[&a, &b]).is_empty());
    let c = Source::new("client/src/c.rs", "pub trait Three {}\n// pub struct One\n");
    let found = twice(&[&a, &b, &c]);
    assert_eq!(found.keys().collect::<Vec<_>>(), [&"Three"]);
    assert_eq!(found["Three"].len(), 2);
    let made = Source::new("src/d.rs", "pub enum $name {}\npub enum $name {}\n");
    assert!(twice(&[&made]).is_empty());
}
