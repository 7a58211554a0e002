//! An outside witness beside a real cluster: it comes, goes, and is caught up.

use crate::harness::{Cluster, Node, ORIGIN, SOON, Settings, body, free_ports, http_at, issue};
use muniment::keyring::Keyring;
use muniment_evidence::digest::Digest;
use muniment_evidence::ids::TreeSize;
use muniment_evidence::keychange::Role;
use muniment_evidence::note::{Checkpoint, Note, VerifierKey, Vouch};
use muniment_evidence::opening::Document;
use muniment_proto::v1;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tokio::time::Instant;

const NAME: &str = "witness.test/w1";
const LOOK_PAUSE: Duration = Duration::from_millis(50);

/// A witness as a process; killed when it is dropped.
struct Witness {
    dir: tempfile::TempDir,
    port: u16,
    key: VerifierKey,
    child: Option<Child>,
}

impl Witness {
    fn lay_out() -> Witness {
        let dir = tempfile::tempdir().unwrap();
        Witness {
            port: free_ports(1)[0],
            key: keygen(dir.path(), &[]),
            child: None,
            dir,
        }
    }

    /// Sections for the configuration of every node.
    fn sections(&self) -> String {
        let (key, port) = (&self.key, self.port);
        format!(
            "[witnessing]\ninterval_s = 1\nanchor_interval_s = 1\nlag_alarm_s = 2\n\
             [[witness]]\nkey = \"{key}\"\nurl = \"http://127.0.0.1:{port}\"\n"
        )
    }

    /// Known only once the cluster has its log key.
    fn watch(&self, log: &VerifierKey) {
        let text = format!(
            "name = \"{NAME}\"\nlisten = \"127.0.0.1:{}\"\ndata_dir = \"data\"\n\
             logs = [\"{log}\"]\n[keys]\ndir = \"keys\"\n",
            self.port
        );
        std::fs::write(self.config(), text).unwrap();
    }

    fn config(&self) -> PathBuf {
        self.dir.path().join("witness.toml")
    }

    fn start(&mut self) {
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.dir.path().join("log"))
            .unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_muniment"))
            .args(["witness", "serve", "--config"])
            .arg(self.config())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        self.child = Some(child.unwrap());
    }

    /// SIGKILL, at whatever it is doing.
    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// What a monitor fetches, once it is there.
    async fn shown(&self, log: &VerifierKey) -> Option<Checkpoint> {
        let note = self.note().await?;
        assert_eq!(note.vouch(log), Vouch::Signed);
        assert!(matches!(note.vouch(&self.key), Vouch::Cosigned { .. }));
        Some(Checkpoint::parse(&note.text).unwrap())
    }

    async fn note(&self) -> Option<Note> {
        let path = format!("/{}/checkpoint", Digest::of(&[ORIGIN.as_bytes()]));
        let (head, bytes) = http_at(self.port, &path).await.ok()?;
        let is_there = head.starts_with("HTTP/1.1 200");
        is_there.then(|| Note::parse(&bytes).unwrap())
    }
}

/// Makes a key of a witness, and reads what is printed.
fn keygen(dir: &Path, further: &[&str]) -> VerifierKey {
    let made = Command::new(env!("CARGO_BIN_EXE_muniment"))
        .args(["witness", "keygen", "--name", NAME, "--dir"])
        .arg(dir.join("keys"))
        .args(further)
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let printed = String::from_utf8(made.stdout).unwrap();
    VerifierKey::parse(printed.trim()).unwrap()
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.dir.path().join("log"));
            eprintln!("--- witness ---\n{}", log.unwrap_or_default());
        }
    }
}

/// What the leader says of the witness; `None` on the others.
async fn gauge(node: &Node, name: &str) -> Option<u64> {
    let (_, text) = http_at(node.ports[2], "/metrics").await.unwrap();
    let text = String::from_utf8(text).unwrap();
    let wanted = format!("muniment_witness_{name}{{witness=\"{NAME}\"}} ");
    let value = text.lines().find_map(|line| line.strip_prefix(&wanted))?;
    Some(value.parse().unwrap())
}

/// The notes of the ANCHOR records in the log.
async fn anchors(node: &Node) -> Vec<Note> {
    let request = v1::ListRecordsRequest {
        kinds: vec!["ANCHOR".into()],
        ..v1::ListRecordsRequest::default()
    };
    let answer = node.evidence().list_records(request).await.unwrap();
    let records = answer.into_inner().records.into_iter();
    let notes = records.map(|record| match Document::decode(&record.document) {
        Ok(Document::Anchor(anchor)) => Note::parse(anchor.note.as_bytes()).unwrap(),
        other => panic!("{other:?}"),
    });
    notes.collect()
}

async fn until(what: &str, mut look: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + SOON;
    while !look().await {
        assert!(Instant::now() < deadline, "not true in time: {what}");
        tokio::time::sleep(LOOK_PAUSE).await;
    }
}

/// The ledger issues on without its witness, says how far behind that is, and shows all of
/// it once the witness is back; also under another leader.
#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_the_witness_delays_only_its_cosignatures() {
    let mut witness = Witness::lay_out();
    let mut cluster = Cluster::start_with(Settings {
        sections: witness.sections(),
        ..Settings::default()
    })
    .await;
    let keys = Keyring::load(&cluster.nodes[0].dir.join("keys")).unwrap();
    let log = VerifierKey::log(ORIGIN, keys.public(Role::Log)[0]);
    witness.watch(&log);
    witness.start();
    let leader = cluster.leader().await;
    let size = async |node: &Node| node.status().await.unwrap().log_size;
    issue(&cluster.nodes[leader], "W-1", "w-1", &body(1, 1000))
        .await
        .unwrap();
    let first = size(&cluster.nodes[leader]).await;
    until("the first head is witnessed", async || {
        let shown = witness.shown(&log).await;
        shown.is_some_and(|checkpoint| checkpoint.size >= TreeSize::new(first))
    })
    .await;

    witness.kill();
    let node = &cluster.nodes[leader];
    let failures = gauge(node, "failures_total").await.unwrap();
    for n in 2..12u64 {
        let (number, request) = (format!("W-{n}"), format!("w-{n}"));
        issue(node, &number, &request, &body(n, 1000))
            .await
            .unwrap();
    }
    let behind = size(node).await;
    until("the gap shows", async || {
        gauge(node, "lag_seconds").await.is_some_and(|lag| lag >= 2)
            && gauge(node, "failures_total").await.unwrap() > failures
    })
    .await;
    assert!(gauge(node, "size").await.unwrap() < behind);
    let (ready, _) = http_at(node.ports[2], "/readyz").await.unwrap();
    assert!(ready.starts_with("HTTP/1.1 200"), "{ready}");
    until("somebody is told", async || {
        node.log().contains("records wait for a witness")
    })
    .await;
    let follower = &cluster.nodes[(leader + 1) % 3];
    assert_eq!(gauge(follower, "size").await, None);

    witness.start();
    until("the gap is caught up", async || {
        gauge(node, "size").await.is_some_and(|size| size >= behind)
            && gauge(node, "lag_seconds").await == Some(0)
    })
    .await;
    let shown = witness.shown(&log).await.unwrap();
    assert!(shown.size >= TreeSize::new(behind), "{shown:?}");

    // The next leader knows nothing of this witness, and is told by it.
    cluster.nodes[leader].kill();
    let other = cluster.leader().await;
    let node = &cluster.nodes[other];
    until("another leader is witnessed", async || {
        gauge(node, "size").await.is_some_and(|size| size > behind)
    })
    .await;
    assert!(witness.shown(&log).await.unwrap().size > TreeSize::new(behind));
}

/// Switched on at the witness and named to the nodes: both lines, on show and on record.
#[tokio::test(flavor = "multi_thread")]
async fn a_witness_cosigns_with_its_ml_dsa_key_too() {
    let mut witness = Witness::lay_out();
    let quantum = keygen(witness.dir.path(), &["--post-quantum"]);
    let cluster = Cluster::start_with(Settings {
        sections: witness.sections() + &format!("ml_dsa_key = \"{quantum}\"\n"),
        ..Settings::default()
    })
    .await;
    let keys = Keyring::load(&cluster.nodes[0].dir.join("keys")).unwrap();
    let log = VerifierKey::log(ORIGIN, keys.public(Role::Log)[0]);
    witness.watch(&log);
    let config = std::fs::read_to_string(witness.config()).unwrap();
    std::fs::write(witness.config(), config + "post_quantum = true\n").unwrap();
    witness.start();
    let node = &cluster.nodes[cluster.leader().await];
    issue(node, "W-1", "w-1", &body(1, 1000)).await.unwrap();
    let has_both = |note: &Note| {
        let by = |key| matches!(note.vouch(key), Vouch::Cosigned { .. });
        by(&witness.key) && by(&quantum)
    };
    until("a checkpoint with both lines is shown", async || {
        witness.note().await.as_ref().is_some_and(has_both)
    })
    .await;
    until("an ANCHOR has both lines", async || {
        anchors(node).await.iter().any(has_both)
    })
    .await;
}
