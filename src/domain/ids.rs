//! Ids and indexes, each a type of its own; those that callers see are UUIDv7 in text.
//!
//! Promises that an id of one thing is not taken for that of another, nor a record's index
//! for a place in the replication log. Those that stand in evidence are the kernel's
//! ([`muniment_evidence::ids`]); here is what the server alone has. Leaves making new ids to
//! [`crate::clock`].

pub use muniment_evidence::ids::{
    BodyId, LogIndex, NodeId, OutboxId, RecordIndex, Sequence, Term, TreeSize, UploadEpoch,
};
use std::fmt;
use std::str::FromStr;

/// Names one invoice within a ledger.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Uid(pub [u8; 16]);

/// Counts how often a ledger was brought back without all of its log: places in the
/// replication log are compared within one such epoch alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct RecoveryEpoch(u64);

/// The text is not a UUID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAnId;

impl RecoveryEpoch {
    pub const fn new(number: u64) -> RecoveryEpoch {
        RecoveryEpoch(number)
    }

    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        uuid::Uuid::from_bytes(self.0).fmt(f)
    }
}

impl fmt::Debug for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Uid {
    type Err = NotAnId;

    fn from_str(text: &str) -> Result<Uid, NotAnId> {
        uuid::Uuid::parse_str(text)
            .map(|uuid| Uid(uuid.into_bytes()))
            .map_err(|_| NotAnId)
    }
}
