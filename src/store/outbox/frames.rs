//! The bytes of an outbox file.
//!
//! Layout, big-endian: a header {magic, version, id, seq of the first statement, hash of
//! the one before, SHA-256 of these}, then frames {mark, seq of its first statement,
//! length, SHA-256 of mark, seq, length and payload, payload}. A frame is what one append
//! wrote: the next one is written only when it is synced. So a broken frame with an intact
//! one behind it is damage, and one with none behind it is taken for a torn write, whose
//! append never returned. Leaves files to the module above.

use crate::domain::command::Submission;
use crate::domain::ids::{OutboxId, Sequence};
use muniment_evidence::codec::{DecodeError, Reader, Writer};
use muniment_evidence::digest::Digest;
use muniment_evidence::statement::Lane;
use std::collections::VecDeque;

/// The longest payload of a frame: what one append may have, and more.
pub(super) const FRAME_BYTES_MAX: usize = 4 << 20;

const MAGIC: &[u8; 8] = b"MUNOUTBX";
const MARK: &[u8; 4] = b"MOBF";
const VERSION: u8 = 1;
pub(super) const HEADER_BYTES: usize = 8 + 1 + 8 + 8 + 32 + 32;
const FRAME_HEAD_BYTES: usize = 4 + 8 + 4 + 32;

pub(super) fn header(id: OutboxId, first: Sequence, before: &Digest) -> Vec<u8> {
    let mut w = Writer::new();
    w.raw(MAGIC)
        .u8(VERSION)
        .u64(id.get())
        .u64(first.get())
        .digest(before);
    let mut bytes = w.finish();
    let sum = Digest::of(&[&bytes]);
    bytes.extend_from_slice(&sum.0);
    bytes
}

pub(super) fn frame(first: Sequence, batch: &[Submission]) -> Vec<u8> {
    let mut w = Writer::new();
    w.list(batch, |w, submission| submission.write(w));
    let payload = w.finish();
    let mut w = Writer::new();
    w.raw(MARK).u64(first.get()).u32(payload.len() as u32);
    let head = w.finish();
    let sum = Digest::of(&[&head, &payload]);
    [&head[..], &sum.0, &payload].concat()
}

/// A file's content, up to where it is whole.
pub(super) struct Parsed {
    pub first: Sequence,
    pub before: Digest,
    pub last: Digest,
    pub waiting: VecDeque<Submission>,
    /// Length of the part that is whole.
    pub intact: usize,
}

/// Why a file cannot be relied on.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    #[error("its first bytes are damaged")]
    Header,
    #[error("it is damaged from statement {0} on")]
    Damaged(Sequence),
    #[error("statement {found} stands where {expected} should")]
    Misplaced { found: Sequence, expected: Sequence },
    #[error("statement {0} does not follow from the one before")]
    Unconnected(Sequence),
    #[error("a frame cannot be read: {0}")]
    Batch(#[from] DecodeError),
}

pub(super) fn parse(id: OutboxId, bytes: &[u8]) -> Result<Parsed, FrameError> {
    let (first, before) = parse_header(id, bytes).ok_or(FrameError::Header)?;
    let mut parsed = Parsed {
        first,
        before,
        last: before,
        waiting: VecDeque::new(),
        intact: HEADER_BYTES,
    };
    while parsed.intact < bytes.len() {
        let next = first.after(parsed.waiting.len() as u64);
        let Some((begins, payload)) = frame_at(bytes, parsed.intact) else {
            let later = (parsed.intact + 1..bytes.len()).any(|at| {
                bytes[at..].starts_with(MARK) && frame_at(bytes, at).is_some_and(|f| f.0 > next)
            });
            if later {
                return Err(FrameError::Damaged(next));
            }
            break;
        };
        let batch = parse_batch(payload)?;
        if begins != next {
            return Err(FrameError::Misplaced {
                found: begins,
                expected: next,
            });
        }
        for submission in batch {
            let statement = &submission.statement;
            let place = (statement.lane, statement.seq, statement.prev);
            let seq = first.after(parsed.waiting.len() as u64);
            if place != (Lane::Outbox(id), seq, parsed.last) {
                return Err(FrameError::Unconnected(seq));
            }
            parsed.last = statement.hash();
            parsed.waiting.push_back(submission);
        }
        parsed.intact += FRAME_HEAD_BYTES + payload.len();
    }
    Ok(parsed)
}

fn parse_header(id: OutboxId, bytes: &[u8]) -> Option<(Sequence, Digest)> {
    let (content, sum) = bytes.get(..HEADER_BYTES)?.split_at(HEADER_BYTES - 32);
    let mut r = Reader::new(content);
    let known = Digest::of(&[content]).0 == sum
        && r.raw(8).ok()? == MAGIC
        && r.u8().ok()? == VERSION
        && r.u64().ok()? == id.get();
    known.then_some(())?;
    Some((Sequence::read(&mut r).ok()?, r.digest().ok()?))
}

/// The frame that begins at `at`, if it is whole: its first seq and its payload.
fn frame_at(bytes: &[u8], at: usize) -> Option<(Sequence, &[u8])> {
    let head = bytes.get(at..at.checked_add(FRAME_HEAD_BYTES)?)?;
    let mut r = Reader::new(head);
    if r.raw(4).ok()? != MARK {
        return None;
    }
    let (first, length) = (Sequence::read(&mut r).ok()?, r.u32().ok()? as usize);
    let sum = r.digest().ok()?;
    if length > FRAME_BYTES_MAX {
        return None;
    }
    let from = at + FRAME_HEAD_BYTES;
    let payload = bytes.get(from..from + length)?;
    let whole = Digest::of(&[&head[..FRAME_HEAD_BYTES - 32], payload]) == sum;
    whole.then_some((first, payload))
}

fn parse_batch(payload: &[u8]) -> Result<Vec<Submission>, DecodeError> {
    let mut r = Reader::new(payload);
    let batch = r.list(Submission::read)?;
    r.end()?;
    Ok(batch)
}
