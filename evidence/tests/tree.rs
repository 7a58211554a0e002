//! The tree by its published root, and its proofs at the sizes where tiles begin and end.
//! `properties.rs` compares it with RFC 6962 for every small size.

mod rfc6962;

use muniment_evidence::digest::Digest;
use muniment_evidence::ids::{RecordIndex, TreeSize};
use muniment_evidence::tree::{
    Frontier, MemoryRows, consistency_proof, inclusion_proof, leaf_hash, root_at,
    verify_consistency, verify_inclusion,
};
use rfc6962::mth;

fn grow(size: u64) -> (Frontier, MemoryRows, Vec<Digest>) {
    let (mut frontier, mut rows, mut leaves) = (Frontier::new(), MemoryRows::new(), Vec::new());
    for i in 0..size {
        let leaf = leaf_hash(&i.to_be_bytes());
        rows.extend(frontier.append(leaf));
        leaves.push(leaf);
    }
    (frontier, rows, leaves)
}

#[test]
fn published_root_of_eight_leaves() {
    let inputs: [&[u8]; 8] = [
        b"",
        b"\x00",
        b"\x10",
        b"\x20\x21",
        b"\x30\x31",
        b"\x40\x41\x42\x43",
        b"\x50\x51\x52\x53\x54\x55\x56\x57",
        b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
    ];
    let mut frontier = Frontier::new();
    for input in inputs {
        frontier.append(leaf_hash(input));
    }
    assert_eq!(
        frontier.root().to_hex(),
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"
    );
}

#[test]
fn frontier_agrees_with_the_naive_tree_and_reloads_from_rows() {
    let (_, rows, leaves) = grow(700);
    let mut frontier = Frontier::new();
    for size in 0..=700u64 {
        assert_eq!(frontier.root(), mth(&leaves[..size as usize]));
        if size % 37 == 0 || size == 256 || size == 512 {
            assert_eq!(
                Frontier::load(&rows, TreeSize::new(size)),
                Ok(frontier.clone())
            );
            let peaks = frontier.peaks().to_vec();
            assert_eq!(
                Frontier::from_parts(TreeSize::new(size), peaks),
                Some(frontier.clone())
            );
            let longer = [frontier.peaks(), &[Digest::ZERO]].concat();
            assert_eq!(Frontier::from_parts(TreeSize::new(size), longer), None);
        }
        if size < 700 {
            frontier.append(leaves[size as usize]);
        }
    }
}

#[test]
fn proofs_verify_and_altered_ones_do_not() {
    let (_, rows, leaves) = grow(530);
    let other = root_of(b"x");
    // The empty tree has one root.
    let empty = TreeSize::EMPTY;
    assert!(!verify_consistency(empty, empty, &[], &other, &other));
    for count in [1, 2, 3, 7, 8, 255, 256, 257, 511, 530] {
        let size = TreeSize::new(count);
        let root = root_at(&rows, size).unwrap();
        let places = [0, 1, count / 2, count - 1].map(RecordIndex::new);
        for index in places.into_iter().filter(|index| size.contains(*index)) {
            let path = inclusion_proof(&rows, index, size).unwrap();
            let leaf = &leaves[index.get() as usize];
            assert!(verify_inclusion(leaf, index, size, &path, &root));
            assert!(!verify_inclusion(leaf, index.next(), size, &path, &root));
            assert!(!verify_inclusion(&other, index, size, &path, &root));
            let longer = [&path[..], &[Digest::ZERO]].concat();
            assert!(!verify_inclusion(leaf, index, size, &longer, &root));
        }
        for old in (0..=count).map(TreeSize::new) {
            let proof = consistency_proof(&rows, old, size).unwrap();
            let old_root = root_at(&rows, old).unwrap();
            assert!(verify_consistency(old, size, &proof, &old_root, &root));
            if let Some(last) = old.last()
                && old < size
            {
                assert!(!verify_consistency(old, size, &proof, &other, &root));
                let smaller = last.size_before();
                assert!(!verify_consistency(smaller, size, &proof, &old_root, &root));
            }
        }
    }
}

fn root_of(leaf: &[u8]) -> Digest {
    leaf_hash(leaf)
}
