//! A disk that becomes slow, and one that fails: on real nodes, by a library that stands
//! between them and fsync.

use crate::harness::{Cluster, LOOK_PAUSE, Node, SOON, Settings, body, download, issue};
use muniment_evidence::report::Verdict;
use muniment_proto::v1;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::Instant;

/// Within which leadership must have left a node whose disk is slow.
const LEAVES_WITHIN: Duration = Duration::from_secs(10);

/// Within which a node whose promise is broken has shut its sockets, and is gone. With what a
/// busy machine adds.
const SHUT_WITHIN: Duration = Duration::from_secs(3);
const GONE_WITHIN: Duration = Duration::from_secs(11);

/// Compiles the library; `None`, with a word, where there is no C compiler.
pub fn shim(dir: &Path) -> Option<PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cluster/shim/fsync.c");
    let library = dir.join("fsync.so");
    let compiled = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-o"])
        .arg(&library)
        .arg(&source)
        .arg("-ldl")
        .output();
    match compiled {
        Ok(output) if output.status.success() => Some(library),
        Ok(output) => panic!("{}", String::from_utf8_lossy(&output.stderr)),
        Err(error) => {
            println!("skipped: no C compiler for tests/cluster/shim/fsync.c ({error})");
            None
        }
    }
}

/// Issues one invoice after the other until it is told to stop; numbers acknowledged.
fn load(node: Node, done: Arc<AtomicBool>) -> tokio::task::JoinHandle<Vec<u64>> {
    tokio::spawn(async move {
        let (mut acknowledged, mut number) = (Vec::new(), 0u64);
        while !done.load(Ordering::SeqCst) {
            let (name, request) = (format!("L-{number}"), format!("l-{number}"));
            let issued = issue(&node, &name, &request, &body(number, 2000)).await;
            // What is unknown is asked again under the same request id.
            if issued.is_ok() {
                acknowledged.push(number);
                number += 1;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        acknowledged
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn leadership_leaves_a_node_whose_disk_has_become_slow() {
    let dir = tempfile::tempdir().unwrap();
    let Some(library) = shim(dir.path()) else {
        return;
    };
    let cluster = Cluster::start_prepared(Settings::default(), |nodes| {
        for node in nodes {
            node.preload = Some(library.clone());
        }
    })
    .await;
    let old = cluster.leader().await;
    let other = (old + 1) % 3;
    let done = Arc::new(AtomicBool::new(false));
    let loading = load(cluster.nodes[other].probe(), done.clone());
    tokio::time::sleep(Duration::from_secs(2)).await;
    std::fs::write(cluster.nodes[old].control(), "delay 300").unwrap();
    let began = Instant::now();
    let new = loop {
        let leader = cluster.nodes[other].status().await.unwrap().leader;
        if leader != 0 && leader != cluster.nodes[old].id {
            break leader;
        }
        assert!(began.elapsed() < SOON, "the slow node leads on");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let left = began.elapsed();
    println!("leadership left for node {new} {left:?} after the disk became slow");
    assert!(left <= LEAVES_WITHIN, "{left:?}");
    assert!(
        cluster.nodes[old]
            .log()
            .contains("this node's disk is slow")
    );
    // It votes and follows, and does not take leadership back while it is slow.
    let seen = Arc::new(Mutex::new(Vec::new()));
    for _ in 0..20 {
        let status = cluster.nodes[other].status().await.unwrap();
        seen.lock().unwrap().push(status.leader);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let led_again = seen.lock().unwrap().contains(&cluster.nodes[old].id);
    assert!(!led_again, "{seen:?}");
    std::fs::remove_file(cluster.nodes[old].control()).unwrap();
    let began = Instant::now();
    while !cluster.nodes[old].log().contains("quick again") {
        assert!(began.elapsed() < SOON, "the disk is not trusted again");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    println!("trusted again {:?} after it became quick", began.elapsed());
    done.store(true, Ordering::SeqCst);
    let acknowledged = loading.await.unwrap();
    println!("{} issued meanwhile", acknowledged.len());
    cluster.settled().await;
    for number in acknowledged.iter().rev().take(20) {
        let name = format!("L-{number}");
        let (_, bytes, _) = download(&cluster.nodes[old], &name).await.unwrap();
        assert_eq!(bytes, body(*number, 2000));
    }
}

/// After a failed fsync nobody knows what is on the disk: the process ends with 70, what
/// was acknowledged is elsewhere, and on a disk that works again the node goes on.
#[tokio::test(flavor = "multi_thread")]
async fn i11_a_failed_fsync_stops_the_process() {
    let dir = tempfile::tempdir().unwrap();
    let Some(library) = shim(dir.path()) else {
        return;
    };
    let mut cluster = Cluster::start_prepared(Settings::default(), |nodes| {
        for node in nodes {
            node.preload = Some(library.clone());
        }
    })
    .await;
    // Once for a follower, once for the leader.
    for round in 0..2u64 {
        let leader = cluster.leader().await;
        let failing = if round == 0 { (leader + 1) % 3 } else { leader };
        let asked = (failing + 1) % 3;
        let done = Arc::new(AtomicBool::new(false));
        let loading = load(cluster.nodes[asked].probe(), done.clone());
        tokio::time::sleep(Duration::from_millis(500)).await;
        let control = cluster.nodes[failing].control();
        std::fs::write(&control, "eio").unwrap();
        assert_eq!(cluster.nodes[failing].ended().await, Some(70));
        assert!(!control.exists(), "it failed once");
        let log = cluster.nodes[failing].log();
        assert!(log.contains("a promise is broken, stopping"), "{log}");
        // The others go on.
        let before = cluster.nodes[asked].status().await.unwrap().log_size;
        cluster.nodes[asked]
            .wait_status("records are committed", |s| s.log_size > before + 5)
            .await;
        cluster.nodes[failing].start();
        cluster.wait_ready().await;
        done.store(true, Ordering::SeqCst);
        let acknowledged = loading.await.unwrap();
        assert!(!acknowledged.is_empty());
        let states = cluster.settled().await;
        assert!(states.iter().all(|s| s.state_hash == states[0].state_hash));
        for number in acknowledged {
            let name = format!("L-{number}");
            let (_, bytes, _) = download(&cluster.nodes[failing], &name).await.unwrap();
            assert_eq!(bytes, body(number, 2000));
        }
    }
    let report = cluster.verify(&cluster.export(0).await);
    assert_eq!(report.verdict(), Verdict::Verified, "{report}");
}

/// A promise is broken, and the disk hangs from then on: whoever waits for it would neither
/// serve nor go away.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_promise_is_broken_is_gone_although_its_disk_hangs() {
    let dir = tempfile::tempdir().unwrap();
    let Some(library) = shim(dir.path()) else {
        return;
    };
    let mut cluster = Cluster::start_prepared(Settings::default(), |nodes| {
        for node in nodes {
            node.preload = Some(library.clone());
        }
    })
    .await;
    let hanging = cluster.leader().await;
    let other = (hanging + 1) % 3;
    let done = Arc::new(AtomicBool::new(false));
    let loading = load(cluster.nodes[other].probe(), done.clone());
    std::fs::write(cluster.nodes[hanging].control(), "hang").unwrap();
    let deadline = Instant::now() + SOON;
    while !cluster.nodes[hanging].log().contains("a promise is broken") {
        assert!(Instant::now() < deadline, "nothing was synced");
        tokio::time::sleep(LOOK_PAUSE).await;
    }
    let broken = Instant::now();
    // Its callers and peers are told by their connections.
    for port in cluster.nodes[hanging].ports {
        let refused = async {
            while tokio::net::TcpStream::connect(("127.0.0.1", port))
                .await
                .is_ok()
            {
                tokio::time::sleep(LOOK_PAUSE).await;
            }
        };
        let shut = tokio::time::timeout_at(broken + SHUT_WITHIN, refused).await;
        assert!(
            shut.is_ok(),
            "port {port} is open {:?} later",
            broken.elapsed()
        );
    }
    let leads = |s: &v1::StatusResponse| s.leader != 0 && s.leader != cluster.nodes[hanging].id;
    cluster.nodes[other]
        .wait_status("another leads", leads)
        .await;
    println!("another leads {:?} later", broken.elapsed());
    // With its code, or by the signal that nobody else sends.
    let code = cluster.nodes[hanging].ended().await;
    assert!(matches!(code, Some(70) | None), "{code:?}");
    assert!(broken.elapsed() < GONE_WITHIN, "{:?}", broken.elapsed());
    println!("it is gone {:?} later, with {code:?}", broken.elapsed());
    done.store(true, Ordering::SeqCst);
    assert!(!loading.await.unwrap().is_empty());
}
