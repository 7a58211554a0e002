//! I5 and I6 as scenarios: uploads, ticks, records, collections and crashes in any order,
//! on memory that forgets what was not synced.

use super::disk_budget::DiskBudget;
use super::inbound::{InboundBodies, InboundGuard};
use super::orphans::{Collector, Fate, fate};
use crate::domain::ids::{BodyId, UploadEpoch};
use crate::ledger::policy;
use crate::ledger::rows::{LedgerHead, NamedRow};
use crate::ledger::state::State;
use crate::ledger::tables;
use crate::ledger::txn::Txn;
use crate::stop::Stop;
use crate::store::Blocking;
use crate::store::bodies::{BodyManifest, BodyStore};
use crate::store::damage::Chunk;
use crate::store::engine::{Engine as _, View as _};
use crate::store::flush::Flusher;
use crate::store::keys::Generation;
use crate::store::memory::MemoryEngine;
use bytes::Bytes;
use muniment_evidence::digest::Digest;
use std::collections::HashMap;
use std::sync::Arc;

const NODES: usize = 2;
const RUNS: u64 = 60;
const STEPS: usize = 300;

/// What is committed, in the order of the log.
#[derive(Clone, Copy, Debug)]
enum Entry {
    Tick,
    /// A record that names a body by holdings of an upload epoch.
    Name(BodyId, UploadEpoch),
}

/// The log, and what it comes to: the same on every node.
#[derive(Default)]
struct Log {
    entries: Vec<Entry>,
    /// The epoch after the last entry.
    epoch: UploadEpoch,
    /// Bodies that a record names with effect.
    named: Vec<BodyId>,
}

impl Log {
    fn commit(&mut self, entry: Entry) {
        self.entries.push(entry);
        match entry {
            Entry::Tick => self.epoch = self.epoch.next(),
            Entry::Name(body, epoch) => {
                if policy::may_be_named(epoch, self.epoch) {
                    self.named.push(body);
                }
            }
        }
    }
}

/// A body that arrives at a node.
struct Coming {
    epoch: UploadEpoch,
    chunks: Vec<(u32, Digest)>,
    _guard: InboundGuard,
}

struct Node {
    bodies: Arc<MemoryEngine>,
    ledger: Arc<MemoryEngine>,
    collector: Collector,
    coming: HashMap<BodyId, Coming>,
    /// Bodies that it has signed for.
    holds: Vec<BodyId>,
}

impl Node {
    fn start(bodies: Arc<MemoryEngine>, ledger: Arc<MemoryEngine>) -> Node {
        let flusher = |name, engine: &Arc<MemoryEngine>| {
            let unobserved = Arc::new(|_| {});
            let stop = Stop::new();
            Flusher::start(name, engine.clone(), Blocking::Inline, stop, unobserved)
        };
        let store = BodyStore::new(bodies.clone(), Blocking::Inline, flusher("b", &bodies));
        Node {
            collector: Collector {
                store,
                inbound: InboundBodies::default(),
                orphans: Default::default(),
                disk: DiskBudget::endless(),
                blocking: Blocking::Inline,
                state: State::new(ledger.clone()),
                ledger: flusher("l", &ledger),
            },
            bodies,
            ledger,
            coming: HashMap::new(),
            holds: Vec::new(),
        }
    }

    fn head(&self) -> LedgerHead {
        self.collector.state.read(|tables| tables.head()).unwrap()
    }

    fn epoch(&self) -> UploadEpoch {
        self.head().upload_epoch
    }

    /// Applies the next entry, if there is one.
    fn apply(&self, log: &Log) {
        let mut head = self.head();
        let Some(entry) = log.entries.get(head.size.get() as usize) else {
            return;
        };
        let mut txn = Txn::begin(self.ledger.as_ref(), Generation(0));
        match *entry {
            Entry::Tick => head.upload_epoch = head.upload_epoch.next(),
            Entry::Name(body, epoch) if policy::may_be_named(epoch, head.upload_epoch) => {
                let row = NamedRow {
                    length: 0,
                    sha256: Digest::ZERO,
                    index: head.size.next_index(),
                    lost: None,
                };
                txn.put(tables::named(&body), &row);
            }
            Entry::Name(..) => {}
        }
        head.size = head.size.grown_by(1);
        txn.put(tables::head(), &head);
        self.ledger.write(txn.into_batch()).unwrap();
    }

    /// A body of epoch 0 begins to arrive.
    fn begin(&mut self, body: BodyId) {
        let coming = Coming {
            epoch: UploadEpoch::new(0),
            chunks: Vec::new(),
            _guard: self.collector.inbound.enter(body).unwrap(),
        };
        self.coming.insert(body, coming);
    }

    async fn chunk(&mut self, body: BodyId) {
        let Some(coming) = self.coming.get_mut(&body) else {
            return;
        };
        let number = coming.chunks.len() as u32;
        let bytes = Bytes::from(vec![number as u8; 8]);
        coming.chunks.push((8, Digest::of(&[&bytes])));
        let store = &self.collector.store;
        match number {
            0 => store.put_first_chunk(body, bytes, coming.epoch).await,
            _ => store.put_chunk(body, number, bytes).await,
        }
        .unwrap();
    }

    /// As `serve_put` does at its end.
    async fn seal(&mut self, body: BodyId) {
        let Some(coming) = self.coming.remove(&body) else {
            return;
        };
        let store = self.collector.store.clone();
        if !policy::may_be_named(coming.epoch, self.epoch().max(coming.epoch)) {
            store.delete(body).await.unwrap();
            return;
        }
        let manifest = BodyManifest {
            length: 8 * coming.chunks.len() as u64,
            sha256: Digest::of(&[body.as_bytes()]),
            epoch: coming.epoch,
            chunks: coming.chunks.clone(),
        };
        store.seal(body, manifest, None).await.unwrap();
        self.holds.push(body);
    }

    async fn sweep(&self) {
        self.collector.sweep(&mut HashMap::new()).await.unwrap();
    }

    /// A power cut, and a start.
    fn crash(self) -> Node {
        self.bodies.crash();
        self.ledger.crash();
        let started = Node::start(self.bodies, self.ledger);
        Node {
            holds: self.holds,
            ..started
        }
    }

    /// Whether all of a body is here.
    async fn has(&self, body: BodyId) -> bool {
        let store = &self.collector.store;
        let Some(manifest) = store.manifest(body).await.unwrap() else {
            return false;
        };
        for (number, (_, digest)) in manifest.chunks.iter().enumerate() {
            let chunk = store.chunk(body, number as u32, *digest).await.unwrap();
            if !matches!(chunk, Chunk::Good(_)) {
                return false;
            }
        }
        true
    }

    /// Bodies of which anything at all is stored.
    fn traces(&self) -> Vec<BodyId> {
        let all = self.bodies.scan(&[0], &[0xff], usize::MAX).unwrap();
        let mut found: Vec<BodyId> = all
            .iter()
            .map(|(k, _)| BodyId::new(k[1..17].try_into().unwrap()))
            .collect();
        found.dedup();
        found
    }
}

/// Numbers that follow from a seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % most as u64) as usize
    }
}

fn body(number: usize) -> BodyId {
    let mut id = [0; 16];
    id[8..].copy_from_slice(&(number as u64).to_be_bytes());
    BodyId::new(id)
}

fn nodes() -> Vec<Node> {
    let node = |_| Node::start(Arc::default(), Arc::default());
    (0..NODES).map(node).collect()
}

/// Whatever happens in whatever order, a body that a record names stays where it was
/// signed for, and every other one goes once two epochs have passed.
#[tokio::test]
async fn i5_orphans_are_collected_by_log_order_and_nothing_else_is() {
    for seed in 1..=RUNS {
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let (mut log, mut nodes) = (Log::default(), nodes());
        // Body by number: its epoch, as whoever took it from the client saw it.
        let mut uploads: Vec<u64> = Vec::new();
        for _ in 0..STEPS {
            let at = dice.below(NODES);
            // Mostly the newest, sometimes one that is long forgotten.
            let newest = uploads.len().max(1);
            let number = newest - 1 - dice.below(newest.min(8));
            let id = body(number);
            match dice.below(20) {
                0..3 => {
                    let (number, epoch) = (uploads.len(), nodes[at].epoch());
                    uploads.push(epoch.get());
                    for node in &mut nodes {
                        let present = node.epoch().max(epoch);
                        if policy::may_be_named(
                            UploadEpoch::new(epoch.get()),
                            UploadEpoch::new(present.get()),
                        ) && dice.below(4) > 0
                        {
                            let guard = node.collector.inbound.enter(body(number));
                            let coming = Coming {
                                epoch,
                                chunks: Vec::new(),
                                _guard: guard.unwrap(),
                            };
                            node.coming.insert(body(number), coming);
                        }
                    }
                }
                3..7 => nodes[at].chunk(id).await,
                7..10 => nodes[at].seal(id).await,
                10..12 if nodes.iter().any(|node| node.holds.contains(&id)) => {
                    log.commit(Entry::Name(id, UploadEpoch::new(uploads[number])));
                }
                12 => log.commit(Entry::Tick),
                13..16 => nodes[at].apply(&log),
                16..19 => nodes[at].sweep().await,
                19 if dice.below(3) == 0 => {
                    let node = nodes.swap_remove(at);
                    nodes.push(node.crash());
                }
                _ => {}
            }
            for node in &nodes {
                for id in node.holds.iter().filter(|id| log.named.contains(id)) {
                    assert!(node.has(*id).await, "seed {seed}: {id:?} is lost");
                }
            }
        }
        for mut node in nodes {
            // Uploads that never end are cut off.
            node = node.crash();
            for _ in 0..policy_epochs() {
                log.commit(Entry::Tick);
            }
            for _ in 0..=log.entries.len() {
                node.apply(&log);
            }
            node.sweep().await;
            for id in node.traces() {
                assert!(log.named.contains(&id), "seed {seed}: {id:?} is left");
            }
            assert!(
                node.collector
                    .store
                    .stamps(None, 1)
                    .await
                    .unwrap()
                    .is_empty()
            );
        }
    }
}

/// Epochs until a body of the present one may be collected.
fn policy_epochs() -> u64 {
    (0..)
        .find(|epoch| policy::is_past(UploadEpoch::new(0), UploadEpoch::new(*epoch)))
        .unwrap()
}

#[test]
fn i5_the_epoch_in_the_applied_state_decides_and_a_name_always_saves() {
    for stamp in 0..5 {
        for present in 0..8 {
            assert_eq!(
                fate(UploadEpoch::new(stamp), true, UploadEpoch::new(present)),
                Fate::Named
            );
            let past = present >= stamp + 2;
            let expected = if past { Fate::Collect } else { Fate::Wait };
            assert_eq!(
                fate(UploadEpoch::new(stamp), false, UploadEpoch::new(present)),
                expected
            );
        }
    }
}

/// Were the bytes gone before the state that lets them go is durable, a crash could bring
/// back a state in which a record may still name them.
#[tokio::test]
async fn i6_the_state_that_lets_a_body_go_is_durable_before_its_bytes_go() {
    let mut node = nodes().swap_remove(0);
    let mut log = Log::default();
    let id = body(1);
    node.begin(id);
    node.chunk(id).await;
    node.seal(id).await;
    for _ in 0..2 {
        log.commit(Entry::Tick);
        node.sweep().await;
        assert!(node.has(id).await);
        node.apply(&log);
    }
    // Applied, but not synced: a crash now would bring back epoch 0.
    node.sweep().await;
    assert!(!node.has(id).await);
    node.ledger.crash();
    assert!(policy::is_past(
        UploadEpoch::new(0),
        UploadEpoch::new(node.epoch().get())
    ));
}

/// A node signs for a body when [`BodyStore::seal`] returns: a power cut after it costs
/// nothing, and one before it leaves nothing that counts as held.
#[tokio::test]
async fn i1_what_a_node_signs_for_outlives_a_power_cut() {
    let mut node = nodes().swap_remove(0);
    let (signed, torn) = (body(1), body(2));
    for id in [signed, torn] {
        node.begin(id);
        node.chunk(id).await;
        node.chunk(id).await;
    }
    node.seal(signed).await;
    node.chunk(torn).await;
    let node = node.crash();
    assert!(node.has(signed).await);
    assert!(!node.has(torn).await);
}

/// What is arriving is left alone, however old its stamp.
#[tokio::test]
async fn i5_a_body_is_not_collected_while_it_arrives() {
    let mut node = nodes().swap_remove(0);
    let mut log = Log::default();
    let id = body(1);
    node.begin(id);
    node.chunk(id).await;
    for _ in 0..3 {
        log.commit(Entry::Tick);
        node.apply(&log);
    }
    node.sweep().await;
    assert_eq!(node.traces(), [id]);
    // Its seal is refused, and takes everything with it.
    node.seal(id).await;
    assert!(node.traces().is_empty());
}
