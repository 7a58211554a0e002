//! One record's inclusion as a file that any C2SP verifier reads (tlog-proof, version 1).
//!
//! Promises: decoding accepts what encoding writes and no other writing of it; a proof is
//! good only when a policy is met and the path leads to the checkpoint's root, in that
//! order. Leaves the leaf hash to whoever has the record: nothing in the file names it.
//! Openings, keys and the ledger's own rules are the receipt's, not the proof's.

use crate::digest::Digest;
use crate::ids::RecordIndex;
use crate::note::{Checkpoint, NOTE_BYTES_MAX, Note, NoteError};
use crate::policy::{Policy, PolicyVerdict};
use crate::tree;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use std::fmt;
use std::str::FromStr;

/// Hashes in a path: a tree of 2^64 leaves has no longer one.
pub const PATH_MAX: usize = 64;
/// Bytes of extra data: context for an application, not a second document.
pub const EXTRA_BYTES_MAX: usize = 64 * 1024;
/// The longest proof: extra data in base64, the path, the note, and the fixed lines.
pub const PROOF_BYTES_MAX: usize =
    EXTRA_BYTES_MAX.div_ceil(3) * 4 + PATH_MAX * 45 + NOTE_BYTES_MAX + 128;

const VERSION: &str = "c2sp.org/tlog-proof@v1";

/// A path from a leaf to a checkpoint; nothing is verified before [`TlogProof::verify`].
///
/// ```
/// use muniment_evidence::policy::Policy;
/// use muniment_evidence::proof::TlogProof;
/// use muniment_evidence::tree;
///
/// # let proof = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/v2/proof.tlog-proof"));
/// # let policy = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/v2/policy"));
/// let proof = TlogProof::decode(proof)?;
/// let policy = Policy::parse(policy).expect("a policy");
/// // The ledger puts the record itself beside the proof.
/// let record = proof.extra.as_deref().expect("a record");
/// let proven = proof.verify(&tree::leaf_hash(record), &policy)?;
/// assert_eq!((proof.index.get(), proven.checkpoint.size.get()), (4, 11));
/// # Ok::<(), muniment_evidence::proof::ProofError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlogProof {
    /// Signed by nobody: whatever it says is a hint.
    pub extra: Option<Vec<u8>>,
    pub index: RecordIndex,
    /// From the leaf's sibling up to the root's child.
    pub path: Vec<Digest>,
    /// The signed note, byte for byte.
    pub checkpoint: String,
}

/// What a good proof has shown: the leaf is in the tree of this checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProvenCheckpoint {
    pub checkpoint: Checkpoint,
    /// Who has signed; it is met.
    pub verdict: PolicyVerdict,
}

/// Why a proof cannot be read, or does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProofError {
    /// The file is not written as the format says.
    Format(&'static str),
    /// The note in it is no checkpoint.
    Checkpoint(NoteError),
    /// The policy is not met; in words, what is missing.
    Policy(String),
    /// The path does not lead from this leaf to the root.
    Path,
}

impl fmt::Display for ProofError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ProofError::Format(why) => write!(f, "this is no tlog-proof: {why}"),
            ProofError::Checkpoint(why) => write!(f, "the proof's checkpoint: {why}"),
            ProofError::Policy(missing) => write!(f, "the policy is not met: {missing}"),
            ProofError::Path => f.write_str("the path does not lead to the checkpoint's root"),
        }
    }
}

impl std::error::Error for ProofError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ProofError::Checkpoint(why) => Some(why),
            _ => None,
        }
    }
}

impl TlogProof {
    pub fn decode(bytes: &[u8]) -> Result<TlogProof, ProofError> {
        if bytes.len() > PROOF_BYTES_MAX {
            return Err(ProofError::Format("it is too long"));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| ProofError::Format("it is not UTF-8"))?;
        // No line of the head is empty, and no line of a checkpoint's text is either.
        let (head, checkpoint) = text
            .split_once("\n\n")
            .ok_or(ProofError::Format("an empty line stands before the note"))?;
        let mut lines = head.split('\n').peekable();
        if lines.next() != Some(VERSION) {
            return Err(ProofError::Format("the first line names another format"));
        }
        let extra = lines.next_if(|line| line.starts_with("extra "));
        let extra = extra.map(|line| read_extra(&line["extra ".len()..]));
        let index = lines
            .next()
            .and_then(|line| line.strip_prefix("index "))
            .ok_or(ProofError::Format("the index is missing"))?;
        let proof = TlogProof {
            extra: extra.transpose()?,
            index: read_index(index)?,
            path: lines.map(read_hash).collect::<Result<_, _>>()?,
            checkpoint: checkpoint.to_owned(),
        };
        if proof.path.len() > PATH_MAX {
            return Err(ProofError::Format("the path is too long"));
        }
        proof.read_checkpoint()?;
        Ok(proof)
    }

    /// Reads back if the checkpoint is one and the limits are kept.
    pub fn encode(&self) -> String {
        self.to_string()
    }

    /// Says whether the leaf with this hash is in a log that the policy trusts.
    pub fn verify(
        &self,
        leaf_hash: &Digest,
        policy: &Policy,
    ) -> Result<ProvenCheckpoint, ProofError> {
        let (note, checkpoint) = self.read_checkpoint()?;
        let verdict = policy.evaluate(&note);
        if let Some(missing) = &verdict.missing {
            return Err(ProofError::Policy(missing.clone()));
        }
        let Checkpoint { size, root, .. } = checkpoint;
        if !tree::verify_inclusion(leaf_hash, self.index, size, &self.path, &root) {
            return Err(ProofError::Path);
        }
        Ok(ProvenCheckpoint {
            checkpoint,
            verdict,
        })
    }

    fn read_checkpoint(&self) -> Result<(Note, Checkpoint), ProofError> {
        let note = Note::parse(self.checkpoint.as_bytes()).map_err(ProofError::Checkpoint)?;
        let checkpoint = Checkpoint::parse(&note.text).map_err(ProofError::Checkpoint)?;
        Ok((note, checkpoint))
    }
}

fn read_extra(text: &str) -> Result<Vec<u8>, ProofError> {
    match BASE64.decode(text) {
        Ok(extra) if extra.len() <= EXTRA_BYTES_MAX => Ok(extra),
        Ok(_) => Err(ProofError::Format("the extra data is too long")),
        Err(_) => Err(ProofError::Format("the extra data is not base64")),
    }
}

fn read_index(text: &str) -> Result<RecordIndex, ProofError> {
    match text.parse::<u64>() {
        // One writing for one number: neither a plus nor leading zeros.
        Ok(index) if index.to_string() == text => Ok(RecordIndex::new(index)),
        _ => Err(ProofError::Format("the index is not a decimal number")),
    }
}

fn read_hash(line: &str) -> Result<Digest, ProofError> {
    let hash = BASE64.decode(line).ok();
    let hash = hash.and_then(|bytes| bytes.try_into().ok());
    hash.map(Digest).ok_or(ProofError::Format(
        "a line of the path is not 32 bytes of base64",
    ))
}

impl FromStr for TlogProof {
    type Err = ProofError;

    fn from_str(text: &str) -> Result<TlogProof, ProofError> {
        TlogProof::decode(text.as_bytes())
    }
}

impl fmt::Display for TlogProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{VERSION}")?;
        if let Some(extra) = &self.extra {
            writeln!(f, "extra {}", BASE64.encode(extra))?;
        }
        writeln!(f, "index {}", self.index)?;
        for hash in &self.path {
            writeln!(f, "{}", BASE64.encode(hash.0))?;
        }
        write!(f, "\n{}", self.checkpoint)
    }
}
