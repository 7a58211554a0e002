//! Markdown, as far as it is looked at: links, headings, code blocks, the rows of tables.
//!
//! Promises line numbers with everything that is found. Leaves judging to the tests. Knows
//! what our pages use and no more of Markdown.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Component, Path, PathBuf};

/// Where documents and sources lie; other folders (target, generated data) are not ours.
pub const ROOMS: [&str; 10] = [
    "docs", "src", "proto", "evidence", "audit", "client", "cluster", "tests", "benches", "fuzz",
];

pub struct Page {
    pub path: String,
    pub text: String,
}

/// What is wrong, one line each.
#[derive(Default)]
pub struct Broken(String);

impl Broken {
    pub fn note(&mut self, page: &str, line: usize, what: &str) {
        let _ = writeln!(self.0, "{page}:{line}: {what}");
    }

    pub fn tell(&self) {
        assert!(self.0.is_empty(), "\n{}", self.0);
    }
}

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub fn text(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every Markdown file of the repository.
pub fn pages() -> Vec<Page> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(root()).expect("the checkout is readable") {
        let path = entry.expect("and so are its entries").path();
        if path.is_file() {
            paths.push(path);
        }
    }
    for room in ROOMS {
        collect(&root().join(room), &mut paths);
    }
    let mut pages: Vec<Page> = paths
        .into_iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .map(|path| Page {
            text: fs::read_to_string(&path).expect("documents are UTF-8"),
            path: below_root(&path),
        })
        .collect();
    pages.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(pages.len() > 20, "the documents were not found");
    pages
}

pub fn collect(folder: &Path, paths: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries {
        let path = entry.expect("the entries of a folder are readable").path();
        if !path.is_dir() {
            paths.push(path);
        } else if !path.ends_with("target") {
            collect(&path, paths);
        }
    }
}

pub fn below_root(path: &Path) -> String {
    let below = path.strip_prefix(root()).expect("it was found there");
    below.to_string_lossy().into_owned()
}

/// A relative path as seen from a page, from the root.
pub fn beside(page: &str, target: &str) -> String {
    let mut parts: Vec<&str> = page.split('/').collect();
    parts.pop();
    for part in Path::new(target).components() {
        match part {
            Component::ParentDir => {
                parts.pop();
            }
            Component::Normal(name) => parts.push(name.to_str().expect("links are UTF-8")),
            _ => {}
        }
    }
    parts.join("/")
}

/// Lines with their numbers: those of code blocks, or those outside of them.
pub fn lines_where(text: &str, in_code: bool) -> Vec<(usize, &str)> {
    let mut fenced = false;
    let mut found = Vec::new();
    for (line, number) in text.lines().zip(1..) {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if fenced == in_code {
            found.push((number, line));
        }
    }
    found
}

pub fn prose(text: &str) -> Vec<(usize, &str)> {
    lines_where(text, false)
}

pub fn code(text: &str) -> Vec<(usize, &str)> {
    lines_where(text, true)
}

/// The targets of `[words](target)`.
pub fn links(line: &str) -> Vec<&str> {
    line.split("](")
        .skip(1)
        .filter_map(|rest| rest.split_once(')').map(|(target, _)| target))
        .collect()
}

/// The anchors that a page's headings make, as GitHub makes them.
pub fn anchors(text: &str) -> BTreeSet<String> {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let mut found = BTreeSet::new();
    for (_, line) in prose(text) {
        let heading = line.trim_start_matches('#');
        if heading.len() == line.len() || !heading.starts_with(' ') {
            continue;
        }
        let name = slug(heading.trim());
        let before = seen.entry(name.clone()).or_default();
        found.insert(match *before {
            0 => name,
            n => format!("{name}-{n}"),
        });
        *before += 1;
    }
    found
}

pub fn slug(heading: &str) -> String {
    let kept = heading.to_lowercase();
    let kept = kept.chars().filter_map(|c| match c {
        ' ' => Some('-'),
        c if c.is_alphanumeric() || c == '-' || c == '_' => Some(c),
        _ => None,
    });
    kept.collect()
}

/// The rows of tables whose first heading begins so, as cells, with their lines.
pub fn rows_of(text: &str, header: &str) -> Vec<(usize, Vec<String>)> {
    let mut found = Vec::new();
    let mut inside = false;
    let mut before = false;
    for (number, line) in prose(text) {
        let is_row = line.trim_start().starts_with('|');
        if !is_row {
            (inside, before) = (false, false);
            continue;
        }
        let row = line.trim().trim_start_matches('|').trim_end_matches('|');
        let cells: Vec<String> = row.split('|').map(|cell| cell.trim().to_owned()).collect();
        if !before {
            inside = cells[0] == header;
        } else if inside && !cells[0].starts_with("--") {
            found.push((number, cells));
        }
        before = true;
    }
    found
}

pub fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_')
}

/// The row of a key below the heading of its section.
pub fn described(page: &str, section: &str, key: &str) -> Option<(usize, Vec<String>)> {
    let mut here = false;
    for (number, line) in prose(page) {
        if line.starts_with('#') {
            let plain = line.contains(&format!("[{section}]"));
            here = plain || line.contains(&format!("[[{section}]]"));
        } else if here && line.starts_with(&format!("| `{key}` ")) {
            let row = line.trim_matches('|');
            return Some((
                number,
                row.split('|').map(|c| c.trim().to_owned()).collect(),
            ));
        }
    }
    None
}
