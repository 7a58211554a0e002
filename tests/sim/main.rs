//! The simulator: a cluster in one thread, on memory, simulated TCP and a seed.
//!
//! A run founds a ledger of five nodes, issues and downloads while processes end, power
//! fails, links are cut, disks rot, fill and fail, clocks jump and members come and go, and
//! checks the invariants after every step. Means that a run follows from its seed alone:
//! the same seed has the same trace (every message, visit to a disk, reading of a clock and
//! draw, hashed in order) and ends in the same root, which is looked at for every tenth seed
//! and every one that fails. Promises that a seed that fails is named with the command to
//! repeat it.
//! Builds without RocksDB. Seeds run side by side, each in a thread of its own. Leaves real
//! disks, processes and gRPC to `tests/cluster/`.

mod amending;
mod callers;
mod clock;
mod cluster;
mod disk;
mod facts;
mod faults;
mod invariants;
mod known;
mod mirror;
mod net;
mod node;
mod operator;
mod oracle;
mod outcome;
mod rng;
mod rows;
mod trace;
mod world;

use outcome::{Outcome, Totals};
use std::cell::Cell;
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::time::Instant;

/// Seeds of the short form; `MUNIMENT_SIM_SEEDS` asks for another number of them,
/// `MUNIMENT_SIM_FIRST` for another first one, `MUNIMENT_SIM_SEED` for one alone.
const SEEDS: u64 = 20;
/// Every so many seeds one is run twice.
const REPLAY_EVERY: u64 = 10;
thread_local! {
    /// The seed that runs now in this thread; 0 for none.
    static RUNNING: Cell<u64> = const { Cell::new(0) };
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|n| n.parse().unwrap())
}

fn repeat(seed: u64) -> String {
    format!(
        "repeat with: MUNIMENT_SIM_SEED={seed} make sim (with MUNIMENT_SIM_TRACE=100 the last \
         100 events are shown, with RUST_LOG=info what the nodes say; MUNIMENT_SIM_COMPARE={seed} \
         shows where two runs part)"
    )
}

/// A panic inside a node drops its runtime while it runs, which may end the process before
/// the test can say anything: the seed is named first, past the capture of output.
fn name_the_seed_on_panic() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let seed = RUNNING.get();
        if seed != 0 {
            let _ = writeln!(std::io::stderr(), "seed {seed} panics; {}", repeat(seed));
        }
        before(info);
    }));
}

/// `RUST_LOG=info` shows what the nodes say, each line under its node's name.
fn listen() {
    if std::env::var_os("RUST_LOG").is_some() {
        tracing_subscriber::fmt()
            .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
            .without_time()
            .init();
    }
}

/// Runs a seed once, whatever happens in it.
fn run(seed: u64) -> Outcome {
    let kept = number("MUNIMENT_SIM_TRACE").unwrap_or(0);
    run_traced(seed, &trace::Trace::new(kept as usize))
}

fn run_traced(seed: u64, trace: &trace::Trace) -> Outcome {
    RUNNING.set(seed);
    let ended = catch_unwind(AssertUnwindSafe(|| {
        let end = world::run(seed, trace.clone())?;
        outcome::judge(&end)
    }));
    RUNNING.set(0);
    let ended = match ended {
        Ok(ended) => ended,
        // The panic's own message stands above.
        Err(_) => Err("a node panicked".to_owned()),
    };
    if ended.is_err() && number("MUNIMENT_SIM_TRACE").is_some() {
        for line in trace.tail() {
            println!("{line}");
        }
    }
    Outcome {
        ended,
        trace: trace.sum(),
    }
}

/// Runs a seed twice and shows where the runs part.
fn compare(seed: u64) {
    let traces = [0; 2].map(|_| {
        let trace = trace::Trace::new(usize::MAX);
        run_traced(seed, &trace);
        trace
    });
    let parting = traces[0].parting(&traces[1]);
    parting.iter().for_each(|line| println!("{line}"));
    assert!(parting.is_empty(), "two runs of seed {seed} part");
}

/// Runs a seed, and again where that is due; what is wrong with it, if anything.
fn judge(seed: u64, totals: &Mutex<Totals>) -> Option<String> {
    let started = Instant::now();
    let first = run(seed);
    let expected = known::expected(seed);
    let mut wrong = match (&first.ended, &expected) {
        (Err(why), Some(invariant)) if why.starts_with(invariant) => None,
        (Err(why), _) => Some(why.clone()),
        (Ok(_), Some(invariant)) => Some(format!("is known to fail by {invariant}, and does not")),
        (Ok(_), None) => None,
    };
    let replays = first.ended.is_err() || seed.is_multiple_of(REPLAY_EVERY);
    if replays {
        let again = run(seed);
        if let Some(differs) = first.differs_from(&again) {
            wrong = Some(format!("does not repeat: {differs}"));
        }
    }
    let replayed = if replays { ", replayed" } else { "" };
    let took = started.elapsed().as_secs_f64();
    let (hash, events) = first.trace;
    match &first.ended {
        Ok(run) => println!(
            "seed {seed}: {run}, trace {hash:016x} of {events} events{replayed}, {took:.1} s"
        ),
        Err(why) => println!("seed {seed} FAILED: {why}\n{}", repeat(seed)),
    }
    totals.lock().unwrap().add(first);
    wrong
}

/// For planted bugs: runs seeds until one fails, and says which, and by what.
fn hunt(seeds: &[u64]) {
    for (tried, seed) in (1..).zip(seeds) {
        if let Err(why) = run(*seed).ended {
            let why = why.lines().next().unwrap_or_default();
            println!("FOUND after {tried} seeds (seed {seed}): {why}");
            return;
        }
    }
    panic!("nothing was found in {} seeds", seeds.len());
}

#[test]
fn every_invariant_holds_after_every_step() {
    listen();
    name_the_seed_on_panic();
    let first = number("MUNIMENT_SIM_FIRST").unwrap_or(1);
    let seeds: Vec<u64> = match number("MUNIMENT_SIM_SEED") {
        Some(seed) => vec![seed],
        None => (first..first + number("MUNIMENT_SIM_SEEDS").unwrap_or(SEEDS)).collect(),
    };
    if let Some(seed) = number("MUNIMENT_SIM_COMPARE") {
        return compare(seed);
    }
    if std::env::var_os("MUNIMENT_SIM_HUNT").is_some() {
        return hunt(&seeds);
    }
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let (next, failed) = (AtomicU64::new(0), Mutex::new(Vec::new()));
    let (totals, started) = (Mutex::new(Totals::default()), Instant::now());
    std::thread::scope(|scope| {
        for _ in 0..threads.min(seeds.len()) {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::SeqCst) as usize;
                    let Some(seed) = seeds.get(at) else { break };
                    if let Some(why) = judge(*seed, &totals) {
                        failed.lock().unwrap().push((*seed, why));
                    }
                }
            });
        }
    });
    let totals = totals.into_inner().unwrap();
    println!("{totals}");
    let took = started.elapsed().as_secs_f64();
    println!("{:.2} seeds a second", seeds.len() as f64 / took);
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "seeds failed: {failed:#?}");
    totals.check();
}
