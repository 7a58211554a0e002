//! Write levels of real nodes: what is acknowledged is where it was asked to be.

use crate::harness::{Cluster, Node, body, download, header, issue, upload};
use muniment_evidence::digest::Digest;
use muniment_evidence::report::Verdict;
use muniment_proto::v1;
use std::time::Duration;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;
use v1::write_level::{All, Level, Quorum};

/// Rounds of the erased zone in the short form; `MUNIMENT_ERASE_ROUNDS` asks for more.
const ERASE_ROUNDS: u32 = 2;
const INVOICES_A_ROUND: u64 = 12;

pub async fn issue_at(
    node: &Node,
    number: &str,
    bytes: &[u8],
    level: Level,
    level_wait_ms: u32,
) -> Result<v1::IssueResponse, Status> {
    let header = v1::UploadHeader {
        level: Some(v1::WriteLevel { level: Some(level) }),
        level_wait_ms,
        ..header(number, number, bytes)
    };
    let messages = upload(header, bytes);
    let answer = node.invoices().issue(futures::stream::iter(messages)).await;
    answer.map(tonic::Response::into_inner)
}

/// The caller who asks again for more is not told that he has it before he does.
#[tokio::test(flavor = "multi_thread")]
async fn i7_a_repetition_waits_for_the_level_now_asked() {
    let mut cluster = Cluster::start().await;
    let away = (cluster.leader().await + 1) % 3;
    let here = (away + 1) % 3;
    cluster.nodes[away].kill();
    let bytes = body(1, 5_000);
    let quorum = Level::Quorum(Quorum {});
    let first = issue_at(&cluster.nodes[here], "L-1", &bytes, quorum, 0)
        .await
        .unwrap();
    let all = Level::All(All {});
    let status = issue_at(&cluster.nodes[here], "L-1", &bytes, all, 400)
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    let info = status.get_details_error_info().unwrap();
    assert_eq!(info.reason, "COMMITTED_BELOW_LEVEL");
    let index = first.invoice.as_ref().unwrap().record_index;
    assert_eq!(info.metadata["index"], index.to_string());
    assert_eq!(info.metadata["level"], "all");
    assert_eq!(info.metadata["nodes"].split(',').count(), 2);
    assert!(status.get_details_retry_info().is_some());
    cluster.nodes[away].start();
    // Its body comes by repair: it signed no holding.
    let done = issue_at(&cluster.nodes[here], "L-1", &bytes, all, 20_000)
        .await
        .unwrap();
    assert!(done.repeated);
    assert_eq!(done.receipt, first.receipt);
    let durability = done.durability.unwrap();
    assert_eq!(durability.level, "all");
    assert_eq!(durability.nodes, [1, 2, 3]);
    assert_eq!(durability.zones.len(), 3);
    let status = cluster.nodes[away].status().await.unwrap();
    assert!(status.body_complete_index > index, "{status:?}");
}

/// A holder that stands still is named while the caller still listens, and not after the
/// time that a holding may take.
#[tokio::test(flavor = "multi_thread")]
async fn a_caller_is_told_which_holder_does_not_answer_before_he_gives_up() {
    const DEADLINE: Duration = Duration::from_secs(4);
    let cluster = Cluster::start().await;
    let away = (cluster.leader().await + 1) % 3;
    cluster.nodes[away].pause();
    let here = &cluster.nodes[(away + 1) % 3];
    let bytes = body(3, 20_000);
    let header = v1::UploadHeader {
        level: Some(v1::WriteLevel {
            level: Some(Level::All(All {})),
        }),
        ..header("D-1", "D-1", &bytes)
    };
    let mut request = tonic::Request::new(futures::stream::iter(upload(header, &bytes)));
    request.set_timeout(DEADLINE);
    let started = tokio::time::Instant::now();
    let status = here.invoices().issue(request).await.unwrap_err();
    assert!(started.elapsed() < DEADLINE, "{:?}", started.elapsed());
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    let named = format!("nodes [{}] have not signed", cluster.nodes[away].id);
    assert!(status.message().contains(&named), "{status:?}");
    cluster.nodes[away].resume();
    let done = issue_at(here, "D-1", &bytes, Level::All(All {}), 20_000).await;
    assert_eq!(done.unwrap().durability.unwrap().nodes, [1, 2, 3]);
}

/// A reversal, and a download, are as safe as the invoice that they are about.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_told_about_an_invoice_waits_for_the_invoices_own_level() {
    let mut cluster = Cluster::start().await;
    let away = (cluster.leader().await + 1) % 3;
    let here = (away + 1) % 3;
    let bytes = body(2, 3_000);
    issue_at(&cluster.nodes[here], "O-1", &bytes, Level::Zones(3), 0)
        .await
        .unwrap();
    download(&cluster.nodes[here], "O-1").await.unwrap();
    cluster.nodes[away].kill();
    // Recorded in vain, or found out before.
    let status = download(&cluster.nodes[here], "O-1").await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    cluster.nodes[away].start();
    cluster.wait_ready().await;
    let (_, got, _) = download(&cluster.nodes[here], "O-1").await.unwrap();
    assert_eq!(got, bytes);
}

/// ZONES(2): a whole zone's disks may be erased the moment after the acknowledgement.
#[tokio::test(flavor = "multi_thread")]
async fn a_zone_erased_after_the_acknowledgement_takes_nothing_along() {
    let rounds = std::env::var("MUNIMENT_ERASE_ROUNDS")
        .map_or(ERASE_ROUNDS, |rounds| rounds.parse().unwrap());
    for round in 0..rounds {
        let mut cluster = Cluster::start().await;
        // The leader's zone and a follower's in turn; the calls go to the node that dies.
        let leader = cluster.leader().await;
        let doomed = (leader + (round as usize % 3)) % 3;
        let mut acknowledged = Vec::new();
        for n in 0..INVOICES_A_ROUND {
            let number = format!("E-{round}-{n}");
            let bytes = body(u64::from(round) << 16 | n, 1_000 + 7_000 * (n as usize % 4));
            let done = issue_at(&cluster.nodes[doomed], &number, &bytes, Level::Zones(2), 0)
                .await
                .unwrap();
            acknowledged.push((number, bytes, done.invoice.unwrap().record_index));
        }
        cluster.nodes[doomed].kill();
        std::fs::remove_dir_all(cluster.nodes[doomed].dir.join("data")).unwrap();
        let left = (doomed + 1) % 3;
        for (number, bytes, index) in &acknowledged {
            let (header, got, _) = loop {
                match download(&cluster.nodes[left], number).await {
                    Ok(got) => break got,
                    // An election may be under way.
                    Err(status) if status.code() == Code::Unavailable => {}
                    Err(status) => panic!("{number}: {status:?}"),
                }
            };
            assert_eq!(Digest::of(&[&got]), Digest::of(&[bytes]), "{number}");
            assert_eq!(header.invoice.unwrap().record_index, *index);
        }
        let report = cluster.verify(&cluster.export(left).await);
        assert_eq!(report.verdict(), Verdict::Verified, "{report}");
        println!(
            "round {round}: zone of node {} erased, nothing lost",
            doomed + 1
        );
    }
}

/// An operator reads off what he would lose.
#[tokio::test(flavor = "multi_thread")]
async fn status_says_what_losing_each_zone_would_cost() {
    let mut cluster = Cluster::start().await;
    for n in 0..5 {
        let number = format!("Z-{n}");
        issue(&cluster.nodes[0], &number, &number, &body(n, 20_000))
            .await
            .unwrap();
    }
    let leader = cluster.leader().await;
    let view = cluster.nodes[leader]
        .wait_status("every zone holds everything", |status| {
            status.losses.len() == 3
                && status.standings.len() == 3
                && status
                    .losses
                    .iter()
                    .all(|z| z.records == 0 && z.lag_records == 0)
        })
        .await;
    assert!(view.losses.iter().all(|z| z.quorum_left && z.level_left));
    assert_eq!(view.profile, "lan");
    assert_eq!(view.worst_leaderless_ms, 1000);
    // A zone that is away falls behind, by records, bytes and time; nothing else is lost.
    let away = (leader + 1) % 3;
    cluster.nodes[away].kill();
    for n in 0..5 {
        let number = format!("Y-{n}");
        issue(&cluster.nodes[leader], &number, &number, &body(n, 20_000))
            .await
            .unwrap();
    }
    let zone = cluster.nodes[away].zone.clone();
    let view = cluster.nodes[leader]
        .wait_status("the zone is behind", |status| {
            let mut zones = status.losses.iter();
            zones.any(|z| z.zone == zone && z.lag_records >= 5 && z.lag_bytes >= 100_000)
        })
        .await;
    let behind = view.losses.iter().find(|z| z.zone == zone).unwrap();
    assert_eq!(behind.records, 0, "{behind:?}");
    let other = view.losses.iter().find(|z| z.zone != zone).unwrap();
    assert!(
        other.quorum_left,
        "a view of members, not of who is up: {other:?}"
    );
}
