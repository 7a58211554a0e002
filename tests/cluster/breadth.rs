//! Every verb on real nodes: reading from any, changing through any.

use crate::harness::{
    Cluster, Node, SOON, body, cosigned_by_all, download, download_range, header, http, identity,
    issue, key, metric, upload,
};
use muniment_evidence::digest::Digest;
use muniment_evidence::ids::{RecordIndex, TreeSize};
use muniment_evidence::record::{Outcome, Record};
use muniment_evidence::report::Verdict;
use muniment_evidence::verify::Expected;
use muniment_proto::v1;
use std::collections::HashSet;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

fn euro(minor_units: i64) -> Option<v1::Money> {
    Some(v1::Money {
        minor_units,
        currency: "EUR".into(),
        exponent: 2,
    })
}

async fn get(node: &Node, number: &str) -> Result<v1::Invoice, Status> {
    let request = v1::GetRequest {
        key: key(number),
        read: None,
    };
    let answer = node.invoices().get(request).await?.into_inner();
    assert_eq!(answer.answered.unwrap().served_by, node.id);
    Ok(answer.invoice.unwrap())
}

async fn issue_for(
    node: &Node,
    number: &str,
    buyer: &str,
    date: &str,
    total: i64,
) -> v1::IssueResponse {
    let bytes = body(7, 700);
    let mut header = header(number, &format!("r-{number}"), number.as_bytes());
    let metadata = header.metadata.as_mut().unwrap();
    metadata.buyer = Some(v1::Party {
        id: buyer.into(),
        ..v1::Party::default()
    });
    metadata.issue_date = date.into();
    metadata.total = euro(total);
    metadata.alternative_ids = vec![v1::AlternativeId {
        scheme: "verification".into(),
        value: format!("v-{number}"),
    }];
    header.length = bytes.len() as u64;
    header.sha256.clear();
    let messages = upload(header, &bytes);
    let answer = node.invoices().issue(futures::stream::iter(messages)).await;
    answer.unwrap().into_inner()
}

async fn reverse(
    node: &Node,
    target: &str,
    number: &str,
    amount: Option<v1::Money>,
) -> Result<v1::IssueResponse, Status> {
    use v1::reverse_request::Part;
    let bytes = body(9, 300);
    let mut upload = header(number, &format!("r-{number}"), &bytes);
    upload.metadata.as_mut().unwrap().total = amount.clone();
    let header = v1::ReverseHeader {
        upload: Some(upload),
        target: key(target),
        amount,
    };
    let messages = [Part::Header(header), Part::Chunk(bytes.into())]
        .map(|part| v1::ReverseRequest { part: Some(part) });
    let answer = node
        .invoices()
        .reverse(futures::stream::iter(messages))
        .await;
    answer.map(tonic::Response::into_inner)
}

async fn void(node: &Node, number: &str, request: &str) -> Result<v1::VoidResponse, Status> {
    let request = v1::VoidRequest {
        request_id: request.into(),
        key: key(number),
        reason: "sent to the wrong buyer".into(),
    };
    node.invoices()
        .void(request)
        .await
        .map(tonic::Response::into_inner)
}

fn reason(status: &Status) -> String {
    status.get_details_error_info().unwrap().reason
}

#[tokio::test(flavor = "multi_thread")]
async fn reversals_and_voids_follow_the_amounts() {
    use v1::InvoiceStatus::{Issued, PartlyReversed, Reversed, Void};
    let cluster = Cluster::start().await;
    let [a, b, c] = [0, 1, 2].map(|at| &cluster.nodes[at]);
    issue_for(a, "O-1", "buyer", "2026-11-01", 10_000).await;
    assert_eq!(get(c, "O-1").await.unwrap().status(), Issued);
    let part = reverse(b, "O-1", "R-1", euro(4_000)).await.unwrap();
    let part = part.invoice.unwrap();
    let relation = &part.metadata.as_ref().unwrap().references[0];
    assert_eq!(relation.relation, "REVERSES");
    let original = get(c, "O-1").await.unwrap();
    assert_eq!(relation.target, original.uid);
    assert_eq!(original.status(), PartlyReversed);
    assert_eq!(original.reversed_minor_units, 4_000);
    assert_eq!(original.reversed_by, vec![part.uid.clone()]);

    let status = reverse(c, "O-1", "R-2", euro(6_001)).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert_eq!(reason(&status), "REVERSAL_EXCEEDS");
    // It names the invoice that is exceeded, not the one that would exceed it.
    let said = status.message();
    assert!(
        said.contains("invoice O-1 of") && said.contains("10000 EUR"),
        "{said}"
    );
    assert!(!said.contains("R-2"), "{said}");
    let status = void(a, "O-1", "v-1").await.unwrap_err();
    assert_eq!(reason(&status), "ALREADY_REVERSED");
    // Without an amount: all that is left. The same call again is the first outcome.
    let rest = reverse(c, "O-1", "R-3", None).await.unwrap();
    let again = reverse(a, "O-1", "R-3", None).await.unwrap();
    assert!(!rest.repeated && again.repeated);
    assert_eq!(get(b, "O-1").await.unwrap().status(), Reversed);
    let status = reverse(b, "R-3", "R-4", None).await.unwrap_err();
    assert_eq!(reason(&status), "NOT_REVERSIBLE");

    issue_for(a, "O-2", "buyer", "2026-11-01", 500).await;
    let first = void(b, "O-2", "v-2").await.unwrap();
    let again = void(c, "O-2", "v-2").await.unwrap();
    assert!(!first.repeated && again.repeated);
    assert_eq!(first.receipt, again.receipt);
    assert_eq!(get(a, "O-2").await.unwrap().status(), Void);
    assert_eq!(
        reason(&void(a, "O-2", "v-3").await.unwrap_err()),
        "ALREADY_VOID"
    );
    let status = reverse(a, "O-2", "R-5", None).await.unwrap_err();
    assert_eq!(reason(&status), "ALREADY_VOID");
    let report = cluster.verify(&cluster.export(1).await);
    assert_eq!(report.verdict(), Verdict::Verified, "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_complete_and_bound_to_their_index() {
    let cluster = Cluster::start().await;
    let node = &cluster.nodes[1];
    for n in 0..25 {
        let buyer = if n % 5 == 0 { "rare" } else { "common" };
        let date = if n < 20 { "2026-10-05" } else { "2026-11-05" };
        issue_for(
            &cluster.nodes[n % 3],
            &format!("L-{n:02}"),
            buyer,
            date,
            100,
        )
        .await;
    }
    let ask = |change: fn(&mut v1::ListRequest), size, cursor: String| {
        let mut request = v1::ListRequest {
            page_size: size,
            cursor,
            ..v1::ListRequest::default()
        };
        change(&mut request);
        async move { node.invoices().list(request).await.unwrap().into_inner() }
    };
    let numbers = |page: &v1::ListResponse| -> Vec<String> {
        let number = |i: &v1::Invoice| {
            let metadata = i.metadata.clone().unwrap();
            metadata.identity.unwrap().number
        };
        page.invoices.iter().map(number).collect()
    };
    let first = ask(|_| {}, 10, String::new()).await;
    assert_eq!(first.invoices.len(), 10);
    // What comes after the first page was asked for is not in the list.
    issue_for(node, "L-99", "common", "2026-10-05", 100).await;
    void(node, "L-24", "void-24").await.unwrap();
    let second = ask(|_| {}, 10, first.cursor.clone()).await;
    let third = ask(|_| {}, 10, second.cursor.clone()).await;
    assert_eq!(third.complete_until, first.complete_until);
    let all: Vec<String> = [&first, &second, &third]
        .into_iter()
        .flat_map(numbers)
        .collect();
    let expected: Vec<String> = (0..25).map(|n| format!("L-{n:02}")).collect();
    assert_eq!(all, expected);
    assert_eq!(third.invoices[4].status(), v1::InvoiceStatus::Issued);
    assert!(third.cursor.is_empty());

    let rare = ask(|r| r.buyer = "rare".into(), 100, String::new()).await;
    assert_eq!(numbers(&rare), ["L-00", "L-05", "L-10", "L-15", "L-20"]);
    let month = ask(|r| r.month = "2026-11".into(), 100, String::new()).await;
    assert_eq!(month.invoices.len(), 5);
    let voided = ask(
        |r| r.status = v1::InvoiceStatus::Void.into(),
        100,
        String::new(),
    )
    .await;
    assert_eq!(numbers(&voided), ["L-24"]);
    let other = ask(|r| r.issuer = "other".into(), 100, String::new()).await;
    assert!(other.invoices.is_empty() && other.cursor.is_empty());
    let number = ask(|r| r.number = "L-07".into(), 100, String::new()).await;
    assert_eq!(numbers(&number), ["L-07"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_come_whole_in_part_and_by_other_names() {
    let cluster = Cluster::start().await;
    let [a, b, c] = [0, 1, 2].map(|at| &cluster.nodes[at]);
    // One chunk and a bit, so that ranges cross chunks.
    let bytes = body(1, (1 << 20) + 5_000);
    let issued = issue(a, "D-1", "d-1", &bytes).await.unwrap();
    assert!(issued.durability.as_ref().unwrap().zones.len() >= 2);
    for length in [0usize, 1, 1 << 20] {
        let edge = if length == 0 {
            Vec::new()
        } else {
            body(2, length)
        };
        let number = format!("E-{length}");
        issue(b, &number, &number, &edge).await.unwrap();
        assert_eq!(download(c, &number).await.unwrap().1, edge);
    }
    let (header, whole, trailer) = download(b, "D-1").await.unwrap();
    assert_eq!(whole, bytes);
    assert_eq!(trailer.sha256, Digest::of(&[&bytes]).0.to_vec());
    let receipt = header.receipt.unwrap().bytes;
    let digest = Digest::of(&[&bytes]);
    let report = muniment_evidence::verify::receipt(
        &receipt,
        Expected {
            trust: Some(&cluster.trust),
            document: Some((&digest, bytes.len() as u64)),
            ..Expected::default()
        },
    );
    assert!(report.holds(), "{report}");
    let (start, end) = ((1u64 << 20) - 10, (1u64 << 20) + 20);
    let (_, part, trailer) = download_range(c, "D-1", start, end).await.unwrap();
    assert_eq!(part, bytes[start as usize..end as usize]);
    assert_eq!(trailer.length, 30);

    let added = add_rendition(c, "D-1", "xml", b"<invoice/>").await.unwrap();
    assert_eq!(added.invoice.unwrap().renditions.len(), 2);
    let again = add_rendition(a, "D-1", "xml", b"<invoice/>").await.unwrap();
    assert!(again.repeated);
    let status = add_rendition(a, "D-1", "xml", b"<other/>")
        .await
        .unwrap_err();
    assert_eq!(reason(&status), "REQUEST_ID_REUSED");

    for node in [a, b, c] {
        let found = check(node, &bytes).await;
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].uid, issued.invoice.as_ref().unwrap().uid);
        assert!(check(node, b"never issued").await.is_empty());
        assert_eq!(check(node, b"<invoice/>").await.len(), 1);
    }
    let alternative = v1::GetRequest {
        key: Some(v1::InvoiceKey {
            key: Some(v1::invoice_key::Key::Identity(identity("D-1"))),
        }),
        read: Some(v1::ReadLevel {
            level: Some(v1::read_level::Level::Local(v1::read_level::Local {})),
        }),
    };
    let local = a.invoices().get(alternative).await.unwrap().into_inner();
    let answered = local.answered.unwrap();
    // A quorum answered this node just now: it can prove how stale it is at most.
    assert!(answered.staleness_ms_max.is_some_and(|ms| ms < 5_000));
    assert_eq!((answered.served_by, answered.zone), (a.id, a.zone.clone()));
}

async fn add_rendition(
    node: &Node,
    number: &str,
    role: &str,
    bytes: &'static [u8],
) -> Result<v1::AddRenditionResponse, Status> {
    use v1::add_rendition_request::Part;
    let header = v1::AddRenditionHeader {
        request_id: format!("add-{number}-{role}"),
        key: key(number),
        role: role.into(),
        media_type: "application/xml".into(),
        length: bytes.len() as u64,
        ..v1::AddRenditionHeader::default()
    };
    let messages = [Part::Header(header), Part::Chunk(bytes.into())]
        .map(|part| v1::AddRenditionRequest { part: Some(part) });
    let answer = node
        .invoices()
        .add_rendition(futures::stream::iter(messages))
        .await;
    answer.map(tonic::Response::into_inner)
}

/// By streamed bytes.
async fn check(node: &Node, bytes: &[u8]) -> Vec<v1::Invoice> {
    use v1::check_request::Part;
    let mut parts = vec![Part::Header(v1::CheckHeader::default())];
    parts.extend(
        bytes
            .chunks(100_000)
            .map(|c| Part::Chunk(c.to_vec().into())),
    );
    let messages: Vec<_> = parts
        .into_iter()
        .map(|part| v1::CheckRequest { part: Some(part) })
        .collect();
    let answer = node.invoices().check(futures::stream::iter(messages)).await;
    answer.unwrap().into_inner().invoices
}

/// Page by page, by digest.
#[tokio::test(flavor = "multi_thread")]
async fn a_check_goes_on_page_by_page_as_of_its_first() {
    use v1::check_request::Part;
    let cluster = Cluster::start().await;
    for n in 0..5 {
        let (number, request) = (format!("P-{n}"), format!("p-{n}"));
        issue(&cluster.nodes[0], &number, &request, b"the same")
            .await
            .unwrap();
    }
    let mut header = v1::CheckHeader {
        sha256: Digest::of(&[b"the same"]).0.to_vec().into(),
        page_size: 2,
        ..Default::default()
    };
    let mut pages = Vec::new();
    loop {
        // Any node goes on, and what comes in between is not of this answer.
        let node = &cluster.nodes[pages.len() % 3];
        let part = Some(Part::Header(header.clone()));
        let messages = futures::stream::iter([v1::CheckRequest { part }]);
        let page = node.invoices().check(messages).await.unwrap().into_inner();
        let late = format!("late-{}", pages.len());
        issue(node, &late, &late, b"the same").await.unwrap();
        pages.push(page.invoices.len());
        header.cursor = page.cursor;
        if header.cursor.is_empty() {
            break;
        }
    }
    assert_eq!(pages, [2, 2, 1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn watchers_see_every_change_once_in_order() {
    let cluster = Cluster::start().await;
    let node = &cluster.nodes[0];
    issue_for(node, "W-1", "b", "2026-11-01", 100).await;
    let request = v1::WatchRequest::default();
    let mut changes = cluster.nodes[2]
        .invoices()
        .watch(request)
        .await
        .unwrap()
        .into_inner();
    issue_for(node, "W-2", "b", "2026-11-01", 100).await;
    void(node, "W-1", "w-v").await.unwrap();
    reverse(node, "W-2", "W-3", None).await.unwrap();
    let mut seen = Vec::new();
    for _ in 0..4 {
        let change = tokio::time::timeout(SOON, changes.message()).await.unwrap();
        let change = change.unwrap().unwrap();
        seen.push((change.kind, change.invoice.unwrap().status()));
    }
    use v1::InvoiceStatus::{Issued, Void};
    let expected = [
        ("ISSUE".to_owned(), Issued),
        ("ISSUE".to_owned(), Issued),
        ("VOID".to_owned(), Void),
        ("REVERSE".to_owned(), Issued),
    ];
    assert_eq!(seen, expected);
}

/// The standard services that load balancers and tools speak.
#[tokio::test(flavor = "multi_thread")]
async fn health_and_reflection_answer_as_the_standards_say() {
    use tonic_health::pb::HealthCheckRequest;
    use tonic_health::pb::health_check_response::ServingStatus;
    use tonic_health::pb::health_client::HealthClient;
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
    let cluster = Cluster::start().await;
    let node = &cluster.nodes[0];
    let mut health = HealthClient::new(node.channel());
    for service in ["", "muniment.v1.InvoiceService"] {
        let request = HealthCheckRequest {
            service: service.to_owned(),
        };
        let status = health.check(request).await.unwrap().into_inner().status;
        assert_eq!(status, ServingStatus::Serving as i32, "{service:?}");
    }
    let request = tonic_reflection::pb::v1::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut reflection = ServerReflectionClient::new(node.channel());
    let asked = reflection.server_reflection_info(futures::stream::iter([request]));
    let answer = asked
        .await
        .unwrap()
        .into_inner()
        .message()
        .await
        .unwrap()
        .unwrap();
    let Some(MessageResponse::ListServicesResponse(listed)) = answer.message_response else {
        panic!("no list of services: {answer:?}");
    };
    let names: Vec<_> = listed.service.into_iter().map(|s| s.name).collect();
    assert!(
        names.contains(&"muniment.v1.EvidenceService".to_owned()),
        "{names:?}"
    );
}

/// A hot invoice at quarter end: everyone wants it, the disk is asked once.
#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_downloads_of_one_cold_invoice_read_it_once() {
    let cluster = Cluster::start().await;
    let node = &cluster.nodes[1];
    let bytes = body(5, 38_000);
    issue(&cluster.nodes[0], "HOT", "hot", &bytes)
        .await
        .unwrap();
    let before = metric(node, "muniment_body_chunk_reads ").await;
    let wants = (0..1000).map(|_| download(node, "HOT"));
    let records: HashSet<RecordIndex> = futures::future::join_all(wants)
        .await
        .into_iter()
        .map(|got| {
            let (header, got, _) = got.unwrap();
            assert_eq!(got, bytes);
            let receipt = header.receipt.unwrap().bytes;
            let receipt = muniment_evidence::receipt::Receipt::decode(&receipt).unwrap();
            Record::decode(&receipt.record).unwrap().index
        })
        .collect();
    assert_eq!(records.len(), 1000, "each download has a record of its own");
    let after = metric(node, "muniment_body_chunk_reads ").await;
    assert_eq!(after - before, 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_replica_serves_the_log_and_its_health() {
    let mut cluster = Cluster::start().await;
    for n in 0..5u64 {
        let number = format!("T-{n}");
        issue(&cluster.nodes[0], &number, &number, &body(n, 100))
            .await
            .unwrap();
        download(&cluster.nodes[1], &number).await.unwrap();
    }
    // DOWNLOAD_END follows by itself; wait until it is there and everyone has it.
    let size = loop {
        cluster.settled().await;
        let records = cluster.export(0).await;
        let report = cluster.verify(&records);
        if report
            .unfinished
            .as_ref()
            .is_some_and(|left| left.count == 0)
        {
            // The size at which all had ended: it may be above the one asked for before.
            break report.range.unwrap().1;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    };
    let checkpoint = cosigned_by_all(&cluster, size.get()).await;
    let tile = format!("/tile/0/000.p/{size}");
    let entries = format!("/tile/entries/000.p/{size}");
    let (head, rows) = http(&cluster.nodes[0], &tile).await;
    assert!(head.contains("immutable"), "{head}");
    for node in &cluster.nodes {
        assert_eq!(http(node, "/checkpoint").await.1, checkpoint);
        assert_eq!(http(node, &tile).await.1, rows);
        let (_, bundle) = http(node, &entries).await;
        let mut rest = &bundle[..];
        let mut count = 0;
        while let Some((length, more)) = rest.split_first_chunk::<2>() {
            let (record, after) = more.split_at(usize::from(u16::from_be_bytes(*length)));
            let leaf = muniment_evidence::tree::leaf_hash(record);
            assert_eq!(rows[count * 32..][..32], leaf.0);
            let record = Record::decode(record).unwrap();
            assert_eq!(record.outcome, Outcome::Ok);
            (rest, count) = (after, count + 1);
        }
        assert_eq!(TreeSize::new(count as u64), size);
        assert!(
            http(node, &format!("/tile/0/000.p/{}", size.get() + 1))
                .await
                .0
                .contains("404")
        );
        assert!(http(node, "/healthz").await.0.contains("200"));
        assert!(http(node, "/readyz").await.0.contains("200"));
        assert_eq!(
            metric(node, "muniment_evidence_size ").await,
            size.get() as f64
        );
        assert_eq!(metric(node, "muniment_ready ").await, 1.0);
    }
    let report = cluster.verify(&cluster.export(2).await);
    assert_eq!(report.verdict(), Verdict::Verified, "{report}");
    // Two of three gone: alive, not ready to promise anything, still readable locally.
    cluster.nodes[0].kill();
    cluster.nodes[1].kill();
    let alone = &cluster.nodes[2];
    let local = v1::GetRequest {
        key: key("T-1"),
        read: Some(v1::ReadLevel {
            level: Some(v1::read_level::Level::Local(v1::read_level::Local {})),
        }),
    };
    alone.invoices().get(local).await.unwrap();
    let status = download(alone, "T-1").await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    assert!(status.get_details_retry_info().is_some());
}
