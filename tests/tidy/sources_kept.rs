//! The eighth law: an error keeps its source.
//!
//! Whoever reads why a node stopped needs the first cause, and who decides by an error's
//! kind needs the kind: neither can be read out of a text. Looks for `map_err` that renders
//! the error it is given, and for error types that hold another error and do not say so.
//! The command line may render: what it says is read by a person, and is the end.

use super::reading::{Broken, Source, closing, ident, names, places, sources};

#[test]
fn no_error_is_turned_into_text() {
    let mut broken = Broken::default();
    for source in shipped(&sources()) {
        for at in rendered(source) {
            let what = "an error becomes text here: keep it as the source";
            broken.note(source, source.line_of(at), what);
        }
    }
    broken.tell();
}

#[test]
fn an_error_within_an_error_is_its_source() {
    let mut broken = Broken::default();
    for source in shipped(&sources()) {
        for (at, name) in silent(source) {
            let what = format!("{name} holds an error and has no source");
            broken.note(source, source.line_of(at), &what);
        }
    }
    broken.tell();
}

fn shipped(sources: &[Source]) -> impl Iterator<Item = &Source> {
    let is_binary = |source: &&Source| source.path.contains("/bin/");
    sources
        .iter()
        .filter(move |source| source.is_shipped() && !is_binary(source))
}

/// Where `map_err` renders the error that it is given.
fn rendered(source: &Source) -> Vec<usize> {
    let code = &source.shipped_code;
    let found = places(code, "map_err(").filter(|at| {
        let open = at + "map_err".len();
        let Some(end) = closing(&code[open..]) else {
            return false;
        };
        let (call, text) = (&code[open..open + end], &source.text[open..open + end]);
        if names(call, "ToString::to_string") {
            return true;
        }
        let Some(closure) = call.strip_prefix("(|") else {
            return false;
        };
        let error = ident(closure);
        let shown = [
            format!("{{{error}}}"),
            format!("{{{error}:"),
            format!("{error}.to_string()"),
        ];
        // A closure that also hands the error on has kept it.
        let handed_on = [
            format!(", {error})"),
            format!("({error})"),
            format!("{error}.into()"),
        ];
        // A finding is no error: it is a line of a report, with its class beside the words.
        let is_a_finding = call.contains("Finding::");
        !error.is_empty()
            && !is_a_finding
            && shown.iter().any(|word| text.contains(word))
            && !handed_on.iter().any(|word| call.contains(word))
    });
    found.collect()
}

/// Error types that hold another error without naming it as their source.
fn silent(source: &Source) -> Vec<(usize, &str)> {
    let code = &source.shipped_code;
    let mut found = Vec::new();
    for at in places(code, "Error for ") {
        let name = ident(&code[at + "Error for ".len()..]);
        let implementation = &code[at..];
        let body = implementation.find('{').map(|open| &implementation[open..]);
        let body = body.and_then(|body| Some(&body[..closing(body)?]));
        let says = body.is_some_and(|body| names(body, "fn source"));
        if !says && definition(code, name).is_some_and(holds_an_error) {
            found.push((at, name));
        }
    }
    for at in places(code, "derive(") {
        let derived =
            closing(&code[at + "derive".len()..]).map(|end| &code[at..at + "derive".len() + end]);
        if !derived.is_some_and(|list| list.contains("Error")) {
            continue;
        }
        let item = &code[at..];
        let kind = ["struct ", "enum "]
            .iter()
            .filter_map(|kind| item.find(kind))
            .min();
        let Some(kind) = kind else { continue };
        let name = ident(item[kind..].split_once(' ').map_or("", |(_, name)| name));
        if definition(code, name).is_some_and(holds_an_unmarked_error) {
            found.push((at, name));
        }
    }
    found
}

/// What a type is made of.
fn definition<'a>(code: &'a str, name: &str) -> Option<&'a str> {
    let at = ["struct ", "enum "].iter().find_map(|kind| {
        let found = places(code, kind).find(|at| ident(&code[at + kind.len()..]) == name);
        found.map(|at| at + kind.len() + name.len())
    })?;
    let open = at + code[at..].find(['{', '(', ';'])?;
    Some(&code[open..open + closing(&code[open..])?])
}

/// Whether a field is an error itself: its type is a name that ends in `Error`, or a box
/// of one.
fn holds_an_error(definition: &str) -> bool {
    fields(definition).any(|(_, kind)| is_error(kind))
}

/// The same, where the fields that are errors are not marked as what they are.
fn holds_an_unmarked_error(definition: &str) -> bool {
    fields(definition).any(|(before, kind)| {
        let marks = ["#[source]", "#[from]", "#[error(transparent)]"];
        is_error(kind) && !marks.iter().any(|mark| before.contains(mark))
    })
}

/// The types of the fields, each with what stands before it since the last one.
fn fields(definition: &str) -> impl Iterator<Item = (&str, &str)> {
    const SEPARATORS: [char; 5] = [',', '(', ')', '{', '}'];
    definition.split_inclusive(SEPARATORS).map(|part| {
        let part = part.trim_end_matches(SEPARATORS);
        let kind = part.rsplit([' ', '\n', ']']).next().unwrap_or_default();
        (part, kind)
    })
}

fn is_error(kind: &str) -> bool {
    let kind = kind.trim_end_matches('>');
    kind.ends_with("Error") && kind.len() > "Error".len() || kind.ends_with("io::Error")
}

#[test]
fn errors_that_lose_their_source_are_found() {
    let rendering = |text: &str| rendered(&Source::new("src/x.rs", text)).len();
    assert_eq!(rendering("a.map_err(|error| error.to_string())"), 1);
    assert_eq!(rendering("a.map_err(ToString::to_string)"), 1);
    assert_eq!(
        rendering("a.map_err(|e| Failed(format!(\"{path}: {e}\")))"),
        1
    );
    assert_eq!(rendering("a.map_err(|_| Lost)"), 0);
    assert_eq!(rendering("a.map_err(|error| Failed::at(path, error))"), 0);
    assert_eq!(rendering("a.map_err(Failed::from)"), 0);
    let finding = "a.map_err(|e| Finding::whole(Class::Chain, format!(\"{e}\")))";
    assert_eq!(rendering(finding), 0);

    let silence = |text: &str| silent(&Source::new("src/x.rs", text)).len();
    let held = "pub enum A {\n    B(std::io::Error),\n    C,\n}\n";
    assert_eq!(
        silence(&format!("{held}impl std::error::Error for A {{}}\n")),
        1
    );
    let told = "impl std::error::Error for A {\n    fn source(&self) -> X {}\n}\n";
    assert_eq!(silence(&format!("{held}{told}")), 0);
    let text = "pub struct A(String);\nimpl std::error::Error for A {}\n";
    assert_eq!(silence(text), 0);
    let derived = "#[derive(Debug, thiserror::Error)]\npub enum A {\n    #[error(\"x\")]\n    B";
    assert_eq!(
        silence(&format!("{derived}(#[source] std::io::Error),\n}}\n")),
        0
    );
    assert_eq!(silence(&format!("{derived}(StoreError),\n}}\n")), 1);
}
