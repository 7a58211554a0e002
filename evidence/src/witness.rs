//! What a log asks of an outside witness, and how a witness decides (C2SP tlog-witness
//! v1.0.0).
//!
//! A witness remembers the largest head that it cosigned per origin, and cosigns another
//! only with the proof that the first is a prefix of it. So a log that shows two
//! histories must show both to the witness, which refuses the second.
//!
//! Promises: a request is read strictly or refused; [`decide`] is a pure function of the
//! request, the log's keys and what was cosigned last. Leaves keeping that memory whole,
//! between the question and the answer and over a crash, to the witness's server.
//!
//! Tests: `evidence/tests/witness.rs`.

use crate::digest::Digest;
use crate::ids::TreeSize;
use crate::key::Signer;
use crate::note::{Checkpoint, NOTE_BYTES_MAX, Note, NoteError, VerifierKey, Vouch};
use crate::tree;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use std::fmt;

/// Hashes in one request: no proof between sizes of 63 bits needs more (C2SP).
pub const HASHES_MAX: usize = 63;

/// `old ` and 20 digits, then [`HASHES_MAX`] lines of 44 characters, a blank line, the note.
pub const REQUEST_BYTES_MAX: usize = 25 + HASHES_MAX * 45 + 1 + NOTE_BYTES_MAX;

/// Content type of the answer that says what was cosigned last.
pub const SIZE_TYPE: &str = "text/x.tlog.size";

/// A well-formed request: the old size, the proof from there, the log's signed note.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddCheckpoint {
    old: TreeSize,
    proof: Vec<Digest>,
    signed: String,
    note: Note,
    checkpoint: Checkpoint,
}

impl AddCheckpoint {
    /// `signed` is the note as the log signed it; cosignatures in it are passed over.
    pub fn new(
        old: TreeSize,
        proof: Vec<Digest>,
        signed: &str,
    ) -> Result<AddCheckpoint, NoteError> {
        if proof.len() > HASHES_MAX {
            return Err(NoteError("the proof has more than 63 hashes"));
        }
        let note = Note::parse(signed.as_bytes())?;
        Ok(AddCheckpoint {
            old,
            proof,
            signed: signed.to_owned(),
            checkpoint: Checkpoint::parse(&note.text)?,
            note,
        })
    }

    pub fn encode(&self) -> String {
        let mut text = format!("old {}\n", self.old);
        for hash in &self.proof {
            text.push_str(&BASE64.encode(hash.0));
            text.push('\n');
        }
        text.push('\n');
        text.push_str(&self.signed);
        text
    }

    pub fn decode(bytes: &[u8]) -> Result<AddCheckpoint, NoteError> {
        if bytes.len() > REQUEST_BYTES_MAX {
            return Err(NoteError("the request is too long"));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| NoteError("the request is not UTF-8"))?;
        let (head, signed) = text
            .split_once("\n\n")
            .ok_or(NoteError("the request has no blank line"))?;
        let mut lines = head.split('\n');
        let old = lines
            .next()
            .and_then(|line| line.strip_prefix("old "))
            .and_then(decimal)
            .ok_or(NoteError("the first line is `old` and a canonical size"))?;
        let proof = lines
            .map(|line| BASE64.decode(line).ok()?.try_into().ok().map(Digest))
            .collect::<Option<Vec<_>>>()
            .ok_or(NoteError("a line of the proof is not 32 bytes of base64"))?;
        AddCheckpoint::new(TreeSize::new(old), proof, signed)
    }

    /// The note as it came.
    pub fn signed(&self) -> &str {
        &self.signed
    }

    /// What the log says; nothing is verified.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// The note with one line per key of the log and no others: what a witness keeps, once
    /// [`decide`] agreed, with its cosignature after it.
    pub fn cosigned(&self, keys: &[VerifierKey], cosignature: &str) -> String {
        let mut kept = format!("{}\n", self.note.text);
        for key in keys {
            let own = signature_lines(&self.signed).find(|line| {
                let alone = format!("{}\n{line}\n", self.note.text);
                Note::parse(alone.as_bytes()).is_ok_and(|note| note.vouch(key) == Vouch::Signed)
            });
            if let Some(line) = own {
                kept.push_str(line);
                kept.push('\n');
            }
        }
        kept + cosignature
    }
}

/// What a witness cosigned last for an origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    pub size: TreeSize,
    pub root: Digest,
}

/// Why a witness does not cosign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WitnessRefusal {
    Malformed(NoteError),
    UnknownOrigin,
    /// No signature of a key that is known for the origin, or a wrong one.
    NotSigned,
    OldAboveSize,
    /// The old size is not the one cosigned last, which is this.
    NotLast {
        size: TreeSize,
    },
    /// The log contradicts what was cosigned, or does not show that it does not.
    Inconsistent,
}

impl WitnessRefusal {
    /// The HTTP status of the answer.
    pub fn status(&self) -> u16 {
        match self {
            WitnessRefusal::Malformed(_) | WitnessRefusal::OldAboveSize => 400,
            WitnessRefusal::NotSigned => 403,
            WitnessRefusal::UnknownOrigin => 404,
            WitnessRefusal::NotLast { .. } => 409,
            WitnessRefusal::Inconsistent => 422,
        }
    }

    pub fn content_type(&self) -> &'static str {
        match self {
            WitnessRefusal::NotLast { .. } => SIZE_TYPE,
            _ => "text/plain; charset=utf-8",
        }
    }

    /// What the answer says, with its line feed.
    pub fn body(&self) -> String {
        match self {
            WitnessRefusal::NotLast { size } => format!("{size}\n"),
            _ => format!("{self}\n"),
        }
    }
}

impl fmt::Display for WitnessRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WitnessRefusal::Malformed(why) => write!(f, "{why}"),
            WitnessRefusal::UnknownOrigin => f.write_str("no log of this origin is witnessed here"),
            WitnessRefusal::NotSigned => f.write_str("no valid signature of the log"),
            WitnessRefusal::OldAboveSize => f.write_str("the old size is above the checkpoint's"),
            WitnessRefusal::NotLast { size } => write!(f, "size {size} was cosigned last"),
            WitnessRefusal::Inconsistent => {
                f.write_str("the checkpoint is not shown to be consistent with the last one")
            }
        }
    }
}

impl std::error::Error for WitnessRefusal {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            WitnessRefusal::Malformed(why) => Some(why),
            _ => None,
        }
    }
}

/// Whether to cosign the request's checkpoint. `keys` are the log's keys for its origin,
/// none if the origin is unknown; `last` is what was cosigned last for it.
pub fn decide(
    request: &AddCheckpoint,
    keys: &[VerifierKey],
    last: Option<Head>,
) -> Result<(), WitnessRefusal> {
    if keys.is_empty() {
        return Err(WitnessRefusal::UnknownOrigin);
    }
    let vouched: Vec<Vouch> = keys.iter().map(|key| request.note.vouch(key)).collect();
    let origin = &request.checkpoint.origin;
    if keys.iter().any(|key| key.name != *origin)
        || vouched.contains(&Vouch::Invalid)
        || !vouched.contains(&Vouch::Signed)
    {
        return Err(WitnessRefusal::NotSigned);
    }
    let new = &request.checkpoint;
    if request.old > new.size {
        return Err(WitnessRefusal::OldAboveSize);
    }
    // A log of which nothing was seen begins as the empty one.
    let last = last.unwrap_or(Head {
        size: TreeSize::EMPTY,
        root: tree::empty_root(),
    });
    if request.old != last.size {
        return Err(WitnessRefusal::NotLast { size: last.size });
    }
    let proof = &request.proof;
    if tree::verify_consistency(last.size, new.size, proof, &last.root, &new.root) {
        Ok(())
    } else {
        Err(WitnessRefusal::Inconsistent)
    }
}

/// A cosignature that verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cosigned {
    pub checkpoint: Checkpoint,
    pub time_s: u64,
    /// The log's note with the witness's line after the lines that were there.
    pub note: String,
}

/// Takes a witness's answer to a note: lines of other keys are passed over, a line of
/// its key that does not verify spoils the answer. If its `ml_dsa` key is known too, a line
/// of that is kept beside the other; without one the answer is good all the same, since
/// the witness may not have begun to sign with it.
pub fn accept(
    signed: &str,
    answer: &str,
    witness: &VerifierKey,
    ml_dsa: Option<&VerifierKey>,
) -> Result<Cosigned, NoteError> {
    let checkpoint = Checkpoint::parse(&Note::parse(signed.as_bytes())?.text)?;
    let lines = answer
        .strip_suffix('\n')
        .ok_or(NoteError("the answer does not end in a line feed"))?;
    let (time_s, line) = newest_line(&checkpoint, lines, witness)?
        .ok_or(NoteError("the answer has no line of the witness's key"))?;
    let mut note = format!("{signed}{line}\n");
    if let Some(key) = ml_dsa
        && let Some((_, line)) = newest_line(&checkpoint, lines, key)?
    {
        note.push_str(line);
        note.push('\n');
    }
    Ok(Cosigned {
        checkpoint,
        time_s,
        note,
    })
}

/// The newest line of a key among these, and its time.
fn newest_line<'a>(
    checkpoint: &Checkpoint,
    lines: &'a str,
    key: &VerifierKey,
) -> Result<Option<(u64, &'a str)>, NoteError> {
    let mut newest: Option<(u64, &str)> = None;
    for line in lines.split('\n') {
        let one = format!("{}\n{line}\n", checkpoint.text());
        match Note::parse(one.as_bytes())?.vouch(key) {
            Vouch::Cosigned { time_s } => {
                if newest.is_none_or(|(found, _)| found < time_s) {
                    newest = Some((time_s, line));
                }
            }
            Vouch::Absent => {}
            Vouch::Invalid | Vouch::Signed => {
                return Err(NoteError("the witness's cosignature does not verify"));
            }
        }
    }
    Ok(newest)
}

/// The witness's line for a request that [`decide`] agreed to.
pub fn cosign(request: &AddCheckpoint, name: &str, key: &dyn Signer, time_s: u64) -> String {
    request.checkpoint.cosign(name, key, time_s)
}

/// The body of an answer of type [`SIZE_TYPE`].
pub fn parse_size(body: &str) -> Option<TreeSize> {
    decimal(body.strip_suffix('\n')?).map(TreeSize::new)
}

/// A number as it is written canonically, and only so.
fn decimal(text: &str) -> Option<u64> {
    let number: u64 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

fn signature_lines(signed: &str) -> impl Iterator<Item = &str> {
    let (_, lines) = signed.rsplit_once("\n\n").unwrap_or_default();
    lines.lines()
}
