//! The first law: a layer of `src/` uses only those listed before it.
//!
//! Promises that every path that begins at the crate is looked at, also within groups and
//! where it climbs there by `super`. A module without a place in the list is an error.

use super::reading::{Broken, Source, closing, ident, places, sources, split_list};

/// The layers of `src/`: each may use itself and those before it. One that is not there
/// holds nothing.
const ORDER: [&str; 27] = [
    "stop",
    "supervise",
    "clock",
    "sync",
    "domain",
    "objective",
    "config",
    "preflight",
    "keyring",
    "telemetry",
    "signatures",
    "misconduct",
    "store",
    "ledger",
    "transport",
    "raft",
    "recorder",
    "bodies",
    "status",
    "checkpoint",
    "membership",
    "witness",
    "service",
    "rpc",
    "http",
    "assemble",
    "node",
];

#[test]
fn a_layer_uses_only_those_listed_before_it() {
    let mut broken = Broken::default();
    for source in &sources() {
        check(source, &mut broken);
    }
    broken.tell();
}

fn check(source: &Source, broken: &mut Broken) {
    let Some(own) = module_of(&source.path) else {
        return;
    };
    let Some(place) = place_of(own) else {
        broken.note(
            source,
            1,
            &format!("{own} has no place in the order of layers"),
        );
        return;
    };
    for (at, used) in uses(source) {
        let what = match place_of(&used) {
            Some(below) if below <= place => continue,
            Some(_) => format!("{own} uses {used}, a layer that is built upon it"),
            None => format!("{own} uses {used}, which has no place in the order of layers"),
        };
        broken.note(source, source.line_of(at), &what);
    }
}

fn place_of(module: &str) -> Option<usize> {
    ORDER.iter().position(|layer| *layer == module)
}

/// The module of the library in which a file lies; the binary stands on all of them.
fn module_of(path: &str) -> Option<&str> {
    let below = path.strip_prefix("src/")?;
    let module = below.split('/').next()?.trim_end_matches(".rs");
    (module != "lib" && module != "bin").then_some(module)
}

/// The modules that a file names from the crate's root, and where.
fn uses(source: &Source) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for at in source.places("crate::") {
        let path = &source.code[at + "crate::".len()..];
        found.extend(heads(path).into_iter().map(|used| (at, used)));
    }
    // As many `super` as modules lie around it begin at the root too.
    let files = source.path.trim_end_matches("/mod.rs").matches('/').count();
    for at in source.places("super::") {
        let path = source.code[at..].trim_start_matches("super::");
        let climbed = (source.code.len() - at - path.len()) / "super::".len();
        let is_first = !source.code[..at].ends_with("super::");
        if is_first && climbed == files + inline_modules(&source.code, at) {
            found.extend(heads(path).into_iter().map(|used| (at, used)));
        }
    }
    found
}

/// The first names of a path, or of each path in a group.
fn heads(path: &str) -> Vec<String> {
    let path = path.trim_start();
    let group = path.starts_with('{').then(|| closing(path)).flatten();
    match group {
        Some(end) => {
            let paths = split_list(&path[1..end - 1]).into_iter();
            paths.flat_map(heads).collect()
        }
        None => vec![ident(path).to_owned()],
    }
}

/// How many modules that are written out in this file lie around a place.
fn inline_modules(code: &str, place: usize) -> usize {
    let around = places(code, "mod ").filter(|at| {
        let name = ident(&code[at + "mod ".len()..]);
        let body = at + "mod ".len() + name.len();
        let within = code[body..].trim_start();
        let start = code.len() - within.len();
        within.starts_with('{')
            && closing(within).is_some_and(|end| start < place && place < start + end)
    });
    around.count()
}

#[test]
fn every_way_to_name_a_layer_is_found() {
    let found = |path: &str, text: &str| {
        let mut broken = Broken::default();
        check(&Source::new(path, text), &mut broken);
        broken.count()
    };
    assert_eq!(found("src/store/log.rs", "use crate::ledger::rows;"), 1);
    assert_eq!(found("src/store/log.rs", "let a = crate::raft::x();"), 1);
    let group = "use crate::{\n    stop::Stop,\n    ledger::{apply, rows}, raft,\n};";
    assert_eq!(found("src/store/log.rs", group), 2);
    assert_eq!(
        found("src/store/outbox/mod.rs", "use super::super::raft::x;"),
        1
    );
    assert_eq!(found("src/store/outbox/mod.rs", "use super::log::x;"), 0);
    let inline = "mod tests {\n    use super::x;\n    use super::super::node::y;\n}";
    assert_eq!(found("src/stop.rs", inline), 1);
    assert_eq!(
        found("src/stop.rs", "use crate::stop::Stop; // crate::node"),
        0
    );
    assert_eq!(found("src/somewhere.rs", "use crate::stop::Stop;"), 1);
    assert_eq!(found("src/node.rs", "use crate::nowhere::X;"), 1);
    assert_eq!(found("src/bin/muniment/serve.rs", "use crate::exit::X;"), 0);
}
