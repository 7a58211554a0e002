//! A real witness on loopback, and a log that a submitter shows to it.

use super::client::{CheckpointSource, SharedProgress, Submitter, WitnessSchedule};
use super::heads;
use super::post::WitnessEndpoint;
use super::server::{Refused, Witness, router};
use crate::clock::{Clock as _, SharedClock, SystemClock};
use crate::config::witness_server::WitnessConfig;
use crate::domain::cause::Cause;
use crate::domain::ids::TreeSize;
use crate::stop::Stop;
use muniment_evidence::digest::Digest;
use muniment_evidence::key::{SecretKey, Signer as _};
use muniment_evidence::ml_dsa::MlDsaSecretKey;
use muniment_evidence::note::{Checkpoint, Note, VerifierKey, Vouch};
use muniment_evidence::tree::{self, Frontier, MemoryRows, leaf_hash};
use muniment_evidence::witness::{AddCheckpoint, Cosigned, REQUEST_BYTES_MAX, WitnessRefusal};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

const ORIGIN: &str = "ledger.example/0";
const NAME: &str = "witness.example/w1";
const SIZE_MAX: u64 = 500;

fn log_key() -> SecretKey {
    SecretKey::from_seed(&[1; 32])
}

fn witness_key() -> VerifierKey {
    VerifierKey::cosigner(NAME, SecretKey::from_seed(&[2; 32]).public())
}

/// A log of [`SIZE_MAX`] leaves; `fork` tells histories apart from leaf 10 on.
struct Log(MemoryRows);

impl Log {
    fn new(fork: u8) -> Log {
        let (mut frontier, mut rows) = (Frontier::new(), MemoryRows::new());
        for index in 0..SIZE_MAX {
            let history = if index < 10 { 0 } else { fork };
            rows.extend(frontier.append(leaf_hash(&[history, index as u8])));
        }
        Log(rows)
    }

    fn signed(&self, size: u64) -> String {
        let root = tree::root_at(&self.0, TreeSize::new(size)).unwrap();
        let origin = ORIGIN.to_owned();
        Checkpoint {
            origin,
            size: TreeSize::new(size),
            root,
        }
        .sign(&log_key())
    }

    fn request(&self, old: u64, new: u64) -> Vec<u8> {
        let signed = self.signed(new);
        let (old, new) = (TreeSize::new(old), TreeSize::new(new));
        let proof = tree::consistency_proof(&self.0, old, new).unwrap();
        let request = AddCheckpoint::new(old, proof, &signed).unwrap();
        request.encode().into_bytes()
    }
}

fn config(dir: &Path) -> WitnessConfig {
    let log = VerifierKey::log(ORIGIN, log_key().public());
    let text = format!(
        "name = \"{NAME}\"\nlisten = \"127.0.0.1:0\"\ndata_dir = {:?}\nlogs = [\"{log}\"]\n\
         [keys]\ndir = \"unused\"\n",
        dir.display().to_string()
    );
    WitnessConfig::parse(&text).unwrap()
}

fn open(dir: &Path) -> Witness {
    let key = SecretKey::from_seed(&[2; 32]);
    Witness::open(&config(dir), key, Arc::new(SystemClock), Stop::new()).unwrap()
}

fn refused(answer: Result<String, Refused>) -> WitnessRefusal {
    match answer {
        Err(Refused::Log(refusal)) => refusal,
        other => panic!("not refused by the protocol: {other:?}"),
    }
}

/// Switched on, each answer has both lines; what was kept before is still believed.
#[test]
fn a_witness_cosigns_with_both_of_its_keys() {
    let (dir, log) = (tempfile::tempdir().unwrap(), Log::new(1));
    open(dir.path()).add_checkpoint(&log.request(0, 5)).unwrap();
    let quantum = MlDsaSecretKey::from_seed(&[2; 32]);
    let key = VerifierKey::ml_dsa_cosigner(NAME, quantum.public());
    let witness = open(dir.path()).with_ml_dsa(vec![Arc::new(quantum)]);
    let lines = witness.add_checkpoint(&log.request(5, 10)).unwrap();
    assert_eq!(lines.lines().count(), 2);
    for shown in [
        format!("{}{lines}", log.signed(10)),
        witness.last(&heads::name_of(ORIGIN)).unwrap().unwrap(),
    ] {
        let note = Note::parse(shown.as_bytes()).unwrap();
        for key in [&witness_key(), &key] {
            assert!(matches!(note.vouch(key), Vouch::Cosigned { .. }));
        }
    }
    drop(witness);
    open(dir.path())
        .add_checkpoint(&log.request(10, 11))
        .unwrap();
}

/// Two histories of one size, at the same moment: no cosignature on both, ever.
#[test]
fn of_two_racing_checkpoints_at_most_one_is_cosigned() {
    let logs = [Log::new(1), Log::new(2)];
    for round in 0..20 {
        let dir = tempfile::tempdir().unwrap();
        let witness = open(dir.path());
        witness.add_checkpoint(&logs[0].request(0, 10)).unwrap();
        let size = 11 + round;
        let together = Barrier::new(8);
        let cosigned: Vec<bool> = std::thread::scope(|scope| {
            let racers: Vec<_> = (0..8)
                .map(|racer| {
                    let (witness, together) = (&witness, &together);
                    let body = logs[racer % 2].request(10, size);
                    scope.spawn(move || {
                        together.wait();
                        witness.add_checkpoint(&body).is_ok()
                    })
                })
                .collect();
            racers.into_iter().map(|r| r.join().unwrap()).collect()
        });
        let of = |history| cosigned.iter().skip(history).step_by(2).any(|yes| *yes);
        assert!(of(0) != of(1), "{cosigned:?}");
        // And the file says the same after a restart.
        drop(witness);
        let witness = open(dir.path());
        let winner = usize::from(of(1));
        witness
            .add_checkpoint(&logs[winner].request(size, size))
            .unwrap();
        let loser = refused(witness.add_checkpoint(&logs[1 - winner].request(size, size)));
        assert_eq!(loser, WitnessRefusal::Inconsistent);
    }
}

#[test]
fn a_restart_remembers_what_was_cosigned() {
    let (dir, log) = (tempfile::tempdir().unwrap(), Log::new(1));
    let first = open(dir.path());
    first.add_checkpoint(&log.request(0, 40)).unwrap();
    let shown = first.last(&heads::name_of(ORIGIN)).unwrap();
    drop(first);
    let again = open(dir.path());
    assert_eq!(again.last(&heads::name_of(ORIGIN)).unwrap(), shown);
    let refusal = refused(again.add_checkpoint(&log.request(0, 41)));
    assert_eq!(
        refusal,
        WitnessRefusal::NotLast {
            size: TreeSize::new(40)
        }
    );
    let fork = refused(again.add_checkpoint(&Log::new(2).request(40, 41)));
    assert_eq!(fork, WitnessRefusal::Inconsistent);
    again.add_checkpoint(&log.request(40, 41)).unwrap();
}

/// Cosigning on from nothing would undo what the witness is for.
#[test]
fn a_damaged_file_refuses_its_origin() {
    let (dir, log) = (tempfile::tempdir().unwrap(), Log::new(1));
    open(dir.path())
        .add_checkpoint(&log.request(0, 40))
        .unwrap();
    std::fs::write(dir.path().join(heads::name_of(ORIGIN)), b"").unwrap();
    let witness = open(dir.path());
    for old in [0, 40] {
        let answer = witness.add_checkpoint(&log.request(old, 41));
        assert!(matches!(answer, Err(Refused::Own(_))), "{answer:?}");
    }
    assert!(witness.last(&heads::name_of(ORIGIN)).is_err());
}

/// What is not on the disk is not said, and the process ends.
#[test]
fn a_witness_that_cannot_write_cosigns_nothing() {
    let (dir, log) = (tempfile::tempdir().unwrap(), Log::new(1));
    let (key, stop) = (SecretKey::from_seed(&[2; 32]), Stop::new());
    let clock = Arc::new(SystemClock);
    let witness = Witness::open(&config(dir.path()), key, clock, stop.clone()).unwrap();
    // A folder stands where the new file would be written.
    let beside = format!("{}.new", heads::name_of(ORIGIN));
    std::fs::create_dir(dir.path().join(beside)).unwrap();
    let answer = witness.add_checkpoint(&log.request(0, 40));
    assert!(matches!(answer, Err(Refused::Own(_))), "{answer:?}");
    assert!(stop.why().is_some());
    assert!(witness.add_checkpoint(&log.request(0, 40)).is_err());
}

/// A node's log as it grows, and what came back.
struct Node {
    log: Log,
    size: AtomicU64,
    leads: AtomicBool,
    failures: AtomicU64,
    cosigned: Mutex<Vec<Cosigned>>,
    newest: watch::Sender<u64>,
}

impl Node {
    fn new(size: u64, fork: u8) -> Arc<Node> {
        Arc::new(Node {
            log: Log::new(fork),
            size: AtomicU64::new(size),
            leads: AtomicBool::new(true),
            failures: AtomicU64::new(0),
            cosigned: Mutex::default(),
            newest: watch::channel(0).0,
        })
    }

    async fn until_cosigned(&self, size: u64) {
        let mut newest = self.newest.subscribe();
        let reached = newest.wait_for(|newest| *newest >= size);
        let reached = tokio::time::timeout(Duration::from_secs(20), reached).await;
        reached.expect("cosigned in time").unwrap();
    }
}

impl CheckpointSource for Node {
    fn on_duty(&self) -> bool {
        self.leads.load(Ordering::Relaxed)
    }

    async fn checkpoint(&self) -> Result<String, Cause> {
        Ok(self.log.signed(self.size.load(Ordering::Relaxed)))
    }

    async fn consistency(&self, old: TreeSize, new: TreeSize) -> Result<Vec<Digest>, Cause> {
        Ok(tree::consistency_proof(&self.log.0, old, new).unwrap())
    }

    async fn witnessed(&self, witness: &str, cosigned: Cosigned) {
        assert_eq!(witness, NAME);
        let size = cosigned.checkpoint.size;
        self.cosigned.lock().unwrap().push(cosigned);
        self.newest.send_replace(size.get());
    }

    fn failed(&self, _witness: &str) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }
}

/// Looks until it is so, or for too long.
async fn until(is_so: impl Fn() -> bool) {
    let looking = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let seen = tokio::time::timeout(Duration::from_secs(20), looking).await;
    seen.expect("so in time");
}

/// A witness that is served until the stop.
async fn serving(witness: Witness, at: &str) -> (SocketAddr, Stop, JoinHandle<()>) {
    let listener = TcpListener::bind(at).await.unwrap();
    let (address, stop) = (listener.local_addr().unwrap(), Stop::new());
    let stopped = stop.clone();
    let served = tokio::spawn(async move {
        let stopped = async move {
            stopped.stopped().await;
        };
        axum::serve(listener, router(Arc::new(witness)))
            .with_graceful_shutdown(stopped)
            .await
            .unwrap();
    });
    (address, stop, served)
}

fn submitting(
    node: &Arc<Node>,
    address: SocketAddr,
    key: VerifierKey,
) -> (SharedProgress, Stop, JoinHandle<()>) {
    let (progress, stop) = (SharedProgress::default(), Stop::new());
    let clock: SharedClock = Arc::new(SystemClock);
    let target = WitnessEndpoint::new(&format!("http://{address}"), None).unwrap();
    let schedule = WitnessSchedule {
        interval: Duration::from_millis(20),
        lag_alarm: Duration::from_secs(300),
    };
    let submitter = Submitter::new(key, target, schedule, clock, progress.clone());
    let task = tokio::spawn(submitter.run(node.clone(), stop.clone()));
    (progress, stop, task)
}

/// Others' logs submit too: the statuses and types are those of the protocol.
#[tokio::test]
async fn answers_have_the_statuses_of_the_protocol() {
    let (dir, log) = (tempfile::tempdir().unwrap(), Log::new(1));
    let (address, ..) = serving(open(dir.path()), "127.0.0.1:0").await;
    let target = WitnessEndpoint::new(&format!("http://{address}/"), None).unwrap();
    let text = |old, new| String::from_utf8(log.request(old, new)).unwrap();
    let root = Digest::ZERO;
    let stranger = |origin: &str| {
        let origin = origin.to_owned();
        let signed = Checkpoint {
            origin,
            size: TreeSize::new(1),
            root,
        }
        .sign(&SecretKey::from_seed(&[9; 32]));
        AddCheckpoint::new(TreeSize::EMPTY, vec![], &signed)
            .unwrap()
            .encode()
    };
    for (body, status, kind, said) in [
        (text(0, 20), 200, "text/plain", NAME),
        (text(0, 30), 409, "text/x.tlog.size", "20\n"),
        (
            text(20, 30).replacen("old 20", "old 31", 1),
            400,
            "text/plain",
            "old size",
        ),
        ("old 1\n".to_owned(), 400, "text/plain", "blank line"),
        (stranger(ORIGIN), 403, "text/plain", "signature"),
        (stranger("other.example/0"), 404, "text/plain", "origin"),
        (
            String::from_utf8(Log::new(2).request(20, 20)).unwrap(),
            422,
            "text/plain",
            "consistent",
        ),
        (
            "a".repeat(REQUEST_BYTES_MAX + 1),
            413,
            "text/plain",
            "not a request",
        ),
    ] {
        let answer = target.post("/add-checkpoint", body).await.unwrap();
        assert_eq!(answer.status, status, "{answer:?}");
        assert!(answer.content_type.starts_with(kind), "{answer:?}");
        assert!(answer.text.contains(said), "{answer:?}");
    }
}

/// The witness is away while the log grows, and is then brought over the whole gap.
#[tokio::test]
async fn an_outage_is_caught_up_by_one_proof() {
    let dir = tempfile::tempdir().unwrap();
    let (address, stop, served) = serving(open(dir.path()), "127.0.0.1:0").await;
    let node = Node::new(3, 1);
    let (progress, asked, submitter) = submitting(&node, address, witness_key());
    node.until_cosigned(3).await;
    stop.request();
    served.await.unwrap();
    node.size.store(400, Ordering::Relaxed);
    until(|| node.failures.load(Ordering::Relaxed) > 0).await;
    assert_eq!(progress.now().size, Some(TreeSize::new(3)));
    let later = SystemClock.monotonic() + Duration::from_secs(9);
    assert!(progress.now().lag(later, TreeSize::new(400)).unwrap() >= Duration::from_secs(9));
    assert_eq!(
        progress.now().lag(later, TreeSize::new(3)),
        Some(Duration::ZERO)
    );

    let (_, stop, served) = serving(open(dir.path()), &address.to_string()).await;
    node.until_cosigned(400).await;
    assert_eq!(progress.now().size, Some(TreeSize::new(400)));
    let cosigned = node.cosigned.lock().unwrap().clone();
    let sizes: Vec<u64> = cosigned.iter().map(|c| c.checkpoint.size.get()).collect();
    assert_eq!(sizes, [3, 400]);
    let note = Note::parse(cosigned[1].note.as_bytes()).unwrap();
    assert!(matches!(note.vouch(&witness_key()), Vouch::Cosigned { .. }));
    let log = VerifierKey::log(ORIGIN, log_key().public());
    assert_eq!(note.vouch(&log), Vouch::Signed);

    // Another leader starts from nothing; the witness tells it how far it is.
    let other = Node::new(450, 1);
    let (_, asked_other, second) = submitting(&other, address, witness_key());
    other.until_cosigned(450).await;
    assert_eq!(other.failures.load(Ordering::Relaxed), 0);
    for stop in [asked, asked_other, stop] {
        stop.request();
    }
    for task in [submitter, second, served] {
        task.await.unwrap();
    }
}

/// The second history of a split ledger gets no cosignature, and somebody is told.
#[tokio::test]
async fn another_history_is_refused_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let (address, ..) = serving(open(dir.path()), "127.0.0.1:0").await;
    let (honest, forked) = (Node::new(40, 1), Node::new(50, 2));
    let _first = submitting(&honest, address, witness_key());
    honest.until_cosigned(40).await;
    let (progress, ..) = submitting(&forked, address, witness_key());
    until(|| forked.failures.load(Ordering::Relaxed) > 0).await;
    assert_eq!(progress.now().size, None);
    assert!(forked.cosigned.lock().unwrap().is_empty());
}

/// Who stands in the witness's place cannot make its line.
#[tokio::test]
async fn a_line_of_another_key_is_not_believed() {
    let dir = tempfile::tempdir().unwrap();
    let (address, ..) = serving(open(dir.path()), "127.0.0.1:0").await;
    let node = Node::new(40, 1);
    let other = VerifierKey::cosigner(NAME, SecretKey::from_seed(&[9; 32]).public());
    let (progress, ..) = submitting(&node, address, other);
    until(|| node.failures.load(Ordering::Relaxed) > 0).await;
    assert_eq!(progress.now().size, None);
    assert!(node.cosigned.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_follower_submits_nothing_and_shows_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (address, ..) = serving(open(dir.path()), "127.0.0.1:0").await;
    let node = Node::new(40, 1);
    let (progress, ..) = submitting(&node, address, witness_key());
    node.until_cosigned(40).await;
    node.leads.store(false, Ordering::Relaxed);
    node.size.store(50, Ordering::Relaxed);
    until(|| progress.now().size.is_none()).await;
    assert_eq!(progress.now().lag(Duration::MAX, TreeSize::new(50)), None);
    // It leads again: the witness is where it left it.
    node.leads.store(true, Ordering::Relaxed);
    node.until_cosigned(50).await;
}
