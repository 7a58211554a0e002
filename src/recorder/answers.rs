//! What the ledger says about the statements of a lane, and what the sender does next.
//!
//! Pure, and the same for every lane of a node: the strict lane and the outboxes read the
//! answers to a batch here, and all three compare here what they look up after a loss.
//! Promises: an answer is believed up to the first that is not "recorded"; what a lost
//! route has not answered is never guessed; another statement under a number of this node
//! stops it. Leaves asking to the lanes.

use super::Recorded;
use super::route::RouteLost;
use crate::domain::command::Answer;
use crate::domain::ids::Sequence;
use crate::ledger::rows::{LaneRow, WindowRow};
use muniment_evidence::digest::Digest;
use muniment_evidence::statement::Lane;

/// What the answers to one batch say.
#[derive(Debug)]
pub struct Landed {
    /// Numbers and records, in order, from the first statement of the batch on.
    pub recorded: Vec<(Sequence, Recorded)>,
    pub then: Then,
}

/// What a look-up in the applied state says.
#[derive(Debug)]
pub struct LookedUp {
    /// Numbers and records, in order, up to the first contradiction.
    pub recorded: Vec<(Sequence, Recorded)>,
    pub contradiction: Option<LaneContradiction>,
}

/// What follows for the sender.
#[derive(Debug)]
pub enum Then {
    GoOn,
    /// What became of the others is unknown: look it up, then send the rest again.
    LookUp(Doubt),
    /// The node must stop.
    Stop(LaneContradiction),
}

/// Why it is not known what became of a statement.
#[derive(Debug, thiserror::Error)]
pub enum Doubt {
    #[error("{0}")]
    Lost(#[source] RouteLost),
    #[error("the ledger expects seq {next}, not {seq}")]
    Gap { seq: Sequence, next: Sequence },
    #[error("the ledger has long had seq {seq}")]
    Forgotten { seq: Sequence },
}

/// The ledger holds what this node has not said: it must stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaneContradiction {
    pub seq: Sequence,
    pub what: &'static str,
}

impl LaneContradiction {
    fn of(seq: Sequence, answer: Answer) -> LaneContradiction {
        let what = match answer {
            Answer::Equivocation => "the ledger holds another statement under this number",
            Answer::LaneClosed => "a later boot of this node id has closed the lane",
            Answer::Forgotten => "the ledger no longer remembers this number",
            Answer::WrongLedger
            | Answer::Unreadable
            | Answer::Recorded { .. }
            | Answer::Gap { .. } => "this ledger does not take it",
        };
        LaneContradiction { seq, what }
    }

    /// For the log and the operator.
    pub fn describe(&self, lane: &str) -> String {
        format!(
            "statement {} of {lane}: {}; is another process running under this node's identity?",
            self.seq, self.what
        )
    }
}

/// Reads what came back for the `count` statements from `first_seq` on.
pub fn landed(
    lane: Lane,
    first_seq: Sequence,
    count: usize,
    answered: Result<Vec<Answer>, RouteLost>,
) -> Landed {
    let mut recorded = Vec::new();
    let answers = match answered {
        Ok(answers) if answers.len() == count => answers,
        Ok(_) => {
            let then = Then::LookUp(Doubt::Lost(RouteLost::AnswersMissing));
            return Landed { recorded, then };
        }
        Err(lost) => {
            let then = Then::LookUp(Doubt::Lost(lost));
            return Landed { recorded, then };
        }
    };
    for (seq, answer) in first_seq.onwards().zip(answers) {
        let then = match (answer, lane) {
            (Answer::Recorded { index, outcome }, _) => {
                recorded.push((seq, Recorded { index, outcome }));
                continue;
            }
            (Answer::Gap { next }, _) => Then::LookUp(Doubt::Gap { seq, next }),
            // An outbox outlives restarts: the ledger may have had it for long. It is
            // recorded, but which record is no longer known by number.
            (Answer::Forgotten, Lane::Outbox(_)) => Then::LookUp(Doubt::Forgotten { seq }),
            (other, _) => Then::Stop(LaneContradiction::of(seq, other)),
        };
        return Landed { recorded, then };
    }
    Landed {
        recorded,
        then: Then::GoOn,
    }
}

/// Compares what the applied state has of the strict lane with what is not resolved here.
/// `seen` are the statements below `row.next_seq`, in order, each with what the ledger
/// remembers.
pub fn looked_up(row: &LaneRow, seen: &[(Sequence, Digest, Option<WindowRow>)]) -> LookedUp {
    let mut recorded = Vec::new();
    for (seq, hash, window) in seen {
        let answer = match window {
            Some(window) if window.hash == *hash => {
                recorded.push((*seq, place(window)));
                continue;
            }
            Some(_) => Answer::Equivocation,
            None => Answer::Forgotten,
        };
        let contradiction = Some(LaneContradiction::of(*seq, answer));
        return LookedUp {
            recorded,
            contradiction,
        };
    }
    let closed = LaneContradiction::of(row.next_seq, Answer::LaneClosed);
    LookedUp {
        recorded,
        contradiction: row.closed.then_some(closed),
    }
}

/// Compares what the applied state has of an outbox with the file here. `hash_before` is
/// the hash, as far as the file knows it, of the statement before `row.next_seq`: each
/// names the one before, so that comparing the last compares all.
pub fn outbox_agrees(row: &LaneRow, hash_before: Option<Digest>) -> Result<(), LaneContradiction> {
    let contradiction = |what| LaneContradiction {
        seq: row.next_seq,
        what,
    };
    if row.closed {
        return Err(contradiction("the lane is closed"));
    }
    match hash_before == Some(row.last) {
        true => Ok(()),
        false => Err(contradiction("the ledger holds another past")),
    }
}

/// The record that the ledger remembers under a number.
pub fn place(window: &WindowRow) -> Recorded {
    Recorded {
        index: window.index,
        outcome: window.outcome,
    }
}
