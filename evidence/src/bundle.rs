//! A bundle: one framed stream with everything an auditor needs for a range of records.
//!
//! Promises: the writer gives bytes piece by piece and ends them in a digest over all;
//! the parser takes bytes in any pieces, holds no more than one frame and what was
//! pushed, and notices truncation, additions, and frames out of order. Leaves whether
//! the contents are true to [`crate::verify`].
//!
//! Tests: `evidence/tests/bundle_stream.rs`, `evidence/tests/flips.rs`.

use crate::checks::Check;
use crate::codec::{DecodeError, Reader, Writer};
use crate::digest::{Hasher, tag};
use crate::frame::{CHECKPOINT, KEY, LAST, MANIFEST, PROVEN, RECORD};
pub use crate::frame::{CheckpointFrame, Frame, Manifest, RecordFrame};
use crate::receipt::KEYS_MAX;
use crate::record::Record;
use std::collections::BTreeMap;
use std::fmt;

/// The first line of a bundle.
pub const MAGIC: &[u8] = b"muniment-bundle/v2\n";

/// The most payload bytes of one frame: a record and two openings of 1 MiB fit, and a
/// reader may hold a frame in memory without fear.
pub const FRAME_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Type and length.
const HEADER: usize = 5;

const END: u8 = 0xff;

/// Writes frames and counts and hashes what it wrote.
#[derive(Default)]
pub struct BundleWriter {
    sum: RunningSum,
    begun: bool,
}

impl BundleWriter {
    pub fn new() -> BundleWriter {
        BundleWriter::default()
    }

    /// The bytes of the frame; before the first comes the magic line.
    ///
    /// # Panics
    /// If the payload is above [`FRAME_BYTES_MAX`], which openings within
    /// [`crate::receipt::OPENING_BYTES_MAX`] cannot cause.
    pub fn frame(&mut self, frame: &Frame) -> Vec<u8> {
        let (kind, payload) = frame.encode();
        self.sum.count(frame);
        assert!(
            payload.len() <= FRAME_BYTES_MAX,
            "a frame of {} bytes is over the limit",
            payload.len()
        );
        let mut bytes = self.begin();
        bytes.extend_from_slice(&framed(kind, &payload));
        self.sum.hasher.update(&bytes);
        bytes
    }

    /// The END frame.
    pub fn finish(mut self) -> Vec<u8> {
        let mut bytes = self.begin();
        self.sum.hasher.update(&bytes);
        let mut w = Writer::new();
        self.sum.tally.write(&mut w);
        w.digest(&self.sum.hasher.finish());
        bytes.extend_from_slice(&framed(END, &w.finish()));
        bytes
    }

    fn begin(&mut self) -> Vec<u8> {
        if std::mem::replace(&mut self.begun, true) {
            Vec::new()
        } else {
            MAGIC.to_vec()
        }
    }
}

/// Reads frames from pieces of any size.
#[derive(Default)]
pub struct BundleParser {
    buffer: Vec<u8>,
    /// Bytes of the buffer that were read.
    taken: usize,
    /// Bytes of the stream before the buffer.
    offset: u64,
    sum: RunningSum,
    stage: Stage,
    /// The manifest says that it is a selection.
    selects: bool,
    /// KEY frames read so far.
    keys: usize,
}

/// What may come next; frames never go back to an earlier stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
enum Stage {
    #[default]
    Magic,
    Manifest,
    Keys,
    Records,
    Last,
    Checkpoints,
    Ended,
}

/// Where and why a stream is not a bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BundleError {
    /// Offset in the stream of the frame (or byte) at fault.
    pub offset: u64,
    pub fault: Fault,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The first line is another.
    NotABundle,
    UnknownFrame(u8),
    FrameTooLong(u32),
    /// More KEY frames than [`KEYS_MAX`].
    KeysTooMany,
    /// A frame of a known type where it may not stand.
    OutOfOrder,
    Malformed(DecodeError),
    /// END counts more, fewer or other records than there are.
    Count {
        announced: u64,
        found: u64,
    },
    /// The digest in END is not that of the bytes.
    Digest,
    /// Bytes after END.
    Trailing,
    /// The stream ends before END.
    Truncated,
}

impl Fault {
    /// The check that it fails.
    pub fn check(&self) -> Check {
        match self {
            Fault::NotABundle => Check::BundleBegins,
            Fault::UnknownFrame(_) => Check::FrameType,
            Fault::FrameTooLong(_) => Check::FrameLength,
            Fault::KeysTooMany => Check::KeyFramesCount,
            Fault::OutOfOrder => Check::FrameOrder,
            Fault::Malformed(_) => Check::FrameReads,
            Fault::Count { .. } => Check::EndCounts,
            Fault::Digest => Check::EndDigest,
            Fault::Trailing => Check::NothingFollows,
            Fault::Truncated => Check::EndReached,
        }
    }
}

impl BundleParser {
    pub fn new() -> BundleParser {
        BundleParser::default()
    }

    /// Takes the next bytes of the stream; read the frames with [`BundleParser::next`]
    /// before pushing more, so that little is held.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.taken);
        self.offset += self.taken as u64;
        self.taken = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// The next frame, or `None` when more bytes are needed or the end was read.
    /// After an error the stream cannot be read on.
    #[allow(
        clippy::should_implement_trait,
        reason = "None means more bytes, not the end"
    )]
    pub fn next(&mut self) -> Result<Option<Frame>, BundleError> {
        if self.stage == Stage::Magic && !self.magic()? {
            return Ok(None);
        }
        let rest = &self.buffer[self.taken..];
        if self.stage == Stage::Ended {
            return match rest.is_empty() {
                true => Ok(None),
                false if Check::NothingFollows.is_asked() => Err(self.error(Fault::Trailing)),
                false => Ok(None),
            };
        }
        let Some((&[kind, a, b, c, d], after)) = rest.split_first_chunk::<HEADER>() else {
            return Ok(None);
        };
        let length = u32::from_be_bytes([a, b, c, d]);
        if !matches!(kind, MANIFEST..=LAST | END) {
            return Err(self.error(Fault::UnknownFrame(kind)));
        }
        if Check::FrameLength.fails(length as usize > FRAME_BYTES_MAX) {
            return Err(self.error(Fault::FrameTooLong(length)));
        }
        if Check::KeyFramesCount.fails(kind == KEY && self.keys == KEYS_MAX) {
            return Err(self.error(Fault::KeysTooMany));
        }
        let Some(payload) = after.get(..length as usize) else {
            return Ok(None);
        };
        let stage = match (self.stage, kind) {
            (Stage::Manifest, MANIFEST) => Stage::Keys,
            (Stage::Keys, KEY) => Stage::Keys,
            (Stage::Keys | Stage::Records, RECORD) if !self.selects => Stage::Records,
            (Stage::Keys | Stage::Records, PROVEN) if self.selects => Stage::Records,
            (Stage::Keys | Stage::Records, LAST) => Stage::Last,
            (Stage::Magic | Stage::Manifest | Stage::Ended, _) => {
                return Err(self.error(Fault::OutOfOrder));
            }
            (_, CHECKPOINT) => Stage::Checkpoints,
            (_, END) => Stage::Ended,
            _ => return Err(self.error(Fault::OutOfOrder)),
        };
        let whole = HEADER + payload.len();
        let frame = if kind == END {
            self.end(payload).map_err(|fault| self.error(fault))?;
            None
        } else {
            let frame =
                Frame::decode(kind, payload).map_err(|e| self.error(Fault::Malformed(e)))?;
            self.sum.hasher.update(&rest[..whole]);
            self.sum.count(&frame);
            match &frame {
                Frame::Manifest(manifest) => self.selects = !manifest.selection.is_empty(),
                Frame::Key(_) => self.keys += 1,
                _ => {}
            }
            Some(frame)
        };
        self.taken += whole;
        self.stage = stage;
        if stage == Stage::Ended {
            // Reports what may follow the end.
            return self.next();
        }
        Ok(frame)
    }

    /// Whether the END frame was read and holds.
    pub fn is_ended(&self) -> bool {
        self.stage == Stage::Ended
    }

    /// Call after the last push, when [`BundleParser::next`] gives no more.
    pub fn finish(self) -> Result<(), BundleError> {
        let rest = self.buffer.len() - self.taken;
        match (self.is_ended(), rest) {
            (true, 0) => Ok(()),
            (true, _) => Err(self.error(Fault::Trailing)),
            (false, _) => Err(BundleError {
                offset: self.offset + self.buffer.len() as u64,
                fault: Fault::Truncated,
            }),
        }
    }

    fn magic(&mut self) -> Result<bool, BundleError> {
        let seen = self.buffer.len().min(MAGIC.len());
        if self.buffer[..seen] != MAGIC[..seen] {
            return Err(self.error(Fault::NotABundle));
        }
        if seen < MAGIC.len() {
            return Ok(false);
        }
        self.sum.hasher.update(MAGIC);
        self.taken = MAGIC.len();
        self.stage = Stage::Manifest;
        Ok(true)
    }

    fn end(&self, payload: &[u8]) -> Result<(), Fault> {
        let mut r = Reader::new(payload);
        let mut read = || Ok((Tally::read(&mut r)?, r.digest()?));
        let (announced, digest) = read().map_err(Fault::Malformed)?;
        r.end().map_err(Fault::Malformed)?;
        if Check::EndDigest.fails(digest != self.sum.hasher.clone().finish()) {
            return Err(Fault::Digest);
        }
        if Check::EndCounts.fails(announced != self.sum.tally) {
            return Err(Fault::Count {
                announced: announced.total(),
                found: self.sum.tally.total(),
            });
        }
        Ok(())
    }

    fn error(&self, fault: Fault) -> BundleError {
        BundleError {
            offset: self.offset + self.taken as u64,
            fault,
        }
    }
}

/// The digest and the counts that END carries.
struct RunningSum {
    hasher: Hasher,
    tally: Tally,
}

impl Default for RunningSum {
    fn default() -> RunningSum {
        let mut hasher = Hasher::new();
        hasher.update(tag::BUNDLE);
        RunningSum {
            hasher,
            tally: Tally::default(),
        }
    }
}

impl RunningSum {
    fn count(&mut self, frame: &Frame) {
        if let Frame::Record(frame) | Frame::Proven(frame, _) = frame {
            self.tally.add(&frame.record);
        }
    }
}

/// Records by the codes of kind and outcome, as they stand in their bytes.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
struct Tally(BTreeMap<(u8, u8), u64>);

impl Tally {
    fn add(&mut self, record: &[u8]) {
        let code = |at: usize| record.get(at).copied().unwrap_or(0);
        let codes = (code(Record::KIND_AT), code(Record::OUTCOME_AT));
        *self.0.entry(codes).or_default() += 1;
    }

    fn total(&self) -> u64 {
        self.0.values().sum()
    }

    fn write(&self, w: &mut Writer) {
        let rows: Vec<_> = self.0.iter().collect();
        w.list(&rows, |w, ((kind, outcome), count)| {
            w.u8(*kind).u8(*outcome).u64(**count);
        });
    }

    /// Rows stand in the order of their codes, each once and above zero.
    fn read(r: &mut Reader<'_>) -> Result<Tally, DecodeError> {
        let rows = r.list(|r| Ok(((r.u8()?, r.u8()?), r.u64()?)))?;
        let total = rows
            .iter()
            .try_fold(0u64, |sum, (_, count)| sum.checked_add(*count));
        let ordered = rows.windows(2).all(|pair| pair[0].0 < pair[1].0);
        if !ordered || total.is_none() || rows.iter().any(|(_, count)| *count == 0) {
            return Err(r.error("counts in order"));
        }
        Ok(Tally(rows.into_iter().collect()))
    }
}

fn framed(kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut w = Writer::new();
    w.u8(kind).bytes(payload);
    w.finish()
}

impl fmt::Display for BundleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at byte {} of the bundle: ", self.offset)?;
        match &self.fault {
            Fault::NotABundle => f.write_str("the line muniment-bundle/v2 is missing"),
            Fault::UnknownFrame(kind) => write!(f, "a frame of the unknown type {kind}"),
            Fault::FrameTooLong(length) => {
                write!(f, "a frame of {length} bytes is over the limit of 4 MiB")
            }
            Fault::KeysTooMany => write!(f, "there are more than {KEYS_MAX} KEY records"),
            Fault::OutOfOrder => f.write_str("a frame stands where its type may not"),
            Fault::Malformed(e) => write!(f, "a frame cannot be read ({e})"),
            Fault::Count { announced, found } => write!(
                f,
                "the end announces {announced} records, there are {found}, or of other kinds"
            ),
            Fault::Digest => {
                f.write_str("the digest at the end is not that of the bytes before it")
            }
            Fault::Trailing => f.write_str("there are bytes after the end"),
            Fault::Truncated => f.write_str("the stream stops before the end frame"),
        }
    }
}

impl std::error::Error for BundleError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.fault {
            Fault::Malformed(e) => Some(e),
            _ => None,
        }
    }
}
