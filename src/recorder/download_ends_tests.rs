//! Ends of downloads become records, each of one tenant.

use super::download_ends::DownloadEnds;
use super::lane_tests::{founded, lane_of, size};
use crate::domain::ids::RecordIndex;
use muniment_evidence::opening::{Delivered, Document};

/// A record that spoke of two tenants could be shown to neither.
#[tokio::test(start_paused = true)]
async fn no_download_end_speaks_of_two_tenants() {
    let cluster = founded().await;
    let node = cluster.node(cluster.leader().await);
    let (_, _, recorder) = lane_of(&cluster, node.node).await;
    let ends = DownloadEnds::start(recorder, &node.stop);
    let before = size(node).await;
    for (tenant, download) in [("a", 1), ("b", 2), ("a", 3)] {
        let delivered = Delivered {
            download: RecordIndex::new(download),
            bytes: 0,
            complete: false,
        };
        ends.note(tenant.to_owned(), delivered).await;
    }
    ends.flush().await;
    let mut said = Vec::new();
    for index in before..size(node).await {
        let index = RecordIndex::new(index);
        let openings = node.state.read(|tables| tables.openings(index));
        let (document, _) = openings.unwrap();
        match Document::decode(&document.expect("it is kept").bytes) {
            Ok(Document::DownloadEnd(d)) => said.push((d.tenant, d.downloads.len())),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(said, [("a".to_owned(), 2), ("b".to_owned(), 1)]);
}
