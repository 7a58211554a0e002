//! One change of the members, carried through or given up (I8).
//!
//! Promises the order: 1 PREPARE is recorded, 2 whoever comes in holds every record and
//! body up to it, a majority of the target does, and whoever leaves has recorded what it promised, 3 Raft changes, 4 DONE is recorded.
//! What fails before 3 is given up: learners added for it are dropped, ABORT is recorded.
//! Once Raft has begun to change there is only forward. Whoever loses leadership midway
//! leaves everything to [`super::resume`] on the next leader.
//!
//! Tests: `tests/cluster/members.rs`.

use super::{MembershipChanges, Progress, quorum};
use crate::domain::call_error::CallError;
use crate::domain::ids::{NodeId, RecordIndex};
use crate::ledger::roles::{ModeRow, Preparing, Target, is_only};
use crate::ledger::rows::VotersRow;
use crate::ledger::state::Tables;
use crate::objective::read::ReadLevel;
use crate::raft::types::Peer;
use crate::recorder::Intent;
use crate::recorder::booted::Booted;
use crate::status::messages::NodeStatus;
use muniment_evidence::mode::Phase;
use muniment_evidence::opening::{Document, ModeDocument};
use muniment_evidence::record::Outcome;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::time::Instant;

/// Between two looks at who holds what.
pub(super) const LOOK_PAUSE: Duration = Duration::from_millis(200);
/// Between two lines of progress.
pub(super) const SAY_PAUSE: Duration = Duration::from_secs(1);
/// Raft's change is tried this often while this node leads: an election of the slowest
/// profile may come between.
const TRIES_MAX: usize = 10;
const TRY_PAUSE: Duration = Duration::from_millis(500);

/// How long nodes that come in, or leave, are waited for.
#[derive(Clone, Copy, Debug)]
pub(super) struct ChangeWait {
    /// In all.
    pub whole: Duration,
    /// Without any progress of theirs.
    pub stalled: Duration,
}

/// Of a change that was just asked for: a node joins within 20 minutes, or something is
/// wrong; one that stands still for two, longer than a snapshot takes, is not coming.
const WAIT: ChangeWait = ChangeWait {
    whole: Duration::from_secs(20 * 60),
    stalled: Duration::from_secs(120),
};

/// Why a change is not carried through here.
pub(super) enum Stuck {
    /// Nothing has changed: it may be given up.
    GiveUp(String),
    /// Unknown here: the next look, or the next leader, decides.
    Leave(CallError),
}

impl From<CallError> for Stuck {
    fn from(error: CallError) -> Stuck {
        Stuck::Leave(error)
    }
}

impl MembershipChanges {
    /// Makes a change from its PREPARE on.
    pub(super) async fn make(
        &self,
        booted: &Booted,
        prepare: ModeDocument,
        newcomer: Option<(NodeId, Peer)>,
        progress: &Progress,
    ) -> Result<String, CallError> {
        let what = prepare.reason.clone();
        let index = self.prepare(booted, prepare).await?;
        progress.say("prepare", format!("{what}: record {index}"));
        let (_, row) = self.look().await?;
        let ours = row.preparing.filter(|p| p.index == index);
        let Some(preparing) = ours else {
            return Err(self.unavailable("the change was ended by another leader"));
        };
        let carried = self.carry(&preparing, newcomer, WAIT, progress).await;
        self.conclude(booted, &preparing, carried, progress).await?;
        Ok(format!("{what}: done"))
    }

    /// Records how it ended.
    pub(super) async fn conclude(
        &self,
        booted: &Booted,
        preparing: &Preparing,
        carried: Result<(), Stuck>,
        progress: &Progress,
    ) -> Result<(), CallError> {
        match carried {
            Ok(()) => {
                let index = self.end_as(booted, preparing, Phase::Done, "").await?;
                progress.say("done", format!("record {index}"));
                Ok(())
            }
            Err(Stuck::GiveUp(why)) => {
                self.drop_strangers().await?;
                let index = self.end_as(booted, preparing, Phase::Abort, &why).await?;
                progress.say("abort", format!("{why}: record {index}"));
                Err(CallError::NotNow {
                    reason: "CHANGE_GIVEN_UP",
                    detail: format!(
                        "the change was given up, the members stay what they were: {why}"
                    ),
                })
            }
            Err(Stuck::Leave(error)) => Err(error),
        }
    }

    /// Records the last step. It is for whoever leads to say: one that has lost its office since
    /// is refused, and the next leader has ended the change, or will.
    async fn end_as(
        &self,
        booted: &Booted,
        preparing: &Preparing,
        phase: Phase,
        why: &str,
    ) -> Result<RecordIndex, CallError> {
        let target = &preparing.target;
        let step = document(phase, preparing.number, target, preparing.index, why);
        match self.write(booted, step).await? {
            (index, Outcome::Ok) => Ok(index),
            (index, outcome) => Err(self.unavailable(format!(
                "{outcome}, record {index}: the next leader ends the change"
            ))),
        }
    }

    /// Brings the members to the target.
    pub(super) async fn carry(
        &self,
        preparing: &Preparing,
        newcomer: Option<(NodeId, Peer)>,
        wait: ChangeWait,
        progress: &Progress,
    ) -> Result<(), Stuck> {
        let target = &preparing.target;
        let (voters, row) = self.look().await?;
        if is_only(&voters, &preparing.from) {
            self.learn(target, newcomer, progress).await?;
            self.wait_until_held(preparing, &row, wait, progress)
                .await?;
            if self.all_are_there(preparing, &row) {
                let accepted = self.accepted(preparing.index).await?;
                if let Some(why) = self.costs_more(preparing, &accepted).await? {
                    return Err(Stuck::GiveUp(why));
                }
                self.wait_until_recorded(preparing, &row, &accepted, wait, progress)
                    .await?;
            }
        }
        self.vote(preparing, progress).await?;
        let wanted: BTreeSet<NodeId> = target.nodes().collect();
        let members = self.group().status().members;
        let leaving: BTreeSet<NodeId> = members
            .into_keys()
            .filter(|n| !wanted.contains(n))
            .collect();
        if !leaving.is_empty() {
            let removed = self.group().remove_learners(leaving).await;
            removed.map_err(|why| self.unavailable(why))?;
        }
        Ok(())
    }

    /// Whether Raft still replicates to whoever is to leave: else the change of an earlier
    /// leader has come so far that there is only forward.
    fn all_are_there(&self, preparing: &Preparing, row: &ModeRow) -> bool {
        let members = self.group().status().members;
        let mut leaving = preparing.leaving(row).into_iter();
        leaving.all(|node| members.contains_key(&node))
    }

    /// Raft replicates to every learner of the target.
    async fn learn(
        &self,
        target: &Target,
        newcomer: Option<(NodeId, Peer)>,
        progress: &Progress,
    ) -> Result<(), Stuck> {
        let members = self.group().status().members;
        let missing = target.nodes().find(|node| !members.contains_key(node));
        let Some(node) = missing else {
            return Ok(());
        };
        let Some((_, peer)) = newcomer.filter(|(new, _)| *new == node) else {
            let why = format!("this leader does not know where node {node} is: add it again");
            return Err(Stuck::GiveUp(why));
        };
        progress.say("learn", format!("node {node} at {}", peer.address));
        match self.group().add_learner(node, peer).await {
            Ok(()) => Ok(()),
            Err(why) => Err(self.unavailable(why).into()),
        }
    }

    /// Waits until whoever comes in holds every record and body up to PREPARE, and a majority
    /// of the target's voters does.
    async fn wait_until_held(
        &self,
        preparing: &Preparing,
        row: &ModeRow,
        wait: ChangeWait,
        progress: &Progress,
    ) -> Result<(), Stuck> {
        let target = &preparing.target;
        let incoming = quorum::rising(&preparing.from, row, target);
        let asked: BTreeSet<NodeId> = incoming.iter().chain(&target.voters).copied().collect();
        let majority = target.voters.len() / 2 + 1;
        let (started, mut moved, mut said) = (Instant::now(), Instant::now(), None::<Instant>);
        let mut seen = (usize::MAX, 0);
        loop {
            if !self.group().is_leader() {
                return Err(self
                    .unavailable("leadership was lost; the next leader goes on")
                    .into());
            }
            let statuses = asked.iter().map(|node| self.0.parts.status.ask(*node));
            let statuses = futures::future::join_all(statuses).await;
            let statuses: Vec<NodeStatus> = statuses.into_iter().flatten().collect();
            let holds = |node: &NodeId| {
                let mut of = statuses.iter().filter(|s| s.node() == *node);
                of.any(|s| s.progress.body_complete > preparing.index.size_before())
            };
            let held = target.voters.iter().filter(|n| holds(n)).count();
            let behind: Vec<NodeId> = incoming.iter().filter(|n| !holds(n)).copied().collect();
            if behind.is_empty() && held >= majority {
                return Ok(());
            }
            // Of those who are waited for: what the others do is no progress.
            let waited = |node: NodeId| match behind.is_empty() {
                true => !holds(&node),
                false => behind.contains(&node),
            };
            let far =
                statuses
                    .iter()
                    .filter(|s| waited(s.node()))
                    .map(|s| match behind.is_empty() {
                        true => s.progress.body_complete.get(),
                        false => s.progress.body_complete.get() + s.progress.applied_index.get(),
                    });
            let far: u64 = far.sum();
            if behind.len() != seen.0 || far > seen.1 {
                (seen, moved) = ((behind.len(), far), Instant::now());
            }
            let line = || {
                let of = |node: &NodeId| match statuses.iter().find(|s| s.node() == *node) {
                    Some(s) => format!(
                        "node {node} holds {} of {} records with their bodies",
                        s.progress.body_complete,
                        preparing.index.next()
                    ),
                    None => format!("node {node} does not answer"),
                };
                match &behind[..] {
                    [] => format!("{held} of the {majority} voters needed hold everything"),
                    behind => behind.iter().map(of).collect::<Vec<_>>().join("; "),
                }
            };
            if started.elapsed() > wait.whole || moved.elapsed() > wait.stalled {
                return Err(Stuck::GiveUp(format!("no progress in time: {}", line())));
            }
            if said.is_none_or(|at| at.elapsed() >= SAY_PAUSE) {
                progress.say("bring", line());
                said = Some(Instant::now());
            }
            tokio::time::sleep(LOOK_PAUSE).await;
        }
    }

    /// Raft's voters become the target's.
    async fn vote(&self, preparing: &Preparing, progress: &Progress) -> Result<(), Stuck> {
        let target = &preparing.target;
        let mut why = None;
        for _ in 0..TRIES_MAX {
            let (voters, _) = self.look().await?;
            if target.is_in_force(&voters) {
                return Ok(());
            }
            if let Some(why) = why.take()
                && is_only(&voters, &preparing.from)
            {
                return Err(Stuck::GiveUp(why));
            }
            progress.say("vote", format!("voters {:?}", target.voters));
            let wanted = target.voters.iter().copied().collect();
            if let Err(refusal) = self.group().change_voters(wanted).await {
                why = Some(format!("Raft did not change: {refusal}"));
                tokio::time::sleep(TRY_PAUSE).await;
            }
        }
        let why = why.unwrap_or_else(|| "the voters do not become the target".into());
        Err(self.unavailable(why).into())
    }

    /// Raft forgets learners that no change has made members.
    async fn drop_strangers(&self) -> Result<(), CallError> {
        let (voters, row) = self.look().await?;
        let known = row.sync_learners.iter().chain(&row.async_learners);
        let known: BTreeSet<NodeId> = voters.0.iter().flatten().chain(known).copied().collect();
        let members = self.group().status().members;
        let strangers: BTreeSet<NodeId> =
            members.into_keys().filter(|n| !known.contains(n)).collect();
        if strangers.is_empty() {
            return Ok(());
        }
        let dropped = self.group().remove_learners(strangers).await;
        dropped.map_err(|why| self.unavailable(why))
    }

    /// The voters in force and the roles, missing nothing that was acknowledged.
    pub(super) async fn look(&self) -> Result<(VotersRow, ModeRow), CallError> {
        self.0.parts.reads.fresh(ReadLevel::Linearizable).await?;
        self.0
            .parts
            .reads
            .read(|tables: &Tables<'_>| Ok((tables.voters()?, tables.mode()?)))
            .await
    }

    /// Records the first step.
    async fn prepare(
        &self,
        booted: &Booted,
        prepare: ModeDocument,
    ) -> Result<RecordIndex, CallError> {
        match self.write(booted, Document::Mode(prepare)).await? {
            (index, Outcome::Ok) => Ok(index),
            (_, Outcome::Refused(reason)) => Err(CallError::NotNow {
                reason: reason.name(),
                detail: format!("the ledger refused the step: {}", reason.name()),
            }),
            (_, Outcome::DuplicateOf(_)) => Err(self.unavailable("a step was taken for another")),
        }
    }

    async fn write(
        &self,
        booted: &Booted,
        document: Document,
    ) -> Result<(RecordIndex, Outcome), CallError> {
        let writes = &self.0.parts.writes;
        let recorded = writes.record(booted, Intent::system(document)).await?;
        Ok((recorded.index, recorded.outcome))
    }
}

fn document(
    phase: Phase,
    number: u64,
    target: &Target,
    prepared: RecordIndex,
    reason: &str,
) -> Document {
    Document::Mode(ModeDocument {
        phase,
        number,
        voters: target.voters.clone(),
        sync_learners: target.sync_learners.clone(),
        async_learners: target.async_learners.clone(),
        prepared: Some(prepared),
        reason: reason.to_owned(),
        order: None,
    })
}
