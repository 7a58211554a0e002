//! The outbox: statements of deferred downloads, durable here before any byte leaves.
//!
//! One file for each outbox, beside the databases so that it can be lost by itself. What
//! `append` was given is synced when it returns; what the ledger has recorded since is
//! dropped. Leaves numbering, signing and draining to `recorder/`.
//!
//! | stored thing | trusted? | what if changed? | what if lost? |
//! |---|---|---|---|
//! | `outbox/<id>.log` | no: every frame has a checksum, every statement its number, its predecessor and its signature | a broken last frame is cut off, as the torn write that it nearly always is; before others, the file counts as lost | the node's next BOOT says LOST: what was not recorded will never be |
//!
//! Crash order. Append: 1 write, 2 fsync, 3 return. Trim: 1 what still waits written
//! aside, 2 fsync, 3 rename, 4 fsync the directory; before 3 the old file counts, and what
//! it has too much is found in the ledger.

mod frames;

pub use self::frames::FrameError;
use self::frames::{FRAME_BYTES_MAX, HEADER_BYTES, frame, header, parse};
use super::StoreError;
use super::marker::write_durably;
use crate::domain::command::Submission;
use crate::domain::ids::{OutboxId, Sequence};
use crate::sync::Shared;
use muniment_evidence::digest::Digest;
use std::collections::{BTreeMap, VecDeque};
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// The most statements of one append: a frame of them stays below its own limit.
pub const APPEND_MAX: usize = 256;
/// A statement with its openings, of a download: a few names and numbers.
const SUBMISSION_BYTES_MAX: usize = 4 << 10;
const _: () = assert!(APPEND_MAX * SUBMISSION_BYTES_MAX <= FRAME_BYTES_MAX);
/// The longest file that is opened: the most that may wait, and as much again drained.
const FILE_BYTES_MAX: u64 = 1 << 30;
/// A file is rewritten when it is longer than this and mostly drained: seldom, so that
/// the fsyncs of trimming are few beside those of appending.
const TRIM_BYTES: u64 = 1 << 20;

type Files = Shared<BTreeMap<OutboxId, Vec<u8>>>;

/// Where the outboxes of a node lie. Cheap to clone.
#[derive(Clone)]
pub struct OutboxDir(Place);

#[derive(Clone)]
enum Place {
    Disk(PathBuf),
    /// For a node in memory: the files live as long as this value.
    Memory(Files),
}

/// One outbox, held open.
pub struct OutboxLog {
    id: OutboxId,
    place: Place,
    /// `None` in memory.
    file: Option<File>,
    file_bytes: u64,
    /// Hash of the statement before the first that waits; zero at 0.
    before: Digest,
    next: Sequence,
    last: Digest,
    waiting: VecDeque<Submission>,
    waiting_bytes: u64,
}

/// What was found under an id.
pub enum OutboxFound {
    Open(OutboxLog),
    /// There is something, and it cannot be relied on: why.
    Damaged(FrameError),
    Nothing,
}

/// Why nothing was appended.
#[derive(Debug, thiserror::Error)]
pub enum AppendRefusal {
    /// The file is as it was.
    #[error("the disk has no room: {0}")]
    NoRoom(#[source] std::io::Error),
    /// Whether it is durable is unknown; final, the node stops.
    #[error(transparent)]
    Failed(#[from] StoreError),
}

impl OutboxDir {
    pub fn on_disk(dir: PathBuf) -> OutboxDir {
        OutboxDir(Place::Disk(dir))
    }

    pub fn in_memory() -> OutboxDir {
        OutboxDir(Place::Memory(Files::default()))
    }

    /// The ids for which there is a file, in order.
    pub fn list(&self) -> Result<Vec<OutboxId>, StoreError> {
        let dir = match &self.0 {
            Place::Memory(files) => return Ok(files.lock().keys().copied().collect()),
            Place::Disk(dir) => dir,
        };
        let entries = match std::fs::read_dir(dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(StoreError::file(dir, error)),
        };
        let mut ids = Vec::new();
        for entry in entries {
            let name = entry
                .map_err(|error| StoreError::file(dir, error))?
                .file_name();
            ids.extend(name.to_str().and_then(id_of));
        }
        ids.sort_unstable();
        Ok(ids)
    }

    /// Makes an empty outbox, durably.
    pub fn create(&self, id: OutboxId) -> Result<OutboxLog, StoreError> {
        if let Place::Disk(dir) = &self.0 {
            std::fs::create_dir_all(dir).map_err(|error| StoreError::file(dir, error))?;
            let above = dir.parent().unwrap_or(Path::new("."));
            // The directory must outlive a power cut as its file does.
            File::open(above)
                .and_then(|above| above.sync_all())
                .map_err(|error| StoreError::file(above, error))?;
        }
        let mut log = OutboxLog {
            id,
            place: self.0.clone(),
            file: None,
            file_bytes: 0,
            before: Digest::ZERO,
            next: Sequence::FIRST,
            last: Digest::ZERO,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
        };
        log.rewrite()?;
        Ok(log)
    }

    /// Opens an outbox and cuts a torn tail off.
    pub fn open(&self, id: OutboxId) -> Result<OutboxFound, StoreError> {
        let bytes = match &self.0 {
            Place::Memory(files) => files.lock().get(&id).cloned(),
            Place::Disk(dir) => read(&path(dir, id))?,
        };
        let Some(bytes) = bytes else {
            return Ok(OutboxFound::Nothing);
        };
        let parsed = match parse(id, &bytes) {
            Ok(parsed) => parsed,
            Err(why) => return Ok(OutboxFound::Damaged(why)),
        };
        let (intact, length) = (parsed.intact, bytes.len());
        let waiting_bytes = parsed.waiting.iter().map(bytes_of).sum();
        let mut log = OutboxLog {
            id,
            place: self.0.clone(),
            file: None,
            file_bytes: intact as u64,
            before: parsed.before,
            next: parsed.first.after(parsed.waiting.len() as u64),
            last: parsed.last,
            waiting: parsed.waiting,
            waiting_bytes,
        };
        log.attach()?;
        if intact < length {
            tracing::warn!(
                outbox = id.get(),
                cut = length - intact,
                "a torn append is cut off"
            );
            log.cut()?;
        }
        Ok(OutboxFound::Open(log))
    }

    /// Puts a file out of the way that cannot be relied on, for people to look at.
    pub fn set_aside(&self, id: OutboxId) -> Result<(), StoreError> {
        match &self.0 {
            Place::Memory(files) => {
                files.lock().remove(&id);
                Ok(())
            }
            Place::Disk(dir) => {
                let from = path(dir, id);
                std::fs::rename(&from, from.with_extension("aside"))
                    .and_then(|()| File::open(dir)?.sync_all())
                    .map_err(|error| StoreError::file(&from, error))
            }
        }
    }
}

impl OutboxLog {
    pub fn id(&self) -> OutboxId {
        self.id
    }

    /// The seq that the next statement will have.
    pub fn next(&self) -> Sequence {
        self.next
    }

    /// Hash of the statement before [`OutboxLog::next`]; zero at 0.
    pub fn last(&self) -> Digest {
        self.last
    }

    /// The seq of the first statement that waits, or the next one where none does.
    pub fn first(&self) -> Sequence {
        self.next.before(self.waiting.len() as u64)
    }

    /// What was appended and not yet dropped, in order.
    pub fn waiting(&self) -> &VecDeque<Submission> {
        &self.waiting
    }

    /// Hash of the statement before `seq`, where that is still known.
    pub fn hash_before(&self, seq: Sequence) -> Option<Digest> {
        match seq.get().checked_sub(self.first().get())? {
            0 => Some(self.before),
            n => Some(self.waiting.get(n as usize - 1)?.statement.hash()),
        }
    }

    /// Writes statements that go on from the last and syncs them.
    pub fn append(&mut self, batch: Vec<Submission>) -> Result<(), AppendRefusal> {
        let mut expected = (self.next, self.last);
        for submission in &batch {
            let statement = &submission.statement;
            assert!(
                (statement.seq, statement.prev) == expected,
                "a statement is numbered under the lock of its outbox"
            );
            expected = (statement.seq.next(), statement.hash());
        }
        let frame = frame(self.next, &batch);
        match &mut self.file {
            None => {
                if let Place::Memory(files) = &self.place {
                    let mut files = files.lock();
                    files.entry(self.id).or_default().extend(&frame);
                }
            }
            Some(file) => {
                if let Err(error) = file.write_all(&frame) {
                    self.cut().map_err(AppendRefusal::Failed)?;
                    return Err(AppendRefusal::NoRoom(error));
                }
                if let Err(error) = file.sync_data() {
                    // What is durable now is unknown, and asking again does not tell.
                    return Err(AppendRefusal::Failed(self.failed(error)));
                }
            }
        }
        self.file_bytes += frame.len() as u64;
        (self.next, self.last) = expected;
        self.waiting_bytes += batch.iter().map(bytes_of).sum::<u64>();
        self.waiting.extend(batch);
        Ok(())
    }

    /// Drops everything below `next`, which the ledger has recorded.
    pub fn drained(&mut self, next: Sequence) -> Result<(), StoreError> {
        while self.first() < next {
            let Some(gone) = self.waiting.pop_front() else {
                break;
            };
            self.before = gone.statement.hash();
            self.waiting_bytes -= bytes_of(&gone);
        }
        let kept = HEADER_BYTES as u64 + self.waiting_bytes;
        if self.file_bytes > TRIM_BYTES && self.file_bytes / 2 > kept {
            self.rewrite()?;
        }
        Ok(())
    }

    /// Makes the file anew from what waits.
    fn rewrite(&mut self) -> Result<(), StoreError> {
        let first = self.first();
        let mut bytes = header(self.id, first, &self.before);
        let waiting: Vec<Submission> = self.waiting.iter().cloned().collect();
        for (chunk, seq) in waiting
            .chunks(APPEND_MAX)
            .zip(first.onwards().step_by(APPEND_MAX))
        {
            bytes.extend(frame(seq, chunk));
        }
        self.file_bytes = bytes.len() as u64;
        match &self.place {
            Place::Memory(files) => {
                files.lock().insert(self.id, bytes);
            }
            Place::Disk(dir) => write_durably(&path(dir, self.id), &bytes)?,
        }
        self.attach()
    }

    /// Opens the file for appending.
    fn attach(&mut self) -> Result<(), StoreError> {
        if let Place::Disk(dir) = &self.place {
            let opened = OpenOptions::new().append(true).open(path(dir, self.id));
            self.file = Some(opened.map_err(|error| self.failed(error))?);
        }
        Ok(())
    }

    /// Takes off what is not known to be whole.
    fn cut(&self) -> Result<(), StoreError> {
        match (&self.file, &self.place) {
            (Some(file), _) => file
                .set_len(self.file_bytes)
                .and_then(|()| file.sync_all())
                .map_err(|error| self.failed(error)),
            (None, Place::Memory(files)) => {
                if let Some(bytes) = files.lock().get_mut(&self.id) {
                    bytes.truncate(self.file_bytes as usize);
                }
                Ok(())
            }
            (None, Place::Disk(_)) => Ok(()),
        }
    }

    fn failed(&self, error: std::io::Error) -> StoreError {
        match &self.place {
            Place::Disk(dir) => StoreError::file(&path(dir, self.id), error),
            Place::Memory(_) => StoreError::file(Path::new("outbox"), error),
        }
    }
}

fn path(dir: &Path, id: OutboxId) -> PathBuf {
    dir.join(format!("{:016x}.log", id.get()))
}

fn id_of(name: &str) -> Option<OutboxId> {
    let hex = name.strip_suffix(".log").filter(|hex| hex.len() == 16)?;
    u64::from_str_radix(hex, 16).ok().map(OutboxId::new)
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, StoreError> {
    let length = match std::fs::metadata(path) {
        Ok(metadata) => metadata.len(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StoreError::file(path, error)),
    };
    if length > FILE_BYTES_MAX {
        return Err(StoreError::file(path, "is longer than an outbox can be"));
    }
    let bytes = std::fs::read(path).map_err(|error| StoreError::file(path, error))?;
    Ok(Some(bytes))
}

/// Bytes that a statement adds to a frame.
fn bytes_of(submission: &Submission) -> u64 {
    submission.encoded_length() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::NodeId;
    use muniment_evidence::key::Signature;
    use muniment_evidence::opening::Opening;
    use muniment_evidence::statement::{Kind, Lane, Level, Mode, Statement};

    const ID: u64 = 7;

    /// Statements that go on from where the log stands.
    fn more(log: &OutboxLog, count: usize, bytes: usize) -> Vec<Submission> {
        let (mut seq, mut prev) = (log.next(), log.last());
        (0..count)
            .map(|_| {
                let statement = Statement {
                    kind: Kind::Download,
                    mode: Mode::Deferred,
                    level: Level::None,
                    ledger: Digest([1; 32]),
                    node: NodeId::new(1),
                    lane: Lane::Outbox(OutboxId::new(ID)),
                    seq,
                    prev,
                    witnessed_at_ms: seq.get(),
                    document: Digest([2; 32]),
                    actor: Digest([3; 32]),
                };
                (seq, prev) = (seq.next(), statement.hash());
                Submission {
                    statement,
                    signature: Signature([4; 64]),
                    document: Opening::public(vec![5; bytes]),
                    actor: Opening::public(Vec::new()),
                }
            })
            .collect()
    }

    fn open(dir: &OutboxDir) -> OutboxLog {
        match dir.open(OutboxId::new(ID)).unwrap() {
            OutboxFound::Open(log) => log,
            OutboxFound::Damaged(why) => panic!("damaged: {why}"),
            OutboxFound::Nothing => panic!("nothing there"),
        }
    }

    fn both() -> (tempfile::TempDir, [OutboxDir; 2]) {
        let dir = tempfile::tempdir().unwrap();
        let disk = OutboxDir::on_disk(dir.path().join("data").join("outbox"));
        std::fs::create_dir(dir.path().join("data")).unwrap();
        (dir, [disk, OutboxDir::in_memory()])
    }

    #[test]
    fn what_was_appended_is_there_after_a_restart_and_what_was_drained_is_not() {
        let (_held, places) = both();
        for dir in places {
            assert!(dir.list().unwrap().is_empty());
            assert!(matches!(
                dir.open(OutboxId::new(ID)).unwrap(),
                OutboxFound::Nothing
            ));
            let mut log = dir.create(OutboxId::new(ID)).unwrap();
            log.append(more(&log, 3, 10)).unwrap();
            log.append(more(&log, 2, 10)).unwrap();
            let last = log.last();
            drop(log);
            assert_eq!(dir.list().unwrap(), [ID].map(OutboxId::new));
            let mut log = open(&dir);
            assert_eq!(
                (log.first().get(), log.next().get(), log.last()),
                (0, 5, last)
            );
            log.drained(Sequence::new(3)).unwrap();
            assert_eq!(
                (log.first().get(), log.next().get(), log.waiting().len()),
                (3, 5, 2)
            );
            let before = log.waiting()[0].statement.prev;
            assert_eq!(log.hash_before(Sequence::new(3)), Some(before));
            assert_eq!(log.hash_before(Sequence::new(5)), Some(last));
            assert_eq!(
                (
                    log.hash_before(Sequence::new(2)),
                    log.hash_before(Sequence::new(6))
                ),
                (None, None)
            );
            dir.set_aside(OutboxId::new(ID)).unwrap();
            assert!(dir.list().unwrap().is_empty());
        }
    }

    /// A file that only grew would be read whole at each start.
    #[test]
    fn a_mostly_drained_file_is_rewritten_and_goes_on() {
        let (held, [dir, _]) = both();
        let file = path(&held.path().join("data/outbox"), OutboxId::new(ID));
        let mut log = dir.create(OutboxId::new(ID)).unwrap();
        for _ in 0..5 {
            log.append(more(&log, 100, 4_000)).unwrap();
        }
        let long = std::fs::metadata(&file).unwrap().len();
        assert!(long > TRIM_BYTES);
        log.drained(Sequence::new(100)).unwrap();
        assert_eq!(std::fs::metadata(&file).unwrap().len(), long, "not yet");
        log.drained(Sequence::new(499)).unwrap();
        assert!(std::fs::metadata(&file).unwrap().len() < long / 10);
        log.append(more(&log, 2, 10)).unwrap();
        let last = log.last();
        drop(log);
        let log = open(&dir);
        assert_eq!(
            (log.first().get(), log.next().get(), log.last()),
            (499, 502, last)
        );
    }

    /// A power cut may leave any part of the append that had not returned; everything that
    /// had returned is there, and the log goes on behind it.
    #[test]
    fn a_power_cut_costs_nothing_that_was_appended() {
        let (held, [dir, _]) = both();
        let file = path(&held.path().join("data/outbox"), OutboxId::new(ID));
        let mut log = dir.create(OutboxId::new(ID)).unwrap();
        log.append(more(&log, 2, 30)).unwrap();
        let synced = std::fs::read(&file).unwrap().len();
        log.append(more(&log, 3, 30)).unwrap();
        let whole = std::fs::read(&file).unwrap();
        for length in synced..whole.len() {
            for zeros in [false, true] {
                let mut torn = whole[..length].to_vec();
                if zeros {
                    // The length reached the disk, the rest of the bytes did not.
                    torn.resize(whole.len(), 0);
                }
                if torn == whole {
                    // It ends in zeros: nothing was torn off.
                    continue;
                }
                std::fs::write(&file, &torn).unwrap();
                let mut log = open(&dir);
                assert_eq!(log.next(), Sequence::new(2), "cut at {length}");
                log.append(more(&log, 1, 5)).unwrap();
                assert_eq!(
                    open(&dir).next(),
                    Sequence::new(3),
                    "goes on after {length}"
                );
            }
        }
    }

    /// Statements that were promised are gone from there on: that must be said, not cut.
    #[test]
    fn damage_before_an_intact_frame_is_no_torn_tail() {
        let (held, [dir, _]) = both();
        let file = path(&held.path().join("data/outbox"), OutboxId::new(ID));
        let mut log = dir.create(OutboxId::new(ID)).unwrap();
        log.append(more(&log, 1, 20)).unwrap();
        let middle = std::fs::read(&file).unwrap().len();
        log.append(more(&log, 1, 20)).unwrap();
        let end = std::fs::read(&file).unwrap().len();
        log.append(more(&log, 1, 20)).unwrap();
        let whole = std::fs::read(&file).unwrap();
        for at in (0..end).step_by(7) {
            let mut bad = whole.clone();
            bad[at] ^= 0x40;
            std::fs::write(&file, &bad).unwrap();
            let found = dir.open(OutboxId::new(ID)).unwrap();
            assert!(
                matches!(found, OutboxFound::Damaged(_)),
                "byte {at} of {end}"
            );
        }
        // A frame that is missing altogether is no torn write either.
        let gap = [&whole[..middle], &whole[end..]].concat();
        std::fs::write(&file, gap).unwrap();
        assert!(matches!(
            dir.open(OutboxId::new(ID)).unwrap(),
            OutboxFound::Damaged(_)
        ));
        // Nor is another outbox's file under this name.
        dir.create(OutboxId::new(8)).unwrap();
        std::fs::rename(path(file.parent().unwrap(), OutboxId::new(8)), &file).unwrap();
        assert!(matches!(
            dir.open(OutboxId::new(ID)).unwrap(),
            OutboxFound::Damaged(_)
        ));
    }
}
