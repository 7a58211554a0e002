//! `muniment check-config`: the preflight, before a node is started.
//!
//! Promises: nothing on disk is made or changed. Leaves the checks to `preflight`.

use crate::exit::{self, CommandFailure, Exit};
use crate::output;
use muniment::config::Config;
use muniment::domain::cause::Cause;
use muniment::keyring::Keyring;
use muniment::preflight::{PreflightFinding, preflight};
use muniment::store::marker::Marker;
use muniment::witness::post::WitnessEndpoint;
use muniment_evidence::ids::NodeId;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(clap::Args)]
pub struct CheckConfigArgs {
    /// The node's configuration file.
    #[arg(long)]
    pub config: PathBuf,
}

pub async fn run(args: CheckConfigArgs, json: bool) -> ExitCode {
    exit::conclude(check(&args, json), json)
}

fn check(args: &CheckConfigArgs, json: bool) -> Result<Exit, CommandFailure> {
    let config = Config::load(&args.config);
    let config = config.map_err(|error| CommandFailure::new(Exit::Other, error.to_string()))?;
    let findings = preflight(&config, files(&config));
    let good = findings.iter().all(|finding| finding.good);
    let profile = config.cluster.profile;
    let timing = profile.timing();
    if json {
        let checks: Vec<_> = findings
            .iter()
            .map(|f| serde_json::json!({"what": f.what, "good": f.good, "detail": f.detail}))
            .collect();
        let shown = serde_json::json!({
            "good": good,
            "profile": profile.to_string(),
            "worst_leaderless_ms": timing.worst_leaderless_ms(),
            "worst_leaderless_behind_ms": timing.worst_leaderless_behind_ms(),
            "checks": checks,
        });
        output::say(&shown.to_string())?;
    } else {
        output::say(&format!(
            "profile {profile}: heartbeat {} ms, without a leader for at most about {} ms \
             ({} ms where the next one saw a longer log than its own)",
            timing.heartbeat_ms,
            timing.worst_leaderless_ms(),
            timing.worst_leaderless_behind_ms()
        ))?;
        for finding in &findings {
            let mark = if finding.good { "ok  " } else { "FAIL" };
            output::say(&format!("{mark}  {:<32} {}", finding.what, finding.detail))?;
        }
    }
    // What is wrong was said above.
    Ok(match good {
        true => Exit::Ok,
        false => Exit::Other,
    })
}

/// What lies on the machine already, and whom it names.
fn files(config: &Config) -> Vec<PreflightFinding> {
    let mut findings = vec![
        PreflightFinding::new("keys", keys(config)),
        PreflightFinding::new("data directory is this node's", belongs(config)),
    ];
    if !config.witness.is_empty() {
        findings.push(PreflightFinding::new("witnesses", witnesses(config)));
    }
    findings
}

fn keys(config: &Config) -> Result<String, Cause> {
    let keys = &config.keys;
    Keyring::load_all(&keys.dir, keys.post_quantum)
        .map(|_| keys.dir.display().to_string())
        .map_err(Cause::new)
}

fn belongs(config: &Config) -> Result<String, Cause> {
    let dir = &config.node.data_dir;
    match Marker::read(dir).map_err(Cause::new)? {
        None => Ok("empty, will be this node's".into()),
        Some(marker) => marker
            .check(&config.cluster.origin, NodeId::new(config.node.id))
            .map(|()| format!("node {} of {}", marker.node, marker.origin))
            .map_err(Cause::new),
    }
}

/// Whether each could be asked; nobody is asked here, since none must be up for a start.
fn witnesses(config: &Config) -> Result<String, Cause> {
    for witness in &config.witness {
        WitnessEndpoint::new(&witness.url, witness.ca.as_deref())?;
    }
    let names = config.witness.iter().map(|w| w.key.name.as_str());
    Ok(names.collect::<Vec<_>>().join(", "))
}
