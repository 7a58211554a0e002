//! Looking through a state that came from elsewhere, before it comes in force.
//!
//! Promises that every record hashes to its leaf, every row of the tree is the one that its
//! records make, the head has their root, there is no record beyond it, and at each size
//! that this node made a promise of the root is the promised one. So who sends a snapshot
//! can neither change what was applied or signed here nor store a tree that says otherwise.
//! Costs one read and one hash of each record, next to writing all of it. Leaves what records
//! decide (tables made of them, openings) to the comparison of state hashes (I12), and what
//! was promised to the caller.

use super::rows::LedgerHead;
use super::tables;
use super::tree_rows::StoredRows;
use crate::domain::ids::{RecordIndex, TreeSize};
use crate::store::StoreError;
use crate::store::engine::View;
use crate::store::keys::Generation;
use muniment_evidence::digest::Digest;
use muniment_evidence::tree::{Frontier, TILE_WIDTH, leaf_hash};

/// See the module. `promised` are sizes with the roots that they must have.
pub fn look_through(
    view: &dyn View,
    generation: Generation,
    head: &LedgerHead,
    promised: &[(TreeSize, Digest)],
) -> Result<(), StoreError> {
    reaches(head, promised)?;
    let mut tree = Frontier::new();
    while tree.size() < head.size {
        let count = TILE_WIDTH.min(head.size.count_since(tree.size()));
        take_tile(view, generation, &mut tree, count, promised)?;
    }
    let end = tree.size().next_index();
    let beyond = tables::records(end, RecordIndex::new(u64::MAX));
    if !beyond.read_bytes(view, generation, 1)?.is_empty() {
        return Err(StoreError::corrupt("it has records beyond its head"));
    }
    if head.size > TreeSize::EMPTY && tree.root() != head.root {
        return Err(StoreError::corrupt(
            "its head has another root than its records",
        ));
    }
    Ok(())
}

/// Whether a state that was looked through, in which nothing has changed since, also has these
/// roots: its tree is believed, so that this costs a few reads for each.
pub fn continues(
    view: &dyn View,
    generation: Generation,
    head: &LedgerHead,
    promised: &[(TreeSize, Digest)],
) -> Result<(), StoreError> {
    reaches(head, promised)?;
    let rows = StoredRows::new(view, generation);
    for (size, own) in promised {
        let tree = Frontier::load(&rows, *size)?;
        same_root(*size, *own, tree.root())?;
    }
    Ok(())
}

/// Whether it is at least as long as what was promised.
fn reaches(head: &LedgerHead, promised: &[(TreeSize, Digest)]) -> Result<(), StoreError> {
    match promised.iter().find(|(size, _)| *size > head.size) {
        None => Ok(()),
        Some((size, _)) => Err(StoreError::corrupt(format!(
            "it has {} records, and this node has applied or signed {size}",
            head.size
        ))),
    }
}

fn same_root(size: TreeSize, own: Digest, now: Digest) -> Result<(), StoreError> {
    match now == own {
        true => Ok(()),
        false => Err(StoreError::corrupt(format!(
            "at size {size} this node has applied or signed root {own}, and it has {now}"
        ))),
    }
}

/// Adds the next `count` records to the tree, and compares.
fn take_tile(
    view: &dyn View,
    generation: Generation,
    tree: &mut Frontier,
    count: u64,
    promised: &[(TreeSize, Digest)],
) -> Result<(), StoreError> {
    let first = tree.size().next_index();
    let end = first.after(count);
    let limit = count as usize;
    let records = tables::records(first, end).read_bytes(view, generation, limit)?;
    let leaves = tables::tree_rows(0, first.get(), end.get()).read(view, generation, limit)?;
    if records.len() != limit || leaves.len() != limit {
        return Err(StoreError::corrupt(format!(
            "not all records or leaves {first}..{end} are there"
        )));
    }
    for ((_, record), (_, leaf)) in records.into_iter().zip(leaves) {
        for row in tree.append(leaf_hash(&record)) {
            let stored = match row.level {
                0 => Some(leaf),
                level => tables::tree_row(level, row.number).read(view, generation)?,
            };
            if stored != Some(row.hash) {
                return Err(StoreError::corrupt(format!(
                    "row {} of level {} of its tree is not what its records make",
                    row.number, row.level
                )));
            }
        }
        let size = tree.size();
        for (_, own) in promised.iter().filter(|(at, _)| *at == size) {
            same_root(size, *own, tree.root())?;
        }
    }
    Ok(())
}
