//! What a change of the members costs: refused by name, or accepted by name and on record.

use crate::deferred;
use crate::harness::{Cluster, Settings, body, download};
use crate::levels::issue_at;
use crate::members::modes;
use muniment_client::v1;
use muniment_evidence::mode::Phase;
use muniment_evidence::report::Verdict;
use v1::write_level::Level;

/// One region more, for the fourth node.
fn two_regions() -> Settings {
    Settings {
        regions: vec!["region-1", "region-1", "region-1", "region-2"],
        ..Settings::default()
    }
}

/// The only sync learner of a region was removed, and invoices of two regions were in one.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_leaves_an_acknowledged_level_unmet_is_refused_unless_it_is_accepted() {
    let mut cluster = Cluster::start_with(two_regions()).await;
    cluster.join("zone-4", &["--sync"]).await;
    let bytes = body(1, 3000);
    for (number, level) in [("R-1", Level::Regions(2)), ("Z-1", Level::Zones(3))] {
        issue_at(&cluster.nodes[0], number, &bytes, level, 20_000)
            .await
            .unwrap();
    }
    let asked = |command: &'static [&'static str]| cluster.muniment(command);

    // Neither removed, nor turned into one that counts for nothing.
    for command in [&["cluster", "remove", "4"][..], &["cluster", "add", "4"]] {
        let why = asked(command).await.unwrap_err();
        assert!(why.contains("regions:2, at which 1 record was"), "{why}");
        assert!(why.contains("--accept regions:2"), "{why}");
    }
    let why = asked(&["cluster", "remove", "3"]).await.unwrap_err();
    assert!(why.contains("zones:3, at which 1 record was"), "{why}");
    // A slip of the pen accepts nothing.
    for slip in ["zones:3", "all"] {
        let command = ["cluster", "remove", "4", "--accept", slip];
        let why = cluster.muniment(&command).await.unwrap_err();
        assert!(why.contains(slip), "{why}");
    }
    let prepared = modes(&cluster.nodes[0]).await.len();
    assert_eq!(prepared, 2, "what is refused leaves no record");

    let removed = asked(&["cluster", "remove", "4", "--accept", "regions:2"]).await;
    println!("{}", removed.unwrap());
    let modes = modes(&cluster.nodes[0]).await;
    let [.., prepare, done] = &modes[..] else {
        panic!("{modes:?}");
    };
    assert_eq!(done.phase, Phase::Done);
    assert_eq!(prepare.reason, "remove node 4; accepted: regions:2");
    // It is served at the best that the members can still meet.
    let (_, sent, _) = download(&cluster.nodes[1], "R-1").await.unwrap();
    assert_eq!(sent, bytes);
    let again = issue_at(&cluster.nodes[0], "R-2", &bytes, Level::Regions(2), 0).await;
    assert_eq!(again.unwrap_err().code(), tonic::Code::InvalidArgument);
    let report = cluster.verify(&cluster.export(0).await);
    assert_eq!(
        report.verdict(),
        Verdict::Verified,
        "{:#?}",
        report.findings
    );
}

/// Its promises could be recorded by nobody afterwards, and no BOOT would tell them as lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_leaves_has_recorded_what_it_promised() {
    let (mut cluster, leaves, ..) = deferred::with_a_body("max_staleness_ms = 120000\n").await;
    deferred::leave_alone(&mut cluster, leaves);
    let mut promises = Vec::new();
    for _ in 0..5 {
        let (header, _) = deferred::download(&cluster.nodes[leaves], "D-1")
            .await
            .unwrap();
        promises.push(deferred::promise_of(&header));
    }
    // The command waits for a leader, and finds what was promised still there, or just drained.
    for node in cluster.nodes.iter_mut().filter(|node| node.is_down()) {
        node.start();
    }
    cluster.wait_ready().await;
    let id = cluster.nodes[leaves].id.to_string();
    let removed = cluster.muniment(&["cluster", "remove", &id]).await;
    println!("{}", removed.unwrap());
    let bundle = cluster.export((leaves + 1) % 3).await;
    for promise in &promises {
        let audited = deferred::judge(&cluster, promise, &bundle);
        assert_eq!(audited.exit_code(), 0, "{audited}");
        assert!(audited.to_json().contains("\"fate\":\"KEPT\""));
    }
    // What still runs promises nothing more.
    let more = deferred::download(&cluster.nodes[leaves], "D-1").await;
    assert!(more.is_err(), "a node that has left has promised");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_node_is_removed_when_it_is_said_that_its_promises_are_lost() {
    let mut cluster = Cluster::start().await;
    cluster.join("zone-4", &[]).await;
    let leader = cluster.leader().await;
    let dead = (leader + 1) % 3;
    cluster.nodes[dead].kill();
    let id = cluster.nodes[dead].id.to_string();
    let replace = ["cluster", "replace", &id, "4"];
    let why = cluster.muniment(&replace).await.unwrap_err();
    assert!(why.contains("--accept lost-outbox"), "{why}");
    let prepared = modes(&cluster.nodes[leader]).await.len();
    assert_eq!(prepared, 2, "what is refused leaves no record");
    // Nobody leaves by this one.
    let slip = ["cluster", "promote", "4", "--accept", "lost-outbox"];
    let why = cluster.muniment(&slip).await.unwrap_err();
    assert!(why.contains("nobody leaves"), "{why}");
    let accepted = [&replace[..], &["--accept", "lost-outbox"]].concat();
    println!("{}", cluster.muniment(&accepted).await.unwrap());
    let modes = modes(&cluster.nodes[leader]).await;
    let [.., prepare, done] = &modes[..] else {
        panic!("{modes:?}");
    };
    assert_eq!(done.phase, Phase::Done);
    let words = format!("replace node {id} by node 4; accepted: lost-outbox");
    assert_eq!(prepare.reason, words);
}
