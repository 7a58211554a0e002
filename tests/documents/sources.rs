//! Sources, as far as documents speak of them: constants, metrics, keys, flags, messages.
//!
//! Promises: what cannot be read is told as absent, never guessed. Leaves judging to the
//! tests. Knows no Rust grammar: it looks for words.

use crate::pages::{collect, root, words};
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

/// The sources of some rooms as one text, with strings that go over several lines joined.
pub fn sources(rooms: &[&str]) -> String {
    let mut paths = Vec::new();
    for room in rooms {
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

/// What a constant is set to.
pub fn constant<'a>(source: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = source.split_once(&format!("const {name}: "))?;
    let (_, rest) = rest.split_once('=')?;
    Some(rest.split_once(';')?.0.trim())
}

/// A number of bytes or pieces, or a time in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Quantity {
    Count(u64),
    Share(f64),
    Millis(u64),
}

/// What a table says: `512 KiB`, `5 s`, `32`, `0.75`.
pub fn quantity(said: &str) -> Option<Quantity> {
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
pub fn evaluate(expression: &str, source: &str) -> Option<Quantity> {
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

/// `a`, `a * b`, `a << b`, `a / b`.
pub fn product(expression: &str, source: &str) -> Option<u64> {
    if let Some((whole, part)) = expression.split_once(" / ") {
        return product(whole, source)?.checked_div(product(part, source)?);
    }
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

/// The long flags that a file declares: `#[arg(long …)]` before a field.
pub fn flags(source: &str) -> Vec<String> {
    let mut found = Vec::new();
    for rest in source.split("#[arg(").skip(1) {
        let Some((attribute, field)) = rest.split_once(")]\n") else {
            continue;
        };
        if let Some((_, named)) = attribute.split_once("long = \"") {
            found.extend(named.split('"').next().map(str::to_owned));
        } else if words(attribute).any(|word| word == "long") {
            let field = field.trim_start().trim_start_matches("pub ");
            let name = field.split(':').next().unwrap_or_default();
            found.push(name.trim().replace('_', "-"));
        }
    }
    found
}

/// Names with kind and labels, of all metrics that are made: `kind("name", "help", &[labels])`.
pub fn metrics(source: &str) -> BTreeMap<String, (String, String)> {
    const MAKERS: [(&str, &str); 9] = [
        ("gauge", "gauge"),
        ("gauges", "gauge"),
        ("fraction", "gauge"),
        ("fractions", "gauge"),
        ("counter", "counter"),
        ("counters", "counter"),
        ("seconds", "counter"),
        ("histogram", "histogram"),
        ("histograms", "histogram"),
    ];
    let mut found = BTreeMap::new();
    for (at, _) in source.match_indices('(') {
        let maker = words(&source[..at]).last().unwrap_or_default();
        let Some((_, kind)) = MAKERS.iter().find(|(name, _)| *name == maker) else {
            continue;
        };
        let Some(rest) = source[at + 1..].trim_start().strip_prefix('"') else {
            continue;
        };
        let mut strings = rest.split('"').step_by(2);
        let name = strings.next().unwrap_or_default();
        // After the second string, up to the end of the call.
        let end = rest.splitn(4, '"').nth(3).unwrap_or_default();
        let call = end.split(')').next().unwrap_or_default();
        let labels = match call.split_once("&[") {
            Some((_, list)) => list.split(']').next().unwrap_or_default(),
            None => "",
        };
        let labels = labels.replace(['"', ' '], "");
        found.insert(format!("muniment_{name}"), ((*kind).to_owned(), labels));
    }
    found
}

/// Section, key, value and whether it is required, of a TOML file made of plain lines. Keys
/// that are commented out (`# key = …`) count, since that section is none by default.
pub fn keys(toml: &str) -> Vec<(String, String, String, bool)> {
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

/// `muniment_evidence` and its kin are crates.
pub fn is_metric(word: &str) -> bool {
    let crates = ["evidence", "audit", "client", "proto"];
    word.strip_prefix("muniment_")
        .is_some_and(|rest| rest.len() > 2 && !crates.contains(&rest))
}
