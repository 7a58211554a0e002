//! LEADER and POLICY records that nobody is due.

use super::member::CULPRIT;
use super::{Honest, Role, Scene};
use muniment::recorder::Intent;
use muniment_evidence::ids::{LogIndex, NodeId, Term};
use muniment_evidence::opening::Document;
use muniment_evidence::record::Outcome;
use muniment_evidence::system::{LeaderDocument, PolicyDocument, Setting};

/// Upload epochs asked for in a row: two are enough to make every holding under way one of
/// the past.
const EPOCHS: u64 = 20;

#[tokio::test(flavor = "multi_thread")]
async fn a_term_that_another_led_is_attested_by_no_one_else() {
    for role in Role::BOTH {
        let mut scene = Scene::set(role, Honest).await;
        scene.begin();
        let term = Term::new(scene.cluster.nodes[0].status().await.unwrap().term);
        for leader in [CULPRIT, 1, 2] {
            let document = Document::Leader(LeaderDocument {
                term,
                leader: NodeId::new(leader),
                log_index: LogIndex::new(1),
            });
            let recorded = scene.bad.record(Intent::system(document)).await;
            let outcome = recorded.expect("it leaves a record").outcome;
            assert!(
                matches!(outcome, Outcome::Refused(_)),
                "{leader}: {outcome:?}"
            );
        }
        let after = scene.judged().await;
        after.blames_no_honest_node().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn epochs_do_not_pass_because_one_member_says_so() {
    for role in Role::BOTH {
        let mut scene = Scene::set(role, Honest).await;
        scene.begin();
        let first = scene.cluster.nodes[0].status().await.unwrap().upload_epoch;
        let mut passed = 0;
        for epoch in first + 1..=first + EPOCHS {
            let document = Document::Policy(PolicyDocument {
                settings: vec![Setting {
                    name: "upload_epoch".into(),
                    value: epoch,
                }],
                order: None,
            });
            let recorded = scene.bad.record(Intent::system(document)).await;
            let outcome = recorded.expect("it leaves a record").outcome;
            passed += u64::from(outcome == Outcome::Ok);
        }
        // One may have been due: uploads would pass two.
        assert!(passed <= 1, "{passed} epochs passed at once");
        let after = scene.judged().await;
        after.blames_no_honest_node().await;
    }
}
