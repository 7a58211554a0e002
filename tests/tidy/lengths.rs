//! The fourth law: no file above 600 lines, no function above 100.

use super::reading::{Broken, Source, closing, ident, sources};

/// Past this, a second idea has moved in.
const FILE_LINES_MAX: usize = 600;
/// What is read without turning back.
const FUNCTION_LINES_MAX: usize = 100;

#[test]
fn a_file_holds_one_idea() {
    let mut broken = Broken::default();
    for source in &sources() {
        let lines = source.text.lines().count();
        if lines > FILE_LINES_MAX {
            let what =
                format!("{lines} lines, above {FILE_LINES_MAX}: which second idea moved in?");
            broken.note(source, lines, &what);
        }
    }
    broken.tell();
}

#[test]
fn a_function_is_read_without_turning_back() {
    let mut broken = Broken::default();
    for source in &sources() {
        for (line, name, lines) in functions(source) {
            if lines > FUNCTION_LINES_MAX {
                let what = format!("{name} has {lines} lines, above {FUNCTION_LINES_MAX}");
                broken.note(source, line, &what);
            }
        }
    }
    broken.tell();
}

/// The functions that have a body: the line, the name, the lines from `fn` to the bracket
/// that ends it.
fn functions(source: &Source) -> Vec<(usize, &str, usize)> {
    let found = source.places("fn ").filter_map(|at| {
        let code = &source.code[at..];
        let name = ident(&code["fn ".len()..]);
        let open = code.find(['{', ';'])?;
        if name.is_empty() || !code[open..].starts_with('{') {
            return None;
        }
        let end = open + closing(&code[open..])?;
        let lines = code[..end].lines().count();
        Some((source.line_of(at), name, lines))
    });
    found.collect()
}

#[test]
fn functions_are_measured_from_name_to_end() {
    let text =
        "trait T {\n    fn a();\n}\nfn b(x: fn(u8)) {\n    let c = || {\n    };\n}\n// fn d\n";
    assert_eq!(functions(&Source::new("x.rs", text)), [(4, "b", 4)]);
    let long = format!("fn f() {{\n{}}}", "    x();\n".repeat(FUNCTION_LINES_MAX));
    let long = Source::new("x.rs", &long);
    assert!(functions(&long)[0].2 > FUNCTION_LINES_MAX);
}
