//! Parts that receipts, promises and bundles share, each with its limit.
//!
//! Promises: one encoding, and no part longer than the limit that its reader names. Leaves
//! what the parts mean to the formats that are made of them.

use crate::codec::{DecodeError, Reader, Writer};
use crate::digest::Digest;
use crate::note::NOTE_BYTES_MAX;
use crate::opening::Opening;
use crate::record::Record;

/// The most bytes of one opening: gRPC messages end at 4 MiB, and invoices' metadata far
/// below; so three openings and a record fit one bundle frame.
pub const OPENING_BYTES_MAX: usize = 1024 * 1024;

/// The longest audit path: one hash per binary level of a tree of 2^64 leaves.
pub const PATH_MAX: usize = 64;

pub(crate) fn write_opening(w: &mut Writer, opening: &Opening) {
    w.raw(&opening.salt).bytes(&opening.bytes);
}

pub(crate) fn read_opening(r: &mut Reader<'_>) -> Result<Opening, DecodeError> {
    Ok(Opening {
        salt: r.array()?,
        bytes: read_public(r)?,
    })
}

/// An opening without its salt, which is zero.
pub(crate) fn read_public(r: &mut Reader<'_>) -> Result<Vec<u8>, DecodeError> {
    read_bounded(r, OPENING_BYTES_MAX, "an opening of at most 1 MiB")
}

pub(crate) fn write_digests(w: &mut Writer, digests: &[Digest]) {
    w.list(digests, |w, digest| {
        w.digest(digest);
    });
}

pub(crate) fn read_record(r: &mut Reader<'_>) -> Result<Vec<u8>, DecodeError> {
    let record = read_bounded(r, Record::LENGTH, "a record of 298 bytes")?;
    if record.len() == Record::LENGTH {
        Ok(record)
    } else {
        Err(r.error("a record of 298 bytes"))
    }
}

/// A consistency path may be one hash longer than an audit path.
pub(crate) fn read_consistency(r: &mut Reader<'_>) -> Result<Vec<Digest>, DecodeError> {
    let digests = r.list(Reader::digest)?;
    if digests.len() > PATH_MAX + 1 {
        return Err(r.error("at most 65 hashes"));
    }
    Ok(digests)
}

pub(crate) fn read_digests(r: &mut Reader<'_>) -> Result<Vec<Digest>, DecodeError> {
    let digests = r.list(Reader::digest)?;
    if digests.len() > PATH_MAX {
        return Err(r.error("at most 64 hashes"));
    }
    Ok(digests)
}

pub(crate) fn read_note(r: &mut Reader<'_>) -> Result<String, DecodeError> {
    let note = r.text()?;
    if note.len() > NOTE_BYTES_MAX {
        return Err(r.error("a note of at most 256 KiB"));
    }
    Ok(note)
}

fn read_bounded(
    r: &mut Reader<'_>,
    limit: usize,
    expected: &'static str,
) -> Result<Vec<u8>, DecodeError> {
    let bytes = r.bytes()?;
    if bytes.len() > limit {
        return Err(r.error(expected));
    }
    Ok(bytes.to_vec())
}
