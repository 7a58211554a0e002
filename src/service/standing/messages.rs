//! What nodes say of how they stand, byte for byte.
//!
//! Promises one encoding per message, led by a version. Leaves meaning to the files beside.

use crate::objective::write::WriteLevel;
use crate::transport::{Failure, MESSAGE_VERSION, read_message};
use muniment_evidence::codec::{DecodeError, Reader, Writer};
use muniment_evidence::digest::Digest;
use muniment_evidence::statement::Level;

/// Standings in one answer: more members than any ledger has, far below a frame.
const STANDINGS_MAX: usize = 256;

/// How one node stands, by its own word.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    pub node: u64,
    /// Raft index applied, and the rolling state hash after it.
    pub applied_index: u64,
    pub state_hash: Digest,
    /// Records in its log.
    pub log_size: u64,
    /// Records below which it holds every record and body durably.
    pub body_complete: u64,
    pub disk_free_bytes: u64,
    /// 99th percentile of the last syncs of its ledger database.
    pub fsync_p99_us: u64,
    pub ready: bool,
    /// Bodies that records name and that it does not hold.
    pub bodies_missing: u64,
    pub repair_queue: u64,
    pub orphan_bytes: u64,
}

/// What the leader answers to a report.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Board {
    /// Set when the reporter's state contradicts that of a majority: where.
    pub diverged_at: Option<u64>,
    /// Every standing that the leader knows, and its age in ms.
    pub standings: Vec<(Standing, u64)>,
}

/// A question how durable an entry and what it names are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    pub raft_index: u64,
    /// The record whose bodies must be held too; `None` where it names none.
    pub record: Option<u64>,
    /// Nodes that signed for the bodies.
    pub holders: Vec<u64>,
    pub level: WriteLevel,
    pub wait_ms: u64,
}

/// Where it is durable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reached {
    pub met: bool,
    pub nodes: Vec<u64>,
}

impl Standing {
    fn write(&self, w: &mut Writer) {
        w.u64(self.node).u64(self.applied_index);
        w.digest(&self.state_hash).u64(self.log_size);
        w.u64(self.body_complete).u64(self.disk_free_bytes);
        w.u64(self.fsync_p99_us).u8(u8::from(self.ready));
        w.u64(self.bodies_missing).u64(self.repair_queue);
        w.u64(self.orphan_bytes);
    }

    fn read(r: &mut Reader<'_>) -> Result<Standing, DecodeError> {
        Ok(Standing {
            node: r.u64()?,
            applied_index: r.u64()?,
            state_hash: r.digest()?,
            log_size: r.u64()?,
            body_complete: r.u64()?,
            disk_free_bytes: r.u64()?,
            fsync_p99_us: r.u64()?,
            ready: r.flag()?,
            bodies_missing: r.u64()?,
            repair_queue: r.u64()?,
            orphan_bytes: r.u64()?,
        })
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::new();
        w.u8(MESSAGE_VERSION);
        self.write(&mut w);
        w.finish()
    }

    pub fn decode(bytes: &[u8]) -> Result<Standing, Failure> {
        read_message(bytes, Standing::read)
    }
}

impl Board {
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::new();
        w.u8(MESSAGE_VERSION)
            .option(self.diverged_at.as_ref(), |w, at| {
                w.u64(*at);
            });
        w.list(&self.standings, |w, (standing, age_ms)| {
            standing.write(w);
            w.u64(*age_ms);
        });
        w.finish()
    }

    pub fn decode(bytes: &[u8]) -> Result<Board, Failure> {
        read_message(bytes, |r| {
            let board = Board {
                diverged_at: r.option(Reader::u64)?,
                standings: r.list(|r| Ok((Standing::read(r)?, r.u64()?)))?,
            };
            let few = board.standings.len() <= STANDINGS_MAX;
            few.then_some(board)
                .ok_or_else(|| r.error("a few standings"))
        })
    }
}

impl Ask {
    pub fn encode(&self) -> Vec<u8> {
        let (class, k) = self.level.to_statement().code();
        let mut w = Writer::new();
        w.u8(MESSAGE_VERSION).u64(self.raft_index);
        w.option(self.record.as_ref(), |w, record| {
            w.u64(*record);
        });
        w.list(&self.holders, |w, node| {
            w.u64(*node);
        });
        w.u8(class).u8(k).u64(self.wait_ms);
        w.finish()
    }

    pub fn decode(bytes: &[u8]) -> Result<Ask, Failure> {
        read_message(bytes, |r| {
            Ok(Ask {
                raft_index: r.u64()?,
                record: r.option(Reader::u64)?,
                holders: r.list(Reader::u64)?,
                level: Level::from_code(r.u8()?, r.u8()?)
                    .and_then(WriteLevel::from_statement)
                    .ok_or_else(|| r.error("a write level"))?,
                wait_ms: r.u64()?,
            })
        })
    }
}

impl Reached {
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::new();
        w.u8(MESSAGE_VERSION).u8(u8::from(self.met));
        w.list(&self.nodes, |w, node| {
            w.u64(*node);
        });
        w.finish()
    }

    pub fn decode(bytes: &[u8]) -> Result<Reached, Failure> {
        read_message(bytes, |r| {
            Ok(Reached {
                met: r.flag()?,
                nodes: r.list(Reader::u64)?,
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_read_back_and_others_are_refused() {
        let standing = Standing {
            node: 3,
            applied_index: 9,
            state_hash: Digest([7; 32]),
            ready: true,
            orphan_bytes: 5,
            ..Standing::default()
        };
        assert_eq!(Standing::decode(&standing.encode()), Ok(standing.clone()));
        let board = Board {
            diverged_at: Some(4),
            standings: vec![(standing, 20)],
        };
        assert_eq!(Board::decode(&board.encode()), Ok(board));
        let ask = Ask {
            raft_index: 1,
            record: Some(2),
            holders: vec![1, 3],
            level: WriteLevel::Regions(2),
            wait_ms: 100,
        };
        assert_eq!(Ask::decode(&ask.encode()), Ok(ask.clone()));
        let reached = Reached {
            met: false,
            nodes: vec![1],
        };
        assert_eq!(Reached::decode(&reached.encode()), Ok(reached));
        let mut later = ask.encode();
        later[0] = 2;
        assert!(Ask::decode(&later).is_err());
    }
}
