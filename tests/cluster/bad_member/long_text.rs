//! A statement whose text is longer than any row of a ledger can be keyed by.

use super::{Honest, Role, Scene};
use muniment::recorder::Intent;
use muniment_evidence::opening::{Document, VoidDocument};
use muniment_evidence::record::Outcome;

/// Beyond every limit of a text, and within one entry of the log.
const TEXT_BYTES: usize = 70_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_long_text_is_refused_on_record_and_stops_nobody() {
    for role in Role::BOTH {
        let mut scene = Scene::set(role, Honest).await;
        scene.begin();
        let document = Document::Void(VoidDocument {
            tenant: "default".into(),
            uid: [7; 16],
            request_id: "x".repeat(TEXT_BYTES),
            reason: String::new(),
        });
        let recorded = scene.bad.record(Intent::system(document)).await;
        let outcome = recorded.expect("it leaves a record").outcome;
        assert!(matches!(outcome, Outcome::Refused(_)), "{outcome:?}");
        let after = scene.judged().await;
        after.names("inadmissible").await;
        after.blames_no_honest_node().await;
    }
}
