//! Clients that take every place, with connections, uploads and downloads that do nothing.

use crate::harness::{
    Cluster, LOOK_PAUSE, Node, SOON, Settings, body, download, header, http, issue, key, upload,
};
use futures::StreamExt as _;
use muniment_proto::v1;
use std::process::Command;
use std::time::Duration;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tonic::Code;

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
        // So long that it is not what ends the idle ones.
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

/// Uploads that send nothing, and downloads that nobody reads, give their places back.
#[tokio::test(flavor = "multi_thread")]
async fn who_moves_no_byte_gives_his_place_to_others() {
    let settings = Settings {
        limits: "uploads_in_flight = 2\ndownloads_in_flight = 2\nidle_timeout_ms = 1000",
        ..Settings::default()
    };
    let cluster = Cluster::start_with(settings).await;
    let node = &cluster.nodes[0];
    // Longer than what may be on its way to a client that does not read.
    let bytes = body(7, 24 << 20);
    issue(node, "I-1", "i-1", &bytes).await.unwrap();
    let mut unread = Vec::new();
    for _ in 0..2 {
        let request = v1::DownloadRequest {
            key: key("I-1"),
            ..Default::default()
        };
        // A connection of its own: what is not read holds up all calls of its connection.
        let at = format!("http://127.0.0.1:{}", node.ports[0]);
        let endpoint = tonic::transport::Endpoint::from_shared(at).unwrap();
        let channel = endpoint.connect().await.unwrap();
        let mut client = v1::invoice_service_client::InvoiceServiceClient::new(channel);
        let answer = client.download(request).await.unwrap().into_inner();
        unread.push((client, answer));
    }
    let empty = |n: u64| {
        let first = upload(header(&format!("E-{n}"), &format!("e-{n}"), b"x"), b"x").remove(0);
        let chunk = v1::IssueRequest {
            part: Some(v1::issue_request::Part::Chunk(Vec::new().into())),
        };
        let chunks = futures::stream::repeat(chunk).then(|chunk| async move {
            tokio::time::sleep(Duration::from_millis(50)).await;
            chunk
        });
        let mut client = node.invoices();
        async move {
            let messages = futures::stream::iter([first]).chain(chunks);
            client.issue(messages).await.unwrap_err()
        }
    };
    let (one, two) = tokio::join!(empty(1), empty(2));
    for refused in [one, two] {
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
    }
    issue(node, "I-2", "i-2", b"bytes").await.unwrap();
    let deadline = Instant::now() + SOON;
    while let Err(status) = download(node, "I-2").await {
        assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
        assert!(
            Instant::now() < deadline,
            "unread downloads keep their places"
        );
        tokio::time::sleep(LOOK_PAUSE).await;
    }
    drop(unread);
}

/// Twice as many connections as there are places, each with a call now and then: nobody is
/// kept out by others who make none.
#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_give_their_places_to_others() {
    let settings = Settings {
        limits: "connections = 6",
        ..Settings::default()
    };
    let cluster = Cluster::start_with(settings).await;
    let at = format!("http://127.0.0.1:{}", cluster.nodes[0].ports[0]);
    let mut held = Vec::new();
    for _ in 0..12 {
        let endpoint = tonic::transport::Endpoint::from_shared(at.clone()).unwrap();
        let channel = endpoint.connect().await.unwrap();
        let mut client = v1::cluster_service_client::ClusterServiceClient::new(channel);
        let asked = client.status(v1::StatusRequest {});
        let answer = tokio::time::timeout(SOON, asked).await;
        answer.expect("there is a place").unwrap();
        held.push(client);
    }
}
