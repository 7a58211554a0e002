//! The durability watermark: what this node is known to have had durable, in a file
//! outside the database.
//!
//! It holds {vote, last log id known synced}. An engine that recovers less than the
//! watermark has silently lost the tail of its log; such a node must neither vote nor
//! campaign until the leader has refilled it past the watermark.
//!
//! Crash order. Vote: 1 ledger sync, 2 watermark written and synced, 3 reply. Log: 1 ledger
//! sync, 2 acknowledge, 3 watermark written within [`TRAIL`]. Truncate: 1 watermark lowered
//! and synced, 2 ledger write. So it never names what the ledger was not told to keep.
//!
//! Two slots are written in turn, each with a counter and a checksum, so that a torn
//! write costs one step back and not the file.

use super::StoreError;
use crate::domain::ids::{LogIndex, NodeId, Term};
use muniment_evidence::codec::{Reader, Writer};
use muniment_evidence::digest::Digest;
use std::cmp::Ordering;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long the log part may trail behind a sync.
pub const TRAIL: Duration = Duration::from_millis(20);

const MAGIC: &[u8; 8] = b"MUNWMARK";
const VERSION: u8 = 1;
/// One slot; both lie in separate 4 KiB pages, so that one torn page spares the other.
const SLOT_BYTES: u64 = 4096;

/// A vote: its term, for whom, and whether a quorum granted it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct DurableVote {
    pub term: Term,
    pub node: NodeId,
    pub committed: bool,
}

impl DurableVote {
    /// Whether a node that gave one vote may give this one next: in a later term; or in the
    /// same one to the same node, or to the one that a quorum made leader meanwhile.
    pub fn may_follow(&self, before: &DurableVote) -> bool {
        match self.term.cmp(&before.term) {
            Ordering::Greater => true,
            Ordering::Less => false,
            Ordering::Equal if before.committed => self == before,
            Ordering::Equal => self.committed || self.node == before.node,
        }
    }
}

/// A position in the log: term and index of an entry; the order is that of Raft.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct LogPosition {
    pub term: Term,
    pub index: LogIndex,
}

/// What was durable, at least.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Watermark {
    pub vote: Option<DurableVote>,
    pub last_log: Option<LogPosition>,
}

/// The file, held open.
pub struct WatermarkFile {
    path: PathBuf,
    /// `None` for a node in memory.
    file: Option<File>,
    counter: u64,
    now: Watermark,
}

impl WatermarkFile {
    /// Opens or makes the file; a file of two broken slots is refused, since a watermark
    /// that cannot be read must not be taken for none.
    pub fn open(path: &Path) -> Result<WatermarkFile, StoreError> {
        let fail = |error: std::io::Error| StoreError::file(path, error);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(fail)?;
        let length = file.metadata().map_err(fail)?.len();
        let mut newest: Option<(u64, Watermark)> = None;
        for slot in 0..2 {
            let mut bytes = [0; SLOT_LENGTH];
            if file.read_exact_at(&mut bytes, slot * SLOT_BYTES).is_ok()
                && let Some(found) = decode(&bytes)
                && newest.is_none_or(|(counter, _)| found.0 > counter)
            {
                newest = Some(found);
            }
        }
        if newest.is_none() && length > 0 {
            return Err(StoreError::file(
                path,
                "both slots are damaged; this node's durable past is unknown: \
                 remove it from the cluster and let it join under a new id",
            ));
        }
        let (counter, now) = newest.unwrap_or_default();
        Ok(WatermarkFile {
            path: path.to_owned(),
            file: Some(file),
            counter,
            now,
        })
    }

    /// For a node in memory: the watermark lives as long as this value.
    pub fn in_memory() -> WatermarkFile {
        WatermarkFile {
            path: PathBuf::new(),
            file: None,
            counter: 0,
            now: Watermark::default(),
        }
    }

    pub fn get(&self) -> Watermark {
        self.now
    }

    /// Writes and syncs, unless nothing changed.
    pub fn set(&mut self, watermark: Watermark) -> Result<(), StoreError> {
        if watermark == self.now && self.counter > 0 {
            return Ok(());
        }
        self.counter += 1;
        if let Some(file) = &self.file {
            let at = self.counter % 2 * SLOT_BYTES;
            file.write_all_at(&encode(self.counter, &watermark), at)
                .and_then(|()| file.sync_data())
                .map_err(|error| StoreError::file(&self.path, error))?;
        }
        self.now = watermark;
        Ok(())
    }
}

const SLOT_LENGTH: usize = 8 + 1 + 8 + 18 + 17 + 32;

fn encode(counter: u64, watermark: &Watermark) -> Vec<u8> {
    let vote = watermark.vote.unwrap_or_default();
    let last = watermark.last_log.unwrap_or_default();
    let mut w = Writer::new();
    w.raw(MAGIC).u8(VERSION).u64(counter);
    w.u8(u8::from(watermark.vote.is_some()))
        .u64(vote.term.get())
        .u64(vote.node.get())
        .u8(u8::from(vote.committed));
    w.u8(u8::from(watermark.last_log.is_some()))
        .u64(last.term.get())
        .u64(last.index.get());
    let mut bytes = w.finish();
    let sum = Digest::of(&[&bytes]);
    bytes.extend_from_slice(&sum.0);
    bytes
}

fn decode(bytes: &[u8; SLOT_LENGTH]) -> Option<(u64, Watermark)> {
    let (content, sum) = bytes.split_at(SLOT_LENGTH - 32);
    if Digest::of(&[content]).0 != sum {
        return None;
    }
    let mut r = Reader::new(content);
    if r.raw(8).ok()? != MAGIC || r.u8().ok()? != VERSION {
        return None;
    }
    let counter = r.u64().ok()?;
    let has_vote = r.u8().ok()? == 1;
    let vote = DurableVote {
        term: Term::read(&mut r).ok()?,
        node: NodeId::read(&mut r).ok()?,
        committed: r.u8().ok()? == 1,
    };
    let has_log = r.u8().ok()? == 1;
    let last = LogPosition {
        term: Term::read(&mut r).ok()?,
        index: LogIndex::read(&mut r).ok()?,
    };
    let watermark = Watermark {
        vote: has_vote.then_some(vote),
        last_log: has_log.then_some(last),
    };
    Some((counter, watermark))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watermark(index: u64) -> Watermark {
        Watermark {
            vote: Some(DurableVote {
                term: Term::new(3),
                node: NodeId::new(1),
                committed: true,
            }),
            last_log: Some(LogPosition {
                term: Term::new(3),
                index: LogIndex::new(index),
            }),
        }
    }

    #[test]
    fn a_vote_goes_on_in_its_term_only_to_its_node_or_its_leader() {
        let vote = |term, node, committed| DurableVote {
            term,
            node,
            committed,
        };
        for (before, after, may) in [
            (
                vote(Term::new(3), NodeId::new(1), false),
                vote(Term::new(4), NodeId::new(2), false),
                true,
            ),
            (
                vote(Term::new(3), NodeId::new(1), true),
                vote(Term::new(2), NodeId::new(1), true),
                false,
            ),
            (
                vote(Term::new(3), NodeId::new(1), false),
                vote(Term::new(3), NodeId::new(2), false),
                false,
            ),
            (
                vote(Term::new(3), NodeId::new(1), false),
                vote(Term::new(3), NodeId::new(1), true),
                true,
            ),
            (
                vote(Term::new(3), NodeId::new(1), false),
                vote(Term::new(3), NodeId::new(2), true),
                true,
            ),
            (
                vote(Term::new(3), NodeId::new(1), true),
                vote(Term::new(3), NodeId::new(1), false),
                false,
            ),
            (
                vote(Term::new(3), NodeId::new(1), true),
                vote(Term::new(3), NodeId::new(2), true),
                false,
            ),
            (
                vote(Term::new(3), NodeId::new(1), true),
                vote(Term::new(3), NodeId::new(1), true),
                true,
            ),
        ] {
            assert_eq!(after.may_follow(&before), may, "{after:?} after {before:?}");
        }
    }

    #[test]
    fn a_torn_write_costs_one_step_and_a_damaged_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("watermark");
        let mut file = WatermarkFile::open(&path).unwrap();
        assert_eq!(file.get(), Watermark::default());
        file.set(watermark(1)).unwrap();
        file.set(watermark(2)).unwrap();
        drop(file);
        assert_eq!(WatermarkFile::open(&path).unwrap().get(), watermark(2));
        let raw = OpenOptions::new().write(true).open(&path).unwrap();
        raw.write_all_at(b"torn", 20).unwrap();
        assert_eq!(WatermarkFile::open(&path).unwrap().get(), watermark(1));
        raw.write_all_at(b"torn", SLOT_BYTES + 20).unwrap();
        assert!(WatermarkFile::open(&path).is_err());
    }
}
