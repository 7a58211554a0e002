//! Numbers and names that must not be taken for one another.
//!
//! A node, the position of a record, the size of a tree and the number of a statement are
//! all 64 bits in the formats; mixed up, they verify nothing and prove the wrong thing. So
//! each is a type of its own.
//!
//! Promises: no arithmetic but by the functions named here, of which each says what it
//! means; on the wire and in text each is the plain number. Leaves limits to the formats.
//!
//! ```
//! use muniment_evidence::ids::{RecordIndex, TreeSize};
//!
//! let size = TreeSize::new(3);
//! let last = size.last().expect("three records have a last one");
//! assert_eq!(last, RecordIndex::new(2));
//! assert!(size.contains(last) && !size.contains(last.next()));
//! assert_eq!((last.size_through(), size.next_index()), (size, last.next()));
//! assert_eq!(TreeSize::EMPTY.last(), None);
//! ```
//!
//! Tests: `evidence/tests/encodings.rs`.

use crate::codec::{DecodeError, Reader};
use std::fmt;

/// Writes one such type.
macro_rules! number {
    ($($(#[$about:meta])* $type:ident;)+) => {$(
        $(#[$about])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(transparent)]
        pub struct $type(u64);

        impl $type {
            pub const fn new(number: u64) -> $type {
                $type(number)
            }

            pub const fn get(self) -> u64 {
                self.0
            }

            pub fn read(r: &mut Reader<'_>) -> Result<$type, DecodeError> {
                r.u64().map($type)
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )+};
}

number! {
    /// Names a node of the ledger; counted from 1, and never given to another node.
    NodeId;
    /// The position of a record in the log, from 0.
    RecordIndex;
    /// How many records a tree has; so also the index that the next record will have.
    TreeSize;
    /// The number of a statement within its lane, from 0.
    Sequence;
    /// Names an outbox of one node.
    OutboxId;
    /// Counts the times at which the ledger let go of bodies that nobody named; a holding
    /// says in which it was made.
    UploadEpoch;
    /// A position in the replication log, which has entries that are no records.
    LogIndex;
    /// A term of leadership.
    Term;
    /// Counts the times at which the ledger went on with less than it had signed; stands at the
    /// end of its origin.
    RecoveryEpoch;
}

impl NodeId {
    /// Stands where a key is no node's own.
    pub const NONE: NodeId = NodeId(0);
}

/// For who numbers nodes himself, as the consensus library's own tests do.
impl From<u64> for NodeId {
    fn from(number: u64) -> NodeId {
        NodeId(number)
    }
}

impl RecordIndex {
    pub const FIRST: RecordIndex = RecordIndex(0);

    /// The index of the record after this one. The last that 64 bits have stays what it is:
    /// no log gets there, but a forged record may say so.
    pub const fn next(self) -> RecordIndex {
        RecordIndex(self.0.saturating_add(1))
    }

    /// The size of the tree whose last record this is; bounded as [`RecordIndex::next`].
    pub const fn size_through(self) -> TreeSize {
        TreeSize(self.0.saturating_add(1))
    }

    /// The size of the tree of all records before this one.
    pub const fn size_before(self) -> TreeSize {
        TreeSize(self.0)
    }

    /// The index that follows `count` records of which this is the first.
    pub const fn after(self, count: u64) -> RecordIndex {
        RecordIndex(self.0.saturating_add(count))
    }

    /// This index and those after it, in order.
    pub fn onwards(self) -> impl Iterator<Item = RecordIndex> {
        (self.0..).map(RecordIndex)
    }

    /// How many records lie between `first` and this one; `None` when it lies before.
    pub fn distance_from(self, first: RecordIndex) -> Option<usize> {
        usize::try_from(self.0.checked_sub(first.0)?).ok()
    }
}

impl TreeSize {
    pub const EMPTY: TreeSize = TreeSize(0);

    /// The size after `count` more records.
    pub const fn grown_by(self, count: u64) -> TreeSize {
        TreeSize(self.0.saturating_add(count))
    }

    /// How many records came since the tree had `older`; none when it was no smaller then.
    pub const fn count_since(self, older: TreeSize) -> u64 {
        self.0.saturating_sub(older.0)
    }

    /// The index of the last record; `None` when there is none.
    pub fn last(self) -> Option<RecordIndex> {
        self.0.checked_sub(1).map(RecordIndex)
    }

    /// The index that the next record will have.
    pub const fn next_index(self) -> RecordIndex {
        RecordIndex(self.0)
    }

    /// Whether the tree has a record at this index.
    pub const fn contains(self, index: RecordIndex) -> bool {
        index.0 < self.0
    }
}

impl Sequence {
    pub const FIRST: Sequence = Sequence(0);

    /// The number of the statement after this one; the last number has none, and stays.
    pub const fn next(self) -> Sequence {
        Sequence(self.0.saturating_add(1))
    }

    /// How many statements there are from `from` up to this one, which does not count.
    pub const fn count_since(self, from: Sequence) -> u64 {
        self.0.saturating_sub(from.0)
    }

    /// The number that follows `count` statements of which this is the first.
    pub const fn after(self, count: u64) -> Sequence {
        Sequence(self.0.saturating_add(count))
    }

    /// The number of the first of `count` statements that this one follows.
    pub const fn before(self, count: u64) -> Sequence {
        Sequence(self.0.saturating_sub(count))
    }

    /// This number and those after it, in order.
    pub fn onwards(self) -> impl Iterator<Item = Sequence> {
        (self.0..).map(Sequence)
    }

    /// This number and those after it, below `end`, in order.
    pub fn up_to(self, end: Sequence) -> impl Iterator<Item = Sequence> {
        (self.0..end.0).map(Sequence)
    }
}

impl UploadEpoch {
    /// The epoch that follows.
    pub const fn next(self) -> UploadEpoch {
        UploadEpoch(self.0.saturating_add(1))
    }
}

impl LogIndex {
    /// Before the first entry.
    pub const START: LogIndex = LogIndex(0);

    /// The index of the entry after this one.
    pub const fn next(self) -> LogIndex {
        LogIndex(self.0.saturating_add(1))
    }

    /// How many entries lie between `older` and this one; none when it is no newer.
    pub const fn count_since(self, older: LogIndex) -> u64 {
        self.0.saturating_sub(older.0)
    }
}

/// Names the bytes of one rendition: a UUIDv7, sixteen bytes in the formats.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct BodyId([u8; 16]);

impl BodyId {
    pub const fn new(bytes: [u8; 16]) -> BodyId {
        BodyId(bytes)
    }

    pub const fn get(self) -> [u8; 16] {
        self.0
    }

    /// As [`BodyId::get`], where the bytes are written or sent.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

/// As UUIDs are written: 8-4-4-4-12 lower-case hexadecimal digits.
impl fmt::Display for BodyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, byte) in self.0.iter().enumerate() {
            if matches!(at, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for BodyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
