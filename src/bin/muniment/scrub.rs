//! `cluster scrub`: has nodes read and check every body they hold, now.
//!
//! Promises: says of each node whether a pass has begun or is under way; ends with 0 only
//! when every node that was meant has answered. Does not wait for the passes: `cluster
//! status` and the metrics show them.

use crate::cluster::{STATUS_TIMEOUT, Survey};
use crate::exit::{CommandFailure, Exit};
use crate::output::{self, Audience};
use crate::reach::Reach;
use serde_json::{Value, json};
use std::collections::BTreeMap;

#[derive(clap::Args)]
pub struct ScrubArgs {
    /// Node that is to scrub
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    node: Option<u64>,
    /// Every node
    #[arg(long)]
    all: bool,
}

pub async fn run(args: ScrubArgs, reach: &Reach) -> Result<Exit, CommandFailure> {
    let client = reach.client()?;
    let limit = STATUS_TIMEOUT.min(reach.deadline());
    let survey = Survey::take(&client, limit).await;
    let peers = survey.answers.values().flat_map(|answer| &answer.peers);
    let known: BTreeMap<u64, String> = peers
        .map(|peer| (peer.node, peer.client_address.clone()))
        .collect();
    if known.is_empty() {
        return Err(CommandFailure::new(Exit::Unavailable, "no node answers"));
    }
    let meant: BTreeMap<u64, String> = match args.node {
        None => known,
        Some(node) => match known.get(&node) {
            Some(address) => [(node, address.clone())].into(),
            None => {
                let why = format!("there is no node {node}");
                return Err(CommandFailure::new(Exit::NotFound, why));
            }
        },
    };
    let mut exit = Exit::Ok;
    let mut said: Vec<Value> = Vec::new();
    // All of them are asked, whoever hears of it.
    let mut told = Ok(Audience::Listens);
    for (node, address) in &meant {
        let asked = client.scrub_of(address, limit).await;
        let text = match &asked {
            Ok(true) => "a pass begins".to_owned(),
            Ok(false) => "a pass is under way; another follows it".to_owned(),
            Err(error) => {
                exit = Exit::Unavailable;
                format!("cannot be asked: {error}")
            }
        };
        if !reach.json {
            let line = format!("node {node}: {text}");
            told = told.and_then(|_| output::say(&output::shown(&line)));
        }
        let started = asked.as_ref().ok();
        let why = asked.as_ref().err().map(ToString::to_string);
        said.push(json!({"node": node, "started": started, "why": why}));
    }
    told?;
    if reach.json {
        output::say_json(&json!({ "nodes": said }))?;
    }
    Ok(exit)
}
