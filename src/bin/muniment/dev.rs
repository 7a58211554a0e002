//! `muniment dev`: a cluster on this machine, one zone per node, for trying things out.
//!
//! Promises: the directory can be started again as it is; `cluster.json` appears when the
//! cluster serves; nodes end with this command. A node that was killed from outside is
//! not restarted: its owner may do that with `muniment serve --config`.

use crate::founders::{self, FoundersKeys, Waivers};
use crate::output;
use crate::reach;
use muniment::clock::SystemClock;
use muniment::config::Config;
use muniment::domain::cause::Cause;
use muniment::keyring::{self, Keyring};
use muniment::objective::write::WriteLevel;
use muniment::store::marker::write_durably;
use muniment_evidence::keychange::Role;
use muniment_proto::v1;
use muniment_proto::v1::cluster_service_client::ClusterServiceClient;
use muniment_proto::v1::evidence_service_client::EvidenceServiceClient;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::time::Duration;
use tokio::process::{Child, ChildStdin, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;
use tonic::transport::Channel;

/// The ledger of a development cluster.
const ORIGIN: &str = "muniment.dev/0";
/// How long a cluster may take to serve; a first start founds it.
const READY_MAX: Duration = Duration::from_secs(60);
/// Pause between looks at a node that is not up yet.
const LOOK_PAUSE: Duration = Duration::from_millis(50);
/// How long nodes may take to stop before they are killed.
const STOP_MAX: Duration = Duration::from_secs(15);

#[derive(clap::Args)]
pub struct DevArgs {
    /// Where the nodes live; used again if it is there.
    #[arg(long, default_value = "./muniment-dev")]
    pub dir: PathBuf,
    /// Nodes, each in a zone of its own.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=9))]
    pub zones: u16,
    /// gRPC is at base+i, http at base+100+i, peers at base+200+i.
    #[arg(long, default_value_t = 7400)]
    pub base_port: u16,
    #[command(flatten)]
    pub waived: Waivers,
}

pub async fn run(args: DevArgs, json: bool) -> ExitCode {
    match dev(args, json).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output::complain(&format!("muniment dev: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// A node's process.
struct Running {
    id: u64,
    child: Child,
    /// Held open: the node stops when it ends. Kept apart from the child, since waiting
    /// for a child closes its own.
    stdin: Option<ChildStdin>,
}

struct Node {
    id: u64,
    zone: String,
    dir: PathBuf,
    config: PathBuf,
    port: u16,
}

const REGION: &str = "region-1";

impl Node {
    fn client(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    fn http(&self) -> String {
        format!("127.0.0.1:{}", self.port + 100)
    }

    fn peer(&self) -> String {
        format!("127.0.0.1:{}", self.port + 200)
    }

    fn url(&self) -> String {
        format!("http://{}", self.client())
    }
}

async fn dev(args: DevArgs, json: bool) -> Result<(), Cause> {
    let dir = std::path::absolute(&args.dir).map_err(Cause::new)?;
    std::fs::create_dir_all(&dir).map_err(|error| Cause::at(dir.display(), error))?;
    let described = dir.join("cluster.json");
    // It says that the cluster serves, which it does not yet.
    let _ = std::fs::remove_file(&described);
    let nodes = lay_out(&dir, args.zones, args.base_port)?;
    let keys = FoundersKeys::in_dir(&dir.join("founders"), args.waived).map_err(Cause::new)?;
    let mut children = Vec::new();
    for node in &nodes {
        children.push(start(node)?);
    }
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Cause::new)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(Cause::new)?;
    let served = tokio::select! {
        served = serve(&dir, &described, &nodes, &keys, &mut children, json) => served,
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
    };
    stop_restarted(&described, &nodes, &children);
    let _ = std::fs::remove_file(&described);
    stop(children).await;
    served
}

async fn serve(
    dir: &Path,
    described: &Path,
    nodes: &[Node],
    keys: &FoundersKeys,
    children: &mut [Running],
    json: bool,
) -> Result<(), Cause> {
    {
        let starting = come_up(dir, nodes, keys);
        tokio::pin!(starting);
        tokio::select! {
            up = &mut starting => up?,
            ended = first_end(children) => return Err(ended.into()),
        }
    }
    let pids: Vec<Option<u32>> = children.iter().map(|running| running.child.id()).collect();
    let description = describe(dir, nodes, keys, &pids);
    let text = format!("{description:#}\n");
    write_durably(described, text.as_bytes()).map_err(Cause::new)?;
    // A cluster that nobody could be told of is of no use: it is stopped.
    let said = match json {
        true => output::say(&description.to_string()),
        false => output::say(&listing(nodes, &pids, described)),
    };
    said.map_err(|failure| Cause::from(failure.message()))?;
    loop {
        let ended = first_end(children).await;
        output::complain(&format!("muniment dev: {ended}; not restarted"));
    }
}

/// For people.
fn listing(nodes: &[Node], pids: &[Option<u32>], described: &Path) -> String {
    let headings = ["node", "zone", "grpc", "http", "pid"];
    let rows: Vec<Vec<String>> = nodes
        .iter()
        .zip(pids)
        .map(|(node, pid)| {
            vec![
                node.id.to_string(),
                node.zone.clone(),
                node.url(),
                format!("http://{}", node.http()),
                pid.map_or("-".to_owned(), |pid| pid.to_string()),
            ]
        })
        .collect();
    let table = output::table(&headings, &rows);
    let described = described.display();
    format!("{table}\nserving; described in {described}; Ctrl-C stops it")
}

/// Keys and configuration of each node, unless they are there.
fn lay_out(dir: &Path, zones: u16, base_port: u16) -> Result<Vec<Node>, Cause> {
    let mut nodes = Vec::new();
    for i in 1..=zones {
        let letter = char::from(b'a' + (i - 1) as u8);
        let own = dir.join(format!("node{i}"));
        nodes.push(Node {
            id: u64::from(i),
            zone: format!("zone-{letter}"),
            config: own.join("muniment.toml"),
            dir: own,
            port: base_port
                .checked_add(i)
                .filter(|port| *port < u16::MAX - 200)
                .ok_or("--base-port leaves no room for the ports of all nodes")?,
        });
    }
    for (at, node) in nodes.iter().enumerate() {
        let keys = node.dir.join("keys");
        if !keys.exists() {
            let made = keyring::generate(&keys, &SystemClock);
            made.map_err(Cause::new)?;
            let log = match at {
                0 => keyring::generate_log_key(&keys, &SystemClock).map(|_| ()),
                _ => keyring::copy_log_key(&nodes[0].dir.join("keys"), &keys),
            };
            log.map_err(Cause::new)?;
        }
        if !node.config.exists() {
            write_durably(&node.config, configuration(node, zones).as_bytes())
                .map_err(Cause::new)?;
        }
        let config = Config::load(&node.config).map_err(Cause::new)?;
        if config.listen.client.port() != node.port {
            let why = format!(
                "{} was laid out for port {}; use the same --base-port or another --dir",
                dir.display(),
                config.listen.client.port()
            );
            return Err(why.into());
        }
    }
    Ok(nodes)
}

fn configuration(node: &Node, zones: u16) -> String {
    // One zone cannot meet the default of two, and no write would ever be acknowledged.
    let level = match zones {
        1 => WriteLevel::Quorum,
        _ => WriteLevel::default(),
    };
    format!(
        r#"# Made by `muniment dev`; every key is described in docs/configuration.md.
[node]
id = {id}
zone = "{zone}"
region = "{REGION}"
data_dir = "data"

[listen]
client = "{client}"
peer = "{peer}"
http = "{http}"

[keys]
dir = "keys"

[cluster]
origin = "{ORIGIN}"
profile = "lan"

[[tenants]]
name = "default"
write_level = "{level}"
"#,
        id = node.id,
        zone = node.zone,
        client = node.client(),
        peer = node.peer(),
        http = node.http(),
    )
}

fn start(node: &Node) -> Result<Running, Cause> {
    let log = node.dir.join("node.log");
    let output = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(&log)
        .map_err(|error| Cause::at(log.display(), error))?;
    let program = std::env::current_exe().map_err(Cause::new)?;
    let mut child = Command::new(program)
        .args(["serve", "--exit-on-stdin-close", "--config"])
        .arg(&node.config)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(output)
        // A terminal's Ctrl-C is for this command, which then stops its nodes in order.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| Cause::at(format!("node {} cannot be started", node.id), error))?;
    Ok(Running {
        id: node.id,
        stdin: child.stdin.take(),
        child,
    })
}

/// Waits until one of the children ends, and says which.
async fn first_end(children: &mut [Running]) -> String {
    let waits = children
        .iter_mut()
        .filter(|running| running.child.id().is_some());
    let waits: Vec<_> = waits
        .map(|running| {
            Box::pin(async move {
                let id = running.id;
                match running.child.wait().await {
                    Ok(status) => format!("node {id} ended ({status}); see its node.log"),
                    Err(error) => format!("node {id} cannot be waited for: {error}"),
                }
            })
        })
        .collect();
    if waits.is_empty() {
        return std::future::pending().await;
    }
    futures::future::select_all(waits).await.0
}

/// A drill starts a node that it killed as a process of its own and names it in the file:
/// that one is asked to stop as well. What else the file names is none of ours.
fn stop_restarted(described: &Path, nodes: &[Node], children: &[Running]) {
    let text = std::fs::read_to_string(described).unwrap_or_default();
    let value: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    let listed = value["nodes"].as_array().cloned().unwrap_or_default();
    for (node, entry) in nodes.iter().zip(&listed) {
        let Some(pid) = entry["pid"]
            .as_u64()
            .and_then(|pid| u32::try_from(pid).ok())
        else {
            continue;
        };
        let own = children.iter().any(|child| child.child.id() == Some(pid));
        let is_node = reach::is_its_process(pid, &node.config);
        let target = i32::try_from(pid)
            .ok()
            .and_then(rustix::process::Pid::from_raw);
        if let (false, true, Some(target)) = (own, is_node, target) {
            // It may have ended meanwhile, which is as good.
            let _ = rustix::process::kill_process(target, rustix::process::Signal::TERM);
        }
    }
}

async fn stop(children: Vec<Running>) {
    let stopping = children.into_iter().map(|mut running| async move {
        // Its standard input ends, which it takes for a request to stop.
        drop(running.stdin.take());
        if tokio::time::timeout(STOP_MAX, running.child.wait())
            .await
            .is_err()
        {
            let id = running.id;
            output::complain(&format!(
                "muniment dev: node {id} did not stop in time and is killed"
            ));
            let _ = running.child.kill().await;
        }
    });
    futures::future::join_all(stopping).await;
}

/// Waits for every node, founds the ledger if it is not, waits until all serve.
async fn come_up(dir: &Path, nodes: &[Node], keys: &FoundersKeys) -> Result<(), Cause> {
    let deadline = Instant::now() + READY_MAX;
    for node in nodes {
        look(node, deadline, |_| true).await?;
    }
    let first = look(&nodes[0], deadline, |_| true).await?;
    if first.ledger.is_empty() {
        found(nodes, keys).await?;
    }
    for node in nodes {
        look(node, deadline, |status| status.ready).await?;
    }
    let mut evidence = EvidenceServiceClient::new(channel(&nodes[0])?);
    let trust = evidence
        .get_trust(v1::GetTrustRequest {})
        .await
        .map_err(|status| Cause::from(status.message()))?;
    write_durably(&dir.join("trust"), trust.into_inner().trust.as_bytes()).map_err(Cause::new)
}

fn channel(node: &Node) -> Result<Channel, Cause> {
    let endpoint = Channel::from_shared(node.url()).map_err(Cause::new)?;
    Ok(endpoint.connect_lazy())
}

/// Asks a node for its status until it is as wanted.
async fn look(
    node: &Node,
    deadline: Instant,
    wanted: impl Fn(&v1::StatusResponse) -> bool,
) -> Result<v1::StatusResponse, Cause> {
    let mut client = ClusterServiceClient::new(channel(node)?);
    let mut last = String::from("no answer");
    while Instant::now() < deadline {
        match client.status(v1::StatusRequest {}).await {
            Ok(status) if wanted(status.get_ref()) => return Ok(status.into_inner()),
            Ok(status) => last = status.into_inner().reasons.join(", "),
            Err(status) => last = status.message().to_owned(),
        }
        tokio::time::sleep(LOOK_PAUSE).await;
    }
    Err(format!("node {} did not come up in time: {last}", node.id).into())
}

async fn found(nodes: &[Node], founders: &FoundersKeys) -> Result<(), Cause> {
    let mut members = Vec::new();
    for node in nodes {
        let keys = Keyring::load(&node.dir.join("keys")).map_err(Cause::new)?;
        members.push(v1::MemberSpec {
            node: node.id,
            region: REGION.to_owned(),
            zone: node.zone.clone(),
            peer_address: node.peer(),
            client_address: node.client(),
            statement_key: keys.public(Role::Statement)[0].0.to_vec().into(),
            cosignature_key: keys.public(Role::Cosignature)[0].0.to_vec().into(),
        });
    }
    let request = v1::InitRequest {
        origin: ORIGIN.to_owned(),
        members,
        root_keys: founders::public(&founders.roots),
        root_threshold: founders.threshold(),
        operator_keys: founders::public(&founders.operators),
    };
    let mut client = ClusterServiceClient::new(channel(&nodes[0])?);
    client
        .init(request)
        .await
        .map(|_| ())
        .map_err(|status| Cause::at("founding failed", status.message()))
}

fn describe(
    dir: &Path,
    nodes: &[Node],
    keys: &FoundersKeys,
    pids: &[Option<u32>],
) -> serde_json::Value {
    let nodes: Vec<_> = nodes
        .iter()
        .zip(pids)
        .map(|(node, pid)| {
            serde_json::json!({
                "id": node.id,
                "zone": node.zone,
                "region": REGION,
                "grpc": node.url(),
                "http": format!("http://{}", node.http()),
                "pid": pid,
                "dir": node.dir,
                "config": node.config,
            })
        })
        .collect();
    serde_json::json!({
        "nodes": nodes,
        "ca": null,
        "cert": null,
        "key": null,
        "token": null,
        "trust": dir.join("trust"),
        "operator": founders::files(&keys.operators).first(),
        "roots": founders::files(&keys.roots),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_laid_out_once_and_used_again() {
        let dir = tempfile::tempdir().unwrap();
        let nodes = lay_out(dir.path(), 3, 7400).unwrap();
        let places: Vec<_> = nodes
            .iter()
            .map(|n| (n.id, n.zone.as_str(), n.port))
            .collect();
        assert_eq!(
            places,
            [
                (1, "zone-a", 7401),
                (2, "zone-b", 7402),
                (3, "zone-c", 7403)
            ]
        );
        let log_key = |node: &Node| std::fs::read(node.dir.join("keys/log.key")).unwrap();
        for node in &nodes[1..] {
            assert_eq!(
                log_key(node),
                log_key(&nodes[0]),
                "one log key signs for all"
            );
        }
        // A second start finds the same keys and the same configuration.
        let before = log_key(&nodes[0]);
        let again = lay_out(dir.path(), 3, 7400).unwrap();
        assert_eq!(log_key(&again[0]), before);
        let other_ports = lay_out(dir.path(), 3, 7500).err().unwrap().to_string();
        assert!(
            other_ports.contains("laid out for port 7401"),
            "{other_ports}"
        );
    }

    #[test]
    fn ports_that_do_not_exist_are_refused_before_anything_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let refused = lay_out(dir.path(), 3, u16::MAX - 201)
            .err()
            .unwrap()
            .to_string();
        assert!(refused.contains("--base-port"), "{refused}");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn one_zone_alone_asks_for_a_level_that_one_zone_can_meet() {
        let dir = tempfile::tempdir().unwrap();
        let alone = lay_out(dir.path(), 1, 7400).unwrap();
        let text = std::fs::read_to_string(&alone[0].config).unwrap();
        assert!(text.contains("write_level = \"quorum\""), "{text}");
    }
}
