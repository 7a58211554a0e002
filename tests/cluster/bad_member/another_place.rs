//! Holdings rightly signed, for another zone than the ledger knows the member in.

use super::{Role, Scene, Twist};
use bytes::Bytes;
use muniment::keyring::Keyring;
use muniment::transport::Method;
use muniment_evidence::key::{SecretKey, Signer as _};
use muniment_evidence::keychange::Role as KeyRole;
use muniment_evidence::opening::Holding;
use std::sync::{Arc, OnceLock};

/// Signs, with the member's own key, for the zone of another.
#[derive(Clone, Default)]
struct Elsewhere(Arc<OnceLock<Arc<SecretKey>>>);

impl Twist for Elsewhere {
    fn answer(&self, method: Method, frame: Bytes) -> Bytes {
        let decoded = (method == Method::PutBody).then(|| Holding::decode(&frame));
        let (Some(Ok(mut holding)), Some(key)) = (decoded, self.0.get()) else {
            return frame;
        };
        holding.zone = "zone-1".into();
        holding.signature = key.sign(&holding.signed_bytes());
        Bytes::from(holding.encode())
    }
}

fn statement_key(keyring: &Keyring) -> Arc<SecretKey> {
    let public = keyring.public(KeyRole::Statement)[0];
    keyring.find(KeyRole::Statement, &public).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_holding_signed_for_another_zone_counts_nowhere() {
    for role in Role::BOTH {
        let twist = Elsewhere::default();
        let mut scene = Scene::set(role, twist.clone()).await;
        let own = statement_key(&scene.bad.keyring);
        assert!(twist.0.set(own).is_ok());
        scene.begin();
        let after = scene.judged().await;
        after.names("bad_holding").await;
        after.blames_no_honest_node().await;
    }
}
