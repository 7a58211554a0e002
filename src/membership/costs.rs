//! What a change of the members costs those who were promised something, and who accepted it.
//!
//! Promises: a change after which a level can no longer be met, although records were
//! acknowledged at it, is refused by name unless the operator accepts it by name, in the words of
//! the PREPARE that he signs; it is asked before PREPARE, and once more before Raft changes, of
//! what was acknowledged in between. Leaves who was promised a level beforehand to
//! [`crate::objective::layout`], and counting to [`super::acknowledged`].
//!
//! Tests: here, and `tests/cluster/costs.rs`.

use super::MembershipChanges;
use super::accepted::{Accepted, Cost};
use super::acknowledged::AtLevel;
use super::plan::{CurrentMembers, Wanted};
use crate::domain::call_error::CallError;
use crate::domain::draft::{BadField, bad};
use crate::domain::ids::RecordIndex;
use crate::ledger::roles::{Preparing, Target};
use crate::ledger::state::Tables;
use crate::objective::layout;
use crate::objective::write::WriteLevel;
use muniment_evidence::opening::Document;

impl MembershipChanges {
    /// Refuses a change that costs more than its operator accepts.
    pub(super) async fn must_be_accepted(
        &self,
        wanted: &Wanted,
        now: &CurrentMembers,
        target: &Target,
    ) -> Result<(), CallError> {
        let lost = lost(now, target);
        are_costs(&wanted.accepted, &lost, wanted.wish.leaves().is_some())?;
        match self.unmet(&lost, &wanted.accepted).await? {
            None => Ok(()),
            Some(why) => Err(CallError::NotNow {
                reason: "LEVEL_UNMET",
                detail: format!("{}: {why}", wanted.wish.describe()),
            }),
        }
    }

    /// Why a change that is in preparation costs more than was accepted for it, if it does:
    /// records may have been acknowledged since it was asked for.
    pub(super) async fn costs_more(
        &self,
        preparing: &Preparing,
        accepted: &Accepted,
    ) -> Result<Option<String>, CallError> {
        let now = self.current().await?;
        self.unmet(&lost(&now, &preparing.target), accepted).await
    }

    /// What the operator of a change that is in preparation has accepted, by its record.
    pub(super) async fn accepted(&self, prepared: RecordIndex) -> Result<Accepted, CallError> {
        let reads = &self.0.parts.reads;
        let read = reads.read(move |tables: &Tables<'_>| tables.document(prepared));
        Ok(match read.await? {
            Document::Mode(prepare) => Accepted::in_reason(&prepare.reason),
            _ => Accepted::default(),
        })
    }

    /// Which of these levels records need, apart from what was accepted.
    async fn unmet(
        &self,
        lost: &[WriteLevel],
        accepted: &Accepted,
    ) -> Result<Option<String>, CallError> {
        let open = lost.iter().copied();
        let open: Vec<WriteLevel> = open.filter(|l| !accepted.has(Cost::Level(*l))).collect();
        if open.is_empty() {
            // Nothing has to be counted for it.
            return Ok(None);
        }
        let acknowledged = &self.0.acknowledged;
        let needed = acknowledged.records_at(&self.0.parts.reads, &open).await?;
        Ok(describe(&needed))
    }
}

fn lost(now: &CurrentMembers, target: &Target) -> Vec<WriteLevel> {
    layout::lost(&now.with(&now.roles()), &now.with(target))
}

/// Whether the change has these costs: else the operator means another one.
fn are_costs(accepted: &Accepted, lost: &[WriteLevel], leaves: bool) -> Result<(), BadField> {
    for cost in accepted.costs() {
        match cost {
            Cost::Outbox if !leaves => {
                let why = format!("{}: nobody leaves by this change", cost.name());
                return Err(bad("accept", why));
            }
            Cost::Level(level) if !lost.contains(&level) => {
                let why = format!("{level}: this change does not lose it");
                return Err(bad("accept", why));
            }
            Cost::Level(_) | Cost::Outbox => {}
        }
    }
    Ok(())
}

/// What was acknowledged at levels that are lost, and what to name; none if nothing was.
fn describe(needed: &[(WriteLevel, AtLevel)]) -> Option<String> {
    if needed.is_empty() {
        return None;
    }
    let each = needed.iter().map(|(level, at)| {
        let (newest, records) = (at.newest, at.records);
        match records {
            1 => format!("{level}, at which 1 record was acknowledged, {newest}"),
            _ => format!(
                "{level}, at which {records} records were acknowledged, {newest} the newest of them"
            ),
        }
    });
    let flags = needed.iter().map(|(level, _)| format!("--accept {level}"));
    let (each, flags): (Vec<String>, Vec<String>) = (each.collect(), flags.collect());
    Some(format!(
        "the members that are left could not meet {}; where that is meant, it is said on record \
         with {}",
        each.join(", nor "),
        flags.join(" ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_each_level_its_records_and_what_to_say() {
        let at = |records, newest| AtLevel {
            records,
            newest: RecordIndex::new(newest),
        };
        let needed = [
            (WriteLevel::Zones(3), at(12, 345)),
            (WriteLevel::Regions(2), at(1, 99)),
        ];
        let why = describe(&needed).unwrap();
        for part in [
            "zones:3, at which 12 records were acknowledged, 345 the newest of them",
            "regions:2, at which 1 record was acknowledged, 99",
            "--accept zones:3 --accept regions:2",
        ] {
            assert!(why.contains(part), "{why}");
        }
        assert_eq!(describe(&[]), None);
    }

    #[test]
    fn what_a_change_does_not_cost_is_not_accepted_for_it() {
        let accepted = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            Accepted::parse(&words).unwrap()
        };
        let lost = [WriteLevel::Zones(3)];
        assert!(are_costs(&accepted(&["zones:3"]), &lost, true).is_ok());
        assert!(are_costs(&accepted(&[]), &lost, false).is_ok());
        let dead = accepted(&["lost-outbox"]);
        assert!(are_costs(&dead, &lost, true).is_ok());
        assert!(are_costs(&dead, &lost, false).is_err());
        let slip = are_costs(&accepted(&["zones:3", "zones:2"]), &lost, true).unwrap_err();
        assert_eq!(slip.field, "accept");
        assert!(slip.why.to_string().contains("zones:2"), "{slip}");
    }
}
