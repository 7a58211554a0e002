//! A chunk of other bytes, where no other node has the right ones.

use super::{Role, Scene, Twist};
use crate::harness::{Cluster, body, download_range, issue};
use crate::scrubbing::damage;
use bytes::Bytes;
use muniment::transport::Method;

/// Several chunks, so that a range is a part of the body; the second one is damaged.
const BODY_BYTES: usize = (5 << 20) / 2;
const RANGE: std::ops::Range<usize> = 1 << 20..(1 << 20) + 5000;
/// Longer frames than this are chunks, not digests.
const DIGESTS_BYTES_MAX: usize = 1 << 12;

struct Chunks;

impl Twist for Chunks {
    fn answer(&self, method: Method, frame: Bytes) -> Bytes {
        if method != Method::GetBody || frame.len() <= DIGESTS_BYTES_MAX {
            return frame;
        }
        let mut forged = frame.to_vec();
        forged[1000] ^= 1;
        Bytes::from(forged)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_chunk_reaches_no_caller() {
    for role in Role::BOTH {
        let mut cluster = Cluster::start().await;
        let bytes = body(77, BODY_BYTES);
        issue(&cluster.nodes[0], "range", "range", &bytes)
            .await
            .unwrap();
        for at in [0, 1] {
            damage(&mut cluster, at, &bytes).await;
        }
        let mut scene = Scene::set_on(cluster, role, Chunks).await;
        scene.begin();
        let (start, end) = (RANGE.start as u64, RANGE.end as u64);
        for node in &scene.cluster.nodes[..2] {
            // Nobody but the culprit has it: a call may fail, and may not lie.
            if let Ok((_, got, _)) = download_range(node, "range", start, end).await {
                assert_eq!(got, bytes[RANGE]);
            }
        }
        let after = scene.judged().await;
        after.names("bad_chunk").await;
        after.blames_no_honest_node().await;
    }
}
