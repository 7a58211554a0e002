//! BOOT (and, once in a ledger's life, GENESIS): committed before a node says anything.
//!
//! Promises: returns only when the node's own BOOT record is committed and applied here;
//! the same signed bytes are sent until that is so. Leaves everything later to the lane.

use super::intake::Intake;
use super::route::LeaderRoute;
use super::{Intent, StatementSigner};
use crate::domain::command::{Answer, Submission};
use crate::ledger::rows::{LaneRow, WindowRow};
use crate::ledger::state::State;
use crate::raft::group::RaftGroup;
use crate::raft::reader::ReadBarrier;
use crate::store::Blocking;
use crate::transport::Transport;
use muniment_evidence::digest::Digest;
use muniment_evidence::opening::{Document, GenesisDocument};
use muniment_evidence::record::Outcome;
use muniment_evidence::statement::{Kind, Lane};
use std::sync::Arc;
use std::time::Duration;

/// One round of asking for a read index; repeated until there is a quorum.
const ROUND: Duration = Duration::from_secs(2);
/// Pause between rounds without a leader.
const PAUSE: Duration = Duration::from_millis(20);
/// How long one BOOT may be under way before it is looked up.
const ANSWER_MAX: Duration = Duration::from_secs(3);
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

/// The ledger as it stands when a node may boot into it.
pub struct FoundedLedger {
    pub id: Digest,
    pub origin: String,
}

impl BootContext {
    /// Waits until a founded ledger is applied here and known to be fresh.
    pub async fn founded(&self) -> Result<FoundedLedger, String> {
        loop {
            if self.reader.linearizable(ROUND).await.is_err() {
                tokio::time::sleep(PAUSE).await;
                continue;
            }
            let head = self.read(|tables| tables.head()).await?;
            if head.size > 0 {
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
    ) -> Result<(), String> {
        let intent = Intent::system(Document::Genesis(genesis));
        let submission = signer.sign(&intent, Lane::Boot, 0, Digest::ZERO);
        let recorded = self.settle(signer.node, submission).await?;
        let recorded = recorded.ok_or_else(|| moved(signer.node))?;
        match recorded.outcome {
            Outcome::Ok => Ok(()),
            outcome => Err(format!("GENESIS has outcome {outcome}")),
        }
    }

    /// Submits BOOT; returns its record index, which names the strict lane.
    pub async fn boot(&self, signer: &StatementSigner, boot: Document) -> Result<u64, String> {
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
                return Err(moved(node));
            }
            // What took the number is committed: it must be applied here before the lane
            // is read again.
            while self.reader.linearizable(ROUND).await.is_err() {
                tokio::time::sleep(PAUSE).await;
            }
        };
        match recorded.outcome {
            Outcome::Ok => Ok(recorded.index),
            outcome => Err(format!(
                "this node's BOOT has outcome {outcome}: its keys or its disk are not \
                 those that the ledger knows; a wiped node joins under a new id"
            )),
        }
    }

    /// Sends until the statement is known to be recorded; `None` if another statement of
    /// this node has its number.
    async fn settle(
        &self,
        node: u64,
        submission: Submission,
    ) -> Result<Option<super::Recorded>, String> {
        let seq = submission.statement.seq;
        let hash = submission.statement.hash();
        loop {
            match self.send(submission.clone()).await {
                Some(Answer::Recorded { index, outcome }) => {
                    return Ok(Some(super::Recorded { index, outcome }));
                }
                Some(Answer::WrongLedger) if submission.statement.kind == Kind::Genesis => {
                    return Err("a ledger is founded here already".into());
                }
                Some(Answer::Equivocation) => return Ok(None),
                Some(Answer::Gap { .. }) => return Err(moved(node)),
                Some(answer) => return Err(format!("the ledger answers {answer:?}")),
                None => {}
            }
            if self.reader.linearizable(ROUND).await.is_err() {
                continue;
            }
            if let Some(seen) = self.window(node, seq).await?
                && seen.hash == hash
            {
                let (index, outcome) = (seen.index, seen.outcome);
                return Ok(Some(super::Recorded { index, outcome }));
            }
        }
    }

    async fn send(&self, submission: Submission) -> Option<Answer> {
        let Some(mut route) = LeaderRoute::open(&self.group, &self.intake, &self.transport) else {
            tokio::time::sleep(PAUSE).await;
            return None;
        };
        let answered = match route.send(vec![submission]).await {
            Ok(answered) => tokio::time::timeout(ANSWER_MAX, answered).await,
            Err(lost) => Ok(Err(lost)),
        };
        match answered {
            Ok(Ok(answers)) => answers.first().copied(),
            Ok(Err(lost)) => {
                tracing::debug!(why = %lost.0, "booting: not recorded yet");
                tokio::time::sleep(PAUSE).await;
                None
            }
            Err(_) => None,
        }
    }

    async fn lane(&self, node: u64) -> Result<LaneRow, String> {
        let row = self.read(move |tables| tables.lane(node, Lane::Boot));
        Ok(row.await?.unwrap_or_default())
    }

    async fn window(&self, node: u64, seq: u64) -> Result<Option<WindowRow>, String> {
        self.read(move |tables| tables.lane_window(node, Lane::Boot, seq))
            .await
    }

    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(crate::ledger::state::Tables) -> Result<T, crate::store::Error>
        + Send
        + 'static,
    ) -> Result<T, String> {
        let state = self.state.clone();
        let found = self.blocking.run(move || read(state.tables()?)).await;
        found.map_err(|error| error.to_string())
    }
}

fn moved(node: u64) -> String {
    format!(
        "the boot lane of node {node} moved while it booted: is another process running \
         under this node's identity?"
    )
}
