//! Write levels: what must be durable where before a write is acknowledged.
//!
//! A level is a pure function of the members and of who holds the bytes; it is judged at
//! the node that took the write, and again in apply against the membership at that index.

use crate::domain::ids::NodeId;
use muniment_evidence::level;
use muniment_evidence::statement::Level;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// Who counts, and for what.
pub use muniment_evidence::level::{LevelMember, MemberRole};

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WriteLevel {
    /// A majority of voters: survives any minority of nodes.
    Quorum,
    /// A majority that spans at least this many zones: survives any fewer zones.
    Zones(u8),
    /// A majority that, with the sync learners, spans at least this many regions.
    Regions(u8),
    /// Every voter and sync learner.
    All,
}

impl Default for WriteLevel {
    /// The loss of any one zone loses nothing.
    fn default() -> WriteLevel {
        WriteLevel::Zones(2)
    }
}

/// Whether holders among the members meet the level.
pub fn meets(level: WriteLevel, members: &[LevelMember], holders: &[NodeId]) -> bool {
    level::meets(level.to_statement(), members, holders)
}

/// Whether every majority of the voters meets the level: what Raft has committed then needs
/// no further waiting.
pub fn implied(level: WriteLevel, members: &[LevelMember]) -> bool {
    let voters: Vec<&LevelMember> = members
        .iter()
        .filter(|m| m.role == MemberRole::Voter)
        .collect();
    if voters.is_empty() {
        return false;
    }
    // The majority that spans least takes the fullest places first.
    let least_span = |place: fn(&LevelMember) -> &str| {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for member in &voters {
            *counts.entry(place(member)).or_default() += 1;
        }
        let mut counts: Vec<usize> = counts.into_values().collect();
        counts.sort_unstable_by(|a, b| b.cmp(a));
        let (mut nodes, mut places) = (0, 0);
        for count in counts {
            if nodes > voters.len() / 2 {
                break;
            }
            nodes += count;
            places += 1;
        }
        places
    };
    match level {
        WriteLevel::Quorum => true,
        WriteLevel::Zones(k) => least_span(|m| &m.zone) >= usize::from(k),
        WriteLevel::Regions(k) => least_span(|m| &m.region) >= usize::from(k),
        WriteLevel::All => members.len() == 1,
    }
}

/// Whether the members could ever meet the level, all of them being up.
pub fn possible(level: WriteLevel, members: &[LevelMember]) -> bool {
    let all: Vec<NodeId> = members.iter().map(|m| m.node).collect();
    meets(level, members, &all)
}

/// The level, or where the members could never meet it, the highest of its kind that they
/// could; a majority at least. What was promised under other members is kept as far as the
/// present ones allow: waiting for more would be waiting for ever.
pub fn attainable(level: WriteLevel, members: &[LevelMember]) -> WriteLevel {
    let below = |k: u8, of: fn(u8) -> WriteLevel| {
        let lesser = (1..k).rev().map(of);
        lesser.into_iter().find(|lesser| possible(*lesser, members))
    };
    let lesser = match level {
        _ if possible(level, members) => Some(level),
        WriteLevel::Zones(k) => below(k, WriteLevel::Zones),
        WriteLevel::Regions(k) => below(k, WriteLevel::Regions),
        WriteLevel::Quorum | WriteLevel::All => None,
    };
    lesser.unwrap_or(WriteLevel::Quorum)
}

impl WriteLevel {
    /// The least level that promises what both promise.
    pub fn join(self, other: WriteLevel) -> WriteLevel {
        use WriteLevel::{All, Quorum, Regions, Zones};
        match (self, other) {
            (All, _) | (_, All) => All,
            (Quorum, level) | (level, Quorum) => level,
            (Zones(a), Zones(b)) => Zones(a.max(b)),
            (Regions(a), Regions(b)) => Regions(a.max(b)),
            // A region holds a zone at least.
            (Zones(zones), Regions(regions)) | (Regions(regions), Zones(zones)) => {
                if zones <= regions {
                    Regions(regions)
                } else {
                    All
                }
            }
        }
    }

    /// As it stands in a statement; `None` for kinds without a level.
    pub fn from_statement(level: Level) -> Option<WriteLevel> {
        match level {
            Level::None => None,
            Level::Quorum => Some(WriteLevel::Quorum),
            Level::Zones(k) => Some(WriteLevel::Zones(k)),
            Level::Regions(k) => Some(WriteLevel::Regions(k)),
            Level::All => Some(WriteLevel::All),
        }
    }

    pub fn to_statement(self) -> Level {
        match self {
            WriteLevel::Quorum => Level::Quorum,
            WriteLevel::Zones(k) => Level::Zones(k),
            WriteLevel::Regions(k) => Level::Regions(k),
            WriteLevel::All => Level::All,
        }
    }
}

impl fmt::Display for WriteLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WriteLevel::Quorum => f.write_str("quorum"),
            WriteLevel::Zones(k) => write!(f, "zones:{k}"),
            WriteLevel::Regions(k) => write!(f, "regions:{k}"),
            WriteLevel::All => f.write_str("all"),
        }
    }
}

impl FromStr for WriteLevel {
    type Err = String;

    fn from_str(text: &str) -> Result<WriteLevel, String> {
        let number = |k: &str| k.parse::<u8>().ok().filter(|k| *k > 0);
        let level = match text.split_once(':') {
            None if text == "quorum" => Some(WriteLevel::Quorum),
            None if text == "all" => Some(WriteLevel::All),
            Some(("zones", k)) => number(k).map(WriteLevel::Zones),
            Some(("regions", k)) => number(k).map(WriteLevel::Regions),
            _ => None,
        };
        level.ok_or_else(|| format!("{text:?} is none of quorum, zones:K, regions:K, all"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(zones: &[&str]) -> Vec<LevelMember> {
        zones
            .iter()
            .zip(1..)
            .map(|(zone, node)| LevelMember {
                node: NodeId::new(node),
                zone: (*zone).to_owned(),
                region: zone[..1].to_owned(),
                role: MemberRole::Voter,
            })
            .collect()
    }

    #[test]
    fn a_level_needs_a_majority_and_its_places() {
        let five = members(&["a1", "a1", "a2", "b1", "b1"]);
        let met = |level, members: &[LevelMember], holders: &[u64]| {
            let holders: Vec<_> = holders.iter().copied().map(NodeId::new).collect();
            meets(level, members, &holders)
        };
        assert!(!met(WriteLevel::Quorum, &five, &[1, 2]));
        assert!(met(WriteLevel::Quorum, &five, &[1, 2, 3]));
        assert!(met(WriteLevel::Zones(2), &five, &[1, 2, 3]));
        assert!(!met(WriteLevel::Zones(3), &five, &[1, 2, 3]));
        assert!(!met(WriteLevel::Regions(2), &five, &[1, 2, 3]));
        assert!(met(WriteLevel::Regions(2), &five, &[1, 2, 4]));
        assert!(!met(WriteLevel::All, &five, &[1, 2, 3, 4]));
        assert!(met(WriteLevel::All, &five, &[1, 2, 3, 4, 5]));
        // Strangers and repetitions do not count.
        assert!(!met(WriteLevel::Quorum, &five, &[1, 1, 2, 9]));
        assert!(!met(WriteLevel::Quorum, &[], &[1]));
    }

    /// Compared with trying out every majority.
    #[test]
    fn a_level_is_implied_when_no_majority_misses_it() {
        let layouts: [&[&str]; 5] = [
            &["a1", "a2", "a3"],
            &["a1", "a1", "b1"],
            &["a1", "a1", "a1", "b1", "c1"],
            &["a1", "a1", "b1", "b1", "c1"],
            &["a1"],
        ];
        let levels = [
            WriteLevel::Quorum,
            WriteLevel::Zones(1),
            WriteLevel::Zones(2),
            WriteLevel::Zones(3),
            WriteLevel::Regions(2),
            WriteLevel::All,
        ];
        for zones in layouts {
            let all = members(zones);
            for level in levels {
                let nodes = all.len() as u64;
                let sets = (0u32..1 << nodes).map(|set| -> Vec<NodeId> {
                    let held = (1..=nodes).filter(|n| set >> (n - 1) & 1 == 1);
                    held.map(NodeId::new).collect()
                });
                let mut majorities = sets.filter(|s| meets(WriteLevel::Quorum, &all, s));
                let never_missed = majorities.all(|set| meets(level, &all, &set));
                assert_eq!(implied(level, &all), never_missed, "{zones:?} {level}");
            }
        }
        assert!(!implied(WriteLevel::Quorum, &[]));
    }

    /// Invoices of a zone that was given up could not be downloaded for ever.
    #[test]
    fn what_the_members_can_no_longer_meet_is_met_as_far_as_they_can() {
        let two = members(&["a1", "a1", "a2"]);
        let best = |level| attainable(level, &two);
        assert_eq!(best(WriteLevel::Zones(3)), WriteLevel::Zones(2));
        assert_eq!(best(WriteLevel::Zones(2)), WriteLevel::Zones(2));
        assert_eq!(best(WriteLevel::Regions(2)), WriteLevel::Regions(1));
        assert_eq!(best(WriteLevel::All), WriteLevel::All);
        assert_eq!(best(WriteLevel::Quorum), WriteLevel::Quorum);
        assert_eq!(attainable(WriteLevel::Zones(2), &[]), WriteLevel::Quorum);
    }

    #[test]
    fn joined_levels_promise_what_both_promise() {
        let five = members(&["a1", "a1", "a2", "b1", "b2"]);
        let levels = [
            WriteLevel::Quorum,
            WriteLevel::Zones(2),
            WriteLevel::Zones(3),
            WriteLevel::Regions(2),
            WriteLevel::All,
        ];
        for a in levels {
            for b in levels {
                for set in 0u32..32 {
                    let holders = (1..=5).filter(|n| set >> (n - 1) & 1 == 1);
                    let holders: Vec<_> = holders.map(NodeId::new).collect();
                    if meets(a.join(b), &five, &holders) {
                        assert!(meets(a, &five, &holders) && meets(b, &five, &holders));
                    }
                }
            }
        }
    }

    #[test]
    fn sync_learners_count_for_regions_and_all_and_async_ones_for_nothing() {
        let mut five = members(&["a1", "a2", "a3", "b1", "c1"]);
        five[3].role = MemberRole::SyncLearner;
        five[4].role = MemberRole::AsyncLearner;
        // The majority is the voters' own.
        assert!(!meets(
            WriteLevel::Quorum,
            &five,
            &[NodeId::new(1), NodeId::new(4), NodeId::new(5)]
        ));
        assert!(meets(
            WriteLevel::Quorum,
            &five,
            &[NodeId::new(1), NodeId::new(2)]
        ));
        assert!(!meets(
            WriteLevel::Zones(3),
            &five,
            &[
                NodeId::new(1),
                NodeId::new(2),
                NodeId::new(4),
                NodeId::new(5)
            ]
        ));
        assert!(meets(
            WriteLevel::Regions(2),
            &five,
            &[NodeId::new(1), NodeId::new(2), NodeId::new(4)]
        ));
        assert!(!meets(
            WriteLevel::Regions(2),
            &five,
            &[NodeId::new(1), NodeId::new(2), NodeId::new(5)]
        ));
        assert!(!meets(
            WriteLevel::All,
            &five,
            &[NodeId::new(1), NodeId::new(2), NodeId::new(3)]
        ));
        assert!(meets(
            WriteLevel::All,
            &five,
            &[
                NodeId::new(1),
                NodeId::new(2),
                NodeId::new(3),
                NodeId::new(4)
            ]
        ));
    }

    /// More holders never unmeet a level: what was acknowledged stays acknowledged.
    #[test]
    fn levels_are_monotone_in_the_holders() {
        let five = members(&["a1", "a1", "a2", "b1", "b2"]);
        let levels = [
            WriteLevel::Quorum,
            WriteLevel::Zones(2),
            WriteLevel::Zones(4),
            WriteLevel::Regions(2),
            WriteLevel::All,
        ];
        for level in levels {
            for set in 0u32..32 {
                let holders = (1..=5).filter(|n| set >> (n - 1) & 1 == 1);
                let holders: Vec<_> = holders.map(NodeId::new).collect();
                for extra in 1..=5 {
                    let more = [&holders[..], &[NodeId::new(extra)]].concat();
                    assert!(!meets(level, &five, &holders) || meets(level, &five, &more));
                }
            }
            assert_eq!(level.to_string().parse(), Ok(level));
        }
    }
}
