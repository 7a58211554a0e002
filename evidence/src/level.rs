//! When holders meet a write level: a pure function of the members and of who holds the bytes.
//!
//! Judged by the node that takes a write, again in apply against the members at that place,
//! and by who verifies the log. Promises: strangers and repetitions count for nothing. Leaves
//! which level to ask for to whoever writes.
//!
//! Tests: `evidence/tests/rules.rs`, and `src/objective/write.rs` of the node.

use crate::ids::NodeId;
use crate::statement::Level;
use std::collections::BTreeSet;

/// A member as levels see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LevelMember {
    pub node: NodeId,
    pub zone: String,
    pub region: String,
    pub role: MemberRole,
}

/// What a member counts for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MemberRole {
    /// For every level.
    Voter,
    /// For `Regions` and `All`, beside a majority of voters.
    SyncLearner,
    /// For none.
    AsyncLearner,
}

const SYNC: [MemberRole; 2] = [MemberRole::Voter, MemberRole::SyncLearner];

/// Whether holders among the members meet the level; where no level is asked, never.
pub fn meets(level: Level, members: &[LevelMember], holders: &[NodeId]) -> bool {
    let of = |roles: &'static [MemberRole]| members.iter().filter(|m| roles.contains(&m.role));
    let holds = |m: &&LevelMember| holders.contains(&m.node);
    let span = |roles, place: fn(&LevelMember) -> &str| {
        let places: BTreeSet<&str> = of(roles).filter(holds).map(place).collect();
        places.len()
    };
    let voters = of(&[MemberRole::Voter]).count();
    let majority = voters > 0 && of(&[MemberRole::Voter]).filter(holds).count() > voters / 2;
    majority
        && match level {
            Level::None => false,
            Level::Quorum => true,
            Level::Zones(k) => span(&[MemberRole::Voter], |m| &m.zone) >= usize::from(k),
            Level::Regions(k) => span(&SYNC, |m| &m.region) >= usize::from(k),
            Level::All => of(&SYNC).all(|m| holders.contains(&m.node)),
        }
}
