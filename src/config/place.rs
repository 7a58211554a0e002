//! Where in the file a problem stands, so that an error names the key and the line.
//!
//! Pure, and no second parser: it reads `[section]` and `key = value` lines as people
//! write them. A key inside an inline table is at worst not found; then the error stands
//! without a line.

/// What toml says of a text, as `line N: section.key: what`.
pub(super) fn explain(text: &str, error: &toml::de::Error) -> String {
    let what = error.message().replace('\n', " ");
    let Some(span) = error.span() else {
        return what;
    };
    let line = text
        .bytes()
        .take(span.start)
        .filter(|byte| *byte == b'\n')
        .count()
        + 1;
    match keys(text).find(|(at, _)| *at == line) {
        // This message quotes the key already.
        Some((_, key)) if !what.starts_with("unknown field") => {
            format!("line {line}: {key}: {what}")
        }
        _ => format!("line {line}: {what}"),
    }
}

/// Puts the line before a problem that begins with its `section.key: `.
pub(super) fn with_line(text: &str, problem: &str) -> String {
    let key = problem.split(':').next().unwrap_or_default();
    match keys(text).find(|(_, found)| found == key) {
        Some((line, _)) => format!("line {line}: {problem}"),
        None => problem.to_owned(),
    }
}

/// Every `key = value` line, from 1, with its section.
fn keys(text: &str) -> impl Iterator<Item = (usize, String)> {
    let mut section = String::new();
    text.lines().zip(1..).filter_map(move |(line, number)| {
        let line = line.trim();
        if let Some(header) = line.strip_prefix('[') {
            let end = header.find(']').unwrap_or(header.len());
            section = header[..end].trim_start_matches('[').trim().to_owned();
            return None;
        }
        let (key, _) = line.split_once('=')?;
        let key = key.trim().trim_matches('"');
        if section.is_empty() {
            Some((number, key.to_owned()))
        } else {
            Some((number, format!("{section}.{key}")))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::super::Config;

    const FILE: &str = r#"# a node
[node]
id = 1
zone = "zone-a"
data_dir = "data"
[listen]
client = "127.0.0.1:7401"
peer = "127.0.0.1:7601"
http = "127.0.0.1:7501"
[keys]
dir = "keys"
[cluster]
origin = "ledger.example/0"
"#;

    /// An operator edits a file of forty lines: which one is it?
    #[test]
    fn an_error_names_the_key_and_the_line() {
        for (from, to, said) in [
            ("id = 1", "id = \"one\"", "line 3: node.id: invalid type"),
            ("id = 1", "id = 0", "line 3: node.id: "),
            ("zone = ", "zones = ", "line 4: unknown field `zones`"),
            ("zone-a", "zone a", "line 4: node.zone: "),
            (
                "127.0.0.1:7601",
                "nowhere",
                "line 8: listen.peer: invalid socket address",
            ),
            ("ledger.example/0", "a b", "line 13: cluster.origin: "),
            ("origin = ", "= ", "line 13: "),
        ] {
            let error = Config::parse(&FILE.replacen(from, to, 1)).unwrap_err();
            let shown = error.to_string();
            assert!(shown.starts_with(said), "{said} in {shown}");
        }
        assert!(Config::parse(FILE).is_ok());
    }
}
