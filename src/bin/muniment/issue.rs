//! `issue`: from files to issued invoices.
//!
//! Promises: the same command again issues nothing twice and answers with the first
//! outcome, even on a later day; nothing is sent before all of the plan is sound. One file
//! that fails does not stop the others. Leaves what is issued to `plan`, uniqueness to the ledger.
//!
//! Tests: `tests/cluster/command_line.rs`.

use crate::document::{EmptyDocuments, document};
use crate::exit::{CommandFailure, Exit};
use crate::identity::{self, Series};
use crate::plan::{IssueItem, plan};
use crate::reach::Reach;
use crate::{measure, output};
use futures::StreamExt as _;
use indicatif::{ProgressBar, ProgressStyle};
use muniment_client::v1::invoice_key::Key;
use muniment_client::{Client, ClientError, IssuedInvoice, Measure, UploadRequest, v1};
use muniment_evidence::digest::hex;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard};
use tokio::time::Instant;

/// Calls of their own under way at once, for the files that one stream does not settle.
const CONCURRENCY: usize = 8;

#[derive(clap::Args)]
pub struct IssueArgs {
    /// Files, or directories of files (hidden files are left out)
    #[arg(required_unless_present = "manifest", value_name = "FILE|DIR")]
    pub paths: Vec<PathBuf>,
    #[command(flatten)]
    pub series: Series,
    /// Number; for one file only [default: the file name]
    #[arg(long, value_name = "N")]
    pub number: Option<String>,
    /// Issue date [default: today in UTC]
    #[arg(long, value_name = "YYYY-MM-DD", value_parser = measure::date)]
    pub date: Option<String>,
    /// Seller's id
    #[arg(long, value_name = "ID")]
    pub seller: Option<String>,
    /// Buyer's id
    #[arg(long, value_name = "ID")]
    pub buyer: Option<String>,
    /// Total, such as 12.34; needs --currency
    #[arg(long, value_name = "A", allow_hyphen_values = true)]
    pub amount: Option<String>,
    /// Currency (ISO 4217), such as CNY
    #[arg(long, value_name = "C")]
    pub currency: Option<String>,
    /// The scheme's type code, such as 380
    #[arg(long, value_name = "CODE")]
    pub type_code: Option<String>,
    /// Where it must be durable before this returns: quorum, zones:K, regions:K or all
    #[arg(long, value_name = "LEVEL", value_parser = measure::write_level)]
    pub level: Option<v1::WriteLevel>,
    /// Names this call; for one file only [default: made of identity and content]
    #[arg(long, value_name = "R")]
    pub request_id: Option<String>,
    /// Metadata per file: JSON, or CSV with a heading line (docs/cli.md)
    #[arg(long, value_name = "FILE")]
    pub manifest: Option<PathBuf>,
    #[command(flatten)]
    pub empty: EmptyDocuments,
}

pub async fn run(args: IssueArgs, reach: &Reach) -> Result<Exit, CommandFailure> {
    let several = args.manifest.is_some()
        || args.paths.len() != 1
        || args.paths.iter().any(|path| path.is_dir());
    let items = plan(&args)?;
    let client = reach.client()?;
    if several {
        return issue_all(&client, items, args.empty, reach.json).await;
    }
    let item = items
        .first()
        .ok_or_else(|| CommandFailure::usage("no file"))?;
    let issued = issue(&client, item, args.empty).await?;
    if reach.json {
        output::say_json(&issued_value(&issued))?;
    } else {
        output::say(&issued_text(&issued))?;
    }
    Ok(Exit::Ok)
}

async fn issue_all(
    client: &Client,
    items: Vec<IssueItem>,
    empty: EmptyDocuments,
    json: bool,
) -> Result<Exit, CommandFailure> {
    let started = Instant::now();
    // Hidden by itself where stderr is no terminal.
    let bar = ProgressBar::new(items.len() as u64).with_style(
        ProgressStyle::with_template("issuing {bar:30} {pos}/{len}  {per_sec}  {msg}")
            .expect("the template is well formed"),
    );
    let results = issue_each(client, &items, empty, &bar).await;
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
        }))?;
    } else {
        output::say(&format!(
            "Issued {} of {} files in {seconds:.1} s; {repeated} of them had been issued before.",
            issued.len(),
            items.len(),
        ))?;
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
    items: &[IssueItem],
    empty: EmptyDocuments,
    bar: &ProgressBar,
) -> Vec<Result<IssuedInvoice, CommandFailure>> {
    let mut results: Vec<Option<Result<IssuedInvoice, CommandFailure>>> = Vec::new();
    results.resize_with(items.len(), || None);
    let mut conflicts = Vec::new();
    // Which item each place in the stream is: what is refused here is not sent at all.
    let (sent, refused) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
    let sent_at = |place: usize| lock(&sent)[place];
    let uploads = futures::stream::iter(items.iter().enumerate()).filter_map(|(at, item)| {
        let (sent, refused) = (&sent, &refused);
        async move {
            match document(&item.path, empty).await {
                Ok((source, measure)) => {
                    lock(sent).push(at);
                    Some((named(&item.upload, &measure), source))
                }
                Err(failure) => {
                    bar.inc(1);
                    lock(refused).push((at, failure));
                    None
                }
            }
        }
    });
    let run = client.issue_many(uploads, |place, result| {
        let at = sent_at(place);
        if items[at].date_is_default && matches!(result, Err(ClientError::Conflict(_))) {
            conflicts.push(at);
            return;
        }
        bar.inc(1);
        results[at] = Some(result.map_err(CommandFailure::from));
    });
    let run = run.await.map_err(CommandFailure::from);
    for (at, failure) in lock(&refused).drain(..) {
        results[at] = Some(Err(failure));
    }
    let mut calls = futures::stream::iter(conflicts)
        .map(|at| async move { (at, issue(client, &items[at], empty).await) })
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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("nobody panics with it")
}

/// With the request id that was given, or one made of identity and content.
fn named(upload: &UploadRequest, measure: &Measure) -> UploadRequest {
    let mut upload = upload.clone();
    if upload.request_id.is_empty() {
        let identity = upload.metadata.identity.clone().unwrap_or_default();
        upload.request_id = identity::issue_request_id("issue", &identity, &measure.sha256);
    }
    upload
}

/// One file in a call of its own.
async fn issue(
    client: &Client,
    item: &IssueItem,
    empty: EmptyDocuments,
) -> Result<IssuedInvoice, CommandFailure> {
    let (source, measure) = document(&item.path, empty).await?;
    let mut upload = named(&item.upload, &measure);
    let identity = upload.metadata.identity.clone().unwrap_or_default();
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
    first + &look_alikes_text(&issued.look_alikes) + &output::lines(&rows)
}

fn look_alikes_text(numbers: &[String]) -> String {
    if numbers.is_empty() {
        return String::new();
    }
    let shown: Vec<String> = numbers.iter().map(|number| output::shown(number)).collect();
    format!(
        "It looks like {}, which is another invoice: they differ in the case or width of letters.\n",
        shown.join(", ")
    )
}

pub fn issued_value(issued: &IssuedInvoice) -> Value {
    json!({
        "invoice": output::invoice_value(&issued.invoice),
        "repeated": issued.repeated,
        "look_alikes": issued.look_alikes,
        "durability": output::durability_value(&issued.durability),
        "receipt": output::proof_value(&issued.proof),
        "receipt_hex": hex(&issued.proof.receipt),
        "answered": output::answered_value(&issued.answered),
    })
}
