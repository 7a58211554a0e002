//! Descriptors and memory of this process: taken at start, lent to calls.
//!
//! Promises: clients are never given so many connections that databases and peers could
//! be left without a descriptor; downloads together hold no more than
//! `limits.memory_bytes`. Leaves the arithmetic to `objective/budget`, the bytes of
//! uploads to `bodies/`.

use crate::config::Limits;
use crate::objective::budget;
use crate::preflight;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Memory is lent in such units, so that any budget fits a semaphore.
const UNIT_BYTES: u64 = 1 << 10;

/// Raises the descriptor limit to what the configuration needs, as far as the machine
/// allows, and takes back connections that it would not cover.
pub fn fit(limits: &mut Limits) -> Result<(), String> {
    let wanted = budget::descriptors_wanted(limits.connections);
    let descriptors = preflight::raise_descriptors(wanted);
    let most = budget::client_connections(descriptors);
    if most == 0 {
        return Err(format!(
            "{descriptors} file descriptors are allowed, databases and peers alone may need {}; \
             raise the limit (ulimit -n, LimitNOFILE)",
            budget::RESERVED_FILES
        ));
    }
    if limits.connections > most {
        tracing::warn!(
            descriptors,
            configured = limits.connections,
            allowed = most,
            "too few file descriptors: fewer client connections are taken"
        );
        limits.connections = most;
    }
    Ok(())
}

/// Memory for downloads. Cheap to clone.
#[derive(Clone)]
pub struct Memory(Arc<Semaphore>);

impl Memory {
    pub fn of(bytes: u64) -> Memory {
        let units = usize::try_from(bytes / UNIT_BYTES).unwrap_or(usize::MAX);
        Memory(Arc::new(Semaphore::new(units.min(Semaphore::MAX_PERMITS))))
    }

    /// Memory for a download of `length` bytes, until it is given back; `None` when too
    /// much is lent.
    pub fn for_download(&self, length: u64) -> Option<OwnedSemaphorePermit> {
        let units = budget::download_bytes(length).div_ceil(UNIT_BYTES);
        let units = u32::try_from(units).ok()?;
        self.0.clone().try_acquire_many_owned(units).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_lent_up_to_the_budget_and_comes_back() {
        let memory = Memory::of(2 * budget::memory_bytes_min());
        let (one, two) = (memory.for_download(64 << 20), memory.for_download(64 << 20));
        assert!(one.is_some() && two.is_some());
        assert!(memory.for_download(1).is_none());
        drop(one);
        assert!(memory.for_download(100 << 10).is_some());
    }
}
