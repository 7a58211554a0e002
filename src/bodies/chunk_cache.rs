//! One read for all who want the same chunk, and a small cache.
//!
//! What was read first leaves first (FIFO): a chunk that is wanted by many at once is still
//! there for all of them, and nothing needs to be kept about who used what.
//! Promises: while a chunk is being read, whoever else wants it waits for that read; what
//! is cached was checked against its digest; memory stays below [`CACHE_BYTES_MAX`].

use super::BodyError;
use crate::domain::ids::BodyId;
use bytes::Bytes;
use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::sync::{Arc, Mutex};
use tokio::sync::OnceCell;

/// Cached bytes: some 1,500 typical invoices.
pub const CACHE_BYTES_MAX: usize = 64 << 20;

/// A chunk of a body.
pub type ChunkKey = (BodyId, u32);

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
        let cell = self.lock().cells.entry(key).or_default().clone();
        let mut filled = false;
        let chunk = cell
            .get_or_try_init(|| async {
                self.reads
                    .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                let chunk = read.await?;
                filled = true;
                Ok(chunk)
            })
            .await;
        match chunk {
            Ok(chunk) => {
                if filled {
                    self.filled(key, chunk.len());
                }
                Ok(chunk.clone())
            }
            Err(error) => {
                // Nobody keeps an empty cell for a chunk that could not be read.
                let mut cache = self.lock();
                if cache
                    .cells
                    .get(&key)
                    .is_some_and(|cell| !cell.initialized())
                {
                    cache.cells.remove(&key);
                }
                Err(error)
            }
        }
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

#[cfg(test)]
mod tests {
    use super::*;

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
                chunk_cache
                    .get((BodyId::new([1; 16]), 0), read)
                    .await
                    .unwrap()
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
        let key = (BodyId::new([1; 16]), 0);
        let failing = async { Err(BodyError::Unavailable("away".into())) };
        assert!(chunk_cache.get(key, failing).await.is_err());
        let working = async { Ok(Bytes::from_static(b"back")) };
        assert_eq!(chunk_cache.get(key, working).await.unwrap(), "back");
        for n in 0..100 {
            let chunk = async { Ok(Bytes::from(vec![0; 1 << 20])) };
            chunk_cache
                .get((BodyId::new([2; 16]), n), chunk)
                .await
                .unwrap();
        }
        assert!(chunk_cache.lock().bytes <= CACHE_BYTES_MAX);
        assert!(chunk_cache.lock().cells.len() <= 64);
    }
}
