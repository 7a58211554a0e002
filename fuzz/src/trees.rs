//! The tree's verifiers against RFC 6962's own recursion.

use crate::rfc6962::{root_of_path, roots_of_subproof};
use muniment_evidence::digest::Digest;
use muniment_evidence::ids::{RecordIndex, TreeSize};
use muniment_evidence::tree::{
    Frontier, leaf_hash, root_by_inclusion, verify_consistency, verify_inclusion,
};

/// Two numbers and how far to shift them down (so that small ones are as likely as large
/// ones), then hashes: the first is the leaf or the older root, the others are the proof.
pub fn tree(data: &[u8]) {
    let Some((&[shift, a, b, c, d, e, f, g, h], rest)) = data.split_first_chunk::<9>() else {
        return;
    };
    let Some((numbers, rest)) = rest.split_first_chunk::<8>() else {
        return;
    };
    let shift = u32::from(shift) % 64;
    let m = u64::from_be_bytes([a, b, c, d, e, f, g, h]) >> shift;
    let n = u64::from_be_bytes(*numbers) >> shift;
    let hashes = rest.chunks_exact(32).map(|hash| {
        let hash: [u8; 32] = hash.try_into().expect("32 bytes");
        Digest(hash)
    });
    let hashes: Vec<Digest> = hashes.collect();
    if let Some((first, proof)) = hashes.split_first() {
        inclusion(m, n, first, proof);
        consistency(m, n, first, proof);
    }
    frontier(n, hashes);
}

/// Another hash than `digest`.
fn other(digest: &Digest) -> Digest {
    let mut other = *digest;
    other.0[31] ^= 1;
    other
}

fn inclusion(m: u64, n: u64, leaf: &Digest, path: &[Digest]) {
    let root = root_of_path(leaf, m as usize, n as usize, path);
    let (m, n) = (RecordIndex::new(m), TreeSize::new(n));
    assert_eq!(root_by_inclusion(leaf, m, n, path), root);
    match root {
        Some(root) => {
            assert!(verify_inclusion(leaf, m, n, path, &root));
            assert!(!verify_inclusion(leaf, m, n, path, &other(&root)));
            assert!(!verify_inclusion(&other(leaf), m, n, path, &root));
        }
        None => assert!(!verify_inclusion(leaf, m, n, path, leaf)),
    }
}

fn consistency(old: u64, new: u64, first: &Digest, proof: &[Digest]) {
    let (m, n) = (TreeSize::new(old), TreeSize::new(new));
    if old == 0 || old > new {
        assert!(old == 0 || !verify_consistency(m, n, proof, first, first));
        return;
    }
    match roots_of_subproof(old as usize, new as usize, proof, Some(first)) {
        Some((old, new)) => {
            assert!(verify_consistency(m, n, proof, &old, &new));
            assert!(!verify_consistency(m, n, proof, &other(&old), &new));
            assert!(!verify_consistency(m, n, proof, &old, &other(&new)));
        }
        None => assert!(!verify_consistency(m, n, proof, first, first)),
    }
}

fn frontier(size: u64, mut peaks: Vec<Digest>) {
    // Sizes that a bundle may name; beyond, nothing is promised.
    let size = size >> 1;
    peaks.truncate(size.count_ones() as usize);
    let Some(mut edge) = Frontier::from_parts(TreeSize::new(size), peaks) else {
        return;
    };
    let before = edge.root();
    let rows = edge.append(leaf_hash(b"next"));
    assert!(!rows.is_empty() && edge.root() != before);
    assert_eq!(edge.size().get(), size + 1);
    assert_eq!(edge.peaks().len(), (size + 1).count_ones() as usize);
}
