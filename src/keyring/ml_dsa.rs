//! The ML-DSA-44 cosignature keys of a node or a witness: made, kept, loaded.
//!
//! Promises what is promised of the other key files: owner-only, never replaced, durable
//! before the public part is shown. These keys are in no record of the ledger; whoever
//! holds the file and switched them on cosigns with each of them. Leaves telling the
//! others to [`crate::checkpoint::announcement`].

use super::{KeyringError, fail, read_seed, store_seed};
use crate::clock::Clock;
use muniment_evidence::digest::{Digest, hex};
use muniment_evidence::ml_dsa::{MlDsaPublicKey, MlDsaSecretKey};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const FIRST: &str = "ml-dsa-44.key";
const FURTHER: &str = "ml-dsa-44-";

/// One, and one more while it is exchanged: each adds 3.3 KB to every note.
pub const ML_DSA_KEYS_MAX: usize = 2;

/// `ml-dsa-44.key`, and beside it `ml-dsa-44-<anything>.key`; at least one of them.
pub fn load(dir: &Path) -> Result<Vec<Arc<MlDsaSecretKey>>, KeyringError> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(|error| fail(dir, error))? {
        let path = entry.map_err(|error| fail(dir, error))?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let is_one =
            |name: &str| name == FIRST || name.starts_with(FURTHER) && name.ends_with(".key");
        if name.is_some_and(is_one) {
            paths.push(path);
        }
    }
    paths.sort();
    if paths.is_empty() || paths.len() > ML_DSA_KEYS_MAX {
        let why = format!(
            "holds {} ML-DSA keys, and from 1 to {ML_DSA_KEYS_MAX} are used; one is made by \
             `keygen --post-quantum`",
            paths.len()
        );
        return Err(fail(dir, why));
    }
    let load = |path: &PathBuf| Ok(Arc::new(MlDsaSecretKey::from_seed(&read_seed(path)?)));
    paths.iter().map(load).collect()
}

/// Makes one; if there is one, a further one, whose file is named by its fingerprint.
pub fn generate(dir: &Path, clock: &dyn Clock) -> Result<(PathBuf, MlDsaPublicKey), KeyringError> {
    let mut seed = [0; 32];
    clock.random(&mut seed);
    let public = MlDsaSecretKey::from_seed(&seed).public();
    let mut path = dir.join(FIRST);
    if path.exists() {
        path = dir.join(format!("{FURTHER}{}.key", &fingerprint(&public)[..16]));
    }
    store_seed(&path, &seed)?;
    Ok((path, public))
}

/// SHA-256 of the key, which is itself too long to compare by eye.
pub fn fingerprint(key: &MlDsaPublicKey) -> String {
    hex(&Digest::of(&[key.bytes()]).0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;

    #[test]
    fn keys_are_made_beside_each_other_and_two_at_most_are_used() {
        let dir = tempfile::tempdir().unwrap();
        assert!(load(dir.path()).is_err());
        let (path, first) = generate(dir.path(), &SystemClock).unwrap();
        assert!(path.ends_with(FIRST));
        let (_, second) = generate(dir.path(), &SystemClock).unwrap();
        let held: Vec<_> = load(dir.path()).unwrap();
        let mut public: Vec<_> = held.iter().map(|key| fingerprint(&key.public())).collect();
        let mut made = vec![fingerprint(&first), fingerprint(&second)];
        public.sort();
        made.sort();
        assert_eq!(public, made);
        generate(dir.path(), &SystemClock).unwrap();
        let refusal = load(dir.path()).unwrap_err().to_string();
        assert!(refusal.contains("3 ML-DSA keys"), "{refusal}");
    }
}
