//! The node's private keys: made, kept owner-only, loaded, signed with.
//!
//! Promises: a key file that others may read is refused; a new key is durable before its
//! public part is shown. Three keys: `statement.key` signs what the node attests,
//! `cosignature.key` vouches for checkpoints as this node, `log.key` is the ledger's own
//! and the same on every voter. Leaves *when* a checkpoint may be signed to the callers,
//! who must ask the [`guard`] first.

pub mod guard;

pub use guard::{GuardRefusal, SignGuard};

use crate::clock::Clock;
use muniment_evidence::digest::{hex, unhex};
use muniment_evidence::key::{PublicKey, SecretKey, Signer as _};
use std::fmt;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::Arc;

const STATEMENT: &str = "statement.key";
const COSIGNATURE: &str = "cosignature.key";
const LOG: &str = "log.key";
/// Of a witness, which runs outside and shares no other key with a node.
const WITNESS: &str = "witness.key";

/// Why keys cannot be used.
#[derive(Debug)]
pub struct Error(String);

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

/// All keys of a node.
pub struct Keyring {
    pub statement: Arc<SecretKey>,
    pub cosignature: Arc<SecretKey>,
    pub log: Arc<SecretKey>,
}

/// What others may know of a node's own keys.
#[derive(Clone, Copy, Debug)]
pub struct PublicKeys {
    pub statement: PublicKey,
    pub cosignature: PublicKey,
}

impl Keyring {
    pub fn load(dir: &Path) -> Result<Keyring, Error> {
        let load = |name| load(&dir.join(name)).map(Arc::new);
        Ok(Keyring {
            statement: load(STATEMENT)?,
            cosignature: load(COSIGNATURE)?,
            log: load(LOG)?,
        })
    }
}

/// Makes a node's own keys; refuses to replace any.
pub fn generate(dir: &Path, clock: &dyn Clock) -> Result<PublicKeys, Error> {
    Ok(PublicKeys {
        statement: make(&dir.join(STATEMENT), clock)?.public(),
        cosignature: make(&dir.join(COSIGNATURE), clock)?.public(),
    })
}

/// Makes the ledger's log key; it is then copied to every voter.
pub fn generate_log_key(dir: &Path, clock: &dyn Clock) -> Result<PublicKey, Error> {
    Ok(make(&dir.join(LOG), clock)?.public())
}

/// Puts a copy of the log key of `from` into `to`.
pub fn copy_log_key(from: &Path, to: &Path) -> Result<(), Error> {
    let key = load(&from.join(LOG))?;
    store(&to.join(LOG), &key)
}

/// Makes the key of an outside witness; refuses to replace one.
pub fn generate_witness_key(dir: &Path, clock: &dyn Clock) -> Result<PublicKey, Error> {
    Ok(make(&dir.join(WITNESS), clock)?.public())
}

pub fn load_witness_key(dir: &Path) -> Result<SecretKey, Error> {
    load(&dir.join(WITNESS))
}

fn fail(path: &Path, why: impl fmt::Display) -> Error {
    Error(format!("{}: {why}", path.display()))
}

fn load(path: &Path) -> Result<SecretKey, Error> {
    let mode = std::fs::metadata(path)
        .map_err(|error| fail(path, format!("{error}; make keys with `muniment keygen`")))?
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
    match seed {
        Some(seed) => Ok(SecretKey::from_seed(&seed)),
        None => Err(fail(path, "is not a key of 64 hexadecimal digits")),
    }
}

fn make(path: &Path, clock: &dyn Clock) -> Result<SecretKey, Error> {
    let mut seed = [0; 32];
    clock.random(&mut seed);
    let key = SecretKey::from_seed(&seed);
    store(path, &key)?;
    Ok(key)
}

fn store(path: &Path, key: &SecretKey) -> Result<(), Error> {
    let dir = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(dir).map_err(|error| fail(dir, error))?;
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(|error| fail(path, error))?;
    writeln!(file, "{}", hex(&key.seed()))
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
        assert_eq!(ring.statement.public(), made.statement);
        assert_eq!(ring.log.public(), log);
        assert!(generate(dir.path(), &SystemClock).is_err());
        let open = std::fs::Permissions::from_mode(0o644);
        std::fs::set_permissions(dir.path().join(LOG), open).unwrap();
        let refusal = Keyring::load(dir.path()).err().unwrap().to_string();
        assert!(refusal.contains("chmod 600"), "{refusal}");
    }
}
