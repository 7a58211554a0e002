//! Deferred evidence: bytes on a promise, its record afterwards, or LOST for all to see.

use crate::harness::{Cluster, LOOK_PAUSE, Node, SOON, Settings, body, issue, key, metric};
use futures::StreamExt as _;
use muniment_audit::answer::Audited;
use muniment_audit::promise::PromiseQuestion;
use muniment_evidence::class::FindingClass;
use muniment_evidence::report::Verdict;
use muniment_evidence::verify::{self, BundleVerifier, VerifyOptions};
use muniment_proto::v1;
use tokio::time::Instant;
use tonic::{Code, Status};

/// Header and bytes of a whole deferred download.
pub async fn download(node: &Node, number: &str) -> Result<(v1::DownloadHeader, Vec<u8>), Status> {
    use v1::download_response::Part;
    let request = v1::DownloadRequest {
        key: key(number),
        evidence: v1::EvidenceMode::Deferred.into(),
        ..v1::DownloadRequest::default()
    };
    let mut parts = node.invoices().download(request).await?.into_inner();
    let (mut header, mut bytes) = (None, Vec::new());
    while let Some(part) = parts.next().await {
        match part?.part {
            Some(Part::Header(first)) => header = Some(first),
            Some(Part::Chunk(chunk)) => bytes.extend_from_slice(&chunk),
            Some(Part::Trailer(_)) => return Ok((header.unwrap(), bytes)),
            None => {}
        }
    }
    Err(Status::data_loss("a download without a trailer"))
}

/// The promise that came in place of a receipt.
pub fn promise_of(header: &v1::DownloadHeader) -> Vec<u8> {
    assert!(header.receipt.is_none(), "it has no record yet");
    header.promise.as_ref().unwrap().bytes.to_vec()
}

/// What a bundle of the whole log says of a promise.
pub fn judge(cluster: &Cluster, promise: &[u8], bundle: &[u8]) -> Audited {
    let (report, _) = verify::promise(promise, Some(&cluster.trust), None);
    assert_eq!(report.verdict(), Verdict::Verified, "{report}");
    let options = VerifyOptions {
        trust: Some(cluster.trust.clone()),
        ..VerifyOptions::default()
    };
    let question = PromiseQuestion::new(promise.to_vec(), options.trust.clone());
    let question = question.unwrap_or_else(|answer| panic!("{answer}"));
    let mut verifier = BundleVerifier::observed(options, question);
    verifier.push(bundle);
    let (report, question) = verifier.finish_observed();
    question.conclude(report, None)
}

/// A node that does not lead: what it cannot hand to a leader is in its outbox alone, and
/// not in its Raft log, which would bring it back.
pub async fn follower(cluster: &Cluster) -> usize {
    (cluster.leader().await + 1) % 3
}

/// Kills all but one.
pub fn leave_alone(cluster: &mut Cluster, alone: usize) {
    for at in (0..3).filter(|at| *at != alone) {
        cluster.nodes[at].kill();
    }
}

pub async fn drained(node: &Node) {
    let deadline = Instant::now() + SOON;
    while metric(node, "muniment_outbox_pending ").await > 0.0 {
        assert!(Instant::now() < deadline, "the outbox does not drain");
        tokio::time::sleep(LOOK_PAUSE).await;
    }
}

/// A cluster with these settings of deferred downloads, a follower that has the body of D-1, that
/// body, and the index of its record.
pub async fn with_a_body(settings: &str) -> (Cluster, usize, Vec<u8>, u64) {
    let cluster = Cluster::start_with(Settings {
        sections: format!("[deferred]\n{settings}"),
        ..Settings::default()
    })
    .await;
    let bytes = body(1, 300_000);
    let issued = issue(&cluster.nodes[1], "D-1", "r-1", &bytes)
        .await
        .unwrap();
    let index = issued.invoice.unwrap().record_index;
    let me = follower(&cluster).await;
    cluster.nodes[me]
        .wait_status("it has the body", |status| {
            status.body_complete_index > index
        })
        .await;
    (cluster, me, bytes, index)
}

/// Cut off, killed and started again, deleted: one cluster goes through all of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_promise_survives_its_node_and_a_deleted_outbox_is_told_as_lost() {
    let settings = "max_pending = 5\nmax_staleness_ms = 120000\n";
    let (mut cluster, me, bytes, index) = with_a_body(settings).await;

    // With a quorum the record follows at once.
    let (header, sent) = download(&cluster.nodes[me], "D-1").await.unwrap();
    assert_eq!(sent, bytes);
    let at_once = promise_of(&header);
    drained(&cluster.nodes[me]).await;

    // Alone: no leader, no quorum. Nothing strict is possible, and promises are.
    leave_alone(&mut cluster, me);
    let mut cut_off = Vec::new();
    for _ in 0..5 {
        let (header, sent) = download(&cluster.nodes[me], "D-1").await.unwrap();
        assert_eq!(sent, bytes);
        let answered = header.answered.clone().unwrap();
        assert!(answered.staleness_ms_max.unwrap() <= 120_000);
        cut_off.push(promise_of(&header));
    }
    let full = download(&cluster.nodes[me], "D-1").await.unwrap_err();
    assert_eq!(full.code(), Code::ResourceExhausted, "{full:?}");
    assert!(full.message().contains("deferred.max_pending"), "{full:?}");
    let pending = metric(&cluster.nodes[me], "muniment_outbox_pending ").await;
    assert_eq!(pending, 5.0);

    // Killed right after, as all the others were.
    cluster.nodes[me].kill();
    for node in &mut cluster.nodes {
        node.start();
    }
    cluster.wait_ready().await;
    drained(&cluster.nodes[me]).await;
    cluster.settled().await;
    let bundle = cluster.export(1).await;
    let report = cluster.verify(&bundle);
    assert_eq!(report.verdict(), Verdict::Verified, "{report}");
    for promise in cut_off.iter().chain([&at_once]) {
        let audited = judge(&cluster, promise, &bundle);
        assert_eq!(audited.exit_code(), 0, "{audited}");
        assert!(audited.to_json().contains("\"fate\":\"KEPT\""));
    }
    let me = follower(&cluster).await;
    cluster.nodes[me]
        .wait_status("it has the body", |status| {
            status.body_complete_index > index
        })
        .await;
    let (header, _) = download(&cluster.nodes[me], "D-1").await.unwrap();
    let after = judge(&cluster, &promise_of(&header), &bundle);
    assert_eq!(
        after.exit_code(),
        FindingClass::Promise.exit_code(),
        "{after}"
    );
    drained(&cluster.nodes[me]).await;

    a_deleted_outbox_is_lost(&mut cluster, me, &at_once, &bytes).await;
}

/// Promised while cut off, and then the outbox is deleted: that promise is lost, and said to
/// be; the one before is not.
async fn a_deleted_outbox_is_lost(cluster: &mut Cluster, me: usize, before: &[u8], bytes: &[u8]) {
    leave_alone(cluster, me);
    let (header, _) = download(&cluster.nodes[me], "D-1").await.unwrap();
    let lost = promise_of(&header);
    cluster.nodes[me].kill();
    std::fs::remove_dir_all(cluster.nodes[me].dir.join("data/outbox")).unwrap();
    for node in &mut cluster.nodes {
        node.start();
    }
    cluster.wait_ready().await;
    cluster.settled().await;
    assert!(cluster.nodes[me].log().contains("an outbox is LOST"));
    let bundle = cluster.export(2).await;
    let report = cluster.verify(&bundle);
    // Told by everyone who verifies, and a fault only for who asks so.
    assert!(report.holds(), "{report}");
    assert_eq!(report.told_count, 1, "{report}");
    let strict = report.strict();
    assert_eq!(strict.verdict(), Verdict::Failed(FindingClass::Lost));
    let audited = judge(cluster, &lost, &bundle);
    assert_eq!(
        audited.exit_code(),
        FindingClass::Lost.exit_code(),
        "{audited}"
    );
    // What was kept before stays kept.
    let audited = judge(cluster, before, &bundle);
    assert_eq!(audited.exit_code(), 0, "{audited}");
    // And the node promises again, from an outbox of its own.
    let (header, sent) = download(&cluster.nodes[me], "D-1").await.unwrap();
    assert_eq!(sent, bytes);
    drained(&cluster.nodes[me]).await;
    let audited = judge(cluster, &promise_of(&header), &cluster.export(0).await);
    assert_eq!(audited.exit_code(), 0, "{audited}");
}

/// The bounds that are not met by waiting, each said by its name.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_may_be_too_stale_or_may_not_promise_refuses() {
    let mut cluster = Cluster::start_with(Settings {
        sections: "[deferred]\nmax_staleness_ms = 300\nmax_age_ms = 300\n".into(),
        ..Settings::default()
    })
    .await;
    let bytes = body(2, 5_000);
    issue(&cluster.nodes[0], "D-2", "r-2", &bytes)
        .await
        .unwrap();
    // The node that took it has the body.
    cluster.settled().await;
    download(&cluster.nodes[0], "D-2").await.unwrap();
    drained(&cluster.nodes[0]).await;
    for at in [1, 2] {
        cluster.nodes[at].kill();
    }
    let deadline = Instant::now() + SOON;
    let refused = loop {
        match download(&cluster.nodes[0], "D-2").await {
            Ok(_) => assert!(Instant::now() < deadline, "it promises for ever"),
            Err(status) if status.code() == Code::Unavailable => break status,
            // The promise before is too old by now.
            Err(status) => assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}"),
        }
        tokio::time::sleep(LOOK_PAUSE).await;
    };
    assert!(
        refused.message().contains("max_staleness_ms"),
        "{refused:?}"
    );
}
