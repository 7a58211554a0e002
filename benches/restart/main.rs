//! How soon a node with a million records serves again, and whether proofs stay as fast.
//!
//! Promises: `muniment serve` itself founds the directory and starts on it again, after
//! SIGTERM and after SIGKILL; in between the records go through the Raft group and apply
//! as they would in service, each signed. Each step is a process of its own, so that
//! nothing is warm that a restart finds cold. Prints a table and one line of JSON. Leaves
//! the process to `serving`, the records to `filling` and the store to `opening`.

#![allow(
    clippy::disallowed_methods,
    reason = "it measures with the machine's clock"
)]

mod filling;
mod opening;
mod serving;
#[path = "../../evidence/benches/million/traffic.rs"]
#[allow(dead_code, reason = "here the leader's clock says the time")]
mod traffic;

use serde_json::{Value, json};
use std::error::Error;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

const USAGE: &str = "restart [--records N] [--entry-records N] [--dir DIR]";
/// Records in a Raft entry: few, as with little load, so that the Raft log is long, a
/// snapshot is taken and the log is cut, which a start finds too.
const ENTRY_RECORDS: u64 = 8;
/// Starts of each kind: one may be slow by what else the machine does.
const STARTS: usize = 3;

/// What a process of this program does.
enum Part {
    All,
    Fill,
    Open,
}

struct Arguments {
    part: Part,
    records: u64,
    entry_records: u64,
    dir: PathBuf,
}

fn main() -> ExitCode {
    let Some(arguments) = arguments() else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    let done = runtime.block_on(async {
        match arguments.part {
            Part::All => measure(&arguments).await,
            Part::Fill => {
                let Arguments { dir, records, .. } = &arguments;
                filling::fill(dir, *records, arguments.entry_records).await
            }
            Part::Open => opening::open(&arguments.dir).await,
        }
    });
    match done {
        Ok(measured) => {
            println!("{measured}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("restart: {why}");
            ExitCode::FAILURE
        }
    }
}

fn arguments() -> Option<Arguments> {
    let own = format!("muniment-restart-{}", std::process::id());
    let mut arguments = Arguments {
        part: Part::All,
        records: 1_000_000,
        entry_records: ENTRY_RECORDS,
        dir: std::env::temp_dir().join(own),
    };
    // Cargo says `--bench` to every benchmark.
    let mut given = std::env::args().skip(1).filter(|flag| flag != "--bench");
    while let Some(flag) = given.next() {
        let value = given.next()?;
        match (flag.as_str(), value.as_str()) {
            ("--records", count) => arguments.records = count.parse().ok()?,
            ("--entry-records", count) => arguments.entry_records = count.parse().ok()?,
            ("--dir", dir) => arguments.dir = dir.into(),
            ("--part", "fill") => arguments.part = Part::Fill,
            ("--part", "open") => arguments.part = Part::Open,
            _ => return None,
        }
    }
    Some(arguments)
}

async fn measure(arguments: &Arguments) -> Result<Value, Box<dyn Error>> {
    std::fs::create_dir_all(&arguments.dir)?;
    let measured = measure_in(arguments).await;
    std::fs::remove_dir_all(&arguments.dir)?;
    let measured = measured?;
    print(&measured);
    Ok(measured)
}

async fn measure_in(arguments: &Arguments) -> Result<Value, Box<dyn Error>> {
    let (dir, records) = (arguments.dir.as_path(), arguments.records);
    eprintln!("restart: founding a ledger in {}", dir.display());
    let site = serving::Site::lay_out(dir)?;
    site.found().await?;
    let (empty, _) = starts(&site).await?;
    eprintln!("restart: filling it with {records} records");
    let filled = apart(arguments, "fill")?;
    eprintln!("restart: opening the store");
    let opened = apart(arguments, "open")?;
    eprintln!("restart: starting the node again");
    let (after_term, after_kill) = starts(&site).await?;
    Ok(json!({
        "machine": machine(),
        "filled": filled,
        "opened": opened,
        "ready_ms": {
            "of_a_new_ledger": empty,
            "after_sigterm": after_term,
            "after_sigkill": after_kill,
        },
    }))
}

/// Milliseconds from the start of the process to 200 of /readyz: after each kind of end.
async fn starts(site: &serving::Site) -> Result<(Vec<u64>, Vec<u64>), Box<dyn Error>> {
    let (mut after_term, mut after_kill) = (Vec::new(), Vec::new());
    for _ in 0..STARTS {
        let begun = Instant::now();
        let node = site.start().await?;
        after_term.push(begun.elapsed().as_millis() as u64);
        node.kill()?;
        let begun = Instant::now();
        let node = site.start().await?;
        after_kill.push(begun.elapsed().as_millis() as u64);
        node.terminate()?;
    }
    Ok((after_term, after_kill))
}

fn apart(arguments: &Arguments, part: &str) -> Result<Value, Box<dyn Error>> {
    let child = Command::new(std::env::current_exe()?)
        .arg("--dir")
        .arg(&arguments.dir)
        .args(["--records", &arguments.records.to_string()])
        .args(["--entry-records", &arguments.entry_records.to_string()])
        .args(["--part", part])
        .stderr(Stdio::inherit())
        .output()?;
    if !child.status.success() {
        return Err(format!("{part} ended with {}", child.status).into());
    }
    Ok(serde_json::from_slice(&child.stdout)?)
}

fn machine() -> Value {
    let cpus = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus
        .lines()
        .find_map(|line| line.strip_prefix("model name"));
    let model = model.map_or("unknown", |line| line.trim_start_matches(['\t', ' ', ':']));
    let date = Command::new("date").arg("+%F").output();
    let date = date.map_or_else(
        |_| "unknown".to_owned(),
        |said| String::from_utf8_lossy(&said.stdout).trim().to_owned(),
    );
    json!({
        "cores": std::thread::available_parallelism().map_or(1, usize::from),
        "processor": model,
        "date": date,
    })
}

fn print(measured: &Value) {
    let machine = &measured["machine"];
    println!(
        "machine: {} cores, {}; {}",
        machine["cores"],
        machine["processor"].as_str().unwrap_or_default(),
        machine["date"].as_str().unwrap_or_default(),
    );
    let filled = &measured["filled"];
    println!(
        "{} records through apply in {} s, {} to an entry: {} a second, {} MiB on the disk\n",
        filled["records"],
        filled["seconds"],
        filled["entry_records"],
        filled["records_per_second"],
        filled["mib"],
    );
    println!("serve, from exec to /readyz (ms):");
    let ready = &measured["ready_ms"];
    for (what, key) in [
        ("of a new ledger, after SIGTERM", "of_a_new_ledger"),
        ("after SIGTERM", "after_sigterm"),
        ("after SIGKILL", "after_sigkill"),
    ] {
        println!("  {what:<32}{}", ready[key]);
    }
    let opened = &measured["opened"];
    println!(
        "opening RocksDB {} ms, state and the tree's edge {} ms\n",
        opened["engine_ms"], opened["machine_ms"]
    );
    println!("tree size  inclusion p50, p99 us  consistency p50, p99 us");
    for row in opened["proofs"].as_array().into_iter().flatten() {
        let pair = |of: &str| format!("{}, {}", row[of]["p50_us"], row[of]["p99_us"]);
        println!(
            "{:>9}{:>23}{:>25}",
            row["size"].to_string(),
            pair("inclusion"),
            pair("consistency"),
        );
    }
    println!();
}
