//! Signing: this node's own cosignature, and what must be true before it is given.
//!
//! A cosignature says: I hold every record below this size durably, and every body that
//! they name. Promises that nothing is signed before this node has booted (so, not before
//! the sign guard allowed it and was moved to the head of this boot; from then on the
//! guard trails the applied head, which nothing is signed beyond); before the log is
//! flushed past the size; before the body-complete index covers it, for which each record
//! was read back and hashed; nor when this node's own root differs. Sizes never go back,
//! and a size has one root. Leaves whom to ask to [`super::rounds`].

use super::messages::{CosignReply, CosignRequest};
use super::{Cosigning, ROUND_MAX};
use crate::domain::cause::{AnyError, Cause};
use crate::domain::ids::TreeSize;
use crate::transport::Failure;
use muniment_evidence::digest::Digest;
use muniment_evidence::note::Checkpoint;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::time::{Instant, timeout_at};

/// What this node has cosigned since it started.
#[derive(Default)]
pub struct SignedSizes {
    signed: Mutex<Signed>,
    /// Records known to be flushed.
    flushed: AtomicU64,
}

/// The highest size signed, and its root.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Signed(Option<(TreeSize, Digest)>);

/// Why a size is not signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    /// A higher size is signed already.
    Behind(TreeSize),
    /// The same size is signed with this root: the log was changed under the node.
    Contradicts(Digest),
}

impl Signed {
    /// The monotone rule: the same again, or higher.
    fn advance(&mut self, size: TreeSize, root: Digest) -> Result<(), Refusal> {
        match self.0 {
            Some((signed, _)) if size < signed => Err(Refusal::Behind(signed)),
            Some((signed, other)) if size == signed && root != other => {
                Err(Refusal::Contradicts(other))
            }
            _ => {
                self.0 = Some((size, root));
                Ok(())
            }
        }
    }
}

fn refused(why: impl Into<Box<AnyError>>) -> Failure {
    Failure::Refused(Cause::new(why))
}

impl Cosigning {
    /// Cosigns, or says that the root here is another.
    pub(super) async fn cosign(&self, ask: CosignRequest) -> Result<CosignReply, Failure> {
        let (parts, context) = (&self.0.parts, &self.0.context);
        let booted = parts.booted.borrow().clone();
        let booted = booted.ok_or_else(|| refused("not booted yet"))?;
        if ask.size < booted.guarded {
            return Err(refused(format!(
                "the sign guard stands at {}",
                booted.guarded
            )));
        }
        let limit = Instant::now() + ROUND_MAX;
        let late = |_| refused("not everything of it is here in time");
        let holding = self.holds(ask.size);
        timeout_at(limit, holding).await.map_err(late)??;
        let own = self.root_at(ask.size).await?;
        if own != ask.root {
            tracing::error!(
                size = ask.size.get(), %own, asked = %ask.root,
                "asked to cosign another root than this node's own"
            );
            return Ok(CosignReply::Other(own));
        }
        if context.stop.why().is_some() {
            return Err(refused("the node is stopping"));
        }
        let advanced = {
            let mut signed = self.0.signed_sizes.signed.lock();
            let signed = signed.as_mut().expect("nobody panics with it");
            signed.advance(ask.size, own)
        };
        match advanced {
            Ok(()) => {}
            Err(Refusal::Behind(signed)) => {
                return Err(refused(format!("size {signed} is signed already")));
            }
            Err(Refusal::Contradicts(other)) => {
                let size = ask.size;
                context.stop.broken(format!(
                    "at size {size} this node signed root {other}, and its log now has root \
                     {own}: its disk was changed under it"
                ));
                return Err(refused("the node is stopping"));
            }
        }
        let cosigners = self.cosigners(&booted).await;
        let cosigners = cosigners.map_err(|error| self.storage_failed(&error))?;
        let checkpoint = Checkpoint {
            origin: booted.origin,
            size: ask.size,
            root: own,
        };
        let time_s = context.clock.now_ms() / 1000;
        let lines = cosigners.sign(&checkpoint, time_s);
        if lines.is_empty() {
            return Err(refused("no cosignature key in force is held here"));
        }
        Ok(CosignReply::Lines(lines))
    }

    /// Waits until all records below `size` and their bodies are durable here.
    async fn holds(&self, size: TreeSize) -> Result<(), Failure> {
        let (parts, context) = (&self.0.parts, &self.0.context);
        let stopping = |_| refused("the node is stopping");
        let mut applied = context.group.watch_applied();
        let reached = applied.wait_for(|now| now.size >= size).await;
        let applied = reached.map_err(stopping)?.size;
        let flushed = &self.0.signed_sizes.flushed;
        if flushed.load(Ordering::Acquire) < size.get() {
            // Log and state share a database: one sync covers the entries and the records.
            parts.flusher.durable().await.map_err(refused)?;
            flushed.fetch_max(applied.get(), Ordering::AcqRel);
        }
        let mut complete = parts.complete.clone();
        let covered = complete.wait_for(|index| *index >= size).await;
        covered.map(drop).map_err(stopping)
    }

    /// This node's own root at a size that it has, from its stored rows.
    pub(super) async fn root_at(&self, size: TreeSize) -> Result<Digest, Failure> {
        let context = &self.0.context;
        let state = context.state.clone();
        let read = context
            .blocking
            .run(move || state.stable(|tables| tables.root_at(size)));
        read.await.map_err(|error| self.storage_failed(&error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_never_go_back_and_have_one_root() {
        let (one, two) = (Digest([1; 32]), Digest([2; 32]));
        let mut signed = Signed::default();
        assert_eq!(signed.advance(TreeSize::new(7), one), Ok(()));
        assert_eq!(signed.advance(TreeSize::new(7), one), Ok(()));
        assert_eq!(
            signed.advance(TreeSize::new(7), two),
            Err(Refusal::Contradicts(one))
        );
        assert_eq!(
            signed.advance(TreeSize::new(6), two),
            Err(Refusal::Behind(TreeSize::new(7)))
        );
        assert_eq!(signed.advance(TreeSize::new(9), two), Ok(()));
        assert_eq!(signed, Signed(Some((TreeSize::new(9), two))));
    }
}
