//! `get`: one invoice and its status.
//!
//! Promises: says who answered and how stale the answer may be. Leaves finding it to
//! `lookup`.

use crate::exit::{CommandFailure, Exit};
use crate::lookup::Which;
use crate::reach::Reach;
use crate::{measure, output};
use muniment_client::v1::ReadLevel;
use serde_json::json;

#[derive(clap::Args)]
pub struct GetArgs {
    #[command(flatten)]
    which: Which,
    /// How fresh the answer must be: linearizable, local, bounded:MS, session:TOKEN, as-of:INDEX
    #[arg(long, value_name = "LEVEL", value_parser = measure::read_level)]
    read: Option<ReadLevel>,
}

pub async fn run(args: GetArgs, reach: &Reach) -> Result<Exit, CommandFailure> {
    let client = reach.client()?;
    let (invoice, answered) = args.which.find(&client, args.read).await?;
    if reach.json {
        output::say_json(&json!({
            "invoice": output::invoice_value(&invoice),
            "answered": output::answered_value(&answered),
        }))?;
    } else {
        let number = output::shown(&output::identity(&invoice).number);
        let mut rows = output::invoice_lines(&invoice);
        rows.push(output::answered_line(&answered));
        output::say(&format!("{number}\n{}", output::lines(&rows)))?;
    }
    Ok(Exit::Ok)
}
