//! Ends of downloads become records, each of one tenant, and each download has one.

use super::download_ends::{DownloadEnds, record_download};
use super::lane::Recorder;
use super::lane_tests::{founded, lane_of, size};
use super::{Intent, Recorded};
use crate::domain::ids::RecordIndex;
use crate::stop::Stop;
use muniment_evidence::digest::Digest;
use muniment_evidence::opening::{Delivered, Document, DownloadDocument, DownloadEndDocument};
use muniment_evidence::record::{Outcome, Reason};

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

fn download() -> Intent {
    Intent::system(Document::Download(DownloadDocument {
        tenant: "default".into(),
        uid: [1; 16],
        role: "original".into(),
        sha256: Digest([2; 32]),
        chunk_root: Digest([3; 32]),
        start: 0,
        end: 9,
        length: 9,
        deadline_ms: None,
    }))
}

/// Without an END the log would say "possibly all delivered" of a download of which no
/// byte was sent: callers go away before, while and after their record is made.
#[tokio::test(start_paused = true)]
async fn a_download_whose_caller_goes_away_ends_with_no_bytes() {
    let (recorder, mut queue) = Recorder::unserved(8);
    let ends = DownloadEnds::start(recorder.clone(), &Stop::default());
    let recorded = Recorded {
        index: RecordIndex::new(7),
        outcome: Outcome::Ok,
    };
    for answered_first in [false, true] {
        let call = tokio::spawn(record_download(
            recorder.clone(),
            ends.clone(),
            "t".into(),
            download(),
        ));
        let request = queue.recv().await.unwrap();
        if answered_first {
            request.answer(recorded);
            let (_, download) = call.await.unwrap().unwrap();
            let mut download = download.unwrap();
            download.sent = 4;
            drop(download);
        } else {
            call.abort();
            assert!(call.await.is_err_and(|gone| gone.is_cancelled()));
            request.answer(recorded);
        }
        let end = queue.recv().await.unwrap();
        let expected = Delivered {
            download: recorded.index,
            bytes: if answered_first { 4 } else { 0 },
            complete: false,
        };
        assert_eq!(
            end.intent.document,
            Document::DownloadEnd(DownloadEndDocument {
                tenant: "t".into(),
                downloads: vec![expected]
            })
        );
    }
    // What was refused was no download, and has no end.
    let call = tokio::spawn(record_download(
        recorder.clone(),
        ends.clone(),
        "t".into(),
        download(),
    ));
    let refused = Recorded {
        outcome: Outcome::Refused(Reason::NotFound),
        ..recorded
    };
    queue.recv().await.unwrap().answer(refused);
    let (answer, download) = call.await.unwrap().unwrap();
    assert!(answer == refused && download.is_none());
    ends.flush().await;
    assert!(queue.try_recv().is_err());
}
