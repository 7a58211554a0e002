//! A leader proposes a statement that nobody signed. Followers append what a leader sends, so
//! the log has it; but none of them vouches for it.

use super::{Honest, Role, Scene};
use bytes::Bytes;
use muniment::domain::command::Command;
use muniment_evidence::class::FindingClass;
use muniment_evidence::ids::NodeId;
use muniment_evidence::report::Verdict;

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_cosigned_above_a_record_that_nobody_signed() {
    let mut scene = Scene::set(Role::Leader, Honest).await;
    scene.begin();
    let command = Command {
        proposed_at_ms: scene.bad.clock.now_ms(),
        submissions: vec![
            scene
                .bad
                .unsigned(NodeId::new(super::member::CULPRIT))
                .into(),
        ],
    };
    let group = &scene.bad.running.parts.reads.context.group;
    let queued = group.queue(Bytes::from(command.encode())).await.unwrap();
    let answers = queued.done().await.unwrap().answers;
    scene.log_is(Verdict::Failed(FindingClass::BadSignature));
    let aftermath = scene.judged().await;
    aftermath.names("bad_record").await;
    for node in aftermath.nodes() {
        let bad = |status: &muniment_proto::v1::StatusResponse| !status.bad_record.is_empty();
        let status = node.wait_status("it has seen the record", bad).await;
        assert!(status.bad_record.contains("BAD_SIGNATURE"), "{status:?}");
        assert!(status.verified_index < status.log_size, "{status:?}");
        assert!(
            status.cosigned_size <= status.verified_index,
            "{answers:?} {status:?}"
        );
    }
    // An operator looks into it, and has the ledger go on after it.
    let status = aftermath.nodes()[0].status().await.unwrap();
    let index = status.verified_index.to_string();
    let waive = [
        "cluster",
        "waive",
        &index,
        "--reason",
        "node 3 led with bad memory",
    ];
    let said = aftermath.muniment(&waive).await.unwrap();
    assert!(
        said.contains("WAIVER") && said.contains("declared"),
        "{said}"
    );
    for node in aftermath.nodes() {
        let on = |status: &muniment_proto::v1::StatusResponse| {
            status.bad_record.is_empty() && status.verified_index > status.log_size - 20
        };
        node.wait_status("it vouches for what follows", on).await;
    }
}
