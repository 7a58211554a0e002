//! `keys`: the ledger's keys, and changing them: draw up, endorse, submit.
//!
//! Promises: a draft names the ledger and the serial of the change, so that what was
//! endorsed counts once and nowhere else; endorsing and showing need no network, so that
//! root keys can stay offline. Leaves the rules to the ledger, which refuses what they
//! do not allow.
//!
//! Tests: `tests/cluster/members.rs` (a newcomer's keys: drafted, endorsed, submitted).

use crate::exit::{CommandFailure, Exit};
use crate::files;
use crate::now;
use crate::output;
use crate::reach::Reach;
use clap::Subcommand;
use muniment::keyring;
use muniment_client::v1::{GetKeysResponse, KeyLife};
use muniment_evidence::digest::{Digest, hex, unhex};
use muniment_evidence::endorsement::Endorsements;
use muniment_evidence::ids::{NodeId, RecordIndex, UploadEpoch};
use muniment_evidence::key::{PublicKey, Signer as _};
use muniment_evidence::keychange::{Action, KeyChange, KeyDocument, Role};
use muniment_evidence::opening::Document;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

#[derive(clap::Args)]
pub struct KeysArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Every key that the ledger names or named, and from where to where it is in force
    List,
    /// Draw up a change of keys; the keys that are added endorse it at once
    Draft(Draft),
    /// Add endorsements of key files: of root keys, or of members' statement keys where there are
    /// none; needs no network
    Endorse(Endorse),
    /// What a draft says, and who has endorsed it; needs no network
    Show(Show),
    /// Hand a draft to the ledger
    Submit(Show),
}

#[derive(clap::Args)]
struct Draft {
    /// Add a key: ROLE:FILE, or ROLE:FILE:NODE for a node's own; ROLE is log, statement,
    /// cosignature, root or operator
    #[arg(long, value_name = "ROLE:FILE[:NODE]")]
    add: Vec<String>,
    /// Retire a key: what it signed stays good
    #[arg(long, value_name = "KEY")]
    retire: Vec<String>,
    /// Revoke a key: nothing is believed that it signed from record SIZE on, or from the change
    /// on, which is all that there is without root keys
    #[arg(long, value_name = "KEY[:SIZE]")]
    revoke: Vec<String>,
    /// How many root keys must endorse the changes after this one [default: as now]
    #[arg(long, value_name = "K")]
    threshold: Option<u8>,
    /// For how long it may be endorsed and submitted
    #[arg(long, value_name = "DAYS", default_value_t = 7, value_parser = clap::value_parser!(u64).range(1..=366))]
    valid_days: u64,
    /// Region of a node that has no keys yet
    #[arg(long, value_name = "R", requires = "zone")]
    region: Option<String>,
    /// Zone of a node that has no keys yet
    #[arg(long, value_name = "Z", requires = "region")]
    zone: Option<String>,
    /// Write the draft to this file
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
}

#[derive(clap::Args)]
struct Endorse {
    /// The draft
    file: PathBuf,
    /// Key files that endorse it [default: the roots of --cluster-json]
    #[arg(long = "with", value_name = "KEYFILE")]
    with: Vec<PathBuf>,
}

#[derive(clap::Args)]
struct Show {
    /// The draft
    file: PathBuf,
}

pub async fn run(args: KeysArgs, reach: &Reach) -> Result<Exit, CommandFailure> {
    match args.command {
        Command::List => list(reach).await,
        Command::Draft(args) => draft(args, reach).await,
        Command::Endorse(args) => endorse(args, reach).await,
        Command::Show(args) => show(&args, reach),
        Command::Submit(args) => submit(&args, reach).await,
    }
}

/// A draft as a file: what is endorsed, and for which ledger.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct DraftFile {
    origin: String,
    ledger: String,
    change: String,
}

struct Drawn {
    origin: String,
    ledger: Digest,
    document: KeyDocument,
}

impl Drawn {
    fn read(path: &Path) -> Result<Drawn, CommandFailure> {
        let text =
            std::fs::read_to_string(path).map_err(|e| CommandFailure::local(path.display(), &e))?;
        let invalid = |why: String| CommandFailure::invalid(format!("{}: {why}", path.display()));
        let file: DraftFile = serde_json::from_str(&text).map_err(|e| invalid(e.to_string()))?;
        let bytes = unhex(&file.change).ok_or_else(|| invalid("change is not hex".into()))?;
        let Ok(Document::Key(document)) = Document::decode(&bytes) else {
            return Err(invalid("it holds no change of keys".into()));
        };
        Ok(Drawn {
            origin: file.origin,
            ledger: Digest::from_hex(&file.ledger)
                .ok_or_else(|| invalid("ledger is not 64 hex digits".into()))?,
            document,
        })
    }

    async fn write(&self, path: &Path) -> Result<(), CommandFailure> {
        let file = DraftFile {
            origin: self.origin.clone(),
            ledger: self.ledger.to_hex(),
            change: hex(&self.bytes()),
        };
        let text = serde_json::to_string_pretty(&file).unwrap_or_default() + "\n";
        files::write(path, text.as_bytes()).await
    }

    fn bytes(&self) -> Vec<u8> {
        Document::Key(self.document.clone()).encode()
    }

    fn signed_bytes(&self) -> Vec<u8> {
        let document = &self.document;
        document.endorsements.signed_bytes(&self.ledger, document)
    }

    fn to_value(&self) -> Value {
        let changes = self.document.changes.iter().map(|change| {
            json!({
                "action": action(change.action),
                "role": change.role.to_string(),
                "node": change.node.get(),
                "key": hex(&change.key.0),
            })
        });
        let signed = self.signed_bytes();
        let endorsements = self.document.endorsements.list.iter().map(|endorsement| {
            json!({
                "key": hex(&endorsement.key.0),
                "holds": endorsement.key.verify(&signed, &endorsement.signature),
            })
        });
        json!({
            "origin": self.origin,
            "ledger": self.ledger.to_hex(),
            "serial": self.document.serial,
            "threshold": self.document.threshold,
            "after": self.document.endorsements.after.get(),
            "expires_ms": self.document.endorsements.expires_ms,
            "changes": changes.collect::<Vec<_>>(),
            "endorsements": endorsements.collect::<Vec<_>>(),
        })
    }

    fn say(&self, reach: &Reach) -> Result<(), CommandFailure> {
        if reach.json {
            output::say_json(&self.to_value())?;
            return Ok(());
        }
        let mut lines = vec![format!(
            "Change {} of the keys of {}, ledger {}",
            self.document.serial, self.origin, self.ledger
        )];
        for change in &self.document.changes {
            let whose = match change.node {
                NodeId::NONE => String::new(),
                node => format!(" of node {node}"),
            };
            lines.push(format!(
                "  {} the {} key{whose} {}",
                action(change.action),
                change.role,
                hex(&change.key.0)
            ));
        }
        let signed = self.signed_bytes();
        for endorsement in &self.document.endorsements.list {
            let holds = endorsement.key.verify(&signed, &endorsement.signature);
            let how = if holds { "" } else { ", which does not hold" };
            lines.push(format!("  endorsed by {}{how}", hex(&endorsement.key.0)));
        }
        output::say(&lines.join("\n"))?;
        Ok(())
    }
}

fn action(action: Action) -> String {
    match action {
        Action::Add => "add".to_owned(),
        Action::Retire { last_epoch } if last_epoch.get() == 0 => "retire".to_owned(),
        Action::Retire { last_epoch } => {
            format!("retire, with holdings up to the upload epoch {last_epoch},")
        }
        Action::Revoke { trusted_until } if trusted_until.get() == u64::MAX => {
            "revoke, from this change on,".to_owned()
        }
        Action::Revoke { trusted_until } => format!("revoke, from record {trusted_until} on,"),
    }
}

async fn list(reach: &Reach) -> Result<Exit, CommandFailure> {
    let keys = reach.client()?.keys().await?;
    if reach.json {
        let rows = keys.keys.iter().map(|life| {
            json!({
                "role": life.role, "node": life.node, "region": life.region, "zone": life.zone,
                "key": hex(&life.key), "added": life.added, "retired": life.retired,
                "trusted_until": life.trusted_until, "last_epoch": life.last_epoch,
            })
        });
        output::say_json(&json!({
            "origin": keys.origin, "ledger": hex(&keys.ledger), "serial": keys.serial,
            "threshold": keys.threshold, "keys": rows.collect::<Vec<_>>(),
        }))?;
        return Ok(Exit::Ok);
    }
    let rows: Vec<Vec<String>> = keys.keys.iter().map(row).collect();
    let headings = ["ROLE", "NODE", "KEY", "ADDED", "STANDING"];
    output::say(&output::table(&headings, &rows))?;
    let by = match keys.threshold {
        0 => "more than half of the members".to_owned(),
        k => format!("{k} root keys"),
    };
    output::say(&format!(
        "Changes so far: {}. The next is endorsed by {by}.",
        keys.serial
    ))?;
    Ok(Exit::Ok)
}

fn row(life: &KeyLife) -> Vec<String> {
    let node = match life.node {
        0 => String::new(),
        node => format!("{node} {}/{}", life.region, life.zone),
    };
    let added = life
        .added
        .map_or("GENESIS".to_owned(), |at| format!("record {at}"));
    let standing = match (life.trusted_until, life.retired) {
        (Some(until), _) => format!("revoked: trusted below {until}"),
        (None, Some(at)) => format!("retired by record {at}"),
        (None, None) => "in force".to_owned(),
    };
    vec![life.role.clone(), node, hex(&life.key), added, standing]
}

async fn draft(args: Draft, reach: &Reach) -> Result<Exit, CommandFailure> {
    let known = reach.client()?.keys().await?;
    let threshold = u8::try_from(known.threshold).unwrap_or(u8::MAX);
    let mut document = KeyDocument {
        serial: known.serial,
        changes: Vec::new(),
        threshold: args.threshold.unwrap_or(threshold),
        endorsements: Endorsements::new(
            RecordIndex::new(known.after),
            digest(&known.leaf)?,
            now::ms().max(known.committed_at_ms) + args.valid_days * DAY_MS,
        ),
    };
    let mut added = Vec::new();
    for text in &args.add {
        let (change, key) = addition(text, &known, &args)?;
        document.changes.push(change);
        added.push(key);
    }
    for text in &args.retire {
        let mut change = ending(text, Action::RETIRE, &known)?;
        if change.role == Role::Statement {
            let last_epoch = UploadEpoch::new(known.upload_epoch);
            change.action = Action::Retire { last_epoch };
        }
        document.changes.push(change);
    }
    for text in &args.revoke {
        let parsed = match text.rsplit_once(':') {
            None => Some((text.as_str(), u64::MAX)),
            Some((key, size)) => size.parse().ok().map(|size| (key, size)),
        };
        let Some((key, trusted_until)) = parsed else {
            return Err(CommandFailure::usage("--revoke is KEY or KEY:SIZE"));
        };
        let trusted_until = RecordIndex::new(trusted_until);
        let action = Action::Revoke { trusted_until };
        document.changes.push(ending(key, action, &known)?);
    }
    let ledger = digest(&known.ledger)?;
    for key in added {
        document.endorse(&ledger, &key);
    }
    let drawn = Drawn {
        origin: known.origin,
        ledger,
        document,
    };
    drawn.write(&args.output).await?;
    drawn.say(reach)?;
    Ok(Exit::Ok)
}

fn digest(bytes: &[u8]) -> Result<Digest, CommandFailure> {
    let read = bytes.try_into().map(Digest);
    read.map_err(|_| CommandFailure::invalid("the node gives a digest that is none"))
}

type Secret = muniment_evidence::key::SecretKey;

fn addition(
    text: &str,
    known: &GetKeysResponse,
    args: &Draft,
) -> Result<(KeyChange, Secret), CommandFailure> {
    let usage = |why: &str| CommandFailure::usage(format!("--add {text}: {why}"));
    let mut parts = text.split(':');
    let (Some(role), Some(file), node, None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(usage("is ROLE:FILE or ROLE:FILE:NODE"));
    };
    let role = role_of(role)
        .ok_or_else(|| usage("ROLE is log, statement, cosignature, root or operator"))?;
    let node = match (role.is_nodes(), node) {
        (false, None) => 0,
        (true, Some(node)) => node.parse().map_err(|_| usage("NODE is a number"))?,
        (true, None) => return Err(usage("a node's key names its node")),
        (false, Some(_)) => return Err(usage("this key is no node's own")),
    };
    let path = Path::new(file);
    let key = keyring::read_key(path).map_err(|e| CommandFailure::invalid(e.to_string()))?;
    let (region, zone) = if role.is_nodes() {
        let place = known.keys.iter().find(|life| life.node == node);
        let place = place.map(|life| (life.region.clone(), life.zone.clone()));
        place
            .or_else(|| args.region.clone().zip(args.zone.clone()))
            .ok_or_else(|| usage("the node is new: say --region and --zone"))?
    } else {
        Default::default()
    };
    let change = KeyChange {
        action: Action::Add,
        role,
        node: NodeId::new(node),
        region,
        zone,
        key: key.public(),
    };
    Ok((change, key))
}

/// Retires or revokes a key that the ledger knows: its role and node are looked up.
fn ending(
    text: &str,
    action: Action,
    known: &GetKeysResponse,
) -> Result<KeyChange, CommandFailure> {
    let wanted =
        unhex(text).ok_or_else(|| CommandFailure::usage(format!("{text} is no key in hex")))?;
    let life = known
        .keys
        .iter()
        .find(|life| life.key == wanted)
        .ok_or_else(|| CommandFailure::invalid(format!("the ledger knows no key {text}")))?;
    let key: [u8; 32] = wanted
        .try_into()
        .map_err(|_| CommandFailure::usage(format!("{text} is no key of 32 bytes")))?;
    Ok(KeyChange {
        action,
        role: role_of(&life.role)
            .ok_or_else(|| CommandFailure::invalid(format!("the role {} is unknown", life.role)))?,
        node: NodeId::new(life.node),
        region: String::new(),
        zone: String::new(),
        key: PublicKey(key),
    })
}

fn role_of(text: &str) -> Option<Role> {
    Role::ALL.into_iter().find(|role| role.to_string() == text)
}

async fn endorse(args: Endorse, reach: &Reach) -> Result<Exit, CommandFailure> {
    let mut drawn = Drawn::read(&args.file)?;
    let with = match args.with.is_empty() {
        true => reach.roots()?,
        false => args.with,
    };
    if with.is_empty() {
        let why = "name key files with --with, or a cluster.json that names root keys";
        return Err(CommandFailure::usage(why));
    }
    for path in &with {
        let key = keyring::read_key(path).map_err(|e| CommandFailure::invalid(e.to_string()))?;
        let public = key.public();
        let endorsements = &drawn.document.endorsements;
        if endorsements.keys().contains(&public) {
            let why = format!(
                "{}: this key has endorsed the draft already",
                path.display()
            );
            return Err(CommandFailure::invalid(why));
        }
        drawn.document.endorse(&drawn.ledger, &key);
    }
    drawn.write(&args.file).await?;
    drawn.say(reach)?;
    Ok(Exit::Ok)
}

fn show(args: &Show, reach: &Reach) -> Result<Exit, CommandFailure> {
    Drawn::read(&args.file)?.say(reach)?;
    Ok(Exit::Ok)
}

async fn submit(args: &Show, reach: &Reach) -> Result<Exit, CommandFailure> {
    let drawn = Drawn::read(&args.file)?;
    let client = reach.client()?;
    let index = client.change_keys(drawn.bytes()).await?;
    if reach.json {
        output::say_json(&json!({ "record_index": index }))?;
    } else {
        output::say(&format!("The keys are changed, by record {index}."))?;
    }
    Ok(Exit::Ok)
}
