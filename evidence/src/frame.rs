//! The frames of a bundle, byte for byte.
//!
//! Promises one encoding each, every field with a limit. Leaves their order and the END
//! frame to [`crate::bundle`], and whether they are true to [`crate::verify`].

use crate::codec::{DecodeError, Reader, Writer};
use crate::digest::Digest;
use crate::genesis::{Genesis, ORIGIN_BYTES_MAX};
use crate::ids::{RecordIndex, TreeSize};
use crate::opening::Opening;
use crate::parts::{
    read_consistency, read_digests, read_note, read_opening, read_record, write_digests,
    write_opening,
};
use crate::receipt::{KeyRecord, LastRecord};

/// The largest tree size in a manifest: keeps sizes far from the end of u64.
pub const SIZE_MAX: TreeSize = TreeSize::new(1 << 62);

/// The longest words for what a selection selects: shown to people.
pub const SELECTION_BYTES_MAX: usize = 1024;

pub(crate) const MANIFEST: u8 = 1;
pub(crate) const RECORD: u8 = 2;
pub(crate) const CHECKPOINT: u8 = 3;
pub(crate) const KEY: u8 = 4;
pub(crate) const PROVEN: u8 = 5;
pub(crate) const LAST: u8 = 6;

/// One piece of a bundle. The END frame is the writer's and the parser's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    Manifest(Manifest),
    /// An OK KEY record below [`Manifest::head`], its path that of the tree of that size.
    Key(KeyRecord),
    /// The record before [`Manifest::head`], its path that of the tree of that size.
    Last(LastRecord),
    /// Of a range: every record in turn.
    Record(RecordFrame),
    /// Of a selection: a record, and its path in the tree of size [`Manifest::end`].
    Proven(RecordFrame, Vec<Digest>),
    Checkpoint(CheckpointFrame),
}

/// A signed note of size [`Manifest::end`] or above, and how it goes on from there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointFrame {
    pub note: String,
    /// From [`Manifest::end`] to the note's size; empty when they are the same.
    pub consistency: Vec<Digest>,
}

/// What the bundle is about; the first frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    pub origin: String,
    /// Leaf hash of the genesis record.
    pub ledger: Digest,
    /// The records are `first..end`, or some of them.
    pub first: RecordIndex,
    pub end: TreeSize,
    /// Size of the last checkpoint; `end`, or above where only a later one was cosigned.
    pub head: TreeSize,
    /// Which records were chosen, in words; empty for a range, which has them all.
    pub selection: String,
    /// The edge of the tree of size `first` ([`crate::tree::Frontier::peaks`]).
    pub peaks: Vec<Digest>,
    pub genesis: Genesis,
}

/// One record with the openings that are shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordFrame {
    pub record: Vec<u8>,
    pub document: Option<Opening>,
    pub actor: Option<Opening>,
}

impl Frame {
    /// Type and payload.
    pub(crate) fn encode(&self) -> (u8, Vec<u8>) {
        let mut w = Writer::new();
        let kind = match self {
            Frame::Manifest(m) => {
                w.text(&m.origin).digest(&m.ledger);
                w.u64(m.first.get()).u64(m.end.get()).u64(m.head.get());
                w.text(&m.selection);
                write_digests(&mut w, &m.peaks);
                m.genesis.write(&mut w);
                MANIFEST
            }
            Frame::Key(key) => {
                key.write(&mut w);
                KEY
            }
            Frame::Last(last) => {
                last.write(&mut w);
                LAST
            }
            Frame::Record(frame) => {
                frame.write(&mut w);
                RECORD
            }
            Frame::Proven(frame, path) => {
                frame.write(&mut w);
                write_digests(&mut w, path);
                PROVEN
            }
            Frame::Checkpoint(frame) => {
                w.text(&frame.note);
                write_digests(&mut w, &frame.consistency);
                CHECKPOINT
            }
        };
        (kind, w.finish())
    }

    pub(crate) fn decode(kind: u8, payload: &[u8]) -> Result<Frame, DecodeError> {
        let mut r = Reader::new(payload);
        let frame = match kind {
            MANIFEST => Frame::Manifest(read_manifest(&mut r)?),
            KEY => Frame::Key(KeyRecord::read(&mut r)?),
            LAST => Frame::Last(LastRecord::read(&mut r)?),
            RECORD => Frame::Record(RecordFrame::read(&mut r)?),
            PROVEN => Frame::Proven(RecordFrame::read(&mut r)?, read_digests(&mut r)?),
            CHECKPOINT => Frame::Checkpoint(CheckpointFrame {
                note: read_note(&mut r)?,
                consistency: read_consistency(&mut r)?,
            }),
            _ => return Err(r.error("a known frame")),
        };
        r.end()?;
        Ok(frame)
    }
}

impl RecordFrame {
    fn write(&self, w: &mut Writer) {
        w.bytes(&self.record);
        w.option(self.document.as_ref(), write_opening);
        w.option(self.actor.as_ref(), write_opening);
    }

    fn read(r: &mut Reader<'_>) -> Result<RecordFrame, DecodeError> {
        Ok(RecordFrame {
            record: read_record(r)?,
            document: r.option(read_opening)?,
            actor: r.option(read_opening)?,
        })
    }
}

fn read_manifest(r: &mut Reader<'_>) -> Result<Manifest, DecodeError> {
    let origin = r.text()?;
    if origin.len() > ORIGIN_BYTES_MAX {
        return Err(r.error("an origin of at most 255 bytes"));
    }
    let (ledger, first) = (r.digest()?, RecordIndex::read(r)?);
    let (end, head) = (TreeSize::read(r)?, TreeSize::read(r)?);
    if first.size_before() > end || end > head || head > SIZE_MAX {
        return Err(r.error("a range of records"));
    }
    let selection = r.text()?;
    if selection.len() > SELECTION_BYTES_MAX {
        return Err(r.error("a selection in at most 1024 bytes"));
    }
    let peaks = read_digests(r)?;
    if peaks.len() != first.get().count_ones() as usize {
        return Err(r.error("one peak per set bit of the first index"));
    }
    Ok(Manifest {
        origin,
        ledger,
        first,
        end,
        head,
        selection,
        peaks,
        genesis: Genesis::read(r)?,
    })
}
