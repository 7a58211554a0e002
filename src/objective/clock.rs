//! How far apart the wall clocks of members may be.
//!
//! Pure: decides with the times it is given. The time of a record is the leader's word, which
//! counts because a majority of the voters, by their own clocks, took it in: none takes in an
//! entry that is more than [`AHEAD_MAX`] ahead of its own. A node whose clock is off the median
//! of those it knows should not lead. Leaves measuring and acting to `status/clock_health`, and
//! refusing entries to `raft/`. On replay nothing is compared with now.

use std::time::Duration;

/// An entry may be this far ahead of who takes it in: far above what clocks differ that are
/// kept in step (milliseconds), far below any period that a record's time counts for.
pub const AHEAD_MAX: Duration = Duration::from_secs(5);
/// A clock that is further than this from the median is off. Half the bound: what is proposed by
/// who is not off is then taken in by everybody who is not off.
pub const OFF_MAX: Duration = Duration::from_millis(AHEAD_MAX.as_millis() as u64 / 2);
/// Clocks, the own among them, from which a median says who is wrong: of two nobody can tell.
const CLOCKS_MIN: usize = 3;

/// By how many ms a time is ahead of now, if that is too much.
pub fn too_far_ahead(proposed_ms: u64, now_ms: u64) -> Option<u64> {
    let ahead_ms = proposed_ms.saturating_sub(now_ms);
    (u128::from(ahead_ms) > AHEAD_MAX.as_millis()).then_some(ahead_ms)
}

/// By how many ms a clock is ahead of the median; behind it where negative. `others` are the
/// other clocks, less this one. `None` where too few are known.
pub fn ahead_of_median_ms(others: &[i64]) -> Option<i64> {
    let mut clocks: Vec<i64> = others.iter().copied().chain([0]).collect();
    if clocks.len() < CLOCKS_MIN {
        return None;
    }
    clocks.sort_unstable();
    let upper = clocks.len() / 2;
    let lower = (clocks.len() - 1) / 2;
    // Between two in the middle, whichever is nearer: who is in the middle is not off.
    let median = 0.clamp(clocks[lower], clocks[upper]);
    Some(0i64.saturating_sub(median))
}

/// Whether a clock so far ahead of the median, or behind it, is off.
pub fn is_off(ahead_ms: i64) -> bool {
    u128::from(ahead_ms.unsigned_abs()) > OFF_MAX.as_millis()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_MS: i64 = 3_600_000;

    #[test]
    fn a_time_may_be_ahead_by_the_bound_and_behind_by_anything() {
        let bound = AHEAD_MAX.as_millis() as u64;
        assert_eq!(too_far_ahead(1_000 + bound, 1_000), None);
        assert_eq!(too_far_ahead(1_001 + bound, 1_000), Some(bound + 1));
        assert_eq!(too_far_ahead(0, u64::MAX), None);
        assert_eq!(too_far_ahead(u64::MAX, 0), Some(u64::MAX));
    }

    /// One wrong clock must not make the others off, whichever way it is wrong.
    #[test]
    fn only_the_clock_that_differs_from_most_is_off() {
        let off = |others: &[i64]| ahead_of_median_ms(others).map(is_off);
        assert_eq!(off(&[]), None);
        assert_eq!(off(&[HOUR_MS]), None, "of two nobody can tell");
        for wrong in [HOUR_MS, -HOUR_MS, i64::MAX, i64::MIN] {
            // Seen by a right one, and by the wrong one itself.
            assert_eq!(off(&[20, wrong]), Some(false), "{wrong}");
            let (far, near) = (0i64.saturating_sub(wrong), 20i64.saturating_sub(wrong));
            assert_eq!(off(&[far, near]), Some(true), "{wrong}");
        }
        assert_eq!(ahead_of_median_ms(&[-HOUR_MS, -HOUR_MS]), Some(HOUR_MS));
        assert_eq!(ahead_of_median_ms(&[-HOUR_MS, HOUR_MS]), Some(0));
        // Two against two.
        assert_eq!(ahead_of_median_ms(&[0, HOUR_MS, HOUR_MS]), Some(0));
    }

    /// What a node that may stand proposes, every node whose clock is not off takes in.
    #[test]
    fn who_is_not_off_takes_in_what_who_is_not_off_proposes() {
        let (ahead, behind) = (OFF_MAX.as_millis() as i64, -(OFF_MAX.as_millis() as i64));
        assert!(!is_off(ahead) && !is_off(behind));
        assert_eq!(too_far_ahead((ahead - behind) as u64, 0), None);
    }
}
