//! The recent checkpoints: the newest few sizes, each as far as it is cosigned.
//!
//! Promises: sizes only grow; of one size the note with the most cosigners stays, so that
//! a round that begins again takes nothing away; whoever follows sees a note of each size
//! even when the next round has begun already. Leaves checking notes to those who post
//! them, and keeping them on disk to [`super::keep`].

use crate::domain::ids::TreeSize;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Sizes remembered: rounds overlap by a few, and a waiter may miss some.
pub const NOTES_RECENT_MAX: usize = 16;

/// A cosigned note.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecentCheckpoint {
    pub size: TreeSize,
    pub note: Arc<str>,
    /// Members with a line.
    pub cosigners: usize,
    /// Whether they are a majority of the voters.
    pub is_agreed: bool,
    /// This node's monotonic clock when it was posted.
    pub at: Duration,
}

/// Smallest size first.
pub type RecentList = Arc<Vec<Arc<RecentCheckpoint>>>;

/// See the module.
pub struct RecentCheckpoints(watch::Sender<RecentList>);

impl Default for RecentCheckpoints {
    fn default() -> RecentCheckpoints {
        RecentCheckpoints(watch::channel(RecentList::default()).0)
    }
}

impl RecentCheckpoints {
    /// Posts a note unless there is a better one; says whether it is there now.
    pub fn post(&self, posted: RecentCheckpoint) -> bool {
        self.0.send_if_modified(|recent| {
            let place = recent.partition_point(|other| other.size < posted.size);
            let same = recent.get(place).filter(|o| o.size == posted.size);
            let better = match same {
                Some(other) => posted.cosigners > other.cosigners,
                None => place > 0 || recent.len() < NOTES_RECENT_MAX,
            };
            if !better {
                return false;
            }
            let mut notes = recent.to_vec();
            let end = place + usize::from(same.is_some());
            notes.splice(place..end, [Arc::new(posted)]);
            let too_many = notes.len().saturating_sub(NOTES_RECENT_MAX);
            notes.drain(..too_many);
            *recent = Arc::new(notes);
            true
        })
    }

    pub fn all(&self) -> RecentList {
        self.0.borrow().clone()
    }

    pub fn of_size(&self, size: TreeSize) -> Option<Arc<RecentCheckpoint>> {
        let recent = self.all();
        recent.iter().find(|posted| posted.size == size).cloned()
    }

    /// The newest that a majority has cosigned; before there is one, the newest.
    pub fn newest(&self) -> Option<Arc<RecentCheckpoint>> {
        let recent = self.all();
        let agreed = recent.iter().rev().find(|posted| posted.is_agreed);
        agreed.or(recent.last()).cloned()
    }

    pub fn follow(&self) -> watch::Receiver<RecentList> {
        self.0.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn posted(size: u64, cosigners: usize) -> RecentCheckpoint {
        RecentCheckpoint {
            size: TreeSize::new(size),
            note: format!("{size} by {cosigners}").into(),
            cosigners,
            is_agreed: cosigners > 1,
            at: Duration::ZERO,
        }
    }

    #[test]
    fn of_one_size_the_note_with_more_cosigners_stays() {
        let recent = RecentCheckpoints::default();
        assert_eq!(recent.newest(), None);
        assert!(recent.post(posted(7, 1)));
        assert!(recent.post(posted(7, 3)));
        assert!(!recent.post(posted(7, 2)));
        assert_eq!(recent.of_size(TreeSize::new(7)).unwrap().cosigners, 3);
    }

    #[test]
    fn the_newest_is_one_that_a_majority_has_cosigned() {
        let recent = RecentCheckpoints::default();
        recent.post(posted(7, 2));
        recent.post(posted(9, 1));
        assert_eq!(recent.newest().unwrap().size, TreeSize::new(7));
        recent.post(posted(9, 2));
        assert_eq!(recent.newest().unwrap().size, TreeSize::new(9));
        // The older size is answered later, as a slow member does.
        recent.post(posted(8, 3));
        assert_eq!(recent.newest().unwrap().size, TreeSize::new(9));
    }

    #[test]
    fn it_holds_the_newest_sizes_in_order() {
        let recent = RecentCheckpoints::default();
        for size in (1..=40).rev() {
            recent.post(posted(size, 2));
        }
        for size in 1..=40 {
            recent.post(posted(size, 2));
        }
        let sizes: Vec<TreeSize> = recent.all().iter().map(|p| p.size).collect();
        assert_eq!(sizes, (25..=40).map(TreeSize::new).collect::<Vec<_>>());
    }
}
