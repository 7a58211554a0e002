//! Layouts: whether members can keep the levels that were promised.
//!
//! Pure. A target that could never meet a promised level, or whose loss of one zone would
//! stop the ledger although two zones were promised, is refused with the reason. What is
//! merely unwise is said and allowed. Which levels a target loses is told apart from who was
//! promised them: invoices may have been acknowledged at a level that their call alone asked for.

use super::write::{LevelMember, MemberRole, WriteLevel, possible};
use std::collections::{BTreeMap, BTreeSet};

/// A level, and in words who was promised it.
pub type LayoutGuarantee = (String, WriteLevel);

/// Judges a target. `Ok` carries advice, one sentence each; `Err` why it is refused.
pub fn judge(members: &[LevelMember], promised: &[LayoutGuarantee]) -> Result<Vec<String>, String> {
    let voters: Vec<&LevelMember> = members
        .iter()
        .filter(|m| m.role == MemberRole::Voter)
        .collect();
    if voters.is_empty() {
        return Err("nobody would vote".to_owned());
    }
    let unmet = promised
        .iter()
        .find(|(_, level)| !possible(*level, members));
    if let Some((whose, level)) = unmet {
        return Err(format!(
            "{level}, the level of {whose}, could never be met: the target has {}",
            describe(&voters)
        ));
    }
    let mut by_zone: BTreeMap<&str, usize> = BTreeMap::new();
    for voter in &voters {
        *by_zone.entry(&voter.zone).or_default() += 1;
    }
    let spans = |(_, level): &&LayoutGuarantee| matches!(level, WriteLevel::Zones(2..));
    let mut advice = Vec::new();
    for (zone, count) in &by_zone {
        let left = voters.len() - count;
        if 2 * count > voters.len()
            && let Some((whose, level)) = promised.iter().find(spans)
        {
            return Err(format!(
                "zone {zone} would hold {count} of {} voters: losing it would stop the ledger, \
                 which {level}, the level of {whose}, promises to survive",
                voters.len()
            ));
        }
        if 2 * left <= voters.len() && by_zone.len() > 1 {
            advice.push(format!(
                "losing zone {zone} would stop the ledger: {left} of {} voters would be left",
                voters.len()
            ));
        }
    }
    if voters.len().is_multiple_of(2) {
        advice.push(format!(
            "{} voters survive the loss of {}, as {} would",
            voters.len(),
            voters.len() / 2 - 1,
            voters.len() - 1
        ));
    }
    Ok(advice)
}

/// The levels that these members can meet and the target could not, in order. A majority
/// there always is, and `all` is all of those who are members: neither can be lost.
pub fn lost(now: &[LevelMember], target: &[LevelMember]) -> Vec<WriteLevel> {
    let places = |place: fn(&LevelMember) -> &str| -> u8 {
        let places: BTreeSet<&str> = now.iter().map(place).collect();
        // A level asks for no more places than this.
        u8::try_from(places.len()).unwrap_or(u8::MAX)
    };
    let zones = (1..=places(|m| &m.zone)).map(WriteLevel::Zones);
    let regions = (1..=places(|m| &m.region)).map(WriteLevel::Regions);
    zones
        .chain(regions)
        .filter(|level| possible(*level, now) && !possible(*level, target))
        .collect()
}

fn describe(voters: &[&LevelMember]) -> String {
    let count = |place: fn(&LevelMember) -> &str| {
        let places: BTreeSet<&str> = voters.iter().map(|m| place(m)).collect();
        places.len()
    };
    let plural = |n: usize, what: &str| match n {
        1 => format!("1 {what}"),
        n => format!("{n} {what}s"),
    };
    format!(
        "{} in {} and {}",
        plural(voters.len(), "voter"),
        plural(count(|m| &m.zone), "zone"),
        plural(count(|m| &m.region), "region"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::NodeId;

    fn voters(zones: &[&str]) -> Vec<LevelMember> {
        let member = |(zone, node): (&&str, u64)| LevelMember {
            node: NodeId::new(node),
            zone: (*zone).to_owned(),
            region: zone[..1].to_owned(),
            role: MemberRole::Voter,
        };
        zones.iter().zip(1..).map(member).collect()
    }

    fn promised(levels: &[WriteLevel]) -> Vec<LayoutGuarantee> {
        let promise = |level: &WriteLevel| ("tenant t".to_owned(), *level);
        levels.iter().map(promise).collect()
    }

    #[test]
    fn a_layout_that_cannot_keep_a_level_is_refused_with_the_reason() {
        let zones = promised(&[WriteLevel::Zones(2)]);
        assert_eq!(judge(&voters(&["a1", "a2", "a3"]), &zones), Ok(Vec::new()));
        let why = judge(&voters(&["a1", "a1", "a1"]), &zones).unwrap_err();
        assert!(why.contains("zones:2") && why.contains("1 zone"), "{why}");
        let why = judge(&voters(&["a1", "a1", "a2"]), &zones).unwrap_err();
        assert!(why.contains("zone a1") && why.contains("2 of 3"), "{why}");
        let regions = promised(&[WriteLevel::Regions(2)]);
        let why = judge(&voters(&["a1", "a2", "a3"]), &regions).unwrap_err();
        assert!(why.contains("1 region"), "{why}");
        assert!(judge(&[], &[]).is_err());
        // Without a promise about zones, one zone may hold them all.
        let quorum = promised(&[WriteLevel::Quorum]);
        assert_eq!(judge(&voters(&["a1", "a1", "a1"]), &quorum), Ok(Vec::new()));
    }

    #[test]
    fn a_sync_learner_keeps_a_promise_about_regions() {
        let regions = promised(&[WriteLevel::Regions(2)]);
        let mut four = voters(&["a1", "a2", "a3", "b1"]);
        four[3].role = MemberRole::SyncLearner;
        assert_eq!(judge(&four, &regions), Ok(Vec::new()));
        four[3].role = MemberRole::AsyncLearner;
        assert!(judge(&four, &regions).is_err());
    }

    /// What an invoice was acknowledged at is met for as long as the members can meet it, and
    /// a change that ends that must be seen to.
    #[test]
    fn a_level_is_lost_when_the_members_of_now_meet_it_and_the_target_cannot() {
        let mut now = voters(&["a1", "a2", "a3", "b1"]);
        now[3].role = MemberRole::SyncLearner;
        let without = |node: usize| [&now[..node - 1], &now[node..]].concat();
        assert_eq!(lost(&now, &without(4)), [WriteLevel::Regions(2)]);
        assert_eq!(lost(&now, &without(3)), [WriteLevel::Zones(3)]);
        assert_eq!(lost(&now, &now), []);
        // Who learns and counts for nothing takes nothing along; who ceases to count does.
        let mut turned = now.clone();
        turned[3].role = MemberRole::AsyncLearner;
        assert_eq!(lost(&now, &turned), [WriteLevel::Regions(2)]);
        assert_eq!(lost(&turned, &turned[..3]), []);
        // What could not be met before is not lost now.
        assert_eq!(lost(&now[..2], &now[..1]), [WriteLevel::Zones(2)]);
        assert_eq!(lost(&now[..1], &now), []);
        // Whoever comes in the place of another keeps what that one kept.
        let mut exchanged = without(4);
        exchanged.push(LevelMember {
            node: NodeId::new(5),
            ..now[3].clone()
        });
        assert_eq!(lost(&now, &exchanged), []);
        let places = [
            WriteLevel::Zones(1),
            WriteLevel::Zones(2),
            WriteLevel::Regions(1),
        ];
        assert_eq!(lost(&now[..2], &[]), places);
    }

    #[test]
    fn an_even_number_of_voters_is_allowed_with_advice() {
        let zones = promised(&[WriteLevel::Zones(2)]);
        let advice = judge(&voters(&["a1", "a2", "a3", "a4"]), &zones).unwrap();
        assert_eq!(advice, ["4 voters survive the loss of 1, as 3 would"]);
        // Half of them in one zone: no majority is there, but none is left without it.
        let advice = judge(&voters(&["a1", "a2", "a3", "a3"]), &zones).unwrap();
        assert_eq!(advice.len(), 2);
        assert!(advice[0].contains("losing zone a3"), "{advice:?}");
        let advice = judge(&voters(&["a1", "a2"]), &zones).unwrap();
        assert_eq!(advice.len(), 3, "{advice:?}");
    }
}
