//! What stands for the commands that need a node, in a build that has none.
//!
//! Promises: they are listed like in every build, take any arguments, and say what is
//! missing and how to get it. Leaves all else to the builds that have a node.

use crate::exit::{self, Exit, Failure};
use std::process::ExitCode;

#[derive(clap::Args)]
#[command(disable_help_flag = true)]
pub struct Args {
    /// Whatever the command takes in a build that has it.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    given: Vec<String>,
}

pub async fn run(args: Args, json: bool) -> ExitCode {
    let why = format!(
        "cannot do this ({}): this build has no node; build muniment with its default \
         features, `node` and `rocksdb`",
        args.given.join(" ")
    );
    exit::conclude(Err(Failure::new(Exit::Usage, why)), json)
}
