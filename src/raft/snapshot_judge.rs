//! Whether a received snapshot may come in force here.
//!
//! Promises: it holds what it was said to hold, its tree is of its records, it continues the
//! history that this node has applied and signed, and its feature level is known here. Asked twice: when it has come in, where
//! one that is refused costs its sender its word and this node nothing; and again when it is
//! to come in force, since this node may have gone on meanwhile. Leaves what records decide
//! (tables made of them) to the comparison of state hashes (I12).
//! Tests: `src/raft/install_tests.rs`.

use super::machine::{AppliedState, load, lock};
use super::types::SnapshotMeta;
use crate::domain::ids::TreeSize;
use crate::keyring::guard::SignedHead;
use crate::ledger::look_through::{continues, look_through};
use crate::ledger::policy;
use crate::ledger::rows::LedgerHead;
use crate::store::engine::Engine;
use crate::store::keys::Generation;
use crate::store::{Blocking, StoreError};
use muniment_evidence::digest::Digest;
use std::sync::{Arc, Mutex};

/// See the module. Cheap to clone.
#[derive(Clone)]
pub struct SnapshotJudge {
    pub(super) engine: Arc<dyn Engine>,
    pub(super) blocking: Blocking,
    pub(super) own: Arc<Mutex<AppliedState>>,
    pub(super) signed: SignedHead,
}

/// How much of a received state is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Every record and every row of the tree.
    Everything,
    /// What this node has applied and signed since everything was looked at.
    SinceThen,
}

impl SnapshotJudge {
    /// Whether this node is as far as a snapshot, which then changes nothing here.
    pub fn has_applied(&self, meta: &SnapshotMeta) -> bool {
        meta.last_log_id <= lock(&self.own).applied
    }

    /// The state that lies under a generation, if it may come in force.
    pub async fn judge(
        &self,
        generation: Generation,
        meta: &SnapshotMeta,
        depth: Depth,
    ) -> Result<AppliedState, StoreError> {
        let (this, meta) = (self.clone(), meta.clone());
        let own = lock(&self.own).tip.head.clone();
        let judged = self.blocking.run(move || {
            let engine = this.engine.as_ref();
            let state = load(engine, generation)?;
            if state.applied != meta.last_log_id || *state.membership != meta.last_membership {
                return Err(StoreError::corrupt(format!(
                    "a received snapshot is of {:?} and was said to be of {:?}",
                    state.applied, meta.last_log_id
                )));
            }
            let head = &state.tip.head;
            let promised = this.promised(&own, head);
            let looked = match depth {
                Depth::Everything => look_through(engine, generation, head, &promised),
                Depth::SinceThen => continues(engine, generation, head, &promised),
            };
            looked
                .map_err(|error| StoreError::corrupt_in("a received snapshot is refused", error))?;
            policy::is_known(head)?;
            Ok(state)
        });
        judged.await
    }

    /// The sizes and roots that a state must have to continue this node's.
    fn promised(&self, own: &LedgerHead, received: &LedgerHead) -> Vec<(TreeSize, Digest)> {
        // Nobody was promised anything by a ledger that is not founded.
        let applied = (own.size > TreeSize::EMPTY).then_some((own.size, own.root));
        // A node that was restored may be behind what it signed; it signs when it has caught
        // up, and is asked again then.
        let signed = self
            .signed
            .last()
            .filter(|(size, _)| *size <= received.size);
        applied.into_iter().chain(signed).collect()
    }
}
