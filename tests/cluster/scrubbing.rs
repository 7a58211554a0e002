//! Damage on a node's disk: served from elsewhere, repaired, recorded; found by the scrub.

use crate::harness::{Cluster, Node, SOON, Settings, body, download, issue, metric};
use crate::slow_disk::shim;
use muniment_evidence::ids::NodeId;
use muniment_evidence::opening::{DamageKind, Document, How, ScrubDocument, ScrubOutcome};
use muniment_evidence::report::Verdict;
use muniment_proto::v1;
use std::time::Duration;
use tokio::time::Instant;

/// A chunk of 1 MiB, another, and a half.
const LENGTH: usize = (5 << 20) / 2;
/// Within the second chunk.
const DAMAGED_AT: usize = 3 << 19;

/// The SCRUB records in the log, as one node has them.
async fn scrubs(node: &Node) -> Vec<ScrubDocument> {
    let request = v1::ListRecordsRequest {
        page_size: 1000,
        kinds: vec!["SCRUB".into()],
        ..v1::ListRecordsRequest::default()
    };
    let answer = node.evidence().list_records(request).await.unwrap();
    let records = answer.into_inner().records.into_iter();
    let documents = records.map(|record| match Document::decode(&record.document) {
        Ok(Document::Scrub(scrub)) => scrub,
        other => panic!("{other:?}"),
    });
    documents.collect()
}

async fn wait_scrubs(node: &Node, count: usize) -> Vec<ScrubDocument> {
    let deadline = Instant::now() + SOON;
    loop {
        let found = scrubs(node).await;
        if found.len() >= count {
            return found;
        }
        assert!(Instant::now() < deadline, "{count} SCRUBs: {found:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn wait_metric(node: &Node, name: &str, wanted: impl Fn(f64) -> bool) {
    let deadline = Instant::now() + SOON;
    loop {
        let value = metric(node, name).await;
        if wanted(value) {
            return;
        }
        assert!(Instant::now() < deadline, "{name} stays at {value}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Turns one bit of what the stopped node has of this body, wherever it lies.
fn flip(node: &Node, body: &[u8], at: usize) {
    let wanted = &body[at..at + 64];
    let dir = node.dir.join("data/bodies");
    let mut flipped = 0;
    for entry in std::fs::read_dir(&dir).unwrap() {
        let path = entry.unwrap().path();
        let mut bytes = std::fs::read(&path).unwrap();
        let found = bytes.windows(wanted.len()).position(|w| w == wanted);
        if let Some(found) = found {
            bytes[found + 32] ^= 1;
            std::fs::write(&path, &bytes).unwrap();
            println!("a bit of {} is turned", path.display());
            flipped += 1;
        }
    }
    assert!(flipped > 0, "the bytes lie in no file of {dir:?}");
}

/// Stops a node that holds everything, damages the body on its disk, and starts it again.
/// It is started in between, so that what lay in the write-ahead log goes to its own file.
pub async fn damage(cluster: &mut Cluster, node: usize, body: &[u8]) {
    let size = cluster.settled().await[node].log_size;
    cluster.nodes[node]
        .wait_status("it holds every body", |s| s.body_complete_index >= size)
        .await;
    cluster.nodes[node].terminate();
    cluster.nodes[node].start();
    cluster.wait_ready().await;
    cluster.nodes[node].terminate();
    flip(&cluster.nodes[node], body, DAMAGED_AT);
    cluster.nodes[node].start();
    cluster.wait_ready().await;
}

/// A reader of a damaged body sees nothing of it; the next one is served from the disk.
#[tokio::test(flavor = "multi_thread")]
async fn i10_a_damaged_chunk_is_served_from_another_holder_repaired_and_recorded() {
    let mut cluster = Cluster::start().await;
    let at = (cluster.leader().await + 1) % 3;
    let bytes = body(1, LENGTH);
    issue(&cluster.nodes[at], "D-1", "d-1", &bytes)
        .await
        .unwrap();
    damage(&mut cluster, at, &bytes).await;
    let node = &cluster.nodes[at];
    let (_, read, _) = download(node, "D-1").await.unwrap();
    assert_eq!(read, bytes);
    let found = wait_scrubs(node, 2).await;
    assert_eq!(found.len(), 2, "{found:?}");
    let first = ScrubDocument {
        outcome: ScrubOutcome::Quarantined,
        ..found[0]
    };
    assert_eq!(found[0], first);
    assert_eq!((first.chunk, first.how), (Some(1), How::Read));
    assert!(matches!(
        first.found,
        DamageKind::Unreadable | DamageKind::Mismatch
    ));
    let ScrubOutcome::Repaired { from } = found[1].outcome else {
        panic!("{found:?}");
    };
    assert_ne!(from, NodeId::new(node.id));
    assert_eq!(
        metric(node, "muniment_chunks_quarantined_total ").await,
        1.0
    );
    assert_eq!(metric(node, "muniment_bodies_repaired_total ").await, 1.0);
    wait_metric(node, "muniment_bodies_missing ", |missing| missing == 0.0).await;
    // From the disk, not from what was cached: the node has not read it since its start.
    cluster.nodes[at].kill();
    cluster.nodes[at].start();
    cluster.wait_ready().await;
    let node = &cluster.nodes[at];
    let (header, read, _) = download(node, "D-1").await.unwrap();
    assert_eq!((header.body_from, &read), (node.id, &bytes));
    assert_eq!(
        metric(node, "muniment_chunks_quarantined_total ").await,
        0.0
    );
    let size = cluster.settled().await[at].log_size;
    node.wait_status("it holds every body again", |s| {
        s.body_complete_index >= size
    })
    .await;
    let report = cluster.verify(&cluster.export(at).await);
    assert_eq!(report.verdict(), Verdict::Verified, "{report}");
    assert_eq!(scrubs(node).await.len(), 2);
}

/// A disk says far more often that a sector cannot be read than it lies about one. That was
/// taken for the end of the disk: the node stopped, and again after every start.
#[tokio::test(flavor = "multi_thread")]
async fn i10_sectors_that_cannot_be_read_are_a_bad_copy() {
    let dir = tempfile::tempdir().unwrap();
    let Some(library) = shim(dir.path()) else {
        return;
    };
    let prepare = |nodes: &mut [Node]| {
        for node in nodes {
            node.preload = Some(library.clone());
        }
    };
    let mut cluster = Cluster::start_prepared(Settings::default(), prepare).await;
    let at = (cluster.leader().await + 1) % 3;
    let bytes = body(1, LENGTH);
    issue(&cluster.nodes[at], "U-1", "u-1", &bytes)
        .await
        .unwrap();
    let size = cluster.settled().await[at].log_size;
    cluster.nodes[at]
        .wait_status("it holds every body", |s| s.body_complete_index >= size)
        .await;
    // What lay in the write-ahead log goes to its own file, and nothing of it is in memory.
    for _ in 0..2 {
        cluster.nodes[at].terminate();
        cluster.nodes[at].start();
        cluster.wait_ready().await;
    }
    let node = &cluster.nodes[at];
    std::fs::write(node.control(), "unreadable").unwrap();
    let (_, read, _) = download(node, "U-1").await.unwrap();
    assert_eq!(read, bytes);
    // Each of its three chunks is set aside, and brought from another holder.
    let found = wait_scrubs(node, 6).await;
    let unreadable = found.iter().filter(|s| s.found == DamageKind::Unreadable);
    assert_eq!(unreadable.count(), 6, "{found:?}");
    let repaired = |s: &&ScrubDocument| matches!(s.outcome, ScrubOutcome::Repaired { .. });
    assert_eq!(found.iter().filter(repaired).count(), 3, "{found:?}");
    wait_metric(node, "muniment_bodies_missing ", |missing| missing == 0.0).await;
    assert!(!node.log().contains("a promise is broken"), "it stopped");
    // The good bytes lie elsewhere on the disk: it serves them itself.
    let (header, read, _) = download(node, "U-1").await.unwrap();
    assert_eq!((header.body_from, &read), (node.id, &bytes));
}

/// Nobody reads the body. An operator asks for a scrub, and that finds it.
#[tokio::test(flavor = "multi_thread")]
async fn i10_a_scrub_finds_and_mends_damage_that_nobody_read() {
    let settings = Settings {
        sections: "[repair]\nscrub_bytes_per_s = 67108864".into(),
        ..Settings::default()
    };
    let mut cluster = Cluster::start_with(settings).await;
    let at = (cluster.leader().await + 1) % 3;
    let bytes = body(1, LENGTH);
    for (number, body) in [("S-1", &body(2, 5000)), ("S-2", &bytes)] {
        issue(&cluster.nodes[at], number, number, body)
            .await
            .unwrap();
    }
    damage(&mut cluster, at, &bytes).await;
    let node = &cluster.nodes[at];
    let request = v1::ScrubRequest {};
    let answer = node.cluster().scrub(request).await.unwrap().into_inner();
    assert_eq!((answer.started, answer.node), (true, node.id));
    let found = wait_scrubs(node, 2).await;
    assert_eq!(found.len(), 2, "{found:?}");
    assert_eq!((found[0].chunk, found[0].how), (Some(1), How::Scrub));
    wait_metric(node, "muniment_scrub_passes_total ", |passes| passes >= 1.0).await;
    assert!(metric(node, "muniment_scrub_bytes_total ").await > LENGTH as f64);
    assert_eq!(metric(node, "muniment_scrub_position ").await, 1.0);
    // All is well: a further pass finds nothing.
    node.cluster().scrub(request).await.unwrap();
    wait_metric(node, "muniment_scrub_passes_total ", |passes| passes >= 2.0).await;
    assert_eq!(
        metric(node, "muniment_chunks_quarantined_total ").await,
        1.0
    );
    let (header, read, _) = download(node, "S-2").await.unwrap();
    assert_eq!((header.body_from, read), (node.id, bytes));
    let report = cluster.verify(&cluster.export(at).await);
    assert_eq!(report.verdict(), Verdict::Verified, "{report}");
}

/// Two of three copies are bad and the third is away: nobody hands out wrong bytes, and
/// nobody says that the body is held. When the third returns, both are repaired.
#[tokio::test(flavor = "multi_thread")]
async fn i10_a_node_vouches_for_nothing_above_a_body_that_is_damaged_here() {
    let mut cluster = Cluster::start().await;
    let bytes = body(1, LENGTH);
    let issued = issue(&cluster.nodes[0], "V-1", "v-1", &bytes)
        .await
        .unwrap();
    let record = issued.invoice.unwrap().record_index;
    for node in [0, 1] {
        damage(&mut cluster, node, &bytes).await;
    }
    cluster.nodes[2].kill();
    // The two are a quorum: what fails below fails for want of bytes.
    let deadline = Instant::now() + SOON;
    while let Err(why) = issue(&cluster.nodes[0], "V-2", "v-2", &body(2, 3000)).await {
        assert!(Instant::now() < deadline, "{why:?}");
    }
    assert!(download(&cluster.nodes[0], "V-1").await.is_err());
    for node in &cluster.nodes[..2] {
        node.wait_status("it does not say that it holds the body", |s| {
            s.body_complete_index <= record && s.log_size > record
        })
        .await;
        wait_metric(node, "muniment_bodies_missing ", |missing| missing == 1.0).await;
    }
    cluster.nodes[2].start();
    cluster.wait_ready().await;
    for node in &cluster.nodes[..2] {
        node.wait_status("it holds every body again", |s| {
            s.body_complete_index == s.log_size
        })
        .await;
    }
    let (header, read, _) = download(&cluster.nodes[0], "V-1").await.unwrap();
    assert_eq!((header.body_from, read), (cluster.nodes[0].id, bytes));
    let found = scrubs(&cluster.nodes[0]).await;
    assert!(found.iter().any(|f| f.how == How::Serve), "{found:?}");
    let mended = |f: &&ScrubDocument| f.outcome != ScrubOutcome::Quarantined;
    assert_eq!(found.iter().filter(mended).count(), 2, "{found:?}");
}

/// Two copies are bad and the third is gone for good. An operator says so on record, the ledger
/// goes on, and who asks for the bytes is told the truth.
#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_nobody_has_is_declared_lost_and_the_ledger_goes_on() {
    let mut cluster = Cluster::start().await;
    let bytes = body(1, LENGTH);
    issue(&cluster.nodes[0], "L-1", "l-1", &bytes)
        .await
        .unwrap();
    let lost = [
        "cluster",
        "declare-lost",
        "L-1",
        "--reason",
        "two disks and a fire",
    ];
    let held = cluster.muniment(&lost).await.unwrap_err();
    assert!(held.contains("has these bytes"), "{held}");
    for node in [0, 1] {
        damage(&mut cluster, node, &bytes).await;
    }
    cluster.nodes[2].kill();
    cluster.leader().await;
    for node in &cluster.nodes[..2] {
        // Nobody knows before somebody reads it.
        assert!(download(node, "L-1").await.is_err());
        node.wait_status("it does not say that it holds the body", |s| {
            s.body_complete_index < s.log_size
        })
        .await;
    }
    let said = cluster.muniment(&lost).await.unwrap();
    assert!(
        said.contains("BODY_LOST") && said.contains("declared"),
        "{said}"
    );
    for node in &cluster.nodes[..2] {
        node.wait_status("it vouches for all the rest", |s| {
            s.body_complete_index == s.log_size
        })
        .await;
    }
    let told = download(&cluster.nodes[0], "L-1").await.unwrap_err();
    assert!(told.to_string().contains("as record"), "{told}");
    let again = cluster.muniment(&lost).await.unwrap_err();
    assert!(again.contains("NOT_DUE"), "{again}");
}
