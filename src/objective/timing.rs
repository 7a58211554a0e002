//! Timing profiles: how fast a failed leader is replaced, and what that costs.
//!
//! A follower stands for election after (longest election timeout) + random(shortest,
//! longest) since it last heard the leader, so the worst leaderless time follows from the
//! numbers. Equal on every node of a cluster. A profile is refused where measured round
//! trips or fsync times contradict it. Leaves the clock to `raft/`, measuring to
//! `status/peer_monitor` and to the preflight.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

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

    /// The median round trip between two nodes that the profile is made for, at most.
    pub fn round_trip_max(self) -> Duration {
        Duration::from_millis(match self {
            Profile::Lan => 2,
            Profile::Metro => 10,
            Profile::Wan => 80,
            Profile::Global => 300,
        })
    }

    /// The longest usual fsync: a follower answers an append after its own, and one that
    /// takes as long as a heartbeat makes every append outlast the next.
    pub fn fsync_max(self) -> Duration {
        self.timing().heartbeat()
    }

    /// What is measured says that this profile does not fit, or nothing does. Each is what
    /// is usual (a median), since a single slow answer is what election timeouts are for.
    pub fn contradicted_by(
        self,
        round_trip: Option<Duration>,
        fsync: Option<Duration>,
    ) -> Option<Contradiction> {
        let (measured, allowed, what) = if let Some(round_trip) = round_trip
            && round_trip > self.round_trip_max()
        {
            (round_trip, self.round_trip_max(), "a round trip")
        } else if let Some(fsync) = fsync
            && fsync >= self.fsync_max()
        {
            (fsync, self.fsync_max(), "an fsync")
        } else {
            let both = round_trip.unwrap_or_default() + fsync.unwrap_or_default();
            if both < self.timing().heartbeat() {
                return None;
            }
            (
                both,
                self.timing().heartbeat(),
                "a round trip with an fsync",
            )
        };
        let fitting = Profile::ALL
            .into_iter()
            .find(|profile| profile.fits(round_trip, fsync));
        Some(Contradiction {
            profile: self,
            what,
            measured,
            allowed,
            fitting,
        })
    }

    fn fits(self, round_trip: Option<Duration>, fsync: Option<Duration>) -> bool {
        let both = round_trip.unwrap_or_default() + fsync.unwrap_or_default();
        round_trip.is_none_or(|measured| measured <= self.round_trip_max())
            && both < self.timing().heartbeat()
    }
}

/// Why a profile does not fit what was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contradiction {
    pub profile: Profile,
    what: &'static str,
    measured: Duration,
    allowed: Duration,
    /// The fastest profile that would fit.
    fitting: Option<Profile>,
}

impl fmt::Display for Contradiction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |time: Duration| time.as_secs_f64() * 1000.0;
        write!(
            f,
            "{} takes {:.2} ms here, profile {} allows {:.0} ms; ",
            self.what,
            ms(self.measured),
            self.profile,
            ms(self.allowed)
        )?;
        match self.fitting {
            Some(profile) => write!(f, "{profile} would fit"),
            None => f.write_str("no profile fits"),
        }
    }
}

impl Timing {
    /// From the last word of a leader to the candidacy of the slowest follower; the vote
    /// itself adds a round trip and an fsync.
    pub fn worst_leaderless_ms(&self) -> u64 {
        2 * self.election_max_ms
    }

    /// The same for a follower that has seen a longer log than its own: it waits for those
    /// who have that log, two longest election timeouts more.
    pub fn worst_leaderless_behind_ms(&self) -> u64 {
        4 * self.election_max_ms
    }

    pub fn heartbeat(&self) -> Duration {
        Duration::from_millis(self.heartbeat_ms)
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

    /// What stands in the documents: 500 + 500, and 2 x 500 more.
    #[test]
    fn a_node_that_saw_a_longer_log_waits_longer() {
        assert_eq!(Profile::Lan.timing().worst_leaderless_behind_ms(), 2000);
        assert_eq!(Profile::Global.timing().worst_leaderless_ms(), 10_000);
    }

    #[test]
    fn a_profile_is_contradicted_by_what_is_measured() {
        let ms = |ms: f64| Some(Duration::from_secs_f64(ms / 1000.0));
        // Each profile allows what the table in the documents says, and no more.
        for (profile, round_trip, heartbeat) in [
            (Profile::Lan, 2.0, 50.0),
            (Profile::Metro, 10.0, 100.0),
            (Profile::Wan, 80.0, 250.0),
            (Profile::Global, 300.0, 600.0),
        ] {
            assert_eq!(profile.contradicted_by(None, None), None);
            assert_eq!(profile.contradicted_by(ms(round_trip), ms(1.0)), None);
            assert_ne!(profile.contradicted_by(ms(round_trip + 0.1), None), None);
            assert_eq!(profile.contradicted_by(None, ms(heartbeat - 0.1)), None);
            assert_ne!(profile.contradicted_by(None, ms(heartbeat)), None);
            // Each alone would do; together they outlast the heartbeat.
            let fsync = ms(heartbeat - round_trip);
            assert_ne!(profile.contradicted_by(ms(round_trip), fsync), None);
        }
    }

    /// Whoever reads the refusal must learn what to write instead.
    #[test]
    fn a_contradiction_names_both_values_and_the_profile_that_fits() {
        let ms = Duration::from_millis;
        let said = |profile: Profile, round_trip, fsync| {
            let found = profile.contradicted_by(round_trip, fsync);
            found.map(|c| c.to_string()).unwrap_or_default()
        };
        assert_eq!(
            said(Profile::Lan, Some(ms(12)), None),
            "a round trip takes 12.00 ms here, profile lan allows 2 ms; wan would fit"
        );
        assert_eq!(
            said(Profile::Lan, Some(ms(1)), Some(ms(70))),
            "an fsync takes 70.00 ms here, profile lan allows 50 ms; metro would fit"
        );
        assert!(said(Profile::Wan, Some(ms(400)), None).ends_with("no profile fits"));
    }
}
