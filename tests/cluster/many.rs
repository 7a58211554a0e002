//! Billing runs: many items over one stream, each with an outcome of its own.

use crate::harness::{Cluster, Settings, body, header, issue};
use muniment_client::{BodySource, Client, ClientError, ClientOptions, UploadRequest, v1};
use muniment_evidence::bundle::{BundleParser, Frame};
use muniment_evidence::opening::Document;
use muniment_evidence::record::{Outcome, Record};
use muniment_evidence::report::Verdict;
use muniment_evidence::statement::Kind;
use std::collections::HashMap;
use std::time::Duration;
use tonic::Code;
use v1::issue_many_request::Part;
use v1::issue_many_response::Outcome as Told;

const ITEMS: u64 = 200;

fn request(part: Part) -> v1::IssueManyRequest {
    v1::IssueManyRequest { part: Some(part) }
}

fn begin(item: u64, upload: Option<v1::UploadHeader>) -> v1::IssueManyRequest {
    request(Part::Header(v1::IssueManyHeader { item, upload }))
}

fn chunk(bytes: &[u8]) -> v1::IssueManyRequest {
    request(Part::Chunk(bytes.to_vec().into()))
}

/// What an item of the run below is refused with; `None` for those to be issued.
fn expected(item: u64) -> Option<(Code, &'static str, &'static str)> {
    match item % 25 {
        3 => Some((Code::InvalidArgument, "INVALID", "sha256")),
        8 => Some((Code::AlreadyExists, "IDENTITY_TAKEN", "")),
        13 => Some((Code::InvalidArgument, "INVALID", "length")),
        18 => Some((Code::InvalidArgument, "INVALID", "metadata")),
        23 => Some((Code::InvalidArgument, "INVALID", "upload")),
        _ => None,
    }
}

/// A run with bad items in between, in the order in which they are sent.
fn run() -> Vec<v1::IssueManyRequest> {
    let mut messages = Vec::new();
    for item in 0..ITEMS {
        let bytes = body(item, 700 + item as usize);
        let number = format!("M-{item}");
        let mut upload = Some(header(&number, &number, &bytes));
        let announced = upload.as_mut().unwrap();
        match item % 25 {
            3 => announced.sha256 = vec![1; 32].into(),
            8 => upload = Some(header("TAKEN", &number, &bytes)),
            13 => announced.length -= 1,
            18 => announced.metadata = None,
            23 => upload = None,
            _ => {}
        }
        messages.push(begin(item, upload));
        let (first, second) = bytes.split_at(bytes.len() / 2);
        messages.extend([chunk(first), chunk(second)]);
    }
    messages
}

/// All answers of one stream, and the status that it ended in.
async fn send(
    cluster: &Cluster,
    at: usize,
    messages: Vec<v1::IssueManyRequest>,
) -> (HashMap<u64, Told>, Option<tonic::Status>) {
    let mut node = cluster.nodes[at].invoices();
    let opened = node.issue_many(futures::stream::iter(messages)).await;
    let mut answers = opened.unwrap().into_inner();
    let mut told = HashMap::new();
    loop {
        match answers.message().await {
            Ok(Some(answer)) => {
                let again = told.insert(answer.item, answer.outcome.unwrap());
                assert!(again.is_none(), "item {} is answered twice", answer.item);
            }
            Ok(None) => return (told, None),
            Err(status) => return (told, Some(status)),
        }
    }
}

/// How often each number was issued, by the evidence.
fn issued(cluster: &Cluster, bundle: &[u8]) -> HashMap<String, u64> {
    let report = cluster.verify(bundle);
    assert_eq!(report.verdict(), Verdict::Verified, "{report}");
    let mut parser = BundleParser::new();
    parser.push(bundle);
    let mut issued = HashMap::new();
    while let Some(frame) = parser.next().unwrap() {
        let Frame::Record(frame) = frame else {
            continue;
        };
        let record = Record::decode(&frame.record).unwrap();
        if record.outcome == Outcome::Ok && record.statement.kind == Kind::Issue {
            let opening = frame.document.unwrap();
            let Ok(Document::Issue(issue)) = Document::decode(&opening.bytes) else {
                panic!("record {} opens to something else", record.index);
            };
            *issued.entry(issue.metadata.identity.number).or_default() += 1;
        }
    }
    issued
}

#[tokio::test(flavor = "multi_thread")]
async fn each_item_of_a_stream_has_its_own_outcome() {
    // Fewer places than a stream may have in flight: items wait for one.
    let settings = Settings {
        limits: "uploads_in_flight = 3",
        ..Settings::default()
    };
    let cluster = Cluster::start_with(settings).await;
    issue(&cluster.nodes[0], "TAKEN", "taken", b"first")
        .await
        .unwrap();
    // The second time at another node: the first outcomes.
    for (at, again) in [(0, false), (1, true)] {
        let (told, ended) = send(&cluster, at, run()).await;
        assert!(ended.is_none(), "{ended:?}");
        assert_eq!(told.len() as u64, ITEMS);
        for (item, outcome) in told {
            match (expected(item), outcome) {
                (None, Told::Issued(answer)) => {
                    assert_eq!(answer.repeated, again, "item {item}");
                    assert!(answer.receipt.is_some());
                    assert!(answer.durability.unwrap().zones.len() >= 2);
                    let metadata = answer.invoice.unwrap().metadata.unwrap();
                    assert_eq!(metadata.identity.unwrap().number, format!("M-{item}"));
                }
                (Some((code, reason, field)), Told::Error(error)) => {
                    assert_eq!(error.code, code as u32, "item {item}: {error:?}");
                    assert_eq!(
                        (&*error.reason, &*error.field),
                        (reason, field),
                        "item {item}"
                    );
                    assert_eq!(error.retry_after_ms, None, "item {item}");
                }
                (_, outcome) => panic!("item {item}: {outcome:?}"),
            }
        }
    }
    // Messages out of order end the stream, after what was sent in order.
    let bytes = body(1, 9);
    let mut messages = vec![
        begin(1, Some(header("ORDER", "order", &bytes))),
        chunk(&bytes),
        request(Part::End(v1::IssueManyEnd {})),
        chunk(&bytes),
    ];
    let (told, ended) = send(&cluster, 2, messages.clone()).await;
    assert!(matches!(told[&1], Told::Issued(_)));
    assert_eq!(ended.unwrap().code(), Code::InvalidArgument);
    let (told, ended) = send(&cluster, 2, messages.split_off(3)).await;
    assert!(told.is_empty());
    assert_eq!(ended.unwrap().code(), Code::InvalidArgument);
    // By the evidence: the good ones once, the others never.
    let issued = issued(&cluster, &cluster.export(0).await);
    let good = (0..ITEMS).filter(|item| expected(*item).is_none());
    let mut numbers: Vec<String> = good.map(|item| format!("M-{item}")).collect();
    numbers.extend(["TAKEN".to_owned(), "ORDER".to_owned()]);
    assert_eq!(issued.len(), numbers.len());
    assert!(numbers.iter().all(|number| issued[number] == 1));
}

fn client(cluster: &Cluster) -> Client {
    let endpoint = |node: &crate::harness::Node| format!("127.0.0.1:{}", node.ports[0]);
    Client::new(ClientOptions {
        trust: Some(cluster.trust.clone()),
        deadline: Duration::from_secs(30),
        ..ClientOptions::new(cluster.nodes.iter().map(endpoint))
    })
    .unwrap()
}

/// The client's items: from memory and from files, of one chunk and of several.
fn items(dir: &std::path::Path) -> Vec<(UploadRequest, BodySource)> {
    let item = |n: u64| {
        let length = if n % 20 == 7 { 600_000 } else { 2_000 };
        let (number, bytes) = (format!("C-{n}"), body(n, length));
        let header = header(&number, &number, &bytes);
        let source = if n.is_multiple_of(2) {
            BodySource::Memory(bytes.into())
        } else {
            let path = dir.join(&number);
            std::fs::write(&path, bytes).unwrap();
            BodySource::File(path)
        };
        let upload = UploadRequest {
            request_id: header.request_id,
            metadata: header.metadata.unwrap(),
            ..UploadRequest::default()
        };
        (upload, source)
    };
    (0..ITEMS).map(item).collect()
}

/// The run is not the caller's to mend when a node dies under it.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_goes_on_at_another_node_when_its_own_is_killed() {
    let mut cluster = Cluster::start().await;
    let dir = tempfile::tempdir().unwrap();
    let client = client(&cluster);
    let items = items(dir.path());
    let mut told: HashMap<usize, u64> = HashMap::new();
    {
        let serving = &mut cluster.nodes[0];
        let run = client.issue_many(futures::stream::iter(items.clone()), |at, result| {
            let done = result.unwrap_or_else(|error| panic!("item {at}: {error}"));
            assert!(done.proof.pinned);
            let again = told.insert(at, done.answered.served_by);
            assert!(again.is_none(), "item {at} is told twice");
            if told.len() as u64 == ITEMS / 3 {
                serving.kill();
            }
        });
        run.await.unwrap();
    }
    assert_eq!(told.len() as u64, ITEMS);
    let by_first = told.values().filter(|node| **node == 1).count() as u64;
    assert!((ITEMS / 3..ITEMS).contains(&by_first), "{by_first}");
    // The same run again, and one that is other content: nothing is issued twice.
    let mut items = items;
    items[5].1 = BodySource::Memory("other bytes".into());
    let (mut repeated, mut refused) = (0, 0);
    let run = client.issue_many(futures::stream::iter(items), |at, result| match result {
        Ok(done) if done.repeated => repeated += 1,
        Err(ClientError::Conflict(_)) if at == 5 => refused += 1,
        other => panic!("item {at}: {other:?}"),
    });
    run.await.unwrap();
    assert_eq!((repeated, refused), (ITEMS - 1, 1));
    let issued = issued(&cluster, &cluster.export(1).await);
    assert_eq!(issued.len() as u64, ITEMS);
    assert!(issued.values().all(|times| *times == 1));
}

/// A node that is told to stop ends what is in flight; the run goes on elsewhere.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_goes_on_at_another_node_when_its_own_is_stopped() {
    let mut cluster = Cluster::start().await;
    let dir = tempfile::tempdir().unwrap();
    let client = client(&cluster);
    let items = items(dir.path());
    let serving = &mut cluster.nodes[0];
    let mut told = 0;
    let run = client.issue_many(futures::stream::iter(items), |at, result| {
        result.unwrap_or_else(|error| panic!("item {at}: {error}"));
        told += 1;
        if told == ITEMS / 3 {
            serving.request_stop();
        }
    });
    run.await.unwrap();
    assert_eq!(told, ITEMS);
    assert_eq!(serving.ended().await, Some(0));
    let issued = issued(&cluster, &cluster.export(1).await);
    assert_eq!(issued.len() as u64, ITEMS);
    assert!(issued.values().all(|times| *times == 1));
}
