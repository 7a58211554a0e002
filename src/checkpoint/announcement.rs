//! Announcements: which ML-DSA keys a node cosigns with.
//!
//! The ledger does not name these keys, so that receipts stay small; a node says them
//! itself, under its cosignature key that the ledger names. Promises that an announcement
//! is believed only of the node and the ledger that it was made for. Leaves it to whoever
//! pins a key in a policy to know whose it is.

use crate::domain::ids::NodeId;
use muniment_evidence::codec::{DecodeError, Reader, Writer};
use muniment_evidence::digest::Digest;
use muniment_evidence::key::{SecretKey, Signature, Signer as _};
use muniment_evidence::ml_dsa::MlDsaPublicKey;
use muniment_evidence::note::VerifierKey;

/// Between nodes only; no evidence is signed under it.
const TAG: &[u8] = b"muniment/ml-dsa-key/v1\n";

/// A key, and the node's word for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announcement {
    pub key: MlDsaPublicKey,
    signature: Signature,
}

impl Announcement {
    pub fn make(ledger: &Digest, node: NodeId, key: MlDsaPublicKey, by: &SecretKey) -> Self {
        let signature = by.sign(&message(ledger, node, &key));
        Announcement { key, signature }
    }

    /// Whether one of `keys`, the node's cosignature keys in force, has signed it.
    pub fn holds(&self, ledger: &Digest, node: NodeId, keys: &[VerifierKey]) -> bool {
        let message = message(ledger, node, &self.key);
        let signed = |key: &VerifierKey| {
            let key = key.key.ed25519();
            key.is_some_and(|key| key.verify(&message, &self.signature))
        };
        keys.iter().any(signed)
    }

    pub fn write(&self, w: &mut Writer) {
        w.bytes(self.key.bytes()).raw(&self.signature.0);
    }

    pub fn read(r: &mut Reader<'_>) -> Result<Announcement, DecodeError> {
        let key = MlDsaPublicKey::from_bytes(r.bytes()?);
        Ok(Announcement {
            key: key.ok_or_else(|| r.error("an ML-DSA key of 1312 bytes"))?,
            signature: Signature(r.array()?),
        })
    }
}

fn message(ledger: &Digest, node: NodeId, key: &MlDsaPublicKey) -> Vec<u8> {
    let node = node.get().to_be_bytes();
    [TAG, &ledger.0[..], &node[..], &key.bytes()[..]].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use muniment_evidence::ml_dsa::MlDsaSecretKey;

    #[test]
    fn an_announcement_is_of_one_node_one_ledger_and_one_key() {
        let by = SecretKey::from_seed(&[1; 32]);
        let keys = [VerifierKey::cosigner("o/r/z/1", by.public())];
        let of = |seed: u8| MlDsaSecretKey::from_seed(&[seed; 32]).public();
        let (ledger, node) = (Digest([5; 32]), NodeId::new(1));
        let made = Announcement::make(&ledger, node, of(7), &by);
        assert!(made.holds(&ledger, node, &keys));
        assert!(!made.holds(&ledger, NodeId::new(2), &keys));
        assert!(!made.holds(&Digest([6; 32]), node, &keys));
        assert!(!made.holds(&ledger, node, &[]));
        let other = Announcement {
            key: of(8),
            ..made.clone()
        };
        assert!(!other.holds(&ledger, node, &keys));
        let mut w = Writer::new();
        made.write(&mut w);
        let bytes = w.finish();
        let mut r = Reader::new(&bytes);
        assert_eq!(Announcement::read(&mut r), Ok(made));
    }
}
