//! The classes of findings: stable names, one exit code for each.
//!
//! Promises: a name and a code, once given, mean the same for ever. Stands below the
//! formats, since each of them says of what class its own faults are.

use std::fmt;

/// What kind of fault, and the exit code of the verifier. Never renumbered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum FindingClass {
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

impl FindingClass {
    pub const ALL: [FindingClass; 19] = [
        FindingClass::Unpinned,
        FindingClass::Structure,
        FindingClass::BadSignature,
        FindingClass::BrokenChain,
        FindingClass::BadTree,
        FindingClass::Fork,
        FindingClass::MissingData,
        FindingClass::Lane,
        FindingClass::UnknownKey,
        FindingClass::Checkpoint,
        FindingClass::Opening,
        FindingClass::Document,
        FindingClass::Time,
        FindingClass::Untrusted,
        FindingClass::Policy,
        FindingClass::Revoked,
        FindingClass::Lost,
        FindingClass::Reconciliation,
        FindingClass::Promise,
    ];

    pub fn name(self) -> &'static str {
        match self {
            FindingClass::Unpinned => "UNPINNED",
            FindingClass::Structure => "STRUCTURE",
            FindingClass::BadSignature => "BAD_SIGNATURE",
            FindingClass::BrokenChain => "BROKEN_CHAIN",
            FindingClass::BadTree => "BAD_TREE",
            FindingClass::Fork => "FORK",
            FindingClass::MissingData => "MISSING_DATA",
            FindingClass::Lane => "LANE",
            FindingClass::UnknownKey => "UNKNOWN_KEY",
            FindingClass::Checkpoint => "CHECKPOINT",
            FindingClass::Opening => "OPENING",
            FindingClass::Document => "DOCUMENT",
            FindingClass::Time => "TIME",
            FindingClass::Untrusted => "UNTRUSTED",
            FindingClass::Policy => "POLICY",
            FindingClass::Revoked => "REVOKED",
            FindingClass::Lost => "LOST",
            FindingClass::Reconciliation => "RECONCILIATION",
            FindingClass::Promise => "PROMISE",
        }
    }

    pub fn exit_code(self) -> u8 {
        self as u8
    }
}

impl fmt::Display for FindingClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_have_names_and_codes_of_their_own() {
        for (i, a) in FindingClass::ALL.iter().enumerate() {
            for b in &FindingClass::ALL[i + 1..] {
                assert!(a.name() != b.name() && a.exit_code() != b.exit_code());
            }
        }
    }
}
