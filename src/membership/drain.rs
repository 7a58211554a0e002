//! A node is emptied of work before its maintenance, and takes it up again.
//!
//! Promises: once the end is said, this node takes no calls, does not lead, every other voter
//! holds every record and body that it held, and those that stay are a majority: it may be
//! stopped without a caller noticing. A drain after which too few would stay is refused. A
//! drained node goes on voting and learning, and leads where nobody else can, until somebody
//! can. A restart, or [`MembershipChanges::undrain`], undoes it. Leaves standing for
//! election to Raft.

use super::{ChangeSteps, MembershipChanges, Progress, done_at_once, run};
use crate::domain::call_error::CallError;
use crate::domain::ids::{NodeId, TreeSize};
use crate::status::messages::NodeHealth;
use crate::supervise;
use std::time::Duration;
use tokio::time::Instant;

/// Hand-overs that are tried: a follower that was behind catches up in between.
const TRIES_MAX: usize = 20;
const TRY_PAUSE: Duration = Duration::from_millis(500);
/// Others that stand still for this long are not coming.
const STALLED_MAX: Duration = Duration::from_secs(60);
const LOOK_PAUSE: Duration = Duration::from_millis(200);
/// Between two looks of a drained node whether it leads, and whether somebody else could.
const HAND_BACK_PAUSE: Duration = Duration::from_secs(1);

/// Whether a voter could lead, by its own word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fitness {
    Fit,
    Leaving,
    NotReady,
    Silent,
}

impl Fitness {
    fn of(health: Option<&NodeHealth>) -> Fitness {
        match health {
            None => Fitness::Silent,
            Some(health) if health.leaving => Fitness::Leaving,
            Some(health) if !health.ready => Fitness::NotReady,
            Some(_) => Fitness::Fit,
        }
    }

    fn say(self, node: NodeId) -> Option<String> {
        match self {
            Fitness::Fit => None,
            Fitness::Leaving => Some(format!("node {node} is drained or stopping")),
            Fitness::NotReady => Some(format!("node {node} is not ready")),
            Fitness::Silent => Some(format!("node {node} does not answer")),
        }
    }
}

/// Why a voter may not be drained beside these others: those that stay must be enough to
/// elect a leader once it is stopped.
fn judge(node: NodeId, others: &[(NodeId, Fitness)]) -> Result<(), String> {
    let voters = others.len() + 1;
    let needed = voters / 2 + 1;
    let stay = others.iter().filter(|(_, f)| *f == Fitness::Fit).count();
    if stay >= needed {
        return Ok(());
    }
    let mut why = format!(
        "without node {node}, {stay} of {voters} voters would stay, and a leader needs {needed}"
    );
    for said in others.iter().filter_map(|(node, f)| f.say(*node)) {
        why = format!("{why}; {said}");
    }
    Err(why)
}

impl MembershipChanges {
    /// Empties this node of work.
    pub async fn drain(&self, node: NodeId) -> Result<ChangeSteps, CallError> {
        self.must_be_asked_itself(node, "drains")?;
        let was = self.group().has_stepped_down();
        // Before the others are asked: of two that are drained at once, each sees the other.
        self.group().step_down(true);
        let votes = self.group().status().voters.contains(&node);
        if votes && let Err(why) = judge(node, &self.others_fitness().await) {
            self.group().step_down(was);
            return Err(CallError::NotNow {
                reason: "NO_SUCCESSOR",
                detail: why,
            });
        }
        let changes = self.clone();
        Ok(run(move |progress| async move {
            changes.0.drained.send_replace(true);
            progress.say("drain", format!("node {node} takes no calls any more"));
            if let Err(error) = changes.hand_over(&progress).await {
                changes.take_up_work();
                return Err(error);
            }
            let size = changes.group().applied().size;
            changes.wait_for_others(size, &progress).await?;
            Ok(format!(
                "every other voter holds the {size} records and their bodies: node {node} may be \
                 stopped; it takes calls again when it is started again, or by `cluster undrain`"
            ))
        }))
    }

    /// Takes calls, and stands for election, again.
    pub fn undrain(&self, node: NodeId) -> Result<ChangeSteps, CallError> {
        self.must_be_asked_itself(node, "takes up its work again")?;
        let was = *self.0.drained.borrow();
        self.take_up_work();
        let detail = match was {
            true => format!("node {node} takes calls again"),
            false => format!("node {node} was not drained"),
        };
        Ok(done_at_once(detail))
    }

    fn take_up_work(&self) {
        self.group().step_down(false);
        self.0.drained.send_replace(false);
    }

    fn must_be_asked_itself(&self, node: NodeId, what: &str) -> Result<(), CallError> {
        if node == self.group().node() {
            return Ok(());
        }
        let Some(peer) = self.group().member(node) else {
            return Err(CallError::not_found(format!("member {node}")));
        };
        Err(CallError::Unavailable {
            why: format!("node {node} {what} itself: ask it").into(),
            leader_address: Some(peer.client_address),
        })
    }

    /// The other voters, asked now.
    async fn others_fitness(&self) -> Vec<(NodeId, Fitness)> {
        let own = self.group().node();
        let voters = self.group().status().voters;
        let others = voters.into_iter().filter(|node| *node != own);
        let asked = others.map(|node| async move {
            let status = self.0.parts.status.ask(node).await;
            (node, Fitness::of(status.as_ref().map(|s| &s.health)))
        });
        futures::future::join_all(asked).await
    }

    async fn hand_over(&self, progress: &Progress) -> Result<(), CallError> {
        for _ in 0..TRIES_MAX {
            if !self.group().is_leader() {
                return Ok(());
            }
            progress.say("transfer", "handing leadership to the best follower");
            let others = self.others_fitness().await.into_iter();
            let fit = others.filter(|(_, fitness)| *fitness == Fitness::Fit);
            let fit: Vec<NodeId> = fit.map(|(node, _)| node).collect();
            self.group().hand_over_to_one_of(&fit).await;
            if !self.group().is_leader() {
                return Ok(());
            }
            tokio::time::sleep(TRY_PAUSE).await;
        }
        Err(CallError::NotNow {
            reason: "NO_SUCCESSOR",
            detail: "no other voter could take leadership over: is one reachable?".to_owned(),
        })
    }

    /// Hands leadership on, while drained, as soon as somebody else can lead.
    pub fn start_handing_back(&self) {
        let changes = self.clone();
        let stop = changes.0.parts.reads.context.stop.clone();
        supervise::restart(&stop, "a drained node's leadership", move || {
            let changes = changes.clone();
            async move { changes.hand_back().await }
        });
    }

    async fn hand_back(&self) {
        loop {
            tokio::time::sleep(HAND_BACK_PAUSE).await;
            if !*self.0.drained.borrow() || !self.group().is_leader() {
                continue;
            }
            let recent = self.0.parts.peers.recent_peers().into_iter();
            let fit = recent.filter(|p| Fitness::of(Some(&p.status.health)) == Fitness::Fit);
            let fit: Vec<NodeId> = fit.map(|peer| peer.status.node()).collect();
            self.group().hand_over_to_one_of(&fit).await;
        }
    }

    async fn wait_for_others(&self, size: TreeSize, progress: &Progress) -> Result<(), CallError> {
        let (mut seen, mut moved, mut said) = (0, Instant::now(), String::new());
        loop {
            let voters = self.group().status().voters;
            let others: Vec<NodeId> = voters
                .into_iter()
                .filter(|n| *n != self.group().node())
                .collect();
            let statuses = others.iter().map(|node| self.0.parts.status.ask(*node));
            let statuses = futures::future::join_all(statuses).await;
            let lacking = others.iter().zip(&statuses).filter_map(|(node, status)| {
                let held = status
                    .as_ref()
                    .map_or(TreeSize::EMPTY, |s| s.progress.body_complete);
                (held < size).then(|| format!("node {node} holds {held} of {size}"))
            });
            let lacking: Vec<String> = lacking.collect();
            if lacking.is_empty() {
                return Ok(());
            }
            let sum: u64 = statuses
                .iter()
                .flatten()
                .map(|s| s.progress.body_complete.get())
                .sum();
            if sum > seen {
                (seen, moved) = (sum, Instant::now());
            }
            let line = lacking.join("; ");
            if moved.elapsed() > STALLED_MAX {
                return Err(CallError::NotNow {
                    reason: "OTHERS_BEHIND",
                    detail: format!("drained, but stopping it now would cost copies: {line}"),
                });
            }
            if line != said {
                progress.say("copies", line.clone());
                said = line;
            }
            tokio::time::sleep(LOOK_PAUSE).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(others: &[Fitness]) -> Result<(), String> {
        let others: Vec<_> = (2..).map(NodeId::new).zip(others.iter().copied()).collect();
        judge(NodeId::new(1), &others)
    }

    #[test]
    fn a_node_is_drained_only_if_those_that_stay_can_elect_a_leader() {
        use Fitness::{Fit, Leaving, NotReady, Silent};
        assert_eq!(judged(&[Fit, Fit]), Ok(()));
        assert_eq!(judged(&[Fit, Fit, Fit, Leaving]), Ok(()));
        // The second of three: once both are stopped, nobody leads.
        let why = judged(&[Fit, Leaving]).unwrap_err();
        assert!(
            why.contains("1 of 3") && why.contains("node 3 is drained"),
            "{why}"
        );
        let why = judged(&[Silent, NotReady]).unwrap_err();
        assert!(why.contains("node 2 does not answer"), "{why}");
        assert!(why.contains("node 3 is not ready"), "{why}");
        assert!(judged(&[Fit]).is_err());
        assert!(judged(&[]).is_err());
    }
}
