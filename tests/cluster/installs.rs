//! Lookups at a node that takes a snapshot while it serves.
//!
//! The node is suspended until the others have purged what it lacks, and is asked from the
//! moment that it goes on: with what it had, while the snapshot takes its place, and after.

use crate::harness::{Cluster, LOOK_PAUSE, Node, SOON, Settings, body, issue, key};
use crate::plain_http::metric;
use futures::StreamExt as _;
use muniment_proto::v1;
use muniment_proto::v1::read_level::{Level, Linearizable};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::time::Instant;
use tonic::{Code, Status};

const INVOICES: u64 = 2_500;
/// Issued before the node is suspended.
const BEFORE: u64 = 300;
/// Issues, and lookups, under way at a time: so what the suspended node misses is 137 entries
/// at least, and its peers, which keep 10 behind a snapshot of every 100, purge some of them.
const AT_A_TIME: usize = 16;
/// What a node's log says once a snapshot is in force.
const INSTALLED: &str = "snapshot installed";

fn linearizable() -> Option<v1::ReadLevel> {
    let level = Some(Level::Linearizable(Linearizable {}));
    Some(v1::ReadLevel { level })
}

async fn issue_all(node: &Node, numbers: std::ops::Range<u64>) {
    let issued = futures::stream::iter(numbers).map(|n| async move {
        let (number, request) = (format!("V-{n}"), format!("v-{n}"));
        issue(node, &number, &request, &body(n, 200)).await.unwrap();
    });
    issued.buffer_unordered(AT_A_TIME).collect::<()>().await;
}

async fn get(node: &Node, n: u64) -> Result<(), Status> {
    let request = v1::GetRequest {
        key: key(&format!("V-{n}")),
        read: linearizable(),
    };
    node.invoices().get(request).await.map(drop)
}

/// All pages: how many invoices they have.
async fn listed(node: &Node) -> Result<usize, Status> {
    let (mut uids, mut cursor) = (BTreeSet::new(), String::new());
    loop {
        let request = v1::ListRequest {
            page_size: 500,
            cursor,
            read: linearizable(),
            ..v1::ListRequest::default()
        };
        let page = node.invoices().list(request).await?.into_inner();
        uids.extend(page.invoices.into_iter().map(|invoice| invoice.uid));
        if page.cursor.is_empty() {
            return Ok(uids.len());
        }
        cursor = page.cursor;
    }
}

/// A leader keeps what it is sending until it gives the silent follower's stream up.
async fn purged_beyond(leader: &Node, had: u64) {
    let deadline = Instant::now() + SOON;
    while metric(leader, "muniment_raft_purged_index ").await <= had as f64 {
        assert!(Instant::now() < deadline, "nothing it lacks is purged");
        tokio::time::sleep(LOOK_PAUSE).await;
    }
}

/// It may say that it is not ready; it may not say what is not so.
fn passing<T>(answer: Result<T, Status>) -> Option<T> {
    match answer {
        Ok(answer) => Some(answer),
        Err(status) => {
            let passes = matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded);
            assert!(passes, "a wrong answer: {status:?}");
            None
        }
    }
}

/// Nobody is told that an invoice is not there, or that a short list is whole, and the node
/// does not take its own state for damaged.
#[tokio::test(flavor = "multi_thread")]
async fn lookups_are_right_while_a_snapshot_takes_the_place_of_the_state() {
    let settings = Settings {
        cluster: "snapshot_after_entries = 100\nlog_entries_kept = 10",
        ..Settings::default()
    };
    let cluster = Cluster::start_with(settings).await;
    let leader = cluster.leader().await;
    let (asked, leader) = (&cluster.nodes[(leader + 1) % 3], &cluster.nodes[leader]);
    issue_all(leader, 0..BEFORE).await;
    asked.pause();
    // No entry after this one is appended there: it stands still.
    let had = leader.status().await.unwrap().last_log_index;
    issue_all(leader, BEFORE..INVOICES).await;
    purged_beyond(leader, had).await;
    let seen_before = asked.log().matches(INSTALLED).count();
    asked.resume();
    let (installed, deadline) = (AtomicBool::new(false), Instant::now() + SOON);
    let watched = async {
        while asked.log().matches(INSTALLED).count() == seen_before {
            assert!(Instant::now() < deadline, "no snapshot is installed");
            tokio::time::sleep(LOOK_PAUSE).await;
        }
        // Whoever began to read before it ends after it.
        let caught_up = asked.wait_status("it has all", |s| s.log_size > INVOICES);
        caught_up.await;
        installed.store(true, Ordering::SeqCst);
    };
    let over = || installed.load(Ordering::SeqCst);
    let gets = (0..AT_A_TIME as u64).map(|first| async move {
        let mut right = 0;
        let mut n = first;
        loop {
            let last = over();
            right += usize::from(passing(get(asked, n % INVOICES).await).is_some());
            n += 7;
            if last {
                return right;
            }
        }
    });
    let lists = (0..2).map(|_| async {
        let mut whole = 0;
        loop {
            let last = over();
            if let Some(count) = passing(listed(asked).await) {
                assert_eq!(count as u64, INVOICES, "a short list is told to be whole");
                whole += 1;
            }
            if last {
                return whole;
            }
        }
    });
    let gets = futures::future::join_all(gets);
    let lists = futures::future::join_all(lists);
    let ((), gets, lists) = futures::join!(watched, gets, lists);
    println!("{gets:?} invoices and {lists:?} lists beside the install");
    assert!(lists.iter().sum::<usize>() > 0);
    assert!(!asked.log().contains("a promise is broken"), "it stopped");
    let states = cluster.settled().await;
    assert!(states.iter().all(|s| s.state_hash == states[0].state_hash));
}
