//! Proofs of freshness: since when a replica may miss something.
//!
//! A question sent at local time t was answered with the read index c: whatever was
//! acknowledged before t lies at or below c. Once c is applied here, staleness is at most
//! now - t, however long this node is cut off or suspended afterwards. Times are those of
//! one node's own monotonic clock; clocks of two nodes are never compared. Pure; leaves
//! asking to `raft/`.

use crate::domain::ids::LogIndex;
use std::collections::VecDeque;
use std::time::Duration;

/// Proofs whose index is not applied yet. A replica that lags by more gets its next bound
/// from the oldest of these.
const PENDING_MAX: usize = 64;

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Freshness {
    /// When the newest question was sent whose answer is applied.
    proven: Option<Duration>,
    /// Sent at, read index; both grow.
    pending: VecDeque<(Duration, LogIndex)>,
}

impl Freshness {
    /// A question sent at `sent` was answered with `read_index`.
    pub fn note(&mut self, sent: Duration, read_index: LogIndex) {
        if let Some((newest, index)) = self.pending.back_mut()
            && *index >= read_index
        {
            // Nothing was committed in between: the later question proves more.
            *newest = sent.max(*newest);
        } else if self.pending.len() < PENDING_MAX {
            self.pending.push_back((sent, read_index));
        }
        // Else this one is lost: there are others once the replica has caught up.
    }

    /// How stale the state may be that has applied `applied`, at local time `now`. `None`
    /// when nothing is proven.
    pub fn bound(&mut self, applied: LogIndex, now: Duration) -> Option<Duration> {
        while let Some((sent, index)) = self.pending.front().copied()
            && index <= applied
        {
            self.proven = self.proven.max(Some(sent));
            self.pending.pop_front();
        }
        self.proven.map(|sent| now.saturating_sub(sent))
    }
}

/// Milliseconds, rounded up: a bound is never claimed tighter than it is.
pub fn whole_ms(staleness: Duration) -> u64 {
    u64::try_from(staleness.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn nothing_is_claimed_before_the_answer_is_applied() {
        let mut freshness = Freshness::default();
        assert_eq!(freshness.bound(LogIndex::new(9), at(5)), None);
        freshness.note(at(10), LogIndex::new(7));
        assert_eq!(freshness.bound(LogIndex::new(6), at(20)), None);
        assert_eq!(freshness.bound(LogIndex::new(7), at(20)), Some(at(10)));
    }

    /// Cut off, a node still knows what it knew, and says how long ago that was.
    #[test]
    fn the_bound_grows_until_there_is_a_newer_proof() {
        let mut freshness = Freshness::default();
        freshness.note(at(10), LogIndex::new(7));
        assert_eq!(freshness.bound(LogIndex::new(7), at(11)), Some(at(1)));
        assert_eq!(
            freshness.bound(LogIndex::new(7), at(60_000)),
            Some(at(59_990))
        );
        freshness.note(at(60_000), LogIndex::new(9));
        // Not applied yet: the older proof still holds.
        assert_eq!(
            freshness.bound(LogIndex::new(8), at(60_001)),
            Some(at(59_991))
        );
        assert_eq!(freshness.bound(LogIndex::new(9), at(60_001)), Some(at(1)));
        // Asked about a moment before the proof.
        assert_eq!(
            freshness.bound(LogIndex::new(9), at(100)),
            Some(Duration::ZERO)
        );
    }

    #[test]
    fn a_lagging_replica_keeps_its_oldest_proofs_and_a_quiet_one_needs_no_room() {
        let mut freshness = Freshness::default();
        for n in 0..2 * PENDING_MAX as u64 {
            freshness.note(at(n), LogIndex::new(n + 1));
        }
        assert_eq!(freshness.pending.len(), PENDING_MAX);
        assert_eq!(freshness.bound(LogIndex::new(1), at(500)), Some(at(500)));
        let last = PENDING_MAX as u64;
        assert_eq!(
            freshness.bound(LogIndex::new(last), at(500)),
            Some(at(500 - (last - 1)))
        );
        for n in 600..700 {
            freshness.note(at(n), LogIndex::new(1000));
        }
        assert_eq!(freshness.pending.len(), 1);
        assert_eq!(freshness.bound(LogIndex::new(1000), at(700)), Some(at(1)));
    }

    #[test]
    fn milliseconds_are_rounded_up() {
        assert_eq!(whole_ms(Duration::ZERO), 0);
        assert_eq!(whole_ms(Duration::from_nanos(1)), 1);
        assert_eq!(whole_ms(at(3)), 3);
        assert_eq!(whole_ms(Duration::MAX), u64::MAX);
    }
}
