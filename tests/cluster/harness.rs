//! Real nodes as child processes on loopback, and the calls the scenarios share.
//!
//! One cluster runs at a time: two cores serve all nodes of it. A cluster that is
//! dropped is killed; its logs are shown if the test failed.

mod newcomers;
mod signals;

pub use crate::plain_http::{http, http_at, metric};
use futures::StreamExt as _;
use muniment::clock::SystemClock;
use muniment::keyring::{self, Keyring};
use muniment_evidence::digest::Digest;
use muniment_evidence::key::{PublicKey, SecretKey, Signer as _};
use muniment_evidence::keychange::Role;
use muniment_evidence::report::Report;
use muniment_evidence::trust::Trust;
use muniment_evidence::verify::{BundleVerifier, VerifyOptions};
use muniment_proto::v1;
use muniment_proto::v1::cluster_service_client::ClusterServiceClient;
use muniment_proto::v1::evidence_service_client::EvidenceServiceClient;
use muniment_proto::v1::invoice_service_client::InvoiceServiceClient;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::Instant;
use tonic::Status;
use tonic::transport::Channel;

/// The program that these tests are built with.
pub const THIS: &str = env!("CARGO_BIN_EXE_muniment");
pub const ORIGIN: &str = "muniment.test/0";
/// How long anything may take that ought to happen soon.
pub const SOON: Duration = Duration::from_secs(30);
pub const LOOK_PAUSE: Duration = Duration::from_millis(20);

static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

pub struct Cluster {
    _dir: tempfile::TempDir,
    pub nodes: Vec<Node>,
    pub trust: Trust,
    settings: Settings,
    /// Of whoever operates the ledger; no node has it.
    pub operator: SecretKey,
    pub operator_file: PathBuf,
    _turn: MutexGuard<'static, ()>,
}

pub struct Node {
    /// What it runs: [`THIS`], but where two versions are compared.
    pub program: PathBuf,
    pub id: u64,
    pub zone: String,
    pub region: String,
    pub dir: PathBuf,
    pub config: PathBuf,
    pub ports: [u16; 3],
    /// Loaded into the process before everything else; reads [`Node::control`].
    pub preload: Option<PathBuf>,
    child: Option<Child>,
    channel: Channel,
}

/// What differs from the defaults: lines for `[cluster]` and `[limits]`, and further
/// sections.
#[derive(Clone, Default)]
pub struct Settings {
    pub cluster: &'static str,
    pub limits: &'static str,
    pub sections: String,
    /// Offline keys with which the ledger is founded, and how many must endorse.
    pub root_keys: Vec<PublicKey>,
    pub root_threshold: u32,
    /// Region of each node; those that are not named are in the first.
    pub regions: Vec<&'static str>,
}

/// Where nodes are unless a test says otherwise.
const REGION: &str = "region-1";

impl Cluster {
    pub async fn start() -> Cluster {
        Cluster::start_with(Settings::default()).await
    }

    pub async fn start_with(settings: Settings) -> Cluster {
        Cluster::start_prepared(settings, |_| {}).await
    }

    /// `prepare` may change what was laid out before anything starts.
    pub async fn start_prepared(settings: Settings, prepare: impl FnOnce(&mut [Node])) -> Cluster {
        let mut cluster = Cluster::unfounded(&settings, prepare).await;
        cluster.found().await;
        cluster
    }

    /// Nodes that run and belong to no ledger yet.
    pub async fn unfounded(settings: &Settings, prepare: impl FnOnce(&mut [Node])) -> Cluster {
        let turn = ONE_AT_A_TIME.lock().await;
        let dir = tempfile::tempdir().unwrap();
        let mut nodes = Vec::new();
        let mut ports = free_ports(9).into_iter();
        for id in 1..=3u64 {
            let ports = [(); 3].map(|()| ports.next().unwrap());
            nodes.push(Node::lay_out(
                dir.path().join(format!("n{id}")),
                id,
                &format!("zone-{id}"),
                ports,
                settings,
            ));
        }
        let log_key = nodes[0].dir.join("keys");
        keyring::generate_log_key(&log_key, &SystemClock).unwrap();
        for node in &nodes[1..] {
            keyring::copy_log_key(&log_key, &node.dir.join("keys")).unwrap();
        }
        let operator_dir = dir.path().join("operator");
        let made = keyring::generate_further(&operator_dir, Role::Operator, &SystemClock);
        let (operator_file, _) = made.unwrap();
        prepare(&mut nodes);
        for node in &mut nodes {
            node.start();
        }
        let cluster = Cluster {
            _dir: dir,
            nodes,
            trust: Trust {
                origin: String::new(),
                genesis: Digest::ZERO,
            },
            settings: settings.clone(),
            operator: keyring::read_key(&operator_file).unwrap(),
            operator_file,
            _turn: turn,
        };
        for node in &cluster.nodes {
            node.wait_status("it answers", |_| true).await;
        }
        cluster
    }

    async fn found(&mut self) {
        let settings = &self.settings;
        let members = self.nodes.iter().map(Node::member).collect();
        let request = v1::InitRequest {
            origin: ORIGIN.to_owned(),
            members,
            root_keys: settings
                .root_keys
                .iter()
                .map(|key| key.0.to_vec().into())
                .collect(),
            root_threshold: settings.root_threshold,
            operator_keys: vec![self.operator.public().0.to_vec().into()],
        };
        let founded = self.nodes[0].cluster().init(request).await.unwrap();
        self.trust = Trust::parse(&founded.into_inner().trust).unwrap();
        self.wait_ready().await;
    }

    /// Waits until every node that runs would serve.
    pub async fn wait_ready(&self) {
        for node in self.nodes.iter().filter(|node| node.child.is_some()) {
            node.wait_status("it is ready", |status| status.ready).await;
        }
    }

    /// The index in `nodes` of a node that says it leads.
    pub async fn leader(&self) -> usize {
        let deadline = Instant::now() + SOON;
        loop {
            for (at, node) in self.nodes.iter().enumerate() {
                if node.child.is_some()
                    && let Ok(status) = node.status().await
                    && status.role == "leader"
                {
                    return at;
                }
            }
            assert!(Instant::now() < deadline, "nobody leads");
            tokio::time::sleep(LOOK_PAUSE).await;
        }
    }

    /// Waits until all nodes have applied the same index, then returns their states.
    pub async fn settled(&self) -> Vec<v1::StatusResponse> {
        let deadline = Instant::now() + SOON;
        loop {
            let mut states = Vec::new();
            for node in &self.nodes {
                states.extend(node.status().await.ok());
            }
            let first = states.first().map(|s| s.applied_index);
            let same = states.iter().all(|s| Some(s.applied_index) == first);
            let committed = states.iter().all(|s| s.last_log_index == s.applied_index);
            if states.len() == self.nodes.len() && same && committed {
                return states;
            }
            assert!(
                Instant::now() < deadline,
                "nodes do not settle: {states:#?}"
            );
            tokio::time::sleep(LOOK_PAUSE).await;
        }
    }

    /// The whole log as a bundle from one node.
    pub async fn export(&self, at: usize) -> Vec<u8> {
        let request = v1::ExportRequest::default();
        let answer = self.nodes[at].evidence().export(request).await.unwrap();
        let mut pieces = answer.into_inner();
        let mut bundle = Vec::new();
        while let Some(piece) = pieces.message().await.unwrap() {
            bundle.extend_from_slice(&piece.bytes);
        }
        bundle
    }

    /// What the verifier says of a bundle, pinned.
    pub fn verify(&self, bundle: &[u8]) -> Report {
        let mut verifier = BundleVerifier::new(VerifyOptions {
            trust: Some(self.trust.clone()),
            ..VerifyOptions::default()
        });
        verifier.push(bundle);
        verifier.finish()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            node.kill();
        }
        if std::thread::panicking() {
            for node in &self.nodes {
                let log = std::fs::read_to_string(node.dir.join("log")).unwrap_or_default();
                let tail: Vec<&str> = log.lines().rev().take(40).collect();
                eprintln!("--- node {} ---", node.id);
                for line in tail.iter().rev() {
                    eprintln!("{line}");
                }
            }
        }
    }
}

impl Node {
    fn lay_out(dir: PathBuf, id: u64, zone: &str, ports: [u16; 3], settings: &Settings) -> Node {
        let region = settings.regions.get(id as usize - 1);
        let region = (*region.unwrap_or(&REGION)).to_owned();
        std::fs::create_dir_all(&dir).unwrap();
        keyring::generate(&dir.join("keys"), &SystemClock).unwrap();
        let [client, peer, http] = ports;
        let text = format!(
            "[node]\nid = {id}\nzone = \"{zone}\"\nregion = \"{region}\"\ndata_dir = \"data\"\n\
             [listen]\nclient = \"127.0.0.1:{client}\"\npeer = \"127.0.0.1:{peer}\"\n\
             http = \"127.0.0.1:{http}\"\n[keys]\ndir = \"keys\"\n\
             [cluster]\norigin = \"{ORIGIN}\"\n{}\n[limits]\n{}\n{}\n",
            settings.cluster, settings.limits, settings.sections
        );
        let config = dir.join("muniment.toml");
        std::fs::write(&config, text).unwrap();
        let channel = Channel::from_shared(format!("http://127.0.0.1:{client}"))
            .unwrap()
            .connect_timeout(Duration::from_millis(500))
            .connect_lazy();
        Node {
            program: THIS.into(),
            id,
            zone: zone.to_owned(),
            region,
            dir,
            config,
            ports,
            preload: None,
            child: None,
            channel,
        }
    }

    /// A copy of everything that this node has, to run beside it under other ports. The
    /// node must not run meanwhile.
    pub fn copied_to(&self, dir: PathBuf) -> Node {
        assert!(self.child.is_none(), "node {} runs", self.id);
        copy(&self.dir, &dir);
        let ports: [u16; 3] = free_ports(3).try_into().unwrap();
        let config = dir.join("muniment.toml");
        let mut text = std::fs::read_to_string(&config).unwrap();
        for (old, new) in self.ports.iter().zip(ports) {
            text = text.replace(&format!(":{old}\""), &format!(":{new}\""));
        }
        std::fs::write(&config, text).unwrap();
        let endpoint = format!("http://127.0.0.1:{}", ports[0]);
        Node {
            program: self.program.clone(),
            id: self.id,
            zone: self.zone.clone(),
            region: self.region.clone(),
            dir,
            config,
            ports,
            preload: None,
            child: None,
            channel: Channel::from_shared(endpoint).unwrap().connect_lazy(),
        }
    }

    pub fn member(&self) -> v1::MemberSpec {
        let keys = Keyring::load(&self.dir.join("keys")).unwrap();
        v1::MemberSpec {
            node: self.id,
            region: self.region.clone(),
            zone: self.zone.clone(),
            client_address: format!("127.0.0.1:{}", self.ports[0]),
            peer_address: format!("127.0.0.1:{}", self.ports[1]),
            statement_key: keys.public(Role::Statement)[0].0.to_vec().into(),
            cosignature_key: keys.public(Role::Cosignature)[0].0.to_vec().into(),
        }
    }

    /// Whether its process was ended.
    pub fn is_down(&self) -> bool {
        self.child.is_none()
    }

    pub fn start(&mut self) {
        assert!(self.child.is_none(), "node {} runs already", self.id);
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.dir.join("log"))
            .unwrap();
        let mut command = Command::new(&self.program);
        if let Some(preload) = &self.preload {
            command.env("LD_PRELOAD", preload);
            command.env("MUNIMENT_SHIM_CONTROL", self.control());
        }
        let child = command
            .args(["serve", "--config"])
            .arg(&self.config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.child = Some(child);
    }

    /// Tells what is preloaded what to do; nothing while the file is not there.
    pub fn control(&self) -> PathBuf {
        self.dir.join("control")
    }

    pub fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// The same node to call, without its process.
    pub fn probe(&self) -> Node {
        Node {
            program: self.program.clone(),
            id: self.id,
            zone: self.zone.clone(),
            region: self.region.clone(),
            dir: self.dir.clone(),
            config: self.config.clone(),
            ports: self.ports,
            preload: None,
            child: None,
            channel: self.channel.clone(),
        }
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }

    pub fn invoices(&self) -> InvoiceServiceClient<Channel> {
        InvoiceServiceClient::new(self.channel.clone())
    }

    pub fn evidence(&self) -> EvidenceServiceClient<Channel> {
        EvidenceServiceClient::new(self.channel.clone())
    }

    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    pub fn cluster(&self) -> ClusterServiceClient<Channel> {
        ClusterServiceClient::new(self.channel.clone())
    }

    pub async fn status(&self) -> Result<v1::StatusResponse, Status> {
        let mut client = self.cluster();
        let asked = client.status(v1::StatusRequest {});
        match tokio::time::timeout(Duration::from_secs(2), asked).await {
            Ok(answer) => answer.map(tonic::Response::into_inner),
            Err(_) => Err(Status::deadline_exceeded("no status in time")),
        }
    }

    pub async fn wait_status(
        &self,
        what: &str,
        wanted: impl Fn(&v1::StatusResponse) -> bool,
    ) -> v1::StatusResponse {
        let deadline = Instant::now() + SOON;
        loop {
            let status = self.status().await;
            if let Ok(status) = &status
                && wanted(status)
            {
                return status.clone();
            }
            assert!(
                Instant::now() < deadline,
                "node {}: not true in time that {what}: {status:?}",
                self.id
            );
            tokio::time::sleep(LOOK_PAUSE).await;
        }
    }
}

/// Copies a folder with all that is in it; permissions go along.
pub fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

pub fn free_ports(count: usize) -> Vec<u16> {
    let held: Vec<_> = (0..count)
        .map(|_| TcpListener::bind("127.0.0.1:0").unwrap())
        .collect();
    held.iter()
        .map(|l| l.local_addr().unwrap().port())
        .collect()
}

/// The identity of an invoice that differs from others by its number alone.
pub fn identity(number: &str) -> v1::Identity {
    v1::Identity {
        tenant: "default".into(),
        scheme: "generic".into(),
        issuer: "local".into(),
        number: number.into(),
        period: String::new(),
    }
}

pub fn key(number: &str) -> Option<v1::InvoiceKey> {
    Some(v1::InvoiceKey {
        key: Some(v1::invoice_key::Key::Identity(identity(number))),
    })
}

pub fn header(number: &str, request_id: &str, body: &[u8]) -> v1::UploadHeader {
    v1::UploadHeader {
        request_id: request_id.into(),
        metadata: Some(v1::Metadata {
            identity: Some(identity(number)),
            issue_date: "2026-11-23".into(),
            ..v1::Metadata::default()
        }),
        length: body.len() as u64,
        sha256: Digest::of(&[body]).0.to_vec().into(),
        ..v1::UploadHeader::default()
    }
}

/// An Issue call: header, then chunks of 256 KiB.
pub fn upload(header: v1::UploadHeader, body: &[u8]) -> Vec<v1::IssueRequest> {
    use v1::issue_request::Part;
    let mut parts = vec![Part::Header(header)];
    parts.extend(
        body.chunks(256 << 10)
            .map(|c| Part::Chunk(c.to_vec().into())),
    );
    parts
        .into_iter()
        .map(|part| v1::IssueRequest { part: Some(part) })
        .collect()
}

pub async fn issue(
    node: &Node,
    number: &str,
    request_id: &str,
    body: &[u8],
) -> Result<v1::IssueResponse, Status> {
    let messages = upload(header(number, request_id, body), body);
    let answer = node.invoices().issue(futures::stream::iter(messages)).await;
    answer.map(tonic::Response::into_inner)
}

/// Header, bytes, trailer of a whole download.
pub async fn download(
    node: &Node,
    number: &str,
) -> Result<(v1::DownloadHeader, Vec<u8>, v1::DownloadTrailer), Status> {
    download_range(node, number, 0, 0).await
}

pub async fn download_range(
    node: &Node,
    number: &str,
    start: u64,
    end: u64,
) -> Result<(v1::DownloadHeader, Vec<u8>, v1::DownloadTrailer), Status> {
    use v1::download_response::Part;
    let request = v1::DownloadRequest {
        key: key(number),
        start,
        end,
        ..v1::DownloadRequest::default()
    };
    let mut parts = node.invoices().download(request).await?.into_inner();
    let (mut header, mut bytes) = (None, Vec::new());
    while let Some(part) = parts.next().await {
        match part?.part {
            Some(Part::Header(first)) => header = Some(first),
            Some(Part::Chunk(chunk)) => bytes.extend_from_slice(&chunk),
            Some(Part::Trailer(trailer)) => return Ok((header.unwrap(), bytes, trailer)),
            None => {}
        }
    }
    Err(Status::data_loss("a download without a trailer"))
}

/// Waits until the open checkpoint of every node is the same note, of this size and
/// with three cosignatures; returns it.
pub async fn cosigned_by_all(cluster: &Cluster, size: u64) -> Vec<u8> {
    let deadline = Instant::now() + SOON;
    loop {
        let mut notes = Vec::new();
        for node in &cluster.nodes {
            notes.push(http(node, "/checkpoint").await.1);
        }
        let text = String::from_utf8(notes[0].clone()).unwrap();
        let of_size = text.lines().nth(1) == Some(&size.to_string());
        // The log's own line, and one of each node.
        let lines = text.matches("\n\u{2014} ").count();
        if of_size && lines == 4 && notes.iter().all(|note| *note == notes[0]) {
            return notes.swap_remove(0);
        }
        assert!(Instant::now() < deadline, "not cosigned by all: {notes:?}");
        tokio::time::sleep(LOOK_PAUSE).await;
    }
}

/// A body that differs by its number.
pub fn body(number: u64, length: usize) -> Vec<u8> {
    let mut body = format!("%PDF-1.7\n% invoice {number}\n").into_bytes();
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    while body.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        body.extend_from_slice(&state.to_be_bytes());
    }
    body.truncate(length.max(1));
    body
}
