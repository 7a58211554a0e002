//! Signatures that this node has made or verified, so that it verifies none twice.
//!
//! A record is looked at where its holdings arrive, where its leader takes it, and once more
//! behind what is applied. The bytes are the same each time, and a verification costs fifty
//! times what it takes to see that. Promises: a signature holds here only if the same key,
//! message and signature were verified in this process, or made by it; what differs in one bit
//! is verified anew. Remembers the last ones only, which is enough since the same record comes
//! by within seconds; what is forgotten is verified again. Leaves which key may speak to who
//! asks.

use crate::sync::Shared;
use muniment_evidence::digest::Digest;
use muniment_evidence::key::{PublicKey, ReadyKey, Signature, Signer, VerifySignature};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Signatures of one generation; two are kept. A record has about four, so that what came
/// within the last seconds is known at a thousand records a second, in 1 MiB.
const GENERATION_MAX: usize = 8_192;
/// Keys whose points are kept worked out; members have one or two each that still sign.
const KEYS_MAX: usize = 256;

/// See the module. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Signatures(Shared<Known>);

#[derive(Debug, Default)]
struct Known {
    young: HashSet<Digest>,
    old: HashSet<Digest>,
    keys: HashMap<PublicKey, Option<ReadyKey>>,
}

impl Known {
    fn contains(&self, one: &Digest) -> bool {
        self.young.contains(one) || self.old.contains(one)
    }

    fn insert(&mut self, one: Digest) {
        if self.young.len() >= GENERATION_MAX {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(one);
    }

    fn key(&mut self, key: &PublicKey) -> Option<ReadyKey> {
        if self.keys.len() >= KEYS_MAX {
            self.keys.clear();
        }
        *self.keys.entry(*key).or_insert_with(|| key.ready())
    }
}

/// What is the same only for the same key, message and signature: two of the three have one
/// length each.
fn name(key: &PublicKey, message: &[u8], signature: &Signature) -> Digest {
    Digest::of(&[&key.0, &signature.0, message])
}

impl Signatures {
    /// Signs as `signer` does, and knows what it signed.
    pub fn signing(&self, signer: Arc<dyn Signer>) -> Arc<dyn Signer> {
        Arc::new(Remembering {
            signer,
            signatures: self.clone(),
        })
    }
}

impl VerifySignature for Signatures {
    fn verify(&self, key: &PublicKey, message: &[u8], signature: &Signature) -> bool {
        let name = name(key, message, signature);
        let ready = {
            let mut known = self.0.lock();
            if known.contains(&name) {
                return true;
            }
            known.key(key)
        };
        let holds = ready.is_some_and(|ready| ready.verify(message, signature));
        if holds {
            self.0.lock().insert(name);
        }
        holds
    }
}

struct Remembering {
    signer: Arc<dyn Signer>,
    signatures: Signatures,
}

impl Signer for Remembering {
    fn public(&self) -> PublicKey {
        self.signer.public()
    }

    fn sign(&self, message: &[u8]) -> Signature {
        let key = self.signer.public();
        let signature = self.signer.sign(message);
        // A node that starts to sign under another key meanwhile remembers nothing.
        if self.signer.public() == key {
            let name = name(&key, message, &signature);
            self.signatures.0.lock().insert(name);
        }
        signature
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use muniment_evidence::key::SecretKey;

    fn key(seed: u8) -> SecretKey {
        SecretKey::from_seed(&[seed; 32])
    }

    fn is_known(signatures: &Signatures, key: &PublicKey, signature: &Signature) -> bool {
        let name = name(key, b"message", signature);
        signatures.0.lock().contains(&name)
    }

    #[test]
    fn what_was_made_or_verified_here_is_known_and_nothing_that_differs() {
        let signatures = Signatures::default();
        let (own, other) = (key(1), key(2));
        let made = signatures.signing(Arc::new(own.clone())).sign(b"message");
        assert!(is_known(&signatures, &own.public(), &made));
        let theirs = other.sign(b"message");
        assert!(!is_known(&signatures, &other.public(), &theirs));
        assert!(signatures.verify(&other.public(), b"message", &theirs));
        assert!(is_known(&signatures, &other.public(), &theirs));
        assert!(signatures.verify(&other.public(), b"message", &theirs));
        // Another message, another key, one bit of the signature.
        assert!(!signatures.verify(&other.public(), b"another", &theirs));
        assert!(!signatures.verify(&own.public(), b"message", &theirs));
        let mut flipped = theirs;
        flipped.0[40] ^= 1;
        assert!(!signatures.verify(&other.public(), b"message", &flipped));
        assert!(!is_known(&signatures, &other.public(), &flipped));
    }

    #[test]
    fn the_last_ones_are_remembered_and_no_more() {
        let signatures = Signatures::default();
        let mut known = signatures.0.lock();
        for number in 0..10 * GENERATION_MAX as u64 {
            known.insert(Digest::of(&[&number.to_be_bytes()]));
            assert!(known.young.len() + known.old.len() <= 2 * GENERATION_MAX);
        }
        let number = |number: u64| Digest::of(&[&number.to_be_bytes()]);
        let last = 10 * GENERATION_MAX as u64 - 1;
        assert!(known.contains(&number(last - GENERATION_MAX as u64)));
        assert!(!known.contains(&number(0)));
    }
}
