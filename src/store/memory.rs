//! An engine in memory, which can lose what was not synced: for the simulator and tests.
//!
//! Promises the contract of [`super::engine`]; [`MemoryEngine::crash`] returns it to the
//! state of the last sync, as a power cut would. Leaves nothing on disk.

use super::StoreError;
use super::engine::{Batch, Engine, Op, Pair, View, Visit};
use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

type Map = BTreeMap<Vec<u8>, Vec<u8>>;

#[derive(Default)]
struct State {
    /// Shared with the views lent; a write while one is lent copies it.
    now: Arc<Map>,
    /// Writes since the last sync; the durable state is `now` without them.
    unsynced: Vec<Batch>,
    durable: Map,
    /// Ranges whose room was asked back.
    reclaimed: Vec<(Vec<u8>, Vec<u8>)>,
}

/// See the module.
#[derive(Default)]
pub struct MemoryEngine(Mutex<State>);

impl MemoryEngine {
    pub fn new() -> MemoryEngine {
        MemoryEngine::default()
    }

    /// Loses every write after the last sync.
    pub fn crash(&self) {
        self.crash_keeping(0);
    }

    /// Loses what was written after the last sync, but for the oldest `writes` of it: a power
    /// cut leaves some prefix of the writes in their order.
    pub fn crash_keeping(&self, writes: usize) {
        let mut state = self.lock();
        let unsynced = std::mem::take(&mut state.unsynced);
        for batch in unsynced.iter().take(writes) {
            apply(&mut state.durable, batch);
        }
        state.now = Arc::new(state.durable.clone());
    }

    /// Writes that a power cut may lose.
    pub fn unsynced(&self) -> usize {
        self.lock().unsynced.len()
    }

    /// What a power cut leaves of a key, whatever it loses.
    pub fn durable(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.lock().durable.get(key).cloned()
    }

    /// Ranges whose room was asked back.
    pub fn reclaimed(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        self.lock().reclaimed.clone()
    }

    fn frozen(&self) -> Frozen {
        Frozen(self.lock().now.clone())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic while the lock is held leaves a half-applied map: stop, never serve it.
        self.0.lock().expect("no holder of this lock panics")
    }
}

impl View for MemoryEngine {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.lock().now.get(key).cloned())
    }

    fn scan(&self, start: &[u8], end: &[u8], limit: usize) -> Result<Vec<Pair>, StoreError> {
        Ok(scan(&self.lock().now, start, end).take(limit).collect())
    }

    fn scan_back(&self, start: &[u8], end: &[u8], limit: usize) -> Result<Vec<Pair>, StoreError> {
        Ok(scan(&self.lock().now, start, end)
            .rev()
            .take(limit)
            .collect())
    }
}

impl Engine for MemoryEngine {
    fn write(&self, batch: Batch) -> Result<(), StoreError> {
        let mut state = self.lock();
        apply(Arc::make_mut(&mut state.now), &batch);
        state.unsynced.push(batch);
        Ok(())
    }

    fn sync(&self) -> Result<(), StoreError> {
        let mut state = self.lock();
        for batch in std::mem::take(&mut state.unsynced) {
            apply(&mut state.durable, &batch);
        }
        Ok(())
    }

    fn at_one_moment(&self, visit: &mut Visit<'_>) -> Result<(), StoreError> {
        visit(&self.frozen())
    }

    fn checkpoint(&self, _dir: &Path) -> Result<Arc<dyn View>, StoreError> {
        Ok(Arc::new(self.frozen()))
    }

    fn reclaim(&self, start: &[u8], end: &[u8]) {
        let range = (start.to_vec(), end.to_vec());
        self.lock().reclaimed.push(range);
    }

    fn size_bytes(&self) -> u64 {
        let state = self.lock();
        state
            .now
            .iter()
            .map(|(k, v)| (k.len() + v.len()) as u64)
            .sum()
    }
}

struct Frozen(Arc<Map>);

impl View for Frozen {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.0.get(key).cloned())
    }

    fn scan(&self, start: &[u8], end: &[u8], limit: usize) -> Result<Vec<Pair>, StoreError> {
        Ok(scan(&self.0, start, end).take(limit).collect())
    }

    fn scan_back(&self, start: &[u8], end: &[u8], limit: usize) -> Result<Vec<Pair>, StoreError> {
        Ok(scan(&self.0, start, end).rev().take(limit).collect())
    }
}

fn scan(map: &Map, start: &[u8], end: &[u8]) -> impl DoubleEndedIterator<Item = Pair> {
    let range = (Bound::Included(start), Bound::Excluded(end));
    // A map refuses a range that ends before it begins.
    let found = (start < end).then(|| map.range::<[u8], _>(range));
    let found = found.into_iter().flatten();
    found.map(|(key, value)| (key.clone(), value.clone()))
}

fn apply(map: &mut Map, batch: &Batch) {
    for op in &batch.ops {
        match op {
            Op::Put(key, value) => {
                map.insert(key.clone(), value.clone());
            }
            Op::Delete(key) => {
                map.remove(key);
            }
            Op::DeleteRange(start, end) => {
                let range = (Bound::Included(start.clone()), Bound::Excluded(end.clone()));
                let keys: Vec<_> = map.range(range).map(|(k, _)| k.clone()).collect();
                for key in keys {
                    map.remove(&key);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every read of the replicated state rests on it.
    #[test]
    fn a_view_of_one_moment_sees_nothing_that_comes_later() {
        let engine = MemoryEngine::new();
        let put = |key: &[u8]| {
            let mut batch = Batch::new();
            batch.put(key, *b"v");
            engine.write(batch).unwrap();
        };
        put(b"a");
        let mut visits = 0;
        let seen = engine.at_one_moment(&mut |view| {
            put(b"b");
            let mut batch = Batch::new();
            batch.delete_range(*b"a", *b"b");
            engine.write(batch)?;
            assert_eq!(view.scan(b"a", b"z", 9)?.len(), 1);
            assert!(view.get(b"a")?.is_some());
            visits += 1;
            Ok(())
        });
        seen.unwrap();
        assert_eq!(visits, 1);
        assert!(engine.get(b"a").unwrap().is_none());
        assert!(engine.get(b"b").unwrap().is_some());
    }

    #[test]
    fn a_crash_loses_what_was_not_synced_and_nothing_else() {
        let engine = MemoryEngine::new();
        let put = |key: &[u8]| {
            let mut batch = Batch::new();
            batch.put(key, *b"v");
            engine.write(batch).unwrap();
        };
        put(b"a");
        engine.sync().unwrap();
        put(b"b");
        assert!(engine.get(b"b").unwrap().is_some());
        assert!(engine.durable(b"b").is_none());
        engine.crash();
        assert!(engine.get(b"a").unwrap().is_some());
        assert!(engine.get(b"b").unwrap().is_none());
        put(b"c");
        put(b"d");
        assert_eq!(engine.unsynced(), 2);
        engine.crash_keeping(1);
        assert!(engine.get(b"c").unwrap().is_some());
        assert!(engine.get(b"d").unwrap().is_none());
    }
}
