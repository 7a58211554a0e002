//! The documents, compared with what they speak of.
//!
//! Promises: a link that leads nowhere, a limit, metric, key or message that is not what the
//! code says, an example that is not the file it quotes, and a page that has grown too long
//! are each named with their line, all at once. Leaves prose to readers. Reads files only and
//! needs no feature of the crate.

mod pages;
mod sources;

use pages::{
    Broken, ROOMS, anchors, below_root, beside, code, collect, described, links, pages, prose,
    root, rows_of, slug, text, words,
};
use sources::{Quantity, constant, evaluate, flags, is_metric, keys, metrics, quantity, sources};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;

/// Read on one's first day, so it must fit into one sitting.
const README_LINES_MAX: usize = 100;
const ARCHITECTURE_BYTES_MAX: usize = 14 * 1024;
/// Where messages and tests are.
const SAID_IN: [&str; 5] = ["src", "evidence", "audit", "client", "tests"];
/// Shorter pieces of a message would be found anywhere.
const MESSAGE_BYTES_MIN: usize = 8;

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
        let Some(expression) = constant(&source, named).map(str::to_owned) else {
            broken.note(PAGE, line, &format!("{file} has no constant {named}"));
            continue;
        };
        // A named factor is a constant of the same file or of the same folder of sources.
        let around = source + &sources(&[file.split('/').next().unwrap_or_default()]);
        let (said, is) = (quantity(value), evaluate(&expression, &around));
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
    for (section, key, _, _) in keys(&text("src/config/witness_example.toml")) {
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
fn every_flag_of_the_command_line_is_described() {
    const PAGE: &str = "docs/cli.md";
    let page = text(PAGE);
    let mut broken = Broken::default();
    let mut seen = 0;
    let mut paths = Vec::new();
    collect(&root().join("src/bin/muniment"), &mut paths);
    for path in &paths {
        let source = fs::read_to_string(path).expect("sources are UTF-8");
        for flag in flags(&source) {
            seen += 1;
            let ends = [' ', '`', '\n', ']', ',', '|', '='];
            let told = ends
                .iter()
                .any(|end| page.contains(&format!("--{flag}{end}")));
            if !told {
                let what = format!("--{flag} of {} is not described", below_root(path));
                broken.note(PAGE, 1, &what);
            }
        }
    }
    assert!(seen > 40, "the flags were not found");
    broken.tell();
}

/// One table for what a command does, one for what both programs say of evidence.
#[test]
fn exit_codes_are_those_of_the_code() {
    let mut broken = Broken::default();
    let exits = text("src/bin/muniment/exit.rs");
    let rows = exits
        .split("Exit::")
        .filter_map(|rest| rest.split_once(" => ("));
    let commands: BTreeSet<u64> = rows
        .filter_map(|(_, rest)| rest.split(',').next()?.parse().ok())
        .collect();
    let classes = text("evidence/src/class.rs");
    let named = classes.lines().filter_map(|line| {
        let (code, name) = line.split_once(" = ")?.1.split_once(" \"")?;
        Some((code.parse().ok()?, name.trim_end_matches("\",").to_owned()))
    });
    let mut verdicts: BTreeMap<u64, String> = named.collect();
    assert!(commands.len() > 10 && verdicts.len() > 15, "no codes found");
    // Beside the classes: verified, usage, files, not found.
    verdicts.extend([0, 2, 4, 5].map(|code| (code, String::new())));
    for (page, header) in [("docs/cli.md", "code"), ("docs/auditing.md", "code")] {
        let mut told = BTreeSet::new();
        for (line, cells) in rows_of(&text(page), header) {
            let Ok(code) = cells[0].parse::<u64>() else {
                continue;
            };
            told.insert(code);
            let known = match page {
                "docs/cli.md" => commands.contains(&code),
                _ => verdicts.get(&code).is_some_and(|name| *name == cells[1]),
            };
            if !known {
                broken.note(page, line, &format!("{code}: nothing ends so"));
            }
        }
        let all: BTreeSet<u64> = match page {
            "docs/cli.md" => commands.clone(),
            _ => verdicts.keys().copied().collect(),
        };
        for code in all.difference(&told) {
            broken.note(page, 1, &format!("exit code {code} is missing"));
        }
    }
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
    let said = sources(&SAID_IN);
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

/// A path in prose, such as `src/store/log.rs`, is one from the root, or beside the page.
#[test]
fn paths_that_are_named_exist() {
    let mut broken = Broken::default();
    for page in pages() {
        for (line, text) in prose(&page.text) {
            for word in text.split('`').skip(1).step_by(2) {
                let is_path = ROOMS
                    .iter()
                    .any(|room| word.starts_with(&format!("{room}/")));
                if !is_path || !word.contains('.') || word.contains(['*', '<', ' ', ':']) {
                    continue;
                }
                let there = [word.to_owned(), beside(&page.path, word)]
                    .iter()
                    .any(|path| root().join(path).exists());
                if !there && !page.path.ends_with("CHANGELOG.md") {
                    broken.note(&page.path, line, &format!("{word}: is not there"));
                }
            }
        }
    }
    broken.tell();
}

/// A document that names a test of an invariant names one that there is.
#[test]
fn the_tests_that_are_named_exist() {
    let said = sources(&SAID_IN);
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
    let declared = "#[arg(short, long, value_name = \"X\")]\n    pub as_is: u8,";
    assert_eq!(flags(declared), ["as-is"]);
    let made = metrics("make.gauges(\n \"a_b\",\n \"What.\",\n &[\"peer\"],\n)");
    let is = ("gauge".to_owned(), "peer".to_owned());
    assert_eq!(made.get("muniment_a_b"), Some(&is));
}
