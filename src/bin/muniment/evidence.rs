//! `evidence`: heads, records, receipts and bundles, to be checked by `muniment-verify`.
//!
//! Promises: what is saved is byte for byte what the ledger handed over; a receipt is
//! saved only after it verified. Leaves the full judgement to the offline verifier.

use crate::exit::{Exit, Failure};
use crate::files::{self, Target};
use crate::lookup::{Which, key_of};
use crate::reach::Reach;
use crate::{identity, measure, output};
use clap::Subcommand;
use muniment::client::v1::get_receipt_request::What;
use muniment::client::v1::{LogRecord, ReadLevel};
use muniment_evidence::digest::hex;
use muniment_evidence::note::{Checkpoint, Note};
use muniment_evidence::opening::Document;
use muniment_evidence::record::Record;
use serde_json::{Value, json};
use std::path::PathBuf;

/// The protocol's largest page of records.
const PAGE_SIZE_MAX: u64 = 1000;

#[derive(clap::Args)]
pub struct Args {
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
    /// A bundle of all records or a range, for auditors
    Export(Export),
}

#[derive(clap::Args)]
struct Head {
    /// Write the note to this file
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// How fresh the answer must be: linearizable (default) or local
    #[arg(long, value_name = "LEVEL", value_parser = measure::read_level)]
    read: Option<ReadLevel>,
}

#[derive(clap::Args)]
struct Tail {
    /// How many
    #[arg(short = 'n', long, value_name = "N", default_value_t = 20)]
    count: u64,
    /// From this record on, in place of the newest
    #[arg(long, value_name = "INDEX")]
    from: Option<u64>,
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
    /// Write the receipt to this file
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
    /// First record
    #[arg(long, value_name = "INDEX", default_value_t = 0)]
    from: u64,
    /// Record before which it ends [default: all there are]
    #[arg(long, value_name = "INDEX", value_parser = clap::value_parser!(u64).range(1..))]
    to: Option<u64>,
}

pub async fn run(args: Args, reach: &Reach) -> Result<Exit, Failure> {
    match args.command {
        Command::Head(args) => head(args, reach).await,
        Command::Tail(args) => tail(args, reach).await,
        Command::Receipt(args) => receipt(args, reach).await,
        Command::Trust(args) => trust(args, reach).await,
        Command::Export(args) => export(args, reach).await,
    }
}

async fn head(args: Head, reach: &Reach) -> Result<Exit, Failure> {
    let client = reach.client()?;
    let reply = client.checkpoint(args.read).await?;
    let parsed = Note::parse(reply.note.as_bytes())
        .and_then(|note| Ok((Checkpoint::parse(&note.text)?, note.signatures)));
    let (checkpoint, signatures) = parsed
        .map_err(|e| Failure::new(Exit::Unproven, format!("the answer is no checkpoint: {e}")))?;
    if let Some(trust) = client.trust()
        && trust.origin != checkpoint.origin
    {
        let why = format!(
            "the checkpoint is of {}, the pin names {}",
            checkpoint.origin, trust.origin
        );
        return Err(Failure::new(Exit::Unproven, why));
    }
    if let Some(path) = &args.output {
        files::write(path, reply.note.as_bytes()).await?;
    }
    if reach.json {
        output::say_json(&json!({
            "origin": checkpoint.origin,
            "size": checkpoint.size,
            "root": checkpoint.root.to_hex(),
            "signed_by": signatures.iter().map(|s| s.name.clone()).collect::<Vec<_>>(),
            "note": reply.note,
            "answered": output::answered_value(&reply.answered.unwrap_or_default()),
        }));
    } else if args.output.is_none() {
        // The note itself: three lines and its signatures, made to be read and kept.
        output::say(&reply.note);
    }
    Ok(Exit::Ok)
}

async fn tail(args: Tail, reach: &Reach) -> Result<Exit, Failure> {
    let client = reach.client()?;
    let mut next = match args.from {
        Some(from) => from,
        // The newest are known only when the size is.
        None => {
            let size = client.records(0, 1).await?.log_size;
            size.saturating_sub(args.count)
        }
    };
    let mut records = Vec::new();
    let mut left = args.count;
    while left > 0 {
        let page_size = u32::try_from(left.min(PAGE_SIZE_MAX)).expect("at most a thousand");
        let page = client.records(next, page_size).await?;
        let Some(last) = page.records.last() else {
            break;
        };
        next = last.index + 1;
        left = left.saturating_sub(page.records.len() as u64);
        records.extend(page.records);
        if next >= page.log_size {
            break;
        }
    }
    let rows = records
        .iter()
        .map(Row::read)
        .collect::<Result<Vec<_>, _>>()?;
    if reach.json {
        let values: Vec<Value> = rows.iter().map(Row::to_value).collect();
        output::say_json(&json!({ "records": values }));
    } else {
        let headings = ["RECORD", "COMMITTED AT", "KIND", "OUTCOME", "NODE", "ABOUT"];
        let cells: Vec<Vec<String>> = rows.iter().map(Row::cells).collect();
        output::say(&output::table(&headings, &cells));
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
    fn read(raw: &LogRecord) -> Result<Row<'_>, Failure> {
        let record = Record::decode(&raw.record).map_err(|e| {
            let why = format!("record {} cannot be read: {e}", raw.index);
            Failure::new(Exit::Unproven, why)
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
            self.record.statement.kind.name().to_owned(),
            self.record.outcome.to_string(),
            self.record.statement.node.to_string(),
            self.about.clone(),
        ]
    }

    fn to_value(&self) -> Value {
        json!({
            "index": self.record.index,
            "committed_at_ms": self.record.committed_at_ms,
            "kind": self.record.statement.kind.name(),
            "outcome": self.record.outcome.to_string(),
            "node": self.record.statement.node,
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
        Document::DownloadEnd(ends) => format!("the end of {} downloads", ends.len()),
        Document::Void(d) => uid(&d.uid),
        Document::Genesis(d) => d.origin.clone(),
        Document::Boot(d) => d.software.clone(),
        Document::Membership(d) => format!("voters {:?}", d.voters),
        Document::Leader(d) => format!("node {} leads in term {}", d.leader, d.term),
        Document::Key(d) => format!("{} changes of keys, serial {}", d.changes.len(), d.serial),
        Document::Anchor(d) => d.witness.clone(),
    }
}

async fn receipt(args: Receipt, reach: &Reach) -> Result<Exit, Failure> {
    let client = reach.client()?;
    let what = match args.index {
        Some(index) => What::RecordIndex(index),
        None => {
            let which = Which::new(args.of_number, args.uid, args.series);
            let (invoice, _) = which.find(&client, None).await?;
            What::Invoice(key_of(&invoice))
        }
    };
    let (reply, report) = client.receipt(what).await?;
    if let Some(path) = &args.output {
        let receipt = reply.receipt.unwrap_or_default();
        files::write(path, &receipt.bytes).await?;
    }
    let file = args.output.map(|path| path.display().to_string());
    if reach.json {
        output::say_json(&json!({
            "record_index": reply.record_index,
            "file": file,
            "report": output::report_value(&report),
        }));
    } else {
        output::say(&report.to_string());
        if let Some(file) = file {
            output::say(&format!("Saved as {}.", output::shown(&file)));
        }
    }
    Ok(Exit::Ok)
}

async fn trust(args: Trust, reach: &Reach) -> Result<Exit, Failure> {
    let client = reach.client()?;
    let text = client.trust_file().await?;
    let trust = muniment_evidence::trust::Trust::parse(&text).map_err(|e| {
        let why = format!("the answer is no trust file: {e}");
        Failure::new(Exit::Unproven, why)
    })?;
    if client.trust().is_some_and(|pin| *pin != trust) {
        let why = "the ledger names another origin or genesis than the pin";
        return Err(Failure::new(Exit::Unproven, why));
    }
    if let Some(path) = &args.output {
        files::write(path, text.as_bytes()).await?;
    }
    if reach.json {
        output::say_json(&json!({
            "origin": trust.origin,
            "genesis": trust.genesis.to_hex(),
            "trust": text,
        }));
    } else if args.output.is_none() {
        output::say(&text);
    }
    Ok(Exit::Ok)
}

async fn export(args: Export, reach: &Reach) -> Result<Exit, Failure> {
    let to = args.to.unwrap_or(0);
    if to != 0 && to <= args.from {
        return Err(Failure::usage("--to lies above --from"));
    }
    let client = reach.client()?;
    let mut target = Target::open(args.output.as_deref(), reach.json).await?;
    let bytes = match client.export(args.from, to, target.sink()).await {
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
        output::say_json(&json!({ "file": file, "bytes": bytes }));
    } else if let Some(file) = file {
        output::say(&format!(
            "Exported {} to {file}. Check it with: muniment-verify bundle {file} --trust FILE",
            output::size(bytes)
        ));
    }
    Ok(Exit::Ok)
}
