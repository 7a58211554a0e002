//! A replica whose disk says something else than a majority: it stops and says so, and
//! the others go on.

use crate::harness::{Cluster, Node, ORIGIN, SOON, body, http, issue, metric};
use muniment::keyring::guard::{FILE_NAME, SignGuard};
use muniment::ledger::rows::Row as _;
use muniment::ledger::tables;
use muniment::ledger::tree_rows::StoredRows;
use muniment::store::engine::{Batch, Engine as _, View as _};
use muniment::store::rocks::{Purpose, RocksEngine};
use muniment::store::snapshot;
use muniment_evidence::ids::{RecordIndex, TreeSize};
use muniment_evidence::tree::{Frontier, leaf_hash};
use tokio::time::Instant;

/// Which record is changed.
const ALTERED: u64 = 3;

/// How much of a stored history is rewritten around one changed record.
#[derive(Clone, Copy, PartialEq)]
enum Rewritten {
    /// The leaf alone: the tree no longer has its root.
    Leaf,
    /// Record, leaf and head agree with each other: only other nodes can tell.
    Consistently,
}

/// Changes one record of a node that does not run.
fn alter(node: &Node, how: Rewritten) {
    let engine = RocksEngine::open(&node.dir.join("data/ledger"), Purpose::Ledger).unwrap();
    let generation = snapshot::current(&engine).unwrap();
    let record_key = tables::record(RecordIndex::new(ALTERED)).within(generation);
    let row = tables::tree_row(0, ALTERED).within(generation);
    let mut record = engine.get(&record_key).unwrap().unwrap();
    // The last byte of the signature: it can still be read.
    *record.last_mut().unwrap() ^= 1;
    let mut batch = Batch::new();
    batch.put(row, leaf_hash(&record).0);
    if how == Rewritten::Consistently {
        batch.put(record_key, record);
    }
    engine.write(batch).unwrap();
    if how == Rewritten::Consistently {
        let mut head = tables::head().read(&engine, generation).unwrap().unwrap();
        let rows = StoredRows::new(&engine, generation);
        head.root = Frontier::load(&rows, head.size).unwrap().root();
        let mut batch = Batch::new();
        batch.put(tables::head().within(generation), head.encode());
        engine.write(batch).unwrap();
    }
    engine.sync().unwrap();
}

/// A cluster with some records, one follower of it stopped.
async fn one_away() -> (Cluster, usize) {
    let mut cluster = Cluster::start().await;
    let away = (cluster.leader().await + 1) % 3;
    for n in 0..5u64 {
        let number = format!("D-{n}");
        let node = &cluster.nodes[n as usize % 3];
        issue(node, &number, &number, &body(n, 900)).await.unwrap();
    }
    cluster.settled().await;
    // The guard trails what is signed: what it is to remember must be in it.
    let data = cluster.nodes[away].dir.join("data");
    let deadline = Instant::now() + SOON;
    while SignGuard::load(&data, ORIGIN).unwrap().size() <= TreeSize::new(ALTERED) {
        assert!(Instant::now() < deadline, "the guard does not follow");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    cluster.nodes[away].terminate();
    (cluster, away)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_tree_lost_its_root_does_not_start() {
    let (mut cluster, away) = one_away().await;
    alter(&cluster.nodes[away], Rewritten::Leaf);
    cluster.nodes[away].start();
    assert_eq!(cluster.nodes[away].ended().await, Some(78));
    let log = cluster.nodes[away].log();
    assert!(log.contains("the evidence tree of size"), "{log}");
}

/// The history was rewritten so that it agrees with itself, but the guard is outside of
/// the database and remembers what this node signed.
#[tokio::test(flavor = "multi_thread")]
async fn the_guard_remembers_what_a_rewritten_disk_forgot() {
    let (mut cluster, away) = one_away().await;
    alter(&cluster.nodes[away], Rewritten::Consistently);
    cluster.nodes[away].start();
    assert_eq!(cluster.nodes[away].ended().await, Some(70));
    let log = cluster.nodes[away].log();
    assert!(log.contains("its disk holds another history"), "{log}");
}

/// The guard is gone as well: the comparison in a round finds it, and the majority's
/// cosignatures convict it.
#[tokio::test(flavor = "multi_thread")]
async fn a_divergent_node_is_convicted_by_a_round_and_the_others_go_on() {
    let (mut cluster, away) = one_away().await;
    alter(&cluster.nodes[away], Rewritten::Consistently);
    let guard = cluster.nodes[away].dir.join("data").join(FILE_NAME);
    std::fs::remove_file(guard).unwrap();
    cluster.nodes[away].start();
    assert_eq!(cluster.nodes[away].ended().await, Some(70));
    let log = cluster.nodes[away].log();
    let said = "this node's evidence log has diverged: at size";
    assert!(log.contains(said), "{log}");
    // The leader saw it, and the two go on issuing and cosigning.
    let leader = &cluster.nodes[cluster.leader().await];
    assert!(metric(leader, "muniment_divergence_total ").await >= 1.0);
    let done = issue(leader, "D-after", "d-after", &body(9, 900)).await;
    let index = done.unwrap().invoice.unwrap().record_index;
    let deadline = Instant::now() + SOON;
    loop {
        let (_, note) = http(leader, "/checkpoint").await;
        let text = String::from_utf8(note).unwrap();
        let size: u64 = text.lines().nth(1).unwrap().parse().unwrap();
        if size > index && text.matches("\n\u{2014} ").count() == 3 {
            break;
        }
        assert!(Instant::now() < deadline, "not cosigned by two: {text}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}
