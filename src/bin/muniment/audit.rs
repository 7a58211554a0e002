//! `evidence prove`, `who`, `reconcile`, `sample`, `heads`: auditors' questions to a live
//! ledger.
//!
//! Promises: each answer is taken from evidence that was verified here, streamed straight
//! into the verifier that `muniment-verify` runs, under the pin of the command line; it
//! ends with the very code that `muniment-verify` has for that answer: also with UNPINNED,
//! where no pin was given. Leaves judgement and words to the evidence crate.
//!
//! Tests: `tests/cluster/questions.rs`.

use crate::cluster::bare;
use crate::exit::{CommandFailure, Exit};
use crate::lookup::{Which, key_of};
use crate::output::{self, shown};
use crate::reach::Reach;
use crate::{files, identity, now};
use clap::Subcommand;
use muniment_audit::answer::{Audited, Ending, NOT_FOUND_CODE, SEVERAL_CODE};
use muniment_audit::csv;
use muniment_audit::figures::Reckoning;
use muniment_audit::heads::{HEADS_MAX, Heads, NamedNote};
use muniment_audit::invoice::{InvoiceQuestion, WhichInvoice};
use muniment_audit::keys::KeysReader;
use muniment_audit::report::to_text;
use muniment_audit::sample::{COUNT_MAX, RecordSample, SEED_BYTES_MAX};
use muniment_client::Client;
use muniment_client::v1::get_receipt_request::What;
use muniment_client::v1::{ExportRequest, GetReceiptRequest, ReadLevel, read_level};
use muniment_evidence::class::FindingClass;
use muniment_evidence::digest::{Digest, Hasher};
use muniment_evidence::ids::TreeSize;
use muniment_evidence::note::NOTE_BYTES_MAX;
use muniment_evidence::policy::{POLICY_BYTES_MAX, Policy};
use muniment_evidence::report::Report;
use muniment_evidence::statement::Kind;
use muniment_evidence::verify::{
    self, BundleVerifier, Expected, KnownKeys, MaxAge, Observer, VerifyOptions,
};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::AsyncWrite;

/// A node that is up answers this at once; one that is down must not hold up the others.
const NODE_TIMEOUT: Duration = Duration::from_secs(3);

/// How long the ledger may take to gather the signatures that a policy asks for.
const WAIT_MS: u32 = 10_000;

/// Read at a time when a document is hashed.
const PIECE_BYTES: usize = 1024 * 1024;

#[derive(Subcommand)]
pub enum AuditCommand {
    /// The receipt of an invoice, verified here, and what it says
    Prove(Prove),
    /// Everything on record about one invoice, and who downloaded it
    Who(Who),
    /// Counts and sums by issuer, month, currency and kind, against your own
    Reconcile(Reconcile),
    /// Records chosen by a seed: the same for everyone who knows it
    Sample(Draw),
    /// Every node's checkpoint: whether all are of one history
    Heads(Compare),
}

#[derive(clap::Args)]
pub struct Prove {
    /// Number of the invoice
    #[arg(required_unless_present_any = ["uid", "index"])]
    number: Option<String>,
    /// Uid of the invoice
    #[arg(long, value_name = "U", conflicts_with = "number")]
    uid: Option<String>,
    /// Any record, by its index
    #[arg(long, value_name = "INDEX", conflicts_with_all = ["number", "uid"])]
    index: Option<u64>,
    #[command(flatten)]
    series: identity::Series,
    /// Write the receipt to this file
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// The invoice that the receipt should be about; its record must be OK
    #[arg(long, value_name = "FILE")]
    document: Option<PathBuf>,
    /// The record must be an invoice, and OK
    #[arg(long)]
    issued: bool,
    /// Whose signatures the checkpoint must carry (C2SP tlog-policy)
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// The newest cosignature by a witness of the policy is at most this old
    #[arg(long, value_name = "SECONDS", requires = "policy")]
    max_age: Option<u64>,
    /// A checkpoint that you kept from earlier: compared if it is of the same size
    #[arg(long, value_name = "FILE")]
    head: Option<PathBuf>,
    #[command(flatten)]
    known: KnownEvidence,
}

/// What the caller has already.
#[derive(clap::Args)]
pub struct KnownEvidence {
    /// A receipt or bundle that you have: a revocation in it holds here too
    #[arg(long, value_name = "FILE")]
    keys: Option<PathBuf>,
}

impl KnownEvidence {
    /// The changes of keys in it, under the pin of the command line.
    pub fn keys(&self, client: &Client) -> Result<Option<KnownKeys>, CommandFailure> {
        let Some(path) = &self.keys else {
            return Ok(None);
        };
        let cannot = |e| CommandFailure::local(path.display(), &e);
        let mut file = std::fs::File::open(path).map_err(cannot)?;
        let mut reader = KeysReader::new(client.trust());
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            match file.read(&mut piece) {
                Ok(0) => break,
                Ok(read) => reader.push(&piece[..read]),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(cannot(e)),
            }
        }
        let unusable = |why| {
            let path = path.display();
            CommandFailure::invalid(format!("the keys in {path} are not to be used: {why}"))
        };
        reader.finish().map_err(unusable).map(Some)
    }
}

/// What the streamed bundle is held against.
#[derive(clap::Args)]
struct Terms {
    /// Whose signatures the checkpoint must carry (C2SP tlog-policy)
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// A checkpoint that you kept from earlier: shows a rewritten ledger
    #[arg(long, value_name = "FILE")]
    head: Option<PathBuf>,
    /// Up to this record, in place of all there are
    #[arg(long, value_name = "INDEX", value_parser = clap::value_parser!(u64).range(1..))]
    to: Option<u64>,
    /// What is told beside the verdict (a lost outbox) counts as a fault
    #[arg(long)]
    strict: bool,
    #[command(flatten)]
    known: KnownEvidence,
}

#[derive(clap::Args)]
pub struct Who {
    /// Number of the invoice
    #[arg(required_unless_present = "uid")]
    number: Option<String>,
    /// Uid of the invoice
    #[arg(long, value_name = "U", conflicts_with = "number")]
    uid: Option<String>,
    #[command(flatten)]
    series: identity::Series,
    #[command(flatten)]
    terms: Terms,
}

#[derive(clap::Args)]
pub struct Reconcile {
    /// Your figures: issuer,month,currency,kind,count,sum
    #[arg(long, value_name = "FILE", required_unless_present = "write")]
    csv: Option<PathBuf>,
    /// Write the ledger's own figures in that form
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
    #[command(flatten)]
    terms: Terms,
}

#[derive(clap::Args)]
pub struct Draw {
    /// How many records
    #[arg(long, value_name = "K")]
    count: usize,
    /// Chosen after the checkpoint, so that nobody could foresee the sample
    #[arg(long, value_name = "TEXT")]
    seed: String,
    /// Of this kind only, such as ISSUE
    #[arg(long, value_name = "KIND")]
    kind: Option<String>,
    #[command(flatten)]
    terms: Terms,
}

#[derive(clap::Args)]
pub struct Compare {
    /// Keep the largest checkpoint in this file
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
    /// Compare with a checkpoint that you kept from earlier; may be repeated
    #[arg(long, value_name = "FILE")]
    against: Vec<PathBuf>,
}

pub async fn run(command: AuditCommand, reach: &Reach) -> Result<Exit, CommandFailure> {
    let answered = match command {
        AuditCommand::Prove(args) => prove(args, reach).await,
        AuditCommand::Who(args) => who(args, reach).await,
        AuditCommand::Reconcile(args) => reconcile(args, reach).await,
        AuditCommand::Sample(args) => sample(args, reach).await,
        AuditCommand::Heads(args) => heads(args, reach).await,
    };
    answered.map_err(as_verifier)
}

/// A name that the ledger was asked for before its evidence ends as it does in a bundle.
pub fn as_verifier(mut failure: CommandFailure) -> CommandFailure {
    failure.exit = match failure.exit {
        Exit::NotFound => Exit::Verdict(NOT_FOUND_CODE),
        Exit::Ambiguous => Exit::Verdict(SEVERAL_CODE),
        exit => exit,
    };
    failure
}

async fn prove(args: Prove, reach: &Reach) -> Result<Exit, CommandFailure> {
    // Before anything is asked for: a wrong name should not cost a call.
    let document = args.document.as_deref().map(hash).transpose()?;
    let client = reach.client()?;
    let what = match args.index {
        Some(index) => What::RecordIndex(index),
        None => {
            let which = Which::new(args.number, args.uid, args.series);
            What::Invoice(key_of(&which.find(&client, None).await?.0))
        }
    };
    let head = args.head.as_deref().map(|path| read(path, NOTE_BYTES_MAX));
    let head = head.transpose()?;
    let (policy, policy_text) = policy(args.policy.as_deref())?;
    let keys = args.known.keys(&client)?;
    let request = GetReceiptRequest {
        policy: policy_text,
        wait_ms: WAIT_MS,
        ..asked(what, false)
    };
    let (reply, _) = client.receipt(request).await?;
    let receipt = reply.receipt.unwrap_or_default().bytes;
    let expected = Expected {
        trust: client.trust(),
        policy: policy.as_ref(),
        keys: keys.as_ref(),
        document: document.as_ref().map(|(digest, length)| (digest, *length)),
        issued: args.issued,
        head: head.as_deref(),
        age: args.max_age.map(|most_s| MaxAge {
            now_s: now::seconds(),
            most_s,
        }),
    };
    let report = verify::receipt(&receipt, expected);
    // The receipt itself holds, whatever document was given.
    if let Some(path) = &args.output {
        files::write(path, &receipt).await?;
    }
    let file = args.output.map(|path| path.display().to_string());
    if reach.json {
        output::say_json(&json!({
            "record_index": reply.record_index,
            "file": file,
            "report": output::report_value(&report),
        }))?;
    } else {
        output::say(&to_text(&report))?;
        if let Some(file) = file {
            output::say(&format!("Saved as {}.", shown(&file)))?;
        }
    }
    Ok(Exit::Verdict(report.exit_code()))
}

async fn who(args: Who, reach: &Reach) -> Result<Exit, CommandFailure> {
    let which = match args.uid {
        Some(uid) => WhichInvoice::uid(&uid)
            .ok_or_else(|| CommandFailure::usage(format!("{uid:?} is not a uid")))?,
        None => WhichInvoice::Number {
            number: args.number.unwrap_or_default(),
            tenant: Some(args.series.tenant()),
            scheme: args.series.scheme,
            issuer: args.series.issuer,
            period: args.series.period,
        },
    };
    let question = InvoiceQuestion::new(which);
    let (report, question) = stream(&reach.client()?, &args.terms, question).await?;
    tell(&question.conclude(report), reach.json)
}

async fn reconcile(args: Reconcile, reach: &Reach) -> Result<Exit, CommandFailure> {
    let theirs = match &args.csv {
        None => None,
        Some(path) => {
            let bytes = read(path, csv::CSV_BYTES_MAX)?;
            let table = csv::parse(&bytes);
            Some(table.map_err(|e| CommandFailure::invalid(format!("{}: {e}", path.display())))?)
        }
    };
    let (report, ours) = stream(&reach.client()?, &args.terms, Reckoning::new()).await?;
    if let Some(path) = &args.write
        && report.holds()
    {
        files::write(path, csv::write(ours.figures()).as_bytes()).await?;
    }
    tell(&ours.conclude(theirs.as_ref(), report), reach.json)
}

async fn sample(args: Draw, reach: &Reach) -> Result<Exit, CommandFailure> {
    let kind = match &args.kind {
        None => None,
        Some(name) => {
            let kind = Kind::ALL.into_iter().find(|kind| kind.name() == name);
            Some(kind.ok_or_else(|| CommandFailure::usage(format!("there is no kind {name:?}")))?)
        }
    };
    let sample = RecordSample::new(args.count, &args.seed, kind).ok_or_else(|| {
        CommandFailure::usage(format!(
            "--count is 1 to {COUNT_MAX}, --seed a text of at most {SEED_BYTES_MAX} bytes"
        ))
    })?;
    let (report, sample) = stream(&reach.client()?, &args.terms, sample).await?;
    tell(&sample.conclude(report), reach.json)
}

async fn heads(args: Compare, reach: &Reach) -> Result<Exit, CommandFailure> {
    let mut all = Vec::new();
    for path in &args.against {
        all.push(NamedNote {
            name: path.display().to_string(),
            note: read(path, NOTE_BYTES_MAX)?,
        });
    }
    let client = reach.client()?;
    let mut silent = Vec::new();
    let timeout = NODE_TIMEOUT.min(reach.deadline());
    // Each for itself: what one node has applied, not what the leader has.
    let local = ReadLevel {
        level: Some(read_level::Level::Local(read_level::Local {})),
    };
    let addresses = addresses(&client, timeout).await;
    let asking = addresses
        .iter()
        .map(|address| client.checkpoint_of(address, local.clone(), timeout));
    let answers = futures::future::join_all(asking).await;
    for (address, answer) in addresses.iter().zip(answers) {
        match answer {
            Ok(reply) => all.push(NamedNote {
                name: address.clone(),
                note: reply.note.into_bytes(),
            }),
            Err(error) => silent.push(format!("{address}: {error}")),
        }
    }
    if all.len() == args.against.len() {
        let why = format!("no node answers\n{}", silent.join("\n"));
        return Err(CommandFailure::new(Exit::Unavailable, why));
    }
    if all.len() > HEADS_MAX {
        let why = format!(
            "{} checkpoints, at most {HEADS_MAX} are compared",
            all.len()
        );
        return Err(CommandFailure::usage(why));
    }
    // The first record's receipt under the newest checkpoint carries every key.
    let (reply, _) = client.receipt(asked(What::RecordIndex(0), true)).await?;
    let receipt = reply.receipt.unwrap_or_default().bytes;
    let mut heads = Heads::new(all);
    let sizes: Vec<TreeSize> = heads.sizes().collect();
    for pair in sizes.windows(2) {
        match client.consistency(pair[0], pair[1]).await {
            Ok(reply) => {
                let hashes = reply.hashes.iter().map(|hash| digest(hash));
                let hashes = hashes.collect::<Option<Vec<_>>>().ok_or_else(|| {
                    let why = "a consistency proof has a hash that is not of 32 bytes";
                    CommandFailure::new(Exit::Unproven, why)
                })?;
                heads.prove(pair[0], pair[1], hashes);
            }
            // Forks are shown without it; what stays open is told with the answer.
            Err(error) => silent.push(format!("from {} to {}: {error}", pair[0], pair[1])),
        }
    }
    let largest = heads.largest().map(<[u8]>::to_vec);
    let expected = Expected {
        trust: client.trust(),
        ..Expected::default()
    };
    let audited = heads.conclude_by_receipt(&receipt, expected);
    let agree = audited.report.holds() && audited.answer.ending == Ending::Answered;
    if let (Some(path), Some(note), true) = (&args.save, largest, agree) {
        files::write(path, &note).await?;
    }
    let exit = tell(&audited, reach.json)?;
    for why in &silent {
        output::complain(&format!("muniment: no answer from {}", shown(why)));
    }
    let missing = audited.answer.ending == Ending::Fault(FindingClass::MissingData);
    // Who is silent is not taken to agree; what is at fault stays a fault.
    Ok(
        match silent.is_empty() || !(agree || audited.report.holds() && missing) {
            true => exit,
            false => Exit::Unavailable,
        },
    )
}

/// The endpoints, and the nodes that those name.
async fn addresses(client: &Client, timeout: Duration) -> Vec<String> {
    let mut addresses = client.endpoints();
    let asking = addresses
        .iter()
        .map(|address| client.status_of(address, timeout));
    let answers = futures::future::join_all(asking).await;
    let mut known: BTreeSet<String> = addresses.iter().map(|address| bare(address)).collect();
    // Who does not answer this is asked for its checkpoint all the same, and then named.
    for peer in answers
        .into_iter()
        .flatten()
        .flat_map(|answer| answer.peers)
    {
        if !peer.client_address.is_empty() && known.insert(bare(&peer.client_address)) {
            addresses.push(peer.client_address);
        }
    }
    addresses
}

fn asked(what: What, fresh: bool) -> GetReceiptRequest {
    GetReceiptRequest {
        what: Some(what),
        fresh,
        ..GetReceiptRequest::default()
    }
}

fn digest(hash: &[u8]) -> Option<Digest> {
    Some(Digest(hash.try_into().ok()?))
}

/// Verifies the ledger as it streams in, while someone looks on.
async fn stream<O: Observer + Unpin>(
    client: &Client,
    terms: &Terms,
    observer: O,
) -> Result<(Report, O), CommandFailure> {
    let (policy, _) = policy(terms.policy.as_deref())?;
    let head = terms.head.as_deref().map(|path| read(path, NOTE_BYTES_MAX));
    let options = VerifyOptions {
        trust: client.trust().cloned(),
        policy,
        keys: terms.known.keys(client)?,
        head: head.transpose()?,
        ..VerifyOptions::default()
    };
    let mut judge = Judge(BundleVerifier::observed(options, observer));
    let request = ExportRequest {
        to_index: terms.to.unwrap_or(0),
        ..ExportRequest::default()
    };
    client.export(request, &mut judge).await?;
    let (report, observer) = judge.0.finish_observed();
    let report = match terms.strict {
        true => report.strict(),
        false => report,
    };
    Ok((report, observer))
}

/// The policy of a file, and its text.
fn policy(path: Option<&Path>) -> Result<(Option<Policy>, String), CommandFailure> {
    let Some(path) = path else {
        return Ok((None, String::new()));
    };
    let bytes = read(path, POLICY_BYTES_MAX)?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let policy = Policy::parse(&text)
        .map_err(|e| CommandFailure::invalid(format!("{}: {e}", path.display())))?;
    Ok((Some(policy), text))
}

/// Takes an export as a file would, and judges it at once.
struct Judge<O: Observer>(BundleVerifier<O>);

impl<O: Observer + Unpin> AsyncWrite for Judge<O> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.0.push(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fn tell(audited: &Audited, json: bool) -> Result<Exit, CommandFailure> {
    let exit = Exit::Verdict(audited.exit_code());
    if json {
        let text = audited.to_json();
        let value = serde_json::from_str(&text).unwrap_or(Value::String(text));
        output::say_json(&value)?;
    } else {
        output::say(&audited.to_string())?;
    }
    Ok(exit)
}

/// A file up to one byte over its limit, which its reader then refuses.
fn read(path: &Path, bytes_max: usize) -> Result<Vec<u8>, CommandFailure> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(bytes_max as u64 + 1).read_to_end(&mut bytes))
        .map_err(|e| CommandFailure::local(path.display(), &e))?;
    Ok(bytes)
}

fn hash(path: &Path) -> Result<(Digest, u64), CommandFailure> {
    let cannot = |e| CommandFailure::local(path.display(), &e);
    let mut file = std::fs::File::open(path).map_err(cannot)?;
    let (mut hasher, mut length) = (Hasher::new(), 0);
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        match file.read(&mut piece) {
            Ok(0) => return Ok((hasher.finish(), length)),
            Ok(read) => {
                hasher.update(&piece[..read]);
                length += read as u64;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(cannot(e)),
        }
    }
}
