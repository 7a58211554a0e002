//! The END of a download that another node serves.

use super::{Honest, Role, Scene};
use crate::harness::{download, issue};
use muniment::recorder::Intent;
use muniment_evidence::opening::{Delivered, Document, DownloadEndDocument};
use muniment_evidence::receipt::Receipt;
use muniment_evidence::record::{Outcome, Record};

#[tokio::test(flavor = "multi_thread")]
async fn a_download_is_ended_by_the_node_that_served_it_alone() {
    for role in Role::BOTH {
        let mut scene = Scene::set(role, Honest).await;
        let honest = &scene.cluster.nodes[0];
        issue(honest, "ended", "ended", b"%PDF ended")
            .await
            .unwrap();
        let (header, _, _) = download(honest, "ended").await.unwrap();
        let receipt = Receipt::decode(&header.receipt.unwrap().bytes).unwrap();
        let downloaded = Record::decode(&receipt.record).unwrap();
        scene.begin();
        let document = Document::DownloadEnd(DownloadEndDocument {
            tenant: "default".into(),
            downloads: vec![Delivered {
                download: downloaded.index,
                bytes: 1 << 40,
                complete: true,
            }],
        });
        let recorded = scene.bad.record(Intent::system(document)).await;
        let outcome = recorded.expect("it leaves a record").outcome;
        assert!(matches!(outcome, Outcome::Refused(_)), "{outcome:?}");
        let after = scene.judged().await;
        after.blames_no_honest_node().await;
    }
}
