//! The command line: parse, call, print, exit code.

mod check_config;
mod dev;
mod keygen;
mod serve;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

#[derive(Parser)]
#[command(
    name = "muniment",
    version,
    about = "Keeps issued invoices safe, available and provable"
)]
struct Cli {
    /// One JSON document on standard output.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs one node.
    Serve(serve::Args),
    /// Makes a node's keys.
    Keygen(keygen::Args),
    /// Checks a node's configuration and machine.
    CheckConfig(check_config::Args),
    /// Runs a cluster on this machine.
    Dev(dev::Args),
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.command {
        Command::Serve(args) => serve::run(args).await,
        Command::Keygen(args) => keygen::run(args, cli.json).await,
        Command::CheckConfig(args) => check_config::run(args, cli.json).await,
        Command::Dev(args) => dev::run(args, cli.json).await,
    }
}
