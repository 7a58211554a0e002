//! Writes the first inputs of every target below a directory.
//!
//! Refuses to when none of them is verified: what only refuses can be fuzzed for ever.

use muniment_fuzz::verifiers;
use std::path::PathBuf;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let Some(directory) = env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("usage: seeds DIRECTORY");
        std::process::exit(64);
    };
    for (target, seeds) in muniment_fuzz::seeds::all() {
        let verified = match target {
            "receipt" => seeds.iter().filter(|seed| verifiers::receipt(seed)).count(),
            "bundle" => seeds.iter().filter(|seed| verifiers::bundle(seed)).count(),
            _ => seeds.len(),
        };
        println!("{target}: {} seeds, {verified} good", seeds.len());
        assert!(verified > 0, "no seed of {target} is verified");
        let directory = directory.join(target);
        fs::create_dir_all(&directory)?;
        for (number, seed) in seeds.iter().enumerate() {
            fs::write(directory.join(format!("seed-{number:02}")), seed)?;
        }
    }
    Ok(())
}
