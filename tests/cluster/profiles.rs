//! Profiles that do not fit what is measured are refused, and nodes notice who differs.

use crate::harness::{Cluster, Node, ORIGIN, SOON, Settings, body, issue};
use crate::slow_disk::shim;
use muniment_proto::v1;
use std::process::Command;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// One way through the slow port: a round trip of 40 ms, which is a `wan`.
const DELAY: Duration = Duration::from_millis(20);

/// What the node says that is configured in its own way.
const ODD_ONE: &str = "this node is the odd one out";

fn field(status: &Status) -> String {
    let refused = status.get_details_bad_request();
    let first = refused.and_then(|refused| refused.field_violations.into_iter().next());
    first.map(|violation| violation.field).unwrap_or_default()
}

/// A port that leads to `to` and lets every byte wait.
async fn far_away(to: u16) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let Ok(far) = TcpStream::connect(("127.0.0.1", to)).await else {
                continue;
            };
            let (near_in, near_out) = near.into_split();
            let (far_in, far_out) = far.into_split();
            tokio::spawn(delayed(near_in, far_out));
            tokio::spawn(delayed(far_in, near_out));
        }
    });
    port
}

async fn delayed(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        tokio::time::sleep(DELAY).await;
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}

async fn init(by: &Node, members: Vec<v1::MemberSpec>) -> Result<String, Status> {
    let request = v1::InitRequest {
        origin: ORIGIN.to_owned(),
        members,
        ..Default::default()
    };
    let founded = by.cluster().init(request).await?;
    Ok(founded.into_inner().trust)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_founding_is_refused_when_round_trips_contradict_the_profile() {
    let cluster = Cluster::unfounded(&Settings::default(), |_| {}).await;
    let near: Vec<_> = cluster.nodes.iter().map(Node::member).collect();
    let mut far = near.clone();
    let port = far_away(cluster.nodes[2].ports[1]).await;
    far[2].peer_address = format!("127.0.0.1:{port}");
    let status = init(&cluster.nodes[0], far).await.unwrap_err();
    println!("{}", status.message());
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    assert_eq!(field(&status), "profile");
    for said in [
        "node 3",
        "round trip takes 4",
        "lan allows 2 ms",
        "wan would fit",
    ] {
        assert!(status.message().contains(said), "{said}: {status:?}");
    }
    // A member that does not answer is not measured, and so nothing is founded.
    let mut away = near.clone();
    away[1].peer_address = "127.0.0.1:1".into();
    let status = init(&cluster.nodes[0], away).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    assert!(
        status.message().contains("node 2 at 127.0.0.1:1"),
        "{status:?}"
    );
    // Nothing was changed: the right call founds.
    init(&cluster.nodes[0], near).await.unwrap();
    cluster.wait_ready().await;
}

/// The node that differs is not ready and says why; those that agree go on.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_with_another_profile_is_not_ready_and_the_others_are() {
    let mut cluster = Cluster::start().await;
    let other = (cluster.leader().await + 1) % 3;
    let node = &mut cluster.nodes[other];
    node.terminate();
    let text = std::fs::read_to_string(&node.config).unwrap();
    let origin = format!("origin = \"{ORIGIN}\"\n");
    let metro = text.replace(&origin, &format!("{origin}profile = \"metro\"\n"));
    assert_ne!(text, metro);
    std::fs::write(&node.config, metro).unwrap();
    node.start();
    let says = |status: &v1::StatusResponse| {
        let why = status.reasons.join("; ");
        why.contains("cluster.profile is metro here and lan there")
    };
    node.wait_status("it says what differs", says).await;
    // Once, however long it lasts.
    let began = Instant::now();
    while !node.log().contains(ODD_ONE) {
        assert!(began.elapsed() < SOON, "it is not in the log");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    let log = node.log();
    assert_eq!(log.matches(ODD_ONE).count(), 1, "{log}");
    let (one, two) = ((other + 1) % 3, (other + 2) % 3);
    for at in [one, two] {
        assert!(cluster.nodes[at].status().await.unwrap().ready);
        let number = format!("P-{at}");
        issue(&cluster.nodes[at], &number, &number, &body(at as u64, 1000))
            .await
            .unwrap();
    }
    let node = &mut cluster.nodes[other];
    node.terminate();
    std::fs::write(&node.config, text).unwrap();
    node.start();
    cluster.wait_ready().await;
}

/// A disk that cannot keep up with the heartbeat: said by the preflight, and by the start.
#[tokio::test(flavor = "multi_thread")]
async fn a_disk_too_slow_for_the_profile_does_not_start() {
    let dir = tempfile::tempdir().unwrap();
    let Some(library) = shim(dir.path()) else {
        return;
    };
    let mut cluster = Cluster::start().await;
    let node = &mut cluster.nodes[1];
    node.terminate();
    std::fs::write(node.control(), "delay 80").unwrap();
    let run = |command: &str| {
        Command::new(env!("CARGO_BIN_EXE_muniment"))
            .args([command, "--config"])
            .arg(&node.config)
            .env("LD_PRELOAD", &library)
            .env("MUNIMENT_SHIM_CONTROL", node.control())
            .output()
            .unwrap()
    };
    let refused = run("serve");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    println!("{said}");
    assert_eq!(refused.status.code(), Some(78), "{said}");
    assert!(said.contains("profile lan allows 50 ms"), "{said}");
    let checked = run("check-config");
    let said = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(!checked.status.success(), "{said}");
    assert!(said.contains("profile lan: heartbeat 50 ms"), "{said}");
    assert!(said.contains("at most about 1000 ms (2000 ms"), "{said}");
    assert!(said.contains("FAIL  fsync"), "{said}");
    // The same disk, quick again.
    std::fs::remove_file(node.control()).unwrap();
    node.start();
    cluster.wait_ready().await;
}
