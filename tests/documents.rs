//! The documents, compared with what they speak of.
//!
//! Promises: a link that leads nowhere, a limit, metric, key or message that is not what the
//! code says, an example that is not the file it quotes, and a page that has grown too long
//! are each named with their line, all at once. Leaves prose to readers. Reads files only and
//! needs no feature of the crate.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Component, Path, PathBuf};

/// Read on one's first day, so it must fit into one sitting.
const README_LINES_MAX: usize = 100;
const ARCHITECTURE_BYTES_MAX: usize = 14 * 1024;
/// Shorter pieces of a message would be found anywhere.
const MESSAGE_BYTES_MIN: usize = 8;

/// Where documents and sources lie; other folders (target, generated data) are not ours.
const ROOMS: [&str; 10] = [
    "docs", "src", "proto", "evidence", "audit", "client", "cluster", "tests", "benches", "fuzz",
];

struct Page {
    path: String,
    text: String,
}

/// What is wrong, one line each.
#[derive(Default)]
struct Broken(String);

impl Broken {
    fn note(&mut self, page: &str, line: usize, what: &str) {
        let _ = writeln!(self.0, "{page}:{line}: {what}");
    }

    fn tell(&self) {
        assert!(self.0.is_empty(), "\n{}", self.0);
    }
}

#[test]
fn every_link_leads_somewhere() {
    let pages = pages();
    let anchors: BTreeMap<&str, BTreeSet<String>> = pages
        .iter()
        .map(|page| (page.path.as_str(), anchors(&page.text)))
        .collect();
    let mut broken = Broken::default();
    for page in &pages {
        for (line, text) in prose(&page.text) {
            for target in links(text) {
                if target.contains("://") || target.starts_with("mailto:") {
                    continue;
                }
                let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
                let path = beside(&page.path, file);
                if !file.is_empty() && !root().join(&path).exists() {
                    broken.note(&page.path, line, &format!("{target}: is not there"));
                    continue;
                }
                let of = if file.is_empty() { &page.path } else { &path };
                let known = anchors.get(of.as_str());
                if !anchor.is_empty() && known.is_some_and(|known| !known.contains(anchor)) {
                    broken.note(&page.path, line, &format!("{target}: no such heading"));
                }
            }
        }
    }
    broken.tell();
}

#[test]
fn what_is_read_first_stays_short() {
    let lines = text("README.md").lines().count();
    assert!(lines <= README_LINES_MAX, "README.md has {lines} lines");
    let bytes = text("ARCHITECTURE.md").len();
    assert!(
        bytes <= ARCHITECTURE_BYTES_MAX,
        "ARCHITECTURE.md has {bytes} bytes"
    );
}

/// A block of the README goes into a shell as it is: no prompt and no output in it.
#[test]
fn the_blocks_of_the_readme_can_be_pasted() {
    let mut broken = Broken::default();
    for (line, code) in code(&text("README.md")) {
        let drawn = code.contains("-->") || code.starts_with(' ');
        if code.starts_with(['$', '>', '#']) || code.ends_with("...") || drawn {
            broken.note("README.md", line, "is nothing to paste into a shell");
        }
    }
    broken.tell();
}

#[test]
fn limits_are_those_of_the_code() {
    const PAGE: &str = "docs/reference/limits.md";
    let mut broken = Broken::default();
    let mut rows = 0;
    for (line, cells) in rows_of(&text(PAGE), "limit") {
        let [_, value, place] = &cells[..] else {
            broken.note(PAGE, line, "a row has a limit, a value and a place");
            continue;
        };
        rows += 1;
        let named = place.split('`').nth(1).unwrap_or_default();
        let Some(file) = links(place).first().map(|target| beside(PAGE, target)) else {
            broken.note(PAGE, line, "names no file");
            continue;
        };
        let source = fs::read_to_string(root().join(&file)).unwrap_or_default();
        let Some(expression) = constant(&source, named) else {
            broken.note(PAGE, line, &format!("{file} has no constant {named}"));
            continue;
        };
        let (said, is) = (quantity(value), evaluate(expression, &source));
        if said.is_none() || said != is {
            let what = format!("says {value}, and {named} in {file} is {expression}");
            broken.note(PAGE, line, &what);
        }
    }
    assert!(rows > 20, "the table was not found");
    broken.tell();
}

#[test]
fn metrics_are_those_of_the_code() {
    const PAGE: &str = "docs/reference/metrics.md";
    let mut broken = Broken::default();
    let made = metrics(&text("src/telemetry.rs"));
    assert!(made.len() > 20, "the metrics were not found");
    let mut told = BTreeMap::new();
    for (line, cells) in rows_of(&text(PAGE), "name") {
        let name = cells[0].trim_matches('`').to_owned();
        let labels = cells[2].replace(['`', ' '], "");
        match made.get(&name) {
            None => broken.note(PAGE, line, &format!("{name}: no node has it")),
            Some(is) if *is != (cells[1].clone(), labels.clone()) => {
                broken.note(PAGE, line, &format!("{name}: is {is:?}"));
            }
            Some(_) => {}
        }
        told.insert(name, line);
    }
    for name in made.keys().filter(|name| !told.contains_key(*name)) {
        broken.note(PAGE, 1, &format!("{name}: is missing here"));
    }
    // Elsewhere no other names are used either.
    for page in pages() {
        for (line, text) in page.text.lines().zip(1..).map(|(text, line)| (line, text)) {
            for name in words(text).filter(|word| is_metric(word)) {
                let family = ["_bucket", "_count", "_sum"]
                    .iter()
                    .find_map(|end| name.strip_suffix(end))
                    .unwrap_or(name);
                if !made.contains_key(family) && !page.path.ends_with("CHANGELOG.md") {
                    broken.note(&page.path, line, &format!("{name}: no node has it"));
                }
            }
        }
    }
    broken.tell();
}

#[test]
fn every_key_of_the_examples_is_described_with_its_default() {
    const PAGE: &str = "docs/configuration.md";
    let page = text(PAGE);
    let mut broken = Broken::default();
    let mut seen = 0;
    for (section, key, value, required) in keys(&text("src/config/example.toml")) {
        seen += 1;
        let Some((line, cells)) = described(&page, &section, &key) else {
            broken.note(PAGE, 1, &format!("[{section}] {key}: is not described"));
            continue;
        };
        let default = cells[2].trim_matches('`');
        let agrees = if required {
            default == "required"
        } else {
            // A tenant's level is the cluster's, and `ca` has words.
            default == value || (!cells[2].starts_with('`'))
        };
        if !agrees {
            let what = format!("[{section}] {key}: the default is {value}, not {default}");
            broken.note(PAGE, line, &what);
        }
    }
    for (section, key, _, _) in keys(&text("src/witness/example.toml")) {
        let whole = if section.is_empty() {
            key
        } else {
            format!("{section}.{key}")
        };
        let rows = page.split("## The file of an outside witness").nth(1);
        if !rows.unwrap_or_default().contains(&format!("`{whole}`")) {
            broken.note(PAGE, 1, &format!("{whole} of a witness: is not described"));
        }
    }
    assert!(seen > 30, "the example was not found");
    broken.tell();
}

#[test]
fn every_field_of_the_metadata_is_described() {
    const PAGE: &str = "docs/reference/metadata.md";
    let page = text(PAGE);
    let mut broken = Broken::default();
    for line in text("proto/muniment/v1/types.proto").lines() {
        let line = line.trim();
        // `type name = number;`, and neither an enum's value nor a message of levels.
        let Some((field, _)) = line.split_once(" = ") else {
            continue;
        };
        let mut parts = field.split_whitespace().rev();
        let (Some(name), Some(_)) = (parts.next(), parts.next()) else {
            continue;
        };
        if !line.starts_with("//") && !page.contains(&format!("| `{name}` |")) {
            broken.note(PAGE, 1, &format!("{name}: is not described"));
        }
    }
    broken.tell();
}

/// What a runbook tells people to look for is what a node says.
#[test]
fn quoted_messages_are_those_of_the_code() {
    let said = sources();
    let mut broken = Broken::default();
    for page in pages() {
        for header in ["it says", "a node says", "a witness says"] {
            for (line, cells) in rows_of(&page.text, header) {
                for quoted in cells[0].split('`').skip(1).step_by(2) {
                    for piece in quoted.split('…').map(str::trim) {
                        if piece.len() >= MESSAGE_BYTES_MIN && !said.contains(piece) {
                            broken.note(&page.path, line, &format!("nobody says {piece:?}"));
                        }
                    }
                }
            }
        }
    }
    broken.tell();
}

/// A document that names a test of an invariant names one that there is.
#[test]
fn the_tests_that_are_named_exist() {
    let said = sources();
    let mut broken = Broken::default();
    for page in pages() {
        for (line, text) in prose(&page.text) {
            for word in text.split('`').skip(1).step_by(2) {
                let number = word.strip_prefix('i').unwrap_or_default();
                let is_invariant = number.starts_with(|c: char| c.is_ascii_digit())
                    && number.contains('_')
                    && !word.contains('…');
                if is_invariant && !said.contains(&format!("fn {word}(")) {
                    broken.note(&page.path, line, &format!("there is no test {word}"));
                }
            }
        }
    }
    broken.tell();
}

/// What a page shows of an example is in the file, letter by letter.
#[test]
fn examples_are_quoted_from_files_that_are_run() {
    const PAGE: &str = "docs/integrating.md";
    let page = text(PAGE);
    let blocks = |language: &str| -> Vec<String> {
        page.split(&format!("```{language}\n"))
            .skip(1)
            .filter_map(|rest| rest.split("```").next().map(str::to_owned))
            .collect()
    };
    let python = text("docs/examples/issue.py");
    for block in blocks("python") {
        assert!(python.contains(&block), "not in issue.py:\n{block}");
    }
    let rust = text("client/examples/issue_and_download.rs");
    assert_eq!(blocks("rust"), [rust], "{PAGE} shows the whole example");
}

/// The rules above are worth what they find.
#[test]
fn the_rules_find_what_they_look_for() {
    assert_eq!(
        links("[a](b.md#c) and [d](e.rs), no (f)"),
        ["b.md#c", "e.rs"]
    );
    assert_eq!(
        slug("A node says \"a promise\", `x_y`"),
        "a-node-says-a-promise-x_y"
    );
    assert_eq!(beside("docs/a.md", "../src/b.rs"), "src/b.rs");
    assert_eq!(quantity("512 KiB"), evaluate("512 << 10", ""));
    assert_eq!(quantity("7 days"), evaluate("7 * 24 * 3600", ""));
    assert_eq!(
        quantity("5 s"),
        evaluate("Duration::from_millis(5_000)", "")
    );
    assert_ne!(quantity("5 s"), evaluate("Duration::from_secs(6)", ""));
    assert_eq!(evaluate("other::CONSTANT", ""), None);
    let source = "const A: u64 = 3;";
    assert_eq!(evaluate("2 * A", source), Some(Quantity::Count(6)));
    assert_eq!(constant("pub const A: usize = 3;\n", "A"), Some("3"));
    let made = metrics("make.gauges(\n \"a_b\",\n \"What.\",\n &[\"peer\"],\n)");
    let is = ("gauge".to_owned(), "peer".to_owned());
    assert_eq!(made.get("muniment_a_b"), Some(&is));
}

// ---- reading pages --------------------------------------------------------------------

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn text(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every Markdown file of the repository.
fn pages() -> Vec<Page> {
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

/// All sources as one text, with strings that go over several lines joined.
fn sources() -> String {
    let mut paths = Vec::new();
    for room in ["src", "evidence", "audit", "client", "tests"] {
        collect(&root().join(room), &mut paths);
    }
    let mut all = String::new();
    let rust = |path: &&PathBuf| path.extension().is_some_and(|extension| extension == "rs");
    for path in paths.iter().filter(rust) {
        let source = fs::read_to_string(path).expect("sources are UTF-8");
        let mut joined = source.split("\\\n");
        all.push_str(joined.next().unwrap_or_default());
        for rest in joined {
            all.push_str(rest.trim_start());
        }
    }
    all
}

fn collect(folder: &Path, paths: &mut Vec<PathBuf>) {
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

fn below_root(path: &Path) -> String {
    let below = path.strip_prefix(root()).expect("it was found there");
    below.to_string_lossy().into_owned()
}

/// A relative path as seen from a page, from the root.
fn beside(page: &str, target: &str) -> String {
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
fn lines_where(text: &str, in_code: bool) -> Vec<(usize, &str)> {
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

fn prose(text: &str) -> Vec<(usize, &str)> {
    lines_where(text, false)
}

fn code(text: &str) -> Vec<(usize, &str)> {
    lines_where(text, true)
}

/// The targets of `[words](target)`.
fn links(line: &str) -> Vec<&str> {
    line.split("](")
        .skip(1)
        .filter_map(|rest| rest.split_once(')').map(|(target, _)| target))
        .collect()
}

/// The anchors that a page's headings make, as GitHub makes them.
fn anchors(text: &str) -> BTreeSet<String> {
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

fn slug(heading: &str) -> String {
    let kept = heading.to_lowercase();
    let kept = kept.chars().filter_map(|c| match c {
        ' ' => Some('-'),
        c if c.is_alphanumeric() || c == '-' || c == '_' => Some(c),
        _ => None,
    });
    kept.collect()
}

/// The rows of tables whose first heading begins so, as cells, with their lines.
fn rows_of(text: &str, header: &str) -> Vec<(usize, Vec<String>)> {
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

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_')
}

/// `muniment_evidence` and its kin are crates.
fn is_metric(word: &str) -> bool {
    let crates = ["evidence", "audit", "client", "proto"];
    word.strip_prefix("muniment_")
        .is_some_and(|rest| rest.len() > 2 && !crates.contains(&rest))
}

// ---- reading sources ------------------------------------------------------------------

/// What a constant is set to.
fn constant<'a>(source: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = source.split_once(&format!("const {name}: "))?;
    let (_, rest) = rest.split_once('=')?;
    Some(rest.split_once(';')?.0.trim())
}

/// A number of bytes or pieces, or a time in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Quantity {
    Count(u64),
    Share(f64),
    Millis(u64),
}

/// What a table says: `512 KiB`, `5 s`, `32`, `0.75`.
fn quantity(said: &str) -> Option<Quantity> {
    let (number, unit) = said.split_once(' ').unwrap_or((said, ""));
    if number.contains('.') {
        return number.parse().ok().map(Quantity::Share);
    }
    let number: u64 = number.replace(',', "").parse().ok()?;
    Some(match unit {
        "" | "bytes" => Quantity::Count(number),
        "KiB" => Quantity::Count(number << 10),
        "MiB" => Quantity::Count(number << 20),
        "GiB" => Quantity::Count(number << 30),
        // Such a limit is a count of seconds in the code.
        "days" => Quantity::Count(number * 86_400),
        "ms" => Quantity::Millis(number),
        "s" => Quantity::Millis(number * 1000),
        _ => return None,
    })
}

/// What an expression of integers or a duration comes to; names are constants of the source.
fn evaluate(expression: &str, source: &str) -> Option<Quantity> {
    for (maker, factor) in [("from_millis", 1), ("from_secs", 1000)] {
        if let Some(inside) = expression.strip_prefix(&format!("Duration::{maker}(")) {
            let inside = product(inside.strip_suffix(')')?, source)?;
            return Some(Quantity::Millis(inside * factor));
        }
    }
    if expression.contains('.') {
        return expression.parse().ok().map(Quantity::Share);
    }
    product(expression, source).map(Quantity::Count)
}

/// `a`, `a * b`, `a << b`.
fn product(expression: &str, source: &str) -> Option<u64> {
    let (factors, shift) = expression.split_once("<<").unwrap_or((expression, "0"));
    let number = |text: &str| match text.trim().replace('_', "").parse::<u64>() {
        Ok(number) => Some(number),
        Err(_) => product(constant(source, text.trim())?, source),
    };
    let mut whole: u64 = 1;
    for factor in factors.split('*') {
        whole = whole.checked_mul(number(factor)?)?;
    }
    Some(whole << number(shift)?)
}

/// Names with kind and labels, of all metrics that are made.
fn metrics(source: &str) -> BTreeMap<String, (String, String)> {
    let mut found = BTreeMap::new();
    for rest in source.split("make").skip(1) {
        let Some((maker, rest)) = rest.trim_start().split_once('(') else {
            continue;
        };
        let kind = match maker.trim_start_matches('.') {
            "gauge" | "gauges" | "fraction" => "gauge",
            "counter" | "counters" | "seconds" => "counter",
            "histogram" | "histograms" => "histogram",
            _ => continue,
        };
        let mut strings = rest.split('"').skip(1).step_by(2);
        let Some(name) = strings.next() else { continue };
        let plural = maker.ends_with('s') && !maker.ends_with("seconds");
        let labels = match (plural, rest.split_once("&[")) {
            (true, Some((_, list))) => list.split(']').next().unwrap_or_default(),
            _ => "",
        };
        let labels = labels.replace(['"', ' '], "");
        found.insert(format!("muniment_{name}"), (kind.to_owned(), labels));
    }
    found
}

/// Section, key, value and whether it is required, of a TOML file made of plain lines. Keys
/// that are commented out (`# key = …`) count, since that section is none by default.
fn keys(toml: &str) -> Vec<(String, String, String, bool)> {
    let mut section = String::new();
    let mut all_required = false;
    let mut found = Vec::new();
    for line in toml.lines() {
        let line = line.trim_start_matches("# ").trim();
        let (before, comment) = line.split_once(" #").unwrap_or((line, ""));
        let required = comment.trim_start().starts_with("required");
        if let Some(name) = before.strip_prefix('[') {
            section = name.trim_matches(['[', ']', ' ']).to_owned();
            all_required = required;
        } else if let Some((key, value)) = before.split_once(" = ") {
            let is_key = key.chars().all(|c| c.is_ascii_lowercase() || c == '_');
            if is_key {
                let value = value.trim().to_owned();
                found.push((
                    section.clone(),
                    key.to_owned(),
                    value,
                    required || all_required,
                ));
            }
        }
    }
    found
}

/// The row of a key below the heading of its section.
fn described(page: &str, section: &str, key: &str) -> Option<(usize, Vec<String>)> {
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
