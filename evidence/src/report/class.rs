//! The classes of findings: stable names, one exit code for each.

use std::fmt;

/// What kind of fault, and the exit code of the verifier. Never renumbered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Class {
    /// Everything holds, but no pin says that this is the right ledger. Not a fault of
    /// the evidence, so never among the findings.
    Unpinned = 3,
    /// Bytes that are not in the format.
    Structure = 10,
    BadSignature = 11,
    /// A record does not follow from those before it.
    BrokenChain = 12,
    /// A root or inclusion path does not lead to the checkpoint.
    BadTree = 13,
    /// The ledger contradicts a head that it signed before.
    Fork = 14,
    /// Something is not there: truncated, a gap, a public opening withheld.
    MissingData = 15,
    /// A node's lane has a gap, a repetition, or goes on after it was closed.
    Lane = 16,
    /// A key or node that the genesis does not name.
    UnknownKey = 17,
    /// No checkpoint that the ledger's log key signed.
    Checkpoint = 18,
    /// An opening is not what the record commits to, or contradicts it.
    Opening = 19,
    /// The given document is not the one that the record speaks of.
    Document = 20,
    /// Time goes back.
    Time = 21,
    /// The pin names another ledger.
    Untrusted = 22,
    /// The signatures there are do not meet the policy.
    Policy = 23,
    /// Signed by a key that the ledger has revoked from there on.
    Revoked = 24,
    /// A node has lost statements that it had signed and that were not recorded.
    Lost = 25,
    /// The caller's own figures are not those of the records. Not a fault of the evidence,
    /// so never among the findings.
    Reconciliation = 26,
    /// A promise was not kept by what is shown. Not a fault of the evidence, so never
    /// among the findings.
    Promise = 27,
}

impl Class {
    pub const ALL: [Class; 19] = [
        Class::Unpinned,
        Class::Structure,
        Class::BadSignature,
        Class::BrokenChain,
        Class::BadTree,
        Class::Fork,
        Class::MissingData,
        Class::Lane,
        Class::UnknownKey,
        Class::Checkpoint,
        Class::Opening,
        Class::Document,
        Class::Time,
        Class::Untrusted,
        Class::Policy,
        Class::Revoked,
        Class::Lost,
        Class::Reconciliation,
        Class::Promise,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Class::Unpinned => "UNPINNED",
            Class::Structure => "STRUCTURE",
            Class::BadSignature => "BAD_SIGNATURE",
            Class::BrokenChain => "BROKEN_CHAIN",
            Class::BadTree => "BAD_TREE",
            Class::Fork => "FORK",
            Class::MissingData => "MISSING_DATA",
            Class::Lane => "LANE",
            Class::UnknownKey => "UNKNOWN_KEY",
            Class::Checkpoint => "CHECKPOINT",
            Class::Opening => "OPENING",
            Class::Document => "DOCUMENT",
            Class::Time => "TIME",
            Class::Untrusted => "UNTRUSTED",
            Class::Policy => "POLICY",
            Class::Revoked => "REVOKED",
            Class::Lost => "LOST",
            Class::Reconciliation => "RECONCILIATION",
            Class::Promise => "PROMISE",
        }
    }

    pub fn exit_code(self) -> u8 {
        self as u8
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
