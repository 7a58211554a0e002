//! Reading the checkout: its files, and their code without comments and literals.
//!
//! Promises that blanking keeps every offset and every line where it was, so that what is
//! found in the code has its place in the text. Leaves what is looked for to the laws.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

/// Where the sources of the house lie; a room that is not there holds nothing.
const ROOMS: [&str; 15] = [
    "proto/tests",
    "src",
    "tests",
    "benches",
    "proto/src",
    "evidence/src",
    "evidence/tests",
    "evidence/benches",
    "audit/src",
    "audit/tests",
    "client/src",
    "client/tests",
    "fuzz/ledger",
    "fuzz/src",
    "fuzz/targets",
];

/// Written by a program, and compared with what it writes by a test of its own.
const GENERATED: &str = "proto/src/generated";

/// Where what is shipped lies: the rest are tests, benches and fuzz targets.
const SHIPPED: [&str; 5] = [
    "src/",
    "proto/src/",
    "evidence/src/",
    "audit/src/",
    "client/src/",
];

/// One file.
pub struct Source {
    /// From the root of the checkout.
    pub path: String,
    pub text: String,
    /// The text with comments and the insides of literals blanked.
    pub code: String,
    /// The code with the modules of tests blanked that are written out in it.
    pub shipped_code: String,
}

impl Source {
    pub fn new(path: &str, text: &str) -> Source {
        let code = blanked(text);
        Source {
            path: path.to_owned(),
            text: text.to_owned(),
            shipped_code: without_tests(&code),
            code,
        }
    }

    /// Lines of code with their numbers.
    pub fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        (1..).zip(self.code.lines())
    }

    /// The line in which an offset lies.
    pub fn line_of(&self, offset: usize) -> usize {
        1 + self.code[..offset].matches('\n').count()
    }

    /// The laws spell out what they look for.
    pub fn is_a_law(&self) -> bool {
        self.path.starts_with("tests/tidy/")
    }

    /// Whether it is part of what is shipped; a module of tests is not, wherever it lies.
    pub fn is_shipped(&self) -> bool {
        let named_as_tests = self.path.ends_with("_tests.rs") || self.path.contains("/tests/");
        SHIPPED.iter().any(|room| self.path.starts_with(room)) && !named_as_tests
    }

    /// Every place of a word, which is not the end of a longer one.
    pub fn places<'a>(&'a self, word: &'a str) -> impl Iterator<Item = usize> + 'a {
        places(&self.code, word)
    }
}

/// Every file of the house, by path.
pub fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    for room in ROOMS {
        collect(root, &root.join(room), &mut found);
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(found.len() > 20, "the sources were not found");
    found
}

/// Whether a path of the checkout is there.
pub fn exists(path: &str) -> bool {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path).exists()
}

fn collect(root: &Path, path: &Path, found: &mut Vec<Source>) {
    let below = path.strip_prefix(root).expect("a room lies in the root");
    if below.starts_with(GENERATED) {
        return;
    }
    if path.is_dir() {
        for entry in fs::read_dir(path).expect("a folder of the checkout is readable") {
            collect(root, &entry.expect("and so are its entries").path(), found);
        }
    } else if path.extension().is_some_and(|extension| extension == "rs") && path.exists() {
        let text = fs::read_to_string(path).expect("sources are UTF-8");
        found.push(Source::new(&below.to_string_lossy(), &text));
    }
}

/// What breaks a law, line by line.
#[derive(Default)]
pub struct Broken(String);

impl Broken {
    pub fn note(&mut self, source: &Source, line: usize, what: &str) {
        let _ = writeln!(self.0, "{}:{line}: {what}", source.path);
    }

    /// How many lines are noted.
    pub fn count(&self) -> usize {
        self.0.lines().count()
    }

    /// Fails with all of them, if there are any.
    pub fn tell(&self) {
        let count = self.count();
        assert!(count == 0, "\n{}{count} places break the law", self.0);
    }
}

/// Every place of a word in a text, which is not the end of a longer one.
pub fn places<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    text.match_indices(word).map(|(at, _)| at).filter(|at| {
        let before = text[..*at].chars().next_back();
        !before.is_some_and(is_part_of_a_name)
    })
}

/// Whether a text has a word, which is not the end of a longer one.
pub fn names(text: &str, word: &str) -> bool {
    places(text, word).next().is_some()
}

/// The identifier that a text begins with.
pub fn ident(text: &str) -> &str {
    let end = text.find(|c| !is_part_of_a_name(c));
    &text[..end.unwrap_or(text.len())]
}

/// The words of `snake_case` or `CamelCase`, in small letters.
pub fn words(name: &str) -> Vec<String> {
    let mut spread = String::new();
    for c in name.chars() {
        if c.is_uppercase() {
            spread.push('_');
        }
        spread.extend(c.to_lowercase());
    }
    let words = spread.split('_').filter(|word| !word.is_empty());
    words.map(str::to_owned).collect()
}

/// The end of what an opening bracket at the start of `code` opens: the offset behind the
/// bracket that closes it.
pub fn closing(code: &str) -> Option<usize> {
    let mut depth = 0;
    for (at, c) in code.char_indices() {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(at + c.len_utf8());
        }
    }
    None
}

/// A list split at its commas, but not at those within brackets of any kind.
pub fn split_list(list: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut start, mut before) = (Vec::new(), 0, 0, ' ');
    for (at, c) in list.char_indices() {
        match c {
            '(' | '[' | '{' | '<' => depth += 1,
            '>' if before == '-' || before == '=' => {}
            ')' | ']' | '}' | '>' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&list[start..at]);
                start = at + 1;
            }
            _ => {}
        }
        before = c;
    }
    parts.push(&list[start..]);
    parts.retain(|part| !part.trim().is_empty());
    parts
}

fn is_part_of_a_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The text with comments, and what stands between quotes, as spaces.
pub fn blanked(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let (kept, blank) = literal(rest, code.chars().next_back());
        code.push_str(&rest[..kept]);
        for byte in rest[kept..kept + blank].bytes() {
            code.push(if byte == b'\n' { '\n' } else { ' ' });
        }
        rest = &rest[kept + blank..];
        if kept + blank == 0 {
            code.push(c);
            rest = &rest[c.len_utf8()..];
        }
    }
    code
}

/// The code with its inline modules of tests blanked.
fn without_tests(code: &str) -> String {
    let mut left = code.to_owned();
    for at in places(code, "#[cfg(test)]") {
        let item = &code[at..];
        let open = item.find(['{', ';']).unwrap_or(0);
        if names(&item[..open], "mod ")
            && let Some(end) = closing(&item[open..])
        {
            let tests = &item[..open + end];
            let blank = tests
                .bytes()
                .map(|byte| if byte == b'\n' { '\n' } else { ' ' });
            left.replace_range(at..at + tests.len(), &blank.collect::<String>());
        }
    }
    left
}

/// How many bytes to keep, and how many then to blank, if a comment or a literal begins
/// here. Of a literal its opening is kept.
fn literal(rest: &str, before: Option<char>) -> (usize, usize) {
    let until = |from: usize, end: &str| {
        let found = rest[from..].find(end);
        found.unwrap_or(rest.len() - from)
    };
    if rest.starts_with("//") {
        return (0, until(0, "\n"));
    }
    if rest.starts_with("/*") {
        let end = rest.len().min(until(0, "*/") + 2);
        return (0, end);
    }
    let in_a_name = before.is_some_and(is_part_of_a_name);
    if rest.starts_with('r') && !in_a_name {
        let hashes = rest[1..].chars().take_while(|c| *c == '#').count();
        let open = 2 + hashes;
        if rest[1 + hashes..].starts_with('"') {
            let end = format!("\"{}", "#".repeat(hashes));
            let length = until(open, &end);
            return (open, length + end.len());
        }
    }
    if let Some(inside) = rest.strip_prefix('"') {
        let (mut escaped, mut length) = (false, 0);
        for c in inside.chars() {
            if c == '"' && !escaped {
                break;
            }
            escaped = c == '\\' && !escaped;
            length += c.len_utf8();
        }
        return (1, (length + 1).min(rest.len() - 1));
    }
    // A quoted character, and not a lifetime.
    let mut quoted = rest.chars();
    if quoted.next() == Some('\'') {
        match (quoted.next(), quoted.next()) {
            (Some('\\'), Some(_)) => return (1, until(3, "'") + 3),
            (Some(c), Some('\'')) => return (1, c.len_utf8() + 1),
            _ => {}
        }
    }
    (0, 0)
}

#[test]
fn comments_and_literals_are_blanked_where_they_stand() {
    for (text, code) in [
        ("a // b\nc", "a     \nc"),
        ("a /* b\n */ c", "a     \n    c"),
        ("f(\"a\\\"{b\", x)", "f(\"      , x)"),
        ("f(r#\"a\"{\"#, x)", "f(r#\"     , x)"),
        ("'{' + '\\'' + 'a", "'   + '    + 'a"),
        ("for x<'a>(b: &'a str)", "for x<'a>(b: &'a str)"),
    ] {
        assert_eq!(blanked(text), code, "{text}");
    }
    let two = Source::new("x.rs", "// one\nlet a = \"{\";\n");
    assert_eq!(two.line_of(two.code.find("let").unwrap()), 2);
}

#[test]
fn lists_and_brackets_are_read_to_their_end() {
    assert_eq!(
        split_list("a, b::{c, d}, e<f, g>"),
        ["a", " b::{c, d}", " e<f, g>"]
    );
    assert_eq!(split_list("f: Fn(u8) -> u8, g: u8,").len(), 2);
    assert_eq!(closing("{a {b} (c)} d"), Some(11));
    assert_eq!(words("LogIndexes_of"), ["log", "indexes", "of"]);
}
