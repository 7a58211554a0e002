//! The floor file: what this node is known to have had durable, outside the database.
//!
//! It holds {vote, last log id known synced}. An engine that recovers less than the floor
//! has silently lost the tail of its log; such a node must neither vote nor stand until
//! the leader has refilled it past the floor.
//!
//! Crash order. Vote: 1 ledger sync, 2 floor write and sync, 3 reply. Log: 1 ledger sync,
//! 2 acknowledge, 3 floor write within [`TRAIL`]. Truncate: 1 floor lowered and synced,
//! 2 ledger write. So the floor never names what the ledger was not told to keep.
//!
//! Two slots are written in turn, each with a counter and a checksum, so that a torn
//! write costs one step back and not the file.

use super::Error;
use muniment_evidence::codec::{Reader, Writer};
use muniment_evidence::digest::Digest;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long the log part may trail behind a sync.
pub const TRAIL: Duration = Duration::from_millis(20);

const MAGIC: &[u8; 8] = b"MUNFLOOR";
const VERSION: u8 = 1;
/// One slot; both lie in separate 4 KiB pages, so that one torn page spares the other.
const SLOT_BYTES: u64 = 4096;

/// Term, node and whether it was granted by a quorum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct FloorVote {
    pub term: u64,
    pub node: u64,
    pub committed: bool,
}

/// Term and index of a log entry; the order is that of Raft.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct FloorLogId {
    pub term: u64,
    pub index: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Floor {
    pub vote: Option<FloorVote>,
    pub last_log: Option<FloorLogId>,
}

/// The file, held open.
pub struct FloorFile {
    path: PathBuf,
    /// `None` for a node in memory.
    file: Option<File>,
    counter: u64,
    now: Floor,
}

impl FloorFile {
    /// Opens or makes the file; a file of two broken slots is refused, since a floor that
    /// cannot be read must not be taken for none.
    pub fn open(path: &Path) -> Result<FloorFile, Error> {
        let fail = |error: std::io::Error| Error::file(path, error);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(fail)?;
        let length = file.metadata().map_err(fail)?.len();
        let mut newest: Option<(u64, Floor)> = None;
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
            return Err(Error::file(
                path,
                "both slots are damaged; this node's durable past is unknown: \
                 remove it from the cluster and let it join under a new id",
            ));
        }
        let (counter, now) = newest.unwrap_or_default();
        Ok(FloorFile {
            path: path.to_owned(),
            file: Some(file),
            counter,
            now,
        })
    }

    /// For a node in memory: the floor lives as long as this value.
    pub fn in_memory() -> FloorFile {
        FloorFile {
            path: PathBuf::new(),
            file: None,
            counter: 0,
            now: Floor::default(),
        }
    }

    pub fn get(&self) -> Floor {
        self.now
    }

    /// Writes and syncs, unless nothing changed.
    pub fn set(&mut self, floor: Floor) -> Result<(), Error> {
        if floor == self.now && self.counter > 0 {
            return Ok(());
        }
        self.counter += 1;
        if let Some(file) = &self.file {
            let at = self.counter % 2 * SLOT_BYTES;
            file.write_all_at(&encode(self.counter, &floor), at)
                .and_then(|()| file.sync_data())
                .map_err(|error| Error::file(&self.path, error))?;
        }
        self.now = floor;
        Ok(())
    }
}

const SLOT_LENGTH: usize = 8 + 1 + 8 + 18 + 17 + 32;

fn encode(counter: u64, floor: &Floor) -> Vec<u8> {
    let vote = floor.vote.unwrap_or_default();
    let last = floor.last_log.unwrap_or_default();
    let mut w = Writer::new();
    w.raw(MAGIC).u8(VERSION).u64(counter);
    w.u8(u8::from(floor.vote.is_some()))
        .u64(vote.term)
        .u64(vote.node)
        .u8(u8::from(vote.committed));
    w.u8(u8::from(floor.last_log.is_some()))
        .u64(last.term)
        .u64(last.index);
    let mut bytes = w.finish();
    let sum = Digest::of(&[&bytes]);
    bytes.extend_from_slice(&sum.0);
    bytes
}

fn decode(bytes: &[u8; SLOT_LENGTH]) -> Option<(u64, Floor)> {
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
    let vote = FloorVote {
        term: r.u64().ok()?,
        node: r.u64().ok()?,
        committed: r.u8().ok()? == 1,
    };
    let has_log = r.u8().ok()? == 1;
    let last = FloorLogId {
        term: r.u64().ok()?,
        index: r.u64().ok()?,
    };
    let floor = Floor {
        vote: has_vote.then_some(vote),
        last_log: has_log.then_some(last),
    };
    Some((counter, floor))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn floor(index: u64) -> Floor {
        Floor {
            vote: Some(FloorVote {
                term: 3,
                node: 1,
                committed: true,
            }),
            last_log: Some(FloorLogId { term: 3, index }),
        }
    }

    #[test]
    fn a_torn_write_costs_one_step_and_a_damaged_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("floor");
        let mut file = FloorFile::open(&path).unwrap();
        assert_eq!(file.get(), Floor::default());
        file.set(floor(1)).unwrap();
        file.set(floor(2)).unwrap();
        drop(file);
        assert_eq!(FloorFile::open(&path).unwrap().get(), floor(2));
        let raw = OpenOptions::new().write(true).open(&path).unwrap();
        raw.write_all_at(b"torn", 20).unwrap();
        assert_eq!(FloorFile::open(&path).unwrap().get(), floor(1));
        raw.write_all_at(b"torn", SLOT_BYTES + 20).unwrap();
        assert!(FloorFile::open(&path).is_err());
    }
}
