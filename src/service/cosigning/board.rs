//! The notes at hand: the newest few sizes, each as far as it is cosigned.
//!
//! Promises: sizes only grow; of one size the note with the most cosigners stays, so that
//! a round that begins again takes nothing away; whoever follows sees a note of each size
//! even when the next round has begun already. Leaves judging notes to those who post
//! them, and keeping them to [`super::keeping`].

use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Sizes at hand: rounds overlap by a few, and a waiter may miss some.
pub const NOTES_AT_HAND: usize = 16;

/// A cosigned note.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Posted {
    pub size: u64,
    pub note: Arc<str>,
    /// Members with a line.
    pub cosigners: usize,
    /// Whether they are a majority of the voters.
    pub is_agreed: bool,
    /// This node's monotonic clock when it was posted.
    pub at: Duration,
}

/// Smallest size first.
pub type AtHand = Arc<Vec<Arc<Posted>>>;

/// See the module.
pub struct Board(watch::Sender<AtHand>);

impl Default for Board {
    fn default() -> Board {
        Board(watch::channel(AtHand::default()).0)
    }
}

impl Board {
    /// Posts a note unless there is a better one; says whether it is there now.
    pub fn post(&self, posted: Posted) -> bool {
        self.0.send_if_modified(|at_hand| {
            let place = at_hand.partition_point(|other| other.size < posted.size);
            let same = at_hand.get(place).filter(|o| o.size == posted.size);
            let better = match same {
                Some(other) => posted.cosigners > other.cosigners,
                None => place > 0 || at_hand.len() < NOTES_AT_HAND,
            };
            if !better {
                return false;
            }
            let mut notes = at_hand.to_vec();
            let end = place + usize::from(same.is_some());
            notes.splice(place..end, [Arc::new(posted)]);
            let too_many = notes.len().saturating_sub(NOTES_AT_HAND);
            notes.drain(..too_many);
            *at_hand = Arc::new(notes);
            true
        })
    }

    pub fn at_hand(&self) -> AtHand {
        self.0.borrow().clone()
    }

    pub fn of_size(&self, size: u64) -> Option<Arc<Posted>> {
        let at_hand = self.at_hand();
        at_hand.iter().find(|posted| posted.size == size).cloned()
    }

    /// The newest that a majority has cosigned; before there is one, the newest.
    pub fn newest(&self) -> Option<Arc<Posted>> {
        let at_hand = self.at_hand();
        let agreed = at_hand.iter().rev().find(|posted| posted.is_agreed);
        agreed.or(at_hand.last()).cloned()
    }

    pub fn follow(&self) -> watch::Receiver<AtHand> {
        self.0.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn posted(size: u64, cosigners: usize) -> Posted {
        Posted {
            size,
            note: format!("{size} by {cosigners}").into(),
            cosigners,
            is_agreed: cosigners > 1,
            at: Duration::ZERO,
        }
    }

    #[test]
    fn of_one_size_the_note_with_more_cosigners_stays() {
        let board = Board::default();
        assert_eq!(board.newest(), None);
        assert!(board.post(posted(7, 1)));
        assert!(board.post(posted(7, 3)));
        assert!(!board.post(posted(7, 2)));
        assert_eq!(board.of_size(7).unwrap().cosigners, 3);
    }

    #[test]
    fn the_newest_is_one_that_a_majority_has_cosigned() {
        let board = Board::default();
        board.post(posted(7, 2));
        board.post(posted(9, 1));
        assert_eq!(board.newest().unwrap().size, 7);
        board.post(posted(9, 2));
        assert_eq!(board.newest().unwrap().size, 9);
        // The older size is answered later, as a slow member does.
        board.post(posted(8, 3));
        assert_eq!(board.newest().unwrap().size, 9);
    }

    #[test]
    fn the_board_holds_the_newest_sizes_in_order() {
        let board = Board::default();
        for size in (1..=40).rev() {
            board.post(posted(size, 2));
        }
        for size in 1..=40 {
            board.post(posted(size, 2));
        }
        let sizes: Vec<u64> = board.at_hand().iter().map(|p| p.size).collect();
        assert_eq!(sizes, (25..=40).collect::<Vec<_>>());
    }
}
