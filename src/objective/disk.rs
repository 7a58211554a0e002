//! When a disk is slow, and how much of it is kept for evidence.
//!
//! Pure: decides with the times and bytes it is given. A node whose disk is slow should
//! not lead, since every write of the cluster waits for the leader's heartbeats; a node
//! whose disk is nearly full takes no bodies, so that records and deletes go on; a disk under
//! which body after body goes bad is given up before it takes what others lack with it. Leaves
//! measuring and acting to `status/disk_health`, and damage to `bodies/`.

use crate::domain::ids::BodyId;
use std::collections::VecDeque;
use std::time::Duration;

/// So many bodies that went bad within the hour, and a disk is given up. One or two are
/// sectors, of which every disk loses some; a disk that loses many soon loses what was written
/// last, which nobody may hold besides.
pub const BAD_BODIES_MAX: usize = 16;
/// How long a bad body speaks against its disk.
pub const DECAY_WINDOW: Duration = Duration::from_secs(3600);
/// Windows in a row that must be slow, so that one compaction is not taken for a disk
/// that has changed.
pub const SLOW_WINDOWS: u32 = 3;
/// Windows in a row that must be quick before a slow disk is trusted again: more than
/// made it slow, so that leadership does not swing.
pub const QUICK_WINDOWS: u32 = 5;
/// A sync that has not returned for this many times the limit is slow at once: by then
/// every follower has missed as many heartbeats' worth of commits.
pub const STUCK_LIMITS: u32 = 10;
/// Part of the reserve below which nothing is written but records, statements and deletes:
/// what snapshots, compactions and others on the same disk may have used up before.
pub const EVIDENCE_SHARE: u64 = 4;

/// Free bytes below which no snapshot is taken or received and the node is not ready.
pub fn evidence_reserve(disk_reserve_bytes: u64) -> u64 {
    disk_reserve_bytes / EVIDENCE_SHARE
}

/// What one window saw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Window {
    /// Of the syncs that returned in it, if any did.
    pub p99: Option<Duration>,
    /// Age of the sync that has not returned yet.
    pub stuck: Option<Duration>,
}

impl Window {
    pub fn of(mut times: Vec<Duration>, stuck: Option<Duration>) -> Window {
        Window {
            p99: quantile(&mut times, 99),
            stuck,
        }
    }

    /// The longest that anybody has waited, by what is known.
    pub fn worst(&self) -> Option<Duration> {
        self.p99.max(self.stuck)
    }
}

/// The value below which `percent` of them lie; of few values, the largest.
pub fn quantile(times: &mut [Duration], percent: usize) -> Option<Duration> {
    times.sort_unstable();
    let at = (times.len() * percent).div_ceil(100).saturating_sub(1);
    times.get(at).copied()
}

/// Follows one disk, window by window.
#[derive(Clone, Debug)]
pub struct Judge {
    limit: Duration,
    /// Windows in a row that spoke against the present judgement.
    against: u32,
    slow: bool,
}

impl Judge {
    /// `limit` is the longest usual fsync of the profile.
    pub fn new(limit: Duration) -> Judge {
        Judge {
            limit,
            against: 0,
            slow: false,
        }
    }

    pub fn slow(&self) -> bool {
        self.slow
    }

    /// Takes one more window; whether the disk is slow. A window without a sync says
    /// nothing.
    pub fn note(&mut self, window: &Window) -> bool {
        if window.stuck >= Some(self.limit * STUCK_LIMITS) {
            (self.slow, self.against) = (true, 0);
            return true;
        }
        let Some(worst) = window.worst() else {
            return self.slow;
        };
        if (worst > self.limit) == self.slow {
            self.against = 0;
            return self.slow;
        }
        // A sync under way that is quick so far is no proof that it will be.
        if self.slow && window.p99.is_none() {
            return true;
        }
        self.against += 1;
        let enough = if self.slow {
            QUICK_WINDOWS
        } else {
            SLOW_WINDOWS
        };
        if self.against >= enough {
            (self.slow, self.against) = (!self.slow, 0);
        }
        self.slow
    }
}

/// The bodies that went bad on one disk lately.
#[derive(Clone, Debug, Default)]
pub struct Decay(VecDeque<(Duration, BodyId)>);

impl Decay {
    /// Takes a body that was found bad `now`; whether the disk is to be given up.
    pub fn note(&mut self, now: Duration, body: BodyId) -> bool {
        self.0
            .retain(|(at, other)| now.saturating_sub(*at) < DECAY_WINDOW && *other != body);
        self.0.push_back((now, body));
        self.0.len() >= BAD_BODIES_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_millis(50);

    fn window(p99_ms: u64) -> Window {
        Window::of(vec![Duration::from_millis(p99_ms)], None)
    }

    fn stuck(ms: u64) -> Window {
        Window::of(Vec::new(), Some(Duration::from_millis(ms)))
    }

    #[test]
    fn a_disk_is_slow_after_three_windows_and_trusted_after_five() {
        let mut judge = Judge::new(LIMIT);
        assert!(!judge.note(&window(60)));
        assert!(!judge.note(&window(60)));
        // One quick window: the two before were a compaction.
        assert!(!judge.note(&window(10)));
        for _ in 1..SLOW_WINDOWS {
            assert!(!judge.note(&window(51)));
        }
        assert!(judge.note(&window(51)));
        for _ in 1..QUICK_WINDOWS {
            assert!(judge.note(&window(50)));
        }
        assert!(!judge.note(&window(50)));
    }

    #[test]
    fn a_sync_that_does_not_return_is_slow_at_once() {
        let mut judge = Judge::new(LIMIT);
        assert!(!judge.note(&stuck(499)));
        assert!(judge.note(&stuck(500)));
        // Nothing came back yet: nothing is known to be better.
        for _ in 0..10 {
            assert!(judge.note(&stuck(1)));
        }
    }

    #[test]
    fn an_idle_window_says_nothing() {
        let mut judge = Judge::new(LIMIT);
        for _ in 0..2 {
            judge.note(&window(70));
            assert!(!judge.note(&Window::default()));
        }
        assert!(judge.note(&window(70)));
        assert!(judge.note(&Window::default()));
    }

    #[test]
    fn a_quantile_of_few_is_the_largest() {
        let ms = |ms| Duration::from_millis(ms);
        assert_eq!(quantile(&mut [], 99), None);
        assert_eq!(quantile(&mut [ms(3), ms(1)], 99), Some(ms(3)));
        assert_eq!(quantile(&mut [ms(3), ms(1), ms(2)], 50), Some(ms(2)));
        let mut hundred: Vec<_> = (1..=200).map(ms).collect();
        assert_eq!(quantile(&mut hundred, 99), Some(ms(198)));
    }

    #[test]
    fn a_quarter_of_the_reserve_is_for_evidence_alone() {
        assert_eq!(evidence_reserve(256 << 20), 64 << 20);
    }

    #[test]
    fn a_disk_is_given_up_after_sixteen_bodies_within_an_hour() {
        let body = |n: usize| BodyId::new([n as u8; 16]);
        let mut decay = Decay::default();
        let minute = |n: usize| Duration::from_secs(60 * n as u64);
        for n in 1..BAD_BODIES_MAX {
            assert!(!decay.note(minute(n), body(n)));
            // More that is bad of the same body is the same loss.
            assert!(!decay.note(minute(n), body(n)));
        }
        assert!(decay.note(minute(BAD_BODIES_MAX), body(0)));
        // One every five minutes is found by a scrub of an old disk, and mended.
        let mut decay = Decay::default();
        assert!((0..100).all(|n| !decay.note(minute(5 * n), body(n))));
    }
}
