//! A snapshot that is not the state of this ledger.

use super::member::CULPRIT;
use super::{Honest, Role, Scene, Twist};
use crate::harness::{Cluster, LOOK_PAUSE, SOON, Settings};
use bytes::Bytes;
use futures::stream::{self, StreamExt as _};
use muniment::domain::ids::LogIndex;
use muniment::raft::codec::Wire as _;
use muniment::raft::types::{LogId, SnapshotMeta, StoredMembership};
use muniment::transport::{Class, Method};
use muniment_evidence::codec::Writer;
use muniment_evidence::digest::Digest;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::time::Instant;

/// The first byte of the frames of a snapshot.
const HEADER: u8 = 0;
const PAIRS: u8 = 1;
const END: u8 = 2;
/// Beyond every entry that there is.
const FAR: u64 = 1 << 40;

/// The frames of a state without a record, which is said to be ahead of everybody's.
fn nothing_at_all(term: u64) -> [Bytes; 2] {
    let meta = SnapshotMeta {
        last_log_id: Some(LogId::new_term_index(term, FAR)),
        last_membership: StoredMembership::default(),
    };
    let mut header = Writer::new();
    // A vote that a majority gave it.
    header.u8(HEADER).u64(term).u64(CULPRIT).u8(1);
    meta.write(&mut header);
    let mut end = Writer::new();
    end.u8(END).digest(&Digest::of(&[]));
    [header.finish(), end.finish()].map(Bytes::from)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_snapshot_comes_in_force_nowhere() {
    for role in Role::BOTH {
        let mut scene = Scene::set(role, Honest).await;
        scene.begin();
        let group = &scene.bad.running.parts.reads.context.group;
        // Whoever does not lead says that it has come to.
        let term = group.status().term.get() + u64::from(role == Role::Follower);
        for to in [1, 2] {
            let frames = stream::iter(nothing_at_all(term)).boxed();
            let peer = scene.bad.peer(to);
            let sent = (scene.bad.transport).stream(peer, Class::Bulk, Method::Snapshot, frames);
            let answers: Vec<_> = sent.await.unwrap().collect().await;
            let last = answers.last().expect("it says what became of it");
            assert!(last.is_err(), "{role:?}: node {to} takes it");
        }
        let after = scene.judged().await;
        after.names("bad_snapshot").await;
        after.blames_no_honest_node().await;
    }
}

/// Changes one piece of the first snapshot that it sends, and sends those after as they are.
#[derive(Default)]
struct OnePiece(AtomicBool);

impl Twist for OnePiece {
    fn send(&self, method: Method, frame: Bytes) -> Bytes {
        let is_piece = method == Method::Snapshot && frame.first() == Some(&PAIRS);
        if !is_piece || self.0.swap(true, Ordering::SeqCst) {
            return frame;
        }
        let mut forged = frame.to_vec();
        if let Some(last) = forged.last_mut() {
            *last ^= 1;
        }
        Bytes::from(forged)
    }
}

/// It needs one, and its leader is the only one to send it: what it refused leaves nothing
/// behind that keeps it from taking the right one.
#[tokio::test(flavor = "multi_thread")]
async fn a_follower_that_was_sent_a_forged_snapshot_takes_the_next() {
    let settings = Settings {
        cluster: "snapshot_after_entries = 100\nlog_entries_kept = 10",
        ..Settings::default()
    };
    let cluster = Cluster::start_with(settings).await;
    let mut scene = Scene::set_on(cluster, Role::Leader, OnePiece::default()).await;
    let group = scene.bad.running.parts.reads.context.group.clone();
    scene.cluster.nodes[1].pause();
    // No entry after this one is appended there: it stands still.
    let had = group.status().last_log_index;
    purged_beyond(|| group.status().purged_index, had).await;
    scene.begin();
    scene.cluster.nodes[1].resume();
    let after = scene.judged().await;
    after.names("bad_snapshot").await;
    after.blames_no_honest_node().await;
}

/// A leader keeps what it is sending until it gives the silent follower's stream up.
async fn purged_beyond(purged: impl Fn() -> LogIndex, had: LogIndex) {
    let deadline = Instant::now() + SOON;
    while purged() <= had {
        assert!(Instant::now() < deadline, "nothing it lacks is purged");
        tokio::time::sleep(LOOK_PAUSE).await;
    }
}
