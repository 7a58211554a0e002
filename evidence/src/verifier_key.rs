//! Verifier keys: who may sign a note, by which algorithm (C2SP signed-note v1.0.0).
//!
//! A key is an algorithm and bytes. Promises one writing for one key, and that a key in
//! hand is usable. Leaves it to the policy which types it takes: a type that is not known
//! here is read only where somebody asks for it ([`VerifierKey::parse_any`]), and no line
//! is ever its own.

use crate::digest::hex;
use crate::key::PublicKey;
use crate::ml_dsa::MlDsaPublicKey;
use crate::note::NoteError;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use sha2::{Digest as _, Sha256};
use std::fmt;

/// Signature types (C2SP signed-note).
pub const TYPE_ED25519: u8 = 0x01;
pub const TYPE_COSIGNATURE: u8 = 0x04;
pub const TYPE_ML_DSA_COSIGNATURE: u8 = 0x06;

/// What an ML-DSA cosignature can say of names: their length is one byte there.
pub const ML_DSA_NAME_BYTES_MAX: usize = 255;

/// A named public key: `name+hash+base64(type ‖ key)`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct VerifierKey {
    pub name: String,
    pub key: TypedKey,
}

/// A public key and what it signs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TypedKey {
    /// Ed25519 over the text: a log's own signature.
    Log(PublicKey),
    /// Ed25519 over a time and the text.
    Cosigner(PublicKey),
    /// ML-DSA-44 over names, a time, size and root.
    MlDsaCosigner(MlDsaPublicKey),
    /// A type that has no rules here; its id is its own affair.
    Unknown {
        kind: u8,
        id: [u8; 4],
        bytes: Vec<u8>,
    },
}

impl TypedKey {
    /// The signature type.
    pub fn kind(&self) -> u8 {
        match self {
            TypedKey::Log(_) => TYPE_ED25519,
            TypedKey::Cosigner(_) => TYPE_COSIGNATURE,
            TypedKey::MlDsaCosigner(_) => TYPE_ML_DSA_COSIGNATURE,
            TypedKey::Unknown { kind, .. } => *kind,
        }
    }

    /// The bare key: two types may wrap the same one.
    pub fn bytes(&self) -> &[u8] {
        match self {
            TypedKey::Log(key) | TypedKey::Cosigner(key) => &key.0,
            TypedKey::MlDsaCosigner(key) => key.bytes(),
            TypedKey::Unknown { bytes, .. } => bytes,
        }
    }

    pub fn ed25519(&self) -> Option<&PublicKey> {
        match self {
            TypedKey::Log(key) | TypedKey::Cosigner(key) => Some(key),
            TypedKey::MlDsaCosigner(_) | TypedKey::Unknown { .. } => None,
        }
    }
}

impl VerifierKey {
    /// The log's own key: its name is the origin.
    pub fn log(origin: &str, key: PublicKey) -> VerifierKey {
        VerifierKey {
            name: origin.to_owned(),
            key: TypedKey::Log(key),
        }
    }

    pub fn cosigner(name: &str, key: PublicKey) -> VerifierKey {
        VerifierKey {
            name: name.to_owned(),
            key: TypedKey::Cosigner(key),
        }
    }

    pub fn ml_dsa_cosigner(name: &str, key: MlDsaPublicKey) -> VerifierKey {
        VerifierKey {
            name: name.to_owned(),
            key: TypedKey::MlDsaCosigner(key),
        }
    }

    pub fn kind(&self) -> u8 {
        self.key.kind()
    }

    /// First four bytes of SHA-256(name ‖ LF ‖ type ‖ key).
    pub fn id(&self) -> [u8; 4] {
        if let TypedKey::Unknown { id, .. } = &self.key {
            return *id;
        }
        let hash = Sha256::new()
            .chain_update(self.name.as_bytes())
            .chain_update([b'\n', self.kind()])
            .chain_update(self.key.bytes())
            .finalize();
        [hash[0], hash[1], hash[2], hash[3]]
    }

    /// Whether the name is one and the key can have signed anything, as far as its type is
    /// known.
    pub fn is_usable(&self) -> bool {
        is_key_name(&self.name)
            && match &self.key {
                TypedKey::Log(key) | TypedKey::Cosigner(key) => key.is_valid(),
                TypedKey::MlDsaCosigner(_) => self.name.len() <= ML_DSA_NAME_BYTES_MAX,
                TypedKey::Unknown { .. } => true,
            }
    }

    /// Reads a key of a type that is known.
    pub fn parse(text: &str) -> Result<VerifierKey, NoteError> {
        match VerifierKey::parse_any(text)? {
            key if matches!(key.key, TypedKey::Unknown { .. }) => {
                Err(NoteError("the key is of an unknown type"))
            }
            key => Ok(key),
        }
    }

    /// Reads a key of any type. Of a type that is not known, neither the key nor how its id
    /// is made can be checked.
    pub fn parse_any(text: &str) -> Result<VerifierKey, NoteError> {
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(NoteError("a verifier key is name+hash+key"));
        };
        if !is_key_name(name) {
            return Err(NoteError(
                "a key name is not empty and has no space and no plus",
            ));
        }
        let typed = BASE64
            .decode(key)
            .map_err(|_| NoteError("the key is not base64"))?;
        let Some((&kind, bytes)) = typed.split_first() else {
            return Err(NoteError("the key has no type"));
        };
        let ed25519 = || {
            let key = bytes.try_into().map(PublicKey);
            key.map_err(|_| NoteError("an Ed25519 key has 32 bytes"))
        };
        let key = match kind {
            TYPE_ED25519 => TypedKey::Log(ed25519()?),
            TYPE_COSIGNATURE => TypedKey::Cosigner(ed25519()?),
            TYPE_ML_DSA_COSIGNATURE => MlDsaPublicKey::from_bytes(bytes)
                .map(TypedKey::MlDsaCosigner)
                .ok_or(NoteError("an ML-DSA-44 key has 1312 bytes"))?,
            kind => TypedKey::Unknown {
                kind,
                id: read_id(id).ok_or(NoteError("the key's hash is not eight digits"))?,
                bytes: bytes.to_vec(),
            },
        };
        let verifier = VerifierKey {
            name: name.to_owned(),
            key,
        };
        if !verifier.is_usable() {
            return Err(match verifier.key {
                TypedKey::MlDsaCosigner(_) => NoteError("the name has more than 255 bytes"),
                _ => NoteError("the key is not a usable Ed25519 point"),
            });
        }
        // One writing for one key: upper-case digits are refused.
        if id != hex(&verifier.id()) {
            return Err(NoteError("the key's hash does not match the key"));
        }
        Ok(verifier)
    }
}

fn read_id(text: &str) -> Option<[u8; 4]> {
    crate::digest::unhex(text)?.try_into().ok()
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let typed = [&[self.kind()], self.key.bytes()].concat();
        let id = hex(&self.id());
        write!(f, "{}+{}+{}", self.name, id, BASE64.encode(typed))
    }
}

/// A key name (and so an origin): not empty, no Unicode space or control, no plus.
pub fn is_key_name(name: &str) -> bool {
    !name.is_empty()
        && !name
            .chars()
            .any(|c| c.is_whitespace() || c.is_control() || c == '+')
}
