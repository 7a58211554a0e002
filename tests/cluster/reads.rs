//! Read levels on real nodes: lagging, cut off, suspended, deposed.
//!
//! A node is suspended with SIGSTOP: unlike one that is killed it comes back with all that
//! it believed, which is when stale reads happen.

use crate::harness::{Cluster, Node, SOON, body, issue, key};
use bytes::Bytes;
use muniment::domain::ids::RecoveryEpoch;
use muniment::objective::read::Token;
use muniment_client::{
    BodySource, Client, ClientError, ClientOptions, SessionToken, UploadRequest,
};
use muniment_evidence::digest::Digest;
use muniment_evidence::ids::{LogIndex, TreeSize};
use muniment_evidence::note::{Checkpoint, Note};
use muniment_proto::v1;
use muniment_proto::v1::read_level::{Bounded, Level, Linearizable, Local};
use std::time::Duration;
use tokio::time::Instant;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

const PAUSE: Duration = Duration::from_millis(20);

fn level(level: Level) -> Option<v1::ReadLevel> {
    Some(v1::ReadLevel { level: Some(level) })
}

fn local() -> Level {
    Level::Local(Local {})
}

fn linearizable() -> Level {
    Level::Linearizable(Linearizable {})
}

fn bounded(max_ms: u32, local_only: bool) -> Level {
    Level::Bounded(Bounded { max_ms, local_only })
}

fn session(token: &Bytes) -> Level {
    Level::Session(token.clone())
}

async fn get(node: &Node, number: &str, at: Level) -> Result<(v1::Invoice, v1::Answered), Status> {
    let request = v1::GetRequest {
        key: key(number),
        read: level(at),
    };
    let answer = node.invoices().get(request).await?.into_inner();
    Ok((answer.invoice.unwrap(), answer.answered.unwrap()))
}

async fn void(node: &Node, number: &str) -> v1::VoidResponse {
    let request = v1::VoidRequest {
        request_id: format!("void-{number}"),
        key: key(number),
        reason: "to change something".into(),
    };
    node.invoices().void(request).await.unwrap().into_inner()
}

async fn list(node: &Node, cursor: &str, at: Level) -> Result<v1::ListResponse, Status> {
    let request = v1::ListRequest {
        page_size: 1,
        cursor: cursor.into(),
        read: level(at),
        ..v1::ListRequest::default()
    };
    Ok(node.invoices().list(request).await?.into_inner())
}

fn reason(status: &Status) -> String {
    status.get_details_error_info().unwrap().reason
}

fn field(status: &Status) -> String {
    let details = status.get_details_bad_request().unwrap();
    details.field_violations[0].field.clone()
}

/// A follower, the other one, and the leader.
async fn followers(cluster: &Cluster) -> (usize, usize, usize) {
    let leader = cluster.leader().await;
    let mut others = (0..3).filter(|at| *at != leader);
    (others.next().unwrap(), others.next().unwrap(), leader)
}

/// Waits for a node other than `but` that says it leads.
async fn leader_but(cluster: &Cluster, but: usize) -> usize {
    let deadline = Instant::now() + SOON;
    loop {
        for at in (0..3).filter(|at| *at != but) {
            if let Ok(status) = cluster.nodes[at].status().await
                && status.role == "leader"
            {
                return at;
            }
        }
        assert!(Instant::now() < deadline, "the others elect nobody");
        tokio::time::sleep(PAUSE).await;
    }
}

/// What a caller was told at one node it finds at any other, also at one that just woke.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_waited_for_at_a_node_that_lags() {
    let cluster = Cluster::start().await;
    let (lagging, other, _) = followers(&cluster).await;
    let (lagging, other) = (&cluster.nodes[lagging], &cluster.nodes[other]);
    let mut behind = 0;
    for round in 0..5u64 {
        let number = format!("S-{round}");
        issue(lagging, &number, &number, &body(round, 300))
            .await
            .unwrap();
        lagging.pause();
        let next = format!("N-{round}");
        for at in 0..20u64 {
            let number = format!("F-{round}-{at}");
            issue(other, &number, &number, &body(at, 300))
                .await
                .unwrap();
        }
        issue(other, &next, &next, &body(round, 300)).await.unwrap();
        let voided = void(other, &number).await.answered.unwrap();
        lagging.resume();
        let (was, _) = get(lagging, &number, local()).await.unwrap();
        behind += usize::from(was.status() != v1::InvoiceStatus::Void);
        let at = || session(&voided.session_token);
        let (invoice, answered) = get(lagging, &number, at()).await.unwrap();
        assert_eq!(invoice.status(), v1::InvoiceStatus::Void);
        assert!(answered.applied_index >= voided.applied_index);
        assert_eq!(answered.served_by, lagging.id);
        get(lagging, &next, at()).await.unwrap();
        // What was seen here is not unseen elsewhere.
        get(other, &next, session(&answered.session_token))
            .await
            .unwrap();
    }
    println!("{behind} of 5 local reads were behind");
    // A later page is of the same state, also from a node that has to wait for it.
    lagging.pause();
    issue(other, "P-1", "P-1", &body(1, 300)).await.unwrap();
    let first = list(other, "", linearizable()).await.unwrap();
    lagging.resume();
    let second = list(lagging, &first.cursor, linearizable()).await.unwrap();
    assert_eq!(second.complete_until, first.complete_until);
    assert_eq!(second.answered.unwrap().staleness_ms_max, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bound_is_proven_and_outlives_the_leader_until_it_has_passed() {
    let cluster = Cluster::start().await;
    let (alone, other, leader) = followers(&cluster).await;
    let others = [&cluster.nodes[other], &cluster.nodes[leader]];
    let alone = &cluster.nodes[alone];
    issue(others[0], "B-1", "B-1", &body(1, 300)).await.unwrap();
    // While there is a leader, a local answer says about a second, without being asked to.
    let deadline = Instant::now() + SOON;
    loop {
        let found = get(alone, "B-1", local()).await;
        let bound = found.map(|(_, answered)| answered.staleness_ms_max);
        if matches!(bound, Ok(Some(1..=1500))) {
            break;
        }
        assert!(Instant::now() < deadline, "no bound: {bound:?}");
        tokio::time::sleep(PAUSE).await;
    }
    let (_, answered) = get(alone, "B-1", linearizable()).await.unwrap();
    assert_eq!(answered.staleness_ms_max, Some(0));

    for node in others {
        node.pause();
    }
    // No quorum is asked: there is none.
    let begun = Instant::now();
    let (_, answered) = get(alone, "B-1", bounded(60_000, true)).await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(1));
    let before = answered.staleness_ms_max.unwrap();
    assert!(before <= 60_000);
    tokio::time::sleep(Duration::from_millis(600)).await;
    let (_, answered) = get(alone, "B-1", local()).await.unwrap();
    let later = answered.staleness_ms_max.unwrap();
    assert!(later >= before + 600, "{before} ms, then {later} ms");

    let status = get(alone, "B-1", bounded(500, true)).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition, "{status:?}");
    assert_eq!(reason(&status), "STALENESS_BOUND");
    let status = get(alone, "B-1", bounded(500, false)).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    let status = get(alone, "B-1", linearizable()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    // What it has applied it may show to who has seen no more.
    get(alone, "B-1", session(&answered.session_token))
        .await
        .unwrap();
    // Only a local read believes that there is no such invoice.
    let status = get(alone, "B-2", local()).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    let status = get(alone, "B-2", bounded(60_000, true)).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");

    for node in others {
        node.resume();
    }
    let deadline = Instant::now() + SOON;
    loop {
        match get(alone, "B-1", bounded(500, true)).await {
            Ok((_, answered)) => {
                assert!(answered.staleness_ms_max.unwrap() <= 500);
                break;
            }
            Err(status) => assert_eq!(status.code(), Code::FailedPrecondition, "{status:?}"),
        }
        assert!(Instant::now() < deadline, "no bound again");
    }
    let status = get(alone, "B-2", bounded(60_000, true)).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound, "{status:?}");
}

/// An auditor who asks twice, or at two nodes, must not get two answers.
#[tokio::test(flavor = "multi_thread")]
async fn as_of_an_index_every_replica_gives_the_same_answer_for_ever() {
    let cluster = Cluster::start().await;
    let first = issue(&cluster.nodes[0], "A-1", "A-1", &body(1, 300))
        .await
        .unwrap();
    let issued = first.invoice.unwrap().record_index;
    let before = get(&cluster.nodes[1], "A-1", Level::AsOf(issued))
        .await
        .unwrap();
    issue(&cluster.nodes[1], "A-2", "A-2", &body(2, 300))
        .await
        .unwrap();
    void(&cluster.nodes[2], "A-1").await;
    let size = get(&cluster.nodes[2], "A-1", linearizable())
        .await
        .unwrap()
        .1
        .log_size;
    let voided = size - 1;
    let mut notes = Vec::new();
    for node in &cluster.nodes {
        let (invoice, answered) = get(node, "A-1", Level::AsOf(issued)).await.unwrap();
        assert_eq!(invoice, before.0);
        assert_eq!(invoice.status(), v1::InvoiceStatus::Issued);
        assert_eq!(answered.log_size, issued + 1);
        assert_eq!(answered.staleness_ms_max, None);
        let (invoice, _) = get(node, "A-1", Level::AsOf(voided)).await.unwrap();
        assert_eq!(invoice.status(), v1::InvoiceStatus::Void);
        let status = get(node, "A-1", Level::AsOf(issued - 1)).await.unwrap_err();
        assert_eq!(status.code(), Code::NotFound);
        let status = get(node, "A-2", Level::AsOf(issued)).await.unwrap_err();
        assert_eq!(status.code(), Code::NotFound);

        let page = list(node, "", Level::AsOf(issued)).await.unwrap();
        assert_eq!((page.invoices.len(), page.complete_until), (1, issued + 1));
        assert_eq!(page.invoices[0], before.0);

        let request = v1::GetCheckpointRequest {
            read: level(Level::AsOf(issued)),
            cosigned: false,
        };
        let answer = node.evidence().get_checkpoint(request).await.unwrap();
        let note = Note::parse(answer.into_inner().note.as_bytes()).unwrap();
        notes.push(Checkpoint::parse(&note.text).unwrap());

        let status = get(node, "A-1", Level::AsOf(1 << 40)).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
        assert_eq!(field(&status), "read.as_of");
    }
    assert_eq!(notes[0].size, TreeSize::new(issued + 1));
    assert!(notes.iter().all(|note| note.root == notes[0].root));

    // A replica that lacks the record waits for it.
    let (lagging, other, _) = followers(&cluster).await;
    cluster.nodes[lagging].pause();
    let third = issue(&cluster.nodes[other], "A-3", "A-3", &body(3, 300))
        .await
        .unwrap();
    cluster.nodes[lagging].resume();
    let index = third.invoice.unwrap().record_index;
    get(&cluster.nodes[lagging], "A-3", Level::AsOf(index))
        .await
        .unwrap();
}

/// A caller who has seen what is not there must hear of it, and soon.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_the_ledger_does_not_have_is_data_loss() {
    let cluster = Cluster::start().await;
    let issued = issue(&cluster.nodes[0], "T-1", "T-1", &body(1, 300))
        .await
        .unwrap();
    let bytes = issued.answered.unwrap().session_token;
    let token = Token::decode(&bytes).unwrap();
    assert_eq!(token.ledger, cluster.trust.genesis);
    let foreign = Token {
        ledger: Digest([9; 32]),
        ..token
    };
    let ahead = Token {
        raft_index: LogIndex::new(token.raft_index.get() + 1_000_000),
        ..token
    };
    let recovered = Token {
        recovery_epoch: RecoveryEpoch::new(1),
        ..token
    };
    for node in &cluster.nodes {
        get(node, "T-1", session(&bytes)).await.unwrap();
        for lost in [foreign, ahead, recovered] {
            let begun = Instant::now();
            let at = session(&lost.encode().into());
            let status = get(node, "T-1", at).await.unwrap_err();
            assert_eq!(status.code(), Code::DataLoss, "{status:?}");
            assert_eq!(reason(&status), "TOKEN_LOST");
            assert!(begun.elapsed() < Duration::from_secs(3));
        }
        let garbage = session(&Bytes::from_static(b"garbage"));
        let status = get(node, "T-1", garbage).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        assert_eq!(field(&status), "read.session");
    }
    // The client says so as well, and does not try it elsewhere.
    let client = client(&cluster, None);
    client.adopt_session(SessionToken::decode(&ahead.encode()).unwrap());
    let error = client.get(key("T-1").unwrap(), None).await.unwrap_err();
    assert!(matches!(error, ClientError::Lost(_)), "{error}");
    client.forget_session();
    client.get(key("T-1").unwrap(), None).await.unwrap();
}

/// A leader that stood still while another was elected wakes up believing that it leads.
/// `MUNIMENT_STALE_ROUNDS` asks for more rounds.
#[tokio::test(flavor = "multi_thread")]
async fn a_deposed_leader_that_wakes_never_serves_a_stale_linearizable_read() {
    let rounds = std::env::var("MUNIMENT_STALE_ROUNDS");
    let rounds: u64 = rounds.map_or(3, |rounds| rounds.parse().unwrap());
    let cluster = Cluster::start().await;
    let (mut served, mut refused) = (0, 0);
    for round in 0..rounds {
        let old = cluster.leader().await;
        let asleep = &cluster.nodes[old];
        // Its connection is open, so that what is asked now waits for it.
        get(asleep, "none", local()).await.unwrap_err();
        asleep.pause();
        let new = leader_but(&cluster, old).await;
        let number = format!("L-{round}");
        let deadline = Instant::now() + SOON;
        while let Err(status) =
            issue(&cluster.nodes[new], &number, &number, &body(round, 300)).await
        {
            assert!(Instant::now() < deadline, "not issued: {status:?}");
        }
        let mut asking = tokio::task::JoinSet::new();
        for after_ms in [0, 0, 1, 2, 5, 10, 20, 50, 100, 200, 400] {
            let (node, number) = (asleep.probe(), number.clone());
            asking.spawn(async move {
                tokio::time::sleep(Duration::from_millis(after_ms)).await;
                get(&node, &number, linearizable()).await
            });
        }
        // The first are in its socket when it wakes.
        tokio::time::sleep(PAUSE).await;
        asleep.resume();
        while let Some(answer) = asking.join_next().await {
            match answer.unwrap() {
                Ok(_) => served += 1,
                Err(status) => {
                    assert_eq!(
                        status.code(),
                        Code::Unavailable,
                        "round {round}: {status:?}"
                    );
                    refused += 1;
                }
            }
        }
        cluster.settled().await;
    }
    println!("{rounds} rounds: {served} reads saw the newest invoice, {refused} were refused");
}

fn client(cluster: &Cluster, zone: Option<&str>) -> Client {
    let endpoint = |node: &Node| format!("127.0.0.1:{}", node.ports[0]);
    Client::new(ClientOptions {
        trust: Some(cluster.trust.clone()),
        deadline: SOON,
        zone: zone.map(str::to_owned),
        ..ClientOptions::new(cluster.nodes.iter().map(endpoint))
    })
    .unwrap()
}

/// Nobody has to carry tokens by hand, or to know which node is near.
#[tokio::test(flavor = "multi_thread")]
async fn the_client_reads_what_it_wrote_in_its_own_zone() {
    let mut cluster = Cluster::start().await;
    let client = client(&cluster, Some("zone-3"));
    assert_eq!(client.session_token(), None);
    for round in 0..20u64 {
        let number = format!("C-{round}");
        let upload = UploadRequest {
            request_id: number.clone(),
            metadata: v1::Metadata {
                identity: Some(crate::harness::identity(&number)),
                ..v1::Metadata::default()
            },
            ..UploadRequest::default()
        };
        let source = BodySource::Memory(body(round, 300).into());
        let issued = client.issue(&upload, &source).await.unwrap();
        assert_eq!(issued.answered.zone, "zone-1", "writes go where they went");
        let token = client.session_token().unwrap();
        let token = Token::decode(&token.encode()).unwrap();
        assert_eq!(
            token.raft_index,
            LogIndex::new(issued.answered.applied_index)
        );
        let (_, answered) = client.get(key(&number).unwrap(), None).await.unwrap();
        assert_eq!(answered.zone, "zone-3");
        assert!(answered.applied_index >= token.raft_index.get());
    }
    // Away, it is passed by.
    cluster.nodes[2].kill();
    let (_, answered) = client.get(key("C-1").unwrap(), None).await.unwrap();
    assert_ne!(answered.zone, "zone-3");
}
