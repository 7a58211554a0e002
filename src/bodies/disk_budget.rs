//! The budget of the disk: how much more may come before it touches what is kept for evidence.
//!
//! Promises: a body enters only while, with all that entered before it and has not come
//! yet, the reserve stays free; so uploads that begin together cannot fill the disk
//! together. The file system is asked a few times a second at most. Leaves measuring to
//! whoever gives the closure, and what else is refused on a full disk to `service/status`.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::time::Instant;

/// How long an answer of the file system stands: uploads ask for each body.
const ASK_EVERY: Duration = Duration::from_millis(200);
/// A body lies in the engine's log and, until that log is dropped, in a file of its own too.
const COPIES: u64 = 2;

/// Free bytes where the databases lie, less what they will take without a further write.
pub type FreeBytes = Arc<dyn Fn() -> u64 + Send + Sync>;

/// The budget of one node's disk. Cheap to clone.
#[derive(Clone)]
pub struct DiskBudget(Arc<Inner>);

struct Inner {
    ask: FreeBytes,
    reserve: u64,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    asked: Option<Instant>,
    /// By the last answer, less what has come since.
    free: u64,
    /// Promised to bodies on their way.
    coming: u64,
}

impl DiskBudget {
    /// `reserve` bytes are for evidence.
    pub fn new(reserve: u64, ask: FreeBytes) -> DiskBudget {
        DiskBudget(Arc::new(Inner {
            ask,
            reserve,
            known: Mutex::default(),
        }))
    }

    /// Without an end, for a node in memory.
    pub fn endless() -> DiskBudget {
        DiskBudget::new(0, Arc::new(|| u64::MAX))
    }

    /// Free bytes, whatever is promised.
    pub fn free(&self) -> u64 {
        self.known().free
    }

    /// Whether a body of this length would get a place now.
    pub fn has(&self, length: u64) -> bool {
        self.known().fits(self.0.reserve, places(length))
    }

    /// A place for a body of this length, held until all of it has come or none will.
    pub fn reserve(&self, length: u64) -> Option<DiskReservation> {
        let mut reservation = DiskReservation {
            budget: self.clone(),
            promised: 0,
        };
        reservation.extend(length).then_some(reservation)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        let mut known = self.0.known.lock().expect("nobody panics with it");
        if known.asked.is_none_or(|at| at.elapsed() >= ASK_EVERY) {
            known.free = (self.0.ask)();
            known.asked = Some(Instant::now());
        }
        known
    }
}

impl Known {
    fn fits(&self, reserve: u64, more: u64) -> bool {
        self.free.saturating_sub(self.coming) >= reserve.saturating_add(more)
    }
}

/// What a body of this length takes in all.
fn places(length: u64) -> u64 {
    length.saturating_mul(COPIES)
}

/// See [`DiskBudget::reserve`].
pub struct DiskReservation {
    budget: DiskBudget,
    promised: u64,
}

impl DiskReservation {
    /// Makes it longer; false where there is no room for that.
    pub fn extend(&mut self, length: u64) -> bool {
        let more = places(length);
        let mut known = self.budget.known();
        let fits = known.fits(self.budget.0.reserve, more);
        if fits {
            known.coming += more;
            self.promised += more;
        }
        fits
    }

    /// That much of it is written: from the next answer of the file system on, that tells.
    pub fn arrived(&mut self, length: u64) {
        let bytes = places(length).min(self.promised);
        self.promised -= bytes;
        let mut known = self.budget.known();
        let coming = known.coming.checked_sub(bytes);
        known.coming = coming.expect("what is given back was reserved");
        known.free = known.free.saturating_sub(bytes);
    }
}

impl Drop for DiskReservation {
    fn drop(&mut self) {
        self.arrived(u64::MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    fn budget(reserve: u64, free: &Arc<AtomicU64>) -> DiskBudget {
        let free = free.clone();
        DiskBudget::new(reserve, Arc::new(move || free.load(Ordering::SeqCst)))
    }

    #[tokio::test(start_paused = true)]
    async fn bodies_that_begin_together_share_what_is_left() {
        let free = Arc::new(AtomicU64::new(100));
        let budget = budget(40, &free);
        let mut first = budget.reserve(20).unwrap();
        assert_eq!(budget.free(), 100);
        assert!(budget.has(10) && !budget.has(11));
        assert!(budget.reserve(11).is_none());
        let mut second = budget.reserve(5).unwrap();
        assert!(second.extend(5));
        assert!(!second.extend(1));
        // What has come counts until the file system is asked again, and then by its word.
        first.arrived(15);
        assert_eq!(budget.free(), 70);
        assert!(budget.has(0) && !budget.has(1));
        drop(first);
        assert_eq!(budget.free(), 60);
        tokio::time::advance(ASK_EVERY).await;
        assert_eq!(budget.free(), 100);
        assert!(budget.has(20) && !budget.has(21));
        drop(second);
        free.store(39, Ordering::SeqCst);
        tokio::time::advance(ASK_EVERY).await;
        assert!(budget.reserve(0).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn the_file_system_is_asked_a_few_times_a_second() {
        let asked = Arc::new(AtomicU64::new(0));
        let counting = asked.clone();
        let budget = DiskBudget::new(0, Arc::new(move || counting.fetch_add(1, Ordering::SeqCst)));
        assert_eq!((budget.free(), budget.free()), (0, 0));
        tokio::time::advance(ASK_EVERY).await;
        assert_eq!((budget.free(), budget.free()), (1, 1));
        assert_eq!(asked.load(Ordering::SeqCst), 2);
    }
}
