//! A closed loop against etcd, for comparison: puts and linearizable gets of one size.
//!
//! Run by `cluster/bench.sh`, which starts three etcd nodes on the same machine. Prints
//! one JSON document in the shape of `muniment bench`. Speaks etcd's KV service with two
//! hand-written messages, so that no copy of its protocol is kept here.

use prost::Message;
use std::process::ExitCode;
use std::time::Duration;
use tokio::time::Instant;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;

#[derive(Clone, PartialEq, Message)]
struct PutRequest {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

/// Without options a range of one key is a linearizable get.
#[derive(Clone, PartialEq, Message)]
struct RangeRequest {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
}

/// The count is enough: absent values are a broken run.
#[derive(Clone, PartialEq, Message)]
struct Response {
    #[prost(int64, tag = "4")]
    count: i64,
}

struct Args {
    endpoints: Vec<String>,
    clients: u64,
    size: usize,
    seconds: u64,
    get: bool,
}

fn args() -> Option<Args> {
    let mut args = Args {
        endpoints: Vec::new(),
        clients: 32,
        size: 38_000,
        seconds: 8,
        get: false,
    };
    let mut given = std::env::args().skip(1).filter(|arg| arg != "--bench");
    while let Some(flag) = given.next() {
        if flag == "--get" {
            args.get = true;
            continue;
        }
        let value = given.next()?;
        match flag.as_str() {
            "--endpoints" => args.endpoints = value.split(',').map(str::to_owned).collect(),
            "--clients" => args.clients = value.parse().ok()?,
            "--size" => args.size = value.parse().ok()?,
            "--seconds" => args.seconds = value.parse().ok()?,
            _ => return None,
        }
    }
    (!args.endpoints.is_empty()).then_some(args)
}

async fn call<Q: Message + 'static>(
    client: &mut tonic::client::Grpc<Channel>,
    path: &'static str,
    request: Q,
) -> Result<Response, String> {
    client.ready().await.map_err(|error| error.to_string())?;
    let codec = tonic_prost::ProstCodec::<Q, Response>::default();
    let path = PathAndQuery::from_static(path);
    let answer = client
        .unary(tonic::Request::new(request), path, codec)
        .await;
    answer
        .map(tonic::Response::into_inner)
        .map_err(|status| status.to_string())
}

async fn put(
    client: &mut tonic::client::Grpc<Channel>,
    key: String,
    value: Vec<u8>,
) -> Result<(), String> {
    let key = key.into_bytes();
    let request = PutRequest { key, value };
    call(client, "/etcdserverpb.KV/Put", request)
        .await
        .map(drop)
}

async fn worker(args: &Args, id: u64) -> Result<Vec<u64>, String> {
    let endpoint = args.endpoints[id as usize % args.endpoints.len()].clone();
    let channel = Channel::from_shared(endpoint).map_err(|e| e.to_string())?;
    let channel = channel.connect().await.map_err(|e| e.to_string())?;
    let mut client = tonic::client::Grpc::new(channel).max_decoding_message_size(64 << 20);
    let value = vec![id as u8; args.size];
    if args.get {
        put(&mut client, format!("g{id}"), value.clone()).await?;
    }
    // A warm-up of one second does not count.
    let begin = Instant::now() + Duration::from_secs(1);
    let end = begin + Duration::from_secs(args.seconds);
    let (mut took, mut n) = (Vec::new(), 0u64);
    while Instant::now() < end {
        n += 1;
        let started = Instant::now();
        if args.get {
            let key = format!("g{id}").into_bytes();
            let found = call(&mut client, "/etcdserverpb.KV/Range", RangeRequest { key }).await?;
            if found.count != 1 {
                return Err("a key that was put is not there".into());
            }
        } else {
            put(&mut client, format!("p{id}-{n}"), value.clone()).await?;
        }
        if started >= begin {
            took.push(started.elapsed().as_micros() as u64);
        }
    }
    Ok(took)
}

fn main() -> ExitCode {
    let Some(args) = args() else {
        // `cargo test` and `cargo bench` start it without arguments: nothing to measure.
        eprintln!("usage: --endpoints A,B,C [--clients N] [--size N] [--seconds N] [--get]");
        return ExitCode::SUCCESS;
    };
    let Ok(runtime) = tokio::runtime::Runtime::new() else {
        return ExitCode::FAILURE;
    };
    let workers = (0..args.clients).map(|id| worker(&args, id));
    let done = runtime.block_on(futures::future::join_all(workers));
    let mut took = Vec::new();
    for result in done {
        match result {
            Ok(times) => took.extend(times),
            Err(error) => {
                eprintln!("etcd: {error}");
                return ExitCode::FAILURE;
            }
        }
    }
    took.sort_unstable();
    let at = |share: f64| {
        let index = (took.len() as f64 * share) as usize;
        took.get(index.min(took.len().saturating_sub(1)))
            .map_or(0.0, |us| *us as f64 / 1000.0)
    };
    let name = if args.get { "get" } else { "put" };
    println!(
        "{{\"operation\":\"{name}\",\"size_bytes\":{},\"clients\":{},\"per_second\":{:.1},\
         \"p50_ms\":{:.3},\"p99_ms\":{:.3}}}",
        args.size,
        args.clients,
        took.len() as f64 / args.seconds as f64,
        at(0.50),
        at(0.99)
    );
    ExitCode::SUCCESS
}
