//! What stands for the commands that need a node, in a build that has none.
//!
//! Promises: they are listed like in every build, take any arguments, and say what is
//! missing and how to get it. Leaves all else to the builds that have a node.

use crate::exit::{self, CommandFailure, Exit};
use std::process::ExitCode;

#[derive(clap::Args)]
#[command(disable_help_flag = true)]
pub struct WithoutNodeArgs {
    /// Whatever the command takes in a build that has it.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    given: Vec<String>,
}

// Each command that is missing has these arguments, under the name of its own.
pub use WithoutNodeArgs as CheckConfigArgs;
pub use WithoutNodeArgs as DevArgs;
pub use WithoutNodeArgs as ServeArgs;
pub use WithoutNodeArgs as WitnessArgs;

pub async fn run(args: WithoutNodeArgs, json: bool) -> ExitCode {
    let why = format!(
        "cannot do this ({}): this build has no node; build muniment with its default \
         features, `node` and `rocksdb`",
        args.given.join(" ")
    );
    exit::conclude(Err(CommandFailure::new(Exit::Usage, why)), json)
}
