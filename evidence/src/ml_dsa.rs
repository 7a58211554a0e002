//! ML-DSA-44 keys and signatures (FIPS 204, final): for cosignatures that do not fall with
//! Ed25519.
//!
//! Promises: one signature has one writing (a signature whose parts are out of range, or
//! whose hint is not in its one order, is refused), and one key and message have one
//! signature, since signing is the deterministic variant of the standard: this library has
//! no randomness, and asks for none. The context string is empty, as C2SP
//! tlog-cosignature has it. Leaves the keeping of seeds to the node, and what is signed to
//! [`crate::note`].
//!
//! Tests: `evidence/tests/ml_dsa.rs`, with known answers and a line of another program.

use ::ml_dsa::{KeyExport as _, Keypair as _, MlDsa44, Seed, Signature, SigningKey, VerifyingKey};
use ::ml_dsa::{Signer as _, Verifier as _};
use std::fmt;

/// Bytes of a public key and of a signature, as FIPS 204 fixes them.
pub const KEY_BYTES: usize = 1312;
pub const SIGNATURE_BYTES: usize = 2420;

/// A public key. Any bytes of this length are one.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct MlDsaPublicKey(Box<[u8; KEY_BYTES]>);

impl MlDsaPublicKey {
    /// `None` if the length is another.
    pub fn from_bytes(bytes: &[u8]) -> Option<MlDsaPublicKey> {
        let bytes: &[u8; KEY_BYTES] = bytes.try_into().ok()?;
        Some(MlDsaPublicKey(Box::new(*bytes)))
    }

    pub fn bytes(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }

    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        let Ok(signature) = Signature::<MlDsa44>::try_from(signature) else {
            return false;
        };
        let key = VerifyingKey::<MlDsa44>::decode(&(*self.0).into());
        key.verify(message, &signature).is_ok()
    }
}

/// A key held in memory, made from its 32-byte seed; the seed is wiped when it is dropped.
pub struct MlDsaSecretKey(Box<SigningKey<MlDsa44>>);

impl MlDsaSecretKey {
    pub fn from_seed(seed: &[u8; 32]) -> MlDsaSecretKey {
        MlDsaSecretKey(Box::new(SigningKey::from_seed(&Seed::from(*seed))))
    }

    pub fn seed(&self) -> [u8; 32] {
        self.0.to_seed().into()
    }

    pub fn public(&self) -> MlDsaPublicKey {
        let bytes = self.0.verifying_key().to_bytes();
        MlDsaPublicKey::from_bytes(&bytes).expect("a key has this length by its type")
    }

    /// [`SIGNATURE_BYTES`] bytes.
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        let signature = self.0.try_sign(message);
        // Each of 814 attempts would have to fail, of which a fourth succeeds (FIPS 204,
        // appendix C); the seed is 32 bytes, so the key is well-formed.
        let signature =
            signature.expect("an attempt of 814 succeeds, but for chances below 2^-128");
        signature.encode().to_vec()
    }
}

impl fmt::Debug for MlDsaPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}…", crate::digest::hex(&self.0[..6]))
    }
}

impl fmt::Debug for MlDsaSecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MlDsaSecretKey(of {:?})", self.public())
    }
}
