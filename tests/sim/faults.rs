//! What goes wrong in a run: every kind of fault, when, for how long, and how often.
//!
//! Promises that all of it follows from the seed. Keeps the majority's disks whole: one disk
//! rots, at most one diverges or is wiped, and those two are not the same. Leaves doing it to the world.

use crate::rng::Rng;
use std::collections::BTreeMap;
use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The process of one node ends, and what it wrote stays.
    Kill,
    /// One node loses power, and what was not synced.
    PowerCut,
    /// All nodes lose power.
    Blackout,
    /// What is stored of a body changes, or is gone.
    Rot,
    /// No message gets from one node to another.
    CutOneWay,
    /// None gets from a node to any other, but all get to it.
    Deaf,
    /// Two nodes do not reach each other.
    CutBothWays,
    /// A node reaches nobody and is reached by nobody.
    Isolated,
    /// The nodes fall apart into two groups.
    Partition,
    /// Messages between two nodes take long.
    SlowLink,
    /// The clock of one node is ahead for a while, by up to a day.
    ClockForward,
    /// ... or behind.
    ClockBack,
    SlowDisk,
    FullDisk,
    FailedSync,
    /// Leadership is moved by the operator.
    Transfer,
    /// The state of a node is changed under it.
    Diverge,
    /// A disk is replaced by an empty one, and the node started again.
    Wipe,
}

impl Kind {
    pub const ALL: [Kind; 18] = [
        Kind::Kill,
        Kind::PowerCut,
        Kind::Blackout,
        Kind::Rot,
        Kind::CutOneWay,
        Kind::Deaf,
        Kind::CutBothWays,
        Kind::Isolated,
        Kind::Partition,
        Kind::SlowLink,
        Kind::ClockForward,
        Kind::ClockBack,
        Kind::SlowDisk,
        Kind::FullDisk,
        Kind::FailedSync,
        Kind::Transfer,
        Kind::Diverge,
        Kind::Wipe,
    ];
}

/// How often each kind happened. Of one run, or of many.
pub type Counts = BTreeMap<Kind, u64>;

/// When the next fault comes, and of which kind.
pub struct Schedule {
    rng: Rng,
    /// Kinds that are still to come before any comes again: none is left out of a run.
    left: Vec<Kind>,
    pub next: Duration,
}

impl Schedule {
    pub fn new(seed: u64, start: Duration) -> Schedule {
        Schedule {
            rng: Rng::of(seed, 1),
            left: Vec::new(),
            next: start,
        }
    }

    pub fn rng(&mut self) -> &mut Rng {
        &mut self.rng
    }

    /// Whether a fault is due; the next one is then later.
    pub fn is_due(&mut self, now: Duration) -> bool {
        let due = now >= self.next;
        if due {
            self.next = now + self.lasts_ms(300, 2400);
        }
        due
    }

    /// The kind whose turn it is.
    pub fn draw(&mut self) -> Kind {
        if self.left.is_empty() {
            self.left = Kind::ALL.to_vec();
        }
        let at = self.rng.below(self.left.len() as u64) as usize;
        self.left.swap_remove(at)
    }

    /// They could not happen now: their turn comes again.
    pub fn later(&mut self, kinds: Vec<Kind>) {
        self.left.extend(kinds);
    }

    pub fn lasts_ms(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(self.rng.between(from, to))
    }
}
