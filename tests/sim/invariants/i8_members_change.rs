//! I8: voters change by PREPARE(target), then every incoming voter's body-complete index is
//! at PREPARE or above and each body at a majority of holders in the target, then the Raft
//! change, then DONE or ABORT; one at a time; all on record.
//!
//! Checked: PREPARE only while none is open, DONE and ABORT only of the open one; a
//! membership entry that brings other voters is written to a log only while a PREPARE with
//! that very target is open, and only once every voter that comes in has, and a majority
//! of the target has, every body named up to PREPARE; DONE only under the target's voters,
//! ABORT only under those of before.

use super::Invariant;
use crate::facts::{Fact, Members, Recorded};
use crate::mirror::Mirror;
use muniment::domain::ids::RecordIndex;
use muniment_evidence::mode::{ModeDocument, Phase};
use muniment_evidence::opening::Document;
use std::collections::BTreeSet;
use std::time::Duration;

#[derive(Default)]
pub struct MembersChange {
    judged: u64,
    /// The voters in force, as entries were logged.
    voters: BTreeSet<u64>,
    /// Those that the open change began from.
    from: BTreeSet<u64>,
}

impl MembersChange {
    fn mode(&mut self, recorded: &Recorded, mode: &ModeDocument) -> Result<(), String> {
        let index = recorded.record.index;
        let open = recorded.ledger.preparing.as_ref();
        let target: BTreeSet<u64> = mode.voters.iter().map(|node| node.get()).collect();
        let in_force = |voters: &BTreeSet<u64>| recorded.members.voters == [voters.clone()];
        let wrong = match (mode.phase, open) {
            (Phase::Prepare, Some((before, _))) => Some(format!("PREPARE {before} is still open")),
            (Phase::Prepare, None) => {
                self.from = recorded.members.voters.iter().flatten().copied().collect();
                None
            }
            (_, None) => Some("no PREPARE is open".into()),
            (Phase::Done | Phase::Abort, Some((prepare, _)))
                if mode.prepared != Some(RecordIndex::new(*prepare)) =>
            {
                Some(format!(
                    "PREPARE {prepare} is open, not {:?}",
                    mode.prepared
                ))
            }
            (Phase::Done, Some(_)) if !in_force(&target) => {
                Some(format!("the voters are {:?}", recorded.members.voters))
            }
            (Phase::Abort, Some(_)) if !in_force(&self.from) => Some(format!(
                "the voters are {:?} already",
                recorded.members.voters
            )),
            _ => None,
        };
        // A change of learners alone is one too, and is not counted.
        self.judged += u64::from(mode.phase == Phase::Done && target != self.from);
        match wrong {
            Some(why) => Err(format!(
                "record {index} is {:?} of {target:?}: {why}",
                mode.phase
            )),
            None => Ok(()),
        }
    }

    fn logged(&mut self, mirror: &Mirror, members: &Members) -> Result<(), String> {
        let named: BTreeSet<u64> = members.voters.iter().flatten().copied().collect();
        if self.voters.is_empty() {
            self.voters = named;
            return Ok(());
        }
        if members.voters.len() == 1 && members.voters[0] == self.voters {
            return Ok(());
        }
        let Some((prepare, mode)) = &mirror.ledger.preparing else {
            return Err(format!(
                "voters {:?} are logged without a PREPARE",
                members.voters
            ));
        };
        let target: BTreeSet<u64> = mode.voters.iter().map(|node| node.get()).collect();
        let known =
            |set: &BTreeSet<u64>| *set == target || *set == self.from || *set == self.voters;
        if !members.voters.iter().all(known) {
            return Err(format!(
                "voters {:?} are logged for {target:?}",
                members.voters
            ));
        }
        let named = mirror.named.iter().filter(|(_, index)| **index <= *prepare);
        for (body, index) in named {
            let missing: Vec<_> = target
                .difference(&self.from)
                .filter(|node| !mirror.holds(**node, body))
                .collect();
            let holders = target
                .iter()
                .filter(|node| mirror.holds(**node, body))
                .count();
            if !missing.is_empty() || 2 * holders <= target.len() {
                return Err(format!(
                    "voters {target:?} are logged while the body of record {index} is at \
                     {holders} of them and not at {missing:?}"
                ));
            }
        }
        if let [only] = &members.voters[..] {
            self.voters.clone_from(only);
        }
        Ok(())
    }
}

impl Invariant for MembersChange {
    fn name(&self) -> &'static str {
        "i8"
    }

    fn take(&mut self, mirror: &Mirror, fact: &Fact, _now: Duration) -> Result<(), String> {
        match fact {
            Fact::Recorded(recorded) if recorded.is_ok() => match &recorded.document {
                Some(Document::Mode(mode)) => self.mode(recorded, mode),
                _ => Ok(()),
            },
            Fact::MembersLogged { members, .. } => self.logged(mirror, members),
            _ => Ok(()),
        }
    }

    fn judged(&self) -> u64 {
        self.judged
    }
}
