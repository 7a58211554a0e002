//! `issue`: from files to issued invoices.
//!
//! Promises: the same command again issues nothing twice and answers with the first
//! outcome, even on a later day; nothing is sent before all of the plan is sound. One file
//! that fails does not stop the others. Leaves uniqueness to the ledger.

use crate::exit::{CommandFailure, Exit};
use crate::identity::{self, Series};
use crate::manifest::{self, ManifestEntry};
use crate::reach::Reach;
use crate::{files, measure, money, now, output};
use futures::StreamExt as _;
use indicatif::{ProgressBar, ProgressStyle};
use muniment_client::v1::invoice_key::Key;
use muniment_client::{BodySource, Client, ClientError, IssuedInvoice, Measure, UploadRequest, v1};
use muniment_evidence::digest::hex;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use tokio::time::Instant;

/// Calls of their own under way at once, for the files that one stream does not settle.
const CONCURRENCY: usize = 8;

#[derive(clap::Args)]
pub struct IssueArgs {
    /// Files, or directories of files (hidden files are left out)
    #[arg(required_unless_present = "manifest", value_name = "FILE|DIR")]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    series: Series,
    /// Number; for one file only [default: the file name]
    #[arg(long, value_name = "N")]
    number: Option<String>,
    /// Issue date [default: today in UTC]
    #[arg(long, value_name = "YYYY-MM-DD", value_parser = measure::date)]
    date: Option<String>,
    /// Seller's id
    #[arg(long, value_name = "ID")]
    seller: Option<String>,
    /// Buyer's id
    #[arg(long, value_name = "ID")]
    buyer: Option<String>,
    /// Total, such as 12.34; needs --currency
    #[arg(long, value_name = "A", allow_hyphen_values = true)]
    amount: Option<String>,
    /// Currency (ISO 4217), such as CNY
    #[arg(long, value_name = "C")]
    currency: Option<String>,
    /// The scheme's type code, such as 380
    #[arg(long, value_name = "CODE")]
    type_code: Option<String>,
    /// Where it must be durable before this returns: quorum, zones:K, regions:K or all
    #[arg(long, value_name = "LEVEL", value_parser = measure::write_level)]
    level: Option<v1::WriteLevel>,
    /// Names this call; for one file only [default: made of identity and content]
    #[arg(long, value_name = "R")]
    request_id: Option<String>,
    /// Metadata per file: JSON, or CSV with a heading line (docs/cli.md)
    #[arg(long, value_name = "FILE")]
    manifest: Option<PathBuf>,
}

/// One file, ready to be issued.
struct Item {
    path: PathBuf,
    upload: UploadRequest,
    /// The day of the run stands in for a date that nobody gave.
    date_is_default: bool,
}

pub async fn run(args: IssueArgs, reach: &Reach) -> Result<Exit, CommandFailure> {
    let several = args.manifest.is_some()
        || args.paths.len() != 1
        || args.paths.iter().any(|path| path.is_dir());
    let items = plan(&args)?;
    let client = reach.client()?;
    if several {
        return issue_all(&client, items, reach.json).await;
    }
    let item = items
        .first()
        .ok_or_else(|| CommandFailure::usage("no file"))?;
    let issued = issue(&client, item).await?;
    if reach.json {
        output::say_json(&issued_value(&issued));
    } else {
        output::say(&issued_text(&issued));
    }
    Ok(Exit::Ok)
}

async fn issue_all(client: &Client, items: Vec<Item>, json: bool) -> Result<Exit, CommandFailure> {
    let started = Instant::now();
    // Hidden by itself where stderr is no terminal.
    let bar = ProgressBar::new(items.len() as u64).with_style(
        ProgressStyle::with_template("issuing {bar:30} {pos}/{len}  {per_sec}  {msg}")
            .expect("the template is well formed"),
    );
    let results = issue_each(client, &items, &bar).await;
    bar.finish_and_clear();

    let (mut issued, mut failed) = (Vec::new(), Vec::new());
    for (item, result) in items.iter().zip(results) {
        match result {
            Ok(done) => issued.push((item, done)),
            Err(failure) => failed.push((item, failure)),
        }
    }
    let repeated = issued.iter().filter(|(_, done)| done.repeated).count();
    let seconds = started.elapsed().as_secs_f64();
    if json {
        let done = issued.iter().map(|(item, done)| {
            let mut value = issued_value(done);
            value["file"] = item.path.display().to_string().into();
            value
        });
        let not_done = failed.iter().map(|(item, failure)| {
            let mut value = failure.to_value();
            value["file"] = item.path.display().to_string().into();
            value
        });
        output::say_json(&json!({
            "issued": done.collect::<Vec<Value>>(),
            "failed": not_done.collect::<Vec<Value>>(),
            "repeated": repeated,
            "seconds": seconds,
        }));
    } else {
        output::say(&format!(
            "Issued {} of {} files in {seconds:.1} s; {repeated} of them had been issued before.",
            issued.len(),
            items.len(),
        ));
        for (item, failure) in &failed {
            let path = item.path.display().to_string();
            let text = format!("{path}: {}", failure.message());
            output::complain(&format!("muniment: {}", output::shown(&text)));
        }
    }
    Ok(failed.first().map_or(Exit::Ok, |(_, failure)| failure.exit))
}

/// All of them over one stream, then the few that need a closer look in calls of their own.
async fn issue_each(
    client: &Client,
    items: &[Item],
    bar: &ProgressBar,
) -> Vec<Result<IssuedInvoice, CommandFailure>> {
    let mut results: Vec<Option<Result<IssuedInvoice, CommandFailure>>> = Vec::new();
    results.resize_with(items.len(), || None);
    let mut conflicts = Vec::new();
    let uploads = futures::stream::iter(items).then(|item| async {
        let (mut upload, source) = (item.upload.clone(), BodySource::File(item.path.clone()));
        // A file that cannot be read has no id; the client finds that out and says so.
        if let Ok(measure) = source.measure().await {
            name(&mut upload, &measure);
        }
        (upload, source)
    });
    let run = client.issue_many(uploads, |at, result| {
        if items[at].date_is_default && matches!(result, Err(ClientError::Conflict(_))) {
            conflicts.push(at);
            return;
        }
        bar.inc(1);
        results[at] = Some(result.map_err(CommandFailure::from));
    });
    let run = run.await.map_err(CommandFailure::from);
    let mut calls = futures::stream::iter(conflicts)
        .map(|at| async move { (at, issue(client, &items[at]).await) })
        .buffer_unordered(CONCURRENCY);
    while let Some((at, result)) = calls.next().await {
        bar.inc(1);
        results[at] = Some(result);
    }
    let untold = |result: Option<Result<IssuedInvoice, CommandFailure>>| match (result, &run) {
        (Some(result), _) => result,
        // The run was given up before this file had an outcome.
        (None, Err(failure)) => Err(failure.clone()),
        (None, Ok(())) => Err(CommandFailure::new(
            Exit::Other,
            "the run left it without an outcome",
        )),
    };
    results.into_iter().map(untold).collect()
}

/// The request id where none was given: made of identity and content.
fn name(upload: &mut UploadRequest, measure: &Measure) {
    if upload.request_id.is_empty() {
        let identity = upload.metadata.identity.clone().unwrap_or_default();
        upload.request_id = identity::issue_request_id("issue", &identity, &measure.sha256);
    }
}

/// One file in a call of its own.
async fn issue(client: &Client, item: &Item) -> Result<IssuedInvoice, CommandFailure> {
    let source = BodySource::File(item.path.clone());
    let mut upload = item.upload.clone();
    let measure = source.measure().await?;
    let identity = upload.metadata.identity.clone().unwrap_or_default();
    name(&mut upload, &measure);
    match client.issue(&upload, &source).await {
        Err(conflict @ ClientError::Conflict(_)) if item.date_is_default => {
            // Issued on an earlier day with that day's date? Then it is the same invoice.
            match date_of_same(client, identity, &measure).await {
                Some(date) if date != upload.metadata.issue_date => {
                    upload.metadata.issue_date = date;
                    Ok(client.issue(&upload, &source).await?)
                }
                _ => Err(conflict.into()),
            }
        }
        result => Ok(result?),
    }
}

/// The issue date of the invoice of that identity, if it has the same bytes.
async fn date_of_same(
    client: &Client,
    identity: v1::Identity,
    measure: &Measure,
) -> Option<String> {
    let key = Some(Key::Identity(identity));
    let (invoice, _) = client.get(v1::InvoiceKey { key }, None).await.ok()?;
    let mut renditions = invoice.renditions.iter();
    let same = renditions.any(|rendition| rendition.sha256[..] == measure.sha256.0);
    Some(invoice.metadata?.issue_date).filter(|_| same)
}

/// Every file with its metadata, checked as far as it can be without the ledger.
fn plan(args: &IssueArgs) -> Result<Vec<Item>, CommandFailure> {
    let mut entries = BTreeMap::new();
    let mut paths = Vec::new();
    if let Some(path) = &args.manifest {
        let text = std::fs::read_to_string(path)
            .map_err(|e| CommandFailure::local(format!("cannot read {}", path.display()), &e))?;
        let parsed = manifest::parse(&text)
            .map_err(|why| CommandFailure::invalid(format!("{}: {why}", path.display())))?;
        let root = path.parent().unwrap_or(Path::new(""));
        for entry in parsed {
            let file = root.join(&entry.file);
            if args.paths.is_empty() {
                paths.push(file.clone());
            }
            entries.insert(file, entry);
        }
    }
    for path in &args.paths {
        paths.extend(files::below(path)?);
    }
    if paths.is_empty() {
        return Err(CommandFailure::usage("there is no file to issue"));
    }
    if paths.len() > 1 && (args.number.is_some() || args.request_id.is_some()) {
        let why = "--number and --request-id are for one file; give several a --manifest";
        return Err(CommandFailure::usage(why));
    }
    let today = now::today();
    let mut taken: BTreeSet<[String; 5]> = BTreeSet::new();
    let mut items = Vec::new();
    for path in paths {
        let entry = entry_of(&entries, &path).cloned().unwrap_or_default();
        let item = item(args, entry, path, &today)?;
        let identity = item.upload.metadata.identity.clone().unwrap_or_default();
        let number = identity.number.clone();
        let key = [
            identity.tenant,
            identity.scheme,
            identity.issuer,
            identity.number,
            identity.period,
        ];
        if !taken.insert(key) {
            let why = format!(
                "{}: another file has the number {number:?} too; give numbers by --manifest",
                item.path.display()
            );
            return Err(CommandFailure::invalid(why));
        }
        items.push(item);
    }
    Ok(items)
}

/// By the path from the manifest's directory, else by the file name alone.
fn entry_of<'a>(
    entries: &'a BTreeMap<PathBuf, ManifestEntry>,
    path: &Path,
) -> Option<&'a ManifestEntry> {
    entries.get(path).or_else(|| {
        let name = path.file_name()?;
        entries
            .values()
            .find(|entry| Path::new(&entry.file) == Path::new(name))
    })
}

fn item(
    args: &IssueArgs,
    entry: ManifestEntry,
    path: PathBuf,
    today: &str,
) -> Result<Item, CommandFailure> {
    let at = |why: String| CommandFailure::invalid(format!("{}: {why}", path.display()));
    let name = path.file_name().and_then(|name| name.to_str());
    let number = entry
        .number
        .or_else(|| args.number.clone())
        .or_else(|| name.map(str::to_owned))
        .ok_or_else(|| at("the file name is not UTF-8; give --number".into()))?;
    let series = Series {
        tenant: entry.tenant.or_else(|| args.series.tenant.clone()),
        scheme: entry.scheme.or_else(|| args.series.scheme.clone()),
        issuer: entry.issuer.or_else(|| args.series.issuer.clone()),
        period: entry.period.or_else(|| args.series.period.clone()),
    };
    let date = entry.date.or_else(|| args.date.clone());
    let date = date.map(|date| measure::date(&date)).transpose();
    let date = date.map_err(at)?;
    let currency = entry.currency.or_else(|| args.currency.clone());
    let total = match (entry.amount.or_else(|| args.amount.clone()), currency) {
        (Some(amount), Some(currency)) => Some(money::parse(&amount, &currency).map_err(at)?),
        (Some(_), None) => return Err(at("an amount needs a currency".into())),
        (None, _) => None,
    };
    let labels = entry.labels.into_iter();
    let metadata = v1::Metadata {
        identity: Some(series.identity(&number)),
        type_code: entry
            .type_code
            .or_else(|| args.type_code.clone())
            .unwrap_or_default(),
        issue_date: date.clone().unwrap_or_else(|| today.to_owned()),
        seller: party(
            entry.seller.or_else(|| args.seller.clone()),
            entry.seller_name,
        )
        .map_err(at)?,
        buyer: party(entry.buyer.or_else(|| args.buyer.clone()), entry.buyer_name).map_err(at)?,
        total,
        labels: labels
            .map(|(key, value)| v1::Label { key, value })
            .collect(),
        ..v1::Metadata::default()
    };
    let media_type = entry
        .media_type
        .unwrap_or_else(|| files::media_type(&path).to_owned());
    Ok(Item {
        upload: UploadRequest {
            request_id: entry
                .request_id
                .or_else(|| args.request_id.clone())
                .unwrap_or_default(),
            metadata,
            role: String::new(),
            media_type,
            level: args.level,
        },
        date_is_default: date.is_none(),
        path,
    })
}

fn party(id: Option<String>, name: Option<String>) -> Result<Option<v1::Party>, String> {
    match (id, name) {
        (Some(id), name) => Ok(Some(v1::Party {
            scheme: String::new(),
            id,
            name: name.unwrap_or_default(),
        })),
        (None, Some(name)) => Err(format!("{name:?} is a party without an id")),
        (None, None) => Ok(None),
    }
}

pub fn issued_text(issued: &IssuedInvoice) -> String {
    let number = output::shown(&output::identity(&issued.invoice).number);
    let first = if issued.repeated {
        format!("{number} had been issued before; this is the first outcome.\n")
    } else {
        format!("{number} is issued.\n")
    };
    let mut rows = output::invoice_lines(&issued.invoice);
    rows.push(output::durability_line(&issued.durability));
    rows.push(output::proof_line(&issued.proof));
    rows.push(output::answered_line(&issued.answered));
    first + &output::lines(&rows)
}

pub fn issued_value(issued: &IssuedInvoice) -> Value {
    json!({
        "invoice": output::invoice_value(&issued.invoice),
        "repeated": issued.repeated,
        "durability": output::durability_value(&issued.durability),
        "receipt": output::proof_value(&issued.proof),
        "receipt_hex": hex(&issued.proof.receipt),
        "answered": output::answered_value(&issued.answered),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;

    #[derive(clap::Parser)]
    struct Command {
        #[command(flatten)]
        args: IssueArgs,
    }

    fn args(words: &[&str]) -> IssueArgs {
        Command::parse_from([&["issue"], words].concat()).args
    }

    #[test]
    fn a_file_alone_is_numbered_by_its_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("A-1.pdf");
        std::fs::write(&path, "x").unwrap();
        let items = plan(&args(&[path.to_str().unwrap()])).unwrap();
        let metadata = &items[0].upload.metadata;
        let identity = metadata.identity.clone().unwrap();
        assert_eq!(identity.number, "A-1.pdf");
        assert_eq!(identity.tenant, "default");
        assert_eq!(identity.scheme, "generic");
        assert_eq!(identity.issuer, "local");
        assert_eq!(metadata.total, None);
        assert_eq!(items[0].upload.media_type, "application/pdf");
        assert!(items[0].date_is_default);
    }

    #[test]
    fn a_manifest_outranks_the_flags() {
        let directory = tempfile::tempdir().unwrap();
        let manifest = directory.path().join("m.csv");
        let text = "file,number,amount,currency\na.pdf,7,1.50,EUR\nb.pdf,,,\n";
        std::fs::write(&manifest, text).unwrap();
        let words = ["--manifest", manifest.to_str().unwrap(), "--issuer", "me"];
        let items = plan(&args(&words)).unwrap();
        let first = &items[0].upload.metadata;
        assert_eq!(first.identity.as_ref().unwrap().number, "7");
        assert_eq!(first.identity.as_ref().unwrap().issuer, "me");
        assert_eq!(first.total.as_ref().unwrap().minor_units, 150);
        let second = items[1].upload.metadata.identity.as_ref().unwrap();
        assert_eq!(second.number, "b.pdf");
        assert_eq!(items[1].path, directory.path().join("b.pdf"));
    }

    /// Two files under one number would fail only half-way through the run.
    #[test]
    fn a_plan_that_cannot_hold_is_refused_before_anything_is_sent() {
        let directory = tempfile::tempdir().unwrap();
        for sub in ["x", "y"] {
            std::fs::create_dir(directory.path().join(sub)).unwrap();
            std::fs::write(directory.path().join(sub).join("a.pdf"), sub).unwrap();
        }
        let root = directory.path().to_str().unwrap();
        assert_eq!(plan(&args(&[root])).err().unwrap().exit, Exit::Invalid);
        assert_eq!(
            plan(&args(&[root, "--number", "1"])).err().unwrap().exit,
            Exit::Usage
        );
        let one = format!("{root}/x/a.pdf");
        let unpriced = plan(&args(&[&one, "--amount", "1"]));
        assert_eq!(unpriced.err().unwrap().exit, Exit::Invalid);
    }
}
