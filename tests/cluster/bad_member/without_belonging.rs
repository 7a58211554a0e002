//! Statements of a member that has been removed.

use super::member::CULPRIT;
use super::{Honest, Role, Scene};
use muniment::recorder::Intent;
use muniment_evidence::opening::{Document, VoidDocument};
use muniment_evidence::record::Outcome;

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_removed_has_no_word() {
    let mut scene = Scene::set(Role::Follower, Honest).await;
    let removed = scene
        .cluster
        .muniment(&["cluster", "remove", &CULPRIT.to_string()])
        .await;
    removed.unwrap();
    scene.begin();
    let document = Document::Void(VoidDocument {
        tenant: "default".into(),
        uid: [7; 16],
        request_id: "after all".into(),
        reason: String::new(),
    });
    let recorded = scene.bad.record(Intent::system(document)).await;
    let took_effect = recorded.is_some_and(|recorded| recorded.outcome == Outcome::Ok);
    assert!(!took_effect, "{recorded:?}");
    let after = scene.judged().await;
    after.names("spoke_after_leaving").await;
    after.blames_no_honest_node().await;
}
