//! openraft's own storage suite, on our store over both engines; and what it leaves out.

use super::log::RaftLog;
use super::machine::Machine;
use super::types::TypeConfig;
use crate::domain::ids::NodeId;
use crate::keyring::guard::SignedHead;
use crate::stop::Stop;
use crate::store::Blocking;
use crate::store::engine::Engine;
use crate::store::flush::Flusher;
use crate::store::log::LogStore;
use crate::store::memory::MemoryEngine;
use crate::store::watermark::WatermarkFile;
use openraft::StorageError;
use openraft::testing::log::{StoreBuilder, Suite};
use openraft::type_config::TypeConfigExt as _;
use std::sync::Arc;

async fn open(
    engine: Arc<dyn Engine>,
    blocking: Blocking,
    watermark: WatermarkFile,
    snapshots: Option<std::path::PathBuf>,
) -> (RaftLog, Machine) {
    let stop = Stop::new();
    let silent = Arc::new(|_| {});
    let flusher = Flusher::start("test", engine.clone(), blocking, stop.clone(), silent);
    let store = LogStore::start(engine.clone(), blocking, flusher, watermark, stop);
    let (machine, _) = Machine::open(engine, blocking, snapshots, SignedHead::default())
        .await
        .unwrap();
    (RaftLog::new(store), machine)
}

struct InMemory;

impl StoreBuilder<TypeConfig, RaftLog, Machine, ()> for InMemory {
    async fn build(&self) -> Result<((), RaftLog, Machine), StorageError<TypeConfig>> {
        let engine = Arc::new(MemoryEngine::new());
        let (log, machine) = open(engine, Blocking::Inline, WatermarkFile::in_memory(), None).await;
        Ok(((), log, machine))
    }
}

#[test]
fn the_librarys_suite_passes_in_memory() {
    TypeConfig::run(async {
        Suite::test_all(InMemory).await.unwrap();
    });
}

#[cfg(feature = "rocksdb")]
struct OnDisk;

#[cfg(feature = "rocksdb")]
impl StoreBuilder<TypeConfig, RaftLog, Machine, tempfile::TempDir> for OnDisk {
    async fn build(
        &self,
    ) -> Result<(tempfile::TempDir, RaftLog, Machine), StorageError<TypeConfig>> {
        use crate::store::rocks::{Purpose, RocksEngine};
        let dir = tempfile::tempdir().unwrap();
        let engine = RocksEngine::open(&dir.path().join("ledger"), Purpose::Ledger).unwrap();
        let watermark = WatermarkFile::open(&dir.path().join("watermark")).unwrap();
        let snapshots = Some(dir.path().join("snapshots"));
        let (log, machine) = open(Arc::new(engine), Blocking::Pool, watermark, snapshots).await;
        Ok((dir, log, machine))
    }
}

#[cfg(feature = "rocksdb")]
#[test]
fn the_librarys_suite_passes_on_rocksdb() {
    TypeConfig::run(async {
        Suite::test_all(OnDisk).await.unwrap();
    });
}

mod durability {
    use super::*;
    use crate::raft::types::{Entry, EntryPayload, LogId, Payload, Vote};
    use bytes::Bytes;
    use openraft::RaftLogReader as _;
    use openraft::storage::{IOFlushed, RaftLogStorage as _};

    fn entry(index: u64) -> Entry {
        Entry {
            log_id: LogId::new_term_index(1, index),
            payload: EntryPayload::Normal(Payload(Bytes::from(vec![7; 100]))),
        }
    }

    async fn append(log: &mut RaftLog, entries: Vec<Entry>) {
        let (sender, receiver) = TypeConfig::oneshot();
        log.append(entries, IOFlushed::signal(sender))
            .await
            .unwrap();
        receiver.await.unwrap().unwrap();
    }

    /// What a callback or a vote promised is there after a power cut; nothing else need
    /// be, but the log has no hole.
    #[test]
    fn what_was_promised_survives_a_power_cut() {
        TypeConfig::run(async {
            let engine = Arc::new(MemoryEngine::new());
            let watermark = WatermarkFile::in_memory();
            let (mut log, _) = open(engine.clone(), Blocking::Inline, watermark, None).await;
            append(&mut log, (0..5).map(entry).collect()).await;
            log.save_vote(&Vote::new(3, NodeId::new(2))).await.unwrap();
            log.append([entry(5)], IOFlushed::noop()).await.unwrap();
            engine.crash();
            let watermark = WatermarkFile::in_memory();
            let (mut log, _) = open(engine, Blocking::Inline, watermark, None).await;
            assert_eq!(
                log.read_vote().await.unwrap(),
                Some(Vote::new(3, NodeId::new(2)))
            );
            let kept = log.try_get_log_entries(0..).await.unwrap();
            assert!(kept.len() >= 5);
            let last = log.get_log_state().await.unwrap().last_log_id.unwrap();
            assert_eq!(last.index() + 1, kept.len() as u64);
        });
    }

    /// The watermark remembers what the database has silently lost.
    #[cfg(feature = "rocksdb")]
    #[test]
    fn the_floor_trails_the_log_and_keeps_the_vote() {
        use crate::domain::ids::{LogIndex, Term};
        TypeConfig::run(async {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("watermark");
            let engine = Arc::new(MemoryEngine::new());
            let watermark = WatermarkFile::open(&path).unwrap();
            let (mut log, _) = open(engine, Blocking::Pool, watermark, None).await;
            log.save_vote(&Vote::new_committed(4, NodeId::new(1)))
                .await
                .unwrap();
            append(&mut log, (0..9).map(entry).collect()).await;
            let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(5);
            loop {
                let watermark = WatermarkFile::open(&path).unwrap().get();
                let vote = watermark.vote.unwrap();
                assert_eq!(
                    (vote.term, vote.node, vote.committed),
                    (Term::new(4), NodeId::new(1), true)
                );
                if watermark
                    .last_log
                    .is_some_and(|last| last.index == LogIndex::new(8))
                {
                    break;
                }
                assert!(
                    tokio::time::Instant::now() < deadline,
                    "the watermark does not follow"
                );
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
            // An engine that lost everything: the vote is known all the same.
            let empty = Arc::new(MemoryEngine::new());
            let watermark = WatermarkFile::open(&path).unwrap();
            let (mut log, _) = open(empty, Blocking::Pool, watermark, None).await;
            let vote = log.read_vote().await.unwrap();
            assert_eq!(vote, Some(Vote::new_committed(4, NodeId::new(1))));
        });
    }
}
