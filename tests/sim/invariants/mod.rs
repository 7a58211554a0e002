//! The invariants, one file each, its statement on top.
//!
//! Those with a number are told of every fact as it happens, so a breach is found in the
//! very step that makes it. The others compare what callers saw with the end of the run.

pub mod chain_and_acknowledged;
pub mod cosigned;
pub mod i10_chunks_checked;
pub mod i11_failing_disk;
pub mod i12_same_state;
pub mod i1_bodies_safe;
pub mod i2_new_disk;
pub mod i3_holdings_judged;
pub mod i4_apply_without_bodies;
pub mod i5_orphans;
pub mod i6_deleted_last;
pub mod i7_issued_once;
pub mod i8_members_change;
pub mod i9_snapshots;
pub mod promised;
pub mod repaired;
pub mod time_bounded;

use crate::facts::Fact;
use crate::mirror::{Mirror, NodeMirror};
use std::collections::BTreeMap;
use std::time::Duration;

/// Entries that a node is behind by while it is up and its links are.
const FAR_ENTRIES: u64 = 10;

/// One statement that must hold after every step.
pub trait Invariant {
    fn name(&self) -> &'static str;

    /// Is told of a fact when the mirror has just followed it; a breach is an error.
    fn take(&mut self, mirror: &Mirror, fact: &Fact, now: Duration) -> Result<(), String>;

    /// After every step, for what must have happened by then.
    fn step(&mut self, _mirror: &Mirror, _now: Duration) -> Result<(), String> {
        Ok(())
    }

    /// How often it had something to judge.
    fn judged(&self) -> u64;
}

/// All of them, and the mirror that they look at.
pub struct Checks {
    mirror: Mirror,
    all: Vec<Box<dyn Invariant + Send>>,
}

impl Checks {
    pub fn new() -> Checks {
        Checks {
            mirror: Mirror::default(),
            all: vec![
                Box::<i1_bodies_safe::BodiesSafe>::default(),
                Box::<i2_new_disk::NewDisk>::default(),
                Box::<i3_holdings_judged::HoldingsJudged>::default(),
                Box::<i4_apply_without_bodies::ApplyWithoutBodies>::default(),
                Box::<i5_orphans::Orphans>::default(),
                Box::<i6_deleted_last::DeletedLast>::default(),
                Box::<i7_issued_once::IssuedOnce>::default(),
                Box::<i8_members_change::MembersChange>::default(),
                Box::<i9_snapshots::Snapshots>::default(),
                Box::<i10_chunks_checked::ChunksChecked>::default(),
                Box::<i11_failing_disk::FailingDisk>::default(),
                Box::<i12_same_state::SameState>::default(),
                Box::<time_bounded::TimeBounded>::default(),
            ],
        }
    }

    /// Follows what happened in a step and checks it.
    pub fn step(&mut self, events: &[crate::facts::Event], now: Duration) -> Result<(), String> {
        for event in events {
            let facts = self
                .mirror
                .follow(event)
                .map_err(|why| format!("i12: {why}"))?;
            for fact in &facts {
                for invariant in &mut self.all {
                    let taken = invariant.take(&self.mirror, fact, now);
                    taken.map_err(|why| format!("{}: {why}", invariant.name()))?;
                }
            }
        }
        for invariant in &mut self.all {
            let checked = invariant.step(&self.mirror, now);
            checked.map_err(|why| format!("{}: {why}", invariant.name()))?;
        }
        Ok(())
    }

    /// The node whose state is not what the log says.
    /// Whether a node has yet to apply more than others keep of their logs, or soon may.
    pub fn is_far_behind(&self, node: u64) -> bool {
        let reached = |node: &NodeMirror| node.state().raft_index;
        let newest = self.mirror.nodes.values().map(reached).max();
        let own = self.mirror.nodes.get(&node).map_or(0, reached);
        own + FAR_ENTRIES < newest.unwrap_or_default()
    }

    pub fn diverged(&self) -> Option<u64> {
        self.mirror.diverged
    }

    /// How often each had something to judge.
    pub fn judged(&self) -> BTreeMap<&'static str, u64> {
        let judged = self.all.iter();
        judged
            .map(|invariant| (invariant.name(), invariant.judged()))
            .collect()
    }
}
