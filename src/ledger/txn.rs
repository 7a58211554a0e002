//! One atomic step over the replicated state.
//!
//! Promises: reads see the step's own writes; the writes go out in key order as one
//! batch; the rolling state hash is computed over exactly those writes. Leaves what is
//! written to its callers.

use super::rows::Row;
use crate::store::Error;
use crate::store::engine::{Batch, View};
use crate::store::keys::Generation;
use muniment_evidence::digest::{Digest, Hasher};
use std::collections::BTreeMap;

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

    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        match self.writes.get(key) {
            Some(written) => Ok(written.clone()),
            None => self.view.get(&self.generation.key(key)),
        }
    }

    pub fn row<R: Row>(&self, key: &[u8]) -> Result<Option<R>, Error> {
        self.get(key)?.map(|bytes| R::decode(&bytes)).transpose()
    }

    pub fn put(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.writes.insert(key, Some(value));
    }

    pub fn put_row(&mut self, key: Vec<u8>, row: &impl Row) {
        self.put(key, row.encode());
    }

    pub fn delete(&mut self, key: Vec<u8>) {
        self.writes.insert(key, None);
    }

    /// Stored pairs of a range with this step's writes over them. Meant for the few rows
    /// of one node or boot, so it takes at most `limit` stored pairs.
    pub fn scan(
        &self,
        range: &(Vec<u8>, Vec<u8>),
        limit: usize,
    ) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, Error> {
        let (start, end) = (self.generation.key(&range.0), self.generation.key(&range.1));
        let skip = start.len() - range.0.len();
        let stored = self.view.scan(&start, &end, limit)?;
        let mut found: BTreeMap<_, _> = stored
            .into_iter()
            .map(|(key, value)| (key[skip..].to_vec(), value))
            .collect();
        for (key, value) in self.writes.range(range.0.clone()..range.1.clone()) {
            match value {
                Some(value) => found.insert(key.clone(), value.clone()),
                None => found.remove(key),
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
