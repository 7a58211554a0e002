//! What nodes say to each other about cosigned notes, byte for byte.
//!
//! Promises one encoding per message, led by a version. Leaves their meaning to the files
//! beside.

use crate::domain::ids::TreeSize;
use crate::transport::{Failure, MESSAGE_VERSION, read_message};
use muniment_evidence::codec::{Reader, Writer};
use muniment_evidence::digest::Digest;
use muniment_evidence::note::NOTE_BYTES_MAX;

/// Notes in one message: the sizes that a leader remembers, far below a frame.
pub const NOTES_MAX: usize = super::recent::NOTES_RECENT_MAX;
/// Lines of one node: one, and one more while it changes its key.
const LINES_MAX: usize = 8;

/// Please cosign this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CosignRequest {
    pub size: TreeSize,
    pub root: Digest,
}

/// What a node has to say to [`CosignRequest`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CosignReply {
    /// Its cosignature lines.
    Lines(Vec<String>),
    /// It holds as many records, and they have another root.
    Other(Digest),
}

impl CosignRequest {
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::new();
        w.u8(MESSAGE_VERSION)
            .u64(self.size.get())
            .digest(&self.root);
        w.finish()
    }

    pub fn decode(bytes: &[u8]) -> Result<CosignRequest, Failure> {
        read_message(bytes, |r| {
            Ok(CosignRequest {
                size: TreeSize::read(r)?,
                root: r.digest()?,
            })
        })
    }
}

impl CosignReply {
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::new();
        w.u8(MESSAGE_VERSION);
        match self {
            CosignReply::Lines(lines) => {
                w.u8(1).list(lines, |w, line| {
                    w.text(line);
                });
            }
            CosignReply::Other(root) => {
                w.u8(2).digest(root);
            }
        }
        w.finish()
    }

    pub fn decode(bytes: &[u8]) -> Result<CosignReply, Failure> {
        read_message(bytes, |r| match r.u8()? {
            1 => {
                let lines = r.list(Reader::text)?;
                let few = (1..=LINES_MAX).contains(&lines.len());
                few.then_some(CosignReply::Lines(lines))
                    .ok_or_else(|| r.error("a few lines"))
            }
            2 => Ok(CosignReply::Other(r.digest()?)),
            _ => Err(r.error("lines or another root")),
        })
    }
}

/// Notes, or one as a divergence notice.
pub fn encode_notes<N: AsRef<str>>(notes: &[N]) -> Vec<u8> {
    let mut w = Writer::new();
    w.u8(MESSAGE_VERSION).list(notes, |w, note| {
        w.bytes(note.as_ref().as_bytes());
    });
    w.finish()
}

pub fn decode_notes(bytes: &[u8]) -> Result<Vec<Vec<u8>>, Failure> {
    read_message(bytes, |r| {
        let notes = r.list(|r| Ok(r.bytes()?.to_vec()))?;
        let fits = notes.len() <= NOTES_MAX && notes.iter().all(|n| n.len() <= NOTE_BYTES_MAX);
        fits.then_some(notes)
            .ok_or_else(|| r.error("a few notes of usual length"))
    })
}

/// A size that is waited for.
pub fn encode_want(size: TreeSize) -> Vec<u8> {
    let mut w = Writer::new();
    w.u8(MESSAGE_VERSION).u64(size.get());
    w.finish()
}

pub fn decode_want(bytes: &[u8]) -> Result<TreeSize, Failure> {
    read_message(bytes, |r| {
        let size = TreeSize::read(r)?;
        Ok(size)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_read_back_and_others_are_refused() {
        let ask = CosignRequest {
            size: TreeSize::new(7),
            root: Digest([3; 32]),
        };
        assert_eq!(CosignRequest::decode(&ask.encode()), Ok(ask));
        for answer in [
            CosignReply::Lines(vec!["\u{2014} name AAAA\n".into()]),
            CosignReply::Other(Digest([9; 32])),
        ] {
            assert_eq!(CosignReply::decode(&answer.encode()), Ok(answer));
        }
        let notes = decode_notes(&encode_notes(&["a", "b"])).unwrap();
        assert_eq!(notes, [b"a", b"b"]);
        assert_eq!(
            decode_want(&encode_want(TreeSize::new(12))),
            Ok(TreeSize::new(12))
        );
        assert!(CosignReply::decode(&CosignReply::Lines(Vec::new()).encode()).is_err());
        let mut later = ask.encode();
        later[0] = 2;
        assert!(CosignRequest::decode(&later).is_err());
        assert!(CosignRequest::decode(&ask.encode()[..20]).is_err());
    }
}
