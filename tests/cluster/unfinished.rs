//! Downloads that do not come to their end: what the log says of them.

use crate::harness::{Cluster, LOOK_PAUSE, Node, SOON, body, download, header, issue, upload};
use muniment_evidence::opening::{Delivered, Document, DownloadEndDocument};
use muniment_proto::v1;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;
use tonic::Code;
use v1::write_level::Level;

/// Callers that go away, one after the other at each node.
const CANCELLED: u64 = 120;
/// ... within this time: before, while and after their record is made.
const CANCELLED_WITHIN_MS: u64 = 12;

/// The indexes of the downloads, and what was said of their ends.
async fn ends(node: &Node) -> (Vec<u64>, BTreeMap<u64, Delivered>) {
    let (mut downloads, mut ended) = (Vec::new(), BTreeMap::new());
    let mut request = v1::ListRecordsRequest {
        kinds: vec!["DOWNLOAD".into(), "DOWNLOAD_END".into()],
        ..Default::default()
    };
    loop {
        let page = node.evidence().list_records(request.clone()).await;
        let page = page.unwrap().into_inner();
        for record in &page.records {
            match Document::decode(&record.document).unwrap() {
                Document::DownloadEnd(DownloadEndDocument { downloads, .. }) => {
                    ended.extend(downloads.into_iter().map(|d| (d.download.get(), d)));
                }
                _ => downloads.push(record.index),
            }
        }
        request.from_index = page.next_index;
        if page.next_index >= page.log_size {
            return (downloads, ended);
        }
    }
}

/// Without an END the log says "possibly all delivered", of bytes that nobody sent.
#[tokio::test(flavor = "multi_thread")]
async fn a_download_whose_caller_goes_away_has_its_end() {
    let cluster = Cluster::start().await;
    let bytes = body(1, 300_000);
    issue(&cluster.nodes[0], "C-1", "c-1", &bytes)
        .await
        .unwrap();
    for n in 0..CANCELLED {
        let node = &cluster.nodes[n as usize % 3];
        let within = Duration::from_millis(n % CANCELLED_WITHIN_MS);
        // Some are through by then, which is as well.
        let _ = tokio::time::timeout(within, download(node, "C-1")).await;
    }
    let deadline = Instant::now() + SOON;
    loop {
        let (downloads, ended) = ends(&cluster.nodes[0]).await;
        let without = downloads.iter().filter(|at| !ended.contains_key(at));
        let without: Vec<_> = without.collect();
        if without.is_empty() {
            let most = bytes.len() as u64;
            assert!(ended.values().all(|e| e.complete == (e.bytes == most)));
            return;
        }
        assert!(Instant::now() < deadline, "no END: {without:?}");
        tokio::time::sleep(LOOK_PAUSE).await;
    }
}

/// A command that tries again and again, at each node, leaves one record or none.
#[tokio::test(flavor = "multi_thread")]
async fn a_download_whose_level_cannot_be_met_now_is_not_recorded_again_and_again() {
    const TRIES: usize = 4;
    let mut cluster = Cluster::start().await;
    let away = (cluster.leader().await + 1) % 3;
    let bytes = body(2, 3_000);
    let header = v1::UploadHeader {
        level: Some(v1::WriteLevel {
            level: Some(Level::Zones(3)),
        }),
        ..header("U-1", "u-1", &bytes)
    };
    let issued = futures::stream::iter(upload(header, &bytes));
    cluster.nodes[away].invoices().issue(issued).await.unwrap();
    cluster.nodes[away].kill();
    for attempt in 0..TRIES {
        let here = (away + 1 + attempt % 2) % 3;
        let status = download(&cluster.nodes[here], "U-1").await.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    }
    let (downloads, _) = ends(&cluster.nodes[(away + 1) % 3]).await;
    assert!(downloads.len() <= 1, "{downloads:?}");
    cluster.nodes[away].start();
    cluster.wait_ready().await;
    let (_, got, _) = download(&cluster.nodes[away], "U-1").await.unwrap();
    assert_eq!(got, bytes);
}
