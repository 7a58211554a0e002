//! Signed notes, checkpoints and cosignatures, byte for byte as C2SP wrote them
//! (signed-note v1.0.0, tlog-checkpoint v1.0.0, tlog-cosignature v1.0.1).
//!
//! Promises: reading refuses non-canonical input (leading zeros, other base64, control
//! characters); a note is trusted only by its signatures, never by its text. Leaves the
//! choice of keys and quorums to the verifier.
//!
//! Tests: `evidence/tests/notes.rs`, `evidence/tests/vectors.rs`.

use crate::digest::{Digest, hex};
use crate::ids::TreeSize;
use crate::key::{PublicKey, Signature, Signer};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use sha2::{Digest as _, Sha256};
use std::fmt;

/// Signature types (C2SP signed-note).
pub const TYPE_ED25519: u8 = 0x01;
pub const TYPE_COSIGNATURE: u8 = 0x04;

/// The most bytes a signed note may have here: 32 signature lines fit ten times over.
pub const NOTE_BYTES_MAX: usize = 64 * 1024;

/// Why a note, checkpoint or verifier key could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoteError(pub &'static str);

impl fmt::Display for NoteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for NoteError {}

/// A named public key: `name+hash+base64(type ‖ key)`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct VerifierKey {
    pub name: String,
    /// [`TYPE_ED25519`] or [`TYPE_COSIGNATURE`].
    pub kind: u8,
    pub key: PublicKey,
}

impl VerifierKey {
    /// The log's own key: its name is the origin.
    pub fn log(origin: &str, key: PublicKey) -> VerifierKey {
        VerifierKey {
            name: origin.to_owned(),
            kind: TYPE_ED25519,
            key,
        }
    }

    pub fn cosigner(name: &str, key: PublicKey) -> VerifierKey {
        VerifierKey {
            name: name.to_owned(),
            kind: TYPE_COSIGNATURE,
            key,
        }
    }

    /// First four bytes of SHA-256(name ‖ LF ‖ type ‖ key).
    pub fn id(&self) -> [u8; 4] {
        let hash = Sha256::new()
            .chain_update(self.name.as_bytes())
            .chain_update([b'\n', self.kind])
            .chain_update(self.key.0)
            .finalize();
        [hash[0], hash[1], hash[2], hash[3]]
    }

    pub fn parse(text: &str) -> Result<VerifierKey, NoteError> {
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(NoteError("a verifier key is name+hash+key"));
        };
        if !is_key_name(name) {
            return Err(NoteError(
                "a key name is not empty and has no space and no plus",
            ));
        }
        let bytes = BASE64
            .decode(key)
            .map_err(|_| NoteError("the key is not base64"))?;
        let (kind, key) = match bytes.split_first() {
            Some((kind @ (&TYPE_ED25519 | &TYPE_COSIGNATURE), key)) => (*kind, key),
            _ => return Err(NoteError("the key is of an unknown type")),
        };
        let key = key
            .try_into()
            .map_err(|_| NoteError("an Ed25519 key has 32 bytes"))?;
        let verifier = VerifierKey {
            name: name.to_owned(),
            kind,
            key: PublicKey(key),
        };
        if !verifier.key.is_valid() {
            return Err(NoteError("the key is not a usable Ed25519 point"));
        }
        // One writing for one key: upper-case digits are refused.
        if id != hex(&verifier.id()) {
            return Err(NoteError("the key's hash does not match the key"));
        }
        Ok(verifier)
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let typed = [&[self.kind], &self.key.0[..]].concat();
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

/// Origin, size and root of a log: what a checkpoint says.
///
/// ```
/// use muniment_evidence::digest::Digest;
/// use muniment_evidence::ids::TreeSize;
/// use muniment_evidence::key::{SecretKey, Signer};
/// use muniment_evidence::note::{Checkpoint, Note, VerifierKey, Vouch};
///
/// let key = SecretKey::from_seed(&[7; 32]);
/// let origin = "ledger.example/0".to_owned();
/// let checkpoint = Checkpoint { origin, size: TreeSize::new(3), root: Digest::ZERO };
/// let signed = checkpoint.sign(&key);
///
/// let note = Note::parse(signed.as_bytes())?;
/// let log = VerifierKey::log("ledger.example/0", key.public());
/// assert_eq!(note.vouch(&log), Vouch::Signed);
/// assert_eq!(Checkpoint::parse(&note.text)?, checkpoint);
/// # Ok::<(), muniment_evidence::note::NoteError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Checkpoint {
    pub origin: String,
    pub size: TreeSize,
    pub root: Digest,
}

impl Checkpoint {
    /// Three lines, each ended by a line feed.
    pub fn text(&self) -> String {
        let root = BASE64.encode(self.root.0);
        format!("{}\n{}\n{}\n", self.origin, self.size, root)
    }

    /// Reads the text; extension lines are refused, since nobody can audit them.
    pub fn parse(text: &str) -> Result<Checkpoint, NoteError> {
        let body = text
            .strip_suffix('\n')
            .ok_or(NoteError("a checkpoint ends in a line feed"))?;
        let mut lines = body.split('\n');
        let (Some(origin), Some(size), Some(root), None) =
            (lines.next(), lines.next(), lines.next(), lines.next())
        else {
            return Err(NoteError("a checkpoint has three lines"));
        };
        if !is_key_name(origin) {
            return Err(NoteError("the origin is not a key name"));
        }
        let number: u64 = size
            .parse()
            .map_err(|_| NoteError("the size is not a number"))?;
        if number.to_string() != size {
            return Err(NoteError("the size is not written canonically"));
        }
        let root = BASE64
            .decode(root)
            .ok()
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or(NoteError("the root is not 32 bytes of base64"))?;
        Ok(Checkpoint {
            origin: origin.to_owned(),
            size: TreeSize::new(number),
            root: Digest(root),
        })
    }

    /// The note with the log's own signature.
    pub fn sign(&self, log_key: &dyn Signer) -> String {
        format!("{}\n{}", self.text(), self.log_line(log_key))
    }

    /// The line of one log key: further ones are appended while keys overlap.
    pub fn log_line(&self, log_key: &dyn Signer) -> String {
        let key = VerifierKey::log(&self.origin, log_key.public());
        let signature = log_key.sign(self.text().as_bytes());
        signature_line(&key, &signature.0)
    }

    /// A cosignature line (to be appended to a note) at `time_s`, seconds since 1970.
    pub fn cosign(&self, name: &str, key: &dyn Signer, time_s: u64) -> String {
        let verifier = VerifierKey::cosigner(name, key.public());
        let signature = key.sign(cosigned_message(&self.text(), time_s).as_bytes());
        let blob = [&time_s.to_be_bytes()[..], &signature.0].concat();
        signature_line(&verifier, &blob)
    }
}

/// A note taken apart, nothing verified yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    pub text: String,
    pub signatures: Vec<NoteSignature>,
}

/// One signature line: the key's name and id, and the bytes after the id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoteSignature {
    pub name: String,
    pub id: [u8; 4],
    pub bytes: Vec<u8>,
}

/// What one key says of a note.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vouch {
    /// No line of this key.
    Absent,
    /// A line of this key that does not verify.
    Invalid,
    /// The log's signature.
    Signed,
    /// A cosignature of this time, seconds since 1970.
    Cosigned { time_s: u64 },
}

impl Note {
    pub fn parse(bytes: &[u8]) -> Result<Note, NoteError> {
        if bytes.len() > NOTE_BYTES_MAX {
            return Err(NoteError("the note is too long"));
        }
        let all = std::str::from_utf8(bytes).map_err(|_| NoteError("the note is not UTF-8"))?;
        if all.chars().any(|c| c < ' ' && c != '\n') {
            return Err(NoteError("the note has control characters"));
        }
        let split = all
            .rfind("\n\n")
            .ok_or(NoteError("the note has no signatures"))?;
        let (text, lines) = (&all[..=split], &all[split + 2..]);
        let lines = lines
            .strip_suffix('\n')
            .ok_or(NoteError("the note does not end in a line feed"))?;
        let signatures = lines
            .split('\n')
            .map(parse_signature)
            .collect::<Result<_, _>>()?;
        Ok(Note {
            text: text.to_owned(),
            signatures,
        })
    }

    /// Lines with another name or id are not this key's and are passed over.
    pub fn vouch(&self, key: &VerifierKey) -> Vouch {
        let id = key.id();
        let mut found = Vouch::Absent;
        for line in &self.signatures {
            if line.name != key.name || line.id != id {
                continue;
            }
            let this = self.check(key, &line.bytes);
            if this == Vouch::Invalid {
                return this;
            }
            found = this;
        }
        found
    }

    fn check(&self, key: &VerifierKey, bytes: &[u8]) -> Vouch {
        match key.kind {
            TYPE_ED25519 => match bytes.try_into() {
                Ok(signature) if key.key.verify(self.text.as_bytes(), &Signature(signature)) => {
                    Vouch::Signed
                }
                _ => Vouch::Invalid,
            },
            TYPE_COSIGNATURE if bytes.len() == 72 => {
                let (time, signature) = bytes.split_at(8);
                let time_s = u64::from_be_bytes(time.try_into().expect("split at eight"));
                let signature = Signature(signature.try_into().expect("64 of 72 are left"));
                let message = cosigned_message(&self.text, time_s);
                if time_s <= i64::MAX as u64 && key.key.verify(message.as_bytes(), &signature) {
                    Vouch::Cosigned { time_s }
                } else {
                    Vouch::Invalid
                }
            }
            _ => Vouch::Invalid,
        }
    }
}

fn cosigned_message(text: &str, time_s: u64) -> String {
    format!("cosignature/v1\ntime {time_s}\n{text}")
}

fn signature_line(key: &VerifierKey, bytes: &[u8]) -> String {
    let blob = [&key.id(), bytes].concat();
    format!("\u{2014} {} {}\n", key.name, BASE64.encode(blob))
}

fn parse_signature(line: &str) -> Result<NoteSignature, NoteError> {
    let rest = line
        .strip_prefix("\u{2014} ")
        .ok_or(NoteError("a signature line begins with an em dash"))?;
    let (name, blob) = rest
        .split_once(' ')
        .ok_or(NoteError("a signature line has a name and a signature"))?;
    if !is_key_name(name) {
        return Err(NoteError("a signature line has no key name"));
    }
    let blob = BASE64
        .decode(blob)
        .map_err(|_| NoteError("a signature is not base64"))?;
    let Some((id, bytes)) = blob.split_first_chunk::<4>() else {
        return Err(NoteError("a signature is shorter than its key id"));
    };
    Ok(NoteSignature {
        name: name.to_owned(),
        id: *id,
        bytes: bytes.to_vec(),
    })
}
