//! Every key of the ledger database, in one place.
//!
//! Node-local keys begin with `N` (and `L` for the Raft log); replicated keys begin with
//! `S`, the generation and a table byte. Numbers are big-endian and must stay so: scans
//! rely on the order. Text inside a key is led by its u16 length, so that no text is the
//! prefix of another. A snapshot carries the `S` keys alone, never a vote, a log or an
//! identity.

use super::engine::prefix_end;

/// Which copy of the replicated state is in force; a snapshot is installed as the next
/// one and then flipped to.
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

    pub fn next(self) -> Generation {
        Generation(self.0.wrapping_add(1))
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
/// The generation in force: u32.
pub const GENERATION: &[u8] = b"NG";

/// A cosigned note, by the size of its tree.
pub fn kept_note(size: u64) -> Vec<u8> {
    let mut key = b"NK".to_vec();
    key.extend_from_slice(&size.to_be_bytes());
    key
}

pub fn log_entry(index: u64) -> Vec<u8> {
    let mut key = vec![b'L'];
    key.extend_from_slice(&index.to_be_bytes());
    key
}

/// The index in a key made by [`log_entry`].
pub fn log_index(key: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(key.strip_prefix(b"L")?.try_into().ok()?))
}

/// The tables of the replicated state. The byte is part of the format: never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Table {
    /// One row: the ledger's head.
    Head = 0x01,
    /// One row: last applied log id and membership; not part of the state hash.
    Applied = 0x02,
    /// record index → record
    Record = 0x03,
    /// record index → document opening
    Document = 0x04,
    /// record index → actor opening
    Actor = 0x05,
    /// level, index → tree row
    Row = 0x06,
    /// tree size → Raft index of the entry that ended there
    EntryEnd = 0x07,
    /// node, lane → lane state
    Lane = 0x08,
    /// node, lane, seq → what became of that statement
    LaneWindow = 0x09,
    /// uid → invoice summary
    Invoice = 0x0a,
    /// uid, record index → event
    Event = 0x0b,
    /// identity → uid
    Identity = 0x0c,
    /// tenant, request id → uid, digest
    Request = 0x0d,
    /// tenant, scheme, value → uid
    AlternativeId = 0x0e,
    /// body SHA-256, uid → nothing
    BodyDigest = 0x0f,
    /// tenant, record index → uid
    ByTenant = 0x10,
    /// tenant, issuer, record index → uid
    ByIssuer = 0x11,
    /// tenant, buyer, record index → uid
    ByBuyer = 0x12,
    /// tenant, month, record index → uid
    ByMonth = 0x13,
    /// tenant, number, record index → uid
    ByNumber = 0x14,
    /// log index → what a leader has to attest
    Due = 0x15,
    /// uid, record index of an OK download → nothing
    Download = 0x16,
    /// body id → uid
    Body = 0x17,
    /// node → member
    Node = 0x18,
    /// One row: the voter sets, as of the last membership entry.
    Voters = 0x19,
    /// record index of an OK KEY → nothing
    KeyChange = 0x1a,
    /// body id → what a record says it is
    Named = 0x1b,
    /// node, outbox → an outbox that the node has, by its last BOOT
    Outbox = 0x1c,
    /// One row: the change of members in preparation, and the learners' roles.
    Mode = 0x1d,
}

/// Builds a state key: the table, then its parts.
pub struct StateKey(Vec<u8>);

impl StateKey {
    pub fn of(table: Table) -> StateKey {
        StateKey(vec![table as u8])
    }

    pub fn u8(mut self, value: u8) -> StateKey {
        self.0.push(value);
        self
    }

    pub fn u64(mut self, value: u64) -> StateKey {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    pub fn raw(mut self, bytes: &[u8]) -> StateKey {
        self.0.extend_from_slice(bytes);
        self
    }

    /// Text of at most 65,535 bytes (every text field is limited far below).
    pub fn text(mut self, text: &str) -> StateKey {
        let length = u16::try_from(text.len()).expect("text fields are limited below 64 KiB");
        self.0.extend_from_slice(&length.to_be_bytes());
        self.raw(text.as_bytes())
    }

    pub fn build(self) -> Vec<u8> {
        self.0
    }

    /// All keys that begin with what was built: start and end.
    pub fn range(self) -> (Vec<u8>, Vec<u8>) {
        let end = prefix_end(&self.0);
        (self.0, end)
    }
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
    fn ranges_hold_their_own_keys_only() {
        let (start, end) = StateKey::of(Table::ByIssuer).text("a").text("b").range();
        let inside = StateKey::of(Table::ByIssuer)
            .text("a")
            .text("b")
            .u64(u64::MAX)
            .build();
        let outside = StateKey::of(Table::ByIssuer)
            .text("a")
            .text("bc")
            .u64(0)
            .build();
        assert!(start <= inside && inside < end);
        assert!(outside >= end || outside < start);
        assert_eq!(trailing_u64(&inside), Some(u64::MAX));
        assert_eq!(log_index(&log_entry(7)), Some(7));
        let (start, end) = Generation(0xffff_ffff).range();
        assert!(Generation(0xffff_ffff).key(&[0xff; 3]) < end && start < end);
    }
}
