//! `cluster add|promote|remove|replace|move|drain|undrain`: changing the members.
//!
//! Promises: each line of progress is shown as it comes; the command ends with 0 only when
//! the change is done. Leaves the rules and the waiting to the leader.

use crate::exit::{CommandFailure, Exit};
use crate::orders;
use crate::output::{self, Audience};
use crate::reach::Reach;
use bytes::Bytes;
use clap::Subcommand;
use muniment_client::v1::{
    AddMemberRequest, MoveMemberRequest, PromoteRequest, RemoveRequest, ReplaceRequest,
};
use muniment_client::{MemberChange, Wish};
use serde_json::json;

#[derive(Subcommand)]
pub enum MembersCommand {
    /// Add a node that the ledger knows by its keys, as a learner; or change a learner's role
    Add(Add),
    /// Let a learner vote, once it holds every record and body
    Promote(OrderedNode),
    /// Remove a voter or learner, for good
    Remove(OrderedNode),
    /// Let a learner vote in the place of a voter, which leaves for good
    Replace(Replace),
    /// Reach a member that moved at its new address
    Move(Move),
    /// Empty a node of work before its maintenance
    Drain(MemberNode),
    /// Have a drained node take up its work again
    Undrain(MemberNode),
}

#[derive(clap::Args)]
pub struct Move {
    /// The member
    node: u64,
    /// host:port of its peer listener, as it is now
    #[arg(long, value_name = "HOST:PORT")]
    peer_address: String,
    /// host:port of its client listener, as it is now
    #[arg(long, value_name = "HOST:PORT")]
    client_address: String,
}

#[derive(clap::Args)]
pub struct Add {
    /// Its number; never used before
    node: u64,
    /// host:port of its peer listener
    #[arg(long, value_name = "HOST:PORT", requires = "client_address")]
    peer_address: Option<String>,
    /// host:port of its client listener
    #[arg(long, value_name = "HOST:PORT", requires = "peer_address")]
    client_address: Option<String>,
    /// Count it for the levels all and regions, once it holds everything
    #[arg(long)]
    sync: bool,
    #[command(flatten)]
    costs: Costs,
}

/// What the operator gives up by a change.
#[derive(clap::Args)]
pub struct Costs {
    /// A cost that the change is refused for, on record: a level such as regions:2, lost-outbox
    #[arg(long, value_name = "COST")]
    accept: Vec<String>,
}

#[derive(clap::Args)]
pub struct MemberNode {
    /// The node
    node: u64,
}

#[derive(clap::Args)]
pub struct OrderedNode {
    /// The node
    node: u64,
    #[command(flatten)]
    costs: Costs,
}

#[derive(clap::Args)]
pub struct Replace {
    /// The voter that leaves
    old: u64,
    /// The learner that votes from then on
    new: u64,
    #[command(flatten)]
    costs: Costs,
}

impl MembersCommand {
    fn change(self) -> MemberChange {
        match self {
            MembersCommand::Add(add) => MemberChange::Ordered(Wish::Add(AddMemberRequest {
                node: add.node,
                peer_address: add.peer_address.unwrap_or_default(),
                client_address: add.client_address.unwrap_or_default(),
                sync: add.sync,
                order: Bytes::new(),
                accept: add.costs.accept,
            })),
            MembersCommand::Promote(of) => MemberChange::Ordered(Wish::Promote(PromoteRequest {
                node: of.node,
                order: Bytes::new(),
                accept: of.costs.accept,
            })),
            MembersCommand::Remove(of) => MemberChange::Ordered(Wish::Remove(RemoveRequest {
                node: of.node,
                order: Bytes::new(),
                accept: of.costs.accept,
            })),
            MembersCommand::Replace(of) => MemberChange::Ordered(Wish::Replace(ReplaceRequest {
                old: of.old,
                new: of.new,
                order: Bytes::new(),
                accept: of.costs.accept,
            })),
            MembersCommand::Move(to) => MemberChange::Move(MoveMemberRequest {
                node: to.node,
                peer_address: to.peer_address,
                client_address: to.client_address,
            }),
            MembersCommand::Drain(of) => MemberChange::Drain(of.node),
            MembersCommand::Undrain(of) => MemberChange::Undrain(of.node),
        }
    }
}

pub async fn run(command: MembersCommand, reach: &Reach) -> Result<Exit, CommandFailure> {
    let client = reach.client()?;
    let change = command.change();
    let order = orders::order(&client, &change, reach).await?;
    let mut steps = client.change_members(&change, order).await?;
    let mut said = Vec::new();
    // The change goes on, whoever hears of it: its end decides, then whether it was told.
    let mut told = Ok(Audience::Listens);
    loop {
        let step = steps.next().await?;
        if reach.json {
            said.push(json!({ "phase": step.phase, "detail": step.detail }));
        } else {
            let line = format!("{}: {}", step.phase, step.detail);
            told = told.and_then(|_| output::say(&output::shown(&line)));
        }
        if step.done {
            break;
        }
    }
    told?;
    if reach.json {
        output::say_json(&json!({ "done": true, "steps": said }))?;
    }
    Ok(Exit::Ok)
}
