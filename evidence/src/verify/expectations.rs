//! What the auditor expects of any evidence: the ledger that he means, and whose signatures
//! its checkpoints carry.
//!
//! Promises: evidence of another ledger is a finding, and is read on all the same, so that
//! the report can say what is wrong inside as well. Leaves it to the auditor where pin and
//! policy come from.

use crate::checks::Check;
use crate::digest::Digest;
use crate::genesis::Genesis;
use crate::ids::TreeSize;
use crate::keys::KeyValidity;
use crate::ledger::Ledger;
use crate::note::{Checkpoint, Note, NoteError, VerifierKey};
use crate::policy::Policy;
use crate::report::{Finding, OutsideCosigner, Report};
use crate::trust::Trust;
use std::fmt;

/// Genesis and pin: what the rest relies on. A genesis of another ledger is still used,
/// so that the report can say what is wrong inside as well.
pub(super) fn open_ledger(
    genesis: &Genesis,
    trust: Option<&Trust>,
    report: &mut Report,
) -> Option<Ledger> {
    let ledger = match Ledger::open(genesis) {
        Ok(ledger) => ledger,
        Err(e) => {
            report.find(Finding::whole(e.check(), e.to_string()));
            return None;
        }
    };
    if let Some(trust) = trust
        && (trust.genesis != ledger.id || trust.origin != ledger.origin)
    {
        let detail = format!(
            "the pin names the ledger {} with genesis {}; this evidence is of {} with \
             genesis {}",
            trust.origin, trust.genesis, ledger.origin, ledger.id
        );
        report.find(Finding::whole(Check::Pinned, detail));
    }
    report.origin = Some(ledger.origin.clone());
    report.ledger = Some(ledger.id);
    Some(ledger)
}

/// Why a note does not meet a policy.
pub(super) enum NotMet {
    Unreadable(NoteError),
    /// Whose signatures it lacks, in words.
    Missing(String),
}

impl fmt::Display for NotMet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NotMet::Unreadable(error) => error.fmt(f),
            NotMet::Missing(why) => f.write_str(why),
        }
    }
}

/// What the auditor's policy says of a note that is the ledger's: whether it is met, or
/// why not. Notes the witnesses that are not the operator's own; the time of the newest
/// cosignature by any witness of the policy.
pub(super) fn by_policy(
    policy: &Policy,
    ledger: &Ledger,
    note: &str,
    report: &mut Report,
) -> Result<Option<u64>, NotMet> {
    let mut note = Note::parse(note.as_bytes()).map_err(NotMet::Unreadable)?;
    // A policy may be older than the end of a key.
    let size = Checkpoint::parse(&note.text).map_or(TreeSize::EMPTY, |checkpoint| checkpoint.size);
    let members = ledger.cosigners().map(|(_, _, life, key)| (life, key));
    let log = ledger.keys().log.iter();
    let log = log.map(|life| (life, VerifierKey::log(&ledger.origin, life.key)));
    for (life, key) in members.chain(log) {
        if life.at_size(size) != KeyValidity::InForce {
            let id = key.id();
            note.signatures
                .retain(|line| line.name != key.name || line.id != id);
        }
    }
    let verdict = policy.evaluate(&note);
    for cosigned in &verdict.cosigned {
        let outside = policy
            .witness(&cosigned.name)
            .is_some_and(|witness| !ledger.is_own_cosigner(witness));
        let witness = OutsideCosigner {
            name: cosigned.name.clone(),
            time_s: cosigned.time_s,
        };
        if outside && !report.outside.contains(&witness) {
            report.outside.push(witness);
        }
    }
    match verdict.missing {
        None => Ok(verdict.cosigned.iter().map(|by| by.time_s).max()),
        Some(why) => Err(NotMet::Missing(why)),
    }
}

/// Whether a root that is shown now is that of the saved head, which is of its size.
pub(super) fn agree(check: Check, head: &Checkpoint, root: Digest, report: &mut Report) {
    if head.root == root {
        report.head_size = Some(head.size);
    } else {
        let detail = format!(
            "the ledger signed the root {} for its first {} records, and now shows {root}",
            head.root, head.size
        );
        report.find(Finding::whole(check, detail));
    }
}
