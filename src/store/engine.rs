//! The seam to the key-value engine: what every store above promises rests on this.
//!
//! Two engines stand behind it: RocksDB (`rocks`) and memory (`memory`, for the simulator
//! and tests). Contract of both: a batch is applied whole or not at all; it is readable
//! when `write` returns and durable when a later `sync` returns; after a crash the engine
//! holds a prefix of the writes in their order. Calls block: they run through
//! [`super::Blocking`]. Leaves typed keys to [`super::keys`].

use super::StoreError;
use std::path::Path;
use std::sync::Arc;

/// A key and its value.
pub type Pair = (Vec<u8>, Vec<u8>);

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    Put(Vec<u8>, Vec<u8>),
    Delete(Vec<u8>),
    /// Start inclusive, end exclusive.
    DeleteRange(Vec<u8>, Vec<u8>),
}

/// Changes that take effect together, in order.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    pub ops: Vec<Op>,
}

impl Batch {
    pub fn new() -> Batch {
        Batch::default()
    }

    pub fn put(&mut self, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) {
        self.ops.push(Op::Put(key.into(), value.into()));
    }

    pub fn delete(&mut self, key: impl Into<Vec<u8>>) {
        self.ops.push(Op::Delete(key.into()));
    }

    pub fn delete_range(&mut self, start: impl Into<Vec<u8>>, end: impl Into<Vec<u8>>) {
        self.ops.push(Op::DeleteRange(start.into(), end.into()));
    }

    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }
}

/// Reads. `end` is exclusive; `limit` bounds the pairs returned, so that no scan holds
/// more memory than its caller named.
pub trait View: Send + Sync {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;
    fn scan(&self, start: &[u8], end: &[u8], limit: usize) -> Result<Vec<Pair>, StoreError>;
    /// From the largest key below `end` downwards.
    fn scan_back(&self, start: &[u8], end: &[u8], limit: usize) -> Result<Vec<Pair>, StoreError>;
}

/// What is done with a view of one moment.
pub type Visit<'a> = dyn FnMut(&dyn View) -> Result<(), StoreError> + 'a;

/// Reads and ordered writes.
pub trait Engine: View {
    fn write(&self, batch: Batch) -> Result<(), StoreError>;
    /// Makes every write that has returned durable. A failure is final: the caller stops
    /// the node and never tries again (after a failed fsync nobody knows what is on disk).
    fn sync(&self) -> Result<(), StoreError>;
    /// Lends a view of one moment for as long as `visit` runs: what is written or deleted
    /// meanwhile does not show in it. Nothing goes from under such a visit, so that none
    /// ever sees half of a change.
    fn at_one_moment(&self, visit: &mut Visit<'_>) -> Result<(), StoreError>;
    /// A view of now that stays as it is, kept below `dir`, which must not exist yet.
    fn checkpoint(&self, dir: &Path) -> Result<Arc<dyn View>, StoreError>;
    /// Gives back the room of keys that were deleted and are never written again: nothing
    /// else makes the engine look at them. Takes as long as reading what lies there.
    fn reclaim(&self, _start: &[u8], _end: &[u8]) {}
    /// Bytes on disk of what was deleted, as far as the engine has found out.
    fn garbage_bytes(&self) -> u64 {
        0
    }
    /// Bytes that the engine will take from the disk without a further write: what is
    /// durable in its log is written once more, to where it stays, beside the next log.
    fn pending_bytes(&self) -> u64 {
        0
    }
    /// Bytes on disk, roughly; for metrics.
    fn size_bytes(&self) -> u64;
}

/// The smallest key above all keys that begin with `prefix`.
pub fn prefix_end(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < 0xff {
            end.push(last + 1);
            return end;
        }
    }
    // No key is above a prefix of 0xff alone; such prefixes are not used.
    vec![0xff; prefix.len() + 1]
}
