//! One run from a seed: found, let things go wrong under load, heal, finish, compare.
//!
//! Promises that everything in it follows from the seed alone, and that every invariant is
//! checked after every step. Faults never stop the load; healing is complete before the
//! end is judged. Leaves judging to `invariants/`, and what goes wrong when to
//! [`crate::faults`].

use crate::cluster::{self, Cluster, FOUNDERS, Machine, NODES};
use crate::facts::Event;
use crate::faults::{Counts, Kind, Schedule};
use crate::invariants::Checks;
use crate::node;
use crate::operator::Wish;
use crate::oracle::Phase;
use crate::trace::{Trace, What, digest};
use muniment::ledger::rows::LedgerHead;
use muniment::ledger::state::State;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use turmoil::Sim;

/// Simulated time in which things go wrong.
const FAULTS: Duration = Duration::from_secs(56);
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
    pub simulated: Duration,
    /// Times that an invariant had something to judge.
    pub judged: BTreeMap<&'static str, u64>,
    pub transferred: u64,
}

enum Broken {
    Down(u64),
    /// No message gets from the first to the second.
    Cut(u64, u64),
    SlowLink(u64, u64),
    SlowDisk(u64),
    FullDisk(u64),
    /// Syncs fail until the node has noticed.
    FailedSync(u64),
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
    Ok(End {
        simulated: world.sim.elapsed(),
        cluster: world.cluster.clone(),
        judged: world.checks.judged(),
        transferred: world.cluster.orders.transferred(),
        heads,
        log,
        counts: world.counts,
        gone: world.gone,
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
        let end = begin + FAULTS;
        self.schedule.next = begin + Duration::from_secs(2);
        let mut changes = Some(begin + CHANGES_AFTER);
        while self.sim.elapsed() < end {
            let now = self.sim.elapsed();
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
        Ok(())
    }

    /// Breaks something of a kind whose turn it is; what cannot happen now comes later.
    fn break_one_thing(&mut self) {
        let mut later = Vec::new();
        for _ in 0..KINDS_TRIED_MAX {
            let kind = self.schedule.draw();
            if self.break_something(kind) {
                *self.counts.entry(kind).or_default() += 1;
                let trace = &self.cluster.trace;
                trace.note(What::Fault, 0, kind as u64, digest(&[]));
                break;
            }
            if kind != Kind::Wipe || self.wiped.is_none() {
                later.push(kind);
            }
        }
        self.schedule.later(later);
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

    /// Nodes that may be hit, in order.
    fn targets(&self) -> Vec<u64> {
        let there = self
            .machines
            .keys()
            .filter(|node| !self.gone.contains(node));
        there.copied().collect()
    }

    fn lasts(&mut self, from_ms: u64, to_ms: u64) -> Duration {
        self.sim.elapsed() + self.schedule.lasts_ms(from_ms, to_ms)
    }

    /// False where this kind cannot happen now.
    fn break_something(&mut self, kind: Kind) -> bool {
        let all = self.targets();
        let one = *self.schedule.rng().pick(&all);
        let others: Vec<u64> = all.iter().copied().filter(|node| *node != one).collect();
        let other = *self.schedule.rng().pick(&others);
        match kind {
            Kind::Kill | Kind::PowerCut => {
                let until = self.lasts(50, 2500);
                self.crash(one, until, kind == Kind::PowerCut)
            }
            Kind::Blackout => {
                let mut hit = false;
                for node in all {
                    let until = self.lasts(50, 1000);
                    hit |= self.crash(node, until, true);
                }
                hit
            }
            Kind::Rot => self.rot(),
            Kind::CutOneWay => self.cut(&[one], &[other], 3000),
            Kind::Deaf => self.cut(&[one], &others, 2500),
            Kind::CutBothWays => {
                self.cut(&[one], &[other], 3000) && self.cut(&[other], &[one], 3000)
            }
            Kind::Isolated => self.cut(&[one], &others, 2500) && self.cut(&others, &[one], 2500),
            Kind::Partition => {
                let some = 1 + self.schedule.rng().below(all.len() as u64 - 1) as usize;
                let (left, right) = all.split_at(some);
                self.cut(left, right, 2500) && self.cut(right, left, 2500)
            }
            Kind::SlowLink => {
                let latency = self.schedule.lasts_ms(20, 150);
                let (a, b) = (cluster::name(one), cluster::name(other));
                self.sim.set_link_latency(a, b, latency);
                let until = self.lasts(500, 5000);
                self.broken.push((until, Broken::SlowLink(one, other)));
                true
            }
            Kind::ClockForward | Kind::ClockBack => {
                let by = self.schedule.rng().between(1_000, 86_400_000) as i64;
                let by = if kind == Kind::ClockBack { -by } else { by };
                self.machines[&one].wall.jump_ms(by);
                true
            }
            Kind::SlowDisk => {
                let slow_ms = self.schedule.rng().between(20, 120);
                self.machines[&one].mood.set_slow_ms(slow_ms);
                let until = self.lasts(500, 3000);
                self.broken.push((until, Broken::SlowDisk(one)));
                true
            }
            Kind::FullDisk => {
                self.full(one, true);
                let until = self.lasts(1000, 5000);
                self.broken.push((until, Broken::FullDisk(one)));
                true
            }
            Kind::FailedSync => self.fail_sync(one),
            Kind::Transfer => {
                self.cluster.orders.transfer(one);
                true
            }
            Kind::Wipe => self.wipe(),
        }
    }

    fn full(&mut self, node: u64, full: bool) {
        self.machines[&node].mood.set_full(full);
        self.cluster.events.push(Event::Full { node, full });
    }

    fn fail_sync(&mut self, node: u64) -> bool {
        if self.down.contains(&node) {
            return false;
        }
        self.machines[&node].mood.set_sync_fails(true);
        self.broken.push((Duration::MAX, Broken::FailedSync(node)));
        true
    }

    /// The process of a node ends; with the power its unsynced writes go.
    fn crash(&mut self, node: u64, until: Duration, power: bool) -> bool {
        if !self.down.insert(node) {
            return false;
        }
        self.silence(node);
        self.sim.crash(cluster::name(node));
        self.restore_links(node);
        self.cluster.orders.forget(node);
        let kept = power.then(|| self.machines[&node].cut_power(self.schedule.rng()));
        self.cluster.events.push(Event::Down { node, kept });
        self.broken.push((until, Broken::Down(node)));
        true
    }

    /// What a node says while its tasks are dropped reaches nobody: in which order they are
    /// dropped depends on numbers that tokio counts through the whole process.
    fn silence(&self, node: u64) {
        for other in self.machines.keys().filter(|other| **other != node) {
            self.sim
                .partition(cluster::name(node), cluster::name(*other));
        }
    }

    /// The links of a node are as faults have left them.
    fn restore_links(&self, node: u64) {
        for other in self.machines.keys().filter(|other| **other != node) {
            self.sim.repair(cluster::name(node), cluster::name(*other));
        }
        for (_, what) in &self.broken {
            if let Broken::Cut(from, to) = what
                && (*from == node || *to == node)
            {
                let names = (cluster::name(*from), cluster::name(*to));
                self.sim.partition_oneway(names.0, names.1);
            }
        }
    }

    /// One disk alone is bad: another copy stays good.
    fn rot(&mut self) -> bool {
        let node = self.rotten;
        if self.gone.contains(&node) {
            return false;
        }
        let until = self.lasts(50, 1500);
        let crashed = self.crash(node, until, false);
        crashed && self.machines[&node].rot(self.schedule.rng())
    }

    /// One node loses its disk, comes back with an empty one under its old id, is told, and
    /// is replaced by another.
    fn wipe(&mut self) -> bool {
        let (done, wanted) = self.cluster.orders.progress();
        // Members are changed one after the other, and no two are missed at a time.
        let settled = wanted > 0 && done == wanted;
        let all = self.targets();
        let able: Vec<u64> = all
            .into_iter()
            .filter(|node| *node != self.rotten)
            .collect();
        if self.wiped.is_some() || !settled {
            return false;
        }
        let node = *self.schedule.rng().pick(&able);
        let until = self.lasts(500, 3000);
        if !self.crash(node, until, true) {
            return false;
        }
        self.machines[&node].wipe();
        self.wiped = Some(node);
        self.gone.insert(node);
        self.start(NODES);
        let wishes = [
            Wish::Keys(NODES),
            Wish::Learn {
                node: NODES,
                sync: true,
            },
            Wish::Replace {
                old: node,
                new: NODES,
            },
        ];
        self.cluster.orders.want(wishes.to_vec());
        true
    }

    fn cut(&mut self, from: &[u64], to: &[u64], most_ms: u64) -> bool {
        let until = self.lasts(50, most_ms);
        for source in from {
            for target in to {
                let names = (cluster::name(*source), cluster::name(*target));
                self.sim.partition_oneway(names.0, names.1);
                self.broken.push((until, Broken::Cut(*source, *target)));
            }
        }
        true
    }

    /// Mends what was broken until `now`.
    fn mend(&mut self, now: Duration) {
        let broken = std::mem::take(&mut self.broken);
        for (until, what) in broken {
            match what {
                Broken::Down(node) if self.gone.contains(&node) && self.wiped != Some(node) => {}
                _ if until > now => self.broken.push((until, what)),
                Broken::Down(node) => {
                    self.down.remove(&node);
                    self.cluster.events.push(Event::Up { node });
                    self.sim.bounce(cluster::name(node));
                }
                Broken::Cut(from, to) => {
                    let names = (cluster::name(from), cluster::name(to));
                    self.sim.repair_oneway(names.0, names.1);
                }
                Broken::SlowLink(a, b) => {
                    let names = || (cluster::name(a), cluster::name(b));
                    self.sim.set_link_latency(names().0, names().1, TICK);
                    self.sim
                        .set_link_max_message_latency(names().0, names().1, LATENCY_MAX);
                }
                Broken::SlowDisk(node) => self.machines[&node].mood.set_slow_ms(0),
                Broken::FullDisk(node) => self.full(node, false),
                Broken::FailedSync(node) => self.machines[&node].mood.set_sync_fails(false),
            }
        }
    }

    fn heal(&mut self) {
        // A node whose sync fails may not have noticed yet.
        self.broken
            .retain(|(_, what)| !matches!(what, Broken::Down(node) if self.gone.contains(node)));
        self.mend(Duration::MAX);
    }

    fn heads(&self) -> Result<Vec<LedgerHead>, String> {
        let head = |machine: &&Arc<Machine>| {
            let state = State::new(machine.disks().ledger.clone());
            state.tables()?.head()
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
