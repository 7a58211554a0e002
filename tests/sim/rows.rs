//! What the bytes of a batch say: keys and rows, read for the mirror.
//!
//! Promises to read what the product wrote and nothing else; what cannot be read is told as
//! a breach, for no run writes garbage. Leaves following to the mirror.

use crate::facts::{BodyId, Members};
use muniment::domain::ids::LogIndex;
use muniment::ledger::rows::{LedgerHead, Row as _};
use muniment::raft::codec::Wire;
use muniment::raft::types::{LogId, StoredMembership};
use muniment::store::engine::{Batch, Op};
use muniment::store::keys::{self, GENERATION_PREFIX_BYTES};
use muniment_evidence::codec::Reader;
use std::collections::{BTreeMap, BTreeSet};

/// The tables that are read here. The bytes are part of the format.
pub const HEAD: u8 = 0x01;
pub const APPLIED: u8 = 0x02;
pub const RECORD: u8 = 0x03;
pub const DOCUMENT: u8 = 0x04;

/// One generation of the replicated state.
#[derive(Clone, Debug, Default)]
pub struct Generation {
    pub raft_index: u64,
    pub head: LedgerHead,
    pub members: Members,
}

/// What the ledger database holds.
#[derive(Clone, Debug, Default)]
pub struct LedgerImage {
    pub current: u32,
    pub generations: BTreeMap<u32, Generation>,
    /// Index to term of the log entries kept.
    pub log: BTreeMap<u64, u64>,
    /// Below it the log was purged: what was there is in the state.
    pub purged: u64,
}

impl LedgerImage {
    /// Whether the entry is here, in the log or in the state.
    pub fn has_entry(&self, index: u64, term: u64) -> bool {
        let state = self.generations.get(&self.current);
        self.log.get(&index) == Some(&term)
            || index < self.purged
            || state.is_some_and(|state| state.raft_index >= index)
    }

    pub fn state(&self) -> Generation {
        self.generations
            .get(&self.current)
            .cloned()
            .unwrap_or_default()
    }

    pub fn apply(&mut self, batch: &Batch) -> Result<(), String> {
        for op in &batch.ops {
            match op {
                Op::Put(key, value) if key == keys::GENERATION => {
                    self.current = generation(value)?;
                }
                Op::Put(key, value) if key.first() == Some(&b'S') => {
                    let (generation, table, _) = state_key(key)?;
                    let state = self.generations.entry(generation).or_default();
                    if table == HEAD {
                        state.head =
                            LedgerHead::decode(value).map_err(|error| error.to_string())?;
                    } else if table == APPLIED {
                        (state.raft_index, state.members) = applied(value)?;
                    }
                }
                Op::Put(key, value) if key.first() == Some(&b'L') => {
                    let index = keys::log_index(key).ok_or("a log key without an index")?;
                    self.log
                        .insert(index.get(), number(value.get(1..9).unwrap_or_default())?);
                }
                Op::DeleteRange(start, end) if start.first() == Some(&b'S') => {
                    self.generations
                        .retain(|number, _| !covers(start, end, *number));
                }
                Op::DeleteRange(start, end) if start.first() == Some(&b'L') => {
                    let (start, end) = (keys::log_index(start), keys::log_index(end));
                    let (start, end) = start.zip(end).ok_or("a range of the log")?;
                    self.log
                        .retain(|index, _| *index < start.get() || *index >= end.get());
                    if start == LogIndex::START && end < LogIndex::new(u64::MAX) {
                        self.purged = self.purged.max(end.get());
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Whether a range holds all of a generation.
pub fn covers(start: &[u8], end: &[u8], generation: u32) -> bool {
    let (first, last) = keys::Generation(generation).range();
    start <= &first[..] && end >= &last[..]
}

pub fn generation(value: &[u8]) -> Result<u32, String> {
    let bytes = value.try_into().map_err(|_| "a generation is four bytes")?;
    Ok(u32::from_be_bytes(bytes))
}

/// Generation, table and the rest of a replicated key.
pub fn state_key(key: &[u8]) -> Result<(u32, u8, &[u8]), String> {
    if key.len() <= GENERATION_PREFIX_BYTES {
        return Err(format!("a replicated key of {} bytes", key.len()));
    }
    let (prefix, rest) = key.split_at(GENERATION_PREFIX_BYTES);
    Ok((generation(&prefix[1..])?, rest[0], &rest[1..]))
}

pub fn number(bytes: &[u8]) -> Result<u64, String> {
    let bytes = bytes.try_into().map_err(|_| "a number is eight bytes")?;
    Ok(u64::from_be_bytes(bytes))
}

fn applied(bytes: &[u8]) -> Result<(u64, Members), String> {
    let mut r = Reader::new(bytes);
    let read = (|| {
        r.u8()?;
        let applied: Option<LogId> = Wire::read(&mut r)?;
        let membership: StoredMembership = Wire::read(&mut r)?;
        Ok::<_, muniment_evidence::codec::DecodeError>((applied, membership))
    })();
    let (applied, membership) = read.map_err(|error| format!("the applied row: {error}"))?;
    let index = applied.map_or(0, |id| id.index());
    Ok((index, members(membership.membership())))
}

pub fn members(membership: &muniment::raft::types::Membership) -> Members {
    Members {
        voters: membership
            .get_joint_config()
            .iter()
            .map(|set| set.iter().map(|node| node.get()).collect())
            .collect(),
        learners: membership
            .learner_ids()
            .map(muniment_evidence::ids::NodeId::get)
            .collect(),
    }
}

/// What is stored of one body.
#[derive(Clone, Debug, Default)]
pub struct BodyImage {
    /// Chunks that its manifest names.
    pub chunks: Option<usize>,
    pub present: BTreeSet<u32>,
    pub stamp: Option<u64>,
}

impl BodyImage {
    pub fn is_whole(&self) -> bool {
        self.chunks == Some(self.present.len())
    }
}

/// Applies a batch to what is stored of bodies; the bodies that it touched.
pub fn apply_bodies(
    bodies: &mut BTreeMap<BodyId, BodyImage>,
    batch: &Batch,
) -> Result<BTreeSet<BodyId>, String> {
    let mut touched = BTreeSet::new();
    for op in &batch.ops {
        let key = match op {
            Op::Put(key, _) | Op::Delete(key) | Op::DeleteRange(key, _) => key,
        };
        let Some((table, body)) = key.split_first() else {
            continue;
        };
        let Some(body) = body.first_chunk().copied().map(BodyId::new) else {
            continue;
        };
        if !matches!(table, b'c' | b'm' | b'e') {
            continue;
        }
        let image = bodies.entry(body).or_default();
        match (table, op) {
            (b'c', Op::Put(key, _)) => drop(image.present.insert(chunk(key)?)),
            (b'c', Op::Delete(key)) => drop(image.present.remove(&chunk(key)?)),
            (b'c', Op::DeleteRange(..)) => image.present.clear(),
            (b'm', Op::Put(_, value)) => image.chunks = Some(chunks(value)?),
            (b'm', _) => image.chunks = None,
            (_, Op::Put(_, value)) => image.stamp = Some(number(value)?),
            _ => image.stamp = None,
        }
        touched.insert(body);
    }
    for body in &touched {
        let gone = bodies.get(body).is_some_and(|image| {
            image.present.is_empty() && image.chunks.is_none() && image.stamp.is_none()
        });
        if gone {
            bodies.remove(body);
        }
    }
    Ok(touched)
}

/// The number at the end of a chunk's key.
pub fn chunk(key: &[u8]) -> Result<u32, String> {
    match key.get(17..).and_then(|tail| tail.try_into().ok()) {
        Some(tail) => Ok(u32::from_be_bytes(tail)),
        None => Err("the key of a chunk ends in its number".into()),
    }
}

/// How many chunks a manifest names.
fn chunks(manifest: &[u8]) -> Result<usize, String> {
    let mut r = Reader::new(manifest);
    let read = (|| {
        r.u8()?;
        r.u64()?;
        r.digest()?;
        r.u64()?;
        let chunks = r.list(|r| Ok((r.u32()?, r.digest()?)))?;
        Ok::<_, muniment_evidence::codec::DecodeError>(chunks.len())
    })();
    read.map_err(|error| format!("a manifest: {error}"))
}
