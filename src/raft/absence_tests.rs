//! Nodes that are away, stand still, moved, lost the end of their log, or would rather not
//! lead: what the others do without them, and how they come back.

use super::group_tests::{LONG, MOVED, TestCluster, peer, propose};
use super::types::Peer;
use crate::domain::ids::{LogIndex, NodeId};
use crate::store::watermark::LogPosition;
use crate::transport::{Failure, Method};
use bytes::Bytes;
use std::time::Duration;

/// Above what a leader keeps: a snapshot's worth and what is kept behind it.
const MISSED_ENTRIES: u64 = 137;

/// Proposes at the leader until it has purged more of its log than `node` has.
async fn propose_beyond(cluster: &TestCluster, leader: u64, node: u64) -> LogIndex {
    let had = cluster.node(node).group.status().last_log_index;
    let group = &cluster.node(leader).group;
    for _ in 0..MISSED_ENTRIES {
        propose(group).await.unwrap();
        // A steady load, under which no pause between two entries is long.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let status = group.status();
    assert!(
        status.purged_index > had,
        "what it kept has {had}: {status:?}"
    );
    status.last_log_index
}

#[tokio::test(start_paused = true)]
async fn a_node_that_steps_down_campaigns_no_more_and_still_votes() {
    let cluster = TestCluster::start(3).await;
    let old = cluster.leader().await;
    let quiet = cluster.another(old);
    cluster.node(quiet).group.step_down(true);
    for _ in 0..3 {
        let leader = cluster.leader().await;
        // Two of three elect: the quiet one's vote is needed, and it does not stand.
        cluster.cut_off(leader, true);
        let next = cluster.leader_of(|node| node != leader).await;
        assert_ne!(next, quiet);
        cluster.cut_off(leader, false);
        // Whoever has less of the log than the quiet one would not get its vote.
        let leader = cluster.leader().await;
        let index = propose(&cluster.node(leader).group).await.unwrap();
        for node in &cluster.nodes {
            assert!(node.group.wait_applied(index, LONG).await);
        }
    }
}

/// Two that were to go, and the third is lost: without this, nobody leads ever again.
#[tokio::test(start_paused = true)]
async fn nodes_that_stepped_down_stand_when_nobody_else_can_lead() {
    let cluster = TestCluster::start(3).await;
    let lost = cluster.leader().await;
    for node in cluster.nodes.iter().filter(|node| node.node != lost) {
        node.group.step_down(true);
    }
    cluster.cut_off(lost, true);
    let leader = cluster.leader_of(|node| node != lost).await;
    propose(&cluster.node(leader).group).await.unwrap();
}

/// Its vote could elect a leader without what it had acknowledged and then lost.
#[tokio::test(start_paused = true)]
async fn a_node_below_its_watermark_neither_votes_nor_campaigns() {
    let cluster = TestCluster::start(3).await;
    let leader = cluster.leader().await;
    let group = &cluster.node(cluster.another(leader)).group;
    assert!(group.may_vote().is_ok());
    let far = LogPosition {
        term: group.status().term,
        index: LogIndex::new(group.status().last_log_index.get() + 5),
    };
    group.wait_for_watermark(None, far);
    let refused = group
        .serve_call(NodeId::new(leader), Method::Vote, Bytes::new())
        .await;
    assert!(matches!(refused, Err(Failure::Refused(why)) if why.to_string().contains("watermark")));
    // The leader sends what it lacks, and it takes part again.
    for _ in 0..6 {
        propose(&cluster.node(leader).group).await.unwrap();
    }
    assert!(group.wait_applied(far.index, LONG).await);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(group.may_vote().is_ok());
}

/// What it had and lost was never committed: the leader of a later term, which has it not,
/// would be waited for in vain, and with another node down nobody would be elected.
#[tokio::test(start_paused = true)]
async fn a_node_below_its_watermark_votes_again_once_a_later_leader_has_committed_less() {
    let cluster = TestCluster::start(3).await;
    let old = cluster.leader().await;
    let group = &cluster.node(cluster.another(old)).group;
    let far = LogPosition {
        term: group.status().term,
        index: LogIndex::new(group.status().last_log_index.get() + 500),
    };
    group.wait_for_watermark(None, far);
    assert!(group.may_vote().is_err());
    cluster.cut_off(old, true);
    // Two of three are left, and one of them does not vote.
    tokio::time::sleep(LONG).await;
    assert!(group.may_vote().is_err());
    cluster.cut_off(old, false);
    let leader = cluster.leader().await;
    cluster.node(leader).group.hand_over().await;
    let later = cluster.leader().await;
    let index = propose(&cluster.node(later).group).await.unwrap();
    assert!(cluster.node(later).group.status().term > far.term);
    assert!(group.wait_applied(index, LONG).await);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(group.may_vote().is_ok());
}

/// What lags more than the configuration keeps is sent a snapshot: a log that is purged later
/// than configured hides every fault of installs from whoever tests them.
#[tokio::test(start_paused = true)]
async fn a_follower_that_lags_far_is_sent_a_snapshot() {
    let cluster = TestCluster::start(3).await;
    let leader = cluster.leader().await;
    let away = cluster.another(leader);
    cluster.cut_off(away, true);
    let last = propose_beyond(&cluster, leader, away).await;
    cluster.cut_off(away, false);
    let group = &cluster.node(away).group;
    assert!(group.wait_applied(last, LONG).await);
    let hash = cluster.node(leader).group.applied().state_hash;
    assert_eq!(group.applied().state_hash, hash);
}

/// Its connections stay open, and take what is sent: the leader must not wait for its answers
/// as long as there is something to send, with the whole log kept for it.
#[tokio::test(start_paused = true)]
async fn a_follower_that_stands_still_under_load_is_sent_a_snapshot() {
    let cluster = TestCluster::start(3).await;
    let leader = cluster.leader().await;
    let still = cluster.another(leader);
    cluster.suspend(still, true);
    let last = propose_beyond(&cluster, leader, still).await;
    cluster.suspend(still, false);
    let group = &cluster.node(still).group;
    assert!(group.wait_applied(last, LONG).await);
    let hash = cluster.node(leader).group.applied().state_hash;
    assert_eq!(group.applied().state_hash, hash);
}

/// Its address stands in the configuration that it cannot be told of: nobody reaches it.
#[tokio::test(start_paused = true)]
async fn a_voter_that_moved_is_reached_at_its_new_address() {
    let cluster = TestCluster::start(3).await;
    let leader = cluster.leader().await;
    let moved = cluster.another(leader);
    let (group, away) = (&cluster.node(leader).group, &cluster.node(moved).group);
    cluster.move_node(moved).await;
    let index = propose(group).await.unwrap();
    assert!(!away.wait_applied(index, LONG).await, "nobody reaches it");
    let at = Peer {
        address: format!("{MOVED}{moved}"),
        ..peer(moved)
    };
    group
        .set_address(NodeId::new(moved), at.clone())
        .await
        .unwrap();
    let index = propose(group).await.unwrap();
    assert!(away.wait_applied(index, LONG).await);
    // The others know it too: whoever leads next reaches it.
    let other = 6 - leader - moved;
    assert!(cluster.node(other).group.wait_applied(index, LONG).await);
    let known = cluster.node(other).group.member(NodeId::new(moved));
    assert_eq!(known, Some(at));
    assert_eq!(group.status().voters, [1, 2, 3].map(NodeId::new));
}
