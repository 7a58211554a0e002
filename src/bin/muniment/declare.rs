//! `cluster waive|declare-lost|raise-level`: what an operator says of the whole ledger.
//!
//! Promises: what is recorded is what was shown and signed; a level is raised only when every
//! member has said that its software knows it. Leaves to the node what is so, and the order to
//! [`crate::orders`].
//!
//! Tests: `tests/cluster/scrubbing.rs`.

use crate::cluster::{STATUS_TIMEOUT, Survey};
use crate::exit::{CommandFailure, Exit};
use crate::lookup::{Which, key_of};
use crate::reach::Reach;
use crate::{orders, output};
use clap::Subcommand;
use muniment_client::v1::{LostBody, RaiseLevel, WaiveRecord};
use muniment_client::{Client, Declaration};
use serde_json::json;

#[derive(Subcommand)]
pub enum DeclareCommand {
    /// Let the ledger go on after a record that fails a check, as `cluster status` names it
    Waive(Waive),
    /// Declare the bytes of an invoice lost: no member has them any more
    DeclareLost(DeclareLost),
    /// Let the ledger take what a later feature level has; there is no way back
    RaiseLevel(Raise),
}

#[derive(clap::Args)]
pub struct Waive {
    /// Index of the record
    index: u64,
    /// What was found out: stays in the evidence
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

#[derive(clap::Args)]
pub struct DeclareLost {
    #[command(flatten)]
    which: Which,
    /// Which rendition [default: the original]
    #[arg(long, value_name = "ROLE", default_value = "")]
    role: String,
    /// What was found out: stays in the evidence
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

#[derive(clap::Args)]
pub struct Raise {
    /// The feature level
    level: u64,
}

pub async fn run(command: DeclareCommand, reach: &Reach) -> Result<Exit, CommandFailure> {
    let client = reach.client()?;
    let declaration = match command {
        DeclareCommand::Waive(waive) => Declaration::Waive(WaiveRecord {
            index: waive.index,
            reason: waive.reason,
        }),
        DeclareCommand::DeclareLost(lost) => {
            let (invoice, _) = lost.which.find(&client, None).await?;
            Declaration::Lost(LostBody {
                key: Some(key_of(&invoice)),
                role: lost.role,
                reason: lost.reason,
            })
        }
        DeclareCommand::RaiseLevel(raise) => {
            known_everywhere(&client, raise.level, reach).await?;
            Declaration::Raise(RaiseLevel { level: raise.level })
        }
    };
    let draft = client.draft_declaration(declaration).await?;
    let document = orders::ordered(&draft, reach)?;
    let index = client.declare(document).await?;
    match reach.json {
        true => output::say_json(&json!({ "record": index }))?,
        false => output::say(&format!("declared: record {index}"))?,
    };
    Ok(Exit::Ok)
}

/// A node that does not know a level could not follow the ledger any more.
async fn known_everywhere(
    client: &Client,
    level: u64,
    reach: &Reach,
) -> Result<(), CommandFailure> {
    let survey = Survey::take(client, STATUS_TIMEOUT.min(reach.deadline())).await;
    if let Some((address, why)) = survey.silent.first() {
        let why = format!(
            "every member is asked which levels it knows, and {address} does not answer: {why}"
        );
        return Err(CommandFailure::new(Exit::Unavailable, why));
    }
    if survey.answers.is_empty() {
        return Err(CommandFailure::new(Exit::Unavailable, "no node answers"));
    }
    for (node, answer) in &survey.answers {
        let known = answer.known_feature_level;
        if known < level {
            let why = format!(
                "node {node} ({}) knows feature levels up to {known}: renew its software first",
                answer.version
            );
            return Err(CommandFailure::new(Exit::Conflict, why));
        }
    }
    Ok(())
}
