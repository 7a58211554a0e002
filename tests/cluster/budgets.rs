//! Clients that take every connection, and a peer that comes back meanwhile.

use crate::harness::{Cluster, Node, SOON, Settings, body, http, issue};
use std::process::Command;
use std::time::Duration;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::Instant;

const CONNECTIONS: usize = 16;

/// Speaks HTTP/2 as far as its settings, then falls silent; answers no ping.
async fn idle(node: &Node) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", node.ports[0]))
        .await
        .unwrap();
    let settings = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    stream.write_all(settings).await.unwrap();
    stream
}

/// Peers have a port and places of their own: a crowd of clients on every node does not
/// keep a restarted one out.
#[tokio::test(flavor = "multi_thread")]
async fn clients_at_the_limit_do_not_keep_a_restarting_peer_out() {
    let settings = Settings {
        // So long that the idle ones are still there at the end.
        limits: "connections = 16\nkeepalive_interval_ms = 600000",
        ..Settings::default()
    };
    let mut cluster = Cluster::start_with(settings).await;
    issue(&cluster.nodes[0], "B", "b", &body(1, 1000))
        .await
        .unwrap();
    let away = (cluster.leader().await + 1) % 3;
    cluster.nodes[away].kill();
    let mut crowd = Vec::new();
    for node in cluster
        .nodes
        .iter()
        .filter(|n| n.id != cluster.nodes[away].id)
    {
        // Some are in service, as many again wait in the backlog.
        for _ in 0..2 * CONNECTIONS {
            crowd.push(idle(node).await);
        }
    }
    cluster.nodes[away].start();
    let began = Instant::now();
    loop {
        let there = cluster.nodes[away].status().await;
        if there.is_ok_and(|status| status.ready) {
            break;
        }
        assert!(began.elapsed() < SOON, "the peer is kept out");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    println!(
        "ready {:?} after its start, beside {} clients",
        began.elapsed(),
        crowd.len()
    );
    // The others are ready too, by the port that no client can fill.
    for node in &cluster.nodes {
        let (head, _) = http(node, "/readyz").await;
        assert!(head.contains("200"), "node {}: {head}", node.id);
    }
    drop(crowd);
}

/// A limit that would let clients starve databases and peers is said before the start, and
/// kept at it.
#[tokio::test(flavor = "multi_thread")]
async fn too_few_descriptors_are_said_and_cost_clients_only() {
    let settings = Settings::default();
    let mut cluster = Cluster::start_with(settings).await;
    cluster.nodes[2].terminate();
    let binary = env!("CARGO_BIN_EXE_muniment");
    let config = cluster.nodes[2].config.clone();
    let limited = |descriptors: u64, command: &str| {
        Command::new("sh")
            .arg("-c")
            .arg(format!(
                "ulimit -n {descriptors} && exec \"$0\" {command} --config \"$1\""
            ))
            .arg(binary)
            .arg(&config)
            .output()
            .unwrap()
    };
    let checked = limited(2000, "check-config");
    let said = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(!checked.status.success());
    assert!(said.contains("not for limits.connections (1024)"), "{said}");
    // So few that not even peers and databases are sure of theirs.
    let refused = limited(500, "serve");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(78), "{said}");
    assert!(said.contains("file descriptors are allowed"), "{said}");
}
