//! A follower that takes nothing: what it costs the leader.

use crate::harness::{Cluster, body, issue};
use futures::stream::{self, StreamExt as _};

/// What a slow or dead follower may cost.
const COST_MAX_KIB: u64 = 32 << 10;
const BODIES: u64 = 96;
const BODY_BYTES: usize = 1 << 20;
/// Uploads at a time.
const WIDTH: usize = 8;

/// One figure of `/proc/PID/status`, in KiB.
fn kib(pid: u32, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    let value = line.split_whitespace().nth(1).unwrap();
    value.parse().unwrap()
}

/// How far the leader's memory rises at most while it takes 96 MiB.
async fn peak_growth(pause: bool) -> u64 {
    let cluster = Cluster::start().await;
    let leader = cluster.leader().await;
    let paused = (leader + 1) % 3;
    let pid = cluster.nodes[leader].pid();
    issue(&cluster.nodes[leader], "W", "w", &body(0, BODY_BYTES))
        .await
        .unwrap();
    // The peak is counted from here on.
    std::fs::write(format!("/proc/{pid}/clear_refs"), "5").unwrap();
    let before = kib(pid, "VmRSS:");
    if pause {
        cluster.nodes[paused].pause();
    }
    let node = &cluster.nodes[leader];
    stream::iter(0..BODIES)
        .for_each_concurrent(WIDTH, |n| async move {
            let (number, request) = (format!("S-{n}"), format!("s-{n}"));
            let issued = issue(node, &number, &request, &body(n, BODY_BYTES)).await;
            issued.unwrap();
        })
        .await;
    let peak = kib(pid, "VmHWM:");
    if pause {
        cluster.nodes[paused].resume();
        cluster.settled().await;
    }
    peak.saturating_sub(before)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_that_takes_nothing_costs_the_leader_little() {
    if !std::path::Path::new("/proc/self/clear_refs").exists() {
        println!("skipped: memory peaks are read from Linux's /proc");
        return;
    }
    let (without, with) = (peak_growth(false).await, peak_growth(true).await);
    let cost = with.saturating_sub(without);
    println!(
        "{BODIES} bodies of 1 MiB: the leader's peak rose by {} MiB, with a paused follower \
         by {} MiB: it costs {} MiB",
        without >> 10,
        with >> 10,
        cost >> 10
    );
    assert!(cost <= COST_MAX_KIB, "{cost} KiB");
}
