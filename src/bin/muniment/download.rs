//! `download`: an invoice's bytes, with the release of them on record.
//!
//! Promises: a file appears under its name only after its bytes have been checked; on
//! stdout the exit code says whether they were right. Leaves resuming to the client.

use crate::exit::{CommandFailure, Exit};
use crate::files::{self, OutputTarget};
use crate::lookup::{Which, key_of};
use crate::reach::Reach;
use crate::{measure, output};
use muniment_client::v1::{DownloadRequest, EvidenceMode, ReadLevel, read_level};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use tokio::time::Instant;

#[derive(clap::Args)]
pub struct DownloadArgs {
    #[command(flatten)]
    which: Which,
    /// Write to this file; - is stdout [default: stdout, unless it is a terminal]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Which rendition
    #[arg(long, value_name = "R", default_value = "original")]
    role: String,
    /// First and last byte, from 0: 0-99, or 100- for the rest
    #[arg(long, value_name = "A-B", value_parser = measure::range)]
    range: Option<measure::Range>,
    /// How the invoice is looked up: linearizable, local, bounded:MS, session:TOKEN, as-of:INDEX
    #[arg(long, value_name = "LEVEL", value_parser = measure::read_level)]
    read: Option<ReadLevel>,
    /// What the first byte waits for: strict (its record, default) or deferred (the node's
    /// promise of it, which works cut off from the leader)
    #[arg(long, value_name = "MODE", value_parser = measure::evidence_mode)]
    evidence: Option<EvidenceMode>,
    /// Keep the promise of a deferred download in this file
    #[arg(long, value_name = "FILE")]
    promise: Option<PathBuf>,
}

pub async fn run(args: DownloadArgs, reach: &Reach) -> Result<Exit, CommandFailure> {
    let client = reach.client()?;
    let evidence = args.evidence.unwrap_or(EvidenceMode::Strict);
    let deferred = evidence == EvidenceMode::Deferred;
    if args.promise.is_some() && !deferred {
        return Err(CommandFailure::usage("--promise needs --evidence deferred"));
    }
    // A node that is cut off finds the invoice in what it has.
    let local = ReadLevel {
        level: Some(read_level::Level::Local(read_level::Local {})),
    };
    let read = args.read.or(deferred.then_some(local));
    let (invoice, _) = args.which.find(&client, read.clone()).await?;
    let mut target = OutputTarget::open(args.output.as_deref(), reach.json).await?;
    let range = args.range.unwrap_or_default();
    let request = DownloadRequest {
        key: Some(key_of(&invoice)),
        role: args.role,
        start: range.start,
        end: range.end,
        read,
        evidence: evidence.into(),
    };
    let started = Instant::now();
    let done = match client.download(request, target.sink()).await {
        Ok(done) => done,
        Err(error) => {
            target.discard().await;
            return Err(error.into());
        }
    };
    let seconds = started.elapsed().as_secs_f64();
    target.keep().await?;
    if let Some(path) = &args.promise {
        for (at, promise) in done.promises.iter().enumerate() {
            files::write(&promise_path(path, at), &promise.promise).await?;
        }
    }
    let file = args.output.filter(|path| path.as_os_str() != "-");
    if reach.json {
        output::say_json(&json!({
            "invoice": output::invoice_value(&done.invoice),
            "role": done.rendition.role,
            "file": file.map(|path| path.display().to_string()),
            "start": done.start,
            "end": done.end,
            "sha256": done.sha256.to_hex(),
            "receipts": done.proofs.iter().map(output::proof_value).collect::<Vec<Value>>(),
            "promises": done.promises.iter().map(output::promise_value).collect::<Vec<Value>>(),
            "body_from": done.body_from,
            "seconds": seconds,
            "answered": output::answered_value(&done.answered),
        }))?;
    } else if let Some(path) = file {
        let mut rows = vec![
            ("file", path.display().to_string()),
            ("sha256", done.sha256.to_hex()),
        ];
        rows.extend(done.proofs.iter().map(output::proof_line));
        rows.extend(done.promises.iter().map(output::promise_line));
        rows.push(("bytes from", format!("node {}", done.body_from)));
        rows.push(output::answered_line(&done.answered));
        output::say(&format!(
            "{}: {} in {seconds:.2} s\n{}",
            output::shown(&output::identity(&done.invoice).number),
            output::size(done.end - done.start),
            output::lines(&rows)
        ))?;
    }
    Ok(Exit::Ok)
}

/// A download that went on at another node has a promise of each.
fn promise_path(path: &Path, at: usize) -> PathBuf {
    match at {
        0 => path.to_owned(),
        at => {
            let mut name = path.as_os_str().to_owned();
            name.push(format!(".{}", at + 1));
            name.into()
        }
    }
}
