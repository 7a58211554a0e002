//! A node says once for each boot by what it is configured, as soon as the ledger takes it.

use super::configured::attest;
use super::lane::{Recorder, Request};
use super::lane_tests::{founded, lane_of, size};
use super::{Intent, Recorded, RecorderError};
use crate::domain::ids::RecordIndex;
use crate::ledger::policy::FEATURE_LEVEL;
use crate::ledger::tests::remark;
use crate::raft::machine::Applied;
use futures::FutureExt as _;
use muniment_evidence::digest::Digest;
use muniment_evidence::opening::{Document, PUBLIC_SALT, PlannedDocument};
use muniment_evidence::record::{Outcome, Reason, Record};
use muniment_evidence::statement::Kind;
use muniment_evidence::tenancy::{ConfigDocument, ConfigMoment, NamedText};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

fn config() -> ConfigDocument {
    ConfigDocument {
        moment: ConfigMoment::Start,
        digest: Digest([7; 32]),
        changed: vec![NamedText {
            name: "cluster.profile".into(),
            value: "wan".into(),
        }],
    }
}

fn level(feature_level: u64) -> Applied {
    Applied {
        feature_level,
        ..Applied::default()
    }
}

fn recorded(outcome: Outcome) -> Recorded {
    Recorded {
        index: RecordIndex::new(9),
        outcome,
    }
}

async fn next(queue: &mut mpsc::Receiver<Request>) -> Request {
    queue
        .recv()
        .await
        .expect("somebody may still say something")
}

fn is_config(request: &Request) -> bool {
    request.intent.document.kind() == Kind::Config
}

/// Below the level every replica would refuse it, and the log would have a record of nothing.
#[tokio::test(start_paused = true)]
async fn nothing_is_said_below_the_level_and_once_it_is_raised_it_is_said_once() {
    let (recorder, mut queue) = Recorder::unserved(8);
    let (applied, watched) = watch::channel(level(1));
    let saying = tokio::spawn(attest(recorder, watched, config()));
    for _ in 0..3 {
        applied.send_replace(level(1));
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert!(queue.recv().now_or_never().is_none());
    }
    applied.send_replace(level(2));
    let said = next(&mut queue).await;
    let document = Document::Planned(PlannedDocument::Config(config()));
    assert_eq!(said.intent.document, document);
    said.answer(recorded(Outcome::Ok));
    saying.await.unwrap();
    applied.send_replace(level(FEATURE_LEVEL));
    assert!(queue.recv().await.is_none());
}

/// A leader may refuse on its own word; another one does not.
#[tokio::test(start_paused = true)]
async fn what_is_refused_is_said_again_ever_more_seldom() {
    let (recorder, mut queue) = Recorder::unserved(8);
    let (_applied, watched) = watch::channel(level(2));
    let saying = tokio::spawn(attest(recorder, watched, config()));
    let mut pauses = Vec::new();
    let mut last = Instant::now();
    for _ in 0..15 {
        let said = next(&mut queue).await;
        pauses.push(last.elapsed().as_secs());
        last = Instant::now();
        said.answer(recorded(Outcome::Refused(Reason::Malformed)));
    }
    assert_eq!(pauses[..5], [0, 1, 2, 4, 8]);
    assert_eq!(pauses[13..], [3600, 3600]);
    next(&mut queue).await.answer(recorded(Outcome::Ok));
    saying.await.unwrap();
}

/// Callers that fill the queue again whenever there is room must not keep the node itself out,
/// nor does it keep them out for longer than one place of the queue.
#[tokio::test(start_paused = true)]
async fn no_load_of_callers_keeps_the_node_from_saying_it() {
    let (recorder, mut queue) = Recorder::unserved(2);
    let ask = || {
        let recorder = recorder.clone();
        let intent = Intent::system(remark(1));
        tokio::spawn(async move { recorder.record(intent).await })
    };
    let mut callers = vec![ask(), ask()];
    tokio::task::yield_now().await;
    let (_applied, watched) = watch::channel(level(2));
    let saying = tokio::spawn(attest(recorder.clone(), watched, config()));
    tokio::task::yield_now().await;
    let turned_away = ask().await.unwrap();
    assert_eq!(turned_away, Err(RecorderError::Full));
    let mut taken = 0;
    loop {
        let request = next(&mut queue).await;
        // Somebody is there at once.
        callers.push(ask());
        tokio::task::yield_now().await;
        if is_config(&request) {
            request.answer(recorded(Outcome::Ok));
            break;
        }
        request.answer(recorded(Outcome::Ok));
        taken += 1;
        assert!(taken <= 2, "those who were there before it");
    }
    saying.await.unwrap();
}

/// What it says of the machine and its tenants is no system kind's to tell everybody: it is salted,
/// so that it can be erased, and kept until then.
#[tokio::test(start_paused = true)]
async fn it_stands_in_the_strict_lane_with_a_salted_opening_that_is_kept() {
    let cluster = founded().await;
    let node = cluster.node(2);
    let (_, _, recorder) = lane_of(&cluster, 2).await;
    let before = size(node).await;
    attest(recorder, node.group.watch_applied(), config()).await;
    let index = RecordIndex::new(before);
    let read = node.state.read(|tables| {
        let (document, actor) = tables.openings(index)?;
        Ok((tables.record_bytes(index)?, document, actor))
    });
    let (record, document, actor) = read.unwrap();
    let record = Record::decode(&record.expect("it is on record")).unwrap();
    let statement = &record.statement;
    assert_eq!(
        (statement.kind, record.outcome),
        (Kind::Config, Outcome::Ok)
    );
    let document = document.expect("it is kept");
    assert_ne!(document.salt, PUBLIC_SALT);
    assert_ne!(actor.expect("it is kept").salt, PUBLIC_SALT);
    let said = Document::decode(&document.bytes).unwrap();
    assert_eq!(said, Document::Planned(PlannedDocument::Config(config())));
}
