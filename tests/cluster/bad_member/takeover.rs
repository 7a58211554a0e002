//! What only an operator wills, on a member's word alone: it is to be the whole ledger, the level
//! is to rise, and its own bad record to be forgiven.

use super::member::CULPRIT;
use super::{Honest, Role, Scene};
use muniment::ledger::policy::FEATURE_LEVEL;
use muniment::recorder::Intent;
use muniment_evidence::digest::Digest;
use muniment_evidence::endorsement::Endorsements;
use muniment_evidence::ids::{NodeId, RecordIndex};
use muniment_evidence::mode::{ModeDocument, Phase};
use muniment_evidence::opening::{Document, PlannedDocument, PolicyDocument, Setting};
use muniment_evidence::planned::WaiverDocument;
use muniment_evidence::record::{Outcome, Reason};

fn alone() -> Document {
    Document::Mode(ModeDocument {
        phase: Phase::Prepare,
        number: 0,
        voters: vec![NodeId::new(CULPRIT)],
        sync_learners: Vec::new(),
        async_learners: Vec::new(),
        prepared: None,
        reason: "mine".into(),
        order: None,
    })
}

fn level() -> Document {
    Document::Policy(PolicyDocument {
        settings: vec![Setting {
            name: "feature_level".into(),
            value: FEATURE_LEVEL + 1,
        }],
        order: None,
    })
}

fn forgiven() -> Document {
    Document::Planned(PlannedDocument::Waiver(WaiverDocument {
        index: RecordIndex::FIRST,
        leaf: Digest([7; 32]),
        check: "R4".into(),
        reason: "never mind".into(),
        endorsements: Endorsements::new(RecordIndex::FIRST, Digest([7; 32]), u64::MAX),
    }))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_members_word_alone_changes_neither_members_nor_level_nor_what_is_wrong() {
    for role in Role::BOTH {
        let mut scene = Scene::set(role, Honest).await;
        scene.begin();
        for document in [alone(), level(), forgiven()] {
            let recorded = scene.bad.record(Intent::system(document)).await;
            let outcome = recorded.expect("it leaves a record").outcome;
            assert_eq!(outcome, Outcome::Refused(Reason::NotEntitled));
        }
        let after = scene.judged().await;
        after.blames_no_honest_node().await;
        for node in after.nodes() {
            let status = node.status().await.unwrap();
            assert_eq!(status.peers.iter().filter(|peer| peer.voter).count(), 3);
            assert_eq!(status.feature_level, FEATURE_LEVEL);
        }
    }
}
