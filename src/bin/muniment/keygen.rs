//! `muniment keygen`: a node's keys, and the ledger's log key.

use crate::exit::{self, CommandFailure, Exit};
use crate::output;
use muniment::clock::SystemClock;
use muniment::keyring;
use muniment_evidence::digest::hex;
use muniment_evidence::keychange::Role;
use muniment_evidence::note::VerifierKey;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(clap::Args)]
pub struct KeygenArgs {
    /// Where the key files go; existing ones are never replaced.
    #[arg(long)]
    pub out: PathBuf,
    /// Makes the log key of this origin too; copy it to every voter.
    #[arg(long, value_name = "ORIGIN")]
    pub log: Option<String>,
    /// Makes only this further key, beside those there are: log, statement, cosignature,
    /// root, which is kept offline, or operator.
    #[arg(long, value_name = "ROLE", conflicts_with = "log", value_parser = role)]
    pub add: Option<Role>,
    /// Makes only an ML-DSA-44 cosignature key, beside those there are.
    #[arg(long, conflicts_with_all = ["log", "add"])]
    pub post_quantum: bool,
}

fn role(text: &str) -> Result<Role, String> {
    Role::ALL
        .into_iter()
        .find(|role| role.to_string() == text)
        .ok_or_else(|| "is log, statement, cosignature, root or operator".to_owned())
}

pub async fn run(args: KeygenArgs, json: bool) -> ExitCode {
    exit::conclude(tell(&args, json), json)
}

fn tell(args: &KeygenArgs, json: bool) -> Result<Exit, CommandFailure> {
    let made = make(args);
    let value = made.map_err(|error| CommandFailure::new(Exit::Other, error.to_string()))?;
    if json {
        output::say(&value.to_string())?;
        return Ok(Exit::Ok);
    }
    let rows = value.as_object().into_iter().flatten();
    let rows = rows.map(|(name, text)| format!("{name:<20} {}", text.as_str().unwrap_or_default()));
    output::say(&rows.collect::<Vec<_>>().join("\n"))?;
    Ok(Exit::Ok)
}

fn make(args: &KeygenArgs) -> Result<serde_json::Value, keyring::KeyringError> {
    if let Some(role) = args.add {
        let (path, key) = keyring::generate_further(&args.out, role, &SystemClock)?;
        return Ok(serde_json::json!({
            "file": path.display().to_string(),
            "role": role.to_string(),
            "key": hex(&key.0),
        }));
    }
    if args.post_quantum {
        let (path, key) = keyring::ml_dsa::generate(&args.out, &SystemClock)?;
        return Ok(serde_json::json!({
            "file": path.display().to_string(),
            "role": "ML-DSA-44 cosignature",
            "sha256": keyring::ml_dsa::fingerprint(&key),
        }));
    }
    let keys = keyring::generate(&args.out, &SystemClock)?;
    let mut value = serde_json::json!({
        "dir": args.out.display().to_string(),
        "statement_key": hex(&keys.statement.0),
        "cosignature_key": hex(&keys.cosignature.0),
    });
    if let Some(origin) = &args.log {
        let key = keyring::generate_log_key(&args.out, &SystemClock)?;
        value["log_key"] = VerifierKey::log(origin, key).to_string().into();
    }
    Ok(value)
}
