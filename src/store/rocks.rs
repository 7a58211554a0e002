//! The engine on RocksDB: the only file that names it.
//!
//! Promises the contract of [`super::engine`]: one write-ahead log per database, written
//! unsynced and synced by `sync`, so that one fsync serves all that waits. Leaves the
//! choice of what goes into which database to `ledger db` and `bodies db`.

use super::StoreError;
use super::engine::{Batch, Engine, Op, Pair, View, Visit};
use rocksdb::checkpoint::Checkpoint;
use rocksdb::{
    BlockBasedOptions, BottommostLevelCompaction, CompactOptions, DB, DBCompressionType, Direction,
    ErrorKind, IteratorMode, Options, ReadOptions, Snapshot, WriteBatch,
};
use std::path::Path;
use std::sync::Arc;

/// Memory for one database's write buffer: large enough that a burst of a minute at the
/// rates we measured flushes in the background, small enough for two databases per node.
const WRITE_BUFFER_BYTES: usize = 64 << 20;
/// What RocksDB allocates for a log when it begins one, while the log before it still lies
/// there: a write buffer and a tenth (`DBImpl::GetWalPreallocateBlockSize`).
const NEXT_LOG_BYTES: u64 = (WRITE_BUFFER_BYTES + WRITE_BUFFER_BYTES / 10) as u64;
/// Write buffers that may wait for their flush before writes slow down.
const WRITE_BUFFERS_MAX: i32 = 4;
/// Open table files per database; the rest of the descriptors belong to connections.
const OPEN_FILES_MAX: i32 = crate::objective::budget::DATABASE_FILES_MAX as i32;
/// Values from this size on go to blob files: below it, a chunk is the tail of a body.
const BLOB_BYTES_MIN: u64 = 4 << 10;
/// One blob file; it is dropped when all in it is deleted or has moved ([`Engine::reclaim`]).
const BLOB_FILE_BYTES: u64 = 256 << 20;
/// A table or blob file being written is handed to the disk in pieces of this size, so that
/// a log's fsync never waits behind a whole write buffer at once.
const WRITE_BACK_BYTES: u64 = 1 << 20;

/// Which of the two databases of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Raft log, vote, state, evidence: small values, read back often.
    Ledger,
    /// Bodies: large values, written once, never compacted.
    Bodies,
}

/// See the module.
pub struct RocksEngine(DB, Purpose);

impl RocksEngine {
    pub fn open(path: &Path, purpose: Purpose) -> Result<RocksEngine, StoreError> {
        let mut options = options(purpose);
        if purpose == Purpose::Bodies {
            // A write buffer of bodies goes to the disk past the page cache, where it would
            // only be in the way of the logs' fsyncs: issues of 120 KB become a third more
            // frequent by it, and their p99 falls by half.
            options.set_use_direct_io_for_flush_and_compaction(takes_direct_io(path));
        }
        let db = DB::open(&options, path).map_err(StoreError::engine)?;
        Ok(RocksEngine(db, purpose))
    }

    /// A number that the engine keeps; 0 where it does not.
    fn property(&self, name: &str) -> u64 {
        self.0.property_int_value(name).ok().flatten().unwrap_or(0)
    }

    /// Why a read failed. A checksum that fails under a body, and a sector that the disk does
    /// not give back, is that body's damage, of which others hold copies; everything else, and
    /// any failure of the ledger, is final.
    fn failed(&self, error: rocksdb::Error) -> StoreError {
        let of_one_value = matches!(error.kind(), ErrorKind::Corruption | ErrorKind::IOError);
        match self.1 {
            Purpose::Bodies if of_one_value => StoreError::unreadable(error),
            _ => StoreError::engine(error),
        }
    }
}

/// Whether files below `path` can be written past the page cache: not every file system
/// takes that, and RocksDB refuses to open where it is asked in vain.
#[cfg(target_os = "linux")]
fn takes_direct_io(path: &Path) -> bool {
    use rustix::fs::{Mode, OFlags};
    let probe = path.join("direct-io.probe");
    let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::DIRECT;
    let opened = std::fs::create_dir_all(path)
        .and_then(|()| Ok(rustix::fs::open(&probe, flags, Mode::RUSR | Mode::WUSR)?));
    // Left behind it is an empty file that nobody reads; the next start removes it.
    let removed = std::fs::remove_file(&probe);
    opened.is_ok() && removed.is_ok()
}

#[cfg(not(target_os = "linux"))]
fn takes_direct_io(_path: &Path) -> bool {
    false
}

fn options(purpose: Purpose) -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.set_write_buffer_size(WRITE_BUFFER_BYTES);
    options.set_max_write_buffer_number(WRITE_BUFFERS_MAX);
    options.set_max_open_files(OPEN_FILES_MAX);
    options.set_keep_log_file_num(4);
    options.set_bytes_per_sync(WRITE_BACK_BYTES);
    options.set_max_background_jobs(2);
    // A write error that the engine would like to hide must be seen: stop, do not repair.
    options.set_paranoid_checks(true);
    match purpose {
        Purpose::Ledger => {
            options.set_compression_type(DBCompressionType::Lz4);
            let mut table = BlockBasedOptions::default();
            table.set_bloom_filter(10.0, false);
            options.set_block_based_table_factory(&table);
        }
        Purpose::Bodies => {
            // PDFs are compressed inside; compressing again costs and gains nothing.
            options.set_compression_type(DBCompressionType::None);
            options.set_enable_blob_files(true);
            options.set_min_blob_size(BLOB_BYTES_MIN);
            options.set_blob_file_size(BLOB_FILE_BYTES);
            options.set_blob_compression_type(DBCompressionType::None);
            options.set_enable_blob_gc(false);
        }
    }
    options
}

impl View for RocksEngine {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.0.get(key).map_err(|error| self.failed(error))
    }

    fn scan(&self, start: &[u8], end: &[u8], limit: usize) -> Result<Vec<Pair>, StoreError> {
        scan(&self.0, start, end, limit, Direction::Forward).map_err(|error| self.failed(error))
    }

    fn scan_back(&self, start: &[u8], end: &[u8], limit: usize) -> Result<Vec<Pair>, StoreError> {
        scan(&self.0, start, end, limit, Direction::Reverse).map_err(|error| self.failed(error))
    }
}

impl Engine for RocksEngine {
    fn write(&self, batch: Batch) -> Result<(), StoreError> {
        let mut writes = WriteBatch::default();
        for op in batch.ops {
            match op {
                Op::Put(key, value) => writes.put(key, value),
                Op::Delete(key) => writes.delete(key),
                Op::DeleteRange(start, end) => writes.delete_range(start, end),
            }
        }
        self.0.write(writes).map_err(StoreError::engine)
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.0.flush_wal(true).map_err(StoreError::engine)
    }

    fn at_one_moment(&self, visit: &mut Visit<'_>) -> Result<(), StoreError> {
        let snapshot = self.0.snapshot();
        visit(&Moment {
            engine: self,
            snapshot,
        })
    }

    fn checkpoint(&self, dir: &Path) -> Result<Arc<dyn View>, StoreError> {
        Checkpoint::new(&self.0)
            .and_then(|checkpoint| checkpoint.create_checkpoint(dir))
            .map_err(StoreError::engine)?;
        let mut options = Options::default();
        options.set_max_open_files(OPEN_FILES_MAX);
        let db = DB::open_for_read_only(&options, dir, false).map_err(StoreError::engine)?;
        Ok(Arc::new(Frozen(db)))
    }

    fn reclaim(&self, start: &[u8], end: &[u8]) {
        let mut how = CompactOptions::default();
        // What is written meanwhile is compacted beside it, so that no write waits for this.
        how.set_exclusive_manual_compaction(false);
        if self.1 == Purpose::Ledger {
            return self.0.compact_range_opt(Some(start), Some(end), &how);
        }
        // Values lie in files of their own, which go when nothing in them is named any more: what
        // is still named has to move. Only now: every compaction would move it, otherwise.
        let moving = |on| {
            self.0.set_options(&[
                ("enable_blob_garbage_collection", on),
                ("blob_garbage_collection_age_cutoff", "1.0"),
            ])
        };
        if let Err(error) = moving("true") {
            tracing::warn!(%error, "the room of deleted bodies cannot be given back");
            return;
        }
        how.set_bottommost_level_compaction(BottommostLevelCompaction::ForceOptimized);
        self.0.compact_range_opt(Some(start), Some(end), &how);
        if let Err(error) = moving("false") {
            tracing::warn!(%error, "bodies are moved by every compaction until the next start");
        }
    }

    fn garbage_bytes(&self) -> u64 {
        self.property("rocksdb.live-blob-file-garbage-size")
    }

    fn pending_bytes(&self) -> u64 {
        let unflushed = self.property("rocksdb.cur-size-all-mem-tables");
        // While a buffer waits for its flush, the log of the one after it is there already,
        // and the next one is not due before that is full.
        let waits = self.property("rocksdb.num-immutable-mem-table") > 0;
        let filled = self.property("rocksdb.cur-size-active-mem-table");
        match waits && filled < WRITE_BUFFER_BYTES as u64 / 2 {
            true => unflushed,
            false => unflushed + NEXT_LOG_BYTES,
        }
    }

    fn size_bytes(&self) -> u64 {
        [
            "rocksdb.total-sst-files-size",
            "rocksdb.total-blob-file-size",
            "rocksdb.size-all-mem-tables",
        ]
        .into_iter()
        .map(|name| self.property(name))
        .sum()
    }
}

/// The database at one sequence number.
struct Moment<'a> {
    engine: &'a RocksEngine,
    snapshot: Snapshot<'a>,
}

impl Moment<'_> {
    fn scan(
        &self,
        start: &[u8],
        end: &[u8],
        limit: usize,
        direction: Direction,
    ) -> Result<Vec<Pair>, StoreError> {
        let mut options = ReadOptions::default();
        options.set_snapshot(&self.snapshot);
        scan_with(options, &self.engine.0, start, end, limit, direction)
            .map_err(|error| self.engine.failed(error))
    }
}

impl View for Moment<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let found = self.snapshot.get(key);
        found.map_err(|error| self.engine.failed(error))
    }

    fn scan(&self, start: &[u8], end: &[u8], limit: usize) -> Result<Vec<Pair>, StoreError> {
        self.scan(start, end, limit, Direction::Forward)
    }

    fn scan_back(&self, start: &[u8], end: &[u8], limit: usize) -> Result<Vec<Pair>, StoreError> {
        self.scan(start, end, limit, Direction::Reverse)
    }
}

/// A checkpoint directory, read only.
struct Frozen(DB);

impl View for Frozen {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.0.get(key).map_err(StoreError::engine)
    }

    fn scan(&self, start: &[u8], end: &[u8], limit: usize) -> Result<Vec<Pair>, StoreError> {
        scan(&self.0, start, end, limit, Direction::Forward).map_err(StoreError::engine)
    }

    fn scan_back(&self, start: &[u8], end: &[u8], limit: usize) -> Result<Vec<Pair>, StoreError> {
        scan(&self.0, start, end, limit, Direction::Reverse).map_err(StoreError::engine)
    }
}

fn scan(
    db: &DB,
    start: &[u8],
    end: &[u8],
    limit: usize,
    direction: Direction,
) -> Result<Vec<Pair>, rocksdb::Error> {
    scan_with(ReadOptions::default(), db, start, end, limit, direction)
}

fn scan_with(
    mut bounds: ReadOptions,
    db: &DB,
    start: &[u8],
    end: &[u8],
    limit: usize,
    direction: Direction,
) -> Result<Vec<Pair>, rocksdb::Error> {
    if start >= end || limit == 0 {
        return Ok(Vec::new());
    }
    bounds.set_iterate_lower_bound(start);
    bounds.set_iterate_upper_bound(end);
    let mode = match direction {
        Direction::Forward => IteratorMode::Start,
        Direction::Reverse => IteratorMode::End,
    };
    db.iterator_opt(mode, bounds)
        .take(limit)
        .map(|pair| {
            let (key, value) = pair?;
            Ok((key.into_vec(), value.into_vec()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One file of values has both what stays and what goes.
    #[test]
    fn the_room_of_deleted_bodies_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        let bodies = RocksEngine::open(&dir.path().join("db"), Purpose::Bodies).unwrap();
        let key = |i: u32| i.to_be_bytes();
        for i in 0..96u32 {
            let mut batch = Batch::new();
            batch.put(key(i), vec![i as u8; 1 << 20]);
            bodies.write(batch).unwrap();
        }
        for i in (0..96).filter(|i| i % 8 != 0) {
            let mut batch = Batch::new();
            batch.delete_range(key(i), key(i + 1));
            bodies.write(batch).unwrap();
        }
        bodies.sync().unwrap();
        bodies.reclaim(&key(0), &key(u32::MAX));
        let left = bodies.property("rocksdb.total-blob-file-size");
        assert!(left < 16 << 20, "{left} bytes for 12 MiB");
        assert_eq!(bodies.garbage_bytes(), 0);
        for i in 0..96 {
            let kept = bodies.get(&key(i)).unwrap();
            assert_eq!(kept, (i % 8 == 0).then(|| vec![i as u8; 1 << 20]));
        }
    }

    #[test]
    fn both_engines_answer_alike() {
        let dir = tempfile::tempdir().unwrap();
        let rocks = RocksEngine::open(&dir.path().join("db"), Purpose::Ledger).unwrap();
        let memory = super::super::memory::MemoryEngine::new();
        let engines: [&dyn Engine; 2] = [&rocks, &memory];
        for engine in engines {
            let mut batch = Batch::new();
            for i in 0..20u8 {
                batch.put([b'k', i], [i]);
            }
            batch.delete([b'k', 3]);
            batch.delete_range([b'k', 10], [b'k', 15]);
            engine.write(batch).unwrap();
            engine.sync().unwrap();
        }
        for limit in [0, 1, 5, 100] {
            for (start, end) in [(0, 20), (2, 12), (15, 15), (12, 2)] {
                let (start, end) = ([b'k', start], [b'k', end]);
                assert_eq!(
                    rocks.scan(&start, &end, limit).unwrap(),
                    memory.scan(&start, &end, limit).unwrap()
                );
                assert_eq!(
                    rocks.scan_back(&start, &end, limit).unwrap(),
                    memory.scan_back(&start, &end, limit).unwrap()
                );
            }
        }
        // A view of one moment: neither what is put nor what is deleted later shows in it.
        for engine in engines {
            let seen = engine.at_one_moment(&mut |view| {
                let before = view.scan(b"k", b"l", 100)?;
                let mut batch = Batch::new();
                batch.put([b'k', 100], [100]);
                batch.delete_range([b'k', 15], [b'k', 18]);
                engine.write(batch)?;
                assert_eq!(view.scan(b"k", b"l", 100)?, before);
                assert_eq!(view.scan_back(b"k", b"l", 1)?, before[before.len() - 1..]);
                assert_eq!(view.get(&[b'k', 16])?, Some(vec![16]));
                assert_eq!(view.get(&[b'k', 100])?, None);
                Ok(())
            });
            seen.unwrap();
            assert_eq!(engine.get(&[b'k', 16]).unwrap(), None);
        }
        let frozen = rocks.checkpoint(&dir.path().join("cp")).unwrap();
        let mut batch = Batch::new();
        batch.delete([b'k', 1]);
        rocks.write(batch).unwrap();
        assert_eq!(frozen.get(&[b'k', 1]).unwrap(), Some(vec![1]));
    }
}
