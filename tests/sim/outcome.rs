//! What a run came to, and what many came to together.
//!
//! Promises that a run which checked too little fails: too few writes, faults or seconds in
//! one, too few faults of a kind, snapshots or changes of members in all.

use crate::faults::{Counts, Kind};
use crate::invariants;
use crate::world::{End, RUN_MIN};
use muniment_evidence::digest::Digest;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// Acknowledged writes of one run, at least.
pub const WRITES_MIN: usize = 300;
/// Faults of one run, at least.
const FAULTS_MIN: u64 = 20;
/// Over this many seeds each kind of fault comes so often, at least.
const SCALE_SEEDS: u64 = 200;
const KIND_MIN: u64 = 100;
/// Of a hundred seeds so many have a snapshot installed, and so many a change finished.
const SHARE_MIN: u64 = 60;
/// Fewer seeds than this tell nothing of shares.
const SHARED_SEEDS_MIN: u64 = 20;

/// What a good run came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    pub written: usize,
    pub amended: usize,
    pub downloaded: usize,
    pub promised: usize,
    pub notes: usize,
    pub failed_calls: u64,
    pub damages: usize,
    pub transferred: u64,
    pub counts: Counts,
    pub judged: BTreeMap<&'static str, u64>,
    pub simulated: Duration,
    pub records: u64,
    pub root: Digest,
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} written, {} amended, {} downloaded, {} promised, {} notes, {} damages repaired, {} calls \
             failed, {} faults, {} installs, {} changes of members, {} transfers, {:.1} s \
             simulated, {} records, root {}",
            self.written,
            self.amended,
            self.downloaded,
            self.promised,
            self.notes,
            self.damages,
            self.failed_calls,
            self.counts.values().sum::<u64>(),
            self.judged["i9"],
            self.judged["i8"],
            self.transferred,
            self.simulated.as_secs_f64(),
            self.records,
            self.root,
        )
    }
}

/// Judges the end of a run by what callers saw.
pub fn judge(end: &End) -> Result<Run, String> {
    invariants::chain_and_acknowledged::check(end)?;
    invariants::cosigned::check(end)?;
    invariants::promised::check(end)?;
    let damages = invariants::repaired::check(end)?;
    let seen = end.cluster.oracle.seen();
    let head = &end.heads[0];
    let run = Run {
        written: seen.acknowledged.len(),
        amended: seen.amended.len(),
        downloaded: seen.delivered.len(),
        promised: seen.promised.len(),
        notes: seen.notes.len(),
        failed_calls: seen.failed_calls,
        damages,
        transferred: end.transferred,
        counts: end.counts.clone(),
        judged: end.judged.clone(),
        simulated: end.simulated,
        records: head.size.get(),
        root: head.root,
    };
    let faults = run.counts.values().sum::<u64>();
    // Whatever a caller had acknowledged and must not lose.
    let writes = run.written + run.amended;
    if writes < WRITES_MIN || faults < FAULTS_MIN || run.simulated < RUN_MIN {
        return Err(format!("the run is too small: {run}"));
    }
    Ok(run)
}

/// How a seed ended, once.
pub struct Outcome {
    pub ended: Result<Run, String>,
    /// Hash and number of events.
    pub trace: (u64, u64),
}

impl Outcome {
    /// What is different in another run of the same seed.
    pub fn differs_from(&self, again: &Outcome) -> Option<String> {
        if self.trace != again.trace {
            return Some(format!("traces {:x?} and {:x?}", self.trace, again.trace));
        }
        if self.ended != again.ended {
            return Some(format!("{:?} and {:?}", self.ended, again.ended));
        }
        None
    }
}

/// Of all seeds.
#[derive(Default)]
pub struct Totals {
    seeds: u64,
    written: usize,
    installed: u64,
    changed: u64,
    counts: Counts,
    judged: BTreeMap<&'static str, u64>,
}

impl Totals {
    pub fn add(&mut self, outcome: Outcome) {
        let Ok(run) = outcome.ended else {
            return;
        };
        self.seeds += 1;
        self.written += run.written;
        self.installed += u64::from(run.judged["i9"] > 0);
        self.changed += u64::from(run.judged["i8"] > 0);
        for (kind, count) in run.counts {
            *self.counts.entry(kind).or_default() += count;
        }
        for (name, count) in run.judged {
            *self.judged.entry(name).or_default() += count;
        }
    }

    /// Fails where the seeds together have checked too little.
    pub fn check(&self) {
        if self.seeds < SHARED_SEEDS_MIN {
            return;
        }
        let share = |count| 100 * count / self.seeds;
        assert!(
            share(self.installed) >= SHARE_MIN,
            "too few snapshots are installed"
        );
        assert!(
            share(self.changed) >= SHARE_MIN,
            "too few changes of members end"
        );
        for kind in Kind::ALL {
            let count = self.counts.get(&kind).copied().unwrap_or(0);
            let wanted = KIND_MIN * self.seeds / SCALE_SEEDS;
            assert!(
                count >= wanted,
                "{kind:?} happens {count} times, not {wanted}"
            );
        }
        for (name, count) in &self.judged {
            assert!(*count > 0, "{name} had nothing to judge");
        }
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} good seeds, {} writes, {} with a snapshot installed, {} with a change of members",
            self.seeds, self.written, self.installed, self.changed
        )?;
        for (kind, count) in &self.counts {
            writeln!(f, "{count:>8} {kind:?}")?;
        }
        for (name, count) in &self.judged {
            writeln!(f, "{count:>8} judged by {name}")?;
        }
        Ok(())
    }
}
