//! What losing a zone would cost now.
//!
//! Pure: members with what each of them holds in, records, bytes and time lost out. The
//! body-complete index decides, since a record without its body is not the invoice. What
//! Raft has committed is on a majority of voters; a zone's loss costs nothing while those
//! that are left hold everything. Who is away already is not among those that are left to
//! work; what it holds is not lost by being away.

use super::write::{LevelMember, WriteLevel, meets};
use crate::domain::ids::{NodeId, TreeSize};
use std::collections::BTreeSet;

/// A member, up to where it holds every record and body (`None` while unknown), and whether
/// it works now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    pub member: LevelMember,
    pub complete: Option<TreeSize>,
    pub up: bool,
}

/// What would be left of the ledger without a zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    pub zone: String,
    pub region: String,
    pub nodes: Vec<NodeId>,
    /// Up to where some node elsewhere holds everything.
    pub held_elsewhere: TreeSize,
    /// Whether a majority of voters would be up and left: issuing and downloads would go on.
    pub quorum_left: bool,
    /// Whether the level could be met by those up and left.
    pub level_left: bool,
}

/// One row per zone, in the order of regions and names.
pub fn by_zone(holders: &[Holder], level: WriteLevel) -> Vec<Loss> {
    let zones: BTreeSet<(&str, &str)> = holders
        .iter()
        .map(|h| (h.member.region.as_str(), h.member.zone.as_str()))
        .collect();
    let all: Vec<LevelMember> = holders.iter().map(|h| h.member.clone()).collect();
    zones
        .into_iter()
        .map(|(region, zone)| {
            let inside = |h: &&Holder| h.member.zone == zone && h.member.region == region;
            let left: Vec<&Holder> = holders.iter().filter(|h| !inside(h)).collect();
            let up = left.iter().filter(|h| h.up);
            let left_nodes: Vec<NodeId> = up.map(|h| h.member.node).collect();
            Loss {
                zone: zone.to_owned(),
                region: region.to_owned(),
                nodes: holders
                    .iter()
                    .filter(inside)
                    .map(|h| h.member.node)
                    .collect(),
                held_elsewhere: left
                    .iter()
                    .filter_map(|h| h.complete)
                    .max()
                    .unwrap_or(TreeSize::EMPTY),
                quorum_left: meets(WriteLevel::Quorum, &all, &left_nodes),
                level_left: meets(level, &all, &left_nodes),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objective::write::MemberRole;

    fn holder(node: u64, zone: &str, complete: u64) -> Holder {
        Holder {
            member: LevelMember {
                node: NodeId::new(node),
                zone: zone.into(),
                region: "r".into(),
                role: MemberRole::Voter,
            },
            complete: Some(TreeSize::new(complete)),
            up: true,
        }
    }

    #[test]
    fn a_zone_that_alone_holds_the_newest_costs_what_the_others_lack() {
        let holders = [holder(1, "a", 100), holder(2, "b", 90), holder(3, "c", 80)];
        let losses = by_zone(&holders, WriteLevel::Zones(2));
        assert_eq!(losses.len(), 3);
        assert_eq!(losses[0].held_elsewhere, TreeSize::new(90));
        assert_eq!(losses[1].held_elsewhere, TreeSize::new(100));
        assert!(losses.iter().all(|l| l.quorum_left && l.level_left));
        assert!(!by_zone(&holders, WriteLevel::Zones(3))[0].level_left);
    }

    /// With one of three away, either of the others takes the ledger along.
    #[test]
    fn who_is_away_already_does_not_carry_on_for_who_goes() {
        let all = [holder(1, "a", 9), holder(2, "b", 9), holder(3, "c", 9)];
        for away in 0..3 {
            let mut holders = all.clone();
            holders[away].up = false;
            let losses = by_zone(&holders, WriteLevel::Zones(2));
            for (zone, loss) in losses.iter().enumerate() {
                // Losing who is away already changes nothing.
                let goes_on = zone == away;
                assert_eq!(loss.quorum_left, goes_on, "{away} away, then {zone}");
                assert_eq!(loss.level_left, goes_on, "{away} away, then {zone}");
                // What it held is not lost with another.
                assert_eq!(loss.held_elsewhere, TreeSize::new(9));
            }
        }
        let five: Vec<Holder> = (1..=5)
            .map(|n| Holder {
                up: n != 5,
                ..holder(n, &format!("z{n}"), 9)
            })
            .collect();
        let losses = by_zone(&five, WriteLevel::Zones(4));
        assert!(losses.iter().all(|loss| loss.quorum_left));
        let level: Vec<bool> = losses.iter().map(|loss| loss.level_left).collect();
        assert_eq!(level, [false, false, false, false, true]);
    }

    #[test]
    fn a_zone_with_a_majority_takes_the_ledger_along() {
        let holders = [holder(1, "a", 9), holder(2, "a", 9), holder(3, "b", 9)];
        let losses = by_zone(&holders, WriteLevel::Quorum);
        assert_eq!(losses[0].nodes, [1, 2].map(NodeId::new));
        assert!(!losses[0].quorum_left);
        assert!(losses[1].quorum_left);
        assert!(by_zone(&[], WriteLevel::Quorum).is_empty());
    }
}
