//! Read levels: how fresh an answer must be, and what a replica does about it.
//!
//! Promises: pure decisions from what a replica knows of itself and what a read index
//! said. Staleness counts back from the moment at which the node turned to the question:
//! a bound of N ms means that whatever was acknowledged N ms before it, or earlier, is in
//! the answer. Leaves asking and waiting to `service/`, proofs of freshness to
//! [`super::freshness`].

use crate::domain::ids::{LogIndex, RecordIndex, RecoveryEpoch, TreeSize};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use muniment_evidence::codec::{DecodeError, Reader, Writer};
use muniment_evidence::digest::Digest;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Until there is forced recovery, every ledger is in its first epoch.
pub const RECOVERY_EPOCH: RecoveryEpoch = RecoveryEpoch::new(0);
/// Version of an encoded token.
const TOKEN_VERSION: u8 = 1;

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ReadLevel {
    /// Nothing acknowledged before the call is missed.
    #[default]
    Linearizable,
    /// Stale by at most so much, as this replica can prove.
    Bounded {
        ms: u32,
        /// Refuse what cannot be proven here, rather than name the leader.
        local_only: bool,
    },
    /// Nothing is missed that the token's holder has seen.
    Session(Token),
    /// What this replica has, even when it is cut off; never escalates.
    Local,
    /// The records up to and including this one, and no others.
    AsOf(RecordIndex),
}

/// What somebody has seen of a ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    /// Leaf hash of GENESIS.
    pub ledger: Digest,
    pub recovery_epoch: RecoveryEpoch,
    pub raft_index: LogIndex,
}

/// What a replica knows of itself when it decides.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    /// Zero while it holds no ledger.
    pub ledger: Digest,
    pub recovery_epoch: RecoveryEpoch,
    /// Raft index.
    pub applied: LogIndex,
    /// Records.
    pub size: TreeSize,
    /// Since when it may miss something; `None` when nothing is proven.
    pub staleness: Option<Duration>,
}

/// What to do with a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Serve,
    /// Until this Raft index is applied here.
    Wait(LogIndex),
    /// Ask the leader for a read index.
    Probe,
    Refuse(Refusal),
}

/// Why a read is not served here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Passes by itself, or at another node.
    Unreached,
    /// As `Unreached`, for a caller who wants to hear of it rather than be sent on.
    StalenessBound,
    /// What the token names was never in this ledger, or is lost.
    TokenLost,
    /// The log has no such record.
    BeyondLog,
}

impl ReadLevel {
    /// Before anybody is asked.
    pub fn step(&self, known: &Known) -> Step {
        match self {
            ReadLevel::Local => Step::Serve,
            ReadLevel::Linearizable => Step::Probe,
            ReadLevel::Bounded { ms, .. } if known.is_within(*ms) => Step::Serve,
            ReadLevel::Bounded { .. } => Step::Probe,
            // Before GENESIS is applied here, nothing tells whose the token is.
            ReadLevel::Session(_) if known.ledger == Digest::ZERO => {
                Step::Refuse(Refusal::Unreached)
            }
            ReadLevel::Session(token) if !known.is_of(token) => Step::Refuse(Refusal::TokenLost),
            ReadLevel::Session(token) if token.raft_index <= known.applied => Step::Serve,
            ReadLevel::Session(token) => Step::Wait(token.raft_index),
            ReadLevel::AsOf(index) if *index < known.size.next_index() => Step::Serve,
            ReadLevel::AsOf(_) => Step::Probe,
        }
    }

    /// With a read index taken since, or with none because nobody gave one in time. Never
    /// asks again, so that a read ends.
    pub fn after_probe(&self, known: &Known, read_index: Option<LogIndex>) -> Step {
        match (self.step(known), read_index) {
            (Step::Serve, _) => Step::Serve,
            (Step::Refuse(refusal), _) => Step::Refuse(refusal),
            // A valid token names what was applied somewhere, so committed: each read
            // index taken after it was given out is at least as high.
            (Step::Wait(index), Some(read)) if index > read => Step::Refuse(Refusal::TokenLost),
            (Step::Wait(index), Some(_)) => Step::Wait(index),
            (Step::Probe, Some(read)) if read > known.applied => Step::Wait(read),
            (Step::Probe, Some(_)) => match self {
                // All that was committed when it was asked for is applied.
                ReadLevel::AsOf(_) => Step::Refuse(Refusal::BeyondLog),
                _ => Step::Serve,
            },
            (Step::Wait(_) | Step::Probe, None) => Step::Refuse(self.unreached()),
        }
    }

    /// The refusal for want of a leader, a quorum or time.
    pub fn unreached(&self) -> Refusal {
        match self {
            ReadLevel::Bounded {
                local_only: true, ..
            } => Refusal::StalenessBound,
            _ => Refusal::Unreached,
        }
    }

    /// Whether a miss is asked about once more before it is told: what is bound to an
    /// index, or asked to be local, stays as it is.
    pub fn doubts_a_miss(&self) -> bool {
        matches!(self, ReadLevel::Bounded { .. } | ReadLevel::Session(_))
    }
}

impl Known {
    fn is_within(&self, ms: u32) -> bool {
        self.staleness
            .is_some_and(|staleness| staleness <= Duration::from_millis(u64::from(ms)))
    }

    fn is_of(&self, token: &Token) -> bool {
        token.ledger == self.ledger && token.recovery_epoch == self.recovery_epoch
    }
}

impl Token {
    /// Version, ledger, recovery epoch, Raft index: 49 bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::new();
        w.u8(TOKEN_VERSION).digest(&self.ledger);
        w.u64(self.recovery_epoch.get()).u64(self.raft_index.get());
        w.finish()
    }

    pub fn decode(bytes: &[u8]) -> Result<Token, DecodeError> {
        let mut r = Reader::new(bytes);
        if r.u8()? != TOKEN_VERSION {
            return Err(r.error("token version 1"));
        }
        let token = Token {
            ledger: Digest(r.array()?),
            recovery_epoch: RecoveryEpoch::new(r.u64()?),
            raft_index: LogIndex::read(&mut r)?,
        };
        r.end()?;
        Ok(token)
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.encode()))
    }
}

impl FromStr for Token {
    type Err = String;

    fn from_str(text: &str) -> Result<Token, String> {
        let wrong = || format!("{text:?} is no token that an answer carried");
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| wrong())?;
        Token::decode(&bytes).map_err(|_| wrong())
    }
}

impl fmt::Display for ReadLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReadLevel::Linearizable => f.write_str("linearizable"),
            ReadLevel::Bounded { ms, local_only } => {
                let only = if *local_only { ":local-only" } else { "" };
                write!(f, "bounded:{ms}{only}")
            }
            ReadLevel::Session(token) => write!(f, "session:{token}"),
            ReadLevel::Local => f.write_str("local"),
            ReadLevel::AsOf(index) => write!(f, "as-of:{index}"),
        }
    }
}

impl FromStr for ReadLevel {
    type Err = String;

    fn from_str(text: &str) -> Result<ReadLevel, String> {
        let bounded = |ms: &str, local_only: bool| match ms.parse::<u32>() {
            Ok(ms) if ms > 0 => Some(ReadLevel::Bounded { ms, local_only }),
            _ => None,
        };
        let level = match text.split_once(':') {
            None if text == "linearizable" => Some(ReadLevel::Linearizable),
            None if text == "local" => Some(ReadLevel::Local),
            Some(("bounded", rest)) => match rest.split_once(':') {
                None => bounded(rest, false),
                Some((ms, "local-only")) => bounded(ms, true),
                Some(_) => None,
            },
            Some(("session", token)) => Some(ReadLevel::Session(token.parse()?)),
            Some(("as-of", index)) => {
                let index = index.parse().ok();
                index.map(|index| ReadLevel::AsOf(RecordIndex::new(index)))
            }
            _ => None,
        };
        level.ok_or_else(|| {
            format!(
                "{text:?} is none of linearizable, local, bounded:MS, bounded:MS:local-only, \
                 session:TOKEN, as-of:INDEX"
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEDGER: Digest = Digest([7; 32]);

    fn known(applied: u64, size: u64, staleness_ms: Option<u64>) -> Known {
        Known {
            ledger: LEDGER,
            recovery_epoch: RECOVERY_EPOCH,
            applied: LogIndex::new(applied),
            size: TreeSize::new(size),
            staleness: staleness_ms.map(Duration::from_millis),
        }
    }

    fn token(raft_index: u64) -> Token {
        Token {
            ledger: LEDGER,
            recovery_epoch: RECOVERY_EPOCH,
            raft_index: LogIndex::new(raft_index),
        }
    }

    fn bounded(ms: u32, local_only: bool) -> ReadLevel {
        ReadLevel::Bounded { ms, local_only }
    }

    #[test]
    fn a_linearizable_read_always_asks_and_waits_for_what_it_is_told() {
        let level = ReadLevel::Linearizable;
        assert_eq!(level.step(&known(9, 9, Some(0))), Step::Probe);
        let before = known(5, 5, None);
        assert_eq!(
            level.after_probe(&before, Some(LogIndex::new(6))),
            Step::Wait(LogIndex::new(6))
        );
        assert_eq!(
            level.after_probe(&before, Some(LogIndex::new(5))),
            Step::Serve
        );
        let refused = Step::Refuse(Refusal::Unreached);
        assert_eq!(level.after_probe(&known(5, 5, Some(0)), None), refused);
    }

    #[test]
    fn a_bounded_read_is_served_within_its_proof_alone() {
        for local_only in [false, true] {
            let level = bounded(500, local_only);
            assert_eq!(level.step(&known(5, 5, Some(500))), Step::Serve);
            assert_eq!(level.step(&known(5, 5, Some(501))), Step::Probe);
            // No proof is no bound, however much was applied.
            assert_eq!(level.step(&known(u64::MAX, 5, None)), Step::Probe);
            assert_eq!(
                level.after_probe(&known(5, 5, None), Some(LogIndex::new(5))),
                Step::Serve
            );
            assert_eq!(
                level.after_probe(&known(5, 5, None), Some(LogIndex::new(8))),
                Step::Wait(LogIndex::new(8))
            );
            // Somebody else's question may have proven it meanwhile.
            assert_eq!(level.after_probe(&known(5, 5, Some(3)), None), Step::Serve);
        }
        let stale = known(5, 5, Some(501));
        let refused = |level: ReadLevel| level.after_probe(&stale, None);
        assert_eq!(
            refused(bounded(500, true)),
            Step::Refuse(Refusal::StalenessBound)
        );
        assert_eq!(
            refused(bounded(500, false)),
            Step::Refuse(Refusal::Unreached)
        );
    }

    #[test]
    fn a_token_is_waited_for_and_a_lost_one_is_told_at_once() {
        let level = ReadLevel::Session(token(8));
        assert_eq!(level.step(&known(8, 1, None)), Step::Serve);
        assert_eq!(
            level.step(&known(7, 1, Some(0))),
            Step::Wait(LogIndex::new(8))
        );
        assert_eq!(
            level.after_probe(&known(7, 1, None), Some(LogIndex::new(9))),
            Step::Wait(LogIndex::new(8))
        );
        // Higher than anything committed: no replica will ever apply it.
        let lost = Step::Refuse(Refusal::TokenLost);
        assert_eq!(
            level.after_probe(&known(7, 1, None), Some(LogIndex::new(7))),
            lost
        );
        assert_eq!(
            level.after_probe(&known(7, 1, None), None),
            Step::Refuse(Refusal::Unreached)
        );
        for foreign in [
            Token {
                ledger: Digest([8; 32]),
                ..token(1)
            },
            Token {
                recovery_epoch: RecoveryEpoch::new(1),
                ..token(1)
            },
        ] {
            assert_eq!(
                ReadLevel::Session(foreign).step(&known(8, 1, Some(0))),
                lost
            );
        }
        let unfounded = Known {
            ledger: Digest::ZERO,
            ..known(0, 0, None)
        };
        assert_eq!(level.step(&unfounded), Step::Refuse(Refusal::Unreached));
    }

    #[test]
    fn a_read_as_of_a_record_needs_that_record_and_nothing_newer() {
        let level = ReadLevel::AsOf(RecordIndex::new(4));
        assert_eq!(level.step(&known(9, 5, None)), Step::Serve);
        assert_eq!(level.step(&known(9, 4, Some(0))), Step::Probe);
        assert_eq!(
            level.after_probe(&known(9, 4, None), Some(LogIndex::new(10))),
            Step::Wait(LogIndex::new(10))
        );
        let beyond = Step::Refuse(Refusal::BeyondLog);
        assert_eq!(
            level.after_probe(&known(10, 4, None), Some(LogIndex::new(10))),
            beyond
        );
        assert_eq!(
            level.after_probe(&known(10, 5, None), Some(LogIndex::new(10))),
            Step::Serve
        );
    }

    #[test]
    fn a_local_read_never_escalates() {
        assert_eq!(ReadLevel::Local.step(&known(0, 0, None)), Step::Serve);
        assert!(!ReadLevel::Local.doubts_a_miss());
        assert!(bounded(1, true).doubts_a_miss());
    }

    /// Clients keep tokens: a later server must still read what this one wrote. The client
    /// crate compares their bytes from epoch and index on, and freezes the same ones.
    #[test]
    fn a_token_keeps_its_bytes() {
        let bytes = token(0x0102).encode();
        let mut expected = vec![1];
        expected.extend([7; 32]);
        expected.extend([0; 8]);
        expected.extend([0, 0, 0, 0, 0, 0, 1, 2]);
        assert_eq!(bytes, expected);
        assert_eq!(Token::decode(&bytes), Ok(token(0x0102)));
        assert!(Token::decode(&bytes[..48]).is_err());
        assert!(Token::decode(&[&bytes[..], &[0]].concat()).is_err());
        assert!(Token::decode(&[&[2], &bytes[1..]].concat()).is_err());
        assert!(Token::decode(&[]).is_err());
    }

    #[test]
    fn levels_read_what_they_write() {
        for level in [
            ReadLevel::Linearizable,
            ReadLevel::Local,
            bounded(500, false),
            bounded(1, true),
            ReadLevel::Session(token(77)),
            ReadLevel::AsOf(RecordIndex::FIRST),
        ] {
            assert_eq!(level.to_string().parse(), Ok(level));
        }
        for wrong in [
            "",
            "bounded",
            "bounded:0",
            "bounded:-1",
            "bounded:5:leader",
            "session",
            "session:",
            "session:AAAA",
            "as-of:",
            "as-of:x",
            "local:1",
        ] {
            assert!(wrong.parse::<ReadLevel>().is_err(), "{wrong}");
        }
    }
}
