//! Statements that nobody signed, in frames that say they are the leader's own.

use super::{Honest, Role, Scene};
use bytes::Bytes;
use futures::StreamExt as _;
use muniment::domain::command::Submission;
use muniment::transport::{Class, Method, Transport as _};
use muniment_evidence::codec::Writer;
use muniment_evidence::ids::NodeId;
use std::time::Duration;

/// How long the leader is given to answer what it should refuse.
const ANSWER_MAX: Duration = Duration::from_secs(2);

/// A batch as the recorder sends it.
fn batch(submissions: &[Submission]) -> Bytes {
    let mut w = Writer::new();
    w.u8(1)
        .u64(1)
        .list(submissions, |w, submission| submission.write(w));
    Bytes::from(w.finish())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_out_of_a_frame_is_never_taken_for_the_leaders_own() {
    let mut scene = Scene::set(Role::Follower, Honest).await;
    scene.begin();
    let leader = NodeId::new(1);
    let sent = batch(&[scene.bad.unsigned(leader)]);
    let frames = futures::stream::iter([sent])
        .chain(futures::stream::pending())
        .boxed();
    let dialer = scene.bad.speaking_as(leader.get());
    let opened = dialer.stream(scene.bad.peer(1), Class::Log, Method::Submit, frames);
    let answered = async {
        match opened.await {
            Ok(mut answers) => answers.next().await.is_some_and(|answer| answer.is_ok()),
            Err(_) => false,
        }
    };
    let answered = tokio::time::timeout(ANSWER_MAX, answered).await;
    assert_ne!(answered, Ok(true), "the leader answered it");
    // Whose frame it was, only a certificate can tell.
    scene.judged().await.blames_no_honest_node().await;
}
