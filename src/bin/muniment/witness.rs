//! `muniment witness`: an outside witness, a process of its own, and its key.

use crate::exit::{self, CommandFailure, Exit};
use crate::output;
use crate::serve::{EXIT_BROKEN, EXIT_START};
use clap::Subcommand;
use muniment::clock::SystemClock;
use muniment::config::witness_server::{WitnessConfig, check_name};
use muniment::domain::cause::Cause;
use muniment::http::listen;
use muniment::keyring;
use muniment::node::NodeError;
use muniment::stop::{Stop, Why};
use muniment::telemetry;
use muniment::witness::server::{Witness, router};
use muniment_evidence::note::VerifierKey;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

#[derive(clap::Args)]
pub struct WitnessArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a witness
    Serve(Serve),
    /// Make a witness's key
    Keygen(Keygen),
}

#[derive(clap::Args)]
struct Serve {
    /// The witness's configuration file.
    #[arg(long)]
    config: PathBuf,
}

#[derive(clap::Args)]
struct Keygen {
    /// Where the key file goes; an existing one is never replaced.
    #[arg(long)]
    dir: PathBuf,
    /// The witness's key name, such as witness.example/w1.
    #[arg(long)]
    name: String,
    /// Make an ML-DSA-44 key, beside the one that there is.
    #[arg(long)]
    post_quantum: bool,
}

pub async fn run(args: WitnessArgs, json: bool) -> ExitCode {
    match args.command {
        Command::Serve(args) => match serve(args).await {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                let (code, why) = match error {
                    NodeError::Start(why) => {
                        (EXIT_START, format!("the witness cannot start: {why}"))
                    }
                    NodeError::Broken(why) => (EXIT_BROKEN, format!("the witness stopped: {why}")),
                };
                output::complain(&format!("muniment: {why}"));
                ExitCode::from(code)
            }
        },
        Command::Keygen(args) => exit::conclude(tell(&args, json), json),
    }
}

fn tell(args: &Keygen, json: bool) -> Result<Exit, CommandFailure> {
    let key = keygen(args).map_err(|why| CommandFailure::new(Exit::Other, why))?;
    let dir = args.dir.display().to_string();
    output::say(&match json {
        true => serde_json::json!({ "dir": dir, "witness_key": key }).to_string(),
        false => key,
    })?;
    Ok(Exit::Ok)
}

fn keygen(args: &Keygen) -> Result<String, String> {
    check_name("--name", &args.name)?;
    if args.post_quantum {
        let made = keyring::ml_dsa::generate(&args.dir, &SystemClock);
        let (_, key) = made.map_err(|e| e.to_string())?;
        return Ok(VerifierKey::ml_dsa_cosigner(&args.name, key).to_string());
    }
    let key = keyring::generate_witness_key(&args.dir, &SystemClock).map_err(|e| e.to_string())?;
    Ok(VerifierKey::cosigner(&args.name, key).to_string())
}

async fn serve(args: Serve) -> Result<(), NodeError> {
    let config = WitnessConfig::load(&args.config).map_err(NodeError::start)?;
    telemetry::start_logging(&config.log).map_err(NodeError::start)?;
    let key = keyring::load_witness_key(&config.keys.dir).map_err(NodeError::start)?;
    let stop = Stop::new();
    for kind in [SignalKind::terminate(), SignalKind::interrupt()] {
        let mut signals = signal(kind).map_err(NodeError::start)?;
        let stop = stop.clone();
        tokio::spawn(async move {
            while signals.recv().await.is_some() {
                stop.request();
            }
        });
    }
    let clock = Arc::new(SystemClock);
    let ml_dsa = match config.keys.post_quantum {
        true => keyring::ml_dsa::load(&config.keys.dir).map_err(NodeError::start)?,
        false => Vec::new(),
    };
    let witness = Witness::open(&config, key, clock, stop.clone()).map_err(NodeError::start)?;
    let witness = witness.with_ml_dsa(ml_dsa);
    let listener = TcpListener::bind(config.listen).await;
    let listener = listener
        .map_err(|error| NodeError::Start(Cause::at(format!("listen {}", config.listen), error)))?;
    tracing::info!(name = config.name, listen = %config.listen, "witness is up");
    let asked = stop.clone();
    let stopped = async move {
        asked.stopped().await;
    };
    listen::serve(listener, router(Arc::new(witness)), stopped).await;
    match stop.why() {
        Some(Why::Broken(why)) => Err(NodeError::Broken(Cause::new(&*why))),
        _ => Ok(()),
    }
}
