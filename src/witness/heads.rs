//! What a witness remembers: per origin one file with the note it cosigned last.
//!
//! Promises: a file is replaced whole and is durable before [`HeadFile::replace`] returns
//! (1 written beside, 2 fsync, 3 rename, 4 fsync of the folder), so a crash leaves the old
//! note or the new one. A file that is damaged, or that another key cosigned, is refused
//! and never taken for an empty one. Leaves one writer at a time to the [`server`], and
//! one process at a time to [`claim`].
//!
//! A file is the note as monitors fetch it, and after it the SHA-256 of its bytes.
//!
//! [`server`]: super::server

use crate::domain::cause::{AnyError, Cause};
use muniment_evidence::digest::Digest;
use muniment_evidence::note::{Checkpoint, NOTE_BYTES_MAX, Note, VerifierKey, Vouch};
use muniment_evidence::witness::Head;
use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

/// Held by the process that writes below the folder.
const LOCK: &str = "LOCK";
/// 64 hexadecimal digits and a line feed.
const SUM_BYTES: usize = 65;

/// What was cosigned last for one origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    pub head: Head,
    pub time_s: u64,
    /// With the log's line and the witness's.
    pub note: String,
}

/// The name under which an origin is kept and shown: one path element, whatever it is.
pub fn name_of(origin: &str) -> String {
    Digest::of(&[origin.as_bytes()]).to_hex()
}

/// Makes the folder this process's alone, for as long as the file is held: two processes
/// that each compare with their own memory could cosign a contradiction.
pub fn claim(dir: &Path) -> Result<File, Cause> {
    let failed = |error: Box<AnyError>| Cause::at(dir.display(), error);
    create(dir).map_err(|error| failed(error.into()))?;
    let lock = File::create(dir.join(LOCK)).map_err(|error| failed(error.into()))?;
    match rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(lock),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(failed("another witness uses it".into())),
        Err(error) => Err(failed(error.into())),
    }
}

/// A folder that a crash could take away again would take what is in it along.
fn create(dir: &Path) -> std::io::Result<()> {
    let missing = dir.ancestors().take_while(|part| !part.exists()).count();
    fs::create_dir_all(dir)?;
    for parent in dir.ancestors().skip(1).take(missing) {
        let here = parent.as_os_str().is_empty();
        File::open(if here { Path::new(".") } else { parent })?.sync_all()?;
    }
    Ok(())
}

/// The file of one origin.
pub struct HeadFile {
    path: PathBuf,
    origin: String,
    witness: VerifierKey,
}

impl HeadFile {
    pub fn new(dir: &Path, origin: &str, witness: &VerifierKey) -> HeadFile {
        HeadFile {
            path: dir.join(name_of(origin)),
            origin: origin.to_owned(),
            witness: witness.clone(),
        }
    }

    /// `None` if nothing was cosigned yet; an error says why the file is not believed.
    pub fn load(&self) -> Result<Option<Kept>, String> {
        let failed = |why: &dyn std::fmt::Display| format!("{}: {why}", self.path.display());
        match fs::metadata(&self.path) {
            Ok(meta) if meta.len() > (NOTE_BYTES_MAX + SUM_BYTES) as u64 => {
                return Err(failed(&"is longer than any note"));
            }
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(&error)),
        }
        let bytes = fs::read(&self.path).map_err(|error| failed(&error))?;
        let kept = self.read(&bytes).map_err(|why| failed(&why))?;
        Ok(Some(kept))
    }

    fn read(&self, bytes: &[u8]) -> Result<Kept, &'static str> {
        const DAMAGED: &str = "is damaged, so what was cosigned is unknown";
        let note = bytes.len().checked_sub(SUM_BYTES).ok_or(DAMAGED)?;
        let (note, sum) = bytes.split_at(note);
        if sum != checksum(note).as_bytes() {
            return Err(DAMAGED);
        }
        let parsed = Note::parse(note).map_err(|_| DAMAGED)?;
        let Vouch::Cosigned { time_s } = parsed.vouch(&self.witness) else {
            return Err("was not cosigned by this witness's key under its name");
        };
        let checkpoint = Checkpoint::parse(&parsed.text).map_err(|_| DAMAGED)?;
        if checkpoint.origin != self.origin {
            return Err("is of another origin");
        }
        Ok(Kept {
            head: Head {
                size: checkpoint.size,
                root: checkpoint.root,
            },
            time_s,
            note: String::from_utf8(note.to_vec()).map_err(|_| DAMAGED)?,
        })
    }

    /// Makes the note durable as the one cosigned last. After an error it is unknown which
    /// of the two is on disk.
    pub fn replace(&self, note: &str) -> std::io::Result<()> {
        let beside = self.path.with_extension("new");
        let mut file = File::create(&beside)?;
        file.write_all(note.as_bytes())?;
        file.write_all(checksum(note.as_bytes()).as_bytes())?;
        file.sync_all()?;
        fs::rename(&beside, &self.path)?;
        let folder = self.path.parent().unwrap_or(Path::new("."));
        File::open(folder)?.sync_all()
    }
}

fn checksum(note: &[u8]) -> String {
    Digest::of(&[note]).to_hex() + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::TreeSize;
    use muniment_evidence::key::{SecretKey, Signer as _};

    const ORIGIN: &str = "ledger.example/0";

    fn cosigned(size: u64, key: &SecretKey) -> String {
        let checkpoint = Checkpoint {
            origin: ORIGIN.into(),
            size: TreeSize::new(size),
            root: Digest([size as u8; 32]),
        };
        checkpoint.sign(&SecretKey::from_seed(&[1; 32])) + &checkpoint.cosign("w", key, 77)
    }

    fn file_in(dir: &Path, key: &SecretKey) -> HeadFile {
        HeadFile::new(dir, ORIGIN, &VerifierKey::cosigner("w", key.public()))
    }

    #[test]
    fn what_was_cosigned_outlives_the_process() {
        let (dir, key) = (tempfile::tempdir().unwrap(), SecretKey::from_seed(&[2; 32]));
        let file = file_in(dir.path(), &key);
        assert_eq!(file.load(), Ok(None));
        for size in [3, 9] {
            file.replace(&cosigned(size, &key)).unwrap();
            let kept = file_in(dir.path(), &key).load().unwrap().unwrap();
            assert_eq!((kept.head.size.get(), kept.time_s), (size, 77));
            assert_eq!(kept.note, cosigned(size, &key));
        }
        // A crash between writing and renaming leaves the old note in force.
        fs::write(file.path.with_extension("new"), b"half").unwrap();
        assert_eq!(file.load().unwrap().unwrap().head.size, TreeSize::new(9));
    }

    #[test]
    fn a_damaged_or_foreign_file_is_never_taken_for_an_empty_one() {
        let (dir, key) = (tempfile::tempdir().unwrap(), SecretKey::from_seed(&[2; 32]));
        let file = file_in(dir.path(), &key);
        file.replace(&cosigned(3, &key)).unwrap();
        let good = fs::read(&file.path).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            fs::write(&file.path, &bad).unwrap();
            assert!(file.load().is_err(), "byte {at}");
            fs::write(&file.path, &good[..at]).unwrap();
            assert!(file.load().is_err(), "cut at {at}");
        }
        fs::write(&file.path, &good).unwrap();
        let stranger = file_in(dir.path(), &SecretKey::from_seed(&[3; 32]));
        assert!(stranger.load().is_err(), "another key");
        let witness = VerifierKey::cosigner("w", key.public());
        let other = HeadFile::new(dir.path(), "ledger.example/1", &witness);
        fs::copy(&file.path, &other.path).unwrap();
        assert!(other.load().is_err(), "another origin");
    }

    #[test]
    fn one_process_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let held = claim(dir.path()).unwrap();
        assert!(
            claim(dir.path())
                .unwrap_err()
                .to_string()
                .contains("another witness")
        );
        drop(held);
        claim(dir.path()).unwrap();
    }
}
