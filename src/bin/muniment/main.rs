//! `muniment`: parse, call, print, exit code.
//!
//! Promises: every command takes `--json`, writes its answer to stdout and its failures to
//! stderr, and ends with a code of the table in docs/cli.md. Leaves each command to its
//! file, and all judgement of evidence to the client and the evidence crate.

// What is printed past `output` would panic on a full disk, or be lost in silence.
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod add_rendition;
mod audit;
mod bench;
mod check;
mod cluster;
mod declare;
mod document;
mod download;
mod drill;
mod evidence;
mod exit;
mod files;
mod founders;
mod get;
mod identity;
mod issue;
mod keygen;
mod keys;
mod list;
mod lookup;
mod manifest;
mod measure;
mod members;
mod money;
mod now;
mod orders;
mod output;
mod plan;
mod reach;
mod reverse;
mod scrub;
mod void;
mod watch;
mod zones;

// Commands that run a node or a witness, or read their configurations.
#[cfg(feature = "rocksdb")]
mod check_config;
#[cfg(feature = "rocksdb")]
mod dev;
#[cfg(feature = "rocksdb")]
mod serve;
#[cfg(not(feature = "rocksdb"))]
mod without_node;
#[cfg(feature = "rocksdb")]
mod witness;
#[cfg(not(feature = "rocksdb"))]
use without_node::{self as check_config, self as dev, self as serve, self as witness};

/// Of the engine too, whose C++ it serves as `malloc`.
#[cfg(feature = "rocksdb")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

use clap::{Parser, Subcommand};
use exit::{CommandFailure, Exit};
use reach::Reach;
use std::process::ExitCode;
use std::time::Duration;

/// A replicated store for issued invoices that can prove itself.
#[derive(Parser)]
#[command(name = "muniment", version, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    reach: Reach,
    #[command(subcommand)]
    command: Command,
}

/// One line per command: its name, and its arguments in the module with its `run`.
macro_rules! commands {
    (
        calls { $($(#[$call_doc:meta])* $call:ident: $call_module:ident::$call_args:ident,)* }
        local { $($(#[$local_doc:meta])* $local:ident: $local_module:ident::$local_args:ident,)* }
    ) => {
        #[derive(Subcommand)]
        // Parsed once per process: the size of the largest variant does not matter.
        #[allow(clippy::large_enum_variant)]
        enum Command {
            $($(#[$call_doc])* $call($call_module::$call_args),)*
            $($(#[$local_doc])* $local($local_module::$local_args),)*
        }

        async fn run(command: Command, reach: Reach) -> ExitCode {
            let json = reach.json;
            match command {
                $(Command::$call(args) => exit::conclude($call_module::run(args, &reach).await, json),)*
                $(Command::$local(args) => $local_module::run(args, json).await,)*
            }
        }
    };
}

commands! {
    // Call a ledger: `async fn run(Args, &Reach) -> Result<Exit, Failure>`.
    calls {
        /// Issue invoices from files
        Issue: issue::IssueArgs,
        /// Show one invoice
        Get: get::GetArgs,
        /// List invoices
        List: list::ListArgs,
        /// Fetch an invoice's bytes; the download itself is put on record
        Download: download::DownloadArgs,
        /// Is this document issued here, and what is its status now?
        Check: check::CheckArgs,
        /// Issue an invoice that reverses another, in part or in full
        Reverse: reverse::ReverseArgs,
        /// Declare an unreversed invoice void
        Void: void::VoidArgs,
        /// Add a further form of an issued invoice
        AddRendition: add_rendition::AddRenditionArgs,
        /// Follow changes as they are committed
        Watch: watch::WatchArgs,
        /// Heads, records, receipts and bundles, and auditors' questions
        Evidence: evidence::EvidenceArgs,
        /// The ledger's keys, and changing them
        Keys: keys::KeysArgs,
        /// Found, inspect and steer the cluster
        Cluster: cluster::ClusterArgs,
        /// Measure the ledger in a closed loop; prints JSON
        Bench: bench::BenchArgs,
    }
    // Run here: `async fn run(Args, json: bool) -> ExitCode`.
    local {
        /// Run one node
        Serve: serve::ServeArgs,
        /// Make a node's keys
        Keygen: keygen::KeygenArgs,
        /// Check a node's configuration and machine before it starts
        CheckConfig: check_config::CheckConfigArgs,
        /// Run an outside witness, or make its key
        Witness: witness::WitnessArgs,
        /// Run a cluster on this machine
        Dev: dev::DevArgs,
    }
}

/// For work that waits for a disk when the process ends; whoever has to be sure of it has
/// waited for it by then.
const SHUTDOWN_MAX: Duration = Duration::from_secs(3);

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return refuse(&error),
    };
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            let failure =
                CommandFailure::new(Exit::Other, format!("cannot start threads: {error}"));
            return exit::conclude(Err(failure), cli.reach.json);
        }
    };
    let code = runtime.block_on(run(cli.command, cli.reach));
    // Cuts off what is connected at once, and does not wait for a disk that hangs.
    runtime.shutdown_timeout(SHUTDOWN_MAX);
    code
}

/// Help and version go to stdout; what cannot be parsed goes to stderr, as JSON where that
/// was asked for.
fn refuse(error: &clap::Error) -> ExitCode {
    let json = std::env::args_os().any(|argument| argument == "--json");
    if error.use_stderr() && json {
        let text = error.to_string();
        let why = text.trim().trim_start_matches("error: ").to_owned();
        return exit::conclude(Err(CommandFailure::new(Exit::Usage, why)), true);
    }
    if error.use_stderr() {
        // There is nowhere else to say it; the exit code remains.
        let _ = error.print();
        return Exit::Usage.into();
    }
    exit::conclude(output::heard(error.print()).map(|_| Exit::Ok), json)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    /// clap checks names, conflicts and global flags only when asked.
    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
