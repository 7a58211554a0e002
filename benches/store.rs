//! What the store alone can do here: bodies per second that three databases hold durably,
//! without network, hashing or Raft. The ceiling of the rate of issues on one machine.
//!
//! Run by `cluster/bench.sh`. Each body is written as a node writes it and counts when all
//! three have synced it; one flusher per database, as in a node. Prints one JSON document in
//! the shape of `benches/etcd.rs`, with what it cost this process.

use bytes::Bytes;
use muniment::bodies::writer::CHUNK_BYTES;
use muniment::domain::ids::{BodyId, UploadEpoch};
use muniment::stop::Stop;
use muniment::store::Blocking;
use muniment::store::bodies::{BodyManifest, BodyStore};
use muniment::store::flush::Flusher;
use muniment::store::rocks::{Purpose, RocksEngine};
use muniment_evidence::digest::Digest;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// As many nodes as the measured cluster has.
const DATABASES: usize = 3;
/// Caches and files settle within it; it does not count.
const WARM_UP: Duration = Duration::from_secs(1);

struct Args {
    /// A folder on the disk that is measured; what it made there is removed.
    dir: PathBuf,
    clients: u64,
    size: usize,
    seconds: u64,
}

fn args() -> Option<Args> {
    let (mut dir, mut clients, mut size, mut seconds) = (None, 32, 38_000, 8);
    let mut given = std::env::args().skip(1).filter(|arg| arg != "--bench");
    while let Some(flag) = given.next() {
        let value = given.next()?;
        match flag.as_str() {
            "--dir" => dir = Some(PathBuf::from(value)),
            "--clients" => clients = value.parse().ok()?,
            "--size" => size = value.parse().ok()?,
            "--seconds" => seconds = value.parse().ok()?,
            _ => return None,
        }
    }
    Some(Args {
        dir: dir?,
        clients,
        size,
        seconds,
    })
}

fn open(dir: &Path, syncs: &Arc<AtomicU64>) -> Result<BodyStore, muniment::store::StoreError> {
    let engine = Arc::new(RocksEngine::open(dir, Purpose::Bodies)?);
    let syncs = syncs.clone();
    let on_sync = Arc::new(move |_: Duration| {
        syncs.fetch_add(1, Ordering::Relaxed);
    });
    let (blocking, stop) = (Blocking::Pool, Stop::new());
    let flusher = Flusher::start("bodies", engine.clone(), blocking, stop, on_sync);
    Ok(BodyStore::new(engine, blocking, flusher))
}

/// Writes one body into one database; returns when it is durable there.
async fn hold(
    store: BodyStore,
    id: [u8; 16],
    bytes: Bytes,
) -> Result<(), muniment::store::StoreError> {
    let mut chunks: Vec<Bytes> = Vec::new();
    let mut rest = bytes.clone();
    while !rest.is_empty() {
        chunks.push(rest.split_to(rest.len().min(CHUNK_BYTES)));
    }
    let manifest = BodyManifest {
        length: bytes.len() as u64,
        sha256: Digest::ZERO,
        epoch: UploadEpoch::new(0),
        chunks: chunks
            .iter()
            .map(|chunk| (chunk.len() as u32, Digest::ZERO))
            .collect(),
    };
    let last = chunks.pop();
    for (number, chunk) in (0..).zip(chunks) {
        store.put_chunk(BodyId::new(id), number, chunk).await?;
    }
    store.seal(BodyId::new(id), manifest, last).await
}

/// One client: a body, then the next. Microseconds of those that count.
async fn worker(
    stores: Arc<Vec<BodyStore>>,
    client: u64,
    size: usize,
    counted: (Instant, Instant),
) -> Result<Vec<u64>, muniment::store::StoreError> {
    let (mut took, mut n) = (Vec::new(), 0u64);
    // Does not compress; equal bodies under different names are stored as any others.
    let mut state = client | 1;
    let bytes: Bytes = std::iter::repeat_with(|| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 33) as u8
    })
    .take(size)
    .collect();
    while Instant::now() < counted.1 {
        n += 1;
        // As in a node, names grow with time.
        let mut id = [0; 16];
        id[..8].copy_from_slice(&n.to_be_bytes());
        id[8..].copy_from_slice(&client.to_be_bytes());
        let started = Instant::now();
        let held = stores
            .iter()
            .map(|store| hold(store.clone(), id, bytes.clone()));
        futures::future::try_join_all(held).await?;
        if started >= counted.0 {
            took.push(started.elapsed().as_micros() as u64);
        }
    }
    Ok(took)
}

/// What this process has cost so far: bytes written, milliseconds of CPU.
fn spent() -> (u64, f64) {
    let io = std::fs::read_to_string("/proc/self/io").unwrap_or_default();
    let written = io
        .lines()
        .find_map(|line| line.strip_prefix("write_bytes: "));
    let usage = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let cpu_ms = usage.tv_sec as f64 * 1e3 + usage.tv_nsec as f64 / 1e6;
    (written.and_then(|n| n.parse().ok()).unwrap_or(0), cpu_ms)
}

async fn measure(args: &Args) -> Result<String, muniment::store::StoreError> {
    let syncs: Arc<AtomicU64> = Arc::default();
    let open = |n: usize| open(&args.dir.join(format!("store-{n}")), &syncs);
    let stores: Vec<BodyStore> = (0..DATABASES).map(open).collect::<Result<_, _>>()?;
    let stores = Arc::new(stores);
    let begin = Instant::now() + WARM_UP;
    let counted = (begin, begin + Duration::from_secs(args.seconds));
    let mut workers = tokio::task::JoinSet::new();
    for client in 0..args.clients {
        workers.spawn(worker(stores.clone(), client, args.size, counted));
    }
    tokio::time::sleep_until(begin).await;
    let ((bytes, cpu), synced) = (spent(), syncs.load(Ordering::Relaxed));
    let mut took = Vec::new();
    while let Some(done) = workers.join_next().await {
        took.extend(done.map_err(muniment::store::StoreError::engine)??);
    }
    let seconds = begin.elapsed().as_secs_f64();
    let (bytes_after, cpu_after) = spent();
    let synced = syncs.load(Ordering::Relaxed) - synced;
    took.sort_unstable();
    let at = |share: f64| {
        let index = (took.len() as f64 * share) as usize;
        took.get(index.min(took.len().saturating_sub(1)))
            .map_or(0.0, |us| *us as f64 / 1000.0)
    };
    let count = took.len().max(1) as f64;
    Ok(format!(
        "{{\"operation\":\"hold\",\"size_bytes\":{},\"clients\":{},\"per_second\":{:.1},\
         \"p50_ms\":{:.3},\"p99_ms\":{:.3},\"bytes_per_op\":{:.0},\"fsyncs_per_op\":{:.3},\
         \"cpu_ms_per_op\":{:.3}}}",
        args.size,
        args.clients,
        took.len() as f64 / seconds,
        at(0.50),
        at(0.99),
        bytes_after.saturating_sub(bytes) as f64 / count,
        synced as f64 / count,
        (cpu_after - cpu) / count
    ))
}

fn main() -> ExitCode {
    let Some(args) = args() else {
        // `cargo test` and `cargo bench` start it without arguments: nothing to measure.
        eprintln!("usage: --dir DIR [--clients N] [--size N] [--seconds N]");
        return ExitCode::SUCCESS;
    };
    let Ok(runtime) = tokio::runtime::Runtime::new() else {
        return ExitCode::FAILURE;
    };
    let measured = runtime.block_on(measure(&args));
    // Waits for the flushers, which hold the databases open.
    drop(runtime);
    for n in 0..DATABASES {
        if let Err(error) = std::fs::remove_dir_all(args.dir.join(format!("store-{n}"))) {
            eprintln!("store: {error}");
        }
    }
    match measured {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("store: {error}");
            ExitCode::FAILURE
        }
    }
}
