//! The body plane: every size of body, uploads that end badly, and what is left of them.

use crate::harness::{
    Cluster, Node, SOON, Settings, body, download, header, issue, key, metric, upload,
};
use futures::StreamExt as _;
use muniment_evidence::digest::Digest;
use muniment_evidence::report::Verdict;
use muniment_evidence::statement::Kind;
use muniment_proto::v1;
use rustix::process::Signal;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tonic::{Code, Status};

const MIB: usize = 1 << 20;
const LOOK_PAUSE: Duration = Duration::from_millis(20);
/// In which a call that need not wait for another would have been answered.
const MEANWHILE: Duration = Duration::from_millis(700);

/// Waits until something is true of a node.
async fn until(what: &str, mut is: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + SOON;
    while !is().await {
        assert!(Instant::now() < deadline, "not true in time: {what}");
        tokio::time::sleep(LOOK_PAUSE).await;
    }
}

fn all() -> Option<v1::WriteLevel> {
    let level = v1::write_level::Level::All(v1::write_level::All {});
    Some(v1::WriteLevel { level: Some(level) })
}

/// Who signed for the body, in order.
fn holders(done: &v1::IssueResponse) -> Vec<u64> {
    let mut nodes = done.durability.clone().unwrap_or_default().nodes;
    nodes.sort_unstable();
    nodes
}

async fn issue_at_all(node: &Node, number: &str, body: &[u8]) -> Result<v1::IssueResponse, Status> {
    let mut header = header(number, number, body);
    header.level = all();
    let messages = upload(header, body);
    let answer = node.invoices().issue(futures::stream::iter(messages)).await;
    answer.map(tonic::Response::into_inner)
}

/// An upload that sends what it has, then waits for the gate, then sends the rest.
fn gated(
    messages: Vec<v1::IssueRequest>,
    rest: Vec<v1::IssueRequest>,
    gate: oneshot::Receiver<()>,
) -> impl futures::Stream<Item = v1::IssueRequest> + Send + 'static {
    let opened = async move {
        // A gate that is dropped opens too.
        let _ = gate.await;
        futures::stream::iter(rest)
    };
    futures::stream::iter(messages).chain(futures::stream::once(opened).flatten())
}

/// Nothing of any body is on a node that no record names.
async fn no_orphans(cluster: &Cluster) {
    for node in &cluster.nodes {
        let none = async || metric(node, "muniment_orphan_bytes").await == 0.0;
        until(&format!("node {} has no orphans", node.id), none).await;
    }
}

/// The sizes at which something changes: nothing, a byte, one chunk to the byte, the limit.
#[tokio::test(flavor = "multi_thread")]
async fn bodies_of_every_size_are_held_in_all_zones_and_read_at_another_node() {
    let cluster = Cluster::start().await;
    let sizes = [0, 1, MIB - 1, MIB, MIB + 1, 64 * MIB];
    for (at, size) in sizes.into_iter().enumerate() {
        let mut bytes = body(at as u64, size);
        bytes.truncate(size);
        let number = format!("SIZE-{size}");
        let done = issue_at_all(&cluster.nodes[at % 3], &number, &bytes).await;
        let done = done.unwrap();
        assert_eq!(holders(&done), [1, 2, 3], "{number}");
        assert_eq!(done.durability.unwrap().zones.len(), 3, "{number}");
        let other = &cluster.nodes[(at + 1) % 3];
        let (header, read, trailer) = download(other, &number).await.unwrap();
        assert!(read == bytes, "{number} is read back");
        let digest = Digest::of(&[&bytes]).0.to_vec();
        assert_eq!(trailer.sha256, digest, "{number}");
        assert!(header.invoice.is_some());
    }
    let report = cluster.verify(&cluster.export(1).await);
    assert_eq!(report.verdict(), Verdict::Verified, "{report}");
}

/// Two clients with the same call, or one whose retry overtakes itself: one body is stored.
#[tokio::test(flavor = "multi_thread")]
async fn the_same_call_twice_at_once_stores_one_body_and_both_get_its_receipt() {
    let cluster = Cluster::start().await;
    let node = &cluster.nodes[0];
    let bytes = body(1, 8 * MIB);
    let mut messages = upload(header("TWICE", "twice", &bytes), &bytes);
    let rest = messages.split_off(messages.len() / 2);
    let (open, gate) = oneshot::channel();
    let mut first = node.invoices();
    let first = tokio::spawn(async move { first.issue(gated(messages, rest, gate)).await });
    until("the first is taken", async || {
        metric(node, "muniment_uploads_in_flight").await == 1.0
    })
    .await;
    let second = issue(node, "TWICE", "twice", &bytes);
    tokio::pin!(second);
    let early = tokio::time::timeout(MEANWHILE, &mut second).await;
    assert!(early.is_err(), "it waits for the first: {early:?}");
    assert_eq!(metric(node, "muniment_uploads_in_flight").await, 1.0);
    open.send(()).unwrap();
    let first = first.await.unwrap().unwrap().into_inner();
    let second = second.await.unwrap();
    assert!(!first.repeated && second.repeated);
    assert_eq!(first.receipt, second.receipt);
    let report = cluster.verify(&cluster.export(0).await);
    let issues = report
        .counts
        .rows()
        .filter(|(kind, _)| *kind == Kind::Issue);
    let issues: u64 = issues.flat_map(|(_, counts)| counts).sum();
    assert_eq!(issues, 1, "the second made no record: {report}");

    // A first that fails lets the second go on by itself.
    let bytes = body(2, 2 * MIB);
    let messages = upload(header("ALONE", "alone", &bytes), &bytes);
    let (open, gate) = oneshot::channel();
    let mut broken = node.invoices();
    let half = messages[..4].to_vec();
    let broken = tokio::spawn(async move { broken.issue(gated(half, Vec::new(), gate)).await });
    until("the broken one is taken", async || {
        metric(node, "muniment_uploads_in_flight").await == 1.0
    })
    .await;
    let second = issue(node, "ALONE", "alone", &bytes);
    tokio::pin!(second);
    assert!(tokio::time::timeout(MEANWHILE, &mut second).await.is_err());
    open.send(()).unwrap();
    let status = broken.await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    assert!(!second.await.unwrap().repeated);
}

/// A place is for bytes that are wanted: what was issued is told again without one.
#[tokio::test(flavor = "multi_thread")]
async fn a_repetition_is_answered_while_every_place_for_uploads_is_taken() {
    let settings = Settings {
        limits: "uploads_in_flight = 1",
        ..Settings::default()
    };
    let cluster = Cluster::start_with(settings).await;
    let node = &cluster.nodes[0];
    let first = issue(node, "DONE", "done", b"done").await.unwrap();
    let bytes = body(1, 2 * MIB);
    let mut messages = upload(header("HELD", "held", &bytes), &bytes);
    let rest = messages.split_off(messages.len() / 2);
    let (open, gate) = oneshot::channel();
    let mut held = node.invoices();
    let held = tokio::spawn(async move { held.issue(gated(messages, rest, gate)).await });
    until("the only place is taken", async || {
        metric(node, "muniment_uploads_in_flight").await == 1.0
    })
    .await;
    let again = issue(node, "DONE", "done", b"done").await.unwrap();
    assert!(again.repeated);
    assert_eq!(again.receipt, first.receipt);
    let other = issue(node, "MORE", "more", b"more").await.unwrap_err();
    assert_eq!(other.code(), Code::ResourceExhausted, "{other:?}");
    open.send(()).unwrap();
    assert!(!held.await.unwrap().unwrap().into_inner().repeated);
}

/// Clients that go away, a node that is killed midway: after two upload epochs nothing is
/// left of it anywhere, and what a record names is all there.
#[tokio::test(flavor = "multi_thread")]
async fn i5_what_broken_uploads_leave_is_collected_and_what_is_issued_stays() {
    let settings = Settings {
        cluster: "upload_epoch_s = 5",
        ..Settings::default()
    };
    let mut cluster = Cluster::start_with(settings).await;
    for n in 0..3u64 {
        let node = &cluster.nodes[n as usize];
        let (number, request, bytes) = (format!("KEPT-{n}"), format!("kept-{n}"), body(n, 3 * MIB));
        issue(node, &number, &request, &bytes).await.unwrap();
    }
    let begin = |node: &Node, number: &str| {
        let bytes = body(77, 32 * MIB);
        let mut messages = upload(header(number, number, &bytes), &bytes);
        messages.truncate(1 + 64);
        let (sent, mut flows) = tokio::sync::watch::channel(false);
        let parts = futures::stream::iter(messages).chain(futures::stream::once(async move {
            sent.send_replace(true);
            std::future::pending::<v1::IssueRequest>().await
        }));
        let mut client = node.invoices();
        let call = tokio::spawn(async move { client.issue(parts).await });
        async move {
            flows.wait_for(|sent| *sent).await.unwrap();
            [call]
        }
    };
    // A client that goes away.
    let [call] = begin(&cluster.nodes[1], "GONE").await;
    call.abort();
    until("the upload is let go", async || {
        metric(&cluster.nodes[1], "muniment_uploads_in_flight").await == 0.0
    })
    .await;
    no_orphans(&cluster).await;
    // A node that is killed under its upload, half of which is on its disk.
    let leader = cluster.leader().await;
    let at = (leader + 1) % 3;
    let [call] = begin(&cluster.nodes[at], "KILLED").await;
    cluster.nodes[at].kill();
    assert!(call.await.unwrap().is_err());
    cluster.nodes[at].start();
    cluster.wait_ready().await;
    let node = &cluster.nodes[at];
    until("what the crash left is collected", async || {
        node.log().contains("an orphaned body was collected")
    })
    .await;
    no_orphans(&cluster).await;
    // Once nothing is left to collect, the ledger is still.
    let deadline = Instant::now() + SOON;
    loop {
        let before = node.status().await.unwrap().applied_index;
        // Longer than an epoch lasts.
        tokio::time::sleep(Duration::from_secs(7)).await;
        if node.status().await.unwrap().applied_index == before {
            break;
        }
        assert!(Instant::now() < deadline, "an idle ledger goes on");
    }
    for n in 0..3u64 {
        let node = &cluster.nodes[(n as usize + 1) % 3];
        let (_, read, _) = download(node, &format!("KEPT-{n}")).await.unwrap();
        assert!(read == body(n, 3 * MIB));
    }
    let bundle = cluster.export(at).await;
    let report = cluster.verify(&bundle);
    assert_eq!(report.verdict(), Verdict::Verified, "{report}");
    let policies = report.counts.rows().find(|(kind, _)| *kind == Kind::Policy);
    assert!(
        policies.is_some_and(|(_, counts)| counts[0] >= 2),
        "{report}"
    );
}

/// A peer that takes no byte holds nobody up for long, and has the body later.
#[tokio::test(flavor = "multi_thread")]
async fn a_stalled_peer_is_given_up_and_catches_up_later() {
    let cluster = Cluster::start().await;
    let leader = cluster.leader().await;
    let (at, stalled) = ((leader + 1) % 3, (leader + 2) % 3);
    cluster.nodes[stalled].signal(Signal::STOP);
    let bytes = body(5, 48 * MIB);
    let begun = Instant::now();
    let done = issue(&cluster.nodes[at], "STALL", "stall", &bytes).await;
    let took = begun.elapsed();
    cluster.nodes[stalled].signal(Signal::CONT);
    let nodes = holders(&done.unwrap());
    assert_eq!(nodes.len(), 2, "{nodes:?}");
    assert!(took < SOON / 2, "it took {took:?}");
    let size = cluster.nodes[at].status().await.unwrap().log_size;
    let node = &cluster.nodes[stalled];
    let complete = |status: &v1::StatusResponse| status.body_complete_index >= size;
    node.wait_status("it holds all bodies", complete).await;
    let (_, read, _) = download(node, "STALL").await.unwrap();
    assert!(read == bytes);
}

/// A body crosses to another region once: one node there passes it on, not always the same.
#[tokio::test(flavor = "multi_thread")]
async fn one_relay_per_remote_region_passes_bodies_on() {
    const CALLS: usize = 12;
    let settings = Settings {
        sections: "[log]\nfilter = \"info,openraft=warn,muniment::bodies=debug\"".into(),
        regions: vec!["region-a", "region-b", "region-b"],
        ..Settings::default()
    };
    let cluster = Cluster::start_with(settings).await;
    for n in 0..CALLS {
        let bytes = body(n as u64, 2 * MIB + 17);
        let done = issue_at_all(&cluster.nodes[0], &format!("R-{n}"), &bytes).await;
        assert_eq!(holders(&done.unwrap()), [1, 2, 3]);
    }
    let passed = |node: &Node| node.log().matches("passing a body on").count();
    let passed = [0, 1, 2].map(|at| passed(&cluster.nodes[at]));
    assert_eq!(passed[0], 0);
    assert_eq!(passed[1] + passed[2], CALLS, "{passed:?}");
    assert!(passed[1] > 0 && passed[2] > 0, "{passed:?}");
    // From there, the one node of the other region is reached without a relay.
    let done = issue_at_all(&cluster.nodes[1], "BACK", &body(9, 100)).await;
    assert_eq!(holders(&done.unwrap()), [1, 2, 3]);
}

/// I11: each holder looks at its own disk; evidence and reads go on there.
#[tokio::test(flavor = "multi_thread")]
async fn i11_a_holder_whose_disk_is_nearly_full_takes_no_body_and_serves_the_rest() {
    let settings = Settings {
        limits: "disk_reserve_bytes = 1000000",
        ..Settings::default()
    };
    let mut cluster = Cluster::start_with(settings).await;
    let bytes = body(1, 3 * MIB);
    issue_at_all(&cluster.nodes[0], "BEFORE", &bytes)
        .await
        .unwrap();
    cluster.nodes[2].kill();
    let config = std::fs::read_to_string(&cluster.nodes[2].config).unwrap();
    let full = config.replace("= 1000000\n", "= 1000000000000000\n");
    assert_ne!(full, config);
    std::fs::write(&cluster.nodes[2].config, full).unwrap();
    cluster.nodes[2].start();
    let only_full = |status: &v1::StatusResponse| {
        status.reasons.len() == 1 && status.reasons[0].starts_with("disk nearly full")
    };
    let what = "nothing but its disk is wrong";
    cluster.nodes[2].wait_status(what, only_full).await;
    let refused = issue_at_all(&cluster.nodes[0], "FULL", &bytes).await;
    let status = refused.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    assert!(status.message().contains("nearly full"), "{status:?}");
    // Two zones are enough for the usual level, and one of them is not this one.
    let done = issue(&cluster.nodes[1], "AFTER", "after", &bytes)
        .await
        .unwrap();
    let nodes = holders(&done);
    assert!(!nodes.contains(&3), "{nodes:?}");
    let full = &cluster.nodes[2];
    let status = issue(full, "HERE", "here", &bytes).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
    for number in ["BEFORE", "AFTER"] {
        let (_, read, _) = download(full, number).await.unwrap();
        assert!(read == bytes, "{number}");
    }
    let void = v1::VoidRequest {
        request_id: "void".into(),
        key: key("AFTER"),
        reason: "a test".into(),
    };
    full.invoices().void(void).await.unwrap();
}
