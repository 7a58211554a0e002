//! The frames in which bodies travel between nodes.
//!
//! A body goes to a holder as one header, pieces of at most a chunk, and an end frame that
//! says its length and digest; without the end frame the holder forgets it. A body is asked
//! for by a request, and answered by the digests of its chunks and then the chunks
//! themselves, each a frame. Promises that what is encoded here decodes here, and that
//! nothing longer than its bound is taken. Leaves what frames mean to [`super::serve`],
//! [`super::fanout`] and [`super::pull`].

use super::writer::CHUNK_BYTES;
use crate::domain::ids::{BodyId, NodeId, UploadEpoch};
use crate::transport::FRAME_BYTES_MAX;
use bytes::Bytes;
use muniment_evidence::codec::{DecodeError, Reader, Writer};
use muniment_evidence::digest::Digest;

/// Members that one relay passes a body on to: more than a region has.
pub(super) const RELAYS_MAX: usize = 64;

const VERSION: u8 = 1;
const PIECE: u8 = 1;
const END: u8 = 2;

/// A chunk with its mark is one frame.
const _: () = assert!(CHUNK_BYTES < FRAME_BYTES_MAX);

/// The first frame of a body on its way to a holder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BodyHeader {
    pub ledger: Digest,
    pub body_id: BodyId,
    pub epoch: UploadEpoch,
    /// Members of the receiver's region that it is to pass the body on to.
    pub relays: Vec<NodeId>,
}

impl BodyHeader {
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::new();
        w.u8(VERSION)
            .digest(&self.ledger)
            .raw(self.body_id.as_bytes());
        w.u64(self.epoch.get()).list(&self.relays, |w, node| {
            w.u64(node.get());
        });
        w.finish()
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<BodyHeader, DecodeError> {
        let mut r = Reader::new(bytes);
        if r.u8()? != VERSION {
            return Err(r.error("body header version 1"));
        }
        let header = BodyHeader {
            ledger: r.digest()?,
            body_id: BodyId::new(r.array()?),
            epoch: UploadEpoch::read(&mut r)?,
            relays: r.list(NodeId::read)?,
        };
        if header.relays.len() > RELAYS_MAX {
            return Err(r.error("at most 64 members to pass a body on to"));
        }
        r.end()?;
        Ok(header)
    }
}

/// A frame after the header.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum BodyFrame {
    Piece(Bytes),
    End {
        length: u64,
        /// Of the whole body, as far as the sender knows it.
        sha256: Option<Digest>,
    },
}

impl BodyFrame {
    pub fn decode(frame: &Bytes) -> Result<BodyFrame, DecodeError> {
        let mut r = Reader::new(frame);
        match r.u8()? {
            PIECE if frame.len() <= CHUNK_BYTES + 1 => Ok(BodyFrame::Piece(frame.slice(1..))),
            END => {
                let (length, sha256) = (r.u64()?, r.option(Reader::digest)?);
                Ok(BodyFrame::End { length, sha256 })
            }
            _ => Err(r.error("a piece of at most a chunk, or an end")),
        }
    }
}

/// Puts the mark of a piece before its bytes.
pub fn encode_piece(piece: &[u8]) -> Bytes {
    Bytes::from([&[PIECE], piece].concat())
}

pub fn encode_end(length: u64, sha256: Option<&Digest>) -> Vec<u8> {
    let mut w = Writer::new();
    w.u8(END).u64(length).option(sha256, |w, d| {
        w.digest(d);
    });
    w.finish()
}

/// A request for a body, from one chunk on.
pub fn encode_request(body: BodyId, first_chunk: u32) -> Bytes {
    let mut w = Writer::new();
    w.u8(VERSION).raw(body.as_bytes()).u32(first_chunk);
    Bytes::from(w.finish())
}

pub(super) fn decode_request(bytes: &[u8]) -> Result<(BodyId, u32), DecodeError> {
    let mut r = Reader::new(bytes);
    if r.u8()? != VERSION {
        return Err(r.error("body request version 1"));
    }
    let request = (BodyId::new(r.array()?), r.u32()?);
    r.end()?;
    Ok(request)
}

/// Length and digest of each chunk, which a holder sends first.
pub(super) fn encode_digests(chunks: &[(u32, Digest)]) -> Bytes {
    let mut w = Writer::new();
    w.list(chunks, |w, (length, digest)| {
        w.u32(*length).digest(digest);
    });
    Bytes::from(w.finish())
}

pub fn decode_digests(bytes: &[u8]) -> Result<Vec<(u32, Digest)>, DecodeError> {
    let mut r = Reader::new(bytes);
    let digests = r.list(|r| Ok((r.u32()?, r.digest()?)))?;
    r.end()?;
    Ok(digests)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_reads_back_and_too_many_relays_are_refused() {
        let mut header = BodyHeader {
            ledger: Digest([1; 32]),
            body_id: BodyId::new([2; 16]),
            epoch: UploadEpoch::new(3),
            relays: Vec::new(),
        };
        for relays in [vec![], vec![4, 5], vec![7; RELAYS_MAX]] {
            header.relays = relays.into_iter().map(NodeId::new).collect();
            assert_eq!(BodyHeader::decode(&header.encode()), Ok(header.clone()));
        }
        header.relays.push(NodeId::new(7));
        assert!(BodyHeader::decode(&header.encode()).is_err());
        header.relays.clear();
        let mut other = header.encode();
        other[0] = VERSION + 1;
        assert!(BodyHeader::decode(&other).is_err());
    }

    #[test]
    fn pieces_and_ends_read_back_and_nothing_else_does() {
        let piece = BodyFrame::decode(&encode_piece(b"bytes"));
        assert_eq!(piece, Ok(BodyFrame::Piece(Bytes::from_static(b"bytes"))));
        let whole = encode_piece(&vec![7; CHUNK_BYTES]);
        assert!(BodyFrame::decode(&whole).is_ok());
        let longer = encode_piece(&vec![7; CHUNK_BYTES + 1]);
        assert!(BodyFrame::decode(&longer).is_err());
        for sha256 in [None, Some(Digest([8; 32]))] {
            let end = Bytes::from(encode_end(9, sha256.as_ref()));
            let read = BodyFrame::decode(&end);
            assert_eq!(read, Ok(BodyFrame::End { length: 9, sha256 }));
        }
        assert!(BodyFrame::decode(&Bytes::from_static(&[3])).is_err());
        assert!(BodyFrame::decode(&Bytes::new()).is_err());
    }

    #[test]
    fn requests_and_digests_read_back() {
        let request = encode_request(BodyId::new([5; 16]), 6);
        assert_eq!(decode_request(&request), Ok((BodyId::new([5; 16]), 6)));
        let chunks = vec![(1, Digest([1; 32])), (2, Digest([2; 32]))];
        assert_eq!(decode_digests(&encode_digests(&chunks)), Ok(chunks));
    }
}
