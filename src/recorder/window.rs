//! The sender's window of one lane: what is numbered, what is sent, what is resolved.
//!
//! Pure: no clock, no network, no disk. Promises: numbers follow on without a hole, each
//! statement names the hash of the one before; batches leave in the order of the numbers;
//! after [`SendWindow::go_back`] everything that is not resolved is sent again, as the same
//! bytes (go-back-N). A resolved statement leaves when all before it are resolved, so that
//! the window is always one run of numbers. Breaking any of this panics: a number that is
//! taken twice cannot be taken back. Leaves signing, sending and looking up to
//! [`super::lane`].

use crate::domain::command::Submission;
use crate::domain::ids::Sequence;
use muniment_evidence::digest::Digest;
use std::collections::VecDeque;

/// Statements accepted but not yet resolved. Equal to the window that the ledger
/// remembers of a lane, so that every one of them can still be looked up.
pub use crate::objective::budget::UNRESOLVED_MAX;

/// See the module. `W` is whoever waits for a statement.
pub struct SendWindow<W> {
    /// The number that the next statement gets.
    next_seq: Sequence,
    /// Hash of the statement before it; zero at 0.
    last: Digest,
    /// Numbered and not gone, the lowest number first.
    entries: VecDeque<Entry<W>>,
    /// How many of `entries`, from the front, were sent over the present route.
    sent: usize,
    /// Encoded length of the others.
    unsent_bytes: usize,
}

struct Entry<W> {
    submission: Submission,
    waiter: Option<W>,
    resolved: bool,
}

/// Statements that are sent together: one Raft entry.
#[derive(Debug, PartialEq, Eq)]
pub struct StatementBatch {
    pub first_seq: Sequence,
    pub submissions: Vec<Submission>,
    /// Encoded length of all of them.
    pub bytes: usize,
}

impl<W> Default for SendWindow<W> {
    fn default() -> SendWindow<W> {
        SendWindow {
            next_seq: Sequence::FIRST,
            last: Digest::ZERO,
            entries: VecDeque::new(),
            sent: 0,
            unsent_bytes: 0,
        }
    }
}

impl<W> SendWindow<W> {
    /// The number of the next statement, and the hash of the one before it.
    pub fn next(&self) -> (Sequence, Digest) {
        (self.next_seq, self.last)
    }

    /// How many statements are not gone.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether no further statement may be numbered: the ledger would forget the first
    /// one's outcome before it is known here.
    pub fn is_full(&self) -> bool {
        self.entries.len() >= UNRESOLVED_MAX
    }

    /// Encoded length of what was not sent over the present route.
    pub fn unsent_bytes(&self) -> usize {
        self.unsent_bytes
    }

    pub fn has_unsent(&self) -> bool {
        self.sent < self.entries.len()
    }

    /// Takes a statement that was signed under [`SendWindow::next`].
    pub fn push(&mut self, submission: Submission, waiter: Option<W>) {
        let statement = &submission.statement;
        assert_eq!(statement.seq, self.next_seq, "numbers follow on");
        assert_eq!(
            statement.prev, self.last,
            "a statement names the one before"
        );
        assert!(
            !self.is_full(),
            "the ledger remembers no more than a window"
        );
        self.next_seq = self.next_seq.next();
        self.last = statement.hash();
        self.unsent_bytes += submission.encoded_length();
        self.entries.push_back(Entry {
            submission,
            waiter,
            resolved: false,
        });
    }

    /// What is to be sent next: at most `bytes_max`, but one statement at least. `None`
    /// when all is sent.
    pub fn batch(&self, bytes_max: usize) -> Option<StatementBatch> {
        let (mut submissions, mut bytes) = (Vec::new(), 0);
        for entry in self.entries.iter().skip(self.sent) {
            let length = entry.submission.encoded_length();
            if bytes + length > bytes_max && !submissions.is_empty() {
                break;
            }
            bytes += length;
            submissions.push(entry.submission.clone());
        }
        let first_seq = submissions.first()?.statement.seq;
        Some(StatementBatch {
            first_seq,
            submissions,
            bytes,
        })
    }

    /// Notes that this batch was handed to the route.
    pub fn sent(&mut self, first_seq: Sequence, count: usize, bytes: usize) {
        let unsent = (self.entries.len() - self.sent) as u64;
        assert_eq!(
            first_seq,
            self.next_seq.before(unsent),
            "batches leave in order"
        );
        self.sent += count;
        assert!(self.sent <= self.entries.len(), "what is sent was numbered");
        self.unsent_bytes = (self.unsent_bytes.checked_sub(bytes)).expect("bytes are counted once");
    }

    /// Notes what a statement became, and returns who waits for that. A number that is gone
    /// already was answered twice: nobody waits.
    pub fn resolve(&mut self, seq: Sequence) -> Option<W> {
        assert!(seq < self.next_seq, "only what was numbered is answered");
        let base = self.next_seq.before(self.entries.len() as u64);
        let at = usize::try_from(seq.get().checked_sub(base.get())?).expect("a window is short");
        let entry = self.entries.get_mut(at)?;
        entry.resolved = true;
        let waiter = entry.waiter.take();
        while self.entries.front().is_some_and(|entry| entry.resolved) {
            self.entries.pop_front();
            // What was sent over an earlier route may be answered before it is sent again.
            self.sent = self.sent.saturating_sub(1);
        }
        waiter
    }

    /// Number and hash of each statement that is not resolved, in order.
    pub fn unresolved(&self) -> Vec<(Sequence, Digest)> {
        let unresolved = self.entries.iter().filter(|entry| !entry.resolved);
        unresolved
            .map(|entry| {
                let statement = &entry.submission.statement;
                (statement.seq, statement.hash())
            })
            .collect()
    }

    /// The route is lost, and what became of the statements was looked up: all that is left
    /// is to be sent again.
    pub fn go_back(&mut self) {
        // A lane is recorded in order: what is not recorded has nothing recorded behind it.
        let resolved = self.entries.iter().any(|entry| entry.resolved);
        assert!(!resolved, "a lane is recorded in order");
        self.sent = 0;
        let lengths = self.entries.iter();
        self.unsent_bytes = lengths.map(|e| e.submission.encoded_length()).sum();
    }
}
