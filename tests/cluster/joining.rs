//! A node joins a cluster that is full and busy: what it costs the others, and how long.

use crate::harness::{Cluster, Node, body, issue};
use futures::StreamExt as _;
use muniment_client::v1;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// Bodies that the cluster holds before the node joins; `MUNIMENT_JOIN_MB` asks for more.
const FILL_MB_DEFAULT: u64 = 500;
const BODY_BYTES: usize = 256 << 10;
/// Uploads side by side while filling.
const FILLING: usize = 8;
/// Between two issues of the load that is measured.
const LOAD_PAUSE: Duration = Duration::from_millis(10);
/// Of the load before the join: more than a thousand calls, of which ten are above the p99.
const BEFORE: Duration = Duration::from_secs(20);
/// Below this the machine's own noise is measured.
const NOISE: Duration = Duration::from_millis(50);
const JOIN_MAX: Duration = Duration::from_secs(20 * 60);
const LOOK_PAUSE: Duration = Duration::from_millis(50);

fn fill_mb() -> u64 {
    let asked = std::env::var("MUNIMENT_JOIN_MB").ok();
    asked.map_or(FILL_MB_DEFAULT, |text| text.parse().unwrap())
}

async fn fill(nodes: &[Node]) {
    let count = fill_mb() * (1 << 20) / BODY_BYTES as u64;
    let numbers = futures::stream::iter(0..count);
    numbers
        .for_each_concurrent(FILLING, |n| async move {
            let number = format!("F-{n}");
            let at = &nodes[n as usize % 3];
            issue(at, &number, &number, &body(n, BODY_BYTES))
                .await
                .unwrap();
        })
        .await;
}

/// Issues at the leader until told to stop; how long each took.
fn load(at: Node, from: u64, stop: Arc<AtomicBool>) -> tokio::task::JoinHandle<Vec<Duration>> {
    tokio::spawn(async move {
        let (mut took, mut n) = (Vec::new(), from);
        while !stop.load(Ordering::SeqCst) {
            let (number, started) = (format!("L-{n}"), Instant::now());
            issue(&at, &number, &number, &body(n, 8000)).await.unwrap();
            took.push(started.elapsed());
            n += 1;
            tokio::time::sleep(LOAD_PAUSE).await;
        }
        took
    })
}

fn quantile(took: &[Duration], percent: usize) -> Duration {
    muniment::objective::disk::quantile(&mut took.to_vec(), percent).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_joins_under_load_and_the_leader_hardly_notices() {
    let mut cluster = Cluster::start().await;
    fill(&cluster.nodes).await;
    let leader = cluster.leader().await;
    let stop = Arc::new(AtomicBool::new(false));
    let running = load(cluster.nodes[leader].probe(), 0, stop.clone());
    tokio::time::sleep(BEFORE).await;
    stop.store(true, Ordering::SeqCst);
    let before = running.await.unwrap();

    let four = cluster.add_node("zone-4").await;
    cluster.admit(four).await.unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let running = load(cluster.nodes[leader].probe(), 1_000_000, stop.clone());
    let started = Instant::now();
    cluster.add(four, &[]).await.unwrap();
    loop {
        let head = cluster.nodes[leader].status().await.unwrap().log_size;
        let joined = cluster.nodes[four].status().await.unwrap();
        let caught_up = |s: &v1::StatusResponse| s.ready && s.body_complete_index >= head;
        if caught_up(&joined) {
            break;
        }
        assert!(started.elapsed() < JOIN_MAX, "{joined:?}");
        tokio::time::sleep(LOOK_PAUSE).await;
    }
    let took = started.elapsed();
    stop.store(true, Ordering::SeqCst);
    let during = running.await.unwrap();
    let (calls_before, calls_during) = (before.len(), during.len());
    let (p50_before, p50_during) = (quantile(&before, 50), quantile(&during, 50));
    let (before, during) = (quantile(&before, 99), quantile(&during, 99));
    println!(
        "joined {} MB in {took:.1?}; issue p50 {p50_before:.1?}, p99 {before:.1?} before \
         ({calls_before} calls); p50 {p50_during:.1?}, p99 {during:.1?} meanwhile \
         ({calls_during} calls)",
        fill_mb()
    );
    assert!(
        during <= (2 * before).max(NOISE),
        "{before:?} -> {during:?}"
    );
}
