//! Snapshots as they come in: what a bad leader sends stops nobody, what the own disk does
//! stops this node.

use super::codec::Wire as _;
use super::group_tests::TestCluster;
use super::network::{FRAME_END, FRAME_HEADER, FRAME_PAIRS};
use super::types::{LogId, SnapshotMeta, StoredMembership};
use crate::domain::ids::NodeId;
use crate::misconduct::Misdeed;
use crate::store::StoreError;
use crate::store::engine::{Batch, Engine, Pair, View, Visit};
use crate::transport::Failure;
use bytes::Bytes;
use futures::stream::{self, StreamExt as _};
use muniment_evidence::codec::Writer;
use muniment_evidence::digest::Digest;
use openraft::async_runtime::WatchReceiver as _;
use std::path::Path;
use std::sync::Arc;

/// A cluster, its leader and another node.
async fn two() -> (TestCluster, u64, u64) {
    let cluster = TestCluster::start(3).await;
    let leader = cluster.leader().await;
    let other = cluster.another(leader);
    (cluster, leader, other)
}

/// The first frame of a snapshot under the vote of the node that leads.
fn header(cluster: &TestCluster, leader: u64) -> Bytes {
    let metrics = cluster.node(leader).group.raft.metrics();
    let vote = metrics.borrow_watched().vote;
    let meta = SnapshotMeta {
        last_log_id: Some(LogId::new_term_index(1, 1_000)),
        last_membership: StoredMembership::default(),
    };
    let mut header = Writer::new();
    header.u8(FRAME_HEADER);
    vote.write(&mut header);
    meta.write(&mut header);
    Bytes::from(header.finish())
}

fn end(digest: Digest) -> Bytes {
    Bytes::from([&[FRAME_END], &digest.0[..]].concat())
}

/// Sends the frames; what comes back after the greeting.
async fn sent(
    group: &super::group::RaftGroup,
    from: u64,
    frames: Vec<Bytes>,
) -> Result<Bytes, Failure> {
    let frames = stream::iter(frames.into_iter().map(Ok)).boxed();
    let mut answers = group.serve_snapshot(NodeId::new(from), frames).unwrap();
    answers.next().await.unwrap().unwrap();
    answers.next().await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_bad_snapshot_is_blamed_on_its_sender_and_stops_nobody() {
    let (cluster, leader, other) = two().await;
    let nothing = Digest::of(&[]);
    let bad: [Vec<Bytes>; 3] = [
        // It holds another state than it says.
        vec![header(&cluster, leader), end(nothing)],
        vec![header(&cluster, leader), end(Digest([7; 32]))],
        vec![
            header(&cluster, leader),
            Bytes::from(vec![FRAME_PAIRS, 9, 9, 9]),
        ],
    ];
    let receiver = cluster.node(other);
    for (count, frames) in bad.into_iter().enumerate() {
        let refused = sent(&receiver.group, leader, frames).await;
        assert!(matches!(refused, Err(Failure::Refused(_))), "{refused:?}");
        let seen = receiver.group.misconduct().seen();
        assert_eq!(seen.len(), 1, "{seen:?}");
        assert_eq!(seen[0].node.get(), leader);
        assert_eq!(seen[0].misdeed, Misdeed::BadSnapshot);
        assert_eq!(seen[0].count, count as u64 + 1);
    }
    assert!(receiver.stop.why().is_none());
}

#[tokio::test(start_paused = true)]
async fn i11_a_sync_that_fails_under_a_snapshot_stops_the_node() {
    let (cluster, leader, other) = two().await;
    let receiver = cluster.node(other);
    let mut group = receiver.group.clone();
    group.engine = Arc::new(SyncFails(group.engine.clone()));
    let refused = sent(&group, leader, vec![header(&cluster, leader)]).await;
    assert!(matches!(refused, Err(Failure::Refused(_))), "{refused:?}");
    assert!(receiver.stop.why().is_some());
    assert!(group.misconduct().seen().is_empty());
}

/// An engine that loses its disk at the next sync.
struct SyncFails(Arc<dyn Engine>);

impl View for SyncFails {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.0.get(key)
    }

    fn scan(&self, start: &[u8], end: &[u8], limit: usize) -> Result<Vec<Pair>, StoreError> {
        self.0.scan(start, end, limit)
    }

    fn scan_back(&self, start: &[u8], end: &[u8], limit: usize) -> Result<Vec<Pair>, StoreError> {
        self.0.scan_back(start, end, limit)
    }
}

impl Engine for SyncFails {
    fn write(&self, batch: Batch) -> Result<(), StoreError> {
        self.0.write(batch)
    }

    fn sync(&self) -> Result<(), StoreError> {
        Err(StoreError::engine("the disk is gone"))
    }

    fn at_one_moment(&self, visit: &mut Visit<'_>) -> Result<(), StoreError> {
        self.0.at_one_moment(visit)
    }

    fn checkpoint(&self, dir: &Path) -> Result<Arc<dyn View>, StoreError> {
        self.0.checkpoint(dir)
    }

    fn size_bytes(&self) -> u64 {
        self.0.size_bytes()
    }
}
