//! What was applied here and said nothing that a ledger takes.
//!
//! Counted by what became of it, since no honest member makes it. Promises nothing of who is to
//! blame where nothing was recorded: there is no statement then to name its node. Leaves refusing
//! to `ledger/` and naming to [`crate::misconduct`].

use crate::domain::command::{Answer, ReceivedCommand};
use crate::domain::ids::{NodeId, RecordIndex};
use muniment_evidence::record::{Outcome, Reason};

/// Submissions that no honest member of this version makes, by what became of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Inadmissible {
    /// Whole entries too: nothing was recorded.
    pub unreadable: u64,
    pub malformed: u64,
    pub above_level: u64,
}

impl Inadmissible {
    /// Counts what became of a command; who said what no ledger takes, with the index.
    pub fn count(
        &mut self,
        command: &ReceivedCommand,
        answers: &[Answer],
    ) -> Vec<(NodeId, RecordIndex)> {
        let mut malformed = Vec::new();
        for (submission, answer) in command.submissions.iter().zip(answers) {
            if let (Ok(proposed), Answer::Recorded { index, outcome }) = (submission, answer)
                && *outcome == Outcome::Refused(Reason::Malformed)
            {
                malformed.push((proposed.submission.statement.node, *index));
            }
            let counted = match answer {
                Answer::Unreadable => &mut self.unreadable,
                Answer::Recorded {
                    outcome: Outcome::Refused(Reason::Malformed),
                    ..
                } => &mut self.malformed,
                Answer::Recorded {
                    outcome: Outcome::Refused(Reason::FeatureLevel),
                    ..
                } => &mut self.above_level,
                _ => continue,
            };
            *counted += 1;
        }
        malformed
    }
}
