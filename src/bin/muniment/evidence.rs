//! `evidence`: heads, records, receipts and bundles, to be checked by `muniment-verify`.
//!
//! Promises: what is saved is byte for byte what the ledger handed over; a receipt is
//! saved only after it verified. Leaves auditors' questions to `audit`, and the full
//! judgement to the offline verifier.

use crate::audit::KnownEvidence;
use crate::exit::{CommandFailure, Exit};
use crate::files::{self, OutputTarget};
use crate::lookup::{Which, key_of};
use crate::reach::Reach;
use crate::{audit, identity, measure, output};
use clap::Subcommand;
use muniment_client::v1::get_receipt_request::What;
use muniment_client::v1::{
    ExportRequest, GetReceiptRequest, ListRecordsRequest, LogRecord, ReadLevel,
};
use muniment_evidence::digest::hex;
use muniment_evidence::note::{Checkpoint, Note};
use muniment_evidence::opening::Document;
use muniment_evidence::proof::TlogProof;
use muniment_evidence::record::Record;
use muniment_evidence::verify::{self, Expected};
use serde_json::{Value, json};
use std::path::PathBuf;

/// The protocol's largest page of records.
const PAGE_SIZE_MAX: u64 = 1000;

#[derive(clap::Args)]
pub struct EvidenceArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// The newest checkpoint: keep it, and later compare with `muniment-verify bundle --head`
    Head(Head),
    /// The newest records
    Tail(Tail),
    /// The receipt of a record: checks offline, for ever
    Receipt(Receipt),
    /// The ledger's trust file; get it from someone you trust, not only from here
    Trust(Trust),
    /// Whose cosignatures survive the loss of zones, as a C2SP tlog-policy
    Policy(Policy),
    /// A bundle of all records, a period or an issuer's part, for auditors
    Export(Export),
    #[command(flatten)]
    Audit(audit::AuditCommand),
}

#[derive(clap::Args)]
struct Head {
    /// Write the note to this file
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// How fresh the answer must be: linearizable, local, bounded:MS, session:TOKEN, as-of:INDEX
    #[arg(long, value_name = "LEVEL", value_parser = measure::read_level)]
    read: Option<ReadLevel>,
    /// The newest note that the members have cosigned
    #[arg(long, conflicts_with = "read")]
    cosigned: bool,
}

#[derive(clap::Args)]
struct Tail {
    /// How many
    #[arg(short = 'n', long, value_name = "N", default_value_t = 20)]
    count: u64,
    /// From this record on, in place of the newest
    #[arg(long, value_name = "INDEX")]
    from: Option<u64>,
    /// Only these kinds, such as KEY or DOWNLOAD
    #[arg(long = "kind", value_name = "KIND")]
    kinds: Vec<String>,
}

#[derive(clap::Args)]
struct Receipt {
    /// Index of the record
    #[arg(required_unless_present_any = ["of_number", "uid"])]
    index: Option<u64>,
    /// In place of the index: the record by which this invoice was issued
    #[arg(long = "number", value_name = "N", conflicts_with = "index")]
    of_number: Option<String>,
    /// In place of the index: the record by which this invoice was issued
    #[arg(long, value_name = "U", conflicts_with_all = ["index", "of_number"])]
    uid: Option<String>,
    #[command(flatten)]
    series: identity::Series,
    /// Write the receipt to this file; as a C2SP proof if it ends in .tlog-proof
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Wait for a checkpoint that meets this policy (C2SP tlog-policy)
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// How long to wait for it
    #[arg(long, value_name = "MS", default_value_t = 10_000, requires = "policy")]
    wait_ms: u32,
    /// Under the newest checkpoint in place of the first
    #[arg(long)]
    fresh: bool,
    #[command(flatten)]
    known: KnownEvidence,
}

#[derive(clap::Args)]
struct Policy {
    /// How many zones must have cosigned [default: two, or one where there is only one]
    #[arg(long, value_name = "K", default_value_t = 0)]
    zones: u32,
    /// Ask each node for its ML-DSA-44 cosignature too
    #[arg(long)]
    post_quantum: bool,
    /// Write it to this file
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(clap::Args)]
struct Trust {
    /// Write it to this file
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(clap::Args)]
struct Export {
    /// Write to this file; - is stdout [default: stdout, unless it is a terminal]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// First record: its index, or a date (YYYY-MM-DD, UTC)
    #[arg(long, value_name = "INDEX|DATE", default_value = "0", value_parser = bound)]
    from: Bound,
    /// Record before which it ends, or a date [default: all there are]
    #[arg(long, value_name = "INDEX|DATE", value_parser = bound)]
    to: Option<Bound>,
    /// Records committed in this month (YYYY-MM, UTC)
    #[arg(long, value_name = "YYYY-MM", conflicts_with_all = ["from", "to"], value_parser = month)]
    month: Option<(u64, u64)>,
    /// Only the part about this issuer's invoices, each record proven by itself
    #[arg(long, value_name = "I")]
    issuer: Option<String>,
    /// The issuer's tenant
    #[arg(long, value_name = "T", default_value = "default", requires = "issuer")]
    tenant: String,
}

/// Where a range begins or ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bound {
    Index(u64),
    /// Milliseconds since 1970.
    Time(u64),
}

fn midnight_ms(date: time::Date) -> Result<u64, String> {
    let seconds = date.midnight().assume_utc().unix_timestamp();
    u64::try_from(seconds)
        .map(|seconds| seconds * 1000)
        .map_err(|_| "lies before 1970".to_owned())
}

fn bound(text: &str) -> Result<Bound, String> {
    if let Ok(index) = text.parse() {
        return Ok(Bound::Index(index));
    }
    let format = time::macros::format_description!("[year]-[month]-[day]");
    let date = time::Date::parse(text, format)
        .map_err(|_| "is neither an index nor a date (YYYY-MM-DD)".to_owned())?;
    midnight_ms(date).map(Bound::Time)
}

/// The first millisecond of the month, and of the next.
fn month(text: &str) -> Result<(u64, u64), String> {
    let format = time::macros::format_description!("[year]-[month]-[day]");
    let first = time::Date::parse(&format!("{text}-01"), format)
        .map_err(|_| "is not YYYY-MM".to_owned())?;
    let days = i64::from(first.month().length(first.year()));
    let next = first + time::Duration::days(days);
    Ok((midnight_ms(first)?, midnight_ms(next)?))
}

pub async fn run(args: EvidenceArgs, reach: &Reach) -> Result<Exit, CommandFailure> {
    match args.command {
        Command::Head(args) => head(args, reach).await,
        Command::Tail(args) => tail(args, reach).await,
        Command::Receipt(args) => receipt(args, reach).await.map_err(audit::as_verifier),
        Command::Trust(args) => trust(args, reach).await,
        Command::Policy(args) => policy(args, reach).await,
        Command::Export(args) => export(args, reach).await,
        Command::Audit(command) => audit::run(command, reach).await,
    }
}

async fn head(args: Head, reach: &Reach) -> Result<Exit, CommandFailure> {
    let client = reach.client()?;
    let reply = client.checkpoint(args.read, args.cosigned).await?;
    let parsed = Note::parse(reply.note.as_bytes())
        .and_then(|note| Ok((Checkpoint::parse(&note.text)?, note.signatures)));
    let (checkpoint, signatures) = parsed.map_err(|e| {
        CommandFailure::new(Exit::Unproven, format!("the answer is no checkpoint: {e}"))
    })?;
    if let Some(trust) = client.trust()
        && trust.origin != checkpoint.origin
    {
        let why = format!(
            "the checkpoint is of {}, the pin names {}",
            checkpoint.origin, trust.origin
        );
        return Err(CommandFailure::new(Exit::Unproven, why));
    }
    if let Some(path) = &args.output {
        files::write(path, reply.note.as_bytes()).await?;
    }
    if reach.json {
        output::say_json(&json!({
            "origin": checkpoint.origin,
            "size": checkpoint.size.get(),
            "root": checkpoint.root.to_hex(),
            "signed_by": signatures.iter().map(|s| s.name.clone()).collect::<Vec<_>>(),
            "note": reply.note,
            "answered": output::answered_value(&reply.answered.unwrap_or_default()),
        }))?;
    } else if args.output.is_none() {
        // The note itself: three lines and its signatures, made to be read and kept.
        output::say(&reply.note)?;
    }
    Ok(Exit::Ok)
}

async fn tail(args: Tail, reach: &Reach) -> Result<Exit, CommandFailure> {
    let client = reach.client()?;
    let mut request = ListRecordsRequest {
        from_index: args.from.unwrap_or(0),
        page_size: 1,
        kinds: args.kinds.iter().map(|kind| kind.to_uppercase()).collect(),
        ..ListRecordsRequest::default()
    };
    if args.from.is_none() {
        // The newest are known only when the size is. Of some kinds there may be few, so
        // for them the list begins at the beginning.
        let size = client.records(request.clone()).await?.log_size;
        if args.kinds.is_empty() {
            request.from_index = size.saturating_sub(args.count);
        }
    }
    let newest = args.from.is_none();
    let mut records = Vec::new();
    loop {
        let wanted = match newest && !args.kinds.is_empty() {
            true => PAGE_SIZE_MAX,
            false => (args.count - records.len() as u64).min(PAGE_SIZE_MAX),
        };
        if wanted == 0 {
            break;
        }
        request.page_size = u32::try_from(wanted).expect("at most a thousand");
        let page = client.records(request.clone()).await?;
        records.extend(page.records);
        if newest {
            let surplus = records.len().saturating_sub(args.count as usize);
            records.drain(..surplus);
        }
        request.from_index = page.next_index;
        if page.next_index >= page.log_size {
            break;
        }
    }
    let rows = records
        .iter()
        .map(Row::read)
        .collect::<Result<Vec<_>, _>>()?;
    if reach.json {
        let values: Vec<Value> = rows.iter().map(Row::to_value).collect();
        output::say_json(&json!({ "records": values }))?;
    } else {
        let headings = ["RECORD", "COMMITTED AT", "KIND", "OUTCOME", "NODE", "ABOUT"];
        let cells: Vec<Vec<String>> = rows.iter().map(Row::cells).collect();
        output::say(&output::table(&headings, &cells))?;
    }
    Ok(Exit::Ok)
}

/// A record of a list, read but not proven.
struct Row<'a> {
    raw: &'a LogRecord,
    record: Record,
    about: String,
}

impl Row<'_> {
    fn read(raw: &LogRecord) -> Result<Row<'_>, CommandFailure> {
        let record = Record::decode(&raw.record).map_err(|e| {
            let why = format!("record {} cannot be read: {e}", raw.index);
            CommandFailure::new(Exit::Unproven, why)
        })?;
        let about = match Document::decode(&raw.document) {
            Ok(document) => about(&document),
            Err(_) => "(not shown)".to_owned(),
        };
        Ok(Row { raw, record, about })
    }

    fn cells(&self) -> Vec<String> {
        vec![
            self.record.index.to_string(),
            output::utc(self.record.committed_at_ms),
            self.record.statement.kind.to_string(),
            self.record.outcome.to_string(),
            self.record.statement.node.to_string(),
            self.about.clone(),
        ]
    }

    fn to_value(&self) -> Value {
        json!({
            "index": self.record.index.get(),
            "committed_at_ms": self.record.committed_at_ms,
            "kind": self.record.statement.kind.to_string(),
            "outcome": self.record.outcome.to_string(),
            "node": self.record.statement.node.get(),
            "about": self.about,
            "leaf_hash": self.record.leaf_hash().to_hex(),
            "record_hex": hex(&self.raw.record),
        })
    }
}

fn about(document: &Document) -> String {
    let uid = |uid: &[u8; 16]| uuid::Uuid::from_bytes(*uid).to_string();
    match document {
        Document::Issue(d) | Document::Reverse(d) => d.metadata.identity.number.clone(),
        Document::AddRendition(d) => format!("{} of {}", d.rendition.role, uid(&d.uid)),
        Document::Download(d) => format!("bytes {}..{} of {}", d.start, d.end, uid(&d.uid)),
        Document::DownloadEnd(d) => format!("the end of {} downloads", d.downloads.len()),
        Document::Void(d) => uid(&d.uid),
        Document::Genesis(d) => d.origin.clone(),
        Document::Boot(d) => d.software.clone(),
        Document::Membership(d) => format!("voters {:?}", d.voters),
        Document::Leader(d) => format!("node {} leads in term {}", d.leader, d.term),
        Document::Key(d) => format!("{} changes of keys, serial {}", d.changes.len(), d.serial),
        Document::Anchor(d) => d.by.who().to_owned(),
        Document::Drill(d) => format!("{} of {}: {} missing", d.mode, d.target, d.missing),
        Document::Policy(d) => {
            let set = d.settings.iter();
            let set: Vec<_> = set.map(|s| format!("{} = {}", s.name, s.value)).collect();
            set.join(", ")
        }
        Document::Scrub(d) => format!("body {}: {d}", d.body_id),
        Document::Planned(d) => {
            let fields = d.named().into_iter();
            let fields = fields.filter(|(name, _)| *name != "endorsements");
            let fields: Vec<String> = fields
                .map(|(name, value)| format!("{name} {value}"))
                .collect();
            fields.join(", ")
        }
        Document::Mode(d) if d.reason.is_empty() => format!("{} of change {}", d.phase, d.number),
        Document::Mode(d) => format!("{} of change {}: {}", d.phase, d.number, d.reason),
    }
}

async fn receipt(args: Receipt, reach: &Reach) -> Result<Exit, CommandFailure> {
    let client = reach.client()?;
    let what = match args.index {
        Some(index) => What::RecordIndex(index),
        None => {
            let which = Which::new(args.of_number, args.uid, args.series);
            let (invoice, _) = which.find(&client, None).await?;
            What::Invoice(key_of(&invoice))
        }
    };
    let policy = match &args.policy {
        None => String::new(),
        Some(path) => {
            std::fs::read_to_string(path).map_err(|e| CommandFailure::local(path.display(), &e))?
        }
    };
    let request = GetReceiptRequest {
        what: Some(what),
        policy,
        fresh: args.fresh,
        wait_ms: args.wait_ms,
    };
    let keys = args.known.keys(&client)?;
    let policy = request.policy.clone();
    let (reply, mut report) = client.receipt(request).await?;
    let receipt = reply.receipt.unwrap_or_default();
    if let Some(keys) = &keys {
        let policy = Some(policy).filter(|text| !text.is_empty());
        let policy = policy.map(|text| muniment_evidence::policy::Policy::parse(&text));
        let policy = policy
            .transpose()
            .map_err(|e| CommandFailure::invalid(e.to_string()))?;
        let expected = Expected {
            trust: client.trust(),
            policy: policy.as_ref(),
            keys: Some(keys),
            ..Expected::default()
        };
        report = verify::receipt(&receipt.bytes, expected);
    }
    if let Some(path) = &args.output {
        let bytes = match path.extension().is_some_and(|e| e == "tlog-proof") {
            true => tlog_proof(&receipt.bytes)?,
            false => receipt.bytes.to_vec(),
        };
        files::write(path, &bytes).await?;
    }
    let file = args.output.map(|path| path.display().to_string());
    if reach.json {
        output::say_json(&json!({
            "record_index": reply.record_index,
            "file": file,
            "report": output::report_value(&report),
        }))?;
    } else {
        output::say(&muniment_audit::report::to_text(&report))?;
        if let Some(file) = file {
            output::say(&format!("Saved as {}.", output::shown(&file)))?;
        }
    }
    Ok(Exit::Verdict(report.exit_code()))
}

/// The receipt as other people's tools read it; the record is its `extra`.
fn tlog_proof(receipt: &[u8]) -> Result<Vec<u8>, CommandFailure> {
    let unreadable =
        |e| CommandFailure::new(Exit::Unproven, format!("the receipt cannot be read: {e}"));
    let receipt = muniment_evidence::receipt::Receipt::decode(receipt).map_err(unreadable)?;
    let record = Record::decode(&receipt.record).map_err(unreadable)?;
    let proof = TlogProof {
        extra: Some(receipt.record),
        index: record.index,
        path: receipt.path,
        checkpoint: receipt.checkpoint,
    };
    Ok(proof.encode().into())
}

async fn policy(args: Policy, reach: &Reach) -> Result<Exit, CommandFailure> {
    let client = reach.client()?;
    let text = client.policy(args.zones, args.post_quantum).await?;
    if let Some(path) = &args.output {
        files::write(path, text.as_bytes()).await?;
    }
    if reach.json {
        output::say_json(&json!({ "policy": text }))?;
    } else if args.output.is_none() {
        output::say(text.trim_end())?;
    }
    Ok(Exit::Ok)
}

async fn trust(args: Trust, reach: &Reach) -> Result<Exit, CommandFailure> {
    let client = reach.client()?;
    let text = client.trust_file().await?;
    let trust = muniment_evidence::trust::Trust::parse(&text).map_err(|e| {
        let why = format!("the answer is no trust file: {e}");
        CommandFailure::new(Exit::Unproven, why)
    })?;
    if client.trust().is_some_and(|pin| *pin != trust) {
        let why = "the ledger names another origin or genesis than the pin";
        return Err(CommandFailure::new(Exit::Unproven, why));
    }
    if let Some(path) = &args.output {
        files::write(path, text.as_bytes()).await?;
    }
    if reach.json {
        output::say_json(&json!({
            "origin": trust.origin,
            "genesis": trust.genesis.to_hex(),
            "trust": text,
        }))?;
    } else if args.output.is_none() {
        output::say(&text)?;
    }
    Ok(Exit::Ok)
}

async fn export(args: Export, reach: &Reach) -> Result<Exit, CommandFailure> {
    let mut request = ExportRequest::default();
    match (args.month, args.from, args.to) {
        (Some((from, to)), ..) => {
            (request.from_ms, request.to_ms) = (Some(from), Some(to));
        }
        (None, Bound::Index(from), Some(Bound::Index(to))) if to <= from => {
            return Err(CommandFailure::usage("--to lies above --from"));
        }
        (None, from, to) => {
            match from {
                Bound::Index(index) => request.from_index = index,
                Bound::Time(time_ms) => request.from_ms = Some(time_ms),
            }
            match to {
                Some(Bound::Index(index)) => request.to_index = index,
                Some(Bound::Time(time_ms)) => request.to_ms = Some(time_ms),
                None => {}
            }
        }
    }
    if let Some(issuer) = args.issuer {
        (request.tenant, request.issuer) = (args.tenant, issuer);
    }
    let client = reach.client()?;
    let mut target = OutputTarget::open(args.output.as_deref(), reach.json).await?;
    let bytes = match client.export(request, target.sink()).await {
        Ok(bytes) => bytes,
        Err(error) => {
            target.discard().await;
            return Err(error.into());
        }
    };
    target.keep().await?;
    let file = args.output.filter(|path| path.as_os_str() != "-");
    let file = file.map(|path| path.display().to_string());
    if reach.json {
        output::say_json(&json!({ "file": file, "bytes": bytes }))?;
    } else if let Some(file) = file {
        output::say(&format!(
            "Exported {} to {file}. Check it with: muniment-verify bundle {file} --trust FILE",
            output::size(bytes)
        ))?;
    }
    Ok(Exit::Ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_is_an_index_or_a_day() {
        assert!(matches!(bound("17"), Ok(Bound::Index(17))));
        let midnight = bound("2026-11-27").map(|bound| match bound {
            Bound::Time(unix_ms) => unix_ms,
            Bound::Index(index) => panic!("{index} is no day"),
        });
        assert_eq!(midnight, Ok(1_795_737_600_000));
        for wrong in ["", "-1", "2026-02-30", "27.11.2026", "2026-11"] {
            assert!(bound(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_month_ends_where_the_next_begins() {
        let day_ms = 24 * 60 * 60 * 1000;
        for (text, days) in [("2026-02", 28), ("2028-02", 29), ("2026-12", 31)] {
            let (first, next) = month(text).unwrap();
            assert_eq!(next - first, days * day_ms, "{text}");
        }
        assert_eq!(month("2026-11").unwrap().1, month("2026-12").unwrap().0);
        for wrong in ["2026", "2026-13", "2026-11-01"] {
            assert!(month(wrong).is_err(), "{wrong}");
        }
    }
}
