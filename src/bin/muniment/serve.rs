//! `muniment serve`: one node, until a signal or a broken promise ends it.
//!
//! Promises that a node whose promise is broken is gone within [`BROKEN_MAX`], whatever hangs:
//! it returns its code, and the runtime is given a few seconds. The library of the database
//! waits for threads of its own when a process exits; if that takes too long, the process ends
//! by SIGALRM instead of with its code. Nobody else sends that, so a supervisor can tell it
//! from a node that was killed and may be started again: `muniment.service` does.

use crate::output;
use muniment::clock::SystemClock;
use muniment::config::Config;
use muniment::node::{self, Listeners};
use muniment::stop::Stop;
use muniment::telemetry;
use rustix::process::{Signal, getpid, kill_process};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// The node stopped because a promise was broken: look at the log before restarting.
pub const EXIT_BROKEN: u8 = 70;
/// The node could not start: mend the configuration or the machine.
pub const EXIT_START: u8 = 78;

/// From a broken promise to the end of the process, at the very most.
const BROKEN_MAX: Duration = Duration::from_secs(9);
/// For a signal to end the process. The first process of a container is ended by none that it
/// sends itself.
const SIGNAL_MAX: Duration = Duration::from_millis(500);

#[derive(clap::Args)]
pub struct ServeArgs {
    /// The node's configuration file.
    #[arg(long)]
    pub config: PathBuf,
    /// Stops when standard input ends, so that a child does not outlive its parent.
    #[arg(long)]
    pub exit_on_stdin_close: bool,
}

pub async fn run(args: ServeArgs, _json: bool) -> ExitCode {
    match serve(args).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output::complain(&format!("muniment: {error}"));
            match error {
                node::NodeError::Start(_) => ExitCode::from(EXIT_START),
                node::NodeError::Broken(_) => ExitCode::from(EXIT_BROKEN),
            }
        }
    }
}

/// A thread of its own: whatever holds up the others, it does not wait for them.
#[allow(
    clippy::disallowed_methods,
    reason = "no async worker is blocked, and by then none may be left to wait on"
)]
fn end_when_broken(stop: Stop) {
    std::thread::spawn(move || {
        futures::executor::block_on(stop.broke());
        std::thread::sleep(BROKEN_MAX);
        // Nothing that may wait for what hangs: no log, whose lock a thread may hold.
        let sent = kill_process(getpid(), Signal::ALARM);
        if sent.is_ok() {
            std::thread::sleep(SIGNAL_MAX);
        }
        std::process::abort();
    });
}

async fn serve(args: ServeArgs) -> Result<(), node::NodeError> {
    let config = Config::load(&args.config).map_err(node::NodeError::start)?;
    telemetry::start_logging(&config.log).map_err(node::NodeError::start)?;
    let listeners = Listeners::bind(&config).await?;
    let stop = Stop::new();
    end_when_broken(stop.clone());
    for kind in [SignalKind::terminate(), SignalKind::interrupt()] {
        let mut signals = signal(kind).map_err(node::NodeError::start)?;
        let stop = stop.clone();
        tokio::spawn(async move {
            while signals.recv().await.is_some() {
                stop.request();
            }
        });
    }
    if args.exit_on_stdin_close {
        let stop = stop.clone();
        // A thread of its own: a read that never returns must not hold the runtime up.
        std::thread::spawn(move || {
            let drained = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
            tracing::debug!(?drained, "standard input ended");
            stop.request();
        });
    }
    node::run(config, listeners, Arc::new(SystemClock), stop).await
}
