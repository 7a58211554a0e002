//! One run from a seed: found, make trouble under load, heal, finish, compare.
//!
//! Promises that what the world does (who crashes, which links are cut, when) follows
//! from the seed alone. Trouble never stops the load; healing is complete before anything
//! is judged. Leaves judging to `invariants/`.

use crate::dice::Dice;
use crate::host::{self, Machine, NODES, Town};
use crate::oracle::{Oracle, Phase};
use muniment::ledger::rows::HeadRow;
use muniment::ledger::state::State;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use turmoil::Sim;

/// Simulated time in which things go wrong.
const TROUBLE: Duration = Duration::from_secs(12);
/// In which a healthy cluster must have founded, finished or settled.
const PATIENCE: Duration = Duration::from_secs(60);
/// Replicas that stay equal for this long have nothing left to tell each other.
const STILL: Duration = Duration::from_millis(1500);
const TICK: Duration = Duration::from_millis(1);
/// Above a real LAN's, so that messages overtake each other.
const LATENCY_MAX: Duration = Duration::from_millis(8);

/// What a run came to, for the invariants.
pub struct End {
    pub town: Arc<Town>,
    pub heads: Vec<HeadRow>,
    /// The log as one of the replicas has it.
    pub log: State,
    pub troubles: u64,
    pub simulated: Duration,
}

enum Trouble {
    Down(u64),
    /// No message gets from the first to the second.
    Cut(u64, u64),
}

struct World<'a> {
    sim: Sim<'a>,
    machines: Vec<Arc<Machine>>,
    town: Arc<Town>,
    dice: Dice,
    /// The node whose disk is bad.
    rotten: u64,
    /// What is broken, and until when.
    broken: Vec<(Duration, Trouble)>,
}

/// Runs one seed to its end; an error says what a healthy cluster failed to do.
pub fn run(seed: u64) -> Result<End, String> {
    let mut world = World::new(seed);
    world.until("the ledger is founded", |world| {
        world.town.trust.lock().unwrap().is_some()
    })?;
    let troubles = world.make_trouble()?;
    world.heal();
    world.town.oracle.set_phase(Phase::Finish);
    world.until("every call is finished", |world| {
        world.town.oracle.seen().open.is_empty()
    })?;
    world.until("i10: what was found damaged is repaired", |world| {
        world.machines.iter().all(|machine| machine.damaged() == 0)
    })?;
    world.town.oracle.set_phase(Phase::Rest);
    let heads = world.settle()?;
    world.town.oracle.set_phase(Phase::Export);
    world.until("every node has exported", |world| {
        world.town.oracle.seen().bundles.len() as u64 == NODES
    })?;
    Ok(End {
        simulated: world.sim.elapsed(),
        town: world.town.clone(),
        heads,
        log: State::new(world.machines[0].ledger.clone()),
        troubles,
    })
}

impl World<'_> {
    fn new(seed: u64) -> Self {
        let mut sim = turmoil::Builder::new()
            .rng_seed(seed)
            .enable_random_order()
            .tick_duration(TICK)
            .simulation_duration(Duration::from_secs(3600))
            .max_message_latency(LATENCY_MAX)
            .tcp_capacity(65_536)
            .build();
        let town = Arc::new(Town {
            seed,
            oracle: Oracle::new(),
            trust: Mutex::default(),
        });
        let machines: Vec<_> = (1..=NODES).map(|n| Arc::new(Machine::new(n))).collect();
        for machine in &machines {
            let (machine, town) = (machine.clone(), town.clone());
            sim.host(host::name(machine.node), move || {
                host::run(machine.clone(), town.clone())
            });
        }
        World {
            sim,
            machines,
            town,
            dice: Dice::new(seed),
            rotten: 1 + seed % NODES,
            broken: Vec::new(),
        }
    }

    fn step(&mut self) -> Result<(), String> {
        let stepped = self.sim.step();
        stepped.map_err(|error| format!("a node stopped by itself: {error}"))?;
        match self.town.oracle.seen().breaches.first() {
            Some(breach) => Err(breach.clone()),
            None => Ok(()),
        }
    }

    fn until(&mut self, what: &str, reached: impl Fn(&Self) -> bool) -> Result<(), String> {
        let limit = self.sim.elapsed() + PATIENCE;
        while !reached(self) {
            if self.sim.elapsed() > limit {
                let last = self.town.oracle.seen().last_failures.clone();
                return Err(format!(
                    "waited {PATIENCE:?} in vain until {what}; last failures: {last:#?}"
                ));
            }
            self.step()?;
        }
        Ok(())
    }

    fn make_trouble(&mut self) -> Result<u64, String> {
        let end = self.sim.elapsed() + TROUBLE;
        let (mut next, mut troubles) = (self.sim.elapsed(), 0);
        while self.sim.elapsed() < end {
            self.mend(self.sim.elapsed());
            if self.sim.elapsed() >= next {
                self.break_something();
                troubles += 1;
                next = self.sim.elapsed() + self.roll_ms(200, 1500);
            }
            self.step()?;
        }
        Ok(troubles)
    }

    fn roll_ms(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(from + self.dice.roll(to - from))
    }

    fn break_something(&mut self) {
        let now = self.sim.elapsed();
        let one = 1 + self.dice.roll(NODES);
        let other = 1 + (one + self.dice.roll(NODES - 1)) % NODES;
        let until = now + self.roll_ms(50, 2500);
        match self.dice.roll(8) {
            0..=2 => self.crash(one, until),
            3 => {
                for node in 1..=NODES {
                    let until = now + self.roll_ms(50, 1000);
                    self.crash(node, until);
                }
            }
            4 => self.cut(one, other, until),
            5 => {
                self.cut(one, other, until);
                self.cut(other, one, until);
            }
            // From and to everyone: the leader sooner or later.
            _ => {
                for node in (1..=NODES).filter(|node| *node != one) {
                    self.cut(one, node, until);
                    self.cut(node, one, until);
                }
            }
        }
    }

    fn crash(&mut self, node: u64, until: Duration) {
        let is = |t: &(_, Trouble)| matches!(t.1, Trouble::Down(down) if down == node);
        if self.broken.iter().any(is) {
            return;
        }
        self.sim.crash(host::name(node));
        // The process is killed, or the power is cut.
        if self.dice.roll(2) == 0 {
            self.machines[node as usize - 1].cut_power();
        }
        // One disk alone is bad: another copy stays good.
        if node == self.rotten && self.dice.roll(2) == 0 {
            self.machines[node as usize - 1].rot(&mut self.dice);
        }
        self.broken.push((until, Trouble::Down(node)));
    }

    fn cut(&mut self, from: u64, to: u64, until: Duration) {
        let (source, target) = (host::name(from), host::name(to));
        self.sim.partition_oneway(source, target);
        self.broken.push((until, Trouble::Cut(from, to)));
    }

    /// Mends what was broken until `now`.
    fn mend(&mut self, now: Duration) {
        let broken = std::mem::take(&mut self.broken);
        for (until, trouble) in broken {
            match trouble {
                _ if until > now => self.broken.push((until, trouble)),
                Trouble::Down(node) => self.sim.bounce(host::name(node)),
                Trouble::Cut(from, to) => {
                    self.sim.repair_oneway(host::name(from), host::name(to));
                }
            }
        }
    }

    fn heal(&mut self) {
        self.mend(Duration::MAX);
    }

    fn heads(&self) -> Result<Vec<HeadRow>, String> {
        let head = |machine: &Arc<Machine>| {
            let state = State::new(machine.ledger.clone());
            state.tables()?.head()
        };
        let heads: Result<_, muniment::store::StoreError> =
            self.machines.iter().map(head).collect();
        heads.map_err(|error| error.to_string())
    }

    /// Steps until all replicas are equal and stay so.
    fn settle(&mut self) -> Result<Vec<HeadRow>, String> {
        let limit = self.sim.elapsed() + PATIENCE;
        let (mut seen, mut since) = (self.heads()?, self.sim.elapsed());
        while self.sim.elapsed() - since < STILL {
            self.step()?;
            let now = self.heads()?;
            let same = |a: &HeadRow, b: &HeadRow| {
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
