//! Seeds that are known to fail, until what they found is mended.
//!
//! Each line of `known.tsv` is a seed, the invariant by whose breach it fails, and what is
//! wrong. Such a seed must fail, and just so: one that passes has lost its meaning.

const KNOWN: &str = include_str!("known.tsv");

/// The beginning of the breach by which a seed must fail.
pub fn expected(seed: u64) -> Option<&'static str> {
    KNOWN
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once('\t'))
        .find(|(known, _)| known.parse() == Ok(seed))
        .and_then(|(_, rest)| rest.split('\t').next())
}
