//! The tree against RFC 6962 itself, written down naively: roots, rows, proofs, verdicts.
//!
//! All sizes up to 130 with every index and every older size, and random ones up to 5,000.
//! What is right must be accepted and be the very bytes of the RFC; whatever is changed
//! must be refused. A proof binds no size by itself (the root that a checkpoint signs
//! does), so a changed size must get the verdict that the RFC's recursion gives.

mod rfc6962;

use muniment_evidence::digest::Digest;
use muniment_evidence::ids::{RecordIndex, TreeSize};
use muniment_evidence::tree::{
    self, Frontier, MemoryRows, Rows, TILE_WIDTH, consistency_proof, inclusion_proof, leaf_hash,
    verify_consistency, verify_inclusion,
};
use rfc6962::{is_consistent, mth, path, root_of_path, subproof};
use std::convert::Infallible;

/// Past 128, so that a seventh and an eighth level of the tree begin.
const SIZE_EXHAUSTIVE_MAX: usize = 130;
/// Past 4,096, so that the second level of tiles is well in use.
const SIZE_RANDOM_MAX: usize = 5000;

/// Xorshift (Marsaglia): the same numbers in every run, and no dependency.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    /// The digest with one bit turned over.
    fn flip(&mut self, digest: &Digest) -> Digest {
        let mut flipped = *digest;
        flipped.0[self.below(32)] ^= 1 << self.below(8);
        flipped
    }

    /// Every way to change a list of hashes by one: turned, left out, put in, exchanged.
    fn mutations(&mut self, hashes: &[Digest]) -> Vec<Vec<Digest>> {
        let mut all = Vec::new();
        for at in 0..hashes.len() {
            let mut flipped = hashes.to_vec();
            flipped[at] = self.flip(&hashes[at]);
            all.push(flipped);
            let mut shorter = hashes.to_vec();
            shorter.remove(at);
            all.push(shorter);
            let mut doubled = hashes.to_vec();
            doubled.insert(at, hashes[at]);
            all.push(doubled);
            if at > 0 && hashes[at - 1] != hashes[at] {
                let mut exchanged = hashes.to_vec();
                exchanged.swap(at - 1, at);
                all.push(exchanged);
            }
        }
        for at in [0, hashes.len()] {
            let mut longer = hashes.to_vec();
            longer.insert(at, self.flip(&Digest::ZERO));
            all.push(longer);
        }
        if hashes.len() > 1 {
            all.push(hashes.iter().rev().copied().collect());
        }
        all.retain(|mutation| mutation != hashes);
        all
    }
}

/// Rows that refuse what their contract does not promise.
struct Strict<'a> {
    rows: &'a MemoryRows,
    size: u64,
}

impl Rows for Strict<'_> {
    type Error = Infallible;

    fn rows(&self, level: u8, first: u64, count: u64) -> Result<Vec<Digest>, Infallible> {
        assert!((1..=TILE_WIDTH).contains(&count), "{count} rows");
        let last = first + count - 1;
        assert_eq!(first / TILE_WIDTH, last / TILE_WIDTH, "rows of two tiles");
        let leaves = TILE_WIDTH.pow(level.into());
        assert!((last + 1) * leaves <= self.size, "a row is not complete");
        self.rows.rows(level, first, count)
    }
}

struct Grown {
    leaves: Vec<Digest>,
    rows: MemoryRows,
    /// The edge at each size.
    edges: Vec<Frontier>,
}

impl Grown {
    fn to(size: usize) -> Grown {
        let mut grown = Grown {
            leaves: Vec::new(),
            rows: MemoryRows::new(),
            edges: vec![Frontier::new()],
        };
        let mut edge = Frontier::new();
        for number in 0..size as u64 {
            let leaf = leaf_hash(&number.to_be_bytes());
            grown.leaves.push(leaf);
            let complete = edge.append(leaf);
            for row in &complete {
                let leaves = TILE_WIDTH.pow(row.level.into()) as usize;
                let start = row.number as usize * leaves;
                assert_eq!(
                    start + leaves,
                    grown.leaves.len(),
                    "the row is complete now"
                );
                assert_eq!(row.hash, mth(&grown.leaves[start..start + leaves]));
            }
            // Each level whose rows end here, and no other.
            let levels = (0u8..).take_while(|&l| (number + 1) % TILE_WIDTH.pow(l.into()) == 0);
            assert!(complete.iter().map(|row| row.level).eq(levels));
            grown.rows.extend(complete);
            grown.edges.push(edge.clone());
        }
        grown
    }

    fn at(&self, size: usize) -> Strict<'_> {
        let (rows, size) = (&self.rows, size as u64);
        Strict { rows, size }
    }
}

fn check_size(grown: &Grown, size: usize) -> Digest {
    let root = mth(&grown.leaves[..size]);
    let edge = &grown.edges[size];
    assert_eq!((edge.size().get(), edge.root()), (size as u64, root));
    assert_eq!(
        Frontier::load(&grown.at(size), TreeSize::new(size as u64)).as_ref(),
        Ok(edge)
    );
    assert_eq!(
        tree::root_at(&grown.at(size), TreeSize::new(size as u64)),
        Ok(root)
    );
    let peaks = edge.peaks().to_vec();
    assert_eq!(
        Frontier::from_parts(TreeSize::new(size as u64), peaks).as_ref(),
        Some(edge)
    );
    root
}

/// Every change to a good inclusion proof, and the verdict on each.
fn check_inclusion(grown: &Grown, index: usize, size: usize, root: &Digest, n: &mut Numbers) {
    let leaf = &grown.leaves[index];
    let good = path(index, &grown.leaves[..size]);
    let Ok(ours) = inclusion_proof(
        &grown.at(size),
        RecordIndex::new(index as u64),
        TreeSize::new(size as u64),
    );
    assert_eq!(ours, good, "the path of {index} in {size}");
    let verify = |leaf: &Digest, index: usize, size: usize, path: &[Digest], root: &Digest| {
        let verdict = verify_inclusion(
            leaf,
            RecordIndex::new(index as u64),
            TreeSize::new(size as u64),
            path,
            root,
        );
        let naive = root_of_path(leaf, index, size, path) == Some(*root);
        assert_eq!(verdict, naive, "{index} in {size}");
        verdict
    };
    assert!(verify(leaf, index, size, &good, root));
    assert!(!verify(&n.flip(leaf), index, size, &good, root));
    assert!(!verify(leaf, index, size, &good, &n.flip(root)));
    for changed in n.mutations(&good) {
        assert!(
            !verify(leaf, index, size, &changed, root),
            "{index} in {size}"
        );
    }
    let near = [
        0,
        index.wrapping_sub(1),
        index + 1,
        index ^ 1,
        size - 1,
        size,
    ];
    for other in near.into_iter().chain([n.below(size), n.below(size)]) {
        if other != index && other <= size {
            assert!(
                !verify(leaf, other, size, &good, root),
                "{other}, not {index}"
            );
        }
    }
    for other in [0, index, index + 1, size - 1, size + 1, 2 * size, 1 << 62] {
        verify(leaf, index, other, &good, root);
    }
    assert!(!verify_inclusion(
        leaf,
        RecordIndex::new(u64::MAX),
        TreeSize::new(u64::MAX),
        &good,
        root
    ));
}

/// Every change to a good consistency proof, and the verdict on each.
fn check_consistency(grown: &Grown, old: usize, new: usize, root: &Digest, n: &mut Numbers) {
    let leaves = &grown.leaves[..new];
    let old_root = &mth(&leaves[..old]);
    let good = match old {
        0 => Vec::new(),
        old => subproof(old, leaves, true),
    };
    let Ok(ours) = consistency_proof(
        &grown.at(new),
        TreeSize::new(old as u64),
        TreeSize::new(new as u64),
    );
    assert_eq!(ours, good, "from {old} to {new}");
    let verify = |old: usize, new: usize, proof: &[Digest], from: &Digest, to: &Digest| {
        let verdict = verify_consistency(
            TreeSize::new(old as u64),
            TreeSize::new(new as u64),
            proof,
            from,
            to,
        );
        assert_eq!(
            verdict,
            is_consistent(old, new, proof, from, to),
            "{old} to {new}"
        );
        verdict
    };
    assert!(verify(old, new, &good, old_root, root));
    assert!(!verify(old, new, &good, &n.flip(old_root), root));
    // Of the empty tree nothing is known that a larger root could contradict.
    assert_eq!(
        verify(old, new, &good, old_root, &n.flip(root)),
        old == 0 && new > 0
    );
    for changed in n.mutations(&good) {
        assert!(
            !verify(old, new, &changed, old_root, root),
            "{old} to {new}"
        );
    }
    if old != new {
        assert!(!verify(new, old, &good, root, old_root));
        assert!(!verify(new, new, &good, old_root, root));
        assert!(old == 0 || !verify(old, old, &good, old_root, root));
    }
    for other in [
        0,
        old.wrapping_sub(1),
        old + 1,
        n.below(new + 1),
        new + 1,
        1 << 62,
    ] {
        if other <= 1 << 62 {
            verify(other, new, &good, old_root, root);
            verify(old, other, &good, old_root, root);
        }
    }
}

#[test]
fn every_small_tree_is_the_one_of_the_rfc_and_no_changed_proof_holds() {
    let grown = Grown::to(SIZE_EXHAUSTIVE_MAX);
    let mut numbers = Numbers(0x6d75_6e69_6d65_6e74);
    for size in 0..=SIZE_EXHAUSTIVE_MAX {
        let root = check_size(&grown, size);
        for index in 0..size {
            check_inclusion(&grown, index, size, &root, &mut numbers);
        }
        for old in 0..=size {
            check_consistency(&grown, old, size, &root, &mut numbers);
        }
    }
}

#[test]
fn random_larger_trees_are_the_ones_of_the_rfc_and_no_changed_proof_holds() {
    let grown = Grown::to(SIZE_RANDOM_MAX);
    let mut numbers = Numbers(0x6c65_6467_6572);
    let edges = [255, 256, 257, 511, 512, 513, 4095, 4096, 4097, 5000];
    let random: Vec<usize> = (0..30)
        .map(|_| 1 + numbers.below(SIZE_RANDOM_MAX))
        .collect();
    for size in edges.into_iter().chain(random) {
        let root = check_size(&grown, size);
        for index in [0, size - 1, numbers.below(size), numbers.below(size)] {
            check_inclusion(&grown, index, size, &root, &mut numbers);
        }
        let tile = size - size % TILE_WIDTH as usize;
        for old in [tile, size - 1, numbers.below(size), numbers.below(size)] {
            check_consistency(&grown, old, size, &root, &mut numbers);
        }
    }
}

/// An edge of another shape is refused, and one of other hashes has another root.
#[test]
fn a_changed_edge_is_refused_or_has_another_root() {
    let grown = Grown::to(SIZE_EXHAUSTIVE_MAX);
    let mut numbers = Numbers(0x6564_6765);
    for edge in &grown.edges {
        for changed in numbers.mutations(edge.peaks()) {
            match Frontier::from_parts(edge.size(), changed.clone()) {
                None => assert_ne!(changed.len(), edge.peaks().len()),
                Some(other) => assert_ne!(other.root(), edge.root()),
            }
        }
    }
}
