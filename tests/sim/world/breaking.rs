//! Breaking things and mending them: nodes, disks, links and clocks.
//!
//! Promises that what a fault does to the disk or the process of a node is told as an
//! event, in the order in which it happens, so that the mirror follows; that one node's
//! disk at a time is beyond mending, and one clock at a time wrong. Leaves choosing what breaks to [`crate::faults`].

use super::{LATENCY_MAX, TICK, World};
use crate::cluster::{self, NODES};
use crate::facts::Event;
use crate::faults::Kind;
use crate::operator::Wish;
use std::time::Duration;

/// In one run of so many the disk is lost without warning; in the others its node has gone
/// astray before, and stops.
const DISK_LOST_AT_ONCE_EVERY: u64 = 4;

pub(super) enum Broken {
    Down(u64),
    /// No message gets from the first to the second.
    Cut(u64, u64),
    SlowLink(u64, u64),
    SlowDisk(u64),
    FullDisk(u64),
    /// The clock is off by so many ms.
    Clock(u64, i64),
    /// Syncs fail until the node has noticed.
    FailedSync(u64),
}

impl World<'_> {
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
    pub(super) fn break_something(&mut self, kind: Kind) -> bool {
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
                // One at a time: a majority of the clocks is right, which is what the bound on
                // an entry's time rests on.
                let wrong = |(_, what): &(Duration, Broken)| matches!(what, Broken::Clock(..));
                if self.broken.iter().any(wrong) {
                    return false;
                }
                let by = self.schedule.rng().between(1_000, 86_400_000) as i64;
                let by = if kind == Kind::ClockBack { -by } else { by };
                self.machines[&one].wall.jump_ms(by);
                let until = self.lasts(500, 6000);
                self.broken.push((until, Broken::Clock(one, by)));
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
            Kind::Diverge => self.diverge(),
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
    pub(super) fn crash(&mut self, node: u64, until: Duration, power: bool) -> bool {
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

    /// A node that may be missed for good, and replaced by one of its zone: no zone may
    /// hold a majority. Members are changed one after the other, and no two are missed at
    /// a time.
    fn replaceable(&mut self) -> Option<u64> {
        let (done, wanted) = self.cluster.orders.progress();
        let settled = wanted > 0 && done == wanted;
        let of_its_zone = |node: &u64| cluster::zone(*node) == cluster::zone(NODES);
        let able: Vec<u64> = self
            .targets()
            .into_iter()
            .filter(|node| *node != self.rotten && of_its_zone(node))
            .collect();
        let free = self.wiped.is_none() && self.checks.diverged().is_none() && settled;
        (free && !able.is_empty()).then(|| *self.schedule.rng().pick(&able))
    }

    /// Whether this run's node loses its disk only after its state went astray.
    fn diverges_first(&self) -> bool {
        !self.cluster.seed.is_multiple_of(DISK_LOST_AT_ONCE_EVERY)
    }

    fn wipe(&mut self) -> bool {
        if self.diverges_first() {
            return false;
        }
        let Some(node) = self.replaceable() else {
            return false;
        };
        let until = self.lasts(500, 3000);
        if !self.crash(node, until, true) {
            return false;
        }
        self.lose_disk(node);
        true
    }

    /// One node, which is down, loses its disk, comes back with an empty one under its old
    /// id, is told, and is replaced by another.
    fn lose_disk(&mut self, node: u64) {
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
    }

    /// The state of a node is another than the log says, and it does not know.
    fn diverge(&mut self) -> bool {
        if !self.diverges_first() {
            return false;
        }
        let Some(node) = self.replaceable() else {
            return false;
        };
        // Whoever is far behind may be sent this very state before it is found out, if this node
        // leads: that one would stop too, and its operator would have two disks to replace.
        let far_behind = |other: &u64| self.checks.is_far_behind(*other);
        if self.targets().iter().any(far_behind) {
            return false;
        }
        // Not for long: away for longer it would be sent the state of another.
        let until = self.lasts(50, 300);
        if !self.crash(node, until, false) {
            return false;
        }
        self.machines[&node].diverge();
        true
    }

    /// The node whose state went astray has stopped: its disk is replaced.
    pub(super) fn divergence_found(&mut self, node: u64) {
        let until = self.lasts(500, 3000);
        self.crash(node, until, true);
        self.lose_disk(node);
        self.count(Kind::Wipe);
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
    pub(super) fn mend(&mut self, now: Duration) {
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
                Broken::Clock(node, by) => self.machines[&node].wall.jump_ms(-by),
                Broken::SlowDisk(node) => self.machines[&node].mood.set_slow_ms(0),
                Broken::FullDisk(node) => self.full(node, false),
                Broken::FailedSync(node) => self.machines[&node].mood.set_sync_fails(false),
            }
        }
    }

    pub(super) fn heal(&mut self) {
        // A node whose sync fails may not have noticed yet.
        self.broken
            .retain(|(_, what)| !matches!(what, Broken::Down(node) if self.gone.contains(node)));
        self.mend(Duration::MAX);
    }
}
