//! A smoke simulation: three nodes in one thread, on memory, simulated TCP and a seed.
//!
//! Promises that a seed that breaks an invariant is named with the command to repeat it.
//! Builds without RocksDB. What repeats from a seed: everything the world does and when,
//! message latencies, tokio's own choices, ids, salts and bodies. What does not: openraft
//! draws its election timeouts from the thread's random source, so who leads when may
//! differ between two runs of a seed; a seed is a schedule of faults, not a recording,
//! and a rare failure may need several repetitions. Leaves real disks, processes and gRPC
//! to `tests/cluster/`.

mod callers;
mod dice;
mod host;
mod net;
mod oracle;
mod world;

/// One file per invariant, its statement on top.
mod invariants {
    pub mod chain_and_acknowledged;
}

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Seeds of the short form; `MUNIMENT_SIM_SEEDS` asks for another number of them,
/// `MUNIMENT_SIM_SEED` for one alone.
const SEEDS: u64 = 20;

/// `RUST_LOG=info` shows what the nodes say, each line under its node's name.
fn listen() {
    if std::env::var_os("RUST_LOG").is_some() {
        tracing_subscriber::fmt()
            .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
            .without_time()
            .init();
    }
}

#[test]
fn what_was_acknowledged_survives_crashes_and_partitions() {
    listen();
    let number = |name: &str| std::env::var(name).ok().map(|n| n.parse::<u64>().unwrap());
    let seeds = match number("MUNIMENT_SIM_SEED") {
        Some(seed) => vec![seed],
        None => (1..=number("MUNIMENT_SIM_SEEDS").unwrap_or(SEEDS)).collect(),
    };
    let mut failed = Vec::new();
    for seed in seeds {
        let outcome = catch_unwind(AssertUnwindSafe(|| run(seed)));
        let why = match outcome {
            Ok(Ok(told)) => {
                println!("seed {seed}: {told}");
                continue;
            }
            Ok(Err(why)) => why,
            // The panic's own message stands above.
            Err(_) => "a node panicked".to_owned(),
        };
        println!(
            "seed {seed} FAILED: {why}\nrepeat with: MUNIMENT_SIM_SEED={seed} cargo test \
             --release --no-default-features --test sim -- --nocapture"
        );
        failed.push(seed);
    }
    assert!(failed.is_empty(), "seeds {failed:?} failed; see above");
}

fn run(seed: u64) -> Result<String, String> {
    let end = world::run(seed)?;
    invariants::chain_and_acknowledged::check(&end)?;
    let seen = end.town.oracle.seen();
    let head = &end.heads[0];
    Ok(format!(
        "{} issued, {} downloaded, {} calls failed, {} troubles, {:.1} s simulated, {} \
         records, root {}",
        seen.acknowledged.len(),
        seen.delivered.len(),
        seen.failed_calls,
        end.troubles,
        end.simulated.as_secs_f64(),
        head.size,
        head.root,
    ))
}
