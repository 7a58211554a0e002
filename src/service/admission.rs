//! Which calls are let in: places for uploads and downloads, and memory.
//!
//! Promises: no more uploads and downloads are under way than configured; downloads
//! together hold no more than `limits.memory_bytes`. What is lent comes back when the
//! permit is dropped. Leaves the arithmetic to `objective/budget`, the bytes of uploads to
//! `bodies/`.

use super::singleflight::Singleflight;
use crate::config::Limits;
use crate::domain::call_error::CallError;
use crate::objective::budget;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// Memory is lent in such units, so that any budget fits a semaphore.
const UNIT_BYTES: u64 = 1 << 10;

/// See the module.
pub struct CallAdmission {
    pub limits: Limits,
    /// Raised when the node stops taking work.
    pub draining: watch::Receiver<bool>,
    pub singleflight: Singleflight,
    uploads: Arc<Semaphore>,
    downloads: Arc<Semaphore>,
    memory: DownloadMemory,
}

/// How a call comes by its place among the uploads, once it is known that its bytes are
/// wanted: a repetition that is answered from the ledger needs none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UploadTurn {
    /// A place now, or RESOURCE_EXHAUSTED: the caller may turn to another node.
    AtOnce,
    /// The next place that becomes free: one of many items on a stream that is held back.
    Waited,
}

/// A place among the uploads of this node.
pub struct UploadPermit {
    _place: OwnedSemaphorePermit,
}

/// A place among the downloads of this node.
pub struct DownloadPermit {
    _place: OwnedSemaphorePermit,
}

impl CallAdmission {
    pub fn new(limits: Limits, draining: watch::Receiver<bool>) -> CallAdmission {
        CallAdmission {
            uploads: Arc::new(Semaphore::new(limits.uploads_in_flight)),
            downloads: Arc::new(Semaphore::new(limits.downloads_in_flight)),
            memory: DownloadMemory::of(limits.memory_bytes),
            singleflight: Singleflight::default(),
            limits,
            draining,
        }
    }

    /// A place for an upload.
    pub async fn upload(&self, turn: UploadTurn) -> Result<UploadPermit, CallError> {
        let uploads = self.uploads.clone();
        let place = match turn {
            UploadTurn::AtOnce => uploads.try_acquire_owned().ok(),
            // The semaphore is never closed.
            UploadTurn::Waited => uploads.acquire_owned().await.ok(),
        };
        let permit = place.map(|place| UploadPermit { _place: place });
        permit.ok_or_else(|| CallError::exhausted("as many uploads as allowed are in flight"))
    }

    /// A place for a download, if there is one now.
    pub fn try_download(&self) -> Result<DownloadPermit, CallError> {
        let permit = self.downloads.clone().try_acquire_owned();
        let permit = permit.map(|place| DownloadPermit { _place: place });
        permit.map_err(|_| CallError::exhausted("as many downloads as allowed are in flight"))
    }

    /// Memory for a download of `length` bytes, if so much is left.
    pub fn try_memory(&self, length: u64) -> Result<MemoryPermit, CallError> {
        let memory = self.memory.try_lend(length);
        memory.ok_or_else(|| {
            CallError::exhausted("downloads in flight hold as much memory as allowed")
        })
    }

    pub fn uploads_in_flight(&self) -> usize {
        let free = self.uploads.available_permits();
        self.limits.uploads_in_flight.saturating_sub(free)
    }

    pub fn downloads_in_flight(&self) -> usize {
        let free = self.downloads.available_permits();
        self.limits.downloads_in_flight.saturating_sub(free)
    }
}

/// Memory for downloads.
struct DownloadMemory(Arc<Semaphore>);

/// Memory that is lent to one download.
#[derive(Debug)]
pub struct MemoryPermit {
    _units: OwnedSemaphorePermit,
}

impl DownloadMemory {
    fn of(bytes: u64) -> DownloadMemory {
        let units = usize::try_from(bytes / UNIT_BYTES).unwrap_or(usize::MAX);
        DownloadMemory(Arc::new(Semaphore::new(units.min(Semaphore::MAX_PERMITS))))
    }

    fn try_lend(&self, length: u64) -> Option<MemoryPermit> {
        let units = budget::download_bytes(length).div_ceil(UNIT_BYTES);
        let units = u32::try_from(units).ok()?;
        let units = self.0.clone().try_acquire_many_owned(units).ok()?;
        Some(MemoryPermit { _units: units })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_lent_up_to_the_budget_and_comes_back() {
        let memory = DownloadMemory::of(2 * budget::memory_bytes_min());
        let (one, two) = (memory.try_lend(64 << 20), memory.try_lend(64 << 20));
        assert!(one.is_some() && two.is_some());
        assert!(memory.try_lend(1).is_none());
        drop(one);
        assert!(memory.try_lend(100 << 10).is_some());
    }

    #[tokio::test]
    async fn an_upload_waits_for_its_place_or_is_turned_away() {
        let limits = Limits {
            uploads_in_flight: 1,
            ..Limits::default()
        };
        let admission = CallAdmission::new(limits, watch::channel(false).1);
        let first = admission.upload(UploadTurn::AtOnce).await.unwrap();
        let turned_away = admission.upload(UploadTurn::AtOnce).await;
        assert!(matches!(turned_away, Err(CallError::Exhausted { .. })));
        assert_eq!(admission.uploads_in_flight(), 1);
        let (second, ()) = tokio::join!(admission.upload(UploadTurn::Waited), async {
            drop(first);
        });
        assert!(second.is_ok());
    }
}
