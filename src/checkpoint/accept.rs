//! Notes from elsewhere: those of the leader's rounds, and divergence notices.
//!
//! Promises: a note is posted only when it holds under the ledger's keys and its root is
//! this node's own at that size. A note with another root that a majority of the voters
//! has cosigned stops this node, whoever brought it: the proof is in the signatures, not
//! in the messenger. Lines under ML-DSA keys, which no record names, are taken as the leader
//! has them: it can leave lines out anyway. Leaves what follows from a note to those who follow the recent ones.

use super::rounds::diverged;
use super::{Cosigning, ROUND_MAX};
use crate::domain::cause::{AnyError, Cause};
use crate::domain::ids::NodeId;
use crate::misconduct::Misdeed;
use crate::objective::majority::is_majority;
use crate::transport::Failure;
use muniment_evidence::ledger::Vouched;
use std::collections::BTreeSet;

/// What a note comes to here.
enum Weighed {
    /// It says what this node's log says.
    Own { is_agreed: bool },
    /// It says something else, and too few say so.
    Differs,
    /// It says something else, a majority says so: this node stops.
    Convicts,
}

fn refused(why: impl Into<Box<AnyError>>) -> Failure {
    Failure::Refused(Cause::new(why))
}

impl Cosigning {
    /// Takes up a note of the leader.
    pub(super) async fn accept(&self, note: &[u8]) -> Result<(), Failure> {
        let vouched = self.read_note(note).await?;
        let known = self.0.recent.of_size(vouched.checkpoint.size);
        if known.is_some_and(|posted| posted.cosigners >= vouched.cosigners.len()) {
            return Ok(());
        }
        match self.weigh(&vouched).await? {
            Weighed::Own { is_agreed } => {
                let text = String::from_utf8(note.to_vec()).map_err(refused)?;
                let cosigners = vouched.cosigners.len();
                self.post(&vouched.checkpoint, text, cosigners, is_agreed);
                Ok(())
            }
            Weighed::Differs => Err(refused("the note has another root than this node")),
            Weighed::Convicts => Err(refused("this node has diverged and stops")),
        }
    }

    /// Hears that a majority has another root.
    pub(super) async fn take_divergence_notice(
        &self,
        from: NodeId,
        note: &[u8],
    ) -> Result<(), Failure> {
        let misconduct = self.0.context.group.misconduct();
        let unproven = |why: &Failure| misconduct.saw(from, Misdeed::UnprovenNotice, why);
        let vouched = self.read_note(note).await.inspect_err(unproven)?;
        match self.weigh(&vouched).await? {
            Weighed::Own { .. } => Err(refused("the notice names this node's own root")),
            Weighed::Differs => {
                let why = refused("the notice is not that of a majority");
                unproven(&why);
                Err(why)
            }
            Weighed::Convicts => Ok(()),
        }
    }

    async fn read_note(&self, note: &[u8]) -> Result<Vouched, Failure> {
        let booted = self.0.parts.booted.borrow().clone();
        let booted = booted.ok_or_else(|| refused("not booted yet"))?;
        let cosigners = self.cosigners(&booted).await;
        let cosigners = cosigners.map_err(|error| self.storage_failed(&error))?;
        let checked = cosigners.ledger.checkpoint(note);
        checked.map_err(|(_, why)| refused(why))
    }

    async fn weigh(&self, vouched: &Vouched) -> Result<Weighed, Failure> {
        let context = &self.0.context;
        let checkpoint = &vouched.checkpoint;
        if !context.group.wait_size(checkpoint.size, ROUND_MAX).await {
            return Err(refused("this node has not applied as much in time"));
        }
        let own = self.root_at(checkpoint.size).await?;
        let voters: BTreeSet<NodeId> = context.group.status().voters.into_iter().collect();
        let nodes: Vec<NodeId> = vouched.cosigners.iter().map(|c| c.node).collect();
        let is_agreed = is_majority(&voters, nodes.iter().copied());
        if own == checkpoint.root {
            return Ok(Weighed::Own { is_agreed });
        }
        self.count_divergence();
        if !is_agreed {
            let (size, root) = (checkpoint.size, checkpoint.root);
            tracing::error!(size = size.get(), %own, %root, ?nodes, "a note has another root");
            return Ok(Weighed::Differs);
        }
        let what = diverged(checkpoint.size, own, &nodes, checkpoint.root);
        context.stop.broken(what);
        Ok(Weighed::Convicts)
    }
}
