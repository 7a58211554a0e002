//! The RFC 6962 Merkle tree over all records, kept as C2SP tlog-tiles rows.
//!
//! A *row* is the hash of 256^level leaves; 256 rows side by side are a tile. Promises:
//! [`Frontier`] appends in O(1) amortised and says which rows became complete; proofs
//! need O(log n) rows; verification follows RFC 9162 §2.1.3. Leaves storing rows to the
//! caller, through [`Rows`].
//!
//! ```
//! use muniment_evidence::ids::{RecordIndex, TreeSize};
//! use muniment_evidence::tree::{self, Frontier, MemoryRows};
//!
//! let (mut frontier, mut rows) = (Frontier::new(), MemoryRows::new());
//! let leaves: Vec<_> = (0..5u8).map(|n| tree::leaf_hash(&[n])).collect();
//! for leaf in &leaves {
//!     rows.extend(frontier.append(*leaf));
//! }
//! let root = frontier.root();
//!
//! // The third leaf is under the root ...
//! let (third, five) = (RecordIndex::new(2), TreeSize::new(5));
//! let path = tree::inclusion_proof(&rows, third, five)?;
//! assert!(tree::verify_inclusion(&leaves[2], third, five, &path, &root));
//! assert!(!tree::verify_inclusion(&leaves[3], third, five, &path, &root));
//! // ... and the tree of three leaves is the beginning of the tree of five.
//! let three = third.size_through();
//! let proof = tree::consistency_proof(&rows, three, five)?;
//! let older = tree::root_at(&rows, three)?;
//! assert!(tree::verify_consistency(three, five, &proof, &older, &root));
//! # Ok::<(), std::convert::Infallible>(())
//! ```
//!
//! Tests: `evidence/tests/tree.rs`, `evidence/tests/properties.rs`, `evidence/tests/vectors.rs`.

use crate::digest::Digest;
use crate::ids::{RecordIndex, TreeSize};

/// Rows per tile, and so leaves per row of the next level (C2SP tlog-tiles).
pub const TILE_WIDTH: u64 = 256;
/// Binary levels inside one tile level.
const TILE_HEIGHT: u32 = 8;

/// SHA-256(0x00 ‖ leaf).
pub fn leaf_hash(leaf: &[u8]) -> Digest {
    Digest::of(&[&[0], leaf])
}

/// SHA-256(0x01 ‖ left ‖ right).
pub fn node_hash(left: &Digest, right: &Digest) -> Digest {
    Digest::of(&[&[1], &left.0, &right.0])
}

/// The root of a tree without leaves: SHA-256 of nothing.
pub fn empty_root() -> Digest {
    Digest::of(&[])
}

/// A complete row: the hash over leaves `number·256^level ..` of count `256^level`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TreeRow {
    pub level: u8,
    /// How many rows of the level lie before it.
    pub number: u64,
    pub hash: Digest,
}

/// Reads rows that were stored before. Asked only for complete rows.
pub trait Rows {
    type Error;
    /// `count` ≤ 256 neighbouring rows of one tile.
    fn rows(&self, level: u8, first: u64, count: u64) -> Result<Vec<Digest>, Self::Error>;
}

/// The right edge of the tree: one hash per set bit of the size, largest first.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Frontier {
    size: TreeSize,
    peaks: Vec<Digest>,
}

impl Frontier {
    pub fn new() -> Frontier {
        Frontier::default()
    }

    /// Recomputes the edge of a stored tree from its rows.
    pub fn load<R: Rows>(rows: &R, size: TreeSize) -> Result<Frontier, R::Error> {
        let mut peaks = Vec::new();
        let mut start = 0;
        for height in (0..u64::BITS).rev() {
            if size.get() >> height & 1 == 1 {
                peaks.push(subtree(rows, height, start >> height)?);
                start += 1 << height;
            }
        }
        Ok(Frontier { size, peaks })
    }

    /// Takes an edge that someone else kept; `None` unless there is one peak per set bit
    /// of the size. Whether the peaks are true shows only in a signed root.
    pub fn from_parts(size: TreeSize, peaks: Vec<Digest>) -> Option<Frontier> {
        (peaks.len() == size.get().count_ones() as usize).then_some(Frontier { size, peaks })
    }

    pub fn size(&self) -> TreeSize {
        self.size
    }

    /// One hash per set bit of the size, largest first.
    pub fn peaks(&self) -> &[Digest] {
        &self.peaks
    }

    /// Adds one leaf; returns the rows that are now complete, lowest level first.
    pub fn append(&mut self, leaf: Digest) -> Vec<TreeRow> {
        let number = self.size.get();
        let mut complete = vec![TreeRow {
            level: 0,
            number,
            hash: leaf,
        }];
        let mut hash = leaf;
        let mut height = 0;
        while number >> height & 1 == 1 {
            let left = self.peaks.pop().expect("a set bit of the size has a peak");
            hash = node_hash(&left, &hash);
            height += 1;
            if height % TILE_HEIGHT == 0 {
                complete.push(TreeRow {
                    level: (height / TILE_HEIGHT) as u8,
                    number: number >> height,
                    hash,
                });
            }
        }
        self.peaks.push(hash);
        self.size = self.size.next_index().size_through();
        complete
    }

    pub fn root(&self) -> Digest {
        let mut peaks = self.peaks.iter().rev();
        match peaks.next() {
            None => empty_root(),
            Some(last) => peaks.fold(*last, |right, left| node_hash(left, &right)),
        }
    }
}

/// The root at an older size, from rows.
pub fn root_at<R: Rows>(rows: &R, size: TreeSize) -> Result<Digest, R::Error> {
    Ok(Frontier::load(rows, size)?.root())
}

/// The audit path of `index` in the tree of `size`, leaf to root (RFC 9162 §2.1.3.1).
///
/// # Panics
/// If `index >= size`: the caller has checked it.
pub fn inclusion_proof<R: Rows>(
    rows: &R,
    index: RecordIndex,
    size: TreeSize,
) -> Result<Vec<Digest>, R::Error> {
    assert!(size.contains(index), "index {index} is beyond size {size}");
    let (index, size) = (index.get(), size.get());
    let mut path = Vec::new();
    let (mut start, mut end) = (0, size);
    while end - start > 1 {
        let middle = start + split(end - start);
        if index < middle {
            path.push(range_hash(rows, middle, end)?);
            end = middle;
        } else {
            path.push(range_hash(rows, start, middle)?);
            start = middle;
        }
    }
    path.reverse();
    Ok(path)
}

/// The proof that the tree of `old` leaves is a prefix of that of `new`
/// (RFC 9162 §2.1.4.1); empty for `old` 0 or `old` = `new`.
///
/// # Panics
/// If `old > new`: the caller has checked it.
pub fn consistency_proof<R: Rows>(
    rows: &R,
    old: TreeSize,
    new: TreeSize,
) -> Result<Vec<Digest>, R::Error> {
    assert!(old <= new, "size {old} is beyond size {new}");
    let (old, new) = (old.get(), new.get());
    let mut proof = Vec::new();
    if old == 0 || old == new {
        return Ok(proof);
    }
    let (mut start, mut end) = (0, new);
    // Whether the old tree's root equals the subtree reached, so that it is known.
    while end != old {
        let middle = start + split(end - start);
        if old <= middle {
            proof.push(range_hash(rows, middle, end)?);
            end = middle;
        } else {
            proof.push(range_hash(rows, start, middle)?);
            start = middle;
        }
    }
    if start > 0 {
        proof.push(range_hash(rows, start, end)?);
    }
    proof.reverse();
    Ok(proof)
}

/// Whether `leaf` is the leaf at `index` under `root` of `size` leaves.
pub fn verify_inclusion(
    leaf: &Digest,
    index: RecordIndex,
    size: TreeSize,
    path: &[Digest],
    root: &Digest,
) -> bool {
    root_by_inclusion(leaf, index, size, path).is_some_and(|led_to| led_to == *root)
}

/// The root of `size` leaves to which the path leads from `leaf` at `index`; `None` when
/// the path is not of such a tree (RFC 9162 §2.1.3.2).
pub fn root_by_inclusion(
    leaf: &Digest,
    index: RecordIndex,
    size: TreeSize,
    path: &[Digest],
) -> Option<Digest> {
    if !size.contains(index) {
        return None;
    }
    let (mut index, mut last) = (index.get(), size.last()?.get());
    let mut hash = *leaf;
    for sibling in path {
        if last == 0 {
            return None;
        }
        if index & 1 == 1 || index == last {
            hash = node_hash(sibling, &hash);
            while index & 1 == 0 && index != 0 {
                index >>= 1;
                last >>= 1;
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        index >>= 1;
        last >>= 1;
    }
    (last == 0).then_some(hash)
}

/// Whether the tree of `old` leaves is a prefix of the tree of `new` leaves.
pub fn verify_consistency(
    old: TreeSize,
    new: TreeSize,
    proof: &[Digest],
    old_root: &Digest,
    new_root: &Digest,
) -> bool {
    if old > new {
        return false;
    }
    if old == TreeSize::EMPTY && *old_root != empty_root() {
        return false;
    }
    if old == new {
        return proof.is_empty() && old_root == new_root;
    }
    let (Some(old_last), Some(new_last)) = (old.last(), new.last()) else {
        return proof.is_empty();
    };
    let mut path = proof.iter();
    let (mut index, mut last) = (old_last.get(), new_last.get());
    while index & 1 == 1 {
        index >>= 1;
        last >>= 1;
    }
    let first = if old.get().is_power_of_two() {
        *old_root
    } else {
        match path.next() {
            Some(first) => *first,
            None => return false,
        }
    };
    let (mut old_hash, mut new_hash) = (first, first);
    for sibling in path {
        if last == 0 {
            return false;
        }
        if index & 1 == 1 || index == last {
            old_hash = node_hash(sibling, &old_hash);
            new_hash = node_hash(sibling, &new_hash);
            while index & 1 == 0 && index != 0 {
                index >>= 1;
                last >>= 1;
            }
        } else {
            new_hash = node_hash(&new_hash, sibling);
        }
        index >>= 1;
        last >>= 1;
    }
    last == 0 && old_hash == *old_root && new_hash == *new_root
}

/// The largest power of two strictly below `n`; `n` ≥ 2.
fn split(n: u64) -> u64 {
    1 << (u64::BITS - 1 - (n - 1).leading_zeros())
}

/// The hash over leaves `start..end`, where `start` is a multiple of a power of two
/// not below the range's length.
fn range_hash<R: Rows>(rows: &R, start: u64, end: u64) -> Result<Digest, R::Error> {
    let length = end - start;
    if length.is_power_of_two() {
        let height = length.trailing_zeros();
        return subtree(rows, height, start >> height);
    }
    let middle = start + split(length);
    let left = range_hash(rows, start, middle)?;
    let right = range_hash(rows, middle, end)?;
    Ok(node_hash(&left, &right))
}

/// The hash of the perfect subtree of 2^height leaves number `index`.
fn subtree<R: Rows>(rows: &R, height: u32, index: u64) -> Result<Digest, R::Error> {
    let level = (height / TILE_HEIGHT) as u8;
    let inside = height % TILE_HEIGHT;
    let mut hashes = rows.rows(level, index << inside, 1 << inside)?;
    while hashes.len() > 1 {
        hashes = hashes
            .chunks_exact(2)
            .map(|pair| node_hash(&pair[0], &pair[1]))
            .collect();
    }
    Ok(hashes[0])
}

/// Rows in memory, by level: for verifiers and tests.
#[derive(Default)]
pub struct MemoryRows(Vec<Vec<Digest>>);

impl MemoryRows {
    pub fn new() -> MemoryRows {
        MemoryRows::default()
    }

    /// Takes the rows that [`Frontier::append`] returned.
    pub fn extend(&mut self, rows: impl IntoIterator<Item = TreeRow>) {
        for row in rows {
            let level = usize::from(row.level);
            if self.0.len() <= level {
                self.0.resize_with(level + 1, Vec::new);
            }
            assert_eq!(self.0[level].len() as u64, row.number, "rows come in order");
            self.0[level].push(row.hash);
        }
    }
}

impl Rows for MemoryRows {
    type Error = std::convert::Infallible;

    fn rows(&self, level: u8, first: u64, count: u64) -> Result<Vec<Digest>, Self::Error> {
        let level = &self.0[usize::from(level)];
        Ok(level[first as usize..(first + count) as usize].to_vec())
    }
}
