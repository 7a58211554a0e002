//! One read for all who want the same chunk, and a small cache.
//!
//! What was read first leaves first (FIFO): a chunk that is wanted by many at once is still
//! there for all of them, and nothing needs to be kept about who used what.
//! Promises: while a chunk is being read, whoever else wants it waits for that read; what
//! is cached was checked against the digest that it is asked for by, so that nobody gets
//! what another holder's list of digests called by the same number; a read that fails or is
//! given up leaves nothing behind; memory stays below [`CACHE_BYTES_MAX`].

use super::BodyError;
use crate::domain::ids::BodyId;
use bytes::Bytes;
use muniment_evidence::digest::Digest;
use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::sync::{Arc, Mutex};
use tokio::sync::OnceCell;

/// Cached bytes: some 1,500 typical invoices.
pub const CACHE_BYTES_MAX: usize = 64 << 20;

/// A chunk of a body, by its place and its digest.
pub type ChunkKey = (BodyId, u32, Digest);

type Cell = Arc<OnceCell<Bytes>>;

#[derive(Default)]
struct Cache {
    cells: HashMap<ChunkKey, Cell>,
    /// Filled cells, oldest first.
    order: VecDeque<(ChunkKey, usize)>,
    bytes: usize,
}

/// See the module.
#[derive(Default)]
pub struct ChunkCache {
    cache: Mutex<Cache>,
    reads: std::sync::atomic::AtomicU64,
}

impl ChunkCache {
    pub fn new() -> ChunkCache {
        ChunkCache::default()
    }

    /// Reads that went to disk or to another node.
    pub fn reads(&self) -> u64 {
        self.reads.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// The chunk: cached, being read by another, or read now.
    pub async fn get(
        &self,
        key: ChunkKey,
        read: impl Future<Output = Result<Bytes, BodyError>>,
    ) -> Result<Bytes, BodyError> {
        let waiting = Waiting {
            cell: self.lock().cells.entry(key).or_default().clone(),
            cache: self,
            key,
        };
        let mut filled = false;
        let chunk: Result<&Bytes, BodyError> = waiting
            .cell
            .get_or_try_init(|| async {
                self.reads
                    .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                let chunk = read.await?;
                filled = true;
                Ok(chunk)
            })
            .await;
        let chunk = chunk?;
        if filled {
            self.filled(key, chunk.len());
        }
        Ok(chunk.clone())
    }

    fn filled(&self, key: ChunkKey, bytes: usize) {
        let mut cache = self.lock();
        cache.order.push_back((key, bytes));
        cache.bytes += bytes;
        while cache.bytes > CACHE_BYTES_MAX
            && let Some((old, bytes)) = cache.order.pop_front()
        {
            let left = cache.bytes.checked_sub(bytes);
            cache.bytes = left.expect("what leaves had come");
            cache.cells.remove(&old);
        }
        assert!(
            cache.order.len() <= cache.cells.len(),
            "what is counted is there"
        );
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Cache> {
        self.cache.lock().expect("nobody panics with it")
    }
}

/// Somebody who wants a chunk: the last one who leaves an empty cell takes it away, whether
/// the read failed or its reader has gone.
struct Waiting<'a> {
    cell: Cell,
    cache: &'a ChunkCache,
    key: ChunkKey,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut cache = self.cache.lock();
        let Some(cell) = cache.cells.get(&self.key) else {
            return;
        };
        // The map's and this one: cells are handed out under the lock alone.
        let last = Arc::ptr_eq(cell, &self.cell) && Arc::strong_count(cell) == 2;
        if last && !cell.initialized() {
            cache.cells.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(body: u8, number: u32) -> ChunkKey {
        (BodyId::new([body; 16]), number, Digest([body; 32]))
    }

    /// A client that leaves in the middle of a read costs nothing afterwards, and takes
    /// nothing from another who still waits.
    #[tokio::test]
    async fn a_reader_that_leaves_leaves_no_cell() {
        let chunk_cache = ChunkCache::new();
        for n in 0..100 {
            let endless = std::future::pending();
            let read = chunk_cache.get(key(1, n), endless);
            let given_up = tokio::time::timeout(std::time::Duration::from_millis(1), read);
            assert!(given_up.await.is_err());
        }
        assert!(chunk_cache.lock().cells.is_empty());
        // One of two leaves: the other reads.
        let mut first = Box::pin(chunk_cache.get(key(1, 7), std::future::pending()));
        assert!(futures::poll!(&mut first).is_pending());
        let read = async { Ok(Bytes::from_static(b"chunk")) };
        let mut second = Box::pin(chunk_cache.get(key(1, 7), read));
        assert!(futures::poll!(&mut second).is_pending());
        drop(first);
        assert_eq!(second.await.unwrap(), "chunk");
        assert_eq!(chunk_cache.lock().cells.len(), 1);
    }

    /// What another holder calls chunk 0 of a body is not what this node's own list does.
    #[tokio::test]
    async fn a_chunk_of_another_digest_is_another_chunk() {
        let chunk_cache = ChunkCache::new();
        let of = |digest| (BodyId::new([1; 16]), 0, Digest([digest; 32]));
        for (digest, bytes) in [(1, "good"), (2, "bad")] {
            let read = async { Ok(Bytes::from_static(bytes.as_bytes())) };
            assert_eq!(chunk_cache.get(of(digest), read).await.unwrap(), bytes);
        }
        assert_eq!(chunk_cache.reads(), 2);
    }

    #[tokio::test]
    async fn a_thousand_who_want_one_chunk_read_it_once() {
        let chunk_cache = Arc::new(ChunkCache::new());
        let wants = (0..1000).map(|_| {
            let chunk_cache = chunk_cache.clone();
            tokio::spawn(async move {
                let read = async {
                    tokio::task::yield_now().await;
                    Ok(Bytes::from_static(b"chunk"))
                };
                chunk_cache.get(key(1, 0), read).await.unwrap()
            })
        });
        for want in futures::future::join_all(wants).await {
            assert_eq!(want.unwrap(), "chunk");
        }
        assert_eq!(chunk_cache.reads(), 1);
    }

    #[tokio::test]
    async fn a_failed_read_is_tried_again_and_memory_is_bounded() {
        let chunk_cache = ChunkCache::new();
        let chunk_key = key(1, 0);
        let failing = async { Err(BodyError::Unavailable("away".into())) };
        assert!(chunk_cache.get(chunk_key, failing).await.is_err());
        let working = async { Ok(Bytes::from_static(b"back")) };
        assert_eq!(chunk_cache.get(chunk_key, working).await.unwrap(), "back");
        for n in 0..100 {
            let chunk = async { Ok(Bytes::from(vec![0; 1 << 20])) };
            chunk_cache.get(key(2, n), chunk).await.unwrap();
        }
        assert!(chunk_cache.lock().bytes <= CACHE_BYTES_MAX);
        assert!(chunk_cache.lock().cells.len() <= 64);
    }
}
