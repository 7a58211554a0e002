//! The global flags: how to reach a ledger, and which one is meant.
//!
//! Promises: a flag outranks `--cluster-json`, which outranks the environment, which
//! outranks the default. Leaves connecting to the client.

use crate::exit::CommandFailure;
use crate::now;
use muniment_client::{Client, ClientOptions};
use muniment_evidence::trust::Trust;
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where `muniment dev` and the examples put the first node.
const ENDPOINT_DEFAULT: &str = "http://127.0.0.1:7401";
/// Not clap's own `env`, which could not be told from the flag: a file named on the command
/// line must outrank the environment.
const ENDPOINTS_VARIABLE: &str = "MUNIMENT_ENDPOINTS";
const ZONE_VARIABLE: &str = "MUNIMENT_ZONE";

#[derive(clap::Args, Clone)]
pub struct Reach {
    /// Nodes to call, separated by commas [env: MUNIMENT_ENDPOINTS] [default:
    /// http://127.0.0.1:7401]
    #[arg(
        long,
        global = true,
        value_name = "LIST",
        value_delimiter = ',',
        help_heading = "Connection"
    )]
    endpoints: Vec<String>,
    /// Take endpoints, credentials and trust from this file (`muniment dev` writes one)
    #[arg(long, global = true, value_name = "FILE", help_heading = "Connection")]
    cluster_json: Option<PathBuf>,
    /// Certificate authority of the nodes (not supported by this build yet)
    #[arg(long, global = true, value_name = "FILE", help_heading = "Connection")]
    ca: Option<PathBuf>,
    /// Client certificate (not supported by this build yet)
    #[arg(long, global = true, value_name = "FILE", help_heading = "Connection")]
    cert: Option<PathBuf>,
    /// Client key (not supported by this build yet)
    #[arg(long, global = true, value_name = "FILE", help_heading = "Connection")]
    key: Option<PathBuf>,
    /// File with a bearer token
    #[arg(long, global = true, value_name = "FILE", help_heading = "Connection")]
    token: Option<PathBuf>,
    /// Trust file: which ledger is meant; receipts of another are refused
    #[arg(long, global = true, value_name = "FILE", help_heading = "Connection")]
    trust: Option<PathBuf>,
    /// Key file of an operator, who signs changes of the members
    #[arg(long, global = true, value_name = "FILE", help_heading = "Connection")]
    operator: Option<PathBuf>,
    /// The zone of this machine: reads go to a node there, if one answers
    /// [env: MUNIMENT_ZONE]
    #[arg(long, global = true, value_name = "Z", help_heading = "Connection")]
    zone: Option<String>,
    /// For one call with its retries; for streams the longest time without progress
    #[arg(
        long,
        global = true,
        value_name = "MS",
        default_value_t = 30_000,
        value_parser = clap::value_parser!(u64).range(1..=86_400_000),
        help_heading = "Connection"
    )]
    timeout_ms: u64,
    /// Answer with one JSON document on stdout; errors as JSON on stderr
    #[arg(long, global = true)]
    pub json: bool,
}

/// The parts of cluster.json that a client needs; whatever else is in it is passed over.
#[derive(Deserialize, Default)]
struct ClusterFile {
    nodes: Vec<NodeEntry>,
    ca: Option<PathBuf>,
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
    token: Option<PathBuf>,
    trust: Option<PathBuf>,
    operator: Option<PathBuf>,
    #[serde(default)]
    roots: Vec<PathBuf>,
}

#[derive(Clone, Deserialize)]
pub struct NodeEntry {
    pub grpc: String,
    #[serde(default)]
    pub id: u64,
    #[serde(default)]
    pub zone: String,
    /// Of its process, where that runs on this machine.
    #[serde(default)]
    pub pid: Option<u32>,
    #[serde(default)]
    pub config: Option<PathBuf>,
}

/// Whether the process is that node, and not one that got its number later.
pub fn is_its_process(pid: u32, config: &Path) -> bool {
    let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let config = config.as_os_str().as_encoded_bytes();
    command.split(|byte| *byte == 0).any(|word| word == config)
}

impl Reach {
    pub fn client(&self) -> Result<Client, CommandFailure> {
        Ok(Client::new(self.options()?)?)
    }

    pub fn deadline(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }

    /// The file that describes a cluster on this machine, and its nodes.
    pub fn described(&self) -> Result<Option<(&Path, Vec<NodeEntry>)>, CommandFailure> {
        let Some(path) = &self.cluster_json else {
            return Ok(None);
        };
        Ok(Some((path, read_cluster(path)?.nodes)))
    }

    /// The key file of an operator.
    pub fn operator(&self) -> Result<Option<PathBuf>, CommandFailure> {
        match &self.operator {
            Some(path) => Ok(Some(path.clone())),
            None => Ok(self.cluster_file()?.operator),
        }
    }

    /// Files of root keys, as `--cluster-json` names them.
    pub fn roots(&self) -> Result<Vec<PathBuf>, CommandFailure> {
        Ok(self.cluster_file()?.roots)
    }

    /// The ledger that is meant, if any is named.
    pub fn trust(&self) -> Result<Option<Trust>, CommandFailure> {
        let trust = self.trust.clone().or(self.cluster_file()?.trust);
        trust.as_deref().map(read_trust).transpose()
    }

    fn cluster_file(&self) -> Result<ClusterFile, CommandFailure> {
        match &self.cluster_json {
            None => Ok(ClusterFile::default()),
            Some(path) => read_cluster(path),
        }
    }

    pub fn options(&self) -> Result<ClientOptions, CommandFailure> {
        let file = self.cluster_file()?;
        let mut endpoints = self.endpoints.clone();
        if endpoints.is_empty() {
            endpoints = file.nodes.into_iter().map(|node| node.grpc).collect();
        }
        if endpoints.is_empty() {
            let variable = std::env::var(ENDPOINTS_VARIABLE).unwrap_or_default();
            let named = variable.split(',').filter(|text| !text.trim().is_empty());
            endpoints = named.map(str::to_owned).collect();
        }
        if endpoints.is_empty() {
            endpoints.push(ENDPOINT_DEFAULT.to_owned());
        }
        let trust = self.trust.clone().or(file.trust);
        let zone = self.zone.clone().or(std::env::var(ZONE_VARIABLE).ok());
        Ok(ClientOptions {
            endpoints,
            ca: self.ca.clone().or(file.ca),
            cert: self.cert.clone().or(file.cert),
            key: self.key.clone().or(file.key),
            token: self.token.clone().or(file.token),
            trust: trust.as_deref().map(read_trust).transpose()?,
            deadline: self.deadline(),
            seed: now::seed(),
            zone: zone.filter(|zone| !zone.is_empty()),
        })
    }
}

fn read_cluster(path: &Path) -> Result<ClusterFile, CommandFailure> {
    let text =
        std::fs::read_to_string(path).map_err(|e| CommandFailure::local(path.display(), &e))?;
    serde_json::from_str(&text)
        .map_err(|e| CommandFailure::invalid(format!("{}: {e}", path.display())))
}

fn read_trust(path: &Path) -> Result<Trust, CommandFailure> {
    let text =
        std::fs::read_to_string(path).map_err(|e| CommandFailure::local(path.display(), &e))?;
    Trust::parse(&text).map_err(|e| CommandFailure::invalid(format!("{}: {e}", path.display())))
}
