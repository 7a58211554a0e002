//! `muniment check-config`: the preflight, before a node is started.

use muniment::config::{Config, check};
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(clap::Args)]
pub struct Args {
    /// The node's configuration file.
    #[arg(long)]
    pub config: PathBuf,
}

pub async fn run(args: Args, json: bool) -> ExitCode {
    let config = match Config::load(&args.config) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("muniment: {error}");
            return ExitCode::FAILURE;
        }
    };
    let findings = check::preflight(&config);
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
        println!("{shown}");
    } else {
        println!(
            "profile {profile}: heartbeat {} ms, without a leader for at most about {} ms \
             ({} ms where the next one saw a longer log than its own)",
            timing.heartbeat_ms,
            timing.worst_leaderless_ms(),
            timing.worst_leaderless_behind_ms()
        );
        for finding in &findings {
            let mark = if finding.good { "ok  " } else { "FAIL" };
            println!("{mark}  {:<32} {}", finding.what, finding.detail);
        }
    }
    if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
