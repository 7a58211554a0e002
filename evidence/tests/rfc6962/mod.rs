//! RFC 6962 §2.1 word for word: slow, recursive, and plainly right.
//!
//! What the tree's own code is compared with; it shares nothing with it but the hash.
#![allow(dead_code, reason = "each program that compares uses its own part")]

use muniment_evidence::digest::Digest;
use muniment_evidence::tree::node_hash;

/// RFC 6962 §2.1: the largest power of two smaller than `n`.
pub fn split(n: usize) -> usize {
    let mut k = 1;
    // Not `k * 2 < n`, which the largest sizes overflow.
    while k < n - k {
        k *= 2;
    }
    k
}

/// RFC 6962 §2.1: MTH(D[n]).
pub fn mth(leaves: &[Digest]) -> Digest {
    match leaves {
        [] => Digest::of(&[]),
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(split(leaves.len()));
            Digest::of(&[&[1], &mth(left).0, &mth(right).0])
        }
    }
}

/// RFC 6962 §2.1.1: PATH(m, D[n]).
pub fn path(m: usize, leaves: &[Digest]) -> Vec<Digest> {
    if leaves.len() == 1 {
        return Vec::new();
    }
    let (left, right) = leaves.split_at(split(leaves.len()));
    let (mut proof, last) = if m < left.len() {
        (path(m, left), mth(right))
    } else {
        (path(m - left.len(), right), mth(left))
    };
    proof.push(last);
    proof
}

/// RFC 6962 §2.1.2: SUBPROOF(m, D[n], b).
pub fn subproof(m: usize, leaves: &[Digest], whole: bool) -> Vec<Digest> {
    if m == leaves.len() {
        return if whole { vec![] } else { vec![mth(leaves)] };
    }
    let (left, right) = leaves.split_at(split(leaves.len()));
    let (mut proof, last) = if m <= left.len() {
        (subproof(m, left, whole), mth(right))
    } else {
        (subproof(m - left.len(), right, false), mth(left))
    };
    proof.push(last);
    proof
}

/// The root that PATH leads to, read backwards along the same recursion.
pub fn root_of_path(leaf: &Digest, m: usize, n: usize, path: &[Digest]) -> Option<Digest> {
    if m >= n {
        return None;
    }
    if n == 1 {
        return path.is_empty().then_some(*leaf);
    }
    let (last, rest) = path.split_last()?;
    let k = split(n);
    if m < k {
        Some(node_hash(&root_of_path(leaf, m, k, rest)?, last))
    } else {
        Some(node_hash(last, &root_of_path(leaf, m - k, n - k, rest)?))
    }
}

/// Both roots that SUBPROOF leads to, likewise.
pub fn roots_of_subproof(
    m: usize,
    n: usize,
    proof: &[Digest],
    whole: Option<&Digest>,
) -> Option<(Digest, Digest)> {
    if m == n {
        let known = match (whole, proof) {
            (Some(root), []) => *root,
            (None, [root]) => *root,
            _ => return None,
        };
        return Some((known, known));
    }
    let (last, rest) = proof.split_last()?;
    let k = split(n);
    if m <= k {
        let (old, new) = roots_of_subproof(m, k, rest, whole)?;
        Some((old, node_hash(&new, last)))
    } else {
        let (old, new) = roots_of_subproof(m - k, n - k, rest, None)?;
        Some((node_hash(last, &old), node_hash(last, &new)))
    }
}

/// The verdict of the recursion; the empty tree is a prefix of every tree.
pub fn is_consistent(m: usize, n: usize, proof: &[Digest], old: &Digest, new: &Digest) -> bool {
    match m {
        0 => *old == mth(&[]) && proof.is_empty() && (n > 0 || old == new),
        m if m > n => false,
        m => roots_of_subproof(m, n, proof, Some(old)) == Some((*old, *new)),
    }
}
