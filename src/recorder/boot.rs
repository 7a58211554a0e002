//! BOOT (and, once in a ledger's life, GENESIS): committed before a node says anything.
//!
//! Promises: returns only when the node's own BOOT record is committed and applied here;
//! the same signed bytes are sent until that is so. Leaves everything later to the lane.
//! Tests with nodes and cuts: `lane_tests`.

use super::answers::place;
use super::intake::Intake;
use super::route::LeaderRoute;
use super::{Intent, Recorded, StatementSigner};
use crate::domain::command::{Answer, Submission};
use crate::domain::ids::{NodeId, RecordIndex, Sequence, TreeSize};
use crate::ledger::rows::{LaneRow, WindowRow};
use crate::ledger::state::State;
use crate::raft::group::RaftGroup;
use crate::raft::reader::ReadBarrier;
use crate::store::Blocking;
use crate::transport::Transport;
use muniment_evidence::digest::Digest;
use muniment_evidence::keys::KeyValidity;
use muniment_evidence::opening::{Document, GenesisDocument};
use muniment_evidence::record::Outcome;
use muniment_evidence::statement::{Kind, Lane};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// One round of asking for a read index; repeated until there is a quorum.
const ROUND: Duration = Duration::from_secs(2);
/// Pause between rounds without a leader.
const PAUSE: Duration = Duration::from_millis(20);
/// How long one BOOT may be under way before it is looked up.
const ANSWER_MAX: Duration = Duration::from_secs(3);
/// A leader that finds the statement bad may not have applied a change of keys yet: by then it
/// has, and a node that its own copy of the ledger does not know either says why and ends.
const BAD_MAX: Duration = Duration::from_secs(10);
/// BOOT statements of earlier starts that may be found in the way: each is one that its
/// process had sent when it crashed, and that was recorded only after this start looked.
const OVERTAKEN_MAX: usize = 8;

/// What booting works with.
#[derive(Clone)]
pub struct BootContext {
    pub group: RaftGroup,
    pub reader: ReadBarrier,
    pub intake: Intake,
    pub state: State,
    pub blocking: Blocking,
    pub transport: Arc<dyn Transport>,
}

/// Why a node cannot boot. Final: it stops, or the founding fails.
#[derive(Clone, Debug, thiserror::Error)]
pub enum BootError {
    #[error(
        "the boot lane of node {node} moved while it booted: is another process running \
         under this node's identity?"
    )]
    LaneMoved { node: NodeId },
    #[error("a ledger is founded here already")]
    FoundedAlready,
    #[error("GENESIS has outcome {0}")]
    GenesisRefused(Outcome),
    #[error(
        "this node's BOOT has outcome {0}: its keys or its disk are not those that the ledger \
         knows; a wiped node joins under a new id"
    )]
    Refused(Outcome),
    #[error("this node's statement is not taken: {0}")]
    NotTaken(String),
    #[error("the ledger answers {0:?}")]
    Unexpected(Answer),
    #[error("the applied state cannot be read: {0}")]
    Store(#[from] crate::store::StoreError),
}

/// What one answer says about a statement of the boot lane.
#[derive(Debug)]
enum Sent {
    Recorded(Recorded),
    /// Another statement of this node has its number.
    Overtaken,
    /// Unknown: look it up, then send it again.
    Unknown,
}

/// Reads the answer to a statement of this kind; pure.
fn read_answer(node: NodeId, kind: Kind, answer: Option<Answer>) -> Result<Sent, BootError> {
    match answer {
        None => Ok(Sent::Unknown),
        Some(Answer::Recorded { index, outcome }) => {
            Ok(Sent::Recorded(Recorded { index, outcome }))
        }
        Some(Answer::WrongLedger) if kind == Kind::Genesis => Err(BootError::FoundedAlready),
        Some(Answer::Equivocation) => Ok(Sent::Overtaken),
        Some(Answer::Gap { .. }) => Err(BootError::LaneMoved { node }),
        Some(
            answer @ (Answer::WrongLedger
            | Answer::LaneClosed
            | Answer::Forgotten
            | Answer::Unreadable),
        ) => Err(BootError::Unexpected(answer)),
    }
}

/// The ledger as it stands when a node may boot into it.
pub struct FoundedLedger {
    pub id: Digest,
    pub origin: String,
}

impl BootContext {
    /// Waits until a founded ledger is applied here and known to be fresh.
    pub async fn founded(&self) -> Result<FoundedLedger, BootError> {
        loop {
            if self.reader.linearizable(ROUND).await.is_err() {
                tokio::time::sleep(PAUSE).await;
                continue;
            }
            let head = self.read(|tables| tables.head()).await?;
            if head.size > TreeSize::EMPTY {
                return Ok(FoundedLedger {
                    id: head.ledger,
                    origin: head.origin,
                });
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Submits GENESIS; fails if a ledger is there already.
    pub async fn found(
        &self,
        signer: &StatementSigner,
        genesis: GenesisDocument,
    ) -> Result<(), BootError> {
        let intent = Intent::system(Document::Genesis(genesis));
        let submission = signer.sign(&intent, Lane::Boot, Sequence::FIRST, Digest::ZERO);
        let recorded = self.settle(signer.node, submission).await?;
        let recorded = recorded.ok_or(BootError::LaneMoved { node: signer.node })?;
        match recorded.outcome {
            Outcome::Ok => Ok(()),
            outcome => Err(BootError::GenesisRefused(outcome)),
        }
    }

    /// Submits BOOT; returns its record index, which names the strict lane.
    pub async fn boot(
        &self,
        signer: &StatementSigner,
        boot: Document,
    ) -> Result<RecordIndex, BootError> {
        let node = signer.node;
        let intent = Intent::system(boot);
        let mut overtaken = 0;
        let recorded = loop {
            let row = self.lane(node).await?;
            let submission = signer.sign(&intent, Lane::Boot, row.next_seq, row.last);
            if let Some(recorded) = self.settle(node, submission).await? {
                break recorded;
            }
            overtaken += 1;
            if overtaken > OVERTAKEN_MAX {
                return Err(BootError::LaneMoved { node });
            }
            // What took the number is committed: it must be applied here before the lane
            // is read again.
            while self.reader.linearizable(ROUND).await.is_err() {
                tokio::time::sleep(PAUSE).await;
            }
        };
        match recorded.outcome {
            Outcome::Ok => Ok(recorded.index),
            outcome => Err(BootError::Refused(outcome)),
        }
    }

    /// Sends until the statement is known to be recorded; `None` if another statement of
    /// this node has its number.
    async fn settle(
        &self,
        node: NodeId,
        submission: Submission,
    ) -> Result<Option<Recorded>, BootError> {
        let (seq, kind) = (submission.statement.seq, submission.statement.kind);
        let hash = submission.statement.hash();
        let mut bad_since = None;
        loop {
            let answer = match self.send(submission.clone()).await {
                Ok(answer) => answer,
                Err(why) => {
                    let since = *bad_since.get_or_insert_with(Instant::now);
                    if since.elapsed() >= BAD_MAX {
                        if !self.is_known(&submission).await? {
                            return Err(BootError::NotTaken(why));
                        }
                        // One leader's word ends nobody.
                        tracing::error!(%why, "booting: the leader takes no statement of a key in force");
                        bad_since = None;
                    }
                    None
                }
            };
            match read_answer(node, kind, answer)? {
                Sent::Recorded(recorded) => return Ok(Some(recorded)),
                Sent::Overtaken => return Ok(None),
                Sent::Unknown => {}
            }
            if self.reader.linearizable(ROUND).await.is_err() {
                continue;
            }
            if let Some(seen) = self.window(node, seq).await?
                && seen.hash == hash
            {
                return Ok(Some(place(&seen)));
            }
        }
    }

    /// Whether the ledger as it is applied here has the key that signed this in force.
    async fn is_known(&self, submission: &Submission) -> Result<bool, BootError> {
        let founded = self.read(|tables| match tables.head()?.size {
            TreeSize::EMPTY => Ok(None),
            size => Ok(Some((tables.key_history()?, size))),
        });
        let Some((keys, size)) = founded.await? else {
            return Ok(false);
        };
        let next = RecordIndex::new(size.get());
        let signed = |key| submission.statement.verify(key, &submission.signature);
        let mut lives = keys.statement_keys(submission.statement.node).iter();
        Ok(lives.any(|life| life.at_record(next) == KeyValidity::InForce && signed(&life.key)))
    }

    /// The answer, if there is one; an error where the leader finds the statement bad.
    async fn send(&self, submission: Submission) -> Result<Option<Answer>, String> {
        let Some(mut route) = LeaderRoute::open(&self.group, &self.intake, &self.transport) else {
            tokio::time::sleep(PAUSE).await;
            return Ok(None);
        };
        let answered = match route.send(vec![submission]).await {
            Ok(answered) => tokio::time::timeout(ANSWER_MAX, answered).await,
            Err(lost) => Ok(Err(lost)),
        };
        match answered {
            Ok(Ok(answers)) => Ok(answers.first().copied()),
            Ok(Err(lost)) => {
                tracing::debug!(why = %lost, "booting: not recorded yet");
                tokio::time::sleep(PAUSE).await;
                match lost.is_about_content() {
                    true => Err(lost.to_string()),
                    false => Ok(None),
                }
            }
            Err(_) => Ok(None),
        }
    }

    async fn lane(&self, node: NodeId) -> Result<LaneRow, BootError> {
        let row = self.read(move |tables| tables.lane(node, Lane::Boot));
        Ok(row.await?.unwrap_or_default())
    }

    async fn window(&self, node: NodeId, seq: Sequence) -> Result<Option<WindowRow>, BootError> {
        self.read(move |tables| tables.lane_window(node, Lane::Boot, seq))
            .await
    }

    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&crate::ledger::state::Tables<'_>) -> Result<T, crate::store::StoreError>
        + Send
        + 'static,
    ) -> Result<T, BootError> {
        let state = self.state.clone();
        Ok(self.blocking.run(move || state.read(read)).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What each answer to a BOOT and to GENESIS comes to.
    #[test]
    fn each_answer_is_a_record_a_repetition_or_the_end() {
        let recorded = Answer::Recorded {
            index: RecordIndex::new(7),
            outcome: Outcome::Ok,
        };
        let read = |kind, answer| match read_answer(NodeId::new(2), kind, answer) {
            Ok(Sent::Recorded(recorded)) => format!("record {}", recorded.index),
            Ok(Sent::Overtaken) => "overtaken".into(),
            Ok(Sent::Unknown) => "unknown".into(),
            Err(error) => error.to_string(),
        };
        for (answer, boot, genesis) in [
            (Some(recorded), "record 7", "record 7"),
            (None, "unknown", "unknown"),
            (Some(Answer::Equivocation), "overtaken", "overtaken"),
            (
                Some(Answer::WrongLedger),
                "the ledger answers WrongLedger",
                "a ledger is founded here already",
            ),
            (
                Some(Answer::LaneClosed),
                "the ledger answers LaneClosed",
                "the ledger answers LaneClosed",
            ),
        ] {
            assert_eq!(read(Kind::Boot, answer), boot);
            assert_eq!(read(Kind::Genesis, answer), genesis);
        }
        let moved = read(
            Kind::Boot,
            Some(Answer::Gap {
                next: Sequence::new(9),
            }),
        );
        assert!(moved.contains("is another process running"), "{moved}");
    }
}
