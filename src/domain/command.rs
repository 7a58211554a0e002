//! The command: all that is ever replicated, and what apply answers to it.
//!
//! A command is a batch of submissions from one node's recorder. Promises one versioned
//! encoding; the same bytes are the Raft log's value and the frame between nodes. Leaves
//! judgement to `ledger/`.

use crate::domain::ids::{RecordIndex, Sequence};
use muniment_evidence::codec::{DecodeError, Reader, Writer};
use muniment_evidence::key::Signature;
use muniment_evidence::opening::Opening;
use muniment_evidence::record::Outcome;
use muniment_evidence::statement::Statement;

/// A statement on its way into the log, with its openings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submission {
    pub statement: Statement,
    pub signature: Signature,
    pub document: Opening,
    pub actor: Opening,
}

/// Submissions of one node, in the order of its lane.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Command {
    /// The leader's clock; apply clamps it.
    pub proposed_at_ms: u64,
    pub submissions: Vec<Submission>,
}

/// What became of one submission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is the record at `index`: now, or since an earlier arrival.
    Recorded {
        index: RecordIndex,
        outcome: Outcome,
    },
    /// The lane expects `next`; nothing was consumed.
    Gap { next: Sequence },
    /// Same lane and seq, other bytes: the node has lied or lost its memory. It stops.
    Equivocation,
    /// The lane does not exist, or a later boot closed it.
    LaneClosed,
    /// The seq is older than what the ledger remembers of the lane.
    Forgotten,
    /// Not founded yet (only GENESIS is taken), or founded already.
    WrongLedger,
}

const VERSION: u8 = 1;

impl Command {
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::new();
        w.u8(VERSION).u64(self.proposed_at_ms);
        w.list(&self.submissions, |w, s| s.write(w));
        w.finish()
    }

    pub fn decode(bytes: &[u8]) -> Result<Command, DecodeError> {
        let mut r = Reader::new(bytes);
        if r.u8()? != VERSION {
            return Err(r.error("command version 1"));
        }
        let command = Command {
            proposed_at_ms: r.u64()?,
            submissions: r.list(Submission::read)?,
        };
        r.end()?;
        Ok(command)
    }
}

impl Submission {
    /// Bytes that this adds to a command.
    pub fn encoded_length(&self) -> usize {
        Statement::LENGTH + 64 + 2 * (32 + 4) + self.document.bytes.len() + self.actor.bytes.len()
    }

    pub fn write(&self, w: &mut Writer) {
        w.raw(&self.statement.encode()).raw(&self.signature.0);
        w.raw(&self.document.salt).bytes(&self.document.bytes);
        w.raw(&self.actor.salt).bytes(&self.actor.bytes);
    }

    pub fn read(r: &mut Reader<'_>) -> Result<Submission, DecodeError> {
        Ok(Submission {
            statement: Statement::decode(r.raw(Statement::LENGTH)?)?,
            signature: Signature(r.array()?),
            document: Opening {
                salt: r.array()?,
                bytes: r.bytes()?.to_vec(),
            },
            actor: Opening {
                salt: r.array()?,
                bytes: r.bytes()?.to_vec(),
            },
        })
    }
}

impl Answer {
    pub fn write(&self, w: &mut Writer) {
        match self {
            Answer::Recorded { index, outcome } => {
                w.u8(0).u64(index.get());
                outcome.write(w);
            }
            Answer::Gap { next } => {
                w.u8(1).u64(next.get());
            }
            Answer::Equivocation => {
                w.u8(2);
            }
            Answer::LaneClosed => {
                w.u8(3);
            }
            Answer::Forgotten => {
                w.u8(4);
            }
            Answer::WrongLedger => {
                w.u8(5);
            }
        }
    }

    pub fn read(r: &mut Reader<'_>) -> Result<Answer, DecodeError> {
        Ok(match r.u8()? {
            0 => Answer::Recorded {
                index: RecordIndex::read(r)?,
                outcome: Outcome::read(r)?,
            },
            1 => Answer::Gap {
                next: Sequence::read(r)?,
            },
            2 => Answer::Equivocation,
            3 => Answer::LaneClosed,
            4 => Answer::Forgotten,
            5 => Answer::WrongLedger,
            _ => return Err(r.error("an answer")),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::NodeId;
    use muniment_evidence::digest::Digest;
    use muniment_evidence::opening::Opening;
    use muniment_evidence::statement::{Kind, Lane, Level, Mode};

    #[test]
    fn a_command_reads_back() {
        let submission = Submission {
            statement: Statement {
                kind: Kind::Boot,
                mode: Mode::None,
                level: Level::None,
                ledger: Digest([1; 32]),
                node: NodeId::new(1),
                lane: Lane::Boot,
                seq: Sequence::FIRST,
                prev: Digest::ZERO,
                witnessed_at_ms: 1,
                document: Digest([2; 32]),
                actor: Digest([3; 32]),
            },
            signature: Signature([4; 64]),
            document: Opening::public(vec![1, 2, 3]),
            actor: Opening::public(Vec::new()),
        };
        let command = Command {
            proposed_at_ms: 9,
            submissions: vec![submission.clone(), submission],
        };
        let bytes = command.encode();
        assert_eq!(Command::decode(&bytes).as_ref(), Ok(&command));
        assert_eq!(
            bytes.len(),
            13 + 2 * command.submissions[0].encoded_length()
        );
        assert!(Command::decode(&bytes[..bytes.len() - 1]).is_err());
    }
}
