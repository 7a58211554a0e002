//! SIGKILL at any moment, under load: nothing acknowledged is lost, changed or doubled.

use crate::harness::{Cluster, Node, body, download, issue};
use muniment_evidence::bundle::{BundleParser, Frame};
use muniment_evidence::digest::Digest;
use muniment_evidence::ids::RecordIndex;
use muniment_evidence::opening::Document;
use muniment_evidence::record::{Outcome, Record};
use muniment_evidence::report::Verdict;
use muniment_evidence::statement::Kind;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::Instant;
use tonic::Code;

/// Rounds in the short form; `MUNIMENT_KILL_ROUNDS` asks for more.
const ROUNDS: u32 = 6;
const ISSUERS: u64 = 4;
const DOWNLOADERS: u64 = 2;
/// A call that was cut off is repeated for at most this long.
pub const CALL_MAX: Duration = Duration::from_secs(60);

#[derive(Default)]
pub struct Seen {
    /// number → digest of the bytes, record index
    pub issued: Mutex<HashMap<String, (Digest, u64)>>,
    /// record indexes of downloads that delivered their last byte
    pub delivered: Mutex<Vec<u64>>,
}

/// A small random number, so that each run kills elsewhere; the seed is printed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1);
        (self.0 >> 33) % below
    }
}

pub fn passing(status: &tonic::Status) -> bool {
    // What a killed or leaderless node gives its callers: repeat the call.
    matches!(
        status.code(),
        Code::Unavailable | Code::Unknown | Code::Cancelled | Code::Internal | Code::DataLoss
    )
}

pub async fn issue_for_ever(
    nodes: Arc<Vec<Probe>>,
    worker: u64,
    seen: Arc<Seen>,
    on: Arc<AtomicBool>,
    pause: Duration,
) {
    let mut n = 0;
    while on.load(Ordering::SeqCst) {
        tokio::time::sleep(pause).await;
        n += 1;
        let number = format!("K-{worker}-{n}");
        let bytes = body(worker << 32 | n, 2_000 + (n as usize % 7) * 9_000);
        let deadline = Instant::now() + CALL_MAX;
        let mut at = (worker + n) as usize;
        loop {
            at += 1;
            let node = &nodes[at % nodes.len()];
            match issue(&node.0, &number, &format!("r-{number}"), &bytes).await {
                Ok(done) => {
                    let index = done.invoice.unwrap().record_index;
                    let digest = Digest::of(&[&bytes]);
                    seen.issued.lock().unwrap().insert(number, (digest, index));
                    break;
                }
                Err(status) if passing(&status) => {
                    assert!(Instant::now() < deadline, "{number}: {status:?}");
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                Err(status) => panic!("{number}: {status:?}"),
            }
        }
    }
}

pub async fn download_for_ever(
    nodes: Arc<Vec<Probe>>,
    worker: u64,
    seen: Arc<Seen>,
    on: Arc<AtomicBool>,
    pause: Duration,
) {
    let mut dice = Dice(worker + 77);
    while on.load(Ordering::SeqCst) {
        tokio::time::sleep(pause).await;
        let known: Vec<(String, Digest)> = {
            let issued = seen.issued.lock().unwrap();
            issued.iter().map(|(n, (d, _))| (n.clone(), *d)).collect()
        };
        if known.is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        }
        let (number, digest) = &known[dice.roll(known.len() as u64) as usize];
        let node = &nodes[dice.roll(nodes.len() as u64) as usize];
        match download(&node.0, number).await {
            Ok((header, bytes, _)) => {
                assert_eq!(Digest::of(&[&bytes]), *digest, "{number} has changed");
                let receipt = header.receipt.unwrap().bytes;
                let receipt = muniment_evidence::receipt::Receipt::decode(&receipt).unwrap();
                let record = Record::decode(&receipt.record).unwrap();
                assert_eq!(record.outcome, Outcome::Ok);
                seen.delivered.lock().unwrap().push(record.index.get());
            }
            Err(status) if passing(&status) => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Err(status) => panic!("download of {number}: {status:?}"),
        }
    }
}

/// A node to call, without the means to stop it.
pub struct Probe(pub Node);

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_when_nodes_are_killed() {
    let rounds = std::env::var("MUNIMENT_KILL_ROUNDS").map_or(ROUNDS, |n| n.parse().unwrap());
    let seed = std::process::id().into();
    println!("seed {seed}, {rounds} rounds");
    let mut dice = Dice(seed);
    let mut cluster = Cluster::start().await;
    let nodes = Arc::new(
        cluster
            .nodes
            .iter()
            .map(|n| Probe(n.probe()))
            .collect::<Vec<_>>(),
    );
    let (seen, on) = (Arc::new(Seen::default()), Arc::new(AtomicBool::new(true)));
    let mut load = tokio::task::JoinSet::new();
    for worker in 0..ISSUERS {
        load.spawn(issue_for_ever(
            nodes.clone(),
            worker,
            seen.clone(),
            on.clone(),
            Duration::ZERO,
        ));
    }
    for worker in 0..DOWNLOADERS {
        load.spawn(download_for_ever(
            nodes.clone(),
            worker,
            seen.clone(),
            on.clone(),
            Duration::ZERO,
        ));
    }
    let all_at_once = AtomicU64::new(0);
    for round in 0..rounds {
        tokio::time::sleep(Duration::from_millis(200 + dice.roll(600))).await;
        let victims: Vec<usize> = match dice.roll(4) {
            // All three at once come back by themselves too.
            0 => {
                all_at_once.fetch_add(1, Ordering::SeqCst);
                vec![0, 1, 2]
            }
            1 => vec![cluster.leader().await],
            _ => vec![dice.roll(3) as usize],
        };
        println!("round {round}: killing {victims:?}");
        for at in &victims {
            cluster.nodes[*at].kill();
        }
        tokio::time::sleep(Duration::from_millis(dice.roll(400))).await;
        for at in &victims {
            cluster.nodes[*at].start();
        }
        cluster.wait_ready().await;
        while let Some(ended) = load.try_join_next() {
            ended.expect("the load runs on");
        }
    }
    on.store(false, Ordering::SeqCst);
    while let Some(ended) = load.join_next().await {
        ended.unwrap();
    }
    let issued = seen.issued.lock().unwrap().clone();
    let delivered = seen.delivered.lock().unwrap().clone();
    println!(
        "{} invoices acknowledged, {} downloads delivered, {} times all nodes at once",
        issued.len(),
        delivered.len(),
        all_at_once.load(Ordering::SeqCst)
    );
    assert!(!issued.is_empty() && !delivered.is_empty());
    check(&cluster, &issued, &delivered).await;
}

pub async fn check(cluster: &Cluster, issued: &HashMap<String, (Digest, u64)>, delivered: &[u64]) {
    let states = cluster.settled().await;
    for state in &states {
        assert_eq!(
            state.state_hash, states[0].state_hash,
            "state hashes differ"
        );
        assert_eq!(state.root, states[0].root, "roots differ");
    }
    let bundle = cluster.export(0).await;
    let report = cluster.verify(&bundle);
    assert_eq!(report.verdict(), Verdict::Verified, "{report}");
    let mut parser = BundleParser::new();
    parser.push(&bundle);
    let (mut ok_issues, mut ok_downloads) = (HashMap::<String, u64>::new(), Vec::new());
    while let Some(frame) = parser.next().unwrap() {
        let Frame::Record(frame) = frame else {
            continue;
        };
        let record = Record::decode(&frame.record).unwrap();
        if record.outcome != Outcome::Ok {
            continue;
        }
        match record.statement.kind {
            Kind::Issue => {
                let opening = frame.document.unwrap();
                let Ok(Document::Issue(issue)) = Document::decode(&opening.bytes) else {
                    panic!("record {} opens to something else", record.index);
                };
                *ok_issues.entry(issue.metadata.identity.number).or_default() += 1;
            }
            Kind::Download => ok_downloads.push(record.index),
            _ => {}
        }
    }
    for (number, (digest, _)) in issued {
        assert_eq!(ok_issues.get(number), Some(&1), "OK records of {number}");
        let (_, bytes, _) = download(&cluster.nodes[2], number).await.unwrap();
        assert_eq!(Digest::of(&[&bytes]), *digest, "{number} has changed");
    }
    for index in delivered {
        assert!(
            ok_downloads.contains(&RecordIndex::new(*index)),
            "download {index} has no record"
        );
    }
}
