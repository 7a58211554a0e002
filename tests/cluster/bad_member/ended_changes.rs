//! A voter ends changes that others carry through: it cancels each that an operator orders, or
//! says that it is done. Who leads may cancel a change, so that this is a follower's deed.

use super::{Honest, Role, Scene};
use crate::harness::{Cluster, LOOK_PAUSE, SOON, body, issue};
use muniment::ledger::roles::Preparing;
use muniment::recorder::Intent;
use muniment_evidence::mode::{ModeDocument, Phase};
use muniment_evidence::opening::Document;
use muniment_evidence::record::{Outcome, Reason};
use tokio::time::Instant;

fn end(phase: Phase, of: &Preparing) -> Document {
    Document::Mode(ModeDocument {
        phase,
        number: of.number,
        voters: of.target.voters.clone(),
        sync_learners: of.target.sync_learners.clone(),
        async_learners: of.target.async_learners.clone(),
        prepared: Some(of.index),
        reason: "not with me".into(),
        order: None,
    })
}

/// The change in preparation, as the culprit has applied it.
async fn in_preparation(scene: &Scene) -> Preparing {
    let group = &scene.bad.running.parts.reads.context.group;
    let deadline = Instant::now() + SOON;
    loop {
        if let Some(preparing) = &group.roles().preparing {
            return preparing.clone();
        }
        assert!(Instant::now() < deadline, "no change is in preparation");
        tokio::time::sleep(LOOK_PAUSE).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_voter_that_does_not_lead_ends_no_change() {
    let mut cluster = Cluster::start().await;
    let four = cluster.join("zone-4", &[]).await;
    let mut scene = Scene::set_on(cluster, Role::Follower, Honest).await;
    // What it has to be brought takes seconds at the rate of repairs.
    scene.cluster.nodes[four].kill();
    for part in 0..2 {
        let name = format!("large-{part}");
        let bytes = body(part, 16 << 20);
        issue(&scene.cluster.nodes[0], &name, &name, &bytes)
            .await
            .unwrap();
    }
    scene.cluster.nodes[four].start();
    let up = scene.cluster.nodes[four].wait_status("it is up", |_| true);
    up.await;
    scene.begin();
    let ordered = scene.cluster.muniment(&["cluster", "promote", "4"]);
    let deed = async {
        let preparing = in_preparation(&scene).await;
        for phase in [Phase::Abort, Phase::Done, Phase::Abort] {
            let recorded = scene.bad.record(Intent::system(end(phase, &preparing)));
            let outcome = recorded.await.expect("it leaves a record").outcome;
            let refused = Outcome::Refused(Reason::NotEntitled);
            assert_eq!(outcome, refused, "{phase:?}");
        }
    };
    let (promoted, ()) = tokio::join!(ordered, deed);
    println!("{}", promoted.unwrap());
    let after = scene.judged().await;
    after.blames_no_honest_node().await;
    for node in after.nodes() {
        let status = node.status().await.unwrap();
        assert_eq!(status.peers.iter().filter(|peer| peer.voter).count(), 4);
    }
}
