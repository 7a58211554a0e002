//! Cosigned notes of real nodes: who vouches, when, and when not.

use crate::harness::{
    Cluster, Node, ORIGIN, body, copy, cosigned_by_all, download, http, issue, metric,
};
use muniment::keyring::guard::{FILE_NAME, SignGuard};
use muniment_evidence::digest::Digest;
use muniment_evidence::ids::TreeSize;
use muniment_evidence::ledger::{Ledger, Vouched};
use muniment_evidence::receipt::Receipt;
use muniment_proto::v1;
use std::time::Duration;

/// The ledger as a verifier knows it: from the GENESIS in a receipt.
async fn issue_some(cluster: &Cluster, name: &str, count: u64) -> Ledger {
    let mut ledger = None;
    for n in 0..count {
        let node = &cluster.nodes[n as usize % 2];
        let number = format!("{name}-{n}");
        let done = issue(node, &number, &number, &body(n, 3000)).await.unwrap();
        let receipt = Receipt::decode(&done.receipt.unwrap().bytes).unwrap();
        assert_eq!(receipt.genesis.leaf_hash(), cluster.trust.genesis);
        ledger = Some(Ledger::open(&receipt.genesis).unwrap());
    }
    ledger.unwrap()
}

fn nodes_of(vouched: &Vouched) -> Vec<u64> {
    vouched.cosigners.iter().map(|c| c.node.get()).collect()
}

/// The size of the log once nothing more comes.
async fn size(cluster: &Cluster) -> u64 {
    let mut seen = 0;
    loop {
        let states = cluster.settled().await;
        if states[0].log_size == seen {
            return seen;
        }
        seen = states[0].log_size;
        // DOWNLOAD_ENDs and offices follow by themselves.
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_node_vouches_for_the_newest_note() {
    let cluster = Cluster::start().await;
    let ledger = issue_some(&cluster, "C", 6).await;
    let size = size(&cluster).await;
    let note = cosigned_by_all(&cluster, size).await;
    let vouched = ledger.checkpoint(&note).unwrap();
    assert_eq!(nodes_of(&vouched), [1, 2, 3]);
    for node in &cluster.nodes {
        let status = node.status().await.unwrap();
        assert_eq!(status.root, vouched.checkpoint.root.to_hex());
        assert_eq!(status.body_complete_index, size);
        assert_eq!(status.cosigned_size, size);
        assert_eq!(
            metric(node, "muniment_body_complete_index ").await,
            size as f64
        );
        assert_eq!(metric(node, "muniment_cosigned_size ").await, size as f64);
        assert_eq!(metric(node, "muniment_divergence_total ").await, 0.0);
    }
}

/// What the open checkpoint says never goes back, whoever is asked while the log grows.
#[tokio::test(flavor = "multi_thread")]
async fn the_open_checkpoint_of_a_node_only_grows() {
    let cluster = Cluster::start().await;
    let probe = cluster.nodes[2].probe();
    let watching = tokio::spawn(async move {
        let mut sizes = Vec::new();
        for _ in 0..300 {
            let (_, note) = http(&probe, "/checkpoint").await;
            let text = String::from_utf8(note).unwrap();
            sizes.push(text.lines().nth(1).unwrap().parse::<u64>().unwrap());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        sizes
    });
    issue_some(&cluster, "G", 60).await;
    let sizes = watching.await.unwrap();
    assert!(sizes.is_sorted(), "{sizes:?}");
    assert!(sizes.last() > sizes.first(), "{sizes:?}");
}

/// A node vouches for bodies too: one that was away brings them before it cosigns.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_away_vouches_once_it_holds_every_body() {
    let mut cluster = Cluster::start().await;
    cluster.nodes[2].kill();
    let ledger = issue_some(&cluster, "A", 12).await;
    cluster.nodes[2].start();
    cluster.wait_ready().await;
    let size = size(&cluster).await;
    let note = cosigned_by_all(&cluster, size).await;
    assert_eq!(nodes_of(&ledger.checkpoint(&note).unwrap()), [1, 2, 3]);
    let (header, bytes, _) = download(&cluster.nodes[2], "A-3").await.unwrap();
    assert_eq!((header.body_from, bytes), (3, body(3, 3000)));
}

/// An old copy of the data directory with the present sign guard: the node may not sign
/// until it has again what it signed before, and the bodies that the copy lacks. A leader
/// that knew the lost entries to be there does not send them again; the next leader does.
#[tokio::test(flavor = "multi_thread")]
async fn an_old_copy_of_a_node_catches_up_before_it_vouches() {
    let mut cluster = Cluster::start().await;
    let away = (cluster.leader().await + 1) % 3;
    issue_some(&cluster, "O", 4).await;
    cluster.nodes[away].terminate();
    let data = cluster.nodes[away].dir.join("data");
    let old = cluster.nodes[away].dir.join("old");
    copy(&data, &old);
    cluster.nodes[away].start();
    cluster.wait_ready().await;
    let ledger = issue_some(&cluster, "P", 8).await;
    let signed = size(&cluster).await;
    cosigned_by_all(&cluster, signed).await;
    cluster.nodes[away].kill();
    std::fs::copy(data.join(FILE_NAME), old.join(FILE_NAME)).unwrap();
    std::fs::remove_dir_all(&data).unwrap();
    std::fs::rename(&old, &data).unwrap();
    cluster.nodes[away].start();
    let (leader, to) = (cluster.leader().await, (away + 1) % 3);
    let to = if to == leader { (away + 2) % 3 } else { to };
    let transfer = v1::TransferRequest {
        to: cluster.nodes[to].id,
    };
    let mut operator = cluster.nodes[leader].cluster();
    operator.transfer(transfer).await.unwrap();
    cluster.wait_ready().await;
    let size = size(&cluster).await;
    assert!(size > signed, "its BOOT is new");
    let note = cosigned_by_all(&cluster, size).await;
    assert_eq!(nodes_of(&ledger.checkpoint(&note).unwrap()), [1, 2, 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_guard_is_of_another_history_stops() {
    let mut cluster = Cluster::start().await;
    issue_some(&cluster, "H", 3).await;
    cluster.nodes[2].terminate();
    let data = cluster.nodes[2].dir.join("data");
    std::fs::remove_file(data.join(FILE_NAME)).unwrap();
    let mut other = SignGuard::load(&data, ORIGIN).unwrap();
    other.advance(TreeSize::new(3), Digest([7; 32])).unwrap();
    cluster.nodes[2].start();
    assert_eq!(cluster.nodes[2].ended().await, Some(70));
    let log = cluster.nodes[2].log();
    assert!(log.contains("its disk holds another history"), "{log}");
}

/// The guard is lost, the log is not: after a fresh read index the log is the truth.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_its_guard_vouches_again() {
    let mut cluster = Cluster::start().await;
    let ledger = issue_some(&cluster, "W", 3).await;
    cluster.nodes[1].terminate();
    std::fs::remove_file(cluster.nodes[1].dir.join("data").join(FILE_NAME)).unwrap();
    cluster.nodes[1].start();
    cluster.wait_ready().await;
    let size = size(&cluster).await;
    let note = cosigned_by_all(&cluster, size).await;
    assert_eq!(nodes_of(&ledger.checkpoint(&note).unwrap()), [1, 2, 3]);
}

/// Two processes with the same keys and the same past. Members are reached at the address
/// that the ledger names, so the copy hears no leader: it never gets a read index, never
/// boots, and so signs nothing; nor does it disturb the others, who answer its votes no.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_a_node_beside_it_signs_nothing() {
    let mut cluster = Cluster::start().await;
    let twin = (cluster.leader().await + 1) % 3;
    issue_some(&cluster, "T", 3).await;
    cluster.nodes[twin].terminate();
    let dir = cluster.nodes[twin].dir.with_file_name("copy");
    let mut copied: Node = cluster.nodes[twin].copied_to(dir);
    cluster.nodes[twin].start();
    cluster.wait_ready().await;
    copied.start();
    copied.wait_status("it answers", |_| true).await;
    let ledger = issue_some(&cluster, "U", 20).await;
    let size = size(&cluster).await;
    let note = cosigned_by_all(&cluster, size).await;
    assert_eq!(nodes_of(&ledger.checkpoint(&note).unwrap()), [1, 2, 3]);
    let status = copied.status().await.unwrap();
    assert!(!status.ready, "{status:?}");
    assert_eq!(status.cosigned_size, 0);
    let (head, said) = http(&copied, "/checkpoint").await;
    assert!(head.contains("503"), "{head} {said:?}");
    copied.kill();
}
