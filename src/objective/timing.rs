//! Timing profiles: how fast a failed leader is replaced, and what that costs.
//!
//! A follower stands for election after (longest election timeout) + random(shortest,
//! longest) since it last heard the leader, so the worst leaderless time follows from the
//! numbers. Equal on every node of a cluster. Leaves the clock to `raft/`.

use std::fmt;
use std::str::FromStr;

/// A named set of timings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Profile {
    /// One building: round trips below 2 ms.
    #[default]
    Lan,
    /// One city: below 10 ms.
    Metro,
    /// Regions of one continent: below 80 ms.
    Wan,
    /// The world: below 300 ms.
    Global,
}

/// The timings of a profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    pub heartbeat_ms: u64,
    pub election_min_ms: u64,
    pub election_max_ms: u64,
}

impl Profile {
    pub const ALL: [Profile; 4] = [Profile::Lan, Profile::Metro, Profile::Wan, Profile::Global];

    pub fn timing(self) -> Timing {
        let (heartbeat_ms, election_min_ms, election_max_ms) = match self {
            Profile::Lan => (50, 300, 500),
            Profile::Metro => (100, 600, 1000),
            Profile::Wan => (250, 1000, 2000),
            Profile::Global => (600, 3000, 5000),
        };
        Timing {
            heartbeat_ms,
            election_min_ms,
            election_max_ms,
        }
    }
}

impl Timing {
    /// From the last word of a leader to the candidacy of the slowest follower; the vote
    /// itself adds a round trip and an fsync.
    pub fn worst_leaderless_ms(&self) -> u64 {
        2 * self.election_max_ms
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Profile::Lan => "lan",
            Profile::Metro => "metro",
            Profile::Wan => "wan",
            Profile::Global => "global",
        })
    }
}

impl FromStr for Profile {
    type Err = String;

    fn from_str(text: &str) -> Result<Profile, String> {
        Profile::ALL
            .into_iter()
            .find(|profile| profile.to_string() == text)
            .ok_or_else(|| format!("{text:?} is none of lan, metro, wan, global"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_leave_room_for_lost_heartbeats() {
        for profile in Profile::ALL {
            let timing = profile.timing();
            assert!(timing.election_min_ms >= 4 * timing.heartbeat_ms);
            assert!(timing.election_max_ms > timing.election_min_ms);
            assert_eq!(profile.to_string().parse(), Ok(profile));
        }
        assert_eq!(Profile::Lan.timing().worst_leaderless_ms(), 1000);
    }
}
