//! The sixth law: ids and indexes are types of their own.
//!
//! A record's index, a tree's size and a place in the Raft log are all numbers; as bare
//! numbers one is soon given where another is asked for. Looks at the names of parameters
//! and fields, and of functions that answer with a number, in what is public.

use super::reading::{Broken, closing, ident, names, places, sources, split_list, words};

/// A name that ends so is the name of an id, an index or a size of a tree.
const IDS: [&str; 16] = [
    "node", "nodes", "leader", "peer", "voters", "learners", "record", "records", "index",
    "indexes", "size", "term", "epoch", "seq", "body", "bodies",
];

#[test]
fn no_id_is_a_bare_number_in_public() {
    let mut broken = Broken::default();
    for source in sources().iter().filter(|source| source.is_shipped()) {
        for (at, name, kind) in bare(&source.shipped_code) {
            let what = format!("{name} is a bare {kind}: give it its own type");
            broken.note(source, source.line_of(at), &what);
        }
    }
    broken.tell();
}

/// Where a public signature or field has a bare number under the name of an id.
fn bare(code: &str) -> Vec<(usize, &str, &'static str)> {
    let mut found = Vec::new();
    for at in places(code, "pub ") {
        let item = &code[at + "pub ".len()..];
        let item = item.strip_prefix("const ").unwrap_or(item);
        let item = item.strip_prefix("async ").unwrap_or(item);
        if let Some(signature) = item.strip_prefix("fn ") {
            let (parameters, answer) = parts(signature);
            let name = ident(signature);
            found.extend(named_numbers(parameters).map(|(name, kind)| (at, name, kind)));
            found.extend(number(name, answer).map(|kind| (at, name, kind)));
        } else if item.starts_with("enum ") {
            // What a variant holds is as public as the type.
            for variant in within(item, '{').map(split_list).unwrap_or_default() {
                let fields = within(variant, '{').unwrap_or_default();
                found.extend(named_numbers(fields).map(|(name, kind)| (at, name, kind)));
            }
        } else if item[ident(item).len()..].starts_with(':') {
            let field = split_list(item).first().copied().unwrap_or_default();
            let field = field.split(['}', ';', '=']).next().unwrap_or_default();
            found.extend(named_numbers(field).map(|(name, kind)| (at, name, kind)));
        }
    }
    found
}

/// What stands in the first brackets of this kind.
fn within(code: &str, bracket: char) -> Option<&str> {
    let open = code.find(bracket)?;
    let end = open + closing(&code[open..])?;
    Some(&code[open + 1..end - 1])
}

/// The parameters of a signature, and what it answers with.
fn parts(signature: &str) -> (&str, &str) {
    let parameters = within(signature, '(').unwrap_or_default();
    let begin = signature
        .find('(')
        .map_or(0, |open| open + parameters.len() + 2);
    let answer = signature[begin..].split(['{', ';']).next();
    (parameters, answer.unwrap_or_default())
}

/// The names of a list of parameters or fields that are bare numbers of ids.
fn named_numbers(list: &str) -> impl Iterator<Item = (&str, &'static str)> {
    split_list(list).into_iter().filter_map(|part| {
        let (name, kind) = part.split_once(':')?;
        let name = name.rsplit([' ', '\n']).next()?;
        Some((name, number(name, kind)?))
    })
}

/// Which bare number a type is made of, if the name is that of an id.
fn number(name: &str, kind: &str) -> Option<&'static str> {
    let last = words(name).pop()?;
    // A plain number under a name in the plural counts them.
    let counts = last.ends_with('s') && kind.trim() == "u64";
    if !IDS.contains(&last.as_str()) || counts {
        return None;
    }
    let bare = if last.starts_with("bod") {
        "[u8; 16]"
    } else {
        "u64"
    };
    names(kind, bare).then_some(bare)
}

#[test]
fn bare_numbers_are_found_where_they_are_public() {
    let found = |code: &str| -> Vec<String> {
        let bare = bare(code).into_iter();
        bare.map(|(_, name, _)| name.to_owned()).collect()
    };
    assert_eq!(found("pub fn of(node: u64, bytes: u64) {}"), ["node"]);
    assert_eq!(
        found("pub async fn a(\n    next_seq: Option<u64>,\n) {}"),
        ["next_seq"]
    );
    assert_eq!(found("pub fn tree_size(&self) -> u64 {}"), ["tree_size"]);
    assert_eq!(
        found("pub fn put(body: &[u8; 16], salt: [u8; 16]) {}"),
        ["body"]
    );
    assert_eq!(
        found("pub struct A {\n    pub term: u64,\n    index: u64,\n}"),
        ["term"]
    );
    assert_eq!(
        found("pub enum A {\n    B { voters: Vec<u64> },\n    C(u64),\n}"),
        ["voters"]
    );
    for fine in [
        "fn of(node: u64) {}",
        "pub(crate) fn of(node: u64) {}",
        "pub fn of(node: NodeId, interval_ms: u64, records: u64) {}",
        "pub struct A {\n    pub epoch_s: u64,\n    pub size: TreeSize,\n}",
    ] {
        assert!(found(fine).is_empty(), "{fine}");
    }
}
