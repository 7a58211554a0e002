//! The tree over the chunks of one body: one chunk is proven without the others.
//!
//! A body is cut into chunks of 1 MiB, the last of them shorter; an empty body is one empty
//! chunk. A leaf is SHA-256 of the chunk, *without* a prefix, so that a body of one chunk
//! has its own SHA-256 as root, and one pass over the bytes makes both. Inner nodes and the
//! shape are those of the tree of records ([`crate::tree`]).
//!
//! Promises: the shape follows from the body's length alone. So a root says what each chunk
//! is only together with that length, which stands beside it wherever it stands: a leaf has
//! no prefix, and with another length an inner node could pass for a chunk. Leaves where
//! root and length come from to the caller.
//!
//! ```
//! use muniment_evidence::chunks::{self, CHUNK_BYTES};
//! use muniment_evidence::digest::Digest;
//!
//! let body = vec![7; CHUNK_BYTES as usize + 9];
//! let cut: Vec<&[u8]> = body.chunks(CHUNK_BYTES as usize).collect();
//! let leaves: Vec<Digest> = cut.iter().map(|chunk| Digest::of(&[chunk])).collect();
//! let length = body.len() as u64;
//! let root = chunks::root(length, &leaves).expect("as many leaves as the length has chunks");
//!
//! let path = chunks::proof(&leaves, 1).expect("there are two chunks");
//! assert!(chunks::verify(&root, length, 1, cut[1], &path));
//! assert!(!chunks::verify(&root, length, 0, cut[1], &path));
//! ```

use crate::digest::Digest;
use crate::ids::{RecordIndex, TreeSize};
use crate::tree::{self, Frontier, MemoryRows};

/// Bytes of every chunk but the last.
pub const CHUNK_BYTES: u64 = 1 << 20;

/// How many chunks a body of this length has; never none.
pub fn count(length: u64) -> u64 {
    length.div_ceil(CHUNK_BYTES).max(1)
}

/// How long one chunk of such a body is; `None` beyond its last.
pub fn length_of(length: u64, chunk: u64) -> Option<u64> {
    if chunk >= count(length) {
        return None;
    }
    Some((length - chunk * CHUNK_BYTES).min(CHUNK_BYTES))
}

/// The root over the chunks' digests; `None` unless there are as many as the length has.
pub fn root(length: u64, leaves: &[Digest]) -> Option<Digest> {
    (leaves.len() as u64 == count(length)).then(|| grown(leaves).0.root())
}

/// The path from one chunk to the root; `None` beyond the last.
pub fn proof(leaves: &[Digest], chunk: u64) -> Option<Vec<Digest>> {
    if chunk >= leaves.len() as u64 {
        return None;
    }
    let (frontier, rows) = grown(leaves);
    let Ok(path) = tree::inclusion_proof(&rows, RecordIndex::new(chunk), frontier.size());
    Some(path)
}

/// Whether these bytes are that chunk of the body with this root and length.
pub fn verify(root: &Digest, length: u64, chunk: u64, bytes: &[u8], path: &[Digest]) -> bool {
    if length_of(length, chunk) != Some(bytes.len() as u64) {
        return false;
    }
    let (index, size) = (RecordIndex::new(chunk), TreeSize::new(count(length)));
    tree::verify_inclusion(&Digest::of(&[bytes]), index, size, path, root)
}

/// Whether a body of this length and SHA-256 may have this root: of one chunk they are the
/// same, of more nothing can be said without the bytes.
pub fn may_be_root(root: &Digest, length: u64, sha256: &Digest) -> bool {
    count(length) > 1 || root == sha256
}

/// The root of a body that lies in memory.
pub fn root_of(body: &[u8]) -> Digest {
    let mut leaves: Vec<Digest> = body
        .chunks(CHUNK_BYTES as usize)
        .map(|chunk| Digest::of(&[chunk]))
        .collect();
    if leaves.is_empty() {
        leaves.push(Digest::of(&[]));
    }
    grown(&leaves).0.root()
}

fn grown(leaves: &[Digest]) -> (Frontier, MemoryRows) {
    let (mut frontier, mut rows) = (Frontier::new(), MemoryRows::new());
    for leaf in leaves {
        rows.extend(frontier.append(*leaf));
    }
    (frontier, rows)
}
