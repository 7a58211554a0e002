//! One atomic step over the replicated state.
//!
//! Promises: reads see the step's own writes; the writes go out in key order as one
//! batch; the rolling state hash is computed over exactly those writes. Leaves what is
//! written to its callers.

use super::rows::Row;
use super::tables::{FoundKey, RowKey, RowRange};
use crate::store::StoreError;
use crate::store::engine::{Batch, View};
use crate::store::keys::Generation;
use muniment_evidence::digest::{Digest, Hasher};
use std::collections::BTreeMap;
use std::ops::Bound;

/// See the module.
pub struct Txn<'a> {
    view: &'a dyn View,
    generation: Generation,
    writes: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
}

impl<'a> Txn<'a> {
    pub fn begin(view: &'a dyn View, generation: Generation) -> Txn<'a> {
        Txn {
            view,
            generation,
            writes: BTreeMap::new(),
        }
    }

    pub fn has<R: Row>(&self, key: &RowKey<R>) -> Result<bool, StoreError> {
        Ok(self.bytes(key)?.is_some())
    }

    pub fn row<R: Row>(&self, key: &RowKey<R>) -> Result<Option<R>, StoreError> {
        let bytes = self.bytes(key)?;
        bytes.map(|bytes| R::decode(&bytes)).transpose()
    }

    fn bytes<R: Row>(&self, key: &RowKey<R>) -> Result<Option<Vec<u8>>, StoreError> {
        match self.writes.get(key.as_bytes()) {
            Some(written) => Ok(written.clone()),
            None => self.view.get(&key.within(self.generation)),
        }
    }

    pub fn put<R: Row>(&mut self, key: RowKey<R>, row: &R) {
        self.writes.insert(key.into_bytes(), Some(row.encode()));
    }

    pub fn delete<R: Row>(&mut self, key: RowKey<R>) {
        self.writes.insert(key.into_bytes(), None);
    }

    /// Stored rows of a range with this step's writes over them. Meant for the few rows
    /// of one node or boot, so it takes at most `limit` stored ones.
    pub fn scan<R: Row>(
        &self,
        range: &RowRange<R>,
        limit: usize,
    ) -> Result<BTreeMap<FoundKey, R>, StoreError> {
        let stored = range.read(self.view, self.generation, limit)?;
        let mut found: BTreeMap<_, _> = stored.into_iter().collect();
        let (start, end) = range.bounds();
        let within = (Bound::Included(start), Bound::Excluded(end));
        for (key, value) in self.writes.range::<[u8], _>(within) {
            let key = FoundKey(key.clone());
            match value {
                Some(value) => found.insert(key, R::decode(value)?),
                None => found.remove(&key),
            };
        }
        Ok(found)
    }

    /// H(previous ‖ canonical writes): each write is its key, then 0 for a deletion or 1
    /// and the value, lengths before both.
    pub fn hash_writes(&self, previous: &Digest) -> Digest {
        let mut hasher = Hasher::new();
        hasher.update(&previous.0);
        let mut field = |bytes: &[u8]| {
            hasher.update(&(bytes.len() as u64).to_be_bytes());
            hasher.update(bytes);
        };
        for (key, value) in &self.writes {
            field(key);
            match value {
                None => field(&[]),
                Some(value) => {
                    field(&[1]);
                    field(value);
                }
            }
        }
        hasher.finish()
    }

    pub fn into_batch(self) -> Batch {
        let mut batch = Batch::new();
        for (key, value) in self.writes {
            let key = self.generation.key(&key);
            match value {
                Some(value) => batch.put(key, value),
                None => batch.delete(key),
            }
        }
        batch
    }
}
