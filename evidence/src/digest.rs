//! SHA-256 digests and the domain tags that keep one hash from being read as another.
//!
//! Promises: every hash in the formats is made here or in [`crate::tree`], under a
//! tag of its own. Leaves what is hashed to the callers.

use sha2::{Digest as _, Sha256};
use std::fmt;

/// A SHA-256 digest: 32 raw bytes, shown as lower-case hexadecimal.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Digest(pub [u8; 32]);

/// Separates the hash and signature inputs of the formats; each ends in a line feed,
/// so that no tag is the beginning of another.
pub mod tag {
    pub const STATEMENT: &[u8] = b"muniment/statement/v1\n";
    pub const STATEMENT_HASH: &[u8] = b"muniment/statement-hash/v1\n";
    pub const DOCUMENT: &[u8] = b"muniment/document/v1\n";
    pub const ACTOR: &[u8] = b"muniment/actor/v1\n";
    pub const HOLDING: &[u8] = b"muniment/holding/v1\n";
    pub const METADATA: &[u8] = b"muniment/metadata/v1\n";
    pub const ENDORSEMENT: &[u8] = b"muniment/endorsement/v1\n";
    pub const BUNDLE: &[u8] = b"muniment/bundle/v1\n";
    pub const SAMPLE: &[u8] = b"muniment/sample/v1\n";
}

impl Digest {
    /// All zero: stands where there is nothing before (the first record, the first statement).
    pub const ZERO: Digest = Digest([0; 32]);

    /// SHA-256 over the parts, one after another.
    pub fn of(parts: &[&[u8]]) -> Digest {
        let mut hasher = Sha256::new();
        for part in parts {
            hasher.update(part);
        }
        Digest(hasher.finalize().into())
    }

    pub fn to_hex(self) -> String {
        hex(&self.0)
    }

    /// Reads exactly 64 hexadecimal digits, either case.
    pub fn from_hex(text: &str) -> Option<Digest> {
        Some(Digest(unhex(text)?.try_into().ok()?))
    }
}

/// Hashes a body as it arrives.
#[derive(Clone, Default)]
pub struct Hasher(Sha256);

impl Hasher {
    pub fn new() -> Hasher {
        Hasher::default()
    }

    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub fn finish(self) -> Digest {
        Digest(self.0.finalize().into())
    }
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(DIGITS[usize::from(byte >> 4)] as char);
        text.push(DIGITS[usize::from(byte & 15)] as char);
    }
    text
}

/// Reads hexadecimal of either case; `None` on an odd length or another character.
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    let text = text.as_bytes();
    if !text.len().is_multiple_of(2) {
        return None;
    }
    let nibble = |c: u8| (c as char).to_digit(16).map(|d| d as u8);
    text.chunks_exact(2)
        .map(|pair| Some(nibble(pair[0])? << 4 | nibble(pair[1])?))
        .collect()
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", &self.to_hex()[..12])
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_hex())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_reads_back_and_refuses_other_text() {
        let digest = Digest::of(&[b"a", b"bc"]);
        assert_eq!(
            digest.to_hex(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_eq!(Digest::from_hex(&digest.to_hex()), Some(digest));
        assert_eq!(Digest::from_hex("00"), None);
        assert_eq!(unhex("0g"), None);
        assert_eq!(unhex("abc"), None);
    }
}
