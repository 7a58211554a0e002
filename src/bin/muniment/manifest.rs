//! Manifests: per-file metadata for a run of issues, as JSON or CSV.
//!
//! Promises: an unknown column, one that stands twice, and a text with blanks around it are
//! refused by line and name, so that a typing error never drops or changes data; an empty
//! field means "not said here". Leaves defaults and amounts to `issue`.

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use std::collections::BTreeMap;
use std::fmt;

/// What a manifest says about one file.
#[derive(Clone, Debug, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ManifestEntry {
    pub file: String,
    pub tenant: Option<String>,
    pub scheme: Option<String>,
    pub issuer: Option<String>,
    pub number: Option<String>,
    pub period: Option<String>,
    pub date: Option<String>,
    pub type_code: Option<String>,
    pub seller: Option<String>,
    pub seller_name: Option<String>,
    pub buyer: Option<String>,
    pub buyer_name: Option<String>,
    pub amount: Option<String>,
    pub currency: Option<String>,
    pub request_id: Option<String>,
    pub media_type: Option<String>,
    #[serde(deserialize_with = "labels_once")]
    pub labels: BTreeMap<String, String>,
}

/// Labels are columns of their own: `label.batch`.
const LABEL_PREFIX: &str = "label.";

/// The other columns beside `file`, each a slot of an entry.
const COLUMNS: [&str; 15] = [
    "tenant",
    "scheme",
    "issuer",
    "number",
    "period",
    "date",
    "type_code",
    "seller",
    "seller_name",
    "buyer",
    "buyer_name",
    "amount",
    "currency",
    "request_id",
    "media_type",
];

/// Reads a manifest; what begins with a bracket is JSON (a list of objects), all else CSV
/// with a heading line.
pub fn parse(text: &str) -> Result<Vec<ManifestEntry>, String> {
    let text = text.trim_start_matches('\u{feff}');
    let entries = if text.trim_start().starts_with('[') {
        let mut entries: Vec<ManifestEntry> =
            serde_json::from_str(text).map_err(|e| e.to_string())?;
        for (entry, number) in entries.iter_mut().zip(1..) {
            entry.check(number)?;
        }
        entries
    } else {
        parse_csv(text)?
    };
    let mut seen = std::collections::BTreeSet::new();
    for entry in &entries {
        if entry.file.is_empty() {
            return Err("an entry names no file".to_owned());
        }
        if !seen.insert(entry.file.as_str()) {
            return Err(format!("{:?} stands twice", entry.file));
        }
    }
    Ok(entries)
}

fn parse_csv(text: &str) -> Result<Vec<ManifestEntry>, String> {
    let mut rows = rows(text)?.into_iter();
    let Some((_, headings)) = rows.next() else {
        return Err("the manifest is empty".to_owned());
    };
    let headings: Vec<String> = headings.iter().map(|h| h.trim().to_owned()).collect();
    check_headings(&headings)?;
    rows.map(|(line, cells)| {
        if cells.len() != headings.len() {
            let (has, wants) = (cells.len(), headings.len());
            return Err(format!(
                "line {line}: {has} fields, the heading has {wants}"
            ));
        }
        let mut entry = ManifestEntry::default();
        for (heading, cell) in headings.iter().zip(cells) {
            blanks(&format!("line {line}"), heading, &cell)?;
            if !cell.is_empty() {
                set(&mut entry, heading, cell)?;
            }
        }
        Ok(entry)
    })
    .collect()
}

/// Each is known and stands once, also where no row follows.
fn check_headings(headings: &[String]) -> Result<(), String> {
    let (mut seen, mut entry) = (std::collections::BTreeSet::new(), ManifestEntry::default());
    for heading in headings {
        if !seen.insert(heading) {
            return Err(format!("the column {heading:?} stands twice"));
        }
        let label = heading.strip_prefix(LABEL_PREFIX);
        let known = heading == "file"
            || label.is_some_and(|key| !key.is_empty())
            || slot(&mut entry, heading).is_some();
        if !known {
            return Err(unknown(heading));
        }
    }
    Ok(())
}

/// A number with a blank before or after it is another number, which nobody sees.
fn blanks(place: &str, heading: &str, text: &str) -> Result<(), String> {
    match text.trim() == text {
        true => Ok(()),
        false => Err(format!(
            "{place}, column {heading:?}: {text:?} begins or ends with a blank"
        )),
    }
}

impl ManifestEntry {
    /// What CSV is checked for by its cells.
    fn check(&mut self, number: usize) -> Result<(), String> {
        let place = format!("entry {number}");
        blanks(&place, "file", &self.file)?;
        for column in COLUMNS {
            if let Some(text) = slot(self, column) {
                blanks(&place, column, text.as_deref().unwrap_or_default())?;
            }
        }
        for (key, text) in &self.labels {
            blanks(&place, "labels", key)?;
            blanks(&place, &format!("{LABEL_PREFIX}{key}"), text)?;
        }
        Ok(())
    }
}

/// A map as JSON has it would keep the last of two with the same key.
fn labels_once<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<String, String>, D::Error> {
    struct Once;

    impl<'de> Visitor<'de> for Once {
        type Value = BTreeMap<String, String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("labels, each once")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut labels = BTreeMap::new();
            while let Some((key, value)) = map.next_entry::<String, String>()? {
                if labels.contains_key(&key) {
                    return Err(A::Error::custom(format!("the label {key:?} stands twice")));
                }
                labels.insert(key, value);
            }
            Ok(labels)
        }
    }

    from.deserialize_map(Once)
}

fn set(entry: &mut ManifestEntry, heading: &str, cell: String) -> Result<(), String> {
    if heading == "file" {
        entry.file = cell;
    } else if let Some(key) = heading.strip_prefix(LABEL_PREFIX) {
        entry.labels.insert(key.to_owned(), cell);
    } else if let Some(slot) = slot(entry, heading) {
        *slot = Some(cell);
    } else {
        return Err(unknown(heading));
    }
    Ok(())
}

fn unknown(heading: &str) -> String {
    format!("there is no column {heading:?}")
}

fn slot<'a>(entry: &'a mut ManifestEntry, heading: &str) -> Option<&'a mut Option<String>> {
    Some(match heading {
        "tenant" => &mut entry.tenant,
        "scheme" => &mut entry.scheme,
        "issuer" => &mut entry.issuer,
        "number" => &mut entry.number,
        "period" => &mut entry.period,
        "date" => &mut entry.date,
        "type_code" => &mut entry.type_code,
        "seller" => &mut entry.seller,
        "seller_name" => &mut entry.seller_name,
        "buyer" => &mut entry.buyer,
        "buyer_name" => &mut entry.buyer_name,
        "amount" => &mut entry.amount,
        "currency" => &mut entry.currency,
        "request_id" => &mut entry.request_id,
        "media_type" => &mut entry.media_type,
        _ => return None,
    })
}

/// RFC 4180: quotes around fields with commas, quotes (doubled) or line breaks. Gives each
/// row with the line on which it begins; empty lines are passed over.
fn rows(text: &str) -> Result<Vec<(usize, Vec<String>)>, String> {
    let mut rows = Vec::new();
    let (mut cells, mut cell) = (Vec::new(), String::new());
    let (mut quoted, mut was_quoted) = (false, false);
    let (mut line, mut began) = (1, 1);
    let mut characters = text.chars().peekable();
    loop {
        let c = characters.next();
        match c {
            Some('"') if quoted => {
                if characters.next_if_eq(&'"').is_some() {
                    cell.push('"');
                } else {
                    quoted = false;
                }
            }
            Some(c) if quoted => {
                line += usize::from(c == '\n');
                cell.push(c);
            }
            None if quoted => return Err(format!("line {began}: a quote is not closed")),
            Some('"') if cell.is_empty() && !was_quoted => (quoted, was_quoted) = (true, true),
            Some(',') => {
                cells.push(std::mem::take(&mut cell));
                was_quoted = false;
            }
            Some('\r') if characters.peek() == Some(&'\n') => {}
            Some('\n') | None => {
                if !(cells.is_empty() && cell.is_empty() && !was_quoted) {
                    cells.push(std::mem::take(&mut cell));
                    rows.push((began, std::mem::take(&mut cells)));
                }
                was_quoted = false;
                line += 1;
                began = line;
                if c.is_none() {
                    return Ok(rows);
                }
            }
            Some(_) if was_quoted => {
                return Err(format!("line {line}: text after a closing quote"));
            }
            Some(c) => cell.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn csv_and_json_say_the_same() {
        let csv = "\u{feff}file,number,amount,currency,buyer_name,label.batch\r\n\
                   a.pdf,1,12.34,CNY,\"Smith, \"\"J\"\"\n& Co\",x\r\n\r\n\
                   b.pdf,,,,,\n";
        let json = r#"[
            {"file": "a.pdf", "number": "1", "amount": "12.34", "currency": "CNY",
             "buyer_name": "Smith, \"J\"\n& Co", "labels": {"batch": "x"}},
            {"file": "b.pdf"}
        ]"#;
        let entries = parse(csv).unwrap();
        assert_eq!(entries, parse(json).unwrap());
        assert_eq!(entries[0].buyer_name.as_deref(), Some("Smith, \"J\"\n& Co"));
        assert_eq!(entries[1].number, None);
    }

    /// A column that is passed over in silence would be data lost.
    #[test]
    fn what_is_not_understood_is_refused() {
        for (bad, why) in [
            ("file,ammount\na.pdf,1\n", "ammount"),
            ("file,ammount\na.pdf,\n", "ammount"),
            ("file,number\na.pdf\n", "line 2"),
            ("file\n\"a.pdf\n", "not closed"),
            ("file\n\"a\"b\n", "after a closing quote"),
            ("number\n1\n", "names no file"),
            ("file\na\na\n", "twice"),
            ("", "empty"),
            ("file,ammount\n", "ammount"),
            ("file,label.\n", "label."),
            ("file,number,number\na,1,2\n", "stands twice"),
            ("file,number, number\na,1,2\n", "stands twice"),
            ("file,label.a,label.a\n", "stands twice"),
            ("file,number\na,1\nb, 2\n", "line 3, column \"number\""),
            ("file,number\na,\"2 \"\n", "line 2, column \"number\""),
            ("file,number\na,2\u{a0}\n", "line 2, column \"number\""),
            ("file,number\n a,2\n", "line 2, column \"file\""),
            ("file,number\na,  \n", "line 2, column \"number\""),
            ("file,label.x\na,\ty\n", "line 2, column \"label.x\""),
            (
                r#"[{"file": "a", "number": "1 "}]"#,
                "entry 1, column \"number\"",
            ),
            (
                r#"[{"file": "a"}, {"file": " b"}]"#,
                "entry 2, column \"file\"",
            ),
            (r#"[{"file": "a", "labels": {"x": " 1"}}]"#, "label.x"),
            (
                r#"[{"file": "a", "labels": {"x": "1", "x": "2"}}]"#,
                "twice",
            ),
            (r#"[{"file": "a", "number": "1", "number": "2"}]"#, "number"),
            (r#"[{"file": "a", "ammount": "1"}]"#, "ammount"),
            (r#"[{"number": "1"}]"#, "names no file"),
        ] {
            let error = parse(bad).unwrap_err();
            assert!(error.contains(why), "{bad:?} gave {error:?}");
        }
    }
}
