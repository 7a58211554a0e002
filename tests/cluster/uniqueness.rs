//! One identity is issued once, whoever asks, wherever, however often.

use crate::harness::{Cluster, body, header, issue, key, upload};
use muniment_evidence::report::Verdict;
use muniment_proto::v1;
use std::collections::HashSet;
use tonic::Code;
use tonic_types::StatusExt as _;

const RACERS: u64 = 24;

/// Quarter end on two platforms at once: both send invoice 7, with different bytes.
#[tokio::test(flavor = "multi_thread")]
async fn racing_with_other_content_one_wins_and_the_others_are_told() {
    let cluster = Cluster::start().await;
    let race = (0..RACERS).map(|n| {
        let node = &cluster.nodes[n as usize % 3];
        async move { issue(node, "RACE", &format!("race-{n}"), &body(n, 5_000)).await }
    });
    let outcomes = futures::future::join_all(race).await;
    let won = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    assert_eq!(won, 1, "{outcomes:?}");
    for status in outcomes.iter().filter_map(|outcome| outcome.as_ref().err()) {
        assert_eq!(status.code(), Code::AlreadyExists, "{status:?}");
        let info = status.get_details_error_info().unwrap();
        assert_eq!(info.reason, "IDENTITY_TAKEN");
        assert_eq!(info.metadata["stored_sha256"].len(), 64);
    }
    let report = cluster.verify(&cluster.export(0).await);
    assert_eq!(report.verdict(), Verdict::Verified, "{report}");
}

/// A retry storm: the same invoice, the same bytes, through every node.
#[tokio::test(flavor = "multi_thread")]
async fn racing_with_the_same_content_all_get_the_first_outcome() {
    let cluster = Cluster::start().await;
    let bytes = body(7, 40_000);
    let race = (0..RACERS).map(|n| {
        let (node, bytes) = (&cluster.nodes[n as usize % 3], &bytes);
        // Half of them repeat one request id, half come by their own.
        let request = if n % 2 == 0 {
            "same".into()
        } else {
            format!("own-{n}")
        };
        async move { issue(node, "SAME", &request, bytes).await.unwrap() }
    });
    let outcomes = futures::future::join_all(race).await;
    let fresh = outcomes.iter().filter(|outcome| !outcome.repeated).count();
    assert_eq!(fresh, 1);
    let uids: HashSet<_> = outcomes
        .iter()
        .map(|outcome| outcome.invoice.as_ref().unwrap().uid.clone())
        .collect();
    assert_eq!(uids.len(), 1);
    let receipts: HashSet<_> = outcomes
        .iter()
        .map(|outcome| outcome.receipt.as_ref().unwrap().bytes.clone())
        .collect();
    assert_eq!(
        receipts.len(),
        1,
        "the first receipt is the same bytes from any node"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_id_means_one_thing_for_ever() {
    let cluster = Cluster::start().await;
    let node = &cluster.nodes[1];
    let first = issue(node, "A", "r-1", &body(1, 100)).await.unwrap();
    assert!(!first.repeated);
    // What a node has not applied yet it cannot compare: there it would be a DUPLICATE_OF.
    let seen = v1::GetRequest {
        key: key("A"),
        read: None,
    };
    cluster.nodes[2].invoices().get(seen).await.unwrap();
    let again = issue(&cluster.nodes[2], "A", "r-1", &body(1, 100))
        .await
        .unwrap();
    assert!(again.repeated);
    assert_eq!(again.receipt, first.receipt);
    // A repetition that does not say its digest is compared: neither stored nor recorded again.
    for node in [node, node, &cluster.nodes[2]] {
        let bytes = body(1, 100);
        let mut header = header("A", "r-1", &bytes);
        header.sha256.clear();
        let messages = futures::stream::iter(upload(header, &bytes));
        let again = node.invoices().issue(messages).await.unwrap().into_inner();
        assert!(again.repeated && again.receipt == first.receipt);
    }
    let about = v1::ListRecordsRequest {
        kinds: vec!["ISSUE".into()],
        ..Default::default()
    };
    let issues = node.evidence().list_records(about).await.unwrap();
    assert_eq!(issues.into_inner().records.len(), 1);
    // Other content is known before the first byte, or by comparing the bytes.
    for announced in [true, false] {
        let bytes = body(2, 100);
        let mut header = header("B", "r-1", &bytes);
        if !announced {
            header.sha256.clear();
        }
        let messages = upload(header, &bytes);
        let refused = node.invoices().issue(futures::stream::iter(messages)).await;
        let status = refused.unwrap_err();
        assert_eq!(status.code(), Code::AlreadyExists, "{status:?}");
        let info = status.get_details_error_info().unwrap();
        assert_eq!(info.reason, "REQUEST_ID_REUSED");
    }
    let by_request = v1::GetRequest {
        key: Some(v1::InvoiceKey {
            key: Some(v1::invoice_key::Key::RequestId(
                v1::invoice_key::RequestIdKey {
                    tenant: String::new(),
                    request_id: "r-1".into(),
                },
            )),
        }),
        read: None,
    };
    let found = node.invoices().get(by_request).await.unwrap().into_inner();
    assert_eq!(found.invoice.unwrap().uid, first.invoice.unwrap().uid);
    let missing = v1::GetRequest {
        key: key("B"),
        read: None,
    };
    let status = node.invoices().get(missing).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
}

/// A caller that hangs up right after its last byte, and asks again.
#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_vanishes_leaves_nothing_half_done() {
    let cluster = Cluster::start().await;
    let bytes = body(3, 30_000);
    for attempt in 0..20u64 {
        let (number, request) = (format!("V-{attempt}"), format!("v-{attempt}"));
        let node = &cluster.nodes[attempt as usize % 3];
        let call = issue(node, &number, &request, &bytes);
        let patience = std::time::Duration::from_millis(attempt);
        let cut_off = tokio::time::timeout(patience, call).await;
        let other = &cluster.nodes[(attempt as usize + 1) % 3];
        let done = issue(other, &number, &request, &bytes).await.unwrap();
        if let Ok(Ok(first)) = cut_off {
            assert_eq!(first.receipt, done.receipt);
        }
    }
    cluster.settled().await;
    let report = cluster.verify(&cluster.export(2).await);
    assert_eq!(report.verdict(), Verdict::Verified, "{report}");
}
