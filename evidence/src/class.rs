//! The classes of findings: stable names, one exit code for each.
//!
//! Promises: a name and a code, once given, mean the same for ever. Stands below the
//! formats, since each of them says of what class its own faults are.

use crate::codes::coded;

coded! {
    /// What kind of fault, and the exit code of the verifier. Never renumbered.
    pub enum FindingClass {
        /// Everything holds, but no pin says that this is the right ledger. Not a fault of
        /// the evidence, so never among the findings.
        Unpinned = 3 "UNPINNED",
        /// Bytes that are not in the format.
        Structure = 10 "STRUCTURE",
        BadSignature = 11 "BAD_SIGNATURE",
        /// A record does not follow from those before it.
        BrokenChain = 12 "BROKEN_CHAIN",
        /// A root or inclusion path does not lead to the checkpoint.
        BadTree = 13 "BAD_TREE",
        /// The ledger contradicts a head that it signed before.
        Fork = 14 "FORK",
        /// Something is not there: truncated, a gap, a public opening withheld.
        MissingData = 15 "MISSING_DATA",
        /// A node's lane has a gap, a repetition, or goes on after it was closed.
        Lane = 16 "LANE",
        /// A key or node that the genesis does not name.
        UnknownKey = 17 "UNKNOWN_KEY",
        /// No checkpoint that the ledger's log key signed.
        Checkpoint = 18 "CHECKPOINT",
        /// An opening is not what the record commits to, or contradicts it.
        Opening = 19 "OPENING",
        /// The given document is not the one that the record speaks of.
        Document = 20 "DOCUMENT",
        /// Time goes back.
        Time = 21 "TIME",
        /// The pin names another ledger.
        Untrusted = 22 "UNTRUSTED",
        /// The signatures there are do not meet the policy.
        Policy = 23 "POLICY",
        /// Signed by a key that the ledger has revoked from there on.
        Revoked = 24 "REVOKED",
        /// A node has lost statements that it had signed and that were not recorded. Told,
        /// and no fault: it is an honest word of the ledger, and stays in it for ever.
        Lost = 25 "LOST",
        /// The caller's own figures are not those of the records. Not a fault of the evidence,
        /// so never among the findings.
        Reconciliation = 26 "RECONCILIATION",
        /// A promise was not kept by what is shown. Not a fault of the evidence, so never
        /// among the findings.
        Promise = 27 "PROMISE",
        /// The record is there, and what it speaks of did not happen: it was refused, is
        /// a repetition, or is of another kind than was asked for.
        NotDone = 28 "NOT_DONE",
        /// Everything holds, and nothing but the log key of the receipt's own day says which
        /// keys were revoked: neither a policy nor known changes of keys were given. Not a
        /// fault of the evidence, so never among the findings.
        Unwitnessed = 29 "UNWITNESSED",
        /// A record changes what chain or keys mean, in a way that this version does not
        /// understand: whatever else it says, it may be wrong.
        Unknown = 30 "UNKNOWN",
        /// A body is lost, by a word that was endorsed. Told, as LOST is.
        BodyLost = 31 "BODY_LOST",
        /// A record took effect that the ledger's own rules do not let take effect.
        Rule = 32 "RULE",
    }
}

/// What may be among the findings, the gravest first. What is not understood comes before all,
/// for the others may come of it. Evidence of two histories is the worst
/// that there is; next what is not the ledger's at all; then what somebody changed; then
/// what is merely not there, or not what the auditor asked for.
pub const GRAVEST_FIRST: [FindingClass; 22] = [
    FindingClass::Unknown,
    FindingClass::Fork,
    FindingClass::Untrusted,
    FindingClass::BadTree,
    FindingClass::BrokenChain,
    FindingClass::BadSignature,
    FindingClass::Structure,
    FindingClass::Checkpoint,
    FindingClass::Lane,
    FindingClass::Rule,
    FindingClass::Opening,
    FindingClass::UnknownKey,
    FindingClass::Time,
    FindingClass::Revoked,
    FindingClass::MissingData,
    FindingClass::Policy,
    FindingClass::Document,
    FindingClass::NotDone,
    FindingClass::Lost,
    FindingClass::BodyLost,
    FindingClass::Unpinned,
    FindingClass::Unwitnessed,
];

impl FindingClass {
    pub fn exit_code(self) -> u8 {
        self as u8
    }

    /// The smaller, the graver. Answers, which are never among findings, come last.
    pub fn gravity(self) -> usize {
        let place = GRAVEST_FIRST.iter().position(|class| *class == self);
        place.unwrap_or(GRAVEST_FIRST.len())
    }

    /// Whether it is told beside the verdict, and counts as a fault only for who asks so.
    pub fn is_told(self) -> bool {
        matches!(self, FindingClass::Lost | FindingClass::BodyLost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_of_a_finding_has_one_gravity() {
        let answers = [FindingClass::Reconciliation, FindingClass::Promise];
        for class in FindingClass::ALL {
            let times = GRAVEST_FIRST.iter().filter(|c| **c == class).count();
            assert_eq!(times, usize::from(!answers.contains(&class)), "{class}");
        }
    }

    #[test]
    fn classes_have_names_and_codes_of_their_own() {
        for (i, a) in FindingClass::ALL.iter().enumerate() {
            for b in &FindingClass::ALL[i + 1..] {
                assert!(a.name() != b.name() && a.exit_code() != b.exit_code());
            }
        }
    }
}
