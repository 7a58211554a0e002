//! Holdings that the ledger does not take: not signed, of another ledger, of another body.

use super::{Role, Scene, Twist};
use bytes::Bytes;
use muniment::transport::Method;
use muniment_evidence::digest::Digest;
use muniment_evidence::opening::Holding;

/// Changes each holding with which it answers for a body.
struct Holdings(fn(&mut Holding));

impl Twist for Holdings {
    fn answer(&self, method: Method, frame: Bytes) -> Bytes {
        if method != Method::PutBody {
            return frame;
        }
        match Holding::decode(&frame) {
            Ok(mut holding) => {
                (self.0)(&mut holding);
                Bytes::from(holding.encode())
            }
            Err(_) => frame,
        }
    }
}

async fn nobody_counts(change: fn(&mut Holding)) {
    for role in Role::BOTH {
        let mut scene = Scene::set(role, Holdings(change)).await;
        scene.begin();
        let after = scene.judged().await;
        after.names("bad_holding").await;
        after.blames_no_honest_node().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_holding_that_is_not_signed_counts_nowhere() {
    nobody_counts(|holding| holding.signature.0[7] ^= 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_holding_of_another_ledger_counts_nowhere() {
    nobody_counts(|holding| holding.ledger = Digest([9; 32])).await;
}
