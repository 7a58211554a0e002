//! How long a year of evidence takes to verify: a million records, signed for real.
//!
//! Run by `make bench-evidence`. Promises: the bundle is streamed to a file and from it;
//! each level is verified by a process of its own, so that its peak of memory is its own;
//! ends with an error unless every report is without findings. Prints a table and one
//! line of JSON. Leaves the statements to `traffic`, the stream to `bundle`, and single
//! proofs to `proofs`.
#![allow(
    clippy::disallowed_methods,
    reason = "a bench measures the machine's own time"
)]

mod bundle;
mod proofs;
mod traffic;

use muniment_evidence::ids::{RecordIndex, TreeSize};
use muniment_evidence::receipt::Receipt;
use muniment_evidence::statement::Kind;
use muniment_evidence::tree::{MemoryRows, inclusion_proof};
use muniment_evidence::trust::Trust;
use muniment_evidence::verify::{BundleVerifier, VerifyOptions};
use serde_json::{Value, json};
use std::error::Error;
use std::fs::{self, File};
use std::io::{BufWriter, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

const USAGE: &str = "million [--records N] [--dir DIR [--keep | --verify LEVEL]]";
/// Signatures; signatures, chain and tree; and openings with their holdings too.
const LEVELS: [u8; 3] = [1, 4, 5];
/// Read at a time, as `muniment-verify` does.
const PIECE_BYTES: usize = 1024 * 1024;
const PROGRESS_RECORDS: u64 = 100_000;
/// How the kernel counts processor time in /proc: fixed for programs, whatever it runs at.
const TICKS_PER_SECOND: f64 = 100.0;

struct Arguments {
    records: u64,
    dir: PathBuf,
    /// The bundle stays, for further runs of `--verify`: to compare two versions in turn.
    keep: bool,
    /// Given to the process that verifies: a level.
    verify: Option<u8>,
}

fn main() -> ExitCode {
    let Some(arguments) = arguments() else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let done = match arguments.verify {
        Some(level) => verify(&arguments.dir, level).map(|measured| println!("{measured}")),
        None => measure(&arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("million: {why}");
            ExitCode::FAILURE
        }
    }
}

fn arguments() -> Option<Arguments> {
    let own = format!("muniment-million-{}", std::process::id());
    let mut arguments = Arguments {
        records: 1_000_000,
        dir: std::env::temp_dir().join(own),
        keep: false,
        verify: None,
    };
    // Cargo says `--bench` to every benchmark.
    let mut given = std::env::args().skip(1).filter(|flag| flag != "--bench");
    while let Some(flag) = given.next() {
        if flag == "--keep" {
            arguments.keep = true;
            continue;
        }
        let value = given.next()?;
        match flag.as_str() {
            "--records" => arguments.records = value.parse().ok()?,
            "--dir" => arguments.dir = value.into(),
            "--verify" => arguments.verify = Some(value.parse().ok()?),
            _ => return None,
        }
    }
    Some(arguments)
}

fn bundle_path(dir: &Path) -> PathBuf {
    dir.join("bundle")
}

fn trust_path(dir: &Path) -> PathBuf {
    dir.join("trust")
}

fn measure(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(&arguments.dir)?;
    let measured = measure_in(&arguments.dir, arguments.records);
    if !arguments.keep {
        fs::remove_dir_all(&arguments.dir)?;
    }
    let measured = measured?;
    print(&measured);
    println!("{measured}");
    Ok(())
}

fn measure_in(dir: &Path, records: u64) -> Result<Value, Box<dyn Error>> {
    eprintln!("million: signing {records} records into {}", dir.display());
    let begun = Instant::now();
    let mut rows = MemoryRows::new();
    let mut issue = None;
    let mut made = 0;
    let mut file = BufWriter::with_capacity(PIECE_BYTES, File::create(bundle_path(dir))?);
    let sealed = bundle::write(&mut file, records, |record| {
        made += 1;
        if made % PROGRESS_RECORDS == 0 {
            let seconds = begun.elapsed().as_secs();
            eprintln!("million: {made} records signed after {seconds} s");
        }
        rows.extend(record.rows);
        if record.written.statement.kind == Kind::Issue {
            let openings = (&record.written.document, &record.written.actor);
            issue = Some((
                made - 1,
                *record.record,
                openings.0.clone(),
                openings.1.clone(),
            ));
        }
    })?;
    let generated = seconds(begun);
    fs::write(trust_path(dir), sealed.trust.to_string())?;

    let mut levels = Vec::new();
    for level in LEVELS {
        eprintln!("million: verifying at level {level}");
        levels.push(verify_apart(dir, level)?);
    }
    let receipt = issue.map(|(index, record, document, actor)| {
        let Ok(path) = inclusion_proof(&rows, RecordIndex::new(index), TreeSize::new(made));
        let receipt = Receipt {
            genesis: sealed.genesis.clone(),
            keys: Vec::new(),
            record: record.to_vec(),
            document: Some(document),
            actor: Some(actor),
            path,
            last: (index + 1 < made).then(|| sealed.last.clone()),
            checkpoint: sealed.note.clone(),
        };
        proofs::receipt(&receipt.encode(), &sealed.trust)
    });
    eprintln!("million: proofs");
    Ok(json!({
        "machine": machine(),
        "records": made,
        "bytes": sealed.bytes,
        "generated_seconds": generated,
        "verify": levels,
        "proofs": proofs::measure(),
        "receipt": receipt,
    }))
}

/// In a process of its own.
fn verify_apart(dir: &Path, level: u8) -> Result<Value, Box<dyn Error>> {
    let child = Command::new(std::env::current_exe()?)
        .arg("--dir")
        .arg(dir)
        .args(["--verify", &level.to_string()])
        .output()?;
    if !child.status.success() {
        let said = String::from_utf8_lossy(&child.stderr);
        return Err(format!("verifying at level {level}: {said}").into());
    }
    Ok(serde_json::from_slice(&child.stdout)?)
}

fn verify(dir: &Path, level: u8) -> Result<Value, Box<dyn Error>> {
    let trust = Trust::parse(&fs::read_to_string(trust_path(dir))?)?;
    let mut file = File::open(bundle_path(dir))?;
    let mut piece = vec![0; PIECE_BYTES];
    let begun = Instant::now();
    let mut verifier = BundleVerifier::new(VerifyOptions {
        trust: Some(trust),
        level,
        ..VerifyOptions::default()
    });
    loop {
        match file.read(&mut piece)? {
            0 => break,
            length => verifier.push(&piece[..length]),
        }
    }
    let report = verifier.finish();
    let took = seconds(begun);
    if report.exit_code() != 0 {
        return Err(format!("a bundle that is in order does not verify: {report}").into());
    }
    let records = report.counts.total();
    Ok(json!({
        "level": level,
        "seconds": took,
        "processor_seconds": processor_seconds(),
        "records_per_second": (records as f64 / took).round(),
        "peak_mib": peak_mib(),
    }))
}

fn seconds(since: Instant) -> f64 {
    (since.elapsed().as_secs_f64() * 100.0).round() / 100.0
}

/// `null` where there is no /proc.
fn peak_mib() -> Value {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<f64>().ok());
    kib.map_or(Value::Null, |kib| Value::from((kib / 102.4).round() / 10.0))
}

/// User and system, all threads; what others do on the machine does not count.
fn processor_seconds() -> Value {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name before it may hold anything, but ends in the last bracket.
    let Some((_, fields)) = stat.rsplit_once(')') else {
        return Value::Null;
    };
    let ticks = fields.split_whitespace().skip(11).take(2);
    let ticks: Option<f64> = ticks.map(|field| field.parse::<f64>().ok()).sum();
    ticks.map_or(Value::Null, |ticks| Value::from(ticks / TICKS_PER_SECOND))
}

fn machine() -> Value {
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
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
        "machine: {} cores, {}; {}; {} records, {} MiB, signed in {} s",
        machine["cores"],
        machine["processor"].as_str().unwrap_or_default(),
        machine["date"].as_str().unwrap_or_default(),
        measured["records"],
        measured["bytes"].as_u64().unwrap_or_default() >> 20,
        measured["generated_seconds"],
    );
    let rows = |name: &str| measured[name].as_array().cloned().unwrap_or_default();
    println!("\nlevel  seconds  processor s  records/s  peak MiB");
    for row in rows("verify") {
        println!(
            "{:>5}{:>9}{:>13}{:>11}{:>10}",
            row["level"].to_string(),
            row["seconds"].to_string(),
            row["processor_seconds"].to_string(),
            row["records_per_second"].to_string(),
            row["peak_mib"].to_string(),
        );
    }
    println!("\ntree size  inclusion p50, p99 us  consistency p50, p99 us");
    for row in rows("proofs") {
        let pair = |of: &str| format!("{}, {}", row[of]["p50_us"], row[of]["p99_us"]);
        println!(
            "{:>9}{:>23}{:>25}",
            row["size"].to_string(),
            pair("inclusion"),
            pair("consistency"),
        );
    }
    let receipt = &measured["receipt"];
    println!(
        "\na receipt of an ISSUE ({} bytes) verifies in {} us (p50), {} us (p99)\n",
        receipt["bytes"], receipt["p50_us"], receipt["p99_us"]
    );
}
