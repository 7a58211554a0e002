//! The node's private keys: made, kept owner-only, loaded, signed with.
//!
//! Promises: a key file that others may read is refused; a new key is durable before its
//! public part is shown. Three roles: `statement.key` signs what the node attests,
//! `cosignature.key` vouches for checkpoints as this node, `log.key` is the ledger's own
//! and the same on every voter; `log-<id>.key` and the like were added since. Beside them
//! [`ml_dsa`] keys, where they are switched on. Leaves
//! which key is in force to the ledger's key history, and *when* a checkpoint may be
//! signed to the callers, who must ask the [`guard`] first.

pub mod guard;
pub mod ml_dsa;

pub use guard::{GuardRefusal, SignGuard};

use crate::clock::Clock;
use crate::sync::Shared;
use muniment_evidence::digest::{hex, unhex};
use muniment_evidence::key::{PublicKey, SecretKey, Signature, Signer};
use muniment_evidence::keychange::Role;
use muniment_evidence::ml_dsa::MlDsaSecretKey;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const STATEMENT: &str = "statement.key";
const COSIGNATURE: &str = "cosignature.key";
const LOG: &str = "log.key";
/// Of a witness, which runs outside and shares no other key with a node.
const WITNESS: &str = "witness.key";

/// Why keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// A key file, and what is wrong with it.
    #[error("{}: {error}", path.display())]
    File {
        path: PathBuf,
        #[source]
        error: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("there is no {0} key; make one with `muniment keygen`")]
    Missing(Role),
    #[error("the statement key {0:?} is not held")]
    NotHeld(PublicKey),
}

/// All keys that a node holds: of each role the one it was made with, and those added
/// since. Which of them is in force is for the ledger's key history to say.
pub struct Keyring {
    /// `None` in memory.
    dir: Option<PathBuf>,
    held: Shared<Vec<(Role, Arc<SecretKey>)>>,
    /// The active key: under it the node makes its statements and holdings.
    active: Shared<Arc<SecretKey>>,
    /// None unless they are switched on.
    ml_dsa: Vec<Arc<MlDsaSecretKey>>,
}

/// What others may know of a node's own keys.
#[derive(Clone, Copy, Debug)]
pub struct PublicKeys {
    pub statement: PublicKey,
    pub cosignature: PublicKey,
}

impl Keyring {
    pub fn load(dir: &Path) -> Result<Keyring, KeyringError> {
        let held = read_all(dir)?;
        let mut ring = Keyring::holding(held)?;
        ring.dir = Some(dir.to_owned());
        Ok(ring)
    }

    /// Keys in memory, one of each role at least.
    pub fn holding(held: Vec<(Role, Arc<SecretKey>)>) -> Result<Keyring, KeyringError> {
        let first = |role| {
            let found = held.iter().find(|(held, _)| *held == role);
            found
                .map(|(_, key)| key.clone())
                .ok_or(KeyringError::Missing(role))
        };
        first(Role::Cosignature)?;
        first(Role::Log)?;
        Ok(Keyring {
            active: Shared::new(first(Role::Statement)?),
            dir: None,
            held: Shared::new(held),
            ml_dsa: Vec::new(),
        })
    }

    /// The same, and the ML-DSA keys where they are switched on.
    pub fn load_all(dir: &Path, post_quantum: bool) -> Result<Keyring, KeyringError> {
        let keyring = Keyring::load(dir)?;
        match post_quantum {
            true => Ok(keyring.with_ml_dsa(ml_dsa::load(dir)?)),
            false => Ok(keyring),
        }
    }

    /// Cosigns with these keys too.
    pub fn with_ml_dsa(mut self, keys: Vec<Arc<MlDsaSecretKey>>) -> Keyring {
        self.ml_dsa = keys;
        self
    }

    /// The ML-DSA keys that the node cosigns with.
    pub fn ml_dsa(&self) -> &[Arc<MlDsaSecretKey>] {
        &self.ml_dsa
    }

    /// The private part of a key, if it is held.
    pub fn find(&self, role: Role, key: &PublicKey) -> Option<Arc<SecretKey>> {
        let held = self.held.lock();
        held.iter()
            .find(|(held, secret)| *held == role && secret.public() == *key)
            .map(|(_, secret)| secret.clone())
    }

    /// The public parts of the keys held in a role, the first made first.
    pub fn public(&self, role: Role) -> Vec<PublicKey> {
        let held = self.held.lock();
        let of_role = held.iter().filter(|(held, _)| *held == role);
        of_role.map(|(_, secret)| secret.public()).collect()
    }

    /// Looks again for key files that were put there since. Blocking: a few small files.
    pub fn reload(&self) -> Result<(), KeyringError> {
        let Some(dir) = &self.dir else {
            return Ok(());
        };
        let held = read_all(dir)?;
        *self.held.lock() = held;
        Ok(())
    }

    /// From now on the node signs under this key, one of those held.
    pub fn sign_under(&self, key: &PublicKey) -> Result<Arc<SecretKey>, KeyringError> {
        let secret = self
            .find(Role::Statement, key)
            .ok_or(KeyringError::NotHeld(*key))?;
        *self.active.lock() = secret.clone();
        Ok(secret)
    }
}

/// Signs as the node: statements and holdings.
impl Signer for Keyring {
    fn public(&self) -> PublicKey {
        self.active.lock().public()
    }

    fn sign(&self, message: &[u8]) -> Signature {
        let active = self.active.lock().clone();
        active.sign(message)
    }
}

/// `statement.key`, and beside it `statement-<anything>.key`; so for each role.
fn read_all(dir: &Path) -> Result<Vec<(Role, Arc<SecretKey>)>, KeyringError> {
    let mut held = Vec::new();
    for (role, first) in [
        (Role::Statement, STATEMENT),
        (Role::Cosignature, COSIGNATURE),
        (Role::Log, LOG),
    ] {
        held.push((role, Arc::new(load(&dir.join(first))?)));
        let prefix = format!("{role}-");
        let mut added: Vec<PathBuf> = std::fs::read_dir(dir)
            .map_err(|error| fail(dir, error))?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| {
                let name = path.file_name().and_then(|name| name.to_str());
                name.is_some_and(|name| name.starts_with(&prefix) && name.ends_with(".key"))
            })
            .collect();
        added.sort();
        for path in added {
            held.push((role, Arc::new(load(&path)?)));
        }
    }
    Ok(held)
}

/// Makes a further key of a role beside those there are; its file is named by its id.
pub fn generate_further(
    dir: &Path,
    role: Role,
    clock: &dyn Clock,
) -> Result<(PathBuf, PublicKey), KeyringError> {
    let mut seed = [0; 32];
    clock.random(&mut seed);
    let key = SecretKey::from_seed(&seed);
    let public = key.public();
    let path = dir.join(format!("{role}-{}.key", &hex(&public.0)[..16]));
    store(&path, &key)?;
    Ok((path, public))
}

/// Key files of a role in a directory, made until there are so many; and their public keys.
pub fn at_least(
    dir: &Path,
    role: Role,
    count: usize,
    clock: &dyn Clock,
) -> Result<Vec<(PathBuf, PublicKey)>, KeyringError> {
    let prefix = format!("{role}-");
    let mut files = Vec::new();
    if dir.exists() {
        for entry in std::fs::read_dir(dir).map_err(|error| fail(dir, error))? {
            let path = entry.map_err(|error| fail(dir, error))?.path();
            let name = path.file_name().and_then(|name| name.to_str());
            if name.is_some_and(|name| name.starts_with(&prefix) && name.ends_with(".key")) {
                let key = load(&path)?.public();
                files.push((path, key));
            }
        }
    }
    while files.len() < count {
        files.push(generate_further(dir, role, clock)?);
    }
    files.sort();
    Ok(files)
}

/// Reads one key file: to endorse a change with it.
pub fn read_key(path: &Path) -> Result<SecretKey, KeyringError> {
    load(path)
}

/// Makes a node's own keys; refuses to replace any.
pub fn generate(dir: &Path, clock: &dyn Clock) -> Result<PublicKeys, KeyringError> {
    Ok(PublicKeys {
        statement: make(&dir.join(STATEMENT), clock)?.public(),
        cosignature: make(&dir.join(COSIGNATURE), clock)?.public(),
    })
}

/// Makes the ledger's log key; it is then copied to every voter.
pub fn generate_log_key(dir: &Path, clock: &dyn Clock) -> Result<PublicKey, KeyringError> {
    Ok(make(&dir.join(LOG), clock)?.public())
}

/// Puts a copy of the log key of `from` into `to`.
pub fn copy_log_key(from: &Path, to: &Path) -> Result<(), KeyringError> {
    let key = load(&from.join(LOG))?;
    store(&to.join(LOG), &key)
}

/// Makes the key of an outside witness; refuses to replace one.
pub fn generate_witness_key(dir: &Path, clock: &dyn Clock) -> Result<PublicKey, KeyringError> {
    Ok(make(&dir.join(WITNESS), clock)?.public())
}

pub fn load_witness_key(dir: &Path) -> Result<SecretKey, KeyringError> {
    load(&dir.join(WITNESS))
}

fn fail(path: &Path, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> KeyringError {
    KeyringError::File {
        path: path.to_owned(),
        error: error.into(),
    }
}

fn load(path: &Path) -> Result<SecretKey, KeyringError> {
    Ok(SecretKey::from_seed(&read_seed(path)?))
}

fn read_seed(path: &Path) -> Result<[u8; 32], KeyringError> {
    let mode = std::fs::metadata(path)
        .map_err(|error| match error.kind() {
            ErrorKind::NotFound => fail(path, "is not there; make keys with `muniment keygen`"),
            _ => fail(path, error),
        })?
        .mode();
    if mode & 0o077 != 0 {
        let mode = mode & 0o777;
        return Err(fail(
            path,
            format!("mode {mode:o} lets others read it; run chmod 600"),
        ));
    }
    let text = std::fs::read_to_string(path).map_err(|error| fail(path, error))?;
    let seed = unhex(text.trim()).and_then(|seed| seed.try_into().ok());
    seed.ok_or_else(|| fail(path, "is not a key of 64 hexadecimal digits"))
}

fn make(path: &Path, clock: &dyn Clock) -> Result<SecretKey, KeyringError> {
    let mut seed = [0; 32];
    clock.random(&mut seed);
    let key = SecretKey::from_seed(&seed);
    store(path, &key)?;
    Ok(key)
}

fn store(path: &Path, key: &SecretKey) -> Result<(), KeyringError> {
    store_seed(path, &key.seed())
}

fn store_seed(path: &Path, seed: &[u8; 32]) -> Result<(), KeyringError> {
    let dir = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(dir).map_err(|error| fail(dir, error))?;
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(|error| fail(path, error))?;
    writeln!(file, "{}", hex(seed))
        .and_then(|()| file.sync_all())
        .and_then(|()| std::fs::File::open(dir)?.sync_all())
        .map_err(|error| fail(path, error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn keys_are_made_once_kept_private_and_loaded_back() {
        let dir = tempfile::tempdir().unwrap();
        let made = generate(dir.path(), &SystemClock).unwrap();
        let log = generate_log_key(dir.path(), &SystemClock).unwrap();
        let ring = Keyring::load(dir.path()).unwrap();
        assert_eq!(ring.public(Role::Statement), [made.statement]);
        assert_eq!(ring.public(Role::Log), [log]);
        let (_, further) = generate_further(dir.path(), Role::Log, &SystemClock).unwrap();
        assert!(ring.find(Role::Log, &further).is_none());
        ring.reload().unwrap();
        assert_eq!(ring.public(Role::Log), [log, further]);
        assert!(ring.find(Role::Cosignature, &further).is_none());
        assert!(generate(dir.path(), &SystemClock).is_err());
        let open = std::fs::Permissions::from_mode(0o644);
        std::fs::set_permissions(dir.path().join(LOG), open).unwrap();
        let refusal = Keyring::load(dir.path()).err().unwrap().to_string();
        assert!(refusal.contains("chmod 600"), "{refusal}");
    }
}
