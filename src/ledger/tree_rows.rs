//! The rows of the evidence tree, as a proof reads them.
//!
//! Promises that a tile is read once: a proof asks for several parts of the same few.

use super::tables;
use crate::store::StoreError;
use crate::store::engine::View;
use crate::store::keys::Generation;
use muniment_evidence::digest::Digest;
use muniment_evidence::tree::{Rows, TILE_WIDTH};
use std::cell::RefCell;
use std::collections::HashMap;
use std::collections::hash_map::Entry;

/// The tree's rows in the state. A tile that was read is kept as long as this value.
pub struct StoredRows<'a> {
    view: &'a dyn View,
    generation: Generation,
    tiles: RefCell<HashMap<(u8, u64), Vec<Digest>>>,
}

impl<'a> StoredRows<'a> {
    pub fn new(view: &'a dyn View, generation: Generation) -> StoredRows<'a> {
        StoredRows {
            view,
            generation,
            tiles: RefCell::default(),
        }
    }

    /// The rows of a tile that are stored, however many.
    fn tile(&self, level: u8, tile: u64) -> Result<Vec<Digest>, StoreError> {
        let first = tile * TILE_WIDTH;
        let rows = tables::tree_rows(level, first, first + TILE_WIDTH);
        let found = rows.read(self.view, self.generation, TILE_WIDTH as usize)?;
        Ok(found.into_iter().map(|(_, hash)| hash).collect())
    }
}

impl Rows for StoredRows<'_> {
    type Error = StoreError;

    fn rows(&self, level: u8, first: u64, count: u64) -> Result<Vec<Digest>, StoreError> {
        let tile = (level, first / TILE_WIDTH);
        let mut tiles = self.tiles.borrow_mut();
        let rows = match tiles.entry(tile) {
            Entry::Occupied(read) => read.into_mut(),
            Entry::Vacant(unread) => unread.insert(self.tile(tile.0, tile.1)?),
        };
        let start = (first % TILE_WIDTH) as usize;
        rows.get(start..start + count as usize)
            .map(<[Digest]>::to_vec)
            .ok_or_else(|| {
                let end = first + count;
                StoreError::corrupt(format!(
                    "tree rows {first}..{end} of level {level} are missing"
                ))
            })
    }
}
