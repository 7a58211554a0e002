//! The tree by its published root, and its proofs at the sizes where tiles begin and end.
//! `properties.rs` compares it with RFC 6962 for every small size.

mod rfc6962;

use muniment_evidence::digest::Digest;
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
            assert_eq!(Frontier::load(&rows, size), Ok(frontier.clone()));
            let peaks = frontier.peaks().to_vec();
            assert_eq!(Frontier::from_parts(size, peaks), Some(frontier.clone()));
            let longer = [frontier.peaks(), &[Digest::ZERO]].concat();
            assert_eq!(Frontier::from_parts(size, longer), None);
        }
        if size < 700 {
            frontier.append(leaves[size as usize]);
        }
    }
}

#[test]
fn proofs_verify_and_altered_ones_do_not() {
    let (_, rows, leaves) = grow(530);
    // The empty tree has one root.
    let other = root_of(b"x");
    assert!(!verify_consistency(0, 0, &[], &other, &other));
    for size in [1, 2, 3, 7, 8, 255, 256, 257, 511, 530] {
        let root = root_at(&rows, size).unwrap();
        for index in [0, 1, size / 2, size - 1].into_iter().filter(|i| *i < size) {
            let path = inclusion_proof(&rows, index, size).unwrap();
            let leaf = &leaves[index as usize];
            assert!(verify_inclusion(leaf, index, size, &path, &root));
            assert!(!verify_inclusion(leaf, index + 1, size, &path, &root));
            assert!(!verify_inclusion(&root_of(b"x"), index, size, &path, &root));
            let longer = [&path[..], &[Digest::ZERO]].concat();
            assert!(!verify_inclusion(leaf, index, size, &longer, &root));
        }
        for old in 0..=size {
            let proof = consistency_proof(&rows, old, size).unwrap();
            let old_root = root_at(&rows, old).unwrap();
            assert!(verify_consistency(old, size, &proof, &old_root, &root));
            if old > 0 && old < size {
                assert!(!verify_consistency(
                    old,
                    size,
                    &proof,
                    &root_of(b"x"),
                    &root
                ));
                assert!(!verify_consistency(old - 1, size, &proof, &old_root, &root));
            }
        }
    }
}

fn root_of(leaf: &[u8]) -> Digest {
    leaf_hash(leaf)
}
