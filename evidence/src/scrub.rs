//! What a SCRUB record says: damage to a stored body, and what became of it.
//!
//! Promises one encoding, as in [`crate::opening`]. The document is public, so it names a
//! body by its id alone: no digest and no length, from which a known document could be
//! recognised. It is a node's word about its own disk; leaves weighing it to nobody, since
//! every reader checks the bytes themselves.

use crate::codec::{DecodeError, Reader, Writer};
use crate::codes::coded;
use crate::ids::{BodyId, NodeId};
use std::fmt;

coded! {
    /// What was wrong.
    pub enum DamageKind {
        /// It is not there.
        Missing = 1 "MISSING",
        /// It is not what its digest says.
        Mismatch = 2 "MISMATCH",
        /// The disk or the engine gives no bytes.
        Unreadable = 3 "UNREADABLE",
        /// What the body is made of cannot be read.
        Manifest = 4 "MANIFEST",
    }
}

coded! {
    /// Who came upon it.
    pub enum How {
        /// A download.
        Read = 1 "READ",
        /// Another node, which asked for the body.
        Serve = 2 "SERVE",
        /// The background scrub.
        Scrub = 3 "SCRUB",
    }
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ScrubOutcome {
    /// It is set aside, and the body does not count as held.
    Quarantined,
    /// Good bytes are durable again in its place.
    Repaired {
        /// The node that sent them.
        from: NodeId,
    },
}

/// The document opening of a SCRUB record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScrubDocument {
    pub body_id: BodyId,
    /// `None`: the manifest, or all of it.
    pub chunk: Option<u32>,
    pub found: DamageKind,
    pub how: How,
    pub outcome: ScrubOutcome,
}

impl ScrubOutcome {
    pub fn name(self) -> &'static str {
        match self {
            ScrubOutcome::Quarantined => "QUARANTINED",
            ScrubOutcome::Repaired { .. } => "REPAIRED",
        }
    }

    /// The node that sent the good bytes.
    pub fn from(self) -> Option<NodeId> {
        match self {
            ScrubOutcome::Quarantined => None,
            ScrubOutcome::Repaired { from } => Some(from),
        }
    }
}

impl fmt::Display for ScrubDocument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.chunk {
            Some(chunk) => write!(f, "chunk {chunk}: ")?,
            None => f.write_str("the whole body: ")?,
        }
        write!(
            f,
            "{} ({}), {}",
            self.found.name(),
            self.how.name(),
            self.outcome.name()
        )?;
        match self.outcome {
            ScrubOutcome::Quarantined => Ok(()),
            ScrubOutcome::Repaired { from } => write!(f, " from node {from}"),
        }
    }
}

impl ScrubDocument {
    pub(crate) fn write(&self, w: &mut Writer) {
        let (outcome, from) = match self.outcome {
            ScrubOutcome::Quarantined => (1, NodeId::NONE),
            ScrubOutcome::Repaired { from } => (2, from),
        };
        w.raw(self.body_id.as_bytes());
        w.option(self.chunk.as_ref(), |w, chunk| {
            w.u32(*chunk);
        });
        w.u8(self.found as u8).u8(self.how as u8);
        w.u8(outcome).u64(from.get());
    }

    pub(crate) fn read(r: &mut Reader<'_>) -> Result<ScrubDocument, DecodeError> {
        Ok(ScrubDocument {
            body_id: BodyId::new(r.array()?),
            chunk: r.option(Reader::u32)?,
            found: DamageKind::from_code(r.u8()?).ok_or_else(|| r.error("what a scrub found"))?,
            how: How::from_code(r.u8()?).ok_or_else(|| r.error("who came upon damage"))?,
            outcome: match (r.u8()?, NodeId::read(r)?) {
                (1, NodeId::NONE) => ScrubOutcome::Quarantined,
                (2, from) if from != NodeId::NONE => ScrubOutcome::Repaired { from },
                _ => return Err(r.error("an outcome of a scrub")),
            },
        })
    }
}
