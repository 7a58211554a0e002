//! A node that is to leave: what it promised is recorded, and it promises nothing more.

use super::Intent;
use super::lane_tests::{bounds, founded, lane_of, remark, with_outbox};
use super::outbox::{OutboxRefusal, Promises};
use crate::domain::ids::NodeId;
use crate::raft::group_tests::LONG;
use muniment_evidence::mode::Phase;
use muniment_evidence::opening::{Document, ModeDocument};
use muniment_evidence::record::Outcome;
use std::time::Duration;

/// Nobody else can have them recorded, and after DONE its lanes are closed.
#[tokio::test(start_paused = true)]
async fn a_node_that_leaves_promises_nothing_more_from_prepare_on() {
    let cluster = founded().await;
    let leader = cluster.leader().await;
    let node = cluster.node(cluster.another(leader));
    let (outbox, _) = with_outbox(&cluster, node.node, bounds(500)).await;
    let promises = Promises::of(std::slice::from_ref(&outbox));
    cluster.cut_off(node.node, true);
    assert!(outbox.append(remark(1)).await.is_ok());
    assert_eq!(promises.waiting(), 1);
    cluster.cut_off(node.node, false);

    let (_, _, leading) = lane_of(&cluster, leader).await;
    let stay = (1..=3).filter(|stays| *stays != node.node);
    let prepare = Document::Mode(ModeDocument {
        phase: Phase::Prepare,
        number: 0,
        voters: stay.map(NodeId::new).collect(),
        sync_learners: Vec::new(),
        async_learners: Vec::new(),
        prepared: None,
        reason: "it leaves".into(),
        order: None,
    });
    let prepared = leading.record(Intent::system(prepare)).await.unwrap();
    assert_eq!(prepared.outcome, Outcome::Ok);
    let group = &node.group;
    assert!(group.wait_size(prepared.index.size_through(), LONG).await);
    let refused = outbox.append(remark(2)).await.err();
    assert_eq!(refused, Some(OutboxRefusal::Leaving));
    let drained = async {
        while promises.waiting() > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let drained = tokio::time::timeout(LONG, drained).await;
    assert!(drained.is_ok(), "{:?}", outbox.stats());
}
