//! Manifests: per-file metadata for a run of issues, as JSON or CSV.
//!
//! Promises: an unknown column is refused by name, so that a typing error never drops
//! data; an empty field means "not said here". Leaves defaults and amounts to `issue`.

use serde::Deserialize;
use std::collections::BTreeMap;

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
    pub labels: BTreeMap<String, String>,
}

/// Labels are columns of their own: `label.batch`.
const LABEL_PREFIX: &str = "label.";

/// Reads a manifest; what begins with a bracket is JSON (a list of objects), all else CSV
/// with a heading line.
pub fn parse(text: &str) -> Result<Vec<ManifestEntry>, String> {
    let text = text.trim_start_matches('\u{feff}');
    let entries = if text.trim_start().starts_with('[') {
        serde_json::from_str(text).map_err(|e| e.to_string())?
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
    rows.map(|(line, cells)| {
        if cells.len() != headings.len() {
            let (has, wants) = (cells.len(), headings.len());
            return Err(format!(
                "line {line}: {has} fields, the heading has {wants}"
            ));
        }
        let mut entry = ManifestEntry::default();
        for (heading, cell) in headings.iter().zip(cells) {
            if !cell.is_empty() {
                set(&mut entry, heading, cell)?;
            } else if slot(&mut entry, heading).is_none()
                && heading != "file"
                && !heading.starts_with(LABEL_PREFIX)
            {
                return Err(unknown(heading));
            }
        }
        Ok(entry)
    })
    .collect()
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
            (r#"[{"file": "a", "ammount": "1"}]"#, "ammount"),
            (r#"[{"number": "1"}]"#, "names no file"),
        ] {
            let error = parse(bad).unwrap_err();
            assert!(error.contains(why), "{bad:?} gave {error:?}");
        }
    }
}
