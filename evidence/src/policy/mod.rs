//! Trust policies: which logs, which witnesses and which quorum of them make a checkpoint
//! good enough (C2SP tlog-policy).
//!
//! Promises: a [`Policy`] in hand keeps every rule of the format, whether it was read or
//! built, and what it prints reads back as itself; one signature by a known key that does
//! not verify spoils the whole note; a witness whose key is of a type that is not known here
//! has never cosigned, and leaves the others as they are. Leaves inclusion to `proof`, and who holds which key
//! to whoever wrote the policy. Text is UTF-8 here, which the format only recommends.
//!
//! Tests: `evidence/tests/policy.rs`, `evidence/tests/policy_types.rs`.

mod build;
mod text;

pub use build::PolicyBuilder;

use crate::note::{Checkpoint, Note, TypedKey, VerifierKey, Vouch};
use std::collections::BTreeSet;
use std::fmt;

/// The longest policy file: all lines that are allowed, each witness's with an ML-DSA key of
/// 1.8 KB, with room for comments.
pub const POLICY_BYTES_MAX: usize = 256 * 1024;
/// Logs in one policy: twice the 32 that the format asks an implementation to support.
pub const LOGS_MAX: usize = 64;
/// Witnesses in one policy, as above; each costs a signature check per note.
pub const WITNESSES_MAX: usize = 64;
/// Groups in one policy, as above; so groups are never nested deeper than this.
pub const GROUPS_MAX: usize = 64;

/// The quorum that asks for no cosignature; nothing else may have this name.
const NONE: &str = "none";

/// Logs, witnesses, groups of them, and the quorum. Made by [`Policy::parse`] or
/// [`Policy::builder`].
///
/// ```
/// use muniment_evidence::note::Note;
/// use muniment_evidence::policy::Policy;
///
/// # let text = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/v2/policy"));
/// # let note = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/v2/note"));
/// // One log, three witnesses, and a quorum of two of them.
/// let policy = Policy::parse(text)?;
/// let verdict = policy.evaluate(&Note::parse(note).expect("a note"));
/// assert!(verdict.is_met());
/// assert_eq!(verdict.cosigned.len(), 3);
/// # Ok::<(), muniment_evidence::policy::PolicyError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    logs: Vec<PolicyLog>,
    witnesses: Vec<PolicyWitness>,
    groups: Vec<PolicyGroup>,
    quorum: Option<String>,
}

/// A log that may sign: its key's name is the origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyLog {
    pub key: VerifierKey,
    pub url: Option<String>,
}

/// A witness and what this policy calls it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyWitness {
    pub name: String,
    pub key: VerifierKey,
    pub url: Option<String>,
}

/// Has witnessed a checkpoint when `needed` of its members have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyGroup {
    pub name: String,
    pub needed: usize,
    /// Witnesses and groups defined before this one.
    pub members: Vec<String>,
}

/// How many members of a group are needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Threshold {
    Any,
    All,
    AtLeast(usize),
}

/// What a policy says of a note.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicyVerdict {
    /// The note's origin, when a log of this name has signed it.
    pub log: Option<String>,
    /// The witnesses that have cosigned, in the policy's order.
    pub cosigned: Vec<PolicyCosigner>,
    /// The groups that have witnessed, in the policy's order.
    pub groups: Vec<String>,
    /// Whether the quorum is met, whoever signed as the log.
    pub quorum_met: bool,
    /// In words, what the note lacks; `None` when the policy is met.
    pub missing: Option<String>,
}

/// A witness, by its name in the policy, and when it cosigned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyCosigner {
    pub name: String,
    /// Seconds since 1970, as the witness says.
    pub time_s: u64,
}

/// Which rule a policy breaks, and on which line of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyError {
    /// Counted from 1; `None` when no single line is to blame.
    pub line: Option<usize>,
    pub why: String,
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "line {line}: {}", self.why),
            None => f.write_str(&self.why),
        }
    }
}

impl std::error::Error for PolicyError {}

impl Policy {
    pub fn parse(text: &str) -> Result<Policy, PolicyError> {
        text.parse()
    }

    pub fn logs(&self) -> &[PolicyLog] {
        &self.logs
    }

    pub fn witnesses(&self) -> &[PolicyWitness] {
        &self.witnesses
    }

    pub fn groups(&self) -> &[PolicyGroup] {
        &self.groups
    }

    /// The witness or group that must have witnessed; `None` asks for no cosignature.
    pub fn quorum(&self) -> Option<&str> {
        self.quorum.as_deref()
    }

    /// The key of the witness that this policy calls `name`.
    pub fn witness(&self, name: &str) -> Option<&VerifierKey> {
        let mut all = self.witnesses.iter();
        all.find(|witness| witness.name == name)
            .map(|witness| &witness.key)
    }

    /// What this policy calls the witness with this key.
    pub fn name_of(&self, key: &VerifierKey) -> Option<&str> {
        let mut all = self.witnesses.iter();
        all.find(|witness| witness.key == *key)
            .map(|witness| witness.name.as_str())
    }

    /// Evaluates a checkpoint by its signatures. Never trusts the text beyond them.
    pub fn evaluate(&self, note: &Note) -> PolicyVerdict {
        let spoiled = |why: String| PolicyVerdict {
            missing: Some(why),
            ..PolicyVerdict::default()
        };
        let origin = match Checkpoint::parse(&note.text) {
            Ok(checkpoint) => checkpoint.origin,
            Err(why) => return spoiled(format!("the note is no checkpoint: {why}")),
        };
        let mut verdict = PolicyVerdict::default();
        for log in &self.logs {
            match note.vouch(&log.key) {
                Vouch::Invalid => {
                    return spoiled(format!(
                        "the signature of the log {} does not verify",
                        log.key.name
                    ));
                }
                Vouch::Signed if log.key.name == origin => verdict.log = Some(origin.clone()),
                _ => (),
            }
        }
        for witness in &self.witnesses {
            match note.vouch(&witness.key) {
                Vouch::Invalid => {
                    return spoiled(format!(
                        "the cosignature of {} does not verify",
                        witness.name
                    ));
                }
                Vouch::Cosigned { time_s } => verdict.cosigned.push(PolicyCosigner {
                    name: witness.name.clone(),
                    time_s,
                }),
                _ => (),
            }
        }
        let mut there: BTreeSet<&str> = BTreeSet::new();
        for witness in &self.witnesses {
            if verdict.cosigned.iter().any(|c| c.name == witness.name) {
                there.insert(&witness.name);
            }
        }
        // Members are defined before their group, so one pass is enough.
        for group in &self.groups {
            if group.present(&there) >= group.needed {
                there.insert(&group.name);
                verdict.groups.push(group.name.clone());
            }
        }
        let lacking = match &self.quorum {
            Some(name) if !there.contains(name.as_str()) => Some(self.lacking(name, &there)),
            _ => None,
        };
        verdict.quorum_met = lacking.is_none();
        let unsigned = match (&verdict.log, self.logs.is_empty()) {
            (Some(_), _) => None,
            (None, true) => Some("the policy names no log".to_owned()),
            (None, false) => Some(format!("no log of the policy has signed for {origin}")),
        };
        let lacking = lacking.map(|what| format!("the quorum is not met: {what}"));
        let missing: Vec<String> = unsigned.into_iter().chain(lacking).collect();
        verdict.missing = (!missing.is_empty()).then(|| missing.join("; "));
        verdict
    }

    /// In words, why `name` has not witnessed. Each name is a member only once, so what
    /// is said is no longer than the policy.
    fn lacking(&self, name: &str, there: &BTreeSet<&str>) -> String {
        let Some(group) = self.groups.iter().find(|group| group.name == name) else {
            return match self.witness(name).map(|key| &key.key) {
                Some(TypedKey::Unknown { kind, .. }) => {
                    format!("{name} has a key of type 0x{kind:02x}, which is not known here")
                }
                _ => format!("{name} has not cosigned"),
            };
        };
        let absent = group
            .members
            .iter()
            .filter(|member| !there.contains(member.as_str()));
        let absent: Vec<String> = absent.map(|member| self.lacking(member, there)).collect();
        format!(
            "{name} needs {} of {} and has {} ({})",
            group.needed,
            group.members.len(),
            group.present(there),
            absent.join(", ")
        )
    }
}

impl PolicyVerdict {
    /// Whether a log of the policy has signed and the quorum is met.
    pub fn is_met(&self) -> bool {
        self.missing.is_none()
    }
}

impl PolicyGroup {
    fn present(&self, there: &BTreeSet<&str>) -> usize {
        let members = self.members.iter();
        members
            .filter(|member| there.contains(member.as_str()))
            .count()
    }
}
