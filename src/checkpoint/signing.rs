//! Signing: this node's own cosignature, and what must be true before it is given.
//!
//! A cosignature says: I hold every record below this size durably, and every body that
//! they name. Promises that nothing is signed before this node has booted (so, not before
//! the sign guard allowed it and was moved to the head of this boot; from then on the
//! guard trails the applied head, which nothing is signed beyond); before the log is
//! flushed past the size; before the body-complete index covers it, for which each record
//! was read back and hashed; before every record below it was verified; nor when this node's own root differs. Sizes never go back,
//! a size has one root, and what is signed continues what was signed before, also when a
//! snapshot took the place of the state in between. Leaves whom to ask to [`super::rounds`].

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
    /// Another size was signed while this one was looked at.
    Moved,
    /// A size is signed with one root, and the log now has another there: the log was
    /// changed under the node.
    Contradicts {
        at: TreeSize,
        signed: Digest,
        now: Digest,
    },
}

impl Signed {
    /// The monotone rule: the same again, or higher on the same history. `before` is the
    /// root that the log now has at the size signed last, as far as the asker knew it.
    fn advance(
        &mut self,
        (size, root): (TreeSize, Digest),
        before: Option<(TreeSize, Digest)>,
    ) -> Result<(), Refusal> {
        if let Some((at, signed)) = self.0 {
            let now = match before {
                _ if size < at => return Err(Refusal::Behind(at)),
                _ if size == at => root,
                Some((looked_at, now)) if looked_at == at => now,
                _ => return Err(Refusal::Moved),
            };
            if now != signed {
                return Err(Refusal::Contradicts { at, signed, now });
            }
        }
        self.0 = Some((size, root));
        Ok(())
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
        let (own, before) = self.roots(ask.size).await?;
        if own != ask.root {
            tracing::error!(
                size = ask.size.get(), %own, asked = %ask.root,
                "asked to cosign another root than this node's own"
            );
            return Ok(CosignReply::Other(own));
        }
        let verified = self.has_verified(ask.size);
        timeout_at(limit, verified).await.map_err(late)??;
        if context.stop.why().is_some() {
            return Err(refused("the node is stopping"));
        }
        let advanced = {
            let mut signed = self.0.signed_sizes.signed.lock();
            let signed = signed.as_mut().expect("nobody panics with it");
            signed.advance((ask.size, own), before)
        };
        match advanced {
            Ok(()) => {}
            Err(Refusal::Behind(signed)) => {
                return Err(refused(format!("size {signed} is signed already")));
            }
            Err(Refusal::Moved) => return Err(refused("another size was signed meanwhile")),
            Err(Refusal::Contradicts { at, signed, now }) => {
                context.stop.broken(format!(
                    "at size {at} this node signed root {signed}, and its log now has root \
                     {now}: its disk was changed under it"
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
        if lines.lines.is_empty() {
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

    /// Waits until this node has seen that every record below `size` holds.
    async fn has_verified(&self, size: TreeSize) -> Result<(), Failure> {
        let mut verified = self.0.verified.clone();
        let seen = verified.wait_for(|seen| seen.size >= size || seen.bad.is_some());
        let seen = seen.await.map_err(|_| refused("the node is stopping"))?;
        match seen.bad.as_ref().filter(|bad| size.contains(bad.index)) {
            Some(bad) => Err(refused(format!("record {} does not verify", bad.index))),
            None => Ok(()),
        }
    }

    /// This node's own root at a size that it has, and at the size that it signed last if
    /// that is smaller: both of one moment.
    async fn roots(&self, size: TreeSize) -> Result<(Digest, Option<(TreeSize, Digest)>), Failure> {
        let context = &self.0.context;
        let signed = *self
            .0
            .signed_sizes
            .signed
            .lock()
            .expect("nobody panics with it");
        let last = signed.0.map(|(last, _)| last).filter(|last| *last < size);
        let state = context.state.clone();
        let read = context.blocking.run(move || {
            state.read(|tables| {
                let before = last.map(|last| tables.root_at(last).map(|root| (last, root)));
                Ok((tables.root_at(size)?, before.transpose()?))
            })
        });
        read.await.map_err(|error| self.storage_failed(&error))
    }

    /// This node's own root at a size that it has, from its stored rows.
    pub(super) async fn root_at(&self, size: TreeSize) -> Result<Digest, Failure> {
        let context = &self.0.context;
        let state = context.state.clone();
        let read = context
            .blocking
            .run(move || state.read(|tables| tables.root_at(size)));
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
        let seven = TreeSize::new(7);
        let contradicted = Err(Refusal::Contradicts {
            at: seven,
            signed: one,
            now: two,
        });
        assert_eq!(signed.advance((seven, one), None), Ok(()));
        assert_eq!(signed.advance((seven, one), None), Ok(()));
        assert_eq!(signed.advance((seven, two), None), contradicted);
        let six = (TreeSize::new(6), two);
        assert_eq!(signed.advance(six, None), Err(Refusal::Behind(seven)));
        let nine = (TreeSize::new(9), two);
        assert_eq!(signed.advance(nine, Some((seven, one))), Ok(()));
        assert_eq!(signed, Signed(Some(nine)));
    }

    /// A snapshot may bring another history, longer than what was signed: a higher size is
    /// signed only where the log still has what was signed before.
    #[test]
    fn a_higher_size_is_signed_only_on_the_history_that_was_signed() {
        let (one, two) = (Digest([1; 32]), Digest([2; 32]));
        let (seven, nine) = (TreeSize::new(7), TreeSize::new(9));
        let mut signed = Signed(Some((seven, one)));
        let rewritten = Err(Refusal::Contradicts {
            at: seven,
            signed: one,
            now: two,
        });
        assert_eq!(signed.advance((nine, two), Some((seven, two))), rewritten);
        // Nobody looked at what was signed: asked again, somebody does.
        for before in [None, Some((TreeSize::new(5), one))] {
            assert_eq!(signed.advance((nine, two), before), Err(Refusal::Moved));
        }
        assert_eq!(signed, Signed(Some((seven, one))));
    }
}
