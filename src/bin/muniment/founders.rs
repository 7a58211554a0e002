//! The keys of those who found a ledger: an operator's, and offline roots.
//!
//! Promises: they are made once, in files that nobody else can read, and found again by a
//! second try; who does without them says so by name. Leaves keeping them to people: root
//! keys belong on machines without a network.

use muniment::clock::SystemClock;
use muniment::keyring::{self, KeyringError};
use muniment_evidence::key::PublicKey;
use muniment_evidence::keychange::Role;
use std::path::{Path, PathBuf};

/// Of three root keys two endorse a change: one may be lost, and one alone does nothing.
pub const ROOT_KEYS: usize = 3;
pub const ROOT_THRESHOLD: u32 = 2;

#[derive(clap::Args, Clone, Copy, Debug)]
pub struct Waivers {
    /// Found without an operator key: then any voter's word changes the members
    #[arg(long)]
    pub waive_operator: bool,
    /// Found without root keys: then a majority of the members changes keys
    #[arg(long)]
    pub waive_roots: bool,
}

/// Files and public keys.
#[derive(Default)]
pub struct FoundersKeys {
    pub operators: Vec<(PathBuf, PublicKey)>,
    pub roots: Vec<(PathBuf, PublicKey)>,
}

impl FoundersKeys {
    /// Those in a directory; what is not there yet is made.
    pub fn in_dir(dir: &Path, waived: Waivers) -> Result<FoundersKeys, KeyringError> {
        let keys = |waived, role, count| match waived {
            true => Ok(Vec::new()),
            false => keyring::at_least(dir, role, count, &SystemClock),
        };
        Ok(FoundersKeys {
            operators: keys(waived.waive_operator, Role::Operator, 1)?,
            roots: keys(waived.waive_roots, Role::Root, ROOT_KEYS)?,
        })
    }

    pub fn threshold(&self) -> u32 {
        match self.roots.is_empty() {
            true => 0,
            false => ROOT_THRESHOLD,
        }
    }
}

pub fn files(keys: &[(PathBuf, PublicKey)]) -> Vec<PathBuf> {
    keys.iter().map(|(path, _)| path.clone()).collect()
}

/// As they are sent.
pub fn public(keys: &[(PathBuf, PublicKey)]) -> Vec<bytes::Bytes> {
    let sent = |(_, key): &(PathBuf, PublicKey)| key.0.to_vec().into();
    keys.iter().map(sent).collect()
}
