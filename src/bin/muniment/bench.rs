//! `bench`: a closed loop of clients against a ledger; prints JSON.
//!
//! Promises: every issue has an identity and bytes of its own; what begins in the warm-up
//! is not counted; errors are counted by code, never retried away beyond the client's own
//! deadline. Receipts are verified as always, so the client's share is in the numbers.
//! Leaves comparison with other systems to `benches/`.

use crate::exit::{CommandFailure, Exit};
use crate::identity::Series;
use crate::reach::Reach;
use crate::{measure, now, output};
use bytes::Bytes;
use muniment_client::v1::{self, DownloadRequest, InvoiceKey, invoice_key};
use muniment_client::{BodySource, Client, ClientError, UploadRequest};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, RwLock};
use std::time::Duration;
use tokio::time::Instant;

/// Connections, caches and the server's code paths settle within it.
const WARM_UP: Duration = Duration::from_secs(1);
/// Downloads and gets need something to ask for before the first issue is through.
const SEEDED_MIN: usize = 8;
/// Invoices to pick from: enough that caches of a laptop do not hold all of them.
const KNOWN_MAX: usize = 100_000;
/// A body holds its own name, so it cannot be shorter.
const SIZE_MIN: usize = 128;

#[derive(clap::Args)]
pub struct BenchArgs {
    /// Clients, each with its own connections and one call at a time
    #[arg(long, value_name = "N", default_value_t = 16,
          value_parser = clap::value_parser!(u16).range(1..=4096))]
    clients: u16,
    /// Bytes of an invoice: 300, 100k, 4M
    #[arg(long, value_name = "SIZE", default_value = "100k", value_parser = measure::byte_size)]
    size: usize,
    /// Weights of issue:download:get
    #[arg(long, value_name = "I:D:G", default_value = "1:0:0", value_parser = measure::mix)]
    mix: measure::Mix,
    /// How long, after a warm-up of one second
    #[arg(long, value_name = "S", default_value_t = 10)]
    seconds: u64,
    /// Where issues must be durable: quorum, zones:K, regions:K or all
    #[arg(long, value_name = "LEVEL", value_parser = measure::write_level)]
    level: Option<v1::WriteLevel>,
    /// Operations per second, begun on time whatever the ones before took; their latency
    /// counts from that time [default: a closed loop, each client's next call after its last]
    #[arg(long = "issue-rate", value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: Option<u32>,
    /// After each issue, wait for a receipt that meets this policy; an issue then takes both
    #[arg(long, value_name = "FILE")]
    policy: Option<std::path::PathBuf>,
    /// How fresh gets must be: linearizable, local, bounded:MS, session (what that client has
    /// seen, the default), as-of:INDEX
    #[arg(long, value_name = "LEVEL", value_parser = measure::read_level)]
    read: Option<v1::ReadLevel>,
    #[command(flatten)]
    series: Series,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Operation {
    Issue,
    Download,
    Get,
}

impl Operation {
    const ALL: [Operation; 3] = [Operation::Issue, Operation::Download, Operation::Get];

    fn name(self) -> &'static str {
        match self {
            Operation::Issue => "issue",
            Operation::Download => "download",
            Operation::Get => "get",
        }
    }
}

/// What all clients share.
struct Load {
    args: BenchArgs,
    /// Tells the invoices of this run from those of every other.
    run: u64,
    known: RwLock<Vec<String>>,
    /// Empty asks for no receipt beyond the first.
    policy: String,
}

/// What one client saw.
#[derive(Default)]
struct Seen {
    /// Microseconds per operation that succeeded.
    latencies: BTreeMap<Operation, Vec<u64>>,
    errors: BTreeMap<(Operation, String), u64>,
}

pub async fn run(args: BenchArgs, reach: &Reach) -> Result<Exit, CommandFailure> {
    if args.size < SIZE_MIN {
        return Err(CommandFailure::usage(format!(
            "--size is at least {SIZE_MIN}"
        )));
    }
    let policy = match &args.policy {
        None => String::new(),
        Some(path) => {
            std::fs::read_to_string(path).map_err(|e| CommandFailure::local(path.display(), &e))?
        }
    };
    let options = reach.options()?;
    let mut clients = Vec::new();
    for i in 0..usize::from(args.clients) {
        let mut own = options.clone();
        let first = i % own.endpoints.len();
        own.endpoints.rotate_left(first);
        own.seed = own.seed.wrapping_add(i as u64);
        clients.push(Client::new(own)?);
    }
    let load = Arc::new(Load {
        args,
        run: now::seed(),
        known: RwLock::new(Vec::new()),
        policy,
    });
    let seeded = load.seed_known(&clients[0]).await?;

    let started = Instant::now();
    let counted_from = started + WARM_UP;
    let until = counted_from + Duration::from_secs(load.args.seconds);
    let mut tasks = tokio::task::JoinSet::new();
    for (i, client) in clients.into_iter().enumerate() {
        let load = Arc::clone(&load);
        tasks.spawn(async move { load.drive(&client, i as u64, counted_from, until).await });
    }
    let mut all = Seen::default();
    for seen in tasks.join_all().await {
        all.merge(seen);
    }
    // The last calls end after the bell; what they did took that time as well.
    let seconds = counted_from.elapsed().as_secs_f64();
    let args = &load.args;
    output::say_json(&json!({
        "clients": args.clients,
        "size_bytes": args.size,
        "mix": format!("{}:{}:{}", args.mix.issue, args.mix.download, args.mix.get),
        "issue_rate": args.rate,
        "under_policy": !load.policy.is_empty(),
        "seconds": seconds,
        "warm_up_seconds": WARM_UP.as_secs(),
        "endpoints": options.endpoints,
        "run": format!("{:016x}", load.run),
        "issued_beforehand": seeded,
        "operations": all.to_value(seconds, args.size),
    }))?;
    Ok(Exit::Ok)
}

impl Load {
    /// Issues what downloads and gets will first ask for.
    async fn seed_known(&self, client: &Client) -> Result<usize, CommandFailure> {
        if self.args.mix.download == 0 && self.args.mix.get == 0 {
            return Ok(0);
        }
        let count = SEEDED_MIN.max(usize::from(self.args.clients));
        for n in 0..count {
            self.issue(client, &format!("{:016x}-seed-{n}", self.run))
                .await?;
        }
        Ok(count)
    }

    /// One client: a call, then the next.
    async fn drive(&self, client: &Client, id: u64, counted_from: Instant, until: Instant) -> Seen {
        let mut seen = Seen::default();
        let mut random = Random(self.run ^ id.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut n = 0u64;
        let clients = u32::from(self.args.clients);
        let pace = self
            .args
            .rate
            .map(|rate| Duration::from_secs(1) * clients / rate);
        let mut due = Instant::now() + pace.unwrap_or_default() * id as u32 / clients;
        loop {
            let mut began = Instant::now();
            if let Some(pace) = pace {
                tokio::time::sleep_until(due).await;
                // Late or not: who calls does not wait for who called before.
                began = due;
                due += pace;
            }
            if began >= until {
                return seen;
            }
            let operation = choose(self.args.mix, random.next());
            let result = match operation {
                Operation::Issue => {
                    n += 1;
                    self.issue(client, &format!("{:016x}-{id}-{n}", self.run))
                        .await
                }
                Operation::Download => self.download(client, random.next()).await,
                Operation::Get => self.get(client, random.next()).await,
            };
            if began >= counted_from {
                seen.count(operation, began.elapsed(), result.as_ref().err());
            }
        }
    }

    async fn issue(&self, client: &Client, name: &str) -> Result<(), ClientError> {
        let upload = UploadRequest {
            request_id: format!("bench:{name}"),
            metadata: v1::Metadata {
                identity: Some(self.args.series.identity(&format!("bench-{name}"))),
                ..v1::Metadata::default()
            },
            level: self.args.level,
            ..UploadRequest::default()
        };
        let source = BodySource::Memory(body(name, self.args.size));
        let issued = client.issue(&upload, &source).await?;
        if !self.policy.is_empty() {
            let request = v1::GetReceiptRequest {
                what: Some(v1::get_receipt_request::What::RecordIndex(
                    issued.proof.record_index.get(),
                )),
                policy: self.policy.clone(),
                ..v1::GetReceiptRequest::default()
            };
            client.receipt(request).await?;
        }
        let mut known = self.known.write().expect("no code panics under this lock");
        if known.len() < KNOWN_MAX {
            known.push(issued.invoice.uid);
        }
        Ok(())
    }

    async fn download(&self, client: &Client, random: u64) -> Result<(), ClientError> {
        let request = DownloadRequest {
            key: Some(self.any(random)),
            ..DownloadRequest::default()
        };
        client.download(request, &mut tokio::io::sink()).await?;
        Ok(())
    }

    async fn get(&self, client: &Client, random: u64) -> Result<(), ClientError> {
        client.get(self.any(random), self.args.read.clone()).await?;
        Ok(())
    }

    fn any(&self, random: u64) -> InvoiceKey {
        let known = self.known.read().expect("no code panics under this lock");
        // Never empty: mixes with downloads and gets begin with what was issued beforehand.
        let uid = known[(random % known.len() as u64) as usize].clone();
        InvoiceKey {
            key: Some(invoice_key::Key::Uid(uid)),
        }
    }
}

impl Seen {
    fn count(&mut self, operation: Operation, took: Duration, error: Option<&ClientError>) {
        match error {
            None => {
                let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
                self.latencies.entry(operation).or_default().push(micros);
            }
            Some(error) => {
                let code = error.code().to_owned();
                *self.errors.entry((operation, code)).or_default() += 1;
            }
        }
    }

    fn merge(&mut self, other: Seen) {
        for (operation, mut latencies) in other.latencies {
            let all = self.latencies.entry(operation).or_default();
            all.append(&mut latencies);
        }
        for (key, count) in other.errors {
            *self.errors.entry(key).or_default() += count;
        }
    }

    fn to_value(&self, seconds: f64, size: usize) -> Value {
        let mut operations = Map::new();
        for operation in Operation::ALL {
            let mut latencies = self.latencies.get(&operation).cloned().unwrap_or_default();
            let errors: Map<String, Value> = self
                .errors
                .iter()
                .filter(|((of, _), _)| *of == operation)
                .map(|((_, code), count)| (code.clone(), (*count).into()))
                .collect();
            if latencies.is_empty() && errors.is_empty() {
                continue;
            }
            latencies.sort_unstable();
            let per_second = latencies.len() as f64 / seconds;
            let ms = |micros: Option<u64>| micros.map(|micros| micros as f64 / 1000.0);
            let carries_body = operation != Operation::Get;
            operations.insert(
                operation.name().to_owned(),
                json!({
                    "count": latencies.len(),
                    "per_second": per_second,
                    "bytes_per_second": carries_body.then_some(per_second * size as f64),
                    "p50_ms": ms(percentile(&latencies, 50.0)),
                    "p99_ms": ms(percentile(&latencies, 99.0)),
                    "max_ms": ms(latencies.last().copied()),
                    "errors": errors,
                }),
            );
        }
        Value::Object(operations)
    }
}

/// Nearest rank: the least value that so many percent of all do not exceed.
fn percentile(sorted: &[u64], percent: f64) -> Option<u64> {
    let rank = (percent / 100.0 * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.clamp(1, sorted.len().max(1)) - 1).copied()
}

fn choose(mix: measure::Mix, random: u64) -> Operation {
    // The bias of the remainder is below 2^-32.
    let mut left = random % mix.sum();
    for (weight, operation) in [mix.issue, mix.download, mix.get]
        .into_iter()
        .zip(Operation::ALL)
    {
        if left < u64::from(weight) {
            return operation;
        }
        left -= u64::from(weight);
    }
    unreachable!("the remainder is below the sum of the weights")
}

/// Bytes that no other invoice has and that do not compress, behind a PDF's first line.
fn body(name: &str, size: usize) -> Bytes {
    let mut bytes = format!("%PDF-1.7\n% {name}\n").into_bytes();
    let seed = name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        // FNV-1a.
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    });
    let mut random = Random(seed);
    while bytes.len() < size {
        bytes.extend_from_slice(&random.next().to_be_bytes());
    }
    bytes.truncate(size);
    bytes.into()
}

/// SplitMix64 (Steele, Lea and Flood, 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_values_that_were_measured() {
        let hundred: Vec<u64> = (1..=100).collect();
        assert_eq!(percentile(&hundred, 50.0), Some(50));
        assert_eq!(percentile(&hundred, 99.0), Some(99));
        assert_eq!(percentile(&hundred, 100.0), Some(100));
        assert_eq!(percentile(&[7], 50.0), Some(7));
        assert_eq!(percentile(&[7], 99.0), Some(7));
        assert_eq!(percentile(&[1, 2, 3], 50.0), Some(2));
        assert_eq!(percentile(&[], 99.0), None);
    }

    #[test]
    fn operations_are_chosen_by_weight() {
        let mix = measure::mix("1:2:1").unwrap();
        let chosen: Vec<Operation> = (0..4).map(|random| choose(mix, random)).collect();
        use Operation::{Download, Get, Issue};
        assert_eq!(chosen, [Issue, Download, Download, Get]);
        let only = measure::mix("0:0:3").unwrap();
        assert!((0..9).all(|random| choose(only, random) == Get));
    }

    /// Equal bodies would be stored once and measure nothing.
    #[test]
    fn bodies_differ_and_have_the_size_asked_for() {
        let (a, b) = (body("a", SIZE_MIN), body("b", SIZE_MIN));
        assert_eq!((a.len(), b.len()), (SIZE_MIN, SIZE_MIN));
        assert_ne!(a, b);
        assert_eq!(a, body("a", SIZE_MIN));
    }

    #[test]
    fn what_the_clients_saw_adds_up() {
        let mut all = Seen::default();
        for _ in 0..2 {
            let mut one = Seen::default();
            one.count(Operation::Issue, Duration::from_millis(3), None);
            let error = ClientError::Usage(String::new());
            one.count(Operation::Issue, Duration::ZERO, Some(&error));
            all.merge(one);
        }
        let value = all.to_value(2.0, 100);
        assert_eq!(value["issue"]["count"], 2);
        assert_eq!(value["issue"]["per_second"], 1.0);
        assert_eq!(value["issue"]["p99_ms"], 3.0);
        assert_eq!(value["issue"]["errors"]["USAGE"], 2);
        assert_eq!(value.get("get"), None);
    }
}
