//! Storage: two databases per node, and the files beside them.
//!
//! The only layer that names RocksDB (in `rocks`); everything else stands on the
//! [`engine`] seam, so the simulator runs the same code on memory.
//!
//! | stored thing | where | trusted? | what if changed? | what if lost? |
//! |---|---|---|---|---|
//! | Raft log, vote | `ledger/` | yes | checksums of the engine; a broken entry stops the node | the watermark notices a lost tail: no vote until refilled |
//! | replicated state, records, openings | `ledger/` | after the root was recomputed at start | the tree root no longer matches: refuses to serve | rebuilt from a peer's snapshot under a new node id |
//! | bodies | `bodies/` | never: each chunk is hashed before it is sent | set aside, fetched from another holder | served by proxy from another holder |
//! | watermark | beside the databases | yes, checksummed | treated as lost | a lost tail would go unnoticed once |
//! | marker | beside the databases | yes | refuses to start | refuses to start on a non-empty directory |
//! | cosigned notes | `ledger/`, the node's own keys | never: signatures are checked by who uses them | refused | made again |
//! | damaged bodies, quarantined chunks, pending notes, scrub position | `bodies/` | damage: yes; the rest never | the body counts as damaged; good chunks are still checked | found again by a read or the scrub |
//! | mark of complete bodies | `bodies/` | yes, for one ledger and generation | bodies that are missing would be vouched for | all records are looked at again |
//! | stamps of bodies | `bodies/` | yes | a body that no record names stays, or is collected too early | as the first |
//! | outbox | `outbox/`, beside the databases | no: checksums, numbers and signatures are looked at | a torn last append is cut off; damage before others counts as lost | the node's next BOOT says LOST |
//! | snapshots | `snapshots/` | no: digest, content and history are checked by the receiver | refused | built again |

pub mod bodies;
pub mod damage;
pub mod engine;
pub mod flush;
pub mod keys;
pub mod log;
pub mod marker;
pub mod memory;
pub mod notes;
pub mod outbox;
#[cfg(feature = "rocksdb")]
pub mod rocks;
pub mod snapshot;
pub mod stamps;
pub mod watermark;

use crate::domain::cause::{AnyError, Cause};
use std::fmt;

/// Why storage could not do what it was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// The engine failed; final, the node stops.
    #[error("storage engine: {0}")]
    Engine(#[source] Cause),
    /// A file beside the databases failed; final, the node stops.
    #[error("storage file: {0}")]
    File(#[source] Cause),
    /// What was read is not what was written; final, the node stops.
    #[error("stored data is damaged: {0}")]
    Corrupt(#[source] Cause),
    /// One value of the bodies database is damaged, or lies where the disk cannot be read, the
    /// rest is not: that body is brought again from another holder, and the node goes on.
    #[error("a stored body cannot be read: {0}")]
    Unreadable(#[source] Cause),
    /// What is stored is whole, and means more than this software knows: only later software may
    /// go on with it.
    #[error("{0}")]
    Newer(#[source] Cause),
    /// The store is shutting down.
    #[error("storage is shutting down")]
    Stopped,
}

impl StoreError {
    pub fn engine(error: impl Into<Box<AnyError>>) -> StoreError {
        StoreError::Engine(Cause::new(error))
    }

    /// The same, while doing `what`.
    pub fn engine_in(what: impl fmt::Display, error: impl Into<Box<AnyError>>) -> StoreError {
        StoreError::Engine(Cause::at(what, error))
    }

    /// Of a file that the error names itself.
    pub fn beside(error: impl Into<Box<AnyError>>) -> StoreError {
        StoreError::File(Cause::new(error))
    }

    pub fn file(path: &std::path::Path, error: impl Into<Box<AnyError>>) -> StoreError {
        StoreError::File(Cause::at(path.display(), error))
    }

    pub fn unreadable(what: impl Into<Box<AnyError>>) -> StoreError {
        StoreError::Unreadable(Cause::new(what))
    }

    /// The same, of what `what` says.
    pub fn unreadable_in(what: impl fmt::Display, error: impl Into<Box<AnyError>>) -> StoreError {
        StoreError::Unreadable(Cause::at(what, error))
    }

    pub fn newer(what: impl Into<Box<AnyError>>) -> StoreError {
        StoreError::Newer(Cause::new(what))
    }

    pub fn corrupt(what: impl Into<Box<AnyError>>) -> StoreError {
        StoreError::Corrupt(Cause::new(what))
    }

    /// Damage that reading `what` came upon.
    pub fn corrupt_in(what: impl fmt::Display, error: impl Into<Box<AnyError>>) -> StoreError {
        StoreError::Corrupt(Cause::at(what, error))
    }
}

impl From<StoreError> for std::io::Error {
    fn from(error: StoreError) -> Self {
        std::io::Error::other(error)
    }
}

/// The one seam through which blocking work leaves the async workers.
#[derive(Clone, Copy, Debug)]
pub enum Blocking {
    /// On tokio's blocking threads.
    Pool,
    /// In place: for tests on an engine that never blocks.
    Inline,
    /// In place, after a pause: for the simulator, whose disks are slow by its own clock.
    Paced(&'static dyn Pace),
}

/// How long each visit to the disk takes.
pub trait Pace: Send + Sync + fmt::Debug {
    /// Of the visit that begins now; zero for one that takes no time.
    fn pause(&self) -> std::time::Duration;
}

impl Blocking {
    pub async fn run<T: Send + 'static>(
        self,
        work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let visit = match self {
            Blocking::Inline => return work(),
            Blocking::Pool => tokio::task::spawn_blocking(work),
            Blocking::Paced(pace) => {
                let pause = pace.pause();
                if pause.is_zero() {
                    return work();
                }
                // A task of its own: as on the pool, it goes on when its caller has left.
                tokio::spawn(async move {
                    tokio::time::sleep(pause).await;
                    work()
                })
            }
        };
        match visit.await {
            Ok(result) => result,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => Err(StoreError::Stopped),
        }
    }
}
