//! Stopping, starting, catching up, and refusing to start.

use crate::harness::{Cluster, SOON, Settings, body, download, issue};
use muniment_evidence::report::Verdict;
use std::process::Command;
use tokio::time::Instant;

/// SIGTERM on the leader: it hands leadership over, drains, and exits 0.
#[tokio::test(flavor = "multi_thread")]
async fn a_graceful_stop_hands_over_and_exits_cleanly() {
    let mut cluster = Cluster::start().await;
    issue(&cluster.nodes[0], "G-1", "g-1", &body(1, 1000))
        .await
        .unwrap();
    let leader = cluster.leader().await;
    let started = Instant::now();
    let status = cluster.nodes[leader].terminate();
    assert!(status.success(), "{status:?}");
    let other = (leader + 1) % 3;
    let done = loop {
        match issue(&cluster.nodes[other], "G-2", "g-2", &body(2, 1000)).await {
            Ok(done) => break done,
            Err(status) => assert!(started.elapsed() < SOON, "{status:?}"),
        }
    };
    assert!(!done.repeated);
    println!("stopped and issued elsewhere after {:?}", started.elapsed());
    cluster.nodes[leader].start();
    cluster.wait_ready().await;
    let states = cluster.settled().await;
    assert!(states.iter().all(|s| s.state_hash == states[0].state_hash));
    let (_, bytes, _) = download(&cluster.nodes[leader], "G-2").await.unwrap();
    assert_eq!(bytes, body(2, 1000));
}

/// A node that was away while the others took snapshots and purged their logs.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_fell_behind_catches_up_by_snapshot() {
    let settings = Settings {
        cluster: "snapshot_after_entries = 120\nlog_entries_kept = 20",
        ..Settings::default()
    };
    let mut cluster = Cluster::start_with(settings).await;
    let leader = cluster.leader().await;
    let away = (leader + 1) % 3;
    issue(&cluster.nodes[leader], "S-0", "s-0", &body(0, 500))
        .await
        .unwrap();
    cluster.nodes[away].kill();
    for n in 1..400u64 {
        let node = &cluster.nodes[leader];
        let (number, request) = (format!("S-{n}"), format!("s-{n}"));
        issue(node, &number, &request, &body(n, 500)).await.unwrap();
    }
    let ahead = cluster.nodes[leader].status().await.unwrap();
    assert!(ahead.snapshot_index > 100, "{ahead:?}");
    cluster.nodes[away].start();
    cluster.wait_ready().await;
    let states = cluster.settled().await;
    assert!(
        states.iter().all(|s| s.state_hash == states[0].state_hash),
        "{states:#?}"
    );
    assert!(cluster.nodes[away].log().contains("snapshot installed"));
    // It serves what it never received, at first by proxy.
    let (_, bytes, _) = download(&cluster.nodes[away], "S-399").await.unwrap();
    assert_eq!(bytes, body(399, 500));
    // It brings all bodies here, and then serves them itself and proves the whole log.
    cluster.nodes[away]
        .wait_status("it holds every body", |s| {
            s.body_complete_index >= ahead.log_size
        })
        .await;
    let (header, bytes, _) = download(&cluster.nodes[away], "S-7").await.unwrap();
    assert_eq!(bytes, body(7, 500));
    assert_eq!(header.body_from, cluster.nodes[away].id);
    let report = cluster.verify(&cluster.export(away).await);
    assert_eq!(report.verdict(), Verdict::Verified, "{report}");
}

/// Three power cuts at the same moment: they come back by themselves.
#[tokio::test(flavor = "multi_thread")]
async fn all_nodes_killed_at_once_return_to_service() {
    let mut cluster = Cluster::start().await;
    for n in 0..10u64 {
        let (number, request) = (format!("P-{n}"), format!("p-{n}"));
        issue(
            &cluster.nodes[n as usize % 3],
            &number,
            &request,
            &body(n, 9000),
        )
        .await
        .unwrap();
    }
    for node in &mut cluster.nodes {
        node.kill();
    }
    for node in &mut cluster.nodes {
        node.start();
    }
    let started = Instant::now();
    cluster.wait_ready().await;
    println!("all nodes serve again after {:?}", started.elapsed());
    for n in 0..10u64 {
        let node = &cluster.nodes[(n as usize + 1) % 3];
        let (_, bytes, _) = download(node, &format!("P-{n}")).await.unwrap();
        assert_eq!(bytes, body(n, 9000));
    }
    let report = cluster.verify(&cluster.export(1).await);
    assert_eq!(report.verdict(), Verdict::Verified, "{report}");
}

/// What keeps a node from starting is said in words, with an exit code of its own.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_refuses_what_is_not_its_own() {
    let mut cluster = Cluster::start().await;
    // Its port is in use, by itself.
    let refused = |config: &std::path::Path, said: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_muniment"))
            .args(["serve", "--config"])
            .arg(config)
            .output()
            .unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(78), "{stderr}");
        assert!(stderr.contains(said), "{said:?} is not in {stderr:?}");
    };
    refused(&cluster.nodes[0].config, "listen.client 127.0.0.1:");
    cluster.nodes[0].terminate();
    let config = cluster.nodes[0].config.clone();
    let good = std::fs::read_to_string(&config).unwrap();
    for (from, to, said) in [
        ("id = 1", "id = 9", "belongs to node 1, not node 9"),
        (
            "muniment.test/0",
            "other.test/0",
            "belongs to ledger muniment.test/0",
        ),
        ("[limits]", "[limits]\ncolour = 1", "colour"),
        ("dir = \"keys\"", "dir = \"nokeys\"", "muniment keygen"),
        (
            "data_dir = \"data\"",
            "data_dir = \"/proc/muniment\"",
            "/proc/muniment",
        ),
    ] {
        std::fs::write(&config, good.replace(from, to)).unwrap();
        refused(&config, said);
    }
    let marker = cluster.nodes[0].dir.join("data/MUNIMENT");
    let text = std::fs::read_to_string(&marker).unwrap();
    std::fs::write(&config, &good).unwrap();
    std::fs::write(&marker, text.replace("format 1", "format 9")).unwrap();
    refused(&config, "format 9");
    std::fs::write(&marker, text).unwrap();
    // And with everything as it was, it starts.
    cluster.nodes[0].start();
    cluster.wait_ready().await;
}
