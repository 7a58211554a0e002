//! Further nodes beside those that founded, and the command line against a cluster.

use super::{Cluster, Node, free_ports};
use bytes::Bytes;
use muniment::keyring;
use muniment_client::v1;
use muniment_client::v1::draft_order_request::Wish;
use muniment_evidence::digest::Digest;
use muniment_evidence::endorsement::Endorsements;
use muniment_evidence::ids::RecordIndex;
use muniment_evidence::opening::Document;

/// By the ledger's time, which stands behind the clock by less.
const ORDER_VALID_MS: u64 = 10 * 60 * 1000;

impl Cluster {
    /// A further node, with keys of its own and the log key; it runs, and nobody knows it.
    /// Its place in `nodes`.
    pub async fn add_node(&mut self, zone: &str) -> usize {
        let id = self.nodes.iter().map(|node| node.id).max().unwrap() + 1;
        let ports = free_ports(3).try_into().unwrap();
        let dir = self._dir.path().join(format!("n{id}"));
        let mut node = Node::lay_out(dir, id, zone, ports, &self.settings);
        let keys = node.dir.join("keys");
        keyring::copy_log_key(&self.nodes[0].dir.join("keys"), &keys).unwrap();
        node.start();
        node.wait_status("it answers", |_| true).await;
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    /// Runs the command line against the nodes that run; what it printed, or its error.
    pub async fn muniment(&self, args: &[&str]) -> Result<String, String> {
        let running = self.nodes.iter().filter(|node| node.child.is_some());
        let endpoints: Vec<String> = running
            .map(|node| format!("http://127.0.0.1:{}", node.ports[0]))
            .collect();
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_muniment"));
        command
            .args(["--endpoints", &endpoints.join(",")])
            .arg("--operator")
            .arg(&self.operator_file)
            .args(args);
        let done = command.kill_on_drop(true).output().await.unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match done.status.success() {
            true => Ok(text(&done.stdout)),
            false => Err(text(&done.stdout) + &text(&done.stderr)),
        }
    }

    /// What the operator wills, signed with his key, as it is sent with the call.
    pub async fn order(&self, leader: usize, wish: Wish) -> Bytes {
        let request = v1::DraftOrderRequest { wish: Some(wish) };
        let mut service = self.nodes[leader].cluster();
        let draft = service.draft_order(request).await.unwrap().into_inner();
        let digest = |bytes: &[u8]| Digest(bytes.try_into().unwrap());
        let expires_ms = draft.committed_at_ms + ORDER_VALID_MS;
        let after = RecordIndex::new(draft.after);
        let mut order = Endorsements::new(after, digest(&draft.leaf), expires_ms);
        let document = Document::decode(&draft.document).unwrap();
        let what = document.ordered().unwrap();
        order.sign(&digest(&draft.ledger), what, &self.operator);
        document.under(order).encode().into()
    }

    /// The ledger learns the keys of a node, as the runbook says: drafted on that node with
    /// its keys, endorsed at a majority of the members.
    pub async fn admit(&self, at: usize) -> Result<String, String> {
        self.admit_with(at, &self.endorsers()).await
    }

    /// One node more, admitted and added, and ready.
    pub async fn join(&mut self, zone: &str, further: &[&str]) -> usize {
        let at = self.add_node(zone).await;
        self.admit(at).await.unwrap();
        self.add(at, further).await.unwrap();
        let ready = |status: &v1::StatusResponse| status.ready;
        self.nodes[at].wait_status("it is ready", ready).await;
        at
    }

    /// Files of the statement keys of the founding members: more than half of all members.
    pub fn endorsers(&self) -> Vec<String> {
        let founders = self.nodes.iter().take(3);
        let file = |node: &Node| node.dir.join("keys/statement.key").display().to_string();
        founders.map(file).collect()
    }

    /// The same, endorsed with the keys in these files.
    pub async fn admit_with(&self, at: usize, endorsers: &[String]) -> Result<String, String> {
        let node = &self.nodes[at];
        let path = |name: &str| node.dir.join(name).display().to_string();
        let draft = path("join.json");
        let statement = format!("statement:{}:{}", path("keys/statement.key"), node.id);
        let cosignature = format!("cosignature:{}:{}", path("keys/cosignature.key"), node.id);
        let place = ["--region", &node.region, "--zone", &node.zone, "-o", &draft];
        let add = ["keys", "draft", "--add", &statement, "--add", &cosignature];
        self.muniment(&[&add[..], &place[..]].concat()).await?;
        let with = endorsers.iter().flat_map(|file| ["--with", file]);
        let endorse: Vec<&str> = ["keys", "endorse", &draft]
            .into_iter()
            .chain(with)
            .collect();
        self.muniment(&endorse).await?;
        self.muniment(&["keys", "submit", &draft]).await
    }

    /// `cluster add` of a node that runs; returns when it learns.
    pub async fn add(&self, at: usize, further: &[&str]) -> Result<String, String> {
        let node = &self.nodes[at];
        let id = node.id.to_string();
        let peer = format!("127.0.0.1:{}", node.ports[1]);
        let client = format!("127.0.0.1:{}", node.ports[0]);
        let add = ["cluster", "add", &id, "--peer-address", &peer];
        let reached = ["--client-address", &client];
        let args = [&add[..], &reached[..], further].concat();
        self.muniment(&args).await
    }
}

impl Node {
    /// Everything on its disk is gone; its keys and configuration are not.
    pub fn wipe(&self) {
        assert!(self.child.is_none(), "node {} runs", self.id);
        std::fs::remove_dir_all(self.dir.join("data")).unwrap();
    }
}
