//! The lanes of nodes in one process, against the real log and the real apply.
//!
//! What the protocol promises under cuts and changes of leaders: each statement becomes
//! one record, in order, and its caller is told which. Paused time; the lines between the
//! nodes are those of [`crate::raft::group_tests`].

use super::boot::{BootContext, BootError};
use super::due;
use super::intake::Intake;
use super::lane::{self, LaneContext, Recorder};
use super::later_boot;
use super::outbox::inventory::take_inventory;
use super::outbox::{OutboxBounds, OutboxLane, OutboxRefusal};
use super::route::{self, decode_answer, encode_batch};
use super::{Intent, Recorded, RecorderError, StatementSigner};
use crate::domain::command::{Answer, Submission};
use crate::domain::ids::{NodeId, RecordIndex, Sequence};
use crate::raft::group::RaftGroup;
use crate::raft::group_tests::{LONG, TestCluster, TestNode};
use crate::recorder::download_ends::DownloadEnds;
use crate::signatures::Signatures;
use crate::stop::{Stop, Why};
use crate::store::Blocking;
use crate::store::outbox::OutboxDir;
use crate::transport::{Class, Destination, Failure, FrameEnds, Frames, Method, Serve};
use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt as _};
use futures::stream::{self, StreamExt as _};
use muniment_evidence::digest::Digest;
use muniment_evidence::key::{SecretKey, Signer as _};
use muniment_evidence::opening::{BootDocument, BootOutbox, Document, GenesisDocument, Member};
use muniment_evidence::record::Outcome;
use muniment_evidence::statement::Lane;
use std::sync::Arc;
use std::time::Duration;

/// Serves Raft and takes statements.
struct ServeNode {
    group: RaftGroup,
    intake: Intake,
}

impl Serve for ServeNode {
    fn call(
        &self,
        ends: FrameEnds,
        method: Method,
        body: Bytes,
    ) -> BoxFuture<'static, Result<Bytes, Failure>> {
        let group = self.group.clone();
        async move { group.serve_call(ends.from, method, body).await }.boxed()
    }

    fn stream(
        &self,
        ends: FrameEnds,
        method: Method,
        frames: Frames,
    ) -> BoxFuture<'static, Result<Frames, Failure>> {
        let (group, intake) = (self.group.clone(), self.intake.clone());
        async move {
            match method {
                Method::Append => Ok(group.serve_append(ends.from, frames)),
                Method::Snapshot => group.serve_snapshot(ends.from, frames),
                _ => Ok(route::serve(intake, ends.from, frames)),
            }
        }
        .boxed()
    }
}

fn key(node: u64) -> SecretKey {
    SecretKey::from_seed(&[node as u8; 32])
}

fn intake(node: &TestNode) -> Intake {
    Intake::new(
        node.group.clone(),
        node.state.clone(),
        Blocking::Inline,
        node.clock.clone(),
        Signatures::default(),
    )
}

fn booting(node: &TestNode) -> BootContext {
    BootContext {
        group: node.group.clone(),
        reader: node.reader.clone(),
        intake: intake(node),
        state: node.state.clone(),
        blocking: Blocking::Inline,
        transport: node.transport.clone(),
    }
}

fn signer(node: &TestNode, ledger: Digest) -> StatementSigner {
    StatementSigner {
        node: NodeId::new(node.node),
        ledger,
        signer: Arc::new(key(node.node)),
        clock: node.clock.clone(),
    }
}

fn genesis(nodes: u64) -> GenesisDocument {
    let member = |node| Member {
        node: NodeId::new(node),
        region: "region".into(),
        zone: format!("zone-{node}"),
        statement_key: key(node).public(),
        cosignature_key: key(100 + node).public(),
    };
    GenesisDocument {
        origin: "lanes/0".into(),
        log_key: key(9).public(),
        members: (1..=nodes).map(member).collect(),
        threshold: 0,
        root_keys: Vec::new(),
        operator_keys: Vec::new(),
    }
}

fn boot_document(node: u64, outboxes: Vec<BootOutbox>) -> Document {
    Document::Boot(BootDocument {
        incarnation: [node as u8; 16],
        statement_key: key(node).public(),
        software: "lanes".into(),
        outboxes,
    })
}

/// A founded ledger on three nodes.
pub(super) async fn founded() -> TestCluster {
    let cluster = TestCluster::start(3).await;
    for node in &cluster.nodes {
        let serve = ServeNode {
            group: node.group.clone(),
            intake: intake(node),
        };
        cluster.serve(node.node, Arc::new(serve));
    }
    // GENESIS is taken from within alone.
    let first = cluster.node(cluster.leader().await);
    let signer = signer(first, Digest::ZERO);
    booting(first).found(&signer, genesis(3)).await.unwrap();
    cluster
}

/// Boots a node and opens its strict lane.
pub(super) async fn lane_of(cluster: &TestCluster, node: u64) -> (LaneContext, u64, Recorder) {
    lane_telling(cluster, node, Vec::new()).await
}

pub(super) async fn lane_telling(
    cluster: &TestCluster,
    node: u64,
    outboxes: Vec<BootOutbox>,
) -> (LaneContext, u64, Recorder) {
    let node = cluster.node(node);
    let context = booting(node);
    let ledger = context.founded().await.unwrap();
    let signer = signer(node, ledger.id);
    let booted = context
        .boot(&signer, boot_document(node.node, outboxes))
        .await;
    let index = booted.unwrap();
    let context = LaneContext {
        signer,
        group: node.group.clone(),
        reader: node.reader.clone(),
        intake: context.intake,
        state: node.state.clone(),
        blocking: Blocking::Inline,
        transport: node.transport.clone(),
        stop: node.stop.clone(),
    };
    let recorder = lane::start(context.clone(), index, 4096);
    (context, index.get(), recorder)
}

pub(super) fn remark(bytes: u64) -> Intent {
    Intent::system(crate::ledger::tests::remark(bytes))
}

/// Hands in this many at once; what became of them, in the order of handing in.
async fn record_all(recorder: &Recorder, count: u64) -> Vec<Recorded> {
    let all = (0..count).map(|n| recorder.record(remark(n)));
    let all = tokio::time::timeout(LONG, futures::future::join_all(all)).await;
    let all = all.expect("all are resolved in time");
    all.into_iter().map(|recorded| recorded.unwrap()).collect()
}

/// Records, of which none is on its way.
pub(super) async fn size(node: &TestNode) -> u64 {
    node.reader.linearizable(LONG).await.unwrap();
    let head = node.state.read(|tables| tables.head());
    head.unwrap().size.get()
}

async fn lane_length(node: &TestNode, of: u64, lane: Lane) -> u64 {
    node.reader.linearizable(LONG).await.unwrap();
    let row = node.state.read(|tables| tables.lane(NodeId::new(of), lane));
    row.unwrap().map_or(0, |row| row.next_seq.get())
}

fn follow_on(recorded: &[Recorded]) {
    assert!(recorded.iter().all(|r| r.outcome == Outcome::Ok));
    let pairs = recorded.windows(2);
    assert!(
        pairs.into_iter().all(|pair| pair[0].index < pair[1].index),
        "in order"
    );
}

#[tokio::test(start_paused = true)]
async fn the_statements_of_each_node_are_recorded_once_and_in_order() {
    let cluster = founded().await;
    let mut lanes = Vec::new();
    for node in 1..=3 {
        lanes.push(lane_of(&cluster, node).await);
    }
    let leader = cluster.leader().await;
    let before = size(cluster.node(leader)).await;
    let all = lanes
        .iter()
        .map(|(_, _, recorder)| record_all(recorder, 100));
    let all = futures::future::join_all(all).await;
    for recorded in &all {
        follow_on(recorded);
    }
    let leader = cluster.node(leader);
    assert_eq!(size(leader).await, before + 300, "each is one record");
    for (context, index, _) in &lanes {
        let lane = Lane::Strict(RecordIndex::new(*index));
        assert_eq!(
            lane_length(leader, context.signer.node.get(), lane).await,
            100
        );
    }
}

/// The leader is cut off while statements are under way: each is recorded once all the
/// same, whether this node leads or follows.
#[tokio::test(start_paused = true)]
async fn a_lane_goes_on_under_another_leader_exactly_once() {
    for own in [true, false] {
        let cluster = founded().await;
        let old = cluster.leader().await;
        let node = match own {
            true => old,
            false => cluster.another(old),
        };
        let (_, index, recorder) = lane_of(&cluster, node).await;
        follow_on(&record_all(&recorder, 10).await);
        let before = size(cluster.node(node)).await;
        let cutting = async {
            for _ in 0..3 {
                let leader = cluster.leader().await;
                tokio::time::sleep(Duration::from_millis(1)).await;
                cluster.cut_off(leader, true);
                cluster.leader_of(|other| other != leader).await;
                cluster.cut_off(leader, false);
            }
        };
        let recording = async {
            let mut all = Vec::new();
            for _ in 0..20 {
                all.extend(record_all(&recorder, 20).await);
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            all
        };
        let (recorded, ()) = futures::join!(recording, cutting);
        follow_on(&recorded);
        let node = cluster.node(node);
        assert_eq!(size(node).await, before + 400, "each is one record");
        assert_eq!(
            lane_length(node, node.node, Lane::Strict(RecordIndex::new(index))).await,
            410
        );
        assert_eq!(node.stop.why(), None);
    }
}

/// No majority, no records; and nothing that was numbered is given up.
#[tokio::test(start_paused = true)]
async fn what_waits_for_a_majority_is_recorded_when_there_is_one() {
    let cluster = founded().await;
    let leader = cluster.leader().await;
    let node = cluster.another(leader);
    let (_, _, recorder) = lane_of(&cluster, node).await;
    cluster.cut_off(node, true);
    let waiting = tokio::spawn(async move { record_all(&recorder, 30).await });
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(!waiting.is_finished());
    cluster.cut_off(node, false);
    follow_on(&waiting.await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_turns_callers_away_and_numbers_nothing() {
    let cluster = founded().await;
    let (context, index, _) = lane_of(&cluster, 1).await;
    // Its worker does not run before this test waits: two wait, the third is turned away.
    let recorder = lane::start(context, RecordIndex::new(index), 2);
    let recorded = futures::join!(
        recorder.record(remark(1)),
        recorder.record(remark(2)),
        recorder.record(remark(3)),
    );
    assert!(recorded.0.is_ok() && recorded.1.is_ok());
    assert_eq!(recorded.2, Err(RecorderError::Full));
    assert_eq!(
        lane_length(cluster.node(1), 1, Lane::Strict(RecordIndex::new(index))).await,
        2
    );
}

#[tokio::test(start_paused = true)]
async fn two_processes_under_one_identity_end_by_it() {
    let cluster = founded().await;
    let (context, index, recorder) = lane_of(&cluster, 1).await;
    follow_on(&record_all(&recorder, 1).await);
    // The same lane from its beginning, with other statements.
    let twin = lane::start(context.clone(), RecordIndex::new(index), 10);
    let recorded = twin.record(remark(99)).await;
    assert_eq!(recorded, Err(RecorderError::Stopped));
    match context.stop.why() {
        Some(Why::Broken(why)) => assert!(why.contains("another process"), "{why}"),
        other => panic!("{other:?}"),
    }
}

/// One that has nothing to say would go on voting and holding under an identity that is
/// another's by now.
#[tokio::test(start_paused = true)]
async fn of_two_processes_under_one_identity_the_one_that_booted_last_goes_on() {
    let cluster = founded().await;
    let (context, first, _) = lane_of(&cluster, 1).await;
    let watch = |own: u64, stop: &Stop| {
        let (state, blocking) = (context.state.clone(), context.blocking);
        let own = RecordIndex::new(own);
        tokio::spawn(later_boot::watch(
            state,
            blocking,
            NodeId::new(1),
            own,
            stop.clone(),
        ))
    };
    let (stop, later_stop) = (Stop::new(), Stop::new());
    let watching = watch(first, &stop);
    tokio::time::sleep(LONG).await;
    assert!(!watching.is_finished());
    let again = booting(cluster.node(1));
    let later = again.boot(&context.signer, boot_document(1, Vec::new()));
    let later = later.await.unwrap();
    let goes_on = watch(later.get(), &later_stop);
    watching.await.unwrap();
    match stop.why() {
        Some(Why::Broken(why)) => {
            assert!(why.contains(&format!("record {later}")), "{why}");
            assert!(why.contains("another process"), "{why}");
        }
        other => panic!("{other:?}"),
    }
    tokio::time::sleep(LONG).await;
    assert!(!goes_on.is_finished() && later_stop.why().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_later_boot_closes_the_lane_before_it() {
    let cluster = founded().await;
    let (context, _, recorder) = lane_of(&cluster, 1).await;
    follow_on(&record_all(&recorder, 3).await);
    let again = booting(cluster.node(1));
    let index = again
        .boot(&context.signer, boot_document(1, Vec::new()))
        .await
        .unwrap();
    assert_eq!(
        recorder.record(remark(4)).await,
        Err(RecorderError::Stopped)
    );
    match context.stop.why() {
        Some(Why::Broken(why)) => assert!(why.contains("has closed the lane"), "{why}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(
        lane_length(cluster.node(1), 1, Lane::Strict(index)).await,
        0
    );
}

#[tokio::test(start_paused = true)]
async fn a_ledger_is_founded_once_and_a_boot_is_sent_until_it_is_recorded() {
    let cluster = founded().await;
    let node = cluster.node(1);
    let again = booting(node)
        .found(&signer(node, Digest::ZERO), genesis(3))
        .await;
    assert!(matches!(again, Err(BootError::FoundedAlready)), "{again:?}");
    let leader = cluster.leader().await;
    let node = cluster.node(cluster.another(leader));
    let ledger = booting(node).founded().await.unwrap();
    let (context, signer) = (booting(node), signer(node, ledger.id));
    let away = node.node;
    cluster.cut_off(away, true);
    let boot = tokio::spawn(async move {
        let document = boot_document(signer.node.get(), Vec::new());
        context.boot(&signer, document).await
    });
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(!boot.is_finished());
    cluster.cut_off(away, false);
    let booted = tokio::time::timeout(LONG, boot).await;
    assert!(booted.expect("in time").unwrap().is_ok());
}

/// Keys that the ledger does not know are refused, for good.
#[tokio::test(start_paused = true)]
async fn a_stranger_does_not_boot() {
    let cluster = founded().await;
    let leader = cluster.leader().await;
    let node = cluster.node(leader);
    let ledger = booting(node).founded().await.unwrap();
    let stranger = StatementSigner {
        signer: Arc::new(key(77)),
        ..signer(node, ledger.id)
    };
    let Document::Boot(mut document) = boot_document(leader, Vec::new()) else {
        unreachable!("it is a BOOT");
    };
    document.statement_key = key(77).public();
    let context = booting(node);
    let boot = context.boot(&stranger, Document::Boot(document));
    // Its submission is never proposed, and its own copy of the ledger says why.
    let ended = tokio::time::timeout(LONG, boot).await.expect("in time");
    assert!(matches!(ended, Err(BootError::NotTaken(_))), "{ended:?}");
}

pub(super) fn bounds(pending_max: u64) -> OutboxBounds {
    OutboxBounds {
        pending_max,
        age_max: Duration::from_secs(3600),
    }
}

/// A node that has booted with a new outbox: that, and its lane.
pub(super) async fn with_outbox(
    cluster: &TestCluster,
    node: u64,
    bounds: OutboxBounds,
) -> (OutboxLane, Lane) {
    let node = cluster.node(node);
    let dir = OutboxDir::in_memory();
    let found = node
        .state
        .read(|tables| take_inventory(&dir, tables, NodeId::new(node.node), node.clock.as_ref()));
    let mut found = found.unwrap();
    let told = found.reported.clone();
    let (context, _, recorder) = lane_telling(cluster, node.node, told).await;
    let log = found.open.pop().expect("one is made");
    let lane = Lane::Outbox(log.id());
    let ends = DownloadEnds::start(recorder, &node.stop);
    let outbox = OutboxLane::start(context, ends, log, bounds);
    (outbox, lane)
}

/// Promised while cut off, recorded afterwards: all of it, in order, once.
#[tokio::test(start_paused = true)]
async fn an_outbox_drains_in_order_when_the_leader_is_back() {
    let cluster = founded().await;
    let leader = cluster.leader().await;
    let node = cluster.node(cluster.another(leader));
    let (outbox, lane) = with_outbox(&cluster, node.node, bounds(500)).await;
    cluster.cut_off(node.node, true);
    let promises = (0..500).map(|n| outbox.append(remark(n)));
    let promised = futures::future::join_all(promises).await;
    let seqs: Vec<Sequence> = promised
        .iter()
        .map(|p| p.as_ref().expect("there is room").submission.statement.seq)
        .collect();
    assert_eq!(seqs, (0..500).map(Sequence::new).collect::<Vec<_>>());
    assert_eq!(
        outbox.append(remark(500)).await.err(),
        Some(OutboxRefusal::Full(500))
    );
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(outbox.stats().pending, 500);
    cluster.cut_off(node.node, false);
    let drained = async {
        while outbox.stats().pending > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let drained = tokio::time::timeout(LONG, drained).await;
    assert!(drained.is_ok(), "{:?}", outbox.stats());
    assert_eq!(outbox.stats().drained, 500);
    assert_eq!(
        lane_length(cluster.node(leader), node.node, lane).await,
        500
    );
    // What comes later finds its place behind them.
    assert!(outbox.append(remark(501)).await.is_ok());
}

/// Batches on one stream are answered under their own ids; one that is bad says why, and
/// what cannot be read ends the stream.
#[tokio::test(start_paused = true)]
async fn a_stream_answers_each_batch_and_ends_where_it_cannot_be_read() {
    let cluster = founded().await;
    let leader = cluster.leader().await;
    let node = cluster.node(cluster.another(leader));
    let (context, index, _) = lane_of(&cluster, node.node).await;
    let sign = |seq, prev| {
        let lane = Lane::Strict(RecordIndex::new(index));
        context
            .signer
            .sign(&remark(seq), lane, Sequence::new(seq), prev)
    };
    let first = sign(0, Digest::ZERO);
    let second = sign(1, first.statement.hash());
    let mut forged = second.clone();
    forged.signature.0[1] ^= 1;
    let batch = |id, submission: &Submission| encode_batch(id, std::slice::from_ref(submission));
    let submit = |frames: Vec<Bytes>| {
        let sent = stream::iter(frames).boxed();
        let to = Destination {
            node: NodeId::new(leader),
            address: leader.to_string(),
        };
        let answers = node.transport.stream(to, Class::Log, Method::Submit, sent);
        async move { answers.await.unwrap().collect::<Vec<_>>().await }
    };
    let answers = submit(vec![batch(5, &first), batch(6, &forged), batch(7, &second)]).await;
    let read = answers
        .iter()
        .map(|answer| decode_answer(answer.as_ref().unwrap()).unwrap());
    let mut read: Vec<_> = read.collect();
    read.sort_by_key(|(id, _)| *id);
    let ok = |answer: &Result<Vec<Answer>, _>| match answer.as_deref() {
        Ok([Answer::Recorded { outcome, .. }]) => *outcome == Outcome::Ok,
        _ => false,
    };
    for (id, answer) in &read {
        match id {
            5 | 7 => assert!(ok(answer), "{answer:?}"),
            6 => {
                let bad = answer.as_ref().unwrap_err();
                assert!(bad.is_about_content(), "{bad}");
            }
            other => panic!("nothing was sent under {other}"),
        }
    }
    assert_eq!(read.len(), 3);
    let unreadable = Bytes::from_static(b"nothing that can be read");
    let answers = submit(vec![unreadable, batch(8, &second)]).await;
    assert!(
        matches!(answers[..], [Err(Failure::Refused(_))]),
        "{answers:?}"
    );
}

/// A queue that is full for a while costs time, and not the attesting of what is due: a
/// leader that stopped attesting would do so until it is started again.
#[tokio::test(start_paused = true)]
async fn what_is_due_waits_for_a_full_recorder_and_goes_on() {
    let cluster = founded().await;
    let node = cluster.node(cluster.leader().await);
    let (recorder, mut queue) = Recorder::unserved(1);
    recorder.note(remark(1)).await.unwrap();
    let attesting = tokio::spawn(due::attest(
        recorder.clone(),
        node.group.clone(),
        node.reader.clone(),
        node.state.clone(),
        Blocking::Inline,
    ));
    tokio::time::sleep(LONG).await;
    assert!(!attesting.is_finished(), "it has given up");
    let first = queue.recv().await.unwrap().intent.document;
    assert_eq!(first, remark(1).document);
    let next = tokio::time::timeout(LONG, queue.recv()).await;
    let document = next.expect("it goes on").unwrap().intent.document;
    // The members that it was founded with.
    assert!(matches!(document, Document::Membership(_)), "{document:?}");
}
