//! Ed25519 keys and signatures, as raw bytes with strict verification.
//!
//! Promises: [`PublicKey::verify`] is `verify_strict` (RFC 8032 with small-order points
//! refused) under a key in its one canonical writing, so two verifiers never disagree
//! about a signature.
//! Leaves the keeping of private keys to the node; here is only the trait it fulfils.

use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};
use std::fmt;

/// 32 bytes of an Ed25519 public key.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PublicKey(pub [u8; 32]);

/// 64 bytes of an Ed25519 signature.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Signature(pub [u8; 64]);

/// Signs with a key that the implementer keeps.
pub trait Signer: Send + Sync {
    fn public(&self) -> PublicKey;
    fn sign(&self, message: &[u8]) -> Signature;
}

/// Says what [`PublicKey::verify`] says, in some other way: sooner, for instance, of what it has
/// seen already.
pub trait VerifySignature: fmt::Debug + Send + Sync {
    fn verify(&self, key: &PublicKey, message: &[u8], signature: &Signature) -> bool;
}

/// A key held in memory, made from its 32-byte seed.
#[derive(Clone)]
pub struct SecretKey(SigningKey);

impl SecretKey {
    pub fn from_seed(seed: &[u8; 32]) -> SecretKey {
        SecretKey(SigningKey::from_bytes(seed))
    }

    pub fn seed(&self) -> [u8; 32] {
        self.0.to_bytes()
    }
}

impl Signer for SecretKey {
    fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key().to_bytes())
    }

    fn sign(&self, message: &[u8]) -> Signature {
        Signature(self.0.sign(message).to_bytes())
    }
}

/// A public key with its point worked out: for many signatures under one key.
#[derive(Clone, Copy, Debug)]
pub struct ReadyKey(VerifyingKey);

impl ReadyKey {
    pub fn verify(&self, message: &[u8], signature: &Signature) -> bool {
        let signature = ed25519_dalek::Signature::from_bytes(&signature.0);
        self.0.verify_strict(message, &signature).is_ok()
    }
}

impl PublicKey {
    /// Whether the bytes are a point that strict verification accepts as a key.
    pub fn is_valid(&self) -> bool {
        self.is_canonical() && VerifyingKey::from_bytes(&self.0).is_ok_and(|key| !key.is_weak())
    }

    /// Whether y is below 2^255 - 19, so that one key has one writing. The library reads
    /// others too; the one that is left, a sign where x is 0, is of small order.
    fn is_canonical(&self) -> bool {
        let [low, middle @ .., high] = &self.0;
        *low < 0xed || middle.iter().any(|byte| *byte != 0xff) || high & 0x7f != 0x7f
    }

    /// `None` if the bytes are no point, or one in another writing; then no signature holds.
    pub fn ready(&self) -> Option<ReadyKey> {
        if !self.is_canonical() {
            return None;
        }
        VerifyingKey::from_bytes(&self.0).ok().map(ReadyKey)
    }

    pub fn verify(&self, message: &[u8], signature: &Signature) -> bool {
        self.ready()
            .is_some_and(|key| key.verify(message, signature))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&crate::digest::hex(&self.0))
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}…", crate::digest::hex(&self.0[..6]))
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey(of {:?})", self.public())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_holds_for_its_message_and_key_only() {
        let (a, b) = (
            SecretKey::from_seed(&[1; 32]),
            SecretKey::from_seed(&[2; 32]),
        );
        let signature = a.sign(b"message");
        assert!(a.public().verify(b"message", &signature));
        assert!(!a.public().verify(b"another", &signature));
        assert!(!b.public().verify(b"message", &signature));
        let ready = a.public().ready().unwrap();
        assert!(ready.verify(b"message", &signature));
        assert!(!ready.verify(b"another", &signature));
        // The identity point is a key of small order: strict verification refuses it.
        let mut weak = [0; 32];
        weak[0] = 1;
        assert!(!PublicKey(weak).is_valid());
        // y = 3 written as p + 3: a point of large order, in a second writing.
        let (mut three, mut again) = ([0; 32], [0xff; 32]);
        (three[0], again[0], again[31]) = (3, 0xf0, 0x7f);
        assert!(PublicKey(three).is_valid());
        assert!(VerifyingKey::from_bytes(&again).is_ok_and(|key| !key.is_weak()));
        assert!(!PublicKey(again).is_valid());
        // Under it this one would hold for every message.
        let mut forged = Signature([0; 64]);
        forged.0[0] = 1;
        assert!(!PublicKey(weak).verify(b"message", &forged));
        assert!(!PublicKey(weak).ready().unwrap().verify(b"message", &forged));
        assert!(PublicKey([2; 32]).ready().is_none());
    }
}
