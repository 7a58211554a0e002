//! What nodes say to each other about cosigned notes, byte for byte.
//!
//! Promises one encoding per message, led by a version. Leaves their meaning to the files
//! beside.

use super::announcement::Announcement;
use crate::domain::ids::TreeSize;
use crate::keyring::ml_dsa::ML_DSA_KEYS_MAX;
use crate::transport::{FRAME_BYTES_MAX, Failure, MESSAGE_VERSION, read_message};
use muniment_evidence::codec::{DecodeError, Reader, Writer};
use muniment_evidence::digest::Digest;
use muniment_evidence::note::NOTE_BYTES_MAX;

/// Notes in a message that is taken: the sizes that a leader remembers.
const NOTES_MAX: usize = super::recent::NOTES_RECENT_MAX;
/// Notes in a message that is sent: so many of the longest fit into a frame.
pub const NOTES_SENT_MAX: usize = 8;
const _: () = assert!(NOTES_SENT_MAX * (NOTE_BYTES_MAX + 8) + 8 <= FRAME_BYTES_MAX);
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
    Lines(NodeLines),
    /// It holds as many records, and they have another root.
    Other(Digest),
}

/// The lines of one node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeLines {
    /// Under keys that the ledger names.
    pub lines: Vec<String>,
    /// Under ML-DSA keys, which nobody could check without hearing them.
    pub ml_dsa: Vec<AnnouncedLine>,
}

/// A line and the key under which it was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnnouncedLine {
    pub announcement: Announcement,
    pub line: String,
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
            // As it was before there were others, so that nodes of both kinds of
            // configuration understand each other.
            CosignReply::Lines(NodeLines { lines, ml_dsa }) if ml_dsa.is_empty() => {
                w.u8(1);
                write_lines(&mut w, lines);
            }
            CosignReply::Lines(NodeLines { lines, ml_dsa }) => {
                w.u8(3);
                write_lines(&mut w, lines);
                w.list(ml_dsa, |w, announced| {
                    announced.announcement.write(w);
                    w.text(&announced.line);
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
            1 => Ok(CosignReply::Lines(NodeLines {
                lines: read_lines(r)?,
                ml_dsa: Vec::new(),
            })),
            3 => {
                let lines = read_lines(r)?;
                let ml_dsa = r.list(|r| {
                    Ok(AnnouncedLine {
                        announcement: Announcement::read(r)?,
                        line: r.text()?,
                    })
                })?;
                let few = (1..=ML_DSA_KEYS_MAX).contains(&ml_dsa.len());
                few.then_some(CosignReply::Lines(NodeLines { lines, ml_dsa }))
                    .ok_or_else(|| r.error("a few lines of ML-DSA keys"))
            }
            2 => Ok(CosignReply::Other(r.digest()?)),
            _ => Err(r.error("lines or another root")),
        })
    }
}

fn write_lines(w: &mut Writer, lines: &[String]) {
    w.list(lines, |w, line| {
        w.text(line);
    });
}

fn read_lines(r: &mut Reader<'_>) -> Result<Vec<String>, DecodeError> {
    let lines = r.list(Reader::text)?;
    let few = (1..=LINES_MAX).contains(&lines.len());
    few.then_some(lines).ok_or_else(|| r.error("a few lines"))
}

/// The ML-DSA keys with which a node cosigns; none where they are off.
pub fn encode_announcements(announced: &[Announcement]) -> Vec<u8> {
    let mut w = Writer::new();
    w.u8(MESSAGE_VERSION)
        .list(announced, |w, announcement| announcement.write(w));
    w.finish()
}

pub fn decode_announcements(bytes: &[u8]) -> Result<Vec<Announcement>, Failure> {
    read_message(bytes, |r| {
        let announced = r.list(Announcement::read)?;
        (announced.len() <= ML_DSA_KEYS_MAX)
            .then_some(announced)
            .ok_or_else(|| r.error("a few announcements"))
    })
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
    use crate::domain::ids::NodeId;
    use muniment_evidence::key::SecretKey;
    use muniment_evidence::ml_dsa::MlDsaSecretKey;

    #[test]
    fn messages_read_back_and_others_are_refused() {
        let ask = CosignRequest {
            size: TreeSize::new(7),
            root: Digest([3; 32]),
        };
        assert_eq!(CosignRequest::decode(&ask.encode()), Ok(ask));
        let by = SecretKey::from_seed(&[1; 32]);
        let public = MlDsaSecretKey::from_seed(&[2; 32]).public();
        let announcement = Announcement::make(&Digest([3; 32]), NodeId::new(1), public, &by);
        let lines = NodeLines {
            lines: vec!["\u{2014} name AAAA\n".into()],
            ml_dsa: Vec::new(),
        };
        let announced = AnnouncedLine {
            announcement: announcement.clone(),
            line: "\u{2014} name BBBB\n".into(),
        };
        for answer in [
            CosignReply::Lines(lines.clone()),
            CosignReply::Lines(NodeLines {
                ml_dsa: vec![announced.clone()],
                ..lines.clone()
            }),
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
        let all = vec![announcement; ML_DSA_KEYS_MAX + 1];
        let few = &all[1..];
        assert_eq!(
            decode_announcements(&encode_announcements(few)).unwrap(),
            few
        );
        assert!(decode_announcements(&encode_announcements(&all)).is_err());
        for too_many in [
            NodeLines::default(),
            NodeLines {
                ml_dsa: vec![announced; ML_DSA_KEYS_MAX + 1],
                ..lines
            },
        ] {
            assert!(CosignReply::decode(&CosignReply::Lines(too_many).encode()).is_err());
        }
        let mut later = ask.encode();
        later[0] = 2;
        assert!(CosignRequest::decode(&later).is_err());
        assert!(CosignRequest::decode(&ask.encode()[..20]).is_err());
    }
}
