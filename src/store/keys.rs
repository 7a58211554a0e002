//! The keys of the ledger database that are a node's own, and the prefix of all others.
//!
//! Node-local keys begin with `N` (and `L` for the Raft log); replicated keys begin with
//! `S`, the generation and a table byte, and are made in `ledger/tables.rs`. Numbers are
//! big-endian and must stay so: scans rely on the order. A snapshot carries the `S` keys
//! alone, never a vote, a log or an identity.

use super::engine::prefix_end;
use crate::domain::ids::{LogIndex, TreeSize};

/// Which copy of the replicated state is in force; a snapshot is installed as one that was
/// never begun before, and then flipped to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Generation(pub u32);

impl Generation {
    pub fn prefix(self) -> Vec<u8> {
        let mut key = vec![b'S'];
        key.extend_from_slice(&self.0.to_be_bytes());
        key
    }

    pub fn key(self, state_key: &[u8]) -> Vec<u8> {
        let mut key = self.prefix();
        key.extend_from_slice(state_key);
        key
    }

    /// All keys of this generation: start and end.
    pub fn range(self) -> (Vec<u8>, Vec<u8>) {
        let start = self.prefix();
        let end = prefix_end(&start);
        (start, end)
    }
}

/// Length of what [`Generation::key`] puts before a state key.
pub const GENERATION_PREFIX_BYTES: usize = 5;

/// The node's vote.
pub const VOTE: &[u8] = b"NV";
/// Newest log id known committed; unsynced, only saves work at start.
pub const COMMITTED: &[u8] = b"NC";
/// Newest log id that was purged.
pub const PURGED: &[u8] = b"NP";
/// The highest generation that an install ever began: u32. Never goes back.
pub const GENERATION_BEGUN: &[u8] = b"NB";
/// The generation in force: u32.
pub const GENERATION: &[u8] = b"NG";

/// How far this node has verified its log.
pub const VERIFIED: &[u8] = b"NY";

/// A cosigned note, by the size of its tree.
pub fn kept_note(size: TreeSize) -> Vec<u8> {
    let mut key = b"NK".to_vec();
    key.extend_from_slice(&size.get().to_be_bytes());
    key
}

pub fn log_entry(index: LogIndex) -> Vec<u8> {
    let mut key = vec![b'L'];
    key.extend_from_slice(&index.get().to_be_bytes());
    key
}

/// The index in a key made by [`log_entry`].
pub fn log_index(key: &[u8]) -> Option<LogIndex> {
    Some(LogIndex::new(u64::from_be_bytes(
        key.strip_prefix(b"L")?.try_into().ok()?,
    )))
}

/// The last eight bytes of a key as a number: the record index in index tables.
pub fn trailing_u64(key: &[u8]) -> Option<u64> {
    let tail = key.last_chunk::<8>()?;
    Some(u64::from_be_bytes(*tail))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_of_the_nodes_own_rows_share_a_key() {
        let note = kept_note(TreeSize::EMPTY);
        let own = [
            VOTE,
            COMMITTED,
            PURGED,
            GENERATION_BEGUN,
            GENERATION,
            VERIFIED,
            &note,
        ];
        for (at, key) in own.iter().enumerate() {
            assert!(!own[..at].iter().any(|other| key.starts_with(other)));
        }
    }

    #[test]
    fn ranges_hold_their_own_keys_only() {
        assert_eq!(
            log_index(&log_entry(LogIndex::new(7))),
            Some(LogIndex::new(7))
        );
        assert_eq!(trailing_u64(&log_entry(LogIndex::new(7))), Some(7));
        let (start, end) = Generation(0xffff_ffff).range();
        assert!(Generation(0xffff_ffff).key(&[0xff; 3]) < end && start < end);
    }
}
