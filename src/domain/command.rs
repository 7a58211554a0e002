//! The command: all that is ever replicated, and what apply answers to it.
//!
//! A command is a batch of submissions from one node's recorder, each with what the leader
//! found in it that apply cannot see. Promises one versioned encoding, the Raft log's value;
//! that a submission which cannot be read keeps none beside it from being read. Leaves
//! judgement to `ledger/`.

use crate::domain::ids::{RecordIndex, Sequence};
use muniment_evidence::codec::{DecodeError, Reader, Writer};
use muniment_evidence::key::Signature;
use muniment_evidence::opening::Opening;
use muniment_evidence::record::{Outcome, Reason};
use muniment_evidence::statement::{Kind, Statement};

/// A statement on its way into the log, with its openings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submission {
    pub statement: Statement,
    pub signature: Signature,
    pub document: Opening,
    pub actor: Opening,
}

/// A submission as the leader proposes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProposedSubmission {
    pub submission: Submission,
    /// Why it must not take effect, as far as that shows in signatures inside it, which apply does
    /// not verify, or in who hands it in, which apply cannot see. A numbered statement is proposed
    /// all the same, so that it leaves a record.
    pub refusal: Option<Reason>,
    /// Of a GENESIS: the feature level of the founder's software. It is the first where a founder
    /// said none.
    pub founded_at: Option<u64>,
}

impl From<Submission> for ProposedSubmission {
    fn from(submission: Submission) -> ProposedSubmission {
        ProposedSubmission {
            submission,
            refusal: None,
            founded_at: None,
        }
    }
}

/// Submissions of one node, in the order of its lane.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Command {
    /// The leader's clock; apply clamps it.
    pub proposed_at_ms: u64,
    pub submissions: Vec<ProposedSubmission>,
}

/// A command as it is read from an entry: each submission by itself.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct ReceivedCommand {
    pub proposed_at_ms: u64,
    pub submissions: Vec<Result<ProposedSubmission, DecodeError>>,
}

impl From<Command> for ReceivedCommand {
    fn from(command: Command) -> ReceivedCommand {
        ReceivedCommand {
            proposed_at_ms: command.proposed_at_ms,
            submissions: command.submissions.into_iter().map(Ok).collect(),
        }
    }
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
    /// There is no statement that can be read, or a GENESIS that no verifier would take:
    /// nothing was consumed.
    Unreadable,
}

/// Version 2 has each submission by its length, and what the leader found in it.
const VERSION: u8 = 2;

impl Command {
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::new();
        w.u8(VERSION).u64(self.proposed_at_ms);
        w.list(&self.submissions, |w, proposed| {
            let mut one = Writer::new();
            one.u16(proposed.refusal.map_or(0, Reason::code));
            proposed.submission.write(&mut one);
            if let Some(level) = proposed.founded_at {
                one.u64(level);
            }
            w.bytes(&one.finish());
        });
        w.finish()
    }

    /// The time at which bytes say that they were proposed; `None` of what is no command.
    pub fn proposed_at_ms(bytes: &[u8]) -> Option<u64> {
        let mut r = Reader::new(bytes);
        (r.u8() == Ok(VERSION)).then(|| r.u64().ok()).flatten()
    }

    pub fn decode(bytes: &[u8]) -> Result<ReceivedCommand, DecodeError> {
        let mut r = Reader::new(bytes);
        if r.u8()? != VERSION {
            return Err(r.error("command version 2"));
        }
        let command = ReceivedCommand {
            proposed_at_ms: r.u64()?,
            submissions: r.list(|r| Ok(ProposedSubmission::decode(r.bytes()?)))?,
        };
        r.end()?;
        Ok(command)
    }
}

impl ProposedSubmission {
    fn decode(bytes: &[u8]) -> Result<ProposedSubmission, DecodeError> {
        let mut r = Reader::new(bytes);
        let refusal = Reason::from_code(r.u16()?);
        let submission = Submission::read(&mut r)?;
        let founds = submission.statement.kind == Kind::Genesis && !r.is_empty();
        let proposed = ProposedSubmission {
            refusal,
            submission,
            founded_at: founds.then(|| r.u64()).transpose()?,
        };
        r.end()?;
        Ok(proposed)
    }
}

impl Submission {
    /// Bytes that this adds to a command.
    pub fn encoded_length(&self) -> usize {
        let openings = self.document.bytes.len() + self.actor.bytes.len();
        (4 + 2) + Statement::LENGTH + 64 + 2 * (32 + 4) + openings
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
            Answer::Unreadable => {
                w.u8(6);
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
            6 => Answer::Unreadable,
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
    use muniment_evidence::statement::{Lane, Level, Mode};

    fn submission() -> Submission {
        Submission {
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
        }
    }

    #[test]
    fn a_command_reads_back() {
        let refused = ProposedSubmission {
            refusal: Some(Reason::HoldingsInsufficient),
            ..submission().into()
        };
        let command = Command {
            proposed_at_ms: 9,
            submissions: vec![submission().into(), refused],
        };
        let bytes = command.encode();
        assert_eq!(bytes.len(), 13 + 2 * submission().encoded_length());
        assert!(Command::decode(&bytes[..bytes.len() - 1]).is_err());
        assert_eq!(Command::proposed_at_ms(&bytes), Some(9));
        assert_eq!(Command::proposed_at_ms(&bytes[..8]), None);
        assert_eq!(Command::decode(&bytes), Ok(command.into()));
    }

    /// Replicas of two versions found by the same bytes; an earlier version wrote no level.
    #[test]
    fn a_genesis_says_the_level_of_its_founder_and_nothing_else_does() {
        let mut genesis = submission();
        genesis.statement.kind = Kind::Genesis;
        for (submission, founded_at, reads) in [
            (genesis.clone(), Some(2), true),
            (genesis, None, true),
            (submission(), Some(2), false),
        ] {
            let proposed = ProposedSubmission {
                founded_at,
                ..submission.into()
            };
            let command = Command {
                proposed_at_ms: 9,
                submissions: vec![proposed.clone()],
            };
            let read = Command::decode(&command.encode()).unwrap().submissions;
            assert_eq!(read[0].clone().ok(), reads.then_some(proposed));
        }
    }

    /// A member of a later version, or one that lies, must not take the statements of others
    /// with it that happen to stand in the same entry.
    #[test]
    fn what_cannot_be_read_keeps_nothing_beside_it_from_being_read() {
        let command = Command {
            proposed_at_ms: 9,
            submissions: vec![submission().into(); 3],
        };
        let mut bytes = command.encode();
        // The version of the second statement.
        let at = 13 + submission().encoded_length() + 4 + 2;
        bytes[at] = 99;
        let read = Command::decode(&bytes).unwrap().submissions;
        let good = read.iter().map(Result::is_ok).collect::<Vec<_>>();
        assert_eq!(good, [true, false, true]);
    }
}
