//! A snapshot that comes in force: readers beside it, and what is refused.

use super::machine::{Machine, SnapshotData, encode_applied};
use super::snapshot_judge::Depth;
use super::types::{LogId, SnapshotMeta, StoredMembership};
use crate::domain::ids::{NodeId, RecordIndex, TreeSize};
use crate::keyring::guard::{SignGuard, SignedHead};
use crate::ledger::policy::FEATURE_LEVEL;
use crate::ledger::rows::Row as _;
use crate::ledger::state::State;
use crate::ledger::tables;
use crate::ledger::tests::{TestLedger, remark};
use crate::store::engine::{Batch, Engine as _, View as _};
use crate::store::keys::Generation;
use crate::store::memory::MemoryEngine;
use crate::store::snapshot::{self, Snapshot};
use crate::store::{Blocking, StoreError};
use futures::FutureExt as _;
use muniment_evidence::digest::Digest;
use muniment_evidence::statement::Lane;
use openraft::storage::RaftStateMachine as _;
use std::sync::Arc;

/// Above one tile, so that a tree of two levels is looked at.
const MANY: u64 = 600;

/// A ledger that recorded these, with the row in which consensus keeps how far it is.
fn ledger(remarks: impl IntoIterator<Item = u64>) -> TestLedger {
    let (mut ledger, _, mut lane) = TestLedger::booted();
    for bytes in remarks {
        let submission = lane.write(&ledger, &remark(bytes));
        ledger.apply(0, vec![submission]);
    }
    let mut batch = Batch::new();
    let row = encode_applied(Some(log_id(&ledger)), &StoredMembership::default());
    batch.put(Generation(0).key(&tables::applied()), row);
    ledger.engine.write(batch).unwrap();
    ledger.engine.sync().unwrap();
    ledger
}

fn log_id(ledger: &TestLedger) -> LogId {
    LogId::new_term_index(1, 2 * ledger.head().size.get())
}

fn meta(ledger: &TestLedger) -> SnapshotMeta {
    SnapshotMeta {
        last_log_id: Some(log_id(ledger)),
        last_membership: StoredMembership::default(),
    }
}

fn taken(ledger: &TestLedger) -> SnapshotData {
    let taken = Snapshot::take(ledger.engine.as_ref(), Generation(0), None);
    SnapshotData::Taken(taken.unwrap())
}

async fn machine(engine: Arc<MemoryEngine>, signed: SignedHead) -> Machine {
    let opened = Machine::open(engine, Blocking::Inline, None, signed).await;
    opened.unwrap().0
}

/// Installs the one on a node that has the other; why it is refused.
async fn refusal(from: &TestLedger, meta: &SnapshotMeta, onto: Arc<MemoryEngine>) -> String {
    let before = snapshot::current(onto.as_ref()).unwrap();
    let mut machine = machine(onto.clone(), SignedHead::default()).await;
    let refused = machine.install_snapshot(meta, taken(from)).await;
    assert_eq!(snapshot::current(onto.as_ref()).unwrap(), before);
    refused.unwrap_err().to_string()
}

/// Whoever looked something up while a snapshot took the place of the state was told that it
/// was not there.
#[tokio::test]
async fn a_visit_sees_one_state_while_a_snapshot_comes_in_force() {
    let (old, new) = (ledger(0..20), ledger(0..MANY));
    let mut machine = machine(old.engine.clone(), SignedHead::default()).await;
    let state = State::new(old.engine.clone());
    let meta = meta(&new);
    let visited = state.read(|tables| {
        let head = tables.head()?;
        let installed = machine.install_snapshot(&meta, taken(&new));
        installed
            .now_or_never()
            .expect("memory never waits")
            .unwrap();
        assert_eq!(snapshot::current(old.engine.as_ref())?, Generation(1));
        assert_eq!(tables.head()?, head);
        let first = RecordIndex::FIRST;
        let records = tables.record_range(first, head.size.next_index(), 1_000)?;
        assert_eq!(records.len() as u64, head.size.get());
        for index in (0..head.size.get()).map(RecordIndex::new) {
            tables.document(index)?;
        }
        assert_eq!(tables.root_at(head.size)?, head.root);
        let lane = Lane::Strict(RecordIndex::new(1));
        assert!(tables.lane(NodeId::new(1), lane)?.is_some());
        Ok(())
    });
    visited.unwrap();
    // The old one goes at once; the visit had its own moment.
    let (start, end) = Generation(0).range();
    assert!(old.engine.scan(&start, &end, 1).unwrap().is_empty());
    let head = state.read(|tables| tables.head()).unwrap();
    assert_eq!(head, *new.head());
}

#[tokio::test]
async fn a_snapshot_that_is_not_what_it_was_said_to_be_is_refused() {
    let (own, new) = (ledger(0..3), ledger(0..9));
    let mut lies = meta(&new);
    lies.last_log_id = Some(LogId::new_term_index(1, 1_000));
    let why = refusal(&new, &lies, own.engine.clone()).await;
    assert!(why.contains("was said to be of"), "{why}");
    let mut lies = meta(&new);
    lies.last_membership = StoredMembership::new(lies.last_log_id, Default::default());
    let why = refusal(&new, &lies, own.engine.clone()).await;
    assert!(why.contains("was said to be of"), "{why}");
}

/// A leader that does not know how far a node is sends its newest snapshot: that is no misdeed, and
/// the node has to hear what comes after it.
#[tokio::test]
async fn a_snapshot_of_what_is_applied_is_left_to_raft() {
    let own = ledger(0..20);
    let opened = machine(own.engine.clone(), SignedHead::default()).await;
    for (until, applied) in [(5, true), (20, true), (25, false)] {
        let judged = opened.judge().has_applied(&meta(&ledger(0..until)));
        assert_eq!(judged, applied, "of {until} records");
    }
}

/// One bad leader must not get a node to forget what it has applied.
#[tokio::test]
async fn a_snapshot_with_a_rewritten_history_is_refused() {
    let own = ledger(0..20);
    let rewritten = ledger((0..19).chain(100..200));
    let why = refusal(&rewritten, &meta(&rewritten), own.engine.clone()).await;
    assert!(why.contains("applied or signed"), "{why}");
    let shorter = ledger(0..5);
    let why = refusal(&shorter, &meta(&shorter), own.engine.clone()).await;
    assert!(why.contains("applied or signed"), "{why}");
}

/// This node goes on while a snapshot waits to come in force: it is asked again then.
#[tokio::test]
async fn a_snapshot_that_was_looked_through_must_continue_what_was_applied_since() {
    let own = ledger(0..20);
    let machine = machine(own.engine.clone(), SignedHead::default()).await;
    for (remarks, continues) in [
        ((0..30).collect::<Vec<_>>(), true),
        ((0..19).chain(100..200).collect(), false),
        ((0..5).collect(), false),
    ] {
        let came = ledger(remarks);
        let snapshot = Snapshot::take(came.engine.as_ref(), Generation(0), None).unwrap();
        let permit = machine.installs().begin().unwrap();
        let received = snapshot.copy_into(own.engine.clone(), permit).unwrap();
        let (judge, generation) = (machine.judge(), received.generation());
        let judged = judge
            .judge(generation, &meta(&came), Depth::SinceThen)
            .await;
        assert_eq!(judged.is_ok(), continues);
    }
}

/// Nor what it has signed, when its database is gone and the guard is all that knows.
#[tokio::test]
async fn a_snapshot_that_contradicts_the_sign_guard_is_refused() {
    let (signed, honest) = (ledger(0..20), ledger(0..MANY));
    let mut guard = SignGuard::in_memory("ledger/0");
    let head = signed.head();
    guard.advance(head.size, head.root).unwrap();
    let empty = Arc::new(MemoryEngine::new());
    let mut restored = machine(empty.clone(), guard.signed()).await;
    let rewritten = ledger((0..19).chain(100..200));
    let told = meta(&rewritten);
    let refused = restored.install_snapshot(&told, taken(&rewritten));
    let why = refused.await.unwrap_err().to_string();
    assert!(why.contains("applied or signed"), "{why}");
    assert_eq!(snapshot::current(empty.as_ref()).unwrap(), Generation(0));
    let told = meta(&honest);
    let installed = restored.install_snapshot(&told, taken(&honest));
    installed.await.unwrap();
    // The number of the one that was refused is not used again.
    assert_eq!(snapshot::current(empty.as_ref()).unwrap(), Generation(2));
}

/// A tree whose rows are not those of its records would prove what never was.
#[tokio::test]
async fn a_snapshot_whose_tree_is_not_of_its_records_is_refused() {
    let size = TreeSize::new(MANY + 2);
    let tampered: [(Vec<u8>, Option<Vec<u8>>); 4] = [
        (
            tables::tree_row(0, 7).within(Generation(0)),
            Some(vec![1; 32]),
        ),
        (
            tables::tree_row(1, 1).within(Generation(0)),
            Some(vec![1; 32]),
        ),
        (
            tables::record(RecordIndex::new(300)).within(Generation(0)),
            None,
        ),
        (
            tables::record(size.next_index()).within(Generation(0)),
            Some(vec![1; 9]),
        ),
    ];
    for (key, value) in tampered {
        let (own, new) = (ledger(0..3), ledger(0..MANY));
        let mut batch = Batch::new();
        match value {
            Some(value) => batch.put(key.clone(), value),
            None => batch.delete(key.clone()),
        }
        new.engine.write(batch).unwrap();
        let why = refusal(&new, &meta(&new), own.engine.clone()).await;
        assert!(why.contains("damaged"), "{key:?}: {why}");
    }
}

/// Gives the ledger a level that no software has yet.
fn raise_beyond(ledger: &TestLedger) {
    let mut head = ledger.head().clone();
    head.feature_level = FEATURE_LEVEL + 1;
    let mut batch = Batch::new();
    batch.put(tables::head().within(Generation(0)), head.encode());
    ledger.engine.write(batch).unwrap();
    ledger.engine.sync().unwrap();
}

/// A record of a kind that this software does not know would be another record here.
#[tokio::test]
async fn software_does_not_go_on_with_a_ledger_that_has_left_it_behind() {
    let raised = ledger(0..3);
    raise_beyond(&raised);
    let before = raised.engine.scan(b"", &[0xff], 10_000).unwrap();
    let engine = raised.engine.clone();
    let opened = Machine::open(engine, Blocking::Inline, None, SignedHead::default()).await;
    let Err(StoreError::Newer(why)) = opened.map(drop) else {
        panic!("it was opened, or is said to be damaged");
    };
    let why = why.to_string();
    let level = format!("is at feature level {}", FEATURE_LEVEL + 1);
    assert!(
        why.contains(&level) && why.contains("start a version that knows"),
        "{why}"
    );
    let after = raised.engine.scan(b"", &[0xff], 10_000).unwrap();
    assert_eq!(before, after);
    // Nor does it take such a one from another node.
    let own = ledger(0..1);
    let why = refusal(&raised, &meta(&raised), own.engine.clone()).await;
    assert!(why.contains(&level), "{why}");
}

/// A head that is gone from a founded ledger is damage, never an empty ledger.
#[tokio::test]
async fn a_founded_ledger_without_its_head_is_damaged() {
    let ledger = ledger(0..3);
    let mut batch = Batch::new();
    batch.delete(tables::head().within(Generation(0)));
    ledger.engine.write(batch).unwrap();
    let read = State::new(ledger.engine.clone()).read(|tables| tables.head());
    assert!(matches!(read, Err(StoreError::Corrupt(_))));
    let empty = State::new(Arc::new(MemoryEngine::new())).read(|tables| tables.head());
    assert_eq!(empty.unwrap().root, Digest::ZERO);
}
