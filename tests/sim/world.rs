//! One run from a seed: found, let things go wrong under load, heal, finish, compare.
//!
//! Promises that everything in it follows from the seed alone, and that every invariant is
//! checked after every step. Faults never stop the load; healing is complete before the
//! end is judged. Leaves judging to `invariants/`, what goes wrong when to
//! [`crate::faults`], and doing it to [`breaking`].

mod breaking;

use crate::cluster::{self, Cluster, FOUNDERS, Machine};
use crate::facts::Event;
use crate::faults::{Counts, Kind, Schedule};
use crate::invariants::Checks;
use crate::node;
use crate::operator::Wish;
use crate::oracle::Phase;
use crate::outcome::WRITES_MIN;
use crate::trace::{Trace, What, digest};
use breaking::Broken;
use muniment::ledger::rows::LedgerHead;
use muniment::ledger::state::State;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use turmoil::Sim;

/// Simulated time in which things go wrong,
const FAULTS: Duration = Duration::from_secs(56);
/// and at most, where by then too little was acknowledged to judge by.
const FAULTS_MAX: Duration = Duration::from_secs(90);
/// A run takes this long at least.
pub const RUN_MIN: Duration = Duration::from_secs(60);
/// In which a healthy cluster must have founded, finished or settled.
const PATIENCE: Duration = Duration::from_secs(60);
/// Replicas that stay equal for this long have nothing left to tell each other.
const STILL: Duration = Duration::from_millis(1500);
const TICK: Duration = Duration::from_millis(1);
/// Messages overtake each other by this.
const LATENCY_MAX: Duration = Duration::from_millis(8);
/// Kinds of faults that are tried until one can happen.
const KINDS_TRIED_MAX: usize = 4;
/// When the operator begins to change the members, after the founding.
const CHANGES_AFTER: Duration = Duration::from_secs(6);

/// What a run came to, for the invariants that judge its end.
pub struct End {
    pub cluster: Arc<Cluster>,
    /// Of the members.
    pub heads: Vec<LedgerHead>,
    /// The log as one of them has it.
    pub log: State,
    pub counts: Counts,
    /// Nodes that left, or whose disk was taken away.
    pub gone: BTreeSet<u64>,
    /// Nodes whose disk was taken away, and those whose promises the operator gave up.
    pub unrecorded: BTreeSet<u64>,
    pub simulated: Duration,
    /// Times that an invariant had something to judge.
    pub judged: BTreeMap<&'static str, u64>,
    pub transferred: u64,
}

struct World<'a> {
    sim: Sim<'a>,
    machines: BTreeMap<u64, Arc<Machine>>,
    cluster: Arc<Cluster>,
    checks: Checks,
    schedule: Schedule,
    counts: Counts,
    /// The node whose disk rots.
    rotten: u64,
    wiped: Option<u64>,
    /// Nodes that were started once and are down now.
    down: BTreeSet<u64>,
    /// Nodes that will not come back: they left, or lost their disk.
    gone: BTreeSet<u64>,
    /// What is broken, and until when.
    broken: Vec<(Duration, Broken)>,
}

/// Runs one seed to its end; an error says what was breached, or what a healthy cluster
/// failed to do.
pub fn run(seed: u64, trace: Trace) -> Result<End, String> {
    let mut world = World::new(seed, trace);
    world.until("the ledger is founded", |world| world.cluster.is_founded())?;
    world.let_things_go_wrong()?;
    world.heal();
    world.cluster.oracle.set_phase(Phase::Finish);
    world.until("every call is finished", |world| {
        world.cluster.oracle.seen().open.is_empty()
    })?;
    world.until("i12: the node that has diverged has stopped", |world| {
        world.checks.diverged().is_none()
    })?;
    world.until("i8: the members are what was wanted", |world| {
        let (done, wanted) = world.cluster.orders.progress();
        done == wanted
    })?;
    world.until("i10: what was found damaged is repaired", |world| {
        world.members().iter().all(|machine| machine.damaged() == 0)
    })?;
    world.cluster.oracle.set_phase(Phase::Rest);
    while world.sim.elapsed() < RUN_MIN {
        world.step()?;
    }
    let heads = world.settle()?;
    world.cluster.oracle.set_phase(Phase::Export);
    world.until("every member has exported", |world| {
        let seen = world.cluster.oracle.seen();
        let exported = |machine: &&Arc<Machine>| seen.bundles.contains_key(&machine.node);
        world.members().iter().all(exported)
    })?;
    let log = State::new(world.members()[0].disks().ledger.clone());
    let given_up = world.cluster.orders.given_up();
    Ok(End {
        simulated: world.sim.elapsed(),
        cluster: world.cluster.clone(),
        judged: world.checks.judged(),
        transferred: world.cluster.orders.transferred(),
        heads,
        log,
        counts: world.counts,
        gone: world.gone,
        unrecorded: given_up.into_iter().chain(world.wiped).collect(),
    })
}

impl World<'_> {
    fn new(seed: u64, trace: Trace) -> Self {
        let sim = turmoil::Builder::new()
            .rng_seed(seed)
            .enable_random_order()
            .tick_duration(TICK)
            .simulation_duration(Duration::from_secs(3600))
            .max_message_latency(LATENCY_MAX)
            .tcp_capacity(65_536)
            .build();
        let mut world = World {
            sim,
            machines: BTreeMap::new(),
            cluster: Arc::new(Cluster::new(seed, trace)),
            checks: Checks::new(),
            schedule: Schedule::new(seed, Duration::ZERO),
            counts: Counts::new(),
            rotten: 1 + seed % FOUNDERS,
            wiped: None,
            down: BTreeSet::new(),
            gone: BTreeSet::new(),
            broken: Vec::new(),
        };
        for node in 1..=FOUNDERS {
            world.start(node);
        }
        world
    }

    /// Starts a node for the first time.
    fn start(&mut self, node: u64) {
        let machine = Arc::new(Machine::new(node, &self.cluster));
        self.machines.insert(node, machine.clone());
        let cluster = self.cluster.clone();
        self.cluster.events.push(Event::Up { node });
        self.sim.host(cluster::name(node), move || {
            node::run(machine.clone(), cluster.clone())
        });
    }

    /// Machines of nodes that have not left and have their disk.
    fn members(&self) -> Vec<&Arc<Machine>> {
        let there = self
            .machines
            .iter()
            .filter(|(node, _)| !self.gone.contains(node));
        there.map(|(_, machine)| machine).collect()
    }

    fn step(&mut self) -> Result<(), String> {
        self.retire();
        let stepped = self.sim.step();
        stepped.map_err(|error| format!("a node failed: {error}"))?;
        let trace = &self.cluster.trace;
        trace.stepped(self.sim.elapsed());
        for machine in self.machines.values() {
            if let Some(runtime) = &*machine.runtime.lock().unwrap() {
                let polls = runtime.metrics().worker_poll_count(0);
                if machine.polls.swap(polls, Ordering::Relaxed) != polls {
                    trace.note(What::Woken, machine.node, 0, polls);
                }
            }
        }
        self.look_for_the_ended()?;
        let (events, now) = (self.cluster.events.take(), self.sim.elapsed());
        self.checks.step(&events, now)?;
        match self.cluster.oracle.seen().breaches.first() {
            Some(breach) => Err(breach.clone()),
            None => Ok(()),
        }
    }

    /// Nodes that have ended by themselves: with reason, or not.
    fn look_for_the_ended(&mut self) -> Result<(), String> {
        let ended: Vec<_> = self
            .machines
            .values()
            .filter_map(|machine| Some((machine.node, machine.ended.lock().unwrap().take()?)))
            .collect();
        for (node, why) in ended {
            let failing = self
                .broken
                .iter()
                .any(|(_, b)| matches!(b, Broken::FailedSync(n) if *n == node));
            if failing {
                self.machines[&node].mood.set_sync_fails(false);
                self.broken
                    .retain(|(_, b)| !matches!(b, Broken::FailedSync(n) if *n == node));
                // Nobody knows what a disk holds whose sync has failed.
                let until = self.sim.elapsed() + self.schedule.lasts_ms(50, 1500);
                self.crash(node, until, true);
            } else if self.checks.diverged() == Some(node) && why.contains("diverged") {
                self.divergence_found(node);
            } else if self.gone.contains(&node) {
                self.crash(node, Duration::MAX, false);
            } else {
                return Err(format!("node {node} stopped by itself: {why}"));
            }
        }
        Ok(())
    }

    fn until(&mut self, what: &str, reached: impl Fn(&Self) -> bool) -> Result<(), String> {
        let limit = self.sim.elapsed() + PATIENCE;
        while !reached(self) {
            if self.sim.elapsed() > limit {
                let last = self.cluster.oracle.seen().last_failures.clone();
                let refusal = self.cluster.orders.last_refusal();
                return Err(format!(
                    "waited {PATIENCE:?} in vain until {what}; last failures: {last:#?}; the \
                     operator's: {refusal:?}"
                ));
            }
            self.step()?;
        }
        Ok(())
    }

    fn let_things_go_wrong(&mut self) -> Result<(), String> {
        let begin = self.sim.elapsed();
        let (end, last) = (begin + FAULTS, begin + FAULTS_MAX);
        self.schedule.next = begin + Duration::from_secs(2);
        let mut changes = Some(begin + CHANGES_AFTER);
        loop {
            let now = self.sim.elapsed();
            let enough = self.cluster.oracle.seen().writes() >= WRITES_MIN;
            if now >= last || (now >= end && enough) {
                return Ok(());
            }
            self.mend(now);
            if changes.is_some_and(|at| now >= at) {
                changes = None;
                self.want_changes();
            }
            if self.schedule.is_due(now) {
                self.break_one_thing();
            }
            self.step()?;
        }
    }

    /// Breaks something of a kind whose turn it is; what cannot happen now comes later.
    fn break_one_thing(&mut self) {
        let mut later = Vec::new();
        for _ in 0..KINDS_TRIED_MAX {
            let kind = self.schedule.draw();
            if self.break_something(kind) {
                self.count(kind);
                break;
            }
            later.push(kind);
        }
        self.schedule.later(later);
    }

    fn count(&mut self, kind: Kind) {
        *self.counts.entry(kind).or_default() += 1;
        let trace = &self.cluster.trace;
        trace.note(What::Fault, 0, kind as u64, digest(&[]));
    }

    /// One of the ways in which members come and go.
    fn want_changes(&mut self) {
        let rng = self.schedule.rng();
        let (new, old) = (FOUNDERS + 1, 1 + rng.below(FOUNDERS));
        let sync = rng.once_in(2);
        let learn = [Wish::Keys(new), Wish::Learn { node: new, sync }];
        let vote = match rng.once_in(2) {
            true => vec![Wish::Promote(new), Wish::Remove(old)],
            false => vec![Wish::Replace { old, new }],
        };
        self.start(new);
        self.cluster.orders.want([&learn[..], &vote].concat());
    }

    /// A node that has left is stopped for good.
    fn retire(&mut self) {
        for node in self.cluster.orders.left() {
            if self.gone.insert(node) && !self.down.contains(&node) {
                self.crash(node, Duration::MAX, false);
            }
        }
    }

    #[allow(
        clippy::redundant_closure_for_method_calls,
        reason = "a method of Tables<'_> has no name for every lifetime at once"
    )]
    fn heads(&self) -> Result<Vec<LedgerHead>, String> {
        let head = |machine: &&Arc<Machine>| {
            let state = State::new(machine.disks().ledger.clone());
            state.read(|tables| tables.head())
        };
        let heads: Result<_, muniment::store::StoreError> =
            self.members().iter().map(head).collect();
        heads.map_err(|error| error.to_string())
    }

    /// Steps until all members are equal and stay so.
    fn settle(&mut self) -> Result<Vec<LedgerHead>, String> {
        let limit = self.sim.elapsed() + PATIENCE;
        let (mut seen, mut since) = (self.heads()?, self.sim.elapsed());
        while self.sim.elapsed() - since < STILL {
            self.step()?;
            let now = self.heads()?;
            let same = |a: &LedgerHead, b: &LedgerHead| {
                (a.size, a.root, a.state_hash) == (b.size, b.root, b.state_hash)
            };
            let equal = now.iter().all(|head| same(head, &now[0]));
            if !equal || !same(&now[0], &seen[0]) {
                since = self.sim.elapsed();
            }
            if self.sim.elapsed() > limit {
                return Err(format!("the replicas do not become equal: {now:#?}"));
            }
            seen = now;
        }
        Ok(seen)
    }
}
