//! The sign guard: the highest head this node has signed, kept outside the database.
//!
//! A node whose database was restored from a backup, or emptied, would otherwise sign a
//! second history of a log that it has vouched for already. So:
//!
//! * before it signs anything, a node has its own size ≥ the guarded size and its own
//!   root at that size equal to the guarded root; behind it waits, different it stops;
//! * a damaged guard is refused, never taken for an empty one;
//! * a received snapshot is refused, and the node stops, unless it holds that root at that
//!   size ([`SignedHead`]);
//! * the guard never goes back, and never changes its root at one size.
//!
//! Crash order. First signature of a boot: 1 [`SignGuard::may_sign`], 2
//! [`SignGuard::advance`] to the head about to be signed (synced), 3 sign. Later ones: 1
//! sign, 2 `advance` within [`TRAIL`], off the hot path. What a crash loses of the trail
//! is covered by step 1 of the next boot: the node signs only after it has caught up
//! with a read index of the ledger.
//!
//! The file is replaced whole: written beside, synced, renamed, folder synced. What is on
//! disk is thus either the old guard or the new one.

use super::{KeyringError, fail};
use crate::domain::ids::TreeSize;
use muniment_evidence::codec::{Reader, Writer};
use muniment_evidence::digest::Digest;
use std::fmt;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How long the guard may trail behind a signature.
pub const TRAIL: Duration = Duration::from_millis(100);

/// The file's name in the data directory.
pub const FILE_NAME: &str = "signguard";

const MAGIC: &[u8; 8] = b"MUNGUARD";
const VERSION: u8 = 1;
/// Magic, version, origin of at most 255 bytes, size, root, checksum.
const FILE_BYTES_MAX: usize = 8 + 1 + 4 + 255 + 8 + 32 + 32;

/// Why a node must not sign now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GuardRefusal {
    /// The node is behind what it signed before: it may sign once it has caught up.
    Wait { own: TreeSize, guarded: TreeSize },
    /// The node's log is not the one that it signed: it must stop.
    Stop {
        size: TreeSize,
        guarded: Digest,
        own: Option<Digest>,
    },
}

impl fmt::Display for GuardRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GuardRefusal::Wait { own, guarded } => write!(
                f,
                "this node has {own} records and has signed {guarded}: it signs again once it has caught up"
            ),
            GuardRefusal::Stop { size, guarded, own } => {
                let own = own.map_or("unknown".to_owned(), Digest::to_hex);
                write!(
                    f,
                    "at size {size} this node signed root {guarded}, and its log now has root \
                     {own}: its disk holds another history; remove the node and let it join \
                     under a new id"
                )
            }
        }
    }
}

impl std::error::Error for GuardRefusal {}

/// What was signed: origin, size and root.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Guarded {
    origin: String,
    size: TreeSize,
    root: Digest,
}

/// What a node has signed, to be asked by whoever would change its history. Cheap to clone;
/// moved by its [`SignGuard`] alone.
#[derive(Clone, Debug, Default)]
pub struct SignedHead(Arc<Mutex<Option<Guarded>>>);

impl SignedHead {
    fn now(&self) -> Option<Guarded> {
        self.0.lock().expect("nobody panics with it").clone()
    }

    /// The highest size signed, and its root; `None` when nothing was.
    pub fn last(&self) -> Option<(TreeSize, Digest)> {
        self.now().map(|guarded| (guarded.size, guarded.root))
    }
}

/// The guard of one node; see the module. Not shared: whoever signs owns it.
#[derive(Debug)]
pub struct SignGuard {
    /// The file; `None` for a guard that lives as long as its process.
    path: Option<PathBuf>,
    origin: String,
    /// `None` until something was signed.
    now: SignedHead,
}

impl SignGuard {
    /// Loads the guard of a data directory. A missing file is the guard of a node that has
    /// signed nothing; whether that can be true is for the marker of the directory to say.
    pub fn load(dir: &Path, origin: &str) -> Result<SignGuard, KeyringError> {
        let path = dir.join(FILE_NAME);
        let now = match fs::read(&path) {
            Ok(bytes) => Some(decode(&bytes).ok_or_else(|| {
                fail(
                    &path,
                    "the sign guard is damaged, so what this node has signed is unknown: \
                     remove the node and let it join under a new id",
                )
            })?),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(fail(&path, error)),
        };
        if let Some(guarded) = &now
            && guarded.origin != origin
        {
            return Err(fail(
                &path,
                format!(
                    "this node signed for {}, and the configuration says {origin}",
                    guarded.origin
                ),
            ));
        }
        Ok(SignGuard {
            path: Some(path),
            origin: origin.to_owned(),
            now: SignedHead(Arc::new(Mutex::new(now))),
        })
    }

    /// The guard of a node that keeps nothing on a disk, and that has signed nothing.
    pub fn in_memory(origin: &str) -> SignGuard {
        SignGuard {
            path: None,
            origin: origin.to_owned(),
            now: SignedHead::default(),
        }
    }

    /// The highest size signed; 0 when nothing was.
    pub fn size(&self) -> TreeSize {
        self.now
            .now()
            .map_or(TreeSize::EMPTY, |guarded| guarded.size)
    }

    /// For whoever must not contradict it.
    pub fn signed(&self) -> SignedHead {
        self.now.clone()
    }

    /// Whether a node of this size may sign. `root_at` is its own root at a size that it
    /// has, `None` when it cannot tell.
    pub fn may_sign(
        &self,
        size: TreeSize,
        root_at: impl Fn(TreeSize) -> Option<Digest>,
    ) -> Result<(), GuardRefusal> {
        let Some(guarded) = self.now.now() else {
            return Ok(());
        };
        if size < guarded.size {
            return Err(GuardRefusal::Wait {
                own: size,
                guarded: guarded.size,
            });
        }
        match root_at(guarded.size) {
            Some(own) if own == guarded.root => Ok(()),
            own => Err(GuardRefusal::Stop {
                size: guarded.size,
                guarded: guarded.root,
                own,
            }),
        }
    }

    /// Makes the head durable as signed. Going back, or to another root at the same size,
    /// is a mistake of the caller that must not reach the disk.
    pub fn advance(&mut self, size: TreeSize, root: Digest) -> Result<(), KeyringError> {
        let next = Guarded {
            origin: self.origin.clone(),
            size,
            root,
        };
        match self.now.now() {
            Some(guarded) if guarded == next => return Ok(()),
            Some(guarded) if size <= guarded.size => {
                return Err(fail(
                    self.place(),
                    format!(
                        "the sign guard stands at size {} and was asked to go to {size}",
                        guarded.size
                    ),
                ));
            }
            _ => {}
        }
        self.persist(&next)
            .map_err(|error| fail(self.place(), error))?;
        *self.now.0.lock().expect("nobody panics with it") = Some(next);
        Ok(())
    }

    fn place(&self) -> &Path {
        self.path.as_deref().unwrap_or(Path::new("memory"))
    }

    fn persist(&self, guarded: &Guarded) -> std::io::Result<()> {
        let Some(path) = &self.path else {
            return Ok(());
        };
        let beside = path.with_extension("new");
        let mut file = File::create(&beside)?;
        file.write_all(&encode(guarded))?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        let folder = path.parent().unwrap_or(Path::new("."));
        File::open(folder)?.sync_all()
    }
}

fn encode(guarded: &Guarded) -> Vec<u8> {
    let mut w = Writer::new();
    w.raw(MAGIC)
        .u8(VERSION)
        .text(&guarded.origin)
        .u64(guarded.size.get())
        .digest(&guarded.root);
    let mut bytes = w.finish();
    let sum = Digest::of(&[&bytes]);
    bytes.extend_from_slice(&sum.0);
    bytes
}

fn decode(bytes: &[u8]) -> Option<Guarded> {
    if bytes.len() > FILE_BYTES_MAX {
        return None;
    }
    let (content, sum) = bytes.split_last_chunk::<32>()?;
    if Digest::of(&[content]).0 != *sum {
        return None;
    }
    let mut r = Reader::new(content);
    if r.raw(8).ok()? != MAGIC || r.u8().ok()? != VERSION {
        return None;
    }
    let guarded = Guarded {
        origin: r.text().ok()?,
        size: TreeSize::read(&mut r).ok()?,
        root: r.digest().ok()?,
    };
    r.end().ok()?;
    Some(guarded)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORIGIN: &str = "ledger.example/0";

    /// The root that an honest log has at a size.
    fn root(size: TreeSize) -> Option<Digest> {
        Some(Digest::of(&[b"root", &size.get().to_be_bytes()]))
    }

    fn guard_at(dir: &Path, size: u64) -> SignGuard {
        let mut guard = SignGuard::load(dir, ORIGIN).unwrap();
        let size = TreeSize::new(size);
        guard.advance(size, root(size).unwrap()).unwrap();
        guard
    }

    #[test]
    fn what_was_signed_outlives_the_process() {
        let dir = tempfile::tempdir().unwrap();
        let fresh = SignGuard::load(dir.path(), ORIGIN).unwrap();
        assert_eq!(fresh.may_sign(TreeSize::EMPTY, root), Ok(()));
        guard_at(dir.path(), 7);
        let guard = SignGuard::load(dir.path(), ORIGIN).unwrap();
        assert_eq!(guard.size(), TreeSize::new(7));
        assert_eq!(guard.may_sign(TreeSize::new(7), root), Ok(()));
        assert_eq!(guard.may_sign(TreeSize::new(9), root), Ok(()));
    }

    /// The database was wiped or restored while the guard was not: the case it is for.
    #[test]
    fn a_wiped_database_waits_and_another_history_stops() {
        let dir = tempfile::tempdir().unwrap();
        let guard = guard_at(dir.path(), 7);
        assert_eq!(
            guard.may_sign(TreeSize::EMPTY, root),
            Err(GuardRefusal::Wait {
                own: TreeSize::EMPTY,
                guarded: TreeSize::new(7)
            })
        );
        let other = |_| Some(Digest([9; 32]));
        for size in [7, 8, 100] {
            let refusal = guard.may_sign(TreeSize::new(size), other);
            let Err(GuardRefusal::Stop { size, .. }) = refusal else {
                panic!("{refusal:?}");
            };
            assert_eq!(size, TreeSize::new(7));
        }
        let refusal = guard.may_sign(TreeSize::new(8), |_| None);
        assert!(matches!(refusal, Err(GuardRefusal::Stop { own: None, .. })));
    }

    #[test]
    fn the_guard_never_goes_back() {
        let dir = tempfile::tempdir().unwrap();
        let mut guard = guard_at(dir.path(), 7);
        assert!(
            guard
                .advance(TreeSize::new(6), root(TreeSize::new(6)).unwrap())
                .is_err()
        );
        assert!(guard.advance(TreeSize::new(7), Digest([9; 32])).is_err());
        guard
            .advance(TreeSize::new(7), root(TreeSize::new(7)).unwrap())
            .unwrap();
        guard
            .advance(TreeSize::new(8), root(TreeSize::new(8)).unwrap())
            .unwrap();
        assert_eq!(
            SignGuard::load(dir.path(), ORIGIN).unwrap().size(),
            TreeSize::new(8)
        );
    }

    #[test]
    fn every_altered_byte_of_the_guard_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        guard_at(dir.path(), 7);
        let path = dir.path().join(FILE_NAME);
        let good = fs::read(&path).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            fs::write(&path, &bad).unwrap();
            assert!(SignGuard::load(dir.path(), ORIGIN).is_err(), "byte {at}");
            fs::write(&path, &good[..at]).unwrap();
            assert!(SignGuard::load(dir.path(), ORIGIN).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn the_guard_of_another_ledger_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        guard_at(dir.path(), 7);
        assert!(SignGuard::load(dir.path(), "ledger.example/1").is_err());
    }

    /// A crash between writing and renaming leaves the old guard in force.
    #[test]
    fn a_half_written_guard_beside_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let mut guard = guard_at(dir.path(), 7);
        fs::write(dir.path().join("signguard.new"), b"half").unwrap();
        assert_eq!(
            SignGuard::load(dir.path(), ORIGIN).unwrap().size(),
            TreeSize::new(7)
        );
        guard
            .advance(TreeSize::new(8), root(TreeSize::new(8)).unwrap())
            .unwrap();
        assert_eq!(
            SignGuard::load(dir.path(), ORIGIN).unwrap().size(),
            TreeSize::new(8)
        );
    }
}
