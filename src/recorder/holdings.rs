//! Holdings of other nodes, verified where they arrive: before a statement with them is
//! numbered.
//!
//! What is numbered must be recorded, so a holding that the leader or a verifier would
//! refuse must not get that far. Promises: a holding that passes is of this ledger and of an
//! epoch that may be named, from the disk and the zone that the ledger knows its node by,
//! and signed under a key in force for that node. Leaves which body it is for, and whether
//! there are enough of them, to whoever collects them, and deciding to apply.

use crate::domain::ids::{NodeId, UploadEpoch};
use crate::ledger::policy;
use crate::ledger::rows::NodeRow;
use crate::ledger::state::{State, Tables};
use crate::signatures::Signatures;
use crate::store::{Blocking, StoreError};
use muniment_evidence::digest::Digest;
use muniment_evidence::key::{PublicKey, VerifySignature as _};
use muniment_evidence::keys::KeyLife;
use muniment_evidence::opening::Holding;

/// Why a holding does not count.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HoldingFault {
    #[error("it is of another ledger")]
    OtherLedger,
    #[error("its upload epoch {said} may not be named at {now}")]
    Epoch { said: UploadEpoch, now: UploadEpoch },
    #[error("node {0} has not booted into the ledger")]
    NotBooted(NodeId),
    #[error("node {0} signs for another disk than the ledger knows")]
    OtherDisk(NodeId),
    #[error("node {node} says that it is in zone {said:?}, the ledger knows it in {known:?}")]
    OtherZone {
        node: NodeId,
        said: String,
        known: String,
    },
    #[error("no key in force for node {0} signed it")]
    BadSignature(NodeId),
}

impl HoldingFault {
    /// Whether no honest member signs so. An epoch passes while a body is under way, and a
    /// node may be asked before this one has applied its boot.
    pub fn is_misdeed(&self) -> bool {
        match self {
            HoldingFault::Epoch { .. } | HoldingFault::NotBooted(_) => false,
            HoldingFault::OtherLedger
            | HoldingFault::OtherDisk(_)
            | HoldingFault::OtherZone { .. }
            | HoldingFault::BadSignature(_) => true,
        }
    }
}

/// Verifies holdings against the applied state. Cheap to clone.
#[derive(Clone)]
pub struct HoldingVerifier {
    pub state: State,
    pub blocking: Blocking,
    pub signatures: Signatures,
}

/// What the ledger says, as far as a holding is compared with it.
struct Expected {
    ledger: Digest,
    epoch: UploadEpoch,
    row: Option<NodeRow>,
}

impl HoldingVerifier {
    /// Whether the holding counts; the outer error is a fault of storage.
    pub async fn verify(
        &self,
        holding: Holding,
    ) -> Result<Result<Holding, HoldingFault>, StoreError> {
        let (state, signatures) = (self.state.clone(), self.signatures.clone());
        let verified = self.blocking.run(move || {
            let judged = state.read(|tables| judged(tables, &signatures, &holding))?;
            Ok(judged.map(|()| holding))
        });
        verified.await
    }
}

fn judged(
    tables: &Tables<'_>,
    signatures: &Signatures,
    holding: &Holding,
) -> Result<Result<(), HoldingFault>, StoreError> {
    let head = tables.head()?;
    let expected = Expected {
        ledger: head.ledger,
        epoch: head.upload_epoch,
        row: tables.node(holding.node)?,
    };
    let row = match fits(holding, &expected) {
        Ok(row) => row,
        Err(fault) => return Ok(Err(fault)),
    };
    // Few holdings are of a node that has just changed its key: its history is read then only.
    if is_signed(signatures, holding, &row.statement_key) {
        return Ok(Ok(()));
    }
    let history = tables.key_history()?;
    match signed_by_any(signatures, holding, history.statement_keys(holding.node)) {
        true => Ok(Ok(())),
        false => Ok(Err(HoldingFault::BadSignature(holding.node))),
    }
}

/// Everything but the signature; pure.
fn fits<'a>(holding: &Holding, expected: &'a Expected) -> Result<&'a NodeRow, HoldingFault> {
    let node = holding.node;
    if holding.ledger != expected.ledger {
        return Err(HoldingFault::OtherLedger);
    }
    if !policy::may_be_named(holding.epoch, expected.epoch) {
        return Err(HoldingFault::Epoch {
            said: holding.epoch,
            now: expected.epoch,
        });
    }
    let row = expected.row.as_ref().filter(|row| row.boot.is_some());
    let row = row.ok_or(HoldingFault::NotBooted(node))?;
    if row.incarnation != holding.incarnation {
        return Err(HoldingFault::OtherDisk(node));
    }
    if row.zone != holding.zone {
        return Err(HoldingFault::OtherZone {
            node,
            said: holding.zone.clone(),
            known: row.zone.clone(),
        });
    }
    Ok(row)
}

/// Whether one of these keys signed it, none of which was revoked, or retired by an earlier upload
/// epoch: it may have been signed before its node started under another one.
pub(super) fn signed_by_any(signatures: &Signatures, holding: &Holding, keys: &[KeyLife]) -> bool {
    let last = |life: &&KeyLife| life.last_epoch.is_none_or(|last| holding.epoch <= last);
    let trusted = keys.iter().filter(|life| life.trusted_until.is_none());
    trusted
        .filter(last)
        .any(|life| is_signed(signatures, holding, &life.key))
}

pub(super) fn is_signed(signatures: &Signatures, holding: &Holding, key: &PublicKey) -> bool {
    signatures.verify(key, &holding.signed_bytes(), &holding.signature)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::BodyId;
    use crate::ledger::tests::TestLedger;
    use muniment_evidence::key::{SecretKey, Signature, Signer as _};

    /// Node 1 has booted from the disk of ones.
    fn good(ledger: &TestLedger) -> Holding {
        let head = ledger.head();
        let state = State::new(ledger.engine.clone());
        let row = state.read(|tables| tables.node(NodeId::new(1)));
        let row = row.unwrap().unwrap();
        signed(Holding {
            kind: muniment_evidence::opening::HoldingKind::Node,
            ledger: head.ledger,
            body_id: BodyId::new([2; 16]),
            sha256: Digest([3; 32]),
            chunk_root: Digest([3; 32]),
            length: 4,
            node: NodeId::new(1),
            incarnation: row.incarnation,
            zone: row.zone,
            epoch: head.upload_epoch,
            signature: Signature([0; 64]),
        })
    }

    fn signed(mut holding: Holding) -> Holding {
        let key = SecretKey::from_seed(&[1; 32]);
        holding.signature = key.sign(&holding.signed_bytes());
        holding
    }

    fn fault(ledger: &TestLedger, holding: &Holding) -> Option<HoldingFault> {
        let state = State::new(ledger.engine.clone());
        let judged = state.read(|tables| judged(tables, &Signatures::default(), holding));
        judged.unwrap().err()
    }

    /// Each of these, in a numbered statement, would be refused for ever, or spoil the
    /// record for every verifier.
    #[test]
    fn a_holding_that_the_ledger_would_not_take_is_found_where_it_arrives() {
        let (ledger, ..) = TestLedger::booted();
        let holding = good(&ledger);
        assert_eq!(fault(&ledger, &holding), None);
        let change = |change: fn(&mut Holding)| {
            let mut other = holding.clone();
            change(&mut other);
            fault(&ledger, &signed(other)).expect("it does not count")
        };
        let node = NodeId::new(1);
        assert_eq!(
            change(|h| h.ledger = Digest([9; 32])),
            HoldingFault::OtherLedger
        );
        assert!(matches!(
            change(|h| h.epoch = UploadEpoch::new(u64::MAX)),
            HoldingFault::Epoch { .. }
        ));
        assert_eq!(
            change(|h| h.incarnation = [9; 16]),
            HoldingFault::OtherDisk(node)
        );
        assert!(matches!(
            change(|h| h.zone = "elsewhere".into()),
            HoldingFault::OtherZone { .. }
        ));
        // Of a node that never booted, and of one that the ledger does not know.
        for other in [2, 99] {
            let mut of_another = holding.clone();
            of_another.node = NodeId::new(other);
            let found = fault(&ledger, &signed(of_another));
            assert_eq!(found, Some(HoldingFault::NotBooted(NodeId::new(other))));
        }
        let mut forged = holding.clone();
        forged.signature.0[3] ^= 1;
        let found = fault(&ledger, &forged);
        assert_eq!(found, Some(HoldingFault::BadSignature(node)));
    }
}
