//! A clock that is ten years ahead.

use super::{Role, Scene, Twist};
use muniment::clock::{Clock as _, SystemClock};
use muniment_evidence::record::Record;
use muniment_proto::v1;

const TEN_YEARS_MS: u64 = 10 * 365 * 24 * 3600 * 1000;
/// What is told of it may be this far ahead: more than the bound that voters keep.
const AHEAD_MAX_MS: u64 = 60_000;

struct Ahead;

impl Twist for Ahead {
    fn ahead_ms(&self) -> u64 {
        TEN_YEARS_MS
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ledgers_time_is_not_one_leaders() {
    for role in Role::BOTH {
        let mut scene = Scene::set(role, Ahead).await;
        scene.begin();
        let after = scene.judged().await;
        let node = &after.nodes()[0];
        let status = node.status().await.unwrap();
        let request = v1::ListRecordsRequest {
            from_index: status.log_size - 1,
            page_size: 1,
            ..v1::ListRecordsRequest::default()
        };
        let page = node.evidence().list_records(request).await.unwrap();
        let last = Record::decode(&page.into_inner().records[0].record).unwrap();
        let now_ms = SystemClock.now_ms();
        let ahead_ms = last.committed_at_ms.saturating_sub(now_ms);
        assert!(ahead_ms < AHEAD_MAX_MS, "{role:?}: {ahead_ms} ms ahead");
        after.names("clock_ahead").await;
        after.blames_no_honest_node().await;
    }
}
