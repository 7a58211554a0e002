//! Bad input, in one table; and what is refused leaves nothing behind.

use crate::harness::{Cluster, Node, Settings, body, download_range, header, issue, key, upload};
use muniment_evidence::statement::Kind;
use muniment_proto::v1;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// The field that a refusal names.
fn field(status: &Status) -> String {
    let refused = status.get_details_bad_request();
    let first = refused.and_then(|refused| refused.field_violations.into_iter().next());
    first.map(|violation| violation.field).unwrap_or_default()
}

/// What is wrong, what makes a header so, and the code and the field of the refusal.
type BadHeader = (&'static str, fn(&mut v1::UploadHeader), Code, &'static str);

/// Headers that say of the invoice what cannot be.
const BAD_METADATA: &[BadHeader] = &[
    (
        "no request id",
        |h| h.request_id.clear(),
        Code::InvalidArgument,
        "request_id",
    ),
    (
        "no metadata",
        |h| h.metadata = None,
        Code::InvalidArgument,
        "metadata",
    ),
    (
        "no identity",
        |h| h.metadata.as_mut().unwrap().identity = None,
        Code::InvalidArgument,
        "metadata.identity",
    ),
    (
        "no number",
        |h| id(h).number.clear(),
        Code::InvalidArgument,
        "metadata.identity.number",
    ),
    (
        "a number with a control character",
        |h| id(h).number = "a\u{7}".into(),
        Code::InvalidArgument,
        "metadata.identity.number",
    ),
    (
        "a number too long",
        |h| id(h).number = "9".repeat(257),
        Code::InvalidArgument,
        "metadata.identity.number",
    ),
    (
        "unknown tenant",
        |h| id(h).tenant = "nobody".into(),
        Code::NotFound,
        "",
    ),
    (
        "a date that does not exist",
        |h| h.metadata.as_mut().unwrap().issue_date = "2026-02-30".into(),
        Code::InvalidArgument,
        "metadata.issue_date",
    ),
    (
        "a currency that is none",
        |h| {
            h.metadata.as_mut().unwrap().total = Some(v1::Money {
                minor_units: 1,
                currency: "euro".into(),
                exponent: 2,
            });
        },
        Code::InvalidArgument,
        "metadata.total.currency",
    ),
];

/// Headers that do not fit the bytes that follow, or ask for a level there is none of.
const BAD_CONTENT: &[BadHeader] = &[
    (
        "oversized body",
        |h| h.length = 100_001,
        Code::InvalidArgument,
        "length",
    ),
    (
        "longer than announced",
        |h| h.length = 999,
        Code::InvalidArgument,
        "length",
    ),
    (
        "truncated",
        |h| h.length = 1001,
        Code::InvalidArgument,
        "length",
    ),
    (
        "digest of other bytes",
        |h| h.sha256 = vec![1; 32].into(),
        Code::InvalidArgument,
        "sha256",
    ),
    (
        "digest of another length",
        |h| h.sha256 = vec![1; 31].into(),
        Code::InvalidArgument,
        "sha256",
    ),
    (
        "a level that cannot be met",
        |h| {
            h.level = Some(v1::WriteLevel {
                level: Some(v1::write_level::Level::Zones(4)),
            });
        },
        Code::InvalidArgument,
        "level",
    ),
    (
        "a level of no zones",
        |h| {
            h.level = Some(v1::WriteLevel {
                level: Some(v1::write_level::Level::Zones(0)),
            });
        },
        Code::InvalidArgument,
        "level.zones",
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn every_bad_upload_is_refused_with_its_field() {
    let settings = Settings {
        limits: "body_bytes = 100000\nidle_timeout_ms = 300",
        ..Settings::default()
    };
    let cluster = Cluster::start_with(settings).await;
    let node = &cluster.nodes[0];
    let bytes = body(1, 1000);
    for (what, change, code, named) in BAD_METADATA.iter().chain(BAD_CONTENT) {
        let mut header = header("BAD", "bad", &bytes);
        change(&mut header);
        let messages = upload(header, &bytes);
        let refused = node.invoices().issue(futures::stream::iter(messages)).await;
        let status = refused.unwrap_err();
        assert_eq!(status.code(), *code, "{what}: {status:?}");
        assert_eq!(field(&status), *named, "{what}: {status:?}");
    }
    refuses_messages_out_of_order(node, &bytes).await;
    // Nothing of all that took effect or left a record.
    let report = cluster.verify(&cluster.export(0).await);
    let issues = report
        .counts
        .rows()
        .filter(|(kind, _)| *kind == Kind::Issue);
    assert_eq!(
        issues.flat_map(|(_, counts)| counts).sum::<u64>(),
        0,
        "{report}"
    );
    let done = issue(node, "BAD", "bad", &bytes).await.unwrap();
    assert!(!done.repeated);
}

/// Messages that are each as they should be, and are not together.
async fn refuses_messages_out_of_order(node: &Node, bytes: &[u8]) {
    // A chunk before the header; a second header; no message at all.
    for messages in [
        upload(header("BAD", "bad", bytes), bytes).split_off(1),
        upload(header("BAD", "bad", bytes), bytes)
            .into_iter()
            .cycle()
            .take(3)
            .collect(),
        Vec::new(),
    ] {
        let refused = node.invoices().issue(futures::stream::iter(messages)).await;
        let status = refused.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    }
    // One message over 4 MiB: what tonic answers, and never INTERNAL.
    let mut huge = upload(header("BAD", "bad", bytes), bytes);
    huge[1].part = Some(v1::issue_request::Part::Chunk(vec![0; 5 << 20].into()));
    let status = node
        .invoices()
        .issue(futures::stream::iter(huge))
        .await
        .unwrap_err();
    assert!(
        matches!(status.code(), Code::OutOfRange | Code::InvalidArgument),
        "{status:?}"
    );
    // A caller that stalls is let go.
    let first = upload(header("BAD", "bad", bytes), bytes).remove(0);
    let stalled =
        futures::StreamExt::chain(futures::stream::iter([first]), futures::stream::pending());
    let status = node.invoices().issue(stalled).await.unwrap_err();
    assert_eq!(field(&status), "chunk", "{status:?}");
}

fn id(header: &mut v1::UploadHeader) -> &mut v1::Identity {
    header.metadata.as_mut().unwrap().identity.as_mut().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_bad_question_is_refused_with_its_field() {
    let cluster = Cluster::start().await;
    let node = &cluster.nodes[2];
    issue(node, "Q", "q", &body(1, 1000)).await.unwrap();
    let get = |key| {
        let request = v1::GetRequest { key, read: None };
        async move { node.invoices().get(request).await.unwrap_err() }
    };
    let uid = |text: &str| {
        Some(v1::InvoiceKey {
            key: Some(v1::invoice_key::Key::Uid(text.into())),
        })
    };
    let status = get(None).await;
    assert_eq!(
        (status.code(), field(&status)),
        (Code::InvalidArgument, "key".into())
    );
    let status = get(uid("not a uuid")).await;
    assert_eq!(field(&status), "key.uid");
    let status = get(uid("01890000-0000-7000-8000-000000000000")).await;
    assert_eq!(status.code(), Code::NotFound);
    let status = get(key("nothing")).await;
    assert_eq!(status.code(), Code::NotFound);

    for (start, end) in [(5, 4), (0, 1001), (1001, 1001)] {
        let refused = download_range(node, "Q", start, end).await;
        let status = refused
            .err()
            .unwrap_or_else(|| panic!("{start}..{end} was served"));
        assert_eq!(
            status.code(),
            Code::InvalidArgument,
            "{start}..{end}: {status:?}"
        );
        assert_eq!(field(&status), "range");
    }

    let list = |request| async move { node.invoices().list(request).await.unwrap_err() };
    let status = list(v1::ListRequest {
        page_size: 1001,
        ..v1::ListRequest::default()
    })
    .await;
    assert_eq!(field(&status), "page_size");
    let status = list(v1::ListRequest {
        cursor: "nonsense".into(),
        ..v1::ListRequest::default()
    })
    .await;
    assert_eq!(field(&status), "cursor");
    let status = list(v1::ListRequest {
        month: "November".into(),
        ..v1::ListRequest::default()
    })
    .await;
    assert_eq!(field(&status), "month");
    let status = list(v1::ListRequest {
        tenant: "nobody".into(),
        ..v1::ListRequest::default()
    })
    .await;
    assert_eq!(status.code(), Code::NotFound);

    let export = |from_index, to_index| {
        let request = v1::ExportRequest {
            from_index,
            to_index,
            ..Default::default()
        };
        async move { node.evidence().export(request).await.unwrap_err() }
    };
    assert_eq!(field(&export(5, 4).await), "range");
    assert_eq!(field(&export(0, 1_000_000).await), "range");
    let request = v1::GetReceiptRequest {
        what: Some(v1::get_receipt_request::What::RecordIndex(1_000_000)),
        ..Default::default()
    };
    let status = node.evidence().get_receipt(request).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    let init = v1::InitRequest {
        origin: crate::harness::ORIGIN.into(),
        members: Vec::new(),
        ..Default::default()
    };
    let status = node.cluster().init(init).await.unwrap_err();
    assert_eq!(field(&status), "members");
    let transfer = v1::TransferRequest { to: 99 };
    let leader = cluster.leader().await;
    let status = cluster.nodes[leader]
        .cluster()
        .transfer(transfer)
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
}
