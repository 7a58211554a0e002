//! `cluster`: founding, status and leadership.
//!
//! Promises: `status` asks every node it hears of, and ends with 0 only when a node that
//! can serve now names a leader. Leaves changes of the members to `members`.

use crate::exit::{CommandFailure, Exit};
use crate::files;
use crate::founders::{self, FoundersKeys, Waivers};
use crate::members;
use crate::output;
use crate::reach::Reach;
use crate::{declare, drill, scrub, zones};
use clap::Subcommand;
use muniment_client::Client;
use muniment_client::v1::{InitRequest, MemberSpec, StatusResponse};
use muniment_evidence::digest::unhex;
use muniment_evidence::ids::NodeId;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A node that does not answer in this time is shown as unreachable: status is asked for
/// when something is wrong, so it must not wait long for what is broken.
pub const STATUS_TIMEOUT: Duration = Duration::from_secs(2);

#[derive(clap::Args)]
pub struct ClusterArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Found the ledger at the first endpoint; every other node must be empty
    Init(Init),
    /// What each node says of itself
    Status,
    /// Hand leadership to a node
    Transfer(Transfer),
    /// Stop the leader, a zone or a node of a cluster on this machine, and measure
    Drill(drill::DrillArgs),
    /// Have nodes read and check every body they hold, now
    Scrub(scrub::ScrubArgs),
    #[command(flatten)]
    Members(members::MembersCommand),
    #[command(flatten)]
    Declare(declare::DeclareCommand),
}

#[derive(clap::Args)]
struct Init {
    /// Members: JSON or TOML (docs/cli.md)
    #[arg(long, value_name = "FILE")]
    members: PathBuf,
    /// The ledger's name for ever, such as ledger.example/0
    #[arg(long, value_name = "NAME")]
    origin: String,
    /// Offline root keys (hex) that must endorse each change of keys, in place of those made
    #[arg(long = "root-key", value_name = "KEY", conflicts_with = "waive_roots")]
    root_keys: Vec<String>,
    /// How many of them must
    #[arg(long, value_name = "K", default_value_t = 0, requires = "root_keys")]
    root_threshold: u32,
    /// Keys (hex) of which one orders what no member decides alone, in place of one made
    #[arg(
        long = "operator-key",
        value_name = "KEY",
        conflicts_with = "waive_operator"
    )]
    operator_keys: Vec<String>,
    /// Where the operator key and three root keys are made, unless named or waived
    #[arg(long, value_name = "DIR", default_value = "./muniment-founders")]
    keys: PathBuf,
    #[command(flatten)]
    waived: Waivers,
    /// Write the trust file here
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(clap::Args)]
struct Transfer {
    /// Node that is to lead
    node: u64,
}

pub async fn run(args: ClusterArgs, reach: &Reach) -> Result<Exit, CommandFailure> {
    match args.command {
        Command::Init(args) => init(args, reach).await,
        Command::Status => status(reach).await,
        Command::Transfer(args) => transfer(args, reach).await,
        Command::Drill(args) => drill::run(args, reach).await,
        Command::Scrub(args) => scrub::run(args, reach).await,
        Command::Members(command) => members::run(command, reach).await,
        Command::Declare(command) => declare::run(command, reach).await,
    }
}

/// One member as the members file has it: what `muniment keygen` prints, and addresses.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct MemberEntry {
    #[serde(alias = "id")]
    node: u64,
    region: String,
    zone: String,
    peer_address: String,
    client_address: String,
    statement_key: String,
    cosignature_key: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MembersFile {
    members: Vec<MemberEntry>,
}

async fn init(args: Init, reach: &Reach) -> Result<Exit, CommandFailure> {
    let text = std::fs::read_to_string(&args.members)
        .map_err(|e| CommandFailure::local(args.members.display(), &e))?;
    let members = members(&args.members, &text)
        .map_err(|why| CommandFailure::invalid(format!("{}: {why}", args.members.display())))?;
    let mut root_keys = public_keys("--root-key", &args.root_keys)?;
    let mut operator_keys = public_keys("--operator-key", &args.operator_keys)?;
    let made = FoundersKeys::in_dir(
        &args.keys,
        Waivers {
            waive_operator: args.waived.waive_operator || !operator_keys.is_empty(),
            waive_roots: args.waived.waive_roots || !root_keys.is_empty(),
        },
    );
    let made = made.map_err(|e| CommandFailure::invalid(e.to_string()))?;
    let root_threshold = args.root_threshold.max(made.threshold());
    root_keys.extend(founders::public(&made.roots));
    operator_keys.extend(founders::public(&made.operators));
    let client = reach.client()?;
    let request = InitRequest {
        origin: args.origin,
        members,
        root_keys,
        root_threshold,
        operator_keys,
    };
    let trust = client.init(request).await?;
    if let Some(path) = &args.output {
        files::write(path, trust.as_bytes()).await?;
    }
    if reach.json {
        output::say_json(&json!({
            "trust": trust,
            "operator": founders::files(&made.operators).first(),
            "roots": founders::files(&made.roots),
        }))?;
    } else {
        for (what, keys) in [("operator", &made.operators), ("root", &made.roots)] {
            for file in founders::files(keys) {
                output::say(&format!("{what} key: {}", file.display()))?;
            }
        }
        if !made.roots.is_empty() {
            output::say("Move the root keys to machines without a network: two of them endorse.")?;
        }
        output::say("The ledger is founded. Keep its trust file, and hand it to auditors:")?;
        output::say(&trust)?;
    }
    Ok(Exit::Ok)
}

fn public_keys(flag: &str, keys: &[String]) -> Result<Vec<bytes::Bytes>, CommandFailure> {
    let read = keys.iter().map(|key| {
        let bytes = unhex(key).filter(|bytes| bytes.len() == 32);
        let bytes =
            bytes.ok_or_else(|| CommandFailure::usage(format!("{flag} {key}: 64 hex digits")));
        bytes.map(Into::into)
    });
    read.collect()
}

/// A list of members, or an object with one under `members`.
fn members(path: &Path, text: &str) -> Result<Vec<MemberSpec>, String> {
    let is_toml = path.extension().is_some_and(|e| e == "toml");
    let entries = if is_toml {
        let file: MembersFile = toml::from_str(text).map_err(|e| e.to_string())?;
        file.members
    } else if text.trim_start().starts_with('[') {
        serde_json::from_str(text).map_err(|e| e.to_string())?
    } else {
        let file: MembersFile = serde_json::from_str(text).map_err(|e| e.to_string())?;
        file.members
    };
    if entries.is_empty() {
        return Err("there are no members".to_owned());
    }
    let mut nodes = BTreeSet::new();
    entries
        .into_iter()
        .map(|entry| {
            if !nodes.insert(entry.node) {
                return Err(format!("node {} stands twice", entry.node));
            }
            let key = |name: &str, text: &str| {
                let bytes = unhex(text).filter(|bytes| bytes.len() == 32);
                let why = format!("node {}: {name} is not 64 hexadecimal digits", entry.node);
                bytes.ok_or(why).map(bytes::Bytes::from)
            };
            Ok(MemberSpec {
                node: entry.node,
                statement_key: key("statement_key", &entry.statement_key)?,
                cosignature_key: key("cosignature_key", &entry.cosignature_key)?,
                region: entry.region,
                zone: entry.zone,
                peer_address: entry.peer_address,
                client_address: entry.client_address,
            })
        })
        .collect()
}

/// What is known after asking around.
#[derive(Default)]
pub struct Survey {
    pub answers: BTreeMap<u64, StatusResponse>,
    /// Address and reason.
    pub silent: Vec<(String, String)>,
}

impl Survey {
    pub async fn take(client: &Client, timeout: Duration) -> Survey {
        let mut survey = Survey::default();
        let mut asked = BTreeSet::new();
        let mut addresses = client.endpoints();
        // Twice at most: the endpoints, then the peers that those named.
        while !addresses.is_empty() {
            let round = addresses.iter().map(|address| async move {
                (address.clone(), client.status_of(address, timeout).await)
            });
            let answers = futures::future::join_all(round).await;
            asked.extend(addresses.iter().map(|address| bare(address)));
            for (address, answer) in answers {
                match answer {
                    Ok(answer) => {
                        survey.answers.insert(answer.node, answer);
                    }
                    Err(error) => survey.silent.push((address, error.to_string())),
                }
            }
            addresses = survey.unasked(&asked);
        }
        survey
    }

    fn unasked(&self, asked: &BTreeSet<String>) -> Vec<String> {
        let peers = self.answers.values().flat_map(|answer| &answer.peers);
        let unasked: BTreeSet<String> = peers
            .filter(|peer| !self.answers.contains_key(&peer.node))
            .map(|peer| peer.client_address.clone())
            .filter(|address| !address.is_empty() && !asked.contains(&bare(address)))
            .collect();
        unasked.into_iter().collect()
    }

    /// As the node with the newest term says; 0 when nobody knows one.
    fn leader(&self) -> u64 {
        let newest = self
            .answers
            .values()
            .max_by_key(|a| (a.term, a.leader != 0));
        newest.map_or(0, |answer| answer.leader)
    }

    fn serves(&self) -> bool {
        self.leader() != 0 && self.answers.values().any(|answer| answer.ready)
    }
}

/// An address as it is compared with others.
pub fn bare(address: &str) -> String {
    let address = address.strip_prefix("http://").unwrap_or(address);
    address.trim_end_matches('/').to_owned()
}

async fn status(reach: &Reach) -> Result<Exit, CommandFailure> {
    let client = reach.client()?;
    let survey = Survey::take(&client, STATUS_TIMEOUT.min(reach.deadline())).await;
    let Some(first) = survey.answers.values().next() else {
        let silent: Vec<String> = survey
            .silent
            .iter()
            .map(|(address, why)| format!("{address}: {why}"))
            .collect();
        let why = format!("no node answers\n{}", silent.join("\n"));
        return Err(CommandFailure::new(Exit::Unavailable, why));
    };
    let exit = if survey.serves() {
        Exit::Ok
    } else {
        Exit::Unavailable
    };
    let view = zones::best(NodeId::new(survey.leader()), survey.answers.values());
    if reach.json {
        output::say_json(&json!({
            "leader": survey.leader(),
            "serving": survey.serves(),
            "origin": first.origin,
            "ledger": first.ledger,
            "operator_keys": first.operator_keys,
            "nodes": survey.answers.values().map(node_value).collect::<Vec<Value>>(),
            "zones": view.map(|view| view.losses.iter().map(zones::loss_value).collect::<Vec<_>>()),
            "standings": view.map(|view| {
                view.standings.iter().map(zones::standing_value).collect::<Vec<_>>()
            }),
            "unreachable": survey.silent.iter().map(|(address, why)| {
                json!({"endpoint": address, "why": why})
            }).collect::<Vec<Value>>(),
        }))?;
        return Ok(exit);
    }
    let says = match (survey.leader(), survey.serves()) {
        (0, _) => "There is no leader: nothing can be written now.".to_owned(),
        (leader, true) => format!("Node {leader} leads."),
        (leader, false) => format!("Node {leader} leads, but no node is ready to serve."),
    };
    let origin = if first.origin.is_empty() {
        "not founded yet"
    } else {
        &first.origin
    };
    output::say(&format!("Ledger {}. {says}\n", output::shown(origin)))?;
    let headings = [
        "NODE", "ZONE", "REGION", "ROLE", "TERM", "APPLIED", "RECORDS", "BODIES", "VERIFIED",
        "COSIGNED", "LAG", "STATE", "READY",
    ];
    let rows: Vec<Vec<String>> = survey.answers.values().map(|a| cells(&survey, a)).collect();
    output::say(&output::table(&headings, &rows))?;
    if !first.ledger.is_empty() && first.operator_keys == 0 {
        output::say("\nThere is no operator key: the word of any one voter changes the members.")?;
    }
    if let Some(view) = view {
        output::say(&format!("\n{}", zones::text(view)))?;
    }
    for answer in survey.answers.values() {
        for reason in &answer.reasons {
            output::say(&output::shown(&format!("node {}: {reason}", answer.node)))?;
        }
        if !answer.bad_record.is_empty() {
            let (node, why) = (answer.node, &answer.bad_record);
            let line =
                format!("node {node}: cosigns nothing above a record that does not verify: {why}");
            output::say(&output::shown(&line))?;
        }
        for seen in &answer.misdeeds {
            let (by, of) = (answer.node, seen.node);
            let (what, count) = (&seen.misdeed, seen.count);
            let ago_s = seen.last_ms_ago / 1000;
            let line = format!(
                "node {by}: node {of} does what no member does: {what}, {count} times, last \
                 {ago_s} s ago; its log and docs/runbooks.md say more"
            );
            output::say(&output::shown(&line))?;
        }
    }
    for (address, _) in &survey.silent {
        output::say(&output::shown(&format!("{address} cannot be reached")))?;
    }
    Ok(exit)
}

fn cells(survey: &Survey, answer: &StatusResponse) -> Vec<String> {
    // Only the leader knows how far the others are behind.
    let leader = survey.answers.get(&survey.leader());
    let peers = leader.into_iter().flat_map(|leader| &leader.peers);
    let lag = peers
        .filter(|peer| peer.node == answer.node)
        .find_map(|peer| peer.lag_entries);
    vec![
        answer.node.to_string(),
        answer.zone.clone(),
        answer.region.clone(),
        answer.role.clone(),
        answer.term.to_string(),
        answer.applied_index.to_string(),
        answer.log_size.to_string(),
        answer.body_complete_index.to_string(),
        answer.verified_index.to_string(),
        answer.cosigned_size.to_string(),
        lag.map_or_else(|| "-".to_owned(), |lag| lag.to_string()),
        answer.state_hash.chars().take(8).collect(),
        if answer.ready { "yes" } else { "no" }.to_owned(),
    ]
}

fn node_value(answer: &StatusResponse) -> Value {
    let peers = answer.peers.iter().map(|peer| {
        json!({
            "node": peer.node,
            "zone": peer.zone,
            "region": peer.region,
            "client_address": peer.client_address,
            "voter": peer.voter,
            "lag_entries": peer.lag_entries,
        })
    });
    let misdeeds = answer.misdeeds.iter().map(|seen| {
        json!({
            "node": seen.node,
            "misdeed": seen.misdeed,
            "count": seen.count,
            "last_ms_ago": seen.last_ms_ago,
        })
    });
    json!({
        "node": answer.node,
        "zone": answer.zone,
        "region": answer.region,
        "version": answer.version,
        "origin": answer.origin,
        "ledger": answer.ledger,
        "role": answer.role,
        "leader": answer.leader,
        "term": answer.term,
        "last_log_index": answer.last_log_index,
        "committed_index": answer.committed_index,
        "applied_index": answer.applied_index,
        "log_size": answer.log_size,
        "state_hash": answer.state_hash,
        "root": answer.root,
        "ready": answer.ready,
        "reasons": answer.reasons,
        "peers": peers.collect::<Vec<Value>>(),
        "feature_level": answer.feature_level,
        "snapshot_index": answer.snapshot_index,
        "uptime_ms": answer.uptime_ms,
        "body_complete_index": answer.body_complete_index,
        "verified_index": answer.verified_index,
        "bad_record": answer.bad_record,
        "cosigned_size": answer.cosigned_size,
        "profile": answer.profile,
        "worst_leaderless_ms": answer.worst_leaderless_ms,
        "leaderless_ms": answer.leaderless_ms,
        "write_level": answer.write_level,
        "upload_epoch": answer.upload_epoch,
        "misdeeds": misdeeds.collect::<Vec<Value>>(),
    })
}

async fn transfer(args: Transfer, reach: &Reach) -> Result<Exit, CommandFailure> {
    let leader = reach.client()?.transfer(args.node).await?;
    if reach.json {
        output::say_json(&json!({ "leader": leader }))?;
    } else {
        output::say(&format!("Node {leader} leads."))?;
    }
    Ok(Exit::Ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_read_from_json_and_toml() {
        let key = "ab".repeat(32);
        let fields = format!(
            r#""id":1,"region":"r","zone":"a","peer_address":"h:1","client_address":"h:2",
               "statement_key":"{key}","cosignature_key":"{key}""#
        );
        let list = members(Path::new("m.json"), &format!("[{{{fields}}}]")).unwrap();
        let object = format!(r#"{{"members":[{{{fields}}}]}}"#);
        assert_eq!(members(Path::new("m.json"), &object).unwrap(), list);
        let toml = format!(
            "[[members]]\nnode = 1\nregion = \"r\"\nzone = \"a\"\npeer_address = \"h:1\"\n\
             client_address = \"h:2\"\nstatement_key = \"{key}\"\ncosignature_key = \"{key}\"\n"
        );
        assert_eq!(members(Path::new("m.toml"), &toml).unwrap(), list);
        let twice = format!("[{{{fields}}},{{{fields}}}]");
        assert!(members(Path::new("m.json"), &twice).is_err());
        let short = format!("[{{{fields}}}]").replace(&key, "ab");
        let why = members(Path::new("m.json"), &short).unwrap_err();
        assert!(why.contains("statement_key"), "{why}");
        assert!(members(Path::new("m.json"), "[]").is_err());
    }

    /// A deposed leader that still believes in itself must not be named.
    #[test]
    fn the_leader_is_the_one_of_the_newest_term() {
        let answer = |node, leader, term, ready| StatusResponse {
            node,
            leader,
            term,
            ready,
            ..StatusResponse::default()
        };
        let survey = Survey {
            answers: [answer(1, 1, 4, false), answer(2, 3, 5, true)]
                .map(|a| (a.node, a))
                .into(),
            silent: Vec::new(),
        };
        assert_eq!(survey.leader(), 3);
        assert!(survey.serves());
        assert!(!Survey::default().serves());
    }
}
