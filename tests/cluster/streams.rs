//! Evidence for machines: lists, checkpoints as they come, bundles whole and in part.

use crate::harness::{Cluster, Node, SOON, body, download, header, issue, key, upload};
use muniment_client::v1;
use muniment_evidence::bundle::{BundleParser, Frame, MAGIC};
use muniment_evidence::digest::Digest;
use muniment_evidence::ids::{RecordIndex, TreeSize};
use muniment_evidence::note::{Checkpoint, Note};
use muniment_evidence::record::Record;
use muniment_evidence::report::Verdict;
use muniment_evidence::statement::Kind;
use muniment_evidence::tree;
use tonic::Code;

async fn records(node: &Node, request: v1::ListRecordsRequest) -> v1::ListRecordsResponse {
    let answer = node.evidence().list_records(request).await;
    answer.unwrap().into_inner()
}

fn kinds(answer: &v1::ListRecordsResponse) -> Vec<Kind> {
    let kind = |record: &v1::LogRecord| Record::decode(&record.record).unwrap().statement.kind;
    answer.records.iter().map(kind).collect()
}

async fn export(node: &Node, request: v1::ExportRequest) -> Vec<u8> {
    let mut stream = node.evidence().export(request).await.unwrap().into_inner();
    let mut bytes = Vec::new();
    while let Some(piece) = stream.message().await.unwrap() {
        bytes.extend_from_slice(&piece.bytes);
    }
    bytes
}

fn frames(bytes: &[u8]) -> Vec<Frame> {
    let mut parser = BundleParser::new();
    parser.push(bytes);
    let mut frames = Vec::new();
    while let Some(frame) = parser.next().unwrap() {
        frames.push(frame);
    }
    parser.finish().unwrap();
    frames
}

/// Where the first frames of a bundle end.
fn end_of(bytes: &[u8], frames: u64) -> usize {
    let mut at = MAGIC.len();
    for _ in 0..frames {
        let length = bytes[at + 1..at + 5].try_into().unwrap();
        at += 5 + u32::from_be_bytes(length) as usize;
    }
    at
}

/// Issues some invoices of two issuers, and downloads of each.
async fn busy() -> Cluster {
    let cluster = Cluster::start().await;
    let [a, b, _] = &cluster.nodes[..] else {
        unreachable!("three nodes");
    };
    for n in 0..4u64 {
        let number = format!("S-{n}");
        issue(a, &number, &number, &body(n, 200)).await.unwrap();
        download(b, &number).await.unwrap();
        let mut other = header(&format!("O-{n}"), &format!("o-{n}"), b"another");
        let metadata = other.metadata.as_mut().unwrap();
        metadata.identity.as_mut().unwrap().issuer = "other".into();
        let stream = tokio_stream::iter(upload(other, b"another"));
        b.invoices().issue(stream).await.unwrap();
    }
    cluster
}

#[tokio::test(flavor = "multi_thread")]
async fn records_are_listed_by_range_kind_and_invoice() {
    let cluster = busy().await;
    let size = cluster.settled().await[0].log_size;
    for node in &cluster.nodes {
        let all = records(node, v1::ListRecordsRequest::default()).await;
        assert_eq!(
            (all.records.len() as u64, all.next_index),
            (all.log_size, all.log_size)
        );
        assert!(all.log_size >= size);
        let some = v1::ListRecordsRequest {
            kinds: vec!["ISSUE".into(), "DOWNLOAD".into()],
            page_size: 3,
            ..Default::default()
        };
        // Page by page, none twice and none left out.
        let (mut seen, mut request) = (Vec::new(), some);
        loop {
            let page = records(node, request.clone()).await;
            assert!(page.records.len() <= 3);
            seen.extend(page.records.iter().map(|record| record.index));
            assert!(
                kinds(&page)
                    .iter()
                    .all(|k| matches!(k, Kind::Issue | Kind::Download))
            );
            request.from_index = page.next_index;
            if page.next_index >= page.log_size {
                break;
            }
        }
        assert_eq!(seen.len(), 12);
        assert!(seen.windows(2).all(|pair| pair[0] < pair[1]));
        let about = v1::ListRecordsRequest {
            invoice: key("S-1"),
            ..Default::default()
        };
        let about = records(node, about).await;
        assert_eq!(kinds(&about), [Kind::Issue, Kind::Download]);
        assert!(
            about
                .records
                .iter()
                .all(|record| !record.document.is_empty())
        );
        let bare = v1::ListRecordsRequest {
            invoice: key("S-1"),
            without_openings: true,
            ..Default::default()
        };
        let bare = records(node, bare).await;
        assert!(bare.records.iter().all(|record| record.document.is_empty()));
        let range = v1::ListRecordsRequest {
            from_index: 2,
            to_index: 5,
            ..Default::default()
        };
        let range = records(node, range).await;
        assert_eq!((range.records.len(), range.next_index), (3, 5));
    }
    let unknown = v1::ListRecordsRequest {
        kinds: vec!["NONSENSE".into()],
        ..Default::default()
    };
    let refused = cluster.nodes[0].evidence().list_records(unknown).await;
    assert_eq!(refused.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test(flavor = "multi_thread")]
async fn checkpoints_come_as_the_log_grows_and_each_goes_on_from_the_one_before() {
    let cluster = busy().await;
    let node = &cluster.nodes[2];
    for cosigned in [false, true] {
        let request = v1::WatchCheckpointsRequest {
            above_size: 0,
            every_ms: 10,
            cosigned,
        };
        let mut stream = node
            .evidence()
            .watch_checkpoints(request)
            .await
            .unwrap()
            .into_inner();
        let mut heads: Vec<Checkpoint> = Vec::new();
        for n in 0..3 {
            let number = format!("W-{cosigned}-{n}");
            issue(&cluster.nodes[0], &number, &number, b"bytes")
                .await
                .unwrap();
            let next = tokio::time::timeout(SOON, stream.message()).await.unwrap();
            let next = next.unwrap().unwrap();
            let note = Note::parse(next.note.as_bytes()).unwrap();
            let head = Checkpoint::parse(&note.text).unwrap();
            assert_eq!(head.size, TreeSize::new(next.size));
            if cosigned {
                assert!(note.signatures.len() >= 2, "{}", next.note);
            }
            heads.push(head);
        }
        for pair in heads.windows(2) {
            assert!(pair[0].size < pair[1].size);
            let request = v1::GetConsistencyProofRequest {
                old_size: pair[0].size.get(),
                new_size: pair[1].size.get(),
            };
            let proof = node
                .evidence()
                .get_consistency_proof(request)
                .await
                .unwrap();
            let hashes: Vec<Digest> = proof
                .into_inner()
                .hashes
                .iter()
                .map(|hash| Digest(hash.as_ref().try_into().unwrap()))
                .collect();
            let (old, new) = (&pair[0], &pair[1]);
            assert!(tree::verify_consistency(
                old.size, new.size, &hashes, &old.root, &new.root
            ));
        }
    }
    let backwards = v1::GetConsistencyProofRequest {
        old_size: 5,
        new_size: 4,
    };
    let refused = node.evidence().get_consistency_proof(backwards).await;
    assert_eq!(refused.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test(flavor = "multi_thread")]
async fn bundles_are_cosigned_sliced_selected_and_resumed() {
    let cluster = busy().await;
    cluster.settled().await;
    let node = &cluster.nodes[1];
    // All of it, under a note that members have cosigned.
    let whole = export(node, v1::ExportRequest::default()).await;
    let report = cluster.verify(&whole);
    assert_eq!(report.verdict(), Verdict::Verified, "{report}");
    assert!(report.cosigners.len() >= 2, "{report}");
    // A range that ends where nobody cosigned has a later head, and goes on to it.
    let slice = v1::ExportRequest {
        from_index: 3,
        to_index: 7,
        ..Default::default()
    };
    let bytes = export(node, slice).await;
    let report = cluster.verify(&bytes);
    assert_eq!(report.verdict(), Verdict::Verified, "{report}");
    assert_eq!(
        (report.range, report.counts.total()),
        (Some((RecordIndex::new(3), TreeSize::new(7))), 4)
    );
    assert!(report.cosigners.len() >= 2, "{report}");
    let Frame::Manifest(manifest) = &frames(&bytes)[0] else {
        panic!("a manifest comes first");
    };
    assert!(manifest.head > manifest.end);
    // An issuer's part: its invoices, what became of them, and the system's records.
    let selection = v1::ExportRequest {
        issuer: "other".into(),
        ..Default::default()
    };
    let bytes = export(node, selection).await;
    let report = cluster.verify(&bytes);
    assert_eq!(report.verdict(), Verdict::Verified, "{report}");
    let ok = |kind| {
        let row = report.counts.rows().find(|(of, _)| *of == kind);
        row.map_or(0, |(_, row)| row[0])
    };
    assert_eq!((ok(Kind::Issue), ok(Kind::Download)), (4, 0));
    assert!(ok(Kind::Boot) >= 3);
    // Broken off after any frame before the checkpoint, it goes on at another node, and
    // what came first and what came then is one bundle.
    let Frame::Manifest(manifest) = &frames(&whole)[0] else {
        panic!("a manifest comes first");
    };
    let before_checkpoint = frames(&whole).len() as u64 - 1;
    for skip in [1, 5, before_checkpoint] {
        let rest = v1::ExportRequest {
            to_index: manifest.end.get(),
            head: manifest.head.get(),
            skip_frames: skip,
            ..Default::default()
        };
        let rest = export(&cluster.nodes[0], rest).await;
        let both = [&whole[..end_of(&whole, skip)], &rest].concat();
        let report = cluster.verify(&both);
        assert_eq!(
            report.verdict(),
            Verdict::Verified,
            "from frame {skip}: {report}"
        );
    }
    // By time: nothing was committed before the ledger, everything since.
    let now = v1::ExportRequest {
        from_ms: Some(0),
        to_ms: Some(u64::MAX),
        ..Default::default()
    };
    let report = cluster.verify(&export(node, now).await);
    assert_eq!(report.verdict(), Verdict::Verified, "{report}");
    let before = v1::ExportRequest {
        to_ms: Some(1),
        ..Default::default()
    };
    let refused = node.evidence().export(before).await;
    assert_eq!(refused.unwrap_err().code(), Code::InvalidArgument);
}

/// The whole log, asked for while it grows: it ends where the members have cosigned it,
/// however far that has come meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn the_whole_log_is_exported_while_it_grows() {
    const EXPORTS: usize = 60;
    let cluster = Cluster::start().await;
    let at = cluster.nodes[0].probe();
    let (stop, mut stopped) = tokio::sync::oneshot::channel::<()>();
    let issuing = tokio::spawn(async move {
        let mut n = 0;
        while stopped.try_recv() == Err(tokio::sync::oneshot::error::TryRecvError::Empty) {
            let number = format!("G-{n}");
            issue(&at, &number, &number, &body(n, 100)).await.unwrap();
            n += 1;
        }
    });
    for n in 0..EXPORTS {
        let bundle = cluster.export(n % 3).await;
        let report = cluster.verify(&bundle);
        assert_eq!(report.verdict(), Verdict::Verified, "{report}");
    }
    drop(stop);
    issuing.await.unwrap();
}
