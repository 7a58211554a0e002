//! Signed notes, checkpoints and cosignatures, byte for byte as C2SP wrote them
//! (signed-note v1.0.0, tlog-checkpoint v1.0.0, tlog-cosignature v1.1.0-rc.1, of which
//! checkpoints alone: subtrees have no note).
//!
//! Promises: reading refuses non-canonical input (leading zeros, other base64, control
//! characters); a note is trusted only by its signatures, never by its text. Leaves the
//! choice of keys and quorums to the verifier.
//!
//! Tests: `evidence/tests/notes.rs`, `evidence/tests/vectors.rs`.

pub use crate::verifier_key::{
    ML_DSA_NAME_BYTES_MAX, TYPE_COSIGNATURE, TYPE_ED25519, TYPE_ML_DSA_COSIGNATURE, TypedKey,
    VerifierKey, is_key_name,
};

use crate::digest::Digest;
use crate::ids::TreeSize;
use crate::key::{Signature, Signer};
use crate::ml_dsa::MlDsaSecretKey;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use std::fmt;

/// The most bytes a signed note may have here: of each of the 64 members that a ledger may
/// have, a line of both types under the longest names, 365 and 3,505 bytes, are 242 KiB.
pub const NOTE_BYTES_MAX: usize = 256 * 1024;

/// Why a note, checkpoint or verifier key could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoteError(pub &'static str);

impl fmt::Display for NoteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for NoteError {}

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

    /// The same under ML-DSA-44, which commits to the name too. Refuses names of more than
    /// [`ML_DSA_NAME_BYTES_MAX`] bytes.
    pub fn cosign_ml_dsa(
        &self,
        name: &str,
        key: &MlDsaSecretKey,
        time_s: u64,
    ) -> Result<String, NoteError> {
        let message = subtree_message(name, time_s, self).ok_or(NoteError(
            "an ML-DSA cosignature has names of 1 to 255 bytes",
        ))?;
        let verifier = VerifierKey::ml_dsa_cosigner(name, key.public());
        let blob = [&time_s.to_be_bytes()[..], &key.sign(&message)].concat();
        Ok(signature_line(&verifier, &blob))
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
        let (time_s, holds) = match &key.key {
            TypedKey::Log(log) => {
                let signature = bytes.try_into().map(Signature);
                let holds = signature.is_ok_and(|s| log.verify(self.text.as_bytes(), &s));
                return if holds { Vouch::Signed } else { Vouch::Invalid };
            }
            TypedKey::Unknown { .. } => return Vouch::Absent,
            TypedKey::Cosigner(_) | TypedKey::MlDsaCosigner(_) => {
                let Some((time_s, signature)) = timestamped(bytes) else {
                    return Vouch::Invalid;
                };
                (time_s, self.cosignature_holds(key, time_s, signature))
            }
        };
        if holds {
            Vouch::Cosigned { time_s }
        } else {
            Vouch::Invalid
        }
    }

    fn cosignature_holds(&self, key: &VerifierKey, time_s: u64, signature: &[u8]) -> bool {
        match &key.key {
            TypedKey::Cosigner(cosigner) => {
                let message = cosigned_message(&self.text, time_s);
                let signature = signature.try_into().map(Signature);
                signature.is_ok_and(|s| cosigner.verify(message.as_bytes(), &s))
            }
            TypedKey::MlDsaCosigner(cosigner) => {
                // The text is not signed but what it says; so it must say nothing else.
                let checkpoint = Checkpoint::parse(&self.text).ok();
                let message = checkpoint.and_then(|c| subtree_message(&key.name, time_s, &c));
                message.is_some_and(|message| cosigner.verify(&message, signature))
            }
            TypedKey::Log(_) | TypedKey::Unknown { .. } => false,
        }
    }
}

fn cosigned_message(text: &str, time_s: u64) -> String {
    format!("cosignature/v1\ntime {time_s}\n{text}")
}

/// What an ML-DSA cosignature signs of a checkpoint: the subtree from 0 to its size.
fn subtree_message(name: &str, time_s: u64, checkpoint: &Checkpoint) -> Option<Vec<u8>> {
    let mut message = b"subtree/v1\n\0".to_vec();
    let mut put = |text: &str, number: u64| {
        let length = u8::try_from(text.len()).ok().filter(|length| *length > 0)?;
        message.push(length);
        message.extend_from_slice(text.as_bytes());
        message.extend_from_slice(&number.to_be_bytes());
        Some(())
    };
    put(name, time_s)?;
    // The start of the subtree.
    put(&checkpoint.origin, 0)?;
    message.extend_from_slice(&checkpoint.size.get().to_be_bytes());
    message.extend_from_slice(&checkpoint.root.0);
    Some(message)
}

/// The time before a signature; `None` if it is none.
fn timestamped(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (time, signature) = bytes.split_first_chunk::<8>()?;
    let time_s = u64::from_be_bytes(*time);
    (time_s <= i64::MAX as u64).then_some((time_s, signature))
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
