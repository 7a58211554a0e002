//! The chunk tree: known roots, and proofs that hold for one chunk of one body alone.

use muniment_evidence::chunks::{self, CHUNK_BYTES};
use muniment_evidence::digest::Digest;

const CHUNK: usize = CHUNK_BYTES as usize;

const KNOWN: &[(usize, &str)] = &[
    (
        0,
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    ),
    (
        9,
        "f8348e0b1df00833cbbbd08f07abdecc10c0efb78829d7828c62a7f36d0cc549",
    ),
    (
        1048576,
        "631b84027d6b9e52b539c4e8373622d23032dfadc64d60af87339c9037e4f769",
    ),
    (
        1048577,
        "872587d014abb167c4fc4181b4cf5a54653d75b7355b2fa24bcbc454154ab2b1",
    ),
    (
        2097152,
        "d4800d5e12b7a65a607eacfee45771ba5f7e705eebe90ada7d3ebba2f45dce40",
    ),
    (
        3145728,
        "285c6e90d200adda2d498a9dbaf3ea2cd7cdec41c637edbeb3b4240c5ec03a84",
    ),
    (
        5242887,
        "b5d0f4d27c0b7c9ea152e8e591c6074f7cd661587fc89b595440af168c7ce6f2",
    ),
];

/// The body that FORMAT.md describes: byte i is i modulo 251.
fn body(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i % 251) as u8).collect()
}

fn leaves(body: &[u8]) -> Vec<Digest> {
    let chunks = body.chunks(CHUNK).map(|chunk| Digest::of(&[chunk]));
    chunks.collect()
}

/// Written once from the definition: the hash of an inner node by hand.
fn inner(left: Digest, right: Digest) -> Digest {
    Digest::of(&[&[1], &left.0, &right.0])
}

#[test]
fn a_body_of_one_chunk_has_its_own_digest_as_root() {
    for length in [0, 1, CHUNK - 1, CHUNK] {
        let body = body(length);
        assert_eq!(chunks::root_of(&body), Digest::of(&[&body]), "{length}");
        assert_eq!(chunks::count(length as u64), 1);
        assert!(chunks::verify(
            &Digest::of(&[&body]),
            length as u64,
            0,
            &body,
            &[]
        ));
    }
}

#[test]
fn the_shape_is_that_of_the_tree_of_records() {
    let body = body(4 * CHUNK + 1);
    let [a, b, c, d, e] = leaves(&body)[..] else {
        panic!("five chunks")
    };
    let root = inner(inner(inner(a, b), inner(c, d)), e);
    assert_eq!(chunks::root_of(&body), root);
    assert_eq!(chunks::root(body.len() as u64, &leaves(&body)), Some(root));
    let three = inner(inner(a, b), c);
    assert_eq!(chunks::root(2 * CHUNK_BYTES + 1, &[a, b, c]), Some(three));
}

/// A list that a holder makes longer or shorter is none of this body, whatever its root.
#[test]
fn a_list_of_another_length_has_no_root() {
    let leaf = Digest([1; 32]);
    assert_eq!(chunks::root(CHUNK_BYTES, &[leaf, leaf]), None);
    assert_eq!(chunks::root(CHUNK_BYTES + 1, &[leaf]), None);
    assert_eq!(chunks::root(0, &[]), None);
    assert_eq!(chunks::proof(&[leaf], 1), None);
}

#[test]
fn a_proof_holds_for_its_chunk_its_place_and_its_length_alone() {
    let body = body(2 * CHUNK + 5);
    let (length, root, leaves) = (body.len() as u64, chunks::root_of(&body), leaves(&body));
    for (number, chunk) in body.chunks(CHUNK).enumerate() {
        let number = number as u64;
        let path = chunks::proof(&leaves, number).unwrap();
        let holds = |length, number, bytes: &[u8], path: &[Digest]| {
            chunks::verify(&root, length, number, bytes, path)
        };
        assert!(holds(length, number, chunk, &path));
        assert!(!holds(length + 1, number, chunk, &path) || chunk.len() == CHUNK);
        assert!(!holds(length, number + 1, chunk, &path));
        assert!(!holds(length, number, &chunk[1..], &path));
        assert!(!holds(length, number, chunk, &path[1..]));
        let mut longer = path.clone();
        longer.push(root);
        assert!(!holds(length, number, chunk, &longer));
        let mut flipped = chunk.to_vec();
        flipped[0] ^= 1;
        assert!(!holds(length, number, &flipped, &path));
    }
}

/// A leaf has no prefix, so an inner node's 65 bytes hash to what stands in the tree. The
/// length refuses them as a chunk.
#[test]
fn an_inner_node_does_not_pass_for_a_chunk() {
    let body = body(2 * CHUNK + 5);
    let (root, leaves) = (chunks::root_of(&body), leaves(&body));
    let node = [&[1][..], &leaves[0].0, &leaves[1].0].concat();
    for length in [body.len() as u64, CHUNK_BYTES + 65] {
        for number in 0..3 {
            let held = chunks::verify(&root, length, number, &node, &[leaves[2]]);
            assert!(!held, "{length} {number}");
        }
    }
    // A root without its length would prove it: two chunks, of which the first is the node.
    assert_eq!(inner(Digest::of(&[&node]), leaves[2]), root);
}

#[test]
fn chunks_have_the_lengths_that_the_body_gives_them() {
    let length = 2 * CHUNK_BYTES + 5;
    let of = |chunk| chunks::length_of(length, chunk);
    assert_eq!((of(0), of(2), of(3)), (Some(CHUNK_BYTES), Some(5), None));
    assert_eq!(chunks::length_of(0, 0), Some(0));
    assert_eq!(chunks::count(2 * CHUNK_BYTES), 2);
    assert_eq!(
        chunks::length_of(u64::MAX, u64::MAX >> 20),
        Some((1 << 20) - 1)
    );
}

/// Known answers, so that another implementation finds its mistake.
#[test]
fn known_roots() {
    for (length, root) in KNOWN {
        assert_eq!(chunks::root_of(&body(*length)).to_hex(), *root, "{length}");
    }
}
