//! Writes the first inputs of `apply` below a directory.

use std::path::PathBuf;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let Some(directory) = env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("usage: apply-seeds DIRECTORY");
        std::process::exit(64);
    };
    let seeds = muniment_fuzz_ledger::seeds::all();
    let reached: Vec<_> = seeds
        .iter()
        .map(|seed| muniment_fuzz_ledger::apply(seed))
        .collect();
    let good = reached.iter().filter(|reached| reached.ok > 0).count();
    let records: u64 = reached.iter().map(|reached| reached.records).sum();
    println!(
        "apply: {} seeds, {good} good, {records} records",
        seeds.len()
    );
    assert!(good > 0, "no seed of apply is taken");
    let directory = directory.join("apply");
    fs::create_dir_all(&directory)?;
    for (number, seed) in seeds.iter().enumerate() {
        fs::write(directory.join(format!("seed-{number:02}")), seed)?;
    }
    Ok(())
}
