//! Notices that would make a node stop, without the proof of a majority.

use super::{Honest, Role, Scene};
use crate::harness::ORIGIN;
use bytes::Bytes;
use muniment::transport::{Class, MESSAGE_VERSION, Method};
use muniment_evidence::codec::Writer;
use muniment_evidence::digest::Digest;
use std::time::Duration;

const CALL_MAX: Duration = Duration::from_secs(1);
/// The root of no history.
const OTHER_ROOT: Digest = Digest([7; 32]);

#[tokio::test(flavor = "multi_thread")]
async fn no_node_stops_on_the_word_of_one() {
    for role in Role::BOTH {
        let mut scene = Scene::set(role, Honest).await;
        scene.begin();
        let parts = &scene.bad.running.parts;
        let group = &parts.reads.context.group;
        let signer = parts.keys.signer(ORIGIN).await.unwrap();
        // Under the log key, which it holds, and cosigned by itself alone.
        let note = signer.sign(group.applied().size, OTHER_ROOT).unwrap();
        let mut notice = Writer::new();
        notice.u8(MESSAGE_VERSION).list(&[note], |w, note| {
            w.bytes(note.as_bytes());
        });
        let notice = Bytes::from(notice.finish());
        for to in [1, 2] {
            let (class, method) = (Class::Control, Method::DivergenceNotice);
            let peer = scene.bad.peer(to);
            let told = (scene.bad.transport).call(peer, class, method, notice.clone(), CALL_MAX);
            assert!(told.await.is_err(), "node {to} takes the notice");
            group.tell_known_disk(scene.bad.peer(to), [5; 16]);
        }
        let after = scene.judged().await;
        after.names("unproven_notice").await;
        after.blames_no_honest_node().await;
    }
}
