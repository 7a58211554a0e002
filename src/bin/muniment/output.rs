//! How answers look: aligned tables for people, one JSON document for programs.
//!
//! Promises: text from the ledger cannot drive a terminal; an answer that cannot be written
//! is a failure of the command, except to a reader that has gone away, who has read enough;
//! times are UTC. Leaves what is said to the commands.

use crate::exit::CommandFailure;
use crate::money;
use muniment_client::{PromiseProof, ReceiptProof, SessionToken, v1};
use muniment_evidence::digest::hex;
use muniment_evidence::report::Report;
use serde_json::{Value, json};
use std::io::{self, Write};
use tokio::io::Interest;
use tokio::net::unix::pipe;

/// Whether somebody still reads what is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    Listens,
    /// As `head` is after its lines: what goes on only for its sake may end.
    Gone,
}

/// Writes a line to stdout.
pub fn say(text: &str) -> Result<Audience, CommandFailure> {
    write_line(&mut io::stdout().lock(), text.trim_end_matches('\n'))
}

pub fn say_json(value: &Value) -> Result<Audience, CommandFailure> {
    say(&pretty(value))
}

fn write_line(to: &mut impl Write, text: &str) -> Result<Audience, CommandFailure> {
    heard(writeln!(to, "{text}").and_then(|()| to.flush()))
}

/// What writing to stdout came to.
pub fn heard(written: io::Result<()>) -> Result<Audience, CommandFailure> {
    match written {
        Ok(()) => Ok(Audience::Listens),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Audience::Gone),
        Err(error) => Err(CommandFailure::local(
            "cannot write to standard output, so the answer is lost",
            &error,
        )),
    }
}

/// Waits until nobody reads stdout any more: for commands that may be silent for long.
pub async fn reader_gone() {
    // Opened anew, since waiting makes a descriptor non-blocking for all who share it.
    if let Err(error) = pipe_broken("/proc/self/fd/1").await {
        // A file, a terminal: its reader does not go away.
        tracing::debug!(%error, "stdout is no pipe that can be waited for");
        std::future::pending::<()>().await;
    }
}

async fn pipe_broken(path: &str) -> io::Result<()> {
    let sender = pipe::OpenOptions::new().open_sender(path)?;
    sender.ready(Interest::ERROR).await.map(drop)
}

/// Writes a line to stderr.
pub fn complain(text: &str) {
    // There is nowhere else to say it; the exit code remains.
    let _ = writeln!(io::stderr(), "{}", text.trim_end_matches('\n'));
}

pub fn pretty(value: &Value) -> String {
    format!("{value:#}")
}

/// Control characters and bidirectional overrides are shown, not obeyed.
pub fn shown(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        {
            safe.extend(c.escape_unicode());
        } else {
            safe.push(c);
        }
    }
    safe
}

/// Rows under headings, columns aligned; numbers to the right.
pub fn table(headings: &[&str], rows: &[Vec<String>]) -> String {
    let rows: Vec<Vec<String>> = rows
        .iter()
        .map(|row| row.iter().map(|cell| shown(cell)).collect())
        .collect();
    let numeric = |cell: &String| !cell.is_empty() && cell.bytes().all(|c| c.is_ascii_digit());
    let columns: Vec<(usize, bool)> = headings
        .iter()
        .enumerate()
        .map(|(i, heading)| {
            let cells = rows.iter().filter_map(|row| row.get(i));
            let widest = cells.clone().map(|cell| width(cell)).max().unwrap_or(0);
            let right = !rows.is_empty() && cells.clone().all(|c| numeric(c) || c == "-");
            (widest.max(width(heading)), right)
        })
        .collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut text = String::new();
        for (cell, (wide, right)) in cells.zip(&columns) {
            let gap = " ".repeat(wide.saturating_sub(width(cell)));
            if !text.is_empty() {
                text.push_str("  ");
            }
            text.push_str(&if *right {
                gap + cell
            } else {
                cell.to_owned() + &gap
            });
        }
        text.trim_end().to_owned() + "\n"
    };
    let mut text = line(&mut headings.iter().copied());
    for row in &rows {
        text.push_str(&line(&mut row.iter().map(String::as_str)));
    }
    text
}

/// Names to the left, texts to the right.
pub fn lines(rows: &[(&str, String)]) -> String {
    let wide = rows.iter().map(|(name, _)| width(name)).max().unwrap_or(0);
    let mut text = String::new();
    for (name, value) in rows {
        let gap = " ".repeat(wide - width(name));
        text.push_str(&format!("  {name}{gap}  {}\n", shown(value)));
    }
    text
}

/// Columns that a text takes: East Asian wide characters take two.
fn width(text: &str) -> usize {
    text.chars()
        .map(|c| match c {
            '\u{1100}'..='\u{115f}'
            | '\u{2e80}'..='\u{a4cf}'
            | '\u{ac00}'..='\u{d7a3}'
            | '\u{f900}'..='\u{faff}'
            | '\u{fe30}'..='\u{fe4f}'
            | '\u{ff00}'..='\u{ff60}'
            | '\u{ffe0}'..='\u{ffe6}'
            | '\u{20000}'..='\u{3fffd}' => 2,
            _ => 1,
        })
        .sum()
}

/// YYYY-MM-DD hh:mm:ss UTC.
pub fn utc(ms: u64) -> String {
    let format = time::macros::format_description!("[year]-[month]-[day] [hour]:[minute]:[second]");
    i64::try_from(ms / 1000)
        .ok()
        .and_then(|s| time::OffsetDateTime::from_unix_timestamp(s).ok())
        .and_then(|at| at.format(format).ok())
        .map_or_else(|| format!("{ms} ms"), |text| text + " UTC")
}

pub fn size(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{:.1} KiB", bytes as f64 / 1024.0),
        _ => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
    }
}

pub fn status(invoice: &v1::Invoice) -> &'static str {
    match invoice.status() {
        v1::InvoiceStatus::Unspecified => "unknown",
        v1::InvoiceStatus::Issued => "issued",
        v1::InvoiceStatus::PartlyReversed => "partly reversed",
        v1::InvoiceStatus::Reversed => "reversed",
        v1::InvoiceStatus::Void => "void",
    }
}

pub fn identity(invoice: &v1::Invoice) -> v1::Identity {
    let metadata = invoice.metadata.as_ref();
    metadata
        .and_then(|metadata| metadata.identity.clone())
        .unwrap_or_default()
}

fn total(invoice: &v1::Invoice) -> String {
    let metadata = invoice.metadata.as_ref();
    metadata
        .and_then(|metadata| metadata.total.as_ref())
        .map(money::text)
        .unwrap_or_default()
}

/// Several invoices, one line each.
pub fn invoice_table(invoices: &[v1::Invoice]) -> String {
    let headings = [
        "NUMBER", "ISSUER", "SCHEME", "DATE", "TOTAL", "STATUS", "RECORD", "UID",
    ];
    let rows: Vec<Vec<String>> = invoices
        .iter()
        .map(|invoice| {
            let identity = identity(invoice);
            let metadata = invoice.metadata.as_ref();
            vec![
                identity.number,
                identity.issuer,
                identity.scheme,
                metadata.map(|m| m.issue_date.clone()).unwrap_or_default(),
                total(invoice),
                status(invoice).to_owned(),
                invoice.record_index.to_string(),
                invoice.uid.clone(),
            ]
        })
        .collect();
    table(&headings, &rows)
}

/// One invoice, one line per fact.
pub fn invoice_lines(invoice: &v1::Invoice) -> Vec<(&'static str, String)> {
    let identity = identity(invoice);
    let mut rows = vec![
        ("uid", invoice.uid.clone()),
        ("status", status(invoice).to_owned()),
        (
            "issuer",
            format!("{} ({})", identity.issuer, identity.scheme),
        ),
        ("tenant", identity.tenant),
    ];
    if !identity.period.is_empty() {
        rows.push(("period", identity.period));
    }
    if let Some(metadata) = &invoice.metadata {
        rows.push(("issue date", metadata.issue_date.clone()));
        for (name, party) in [("seller", &metadata.seller), ("buyer", &metadata.buyer)] {
            if let Some(party) = party {
                rows.push((name, format!("{} {}", party.id, party.name)));
            }
        }
        for reference in &metadata.references {
            rows.push((
                "reference",
                format!("{} {}", reference.relation, reference.target),
            ));
        }
        for label in &metadata.labels {
            rows.push(("label", format!("{} = {}", label.key, label.value)));
        }
    }
    rows.push(("total", total(invoice)));
    for uid in &invoice.reversed_by {
        rows.push(("reversed by", uid.clone()));
    }
    for rendition in &invoice.renditions {
        let text = format!(
            "{}, {}, {}, SHA-256 {}",
            rendition.role,
            rendition.media_type,
            size(rendition.length),
            hex(&rendition.sha256)
        );
        rows.push(("rendition", text));
    }
    let at = utc(invoice.committed_at_ms);
    rows.push(("record", format!("{} of {at}", invoice.record_index)));
    rows.retain(|(_, text)| !text.trim().is_empty());
    rows
}

pub fn answered_line(answered: &v1::Answered) -> (&'static str, String) {
    let mut text = format!(
        "node {} in zone {}, at index {}",
        answered.served_by, answered.zone, answered.applied_index
    );
    match answered.staleness_ms_max {
        Some(ms) => text.push_str(&format!(", at most {ms} ms stale")),
        None => text.push_str(", no bound on how stale"),
    }
    ("answered by", text)
}

pub fn durability_line(durability: &v1::Durability) -> (&'static str, String) {
    let nodes: Vec<String> = durability.nodes.iter().map(u64::to_string).collect();
    let text = format!(
        "nodes {} in zones {} ({})",
        nodes.join(", "),
        durability.zones.join(", "),
        durability.level
    );
    ("durable on", text)
}

pub fn proof_line(proof: &ReceiptProof) -> (&'static str, String) {
    let text = if proof.pinned {
        format!("record {}, verified", proof.record_index)
    } else {
        format!("record {}, verified without a pin", proof.record_index)
    };
    ("receipt", text)
}

pub fn promise_line(promise: &PromiseProof) -> (&'static str, String) {
    let pin = if promise.pinned { "" } else { " without a pin" };
    let text = format!(
        "node {}, number {} of outbox {}, verified{pin}; its record follows",
        promise.node, promise.seq, promise.outbox
    );
    ("promise", text)
}

pub fn promise_value(promise: &PromiseProof) -> Value {
    json!({
        "node": promise.node.get(),
        "outbox": promise.outbox.get(),
        "seq": promise.seq.get(),
        "verified": true,
        "pinned": promise.pinned,
        "promise_hex": hex(&promise.promise),
    })
}

pub fn answered_value(answered: &v1::Answered) -> Value {
    json!({
        "served_by": answered.served_by,
        "zone": answered.zone,
        "region": answered.region,
        "applied_index": answered.applied_index,
        "log_size": answered.log_size,
        "staleness_ms_max": answered.staleness_ms_max,
        "session_token": session_token(answered),
    })
}

/// As `--read session:TOKEN` takes it.
fn session_token(answered: &v1::Answered) -> Option<String> {
    let token = SessionToken::decode(&answered.session_token).ok()?;
    Some(token.to_string())
}

pub fn durability_value(durability: &v1::Durability) -> Value {
    json!({
        "level": durability.level,
        "nodes": durability.nodes,
        "zones": durability.zones,
    })
}

pub fn proof_value(proof: &ReceiptProof) -> Value {
    json!({
        "record_index": proof.record_index.get(),
        "verified": true,
        "pinned": proof.pinned,
    })
}

/// The verifier's own JSON.
pub fn report_value(report: &Report) -> Value {
    let text = muniment_audit::report::to_json(report);
    serde_json::from_str(&text).unwrap_or(Value::String(text))
}

pub fn invoice_value(invoice: &v1::Invoice) -> Value {
    let identity = identity(invoice);
    let metadata = invoice.metadata.clone().unwrap_or_default();
    let renditions = invoice.renditions.iter().map(|rendition| {
        json!({
            "role": rendition.role,
            "media_type": rendition.media_type,
            "length": rendition.length,
            "sha256": hex(&rendition.sha256),
            "body_id": rendition.body_id,
        })
    });
    let references = metadata.references.iter().map(|reference| {
        json!({
            "relation": reference.relation,
            "target": reference.target,
            "sha256": hex(&reference.sha256),
            "amount": reference.amount.as_ref().map(money_value),
        })
    });
    let tax = metadata.tax.iter().map(|tax| {
        json!({
            "category": tax.category,
            "rate_millionths": tax.rate_millionths,
            "taxable": tax.taxable.as_ref().map(money_value),
            "tax": tax.tax.as_ref().map(money_value),
        })
    });
    let alternative_ids = metadata.alternative_ids.iter();
    let alternative_ids = alternative_ids.map(|id| json!({"scheme": id.scheme, "value": id.value}));
    let labels = metadata.labels.iter();
    let labels = labels.map(|label| (label.key.clone(), Value::from(label.value.clone())));
    json!({
        "uid": invoice.uid,
        "status": status(invoice).replace(' ', "_"),
        "tenant": identity.tenant,
        "scheme": identity.scheme,
        "issuer": identity.issuer,
        "number": identity.number,
        "period": identity.period,
        "type_code": metadata.type_code,
        "issue_date": metadata.issue_date,
        "seller": metadata.seller.as_ref().map(party_value),
        "buyer": metadata.buyer.as_ref().map(party_value),
        "total": metadata.total.as_ref().map(money_value),
        "tax": tax.collect::<Vec<_>>(),
        "alternative_ids": alternative_ids.collect::<Vec<_>>(),
        "references": references.collect::<Vec<_>>(),
        "residency_domain": metadata.residency_domain,
        "retain_until": metadata.retain_until,
        "labels": labels.collect::<serde_json::Map<_, _>>(),
        "renditions": renditions.collect::<Vec<_>>(),
        "reversed_minor_units": invoice.reversed_minor_units,
        "reversed_by": invoice.reversed_by,
        "record_index": invoice.record_index,
        "committed_at_ms": invoice.committed_at_ms,
    })
}

fn party_value(party: &v1::Party) -> Value {
    json!({"scheme": party.scheme, "id": party.id, "name": party.name})
}

fn money_value(money: &v1::Money) -> Value {
    json!({
        "minor_units": money.minor_units,
        "currency": money.currency,
        "exponent": money.exponent,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_align_also_under_wide_characters() {
        let rows = [
            vec!["发票".to_owned(), "7".to_owned()],
            vec!["a".to_owned(), "12".to_owned()],
        ];
        assert_eq!(
            table(&["NAME", "N"], &rows),
            "NAME   N\n发票   7\na     12\n"
        );
        assert_eq!(table(&["NAME"], &[]), "NAME\n");
    }

    #[test]
    fn text_from_the_ledger_cannot_drive_a_terminal() {
        assert_eq!(shown("a\u{1b}[2J\u{202e}b"), "a\\u{1b}[2J\\u{202e}b");
        assert_eq!(shown("发票 é"), "发票 é");
    }

    /// Takes so many bytes, then fails.
    struct Full(usize, io::ErrorKind);

    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            match self.0 {
                0 => Err(self.1.into()),
                room => {
                    self.0 = room.saturating_sub(bytes.len());
                    Ok(bytes.len().min(room))
                }
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn an_answer_that_cannot_be_written_is_a_failure_unless_nobody_reads_on() {
        for room in 0..6 {
            let full = write_line(&mut Full(room, io::ErrorKind::StorageFull), "12345");
            assert_eq!(full.unwrap_err().exit, crate::exit::Exit::Other, "{room}");
            let gone = write_line(&mut Full(room, io::ErrorKind::BrokenPipe), "12345");
            assert_eq!(gone.unwrap(), Audience::Gone, "{room}");
        }
        let whole = write_line(&mut Full(7, io::ErrorKind::StorageFull), "12345");
        assert_eq!(whole.unwrap(), Audience::Listens);
    }

    #[tokio::test]
    async fn a_pipe_is_seen_to_break_and_nothing_else_is() {
        use std::os::fd::AsRawFd as _;
        let (reader, writer) = std::io::pipe().unwrap();
        let path = format!("/proc/self/fd/{}", writer.as_raw_fd());
        let broken = tokio::spawn(async move { pipe_broken(&path).await });
        tokio::task::yield_now().await;
        assert!(!broken.is_finished(), "it is read");
        drop(reader);
        broken.await.unwrap().unwrap();
        for other in ["/dev/null", "/dev/full", "/proc/self/exe"] {
            assert!(pipe_broken(other).await.is_err(), "{other}");
        }
    }

    #[test]
    fn times_are_utc_and_any_number_is_taken() {
        assert_eq!(utc(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(utc(u64::MAX), format!("{} ms", u64::MAX));
    }
}
