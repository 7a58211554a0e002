//! The caller's own figures: a small, strict table.
//!
//! Promises: reads `issuer,month,currency,kind,count,sum` as RFC 4180 quotes it, and
//! nothing that could be meant in two ways: every row has all fields, no key stands twice,
//! sums are plain decimals. What [`write`] writes reads back. Leaves comparing to
//! [`super::figures`].

use crate::figures::{Counted, FigureKey, Figures, Sum, is_month};
use crate::summary::words::decimal;
use std::fmt;

/// The first line.
pub const HEADER: [&str; 6] = ["issuer", "month", "currency", "kind", "count", "sum"];

/// The longest file: some hundred thousand rows.
pub const CSV_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Why a file is no such table, and on which line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CsvError {
    pub line: usize,
    pub why: String,
}

impl fmt::Display for CsvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.why)
    }
}

impl std::error::Error for CsvError {}

/// Reads a table; a byte order mark before it is passed over, as spreadsheets write one.
pub fn parse(bytes: &[u8]) -> Result<Figures, CsvError> {
    let fault = |line, why: &str| CsvError {
        line,
        why: why.to_owned(),
    };
    if bytes.len() > CSV_BYTES_MAX {
        return Err(fault(1, "the file is longer than 32 MiB"));
    }
    let text = std::str::from_utf8(bytes).map_err(|_| fault(1, "the file is not UTF-8"))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut rows = Rows {
        rest: text,
        line: 1,
    };
    match rows.next().transpose()? {
        Some((_, header)) if header == HEADER => {}
        _ => return Err(fault(1, &format!("the header is {}", HEADER.join(",")))),
    }
    let mut figures = Figures::default();
    for row in rows {
        let (line, fields) = row?;
        let (key, counted) = entry(fields).map_err(|why| CsvError { line, why })?;
        if figures.0.insert(key, counted).is_some() {
            let why = "a row with this issuer, month, currency and kind stands above";
            return Err(fault(line, why));
        }
    }
    Ok(figures)
}

/// Writes a table, rows in order.
pub fn write(figures: &Figures) -> String {
    let mut text = HEADER.join(",") + "\n";
    for (key, counted) in &figures.0 {
        let fields = [
            quoted(&key.issuer),
            quoted(&key.month),
            quoted(&key.currency),
            key.kind.name().to_owned(),
            counted.count.to_string(),
            counted.sum.to_string(),
        ];
        text += &(fields.join(",") + "\n");
    }
    text
}

fn entry(fields: Vec<String>) -> Result<(FigureKey, Counted), String> {
    let count = fields.len();
    let Ok([issuer, month, currency, kind, number, sum]) = <[String; 6]>::try_from(fields) else {
        return Err(format!("{count} fields, not 6"));
    };
    if !is_month(&month) {
        return Err(format!("{month:?} is not a month such as 2026-11"));
    }
    let kind = Figures::KINDS
        .into_iter()
        .find(|known| known.name() == kind)
        .ok_or_else(|| format!("{kind:?} is not ISSUE, REVERSE or VOID"))?;
    let digits = !number.is_empty() && number.bytes().all(|c| c.is_ascii_digit());
    let number = match number.parse() {
        Ok(number) if digits => number,
        _ => return Err(format!("{number:?} is not a count")),
    };
    let sum = Sum::parse(&sum).ok_or_else(|| format!("{sum:?} is not a sum such as -12.34"))?;
    let key = FigureKey {
        issuer,
        month,
        currency,
        kind,
    };
    Ok((key, Counted { count: number, sum }))
}

impl Sum {
    /// A plain decimal: no plus, no separators, no exponent.
    pub fn parse(text: &str) -> Option<Sum> {
        let digits = text.strip_prefix('-').unwrap_or(text);
        let (whole, fraction) = match digits.split_once('.') {
            Some((_, "")) => return None,
            Some(parts) => parts,
            None => (digits, ""),
        };
        let plain = |part: &str| part.bytes().all(|c| c.is_ascii_digit());
        if whole.is_empty() || !plain(whole) || !plain(fraction) {
            return None;
        }
        let exponent = u8::try_from(fraction.len()).ok();
        let exponent = exponent.filter(|exponent| *exponent <= Sum::EXPONENT_MAX)?;
        let sign = if digits.len() < text.len() { "-" } else { "" };
        Some(Sum {
            minor_units: format!("{sign}{whole}{fraction}").parse().ok()?,
            exponent,
        })
    }
}

impl fmt::Display for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&decimal(self.minor_units, self.exponent))
    }
}

fn quoted(text: &str) -> String {
    if text.contains(['"', ',', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

/// The rows of a text, each with the line on which it begins.
struct Rows<'a> {
    rest: &'a str,
    line: usize,
}

impl Iterator for Rows<'_> {
    type Item = Result<(usize, Vec<String>), CsvError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let line = self.line;
        let mut fields = Vec::new();
        loop {
            match self.field() {
                Ok((field, more)) => {
                    fields.push(field);
                    if !more {
                        return Some(Ok((line, fields)));
                    }
                }
                Err(why) => {
                    self.rest = "";
                    let why = why.to_owned();
                    return Some(Err(CsvError { line, why }));
                }
            }
        }
    }
}

impl Rows<'_> {
    /// One field, and whether another follows in the row.
    fn field(&mut self) -> Result<(String, bool), &'static str> {
        let mut field = String::new();
        if let Some(mut rest) = self.rest.strip_prefix('"') {
            loop {
                let at = rest.find('"').ok_or("a quote is not closed")?;
                field += &rest[..at];
                rest = &rest[at + 1..];
                match rest.strip_prefix('"') {
                    Some(after) => {
                        field.push('"');
                        rest = after;
                    }
                    None => break,
                }
            }
            self.line += field.matches('\n').count();
            self.rest = rest;
        } else {
            let at = self.rest.find([',', '\n', '\r', '"']);
            let at = at.unwrap_or(self.rest.len());
            field += &self.rest[..at];
            self.rest = &self.rest[at..];
        }
        if let Some(rest) = self.rest.strip_prefix(',') {
            self.rest = rest;
            return Ok((field, true));
        }
        let ended = self.rest.strip_prefix("\r\n");
        match ended.or_else(|| self.rest.strip_prefix('\n')) {
            Some(rest) => {
                self.rest = rest;
                self.line += 1;
            }
            // The last line may end without a line feed.
            None if self.rest.is_empty() => {}
            None => return Err("a quote or carriage return where none may stand"),
        }
        Ok((field, false))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "issuer,month,currency,kind,count,sum\n\
        \"Smith, \"\"J\"\"\n& Co\",2026-11,EUR,ISSUE,2,24.68\n\
        local,2026-11,,VOID,1,0\n\
        local,2026-11,JPY,REVERSE,1,-500\n";

    #[test]
    fn a_table_reads_back_as_it_was_written() {
        let figures = parse(TABLE.as_bytes()).unwrap();
        assert_eq!(figures.0.len(), 3);
        assert!(figures.0.keys().any(|k| k.issuer == "Smith, \"J\"\n& Co"));
        assert_eq!(write(&figures), TABLE);
        let loose = format!("\u{feff}{}", TABLE.replace('\n', "\r\n"));
        assert_eq!(parse(loose.trim_end().as_bytes()).unwrap().0.len(), 3);
        assert_eq!(
            write(&Figures::default()),
            format!("{}\n", HEADER.join(","))
        );
    }

    /// Figures that could be meant in two ways must not be compared.
    #[test]
    fn loose_writing_is_refused_by_line() {
        let row = |text: &str| format!("{}\na,2026-11,EUR,ISSUE,1,1.00\n{text}", HEADER.join(","));
        for (bad, line) in [
            (String::new(), 1),
            ("a,2026-11,EUR,ISSUE,1,1\n".to_owned(), 1),
            (row("b,2026-11,EUR,ISSUE,1\n"), 3),
            (row("b,2026-11,EUR,ISSUE,1,1,1\n"), 3),
            (row("\n"), 3),
            (row("b,2026-13,EUR,ISSUE,1,1\n"), 3),
            (row("b,2026-1,EUR,ISSUE,1,1\n"), 3),
            (row("b,2026-11,EUR,DOWNLOAD,1,1\n"), 3),
            (row("b,2026-11,EUR,ISSUE,+1,1\n"), 3),
            (row("b,2026-11,EUR,ISSUE,,1\n"), 3),
            (row("b,2026-11,EUR,ISSUE,1,1e3\n"), 3),
            (row("b,2026-11,EUR,ISSUE,1,+1\n"), 3),
            (row("b,2026-11,EUR,ISSUE,1,1.\n"), 3),
            (row("b,2026-11,EUR,ISSUE,1,.5\n"), 3),
            (row("b,2026-11,EUR,ISSUE,1,\"1,5\"\n"), 3),
            (row("a,2026-11,EUR,ISSUE,1,1.00\n"), 3),
            (row("\"b,2026-11,EUR,ISSUE,1,1\n"), 3),
            (row("b\"c,2026-11,EUR,ISSUE,1,1\n"), 3),
            (row("\"b\"c,2026-11,EUR,ISSUE,1,1\n"), 3),
        ] {
            assert_eq!(parse(bad.as_bytes()).unwrap_err().line, line, "{bad:?}");
        }
        assert!(parse(&[0xff]).is_err());
    }
}
