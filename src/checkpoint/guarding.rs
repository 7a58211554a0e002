//! Keeps the sign guard in step with what this node may sign.
//!
//! Promises: nothing is signed before the guard allowed it and was advanced durably to
//! the head of this boot; afterwards the guard follows the applied head within
//! [`TRAIL`], off the hot path. Signatures are made at sizes up to the applied head
//! only, so the guard is never behind what was signed by more than its trail. Each step is
//! asked for like the first one: the head that it goes to continues what was signed.

use crate::domain::cause::Cause;
use crate::domain::ids::TreeSize;
use crate::keyring::guard::{GuardRefusal, SignGuard, TRAIL};
use crate::ledger::state::Tables;
use crate::raft::context::Context;
use crate::store::StoreError;
use crate::supervise::{self, Life};
use std::time::Duration;

/// How long a node waits at a time to catch up with what it signed before.
const CATCH_UP: Duration = Duration::from_secs(5);

/// See the module.
pub struct Guarding(pub Context);

impl Guarding {
    /// Waits until this node may sign, then follows; returns the size that is guarded by
    /// then. An error is final.
    pub async fn start(self, mut guard: SignGuard) -> Result<TreeSize, Cause> {
        loop {
            let (mut checked, state) = (guard, self.0.state.clone());
            let answer = self.0.blocking.run(move || {
                let asked = state.read(|tables| step(&mut checked, tables))?;
                Ok((checked, asked))
            });
            let (back, asked) = answer.await.map_err(Cause::new)?;
            guard = back;
            match asked {
                Ok(()) => break,
                Err(refusal @ GuardRefusal::Stop { .. }) => return Err(Cause::new(refusal)),
                Err(GuardRefusal::Wait { guarded, .. }) => {
                    self.0.group.wait_size(guarded, CATCH_UP).await;
                }
            }
        }
        let guarded = guard.size();
        let stop = self.0.stop.clone();
        supervise::keep(
            &stop,
            Life::UntilUnused,
            "the sign guard",
            self.follow(guard),
        );
        Ok(guarded)
    }

    async fn follow(self, mut guard: SignGuard) {
        let mut applied = self.0.group.watch_applied();
        while applied.changed().await.is_ok() {
            tokio::time::sleep(TRAIL).await;
            applied.mark_unchanged();
            let (state, mut moving) = (self.0.state.clone(), guard);
            let advanced = self.0.blocking.run(move || {
                let asked = state.read(|tables| step(&mut moving, tables))?;
                asked.map(|()| moving).map_err(StoreError::beside)
            });
            match advanced.await {
                Ok(back) => guard = back,
                Err(error) => {
                    self.0
                        .stop
                        .broken(format!("the sign guard cannot be kept: {error}"));
                    return;
                }
            }
        }
    }
}

/// Moves the guard to the head of these tables, if they continue what was signed.
fn step(
    guard: &mut SignGuard,
    tables: &Tables<'_>,
) -> Result<Result<(), GuardRefusal>, StoreError> {
    let head = tables.head()?;
    let asked = guard.may_sign(head.size, |size| tables.root_at(size).ok());
    if asked.is_ok() {
        let advanced = guard.advance(head.size, head.root);
        advanced.map_err(StoreError::beside)?;
    }
    Ok(asked)
}
