//! The checkpoints at the end of a bundle: each goes on from the one before.
//!
//! Promises: the first is of the bundle's end, each later one larger and of the same tree.
//! Whether a note is the ledger's own was asked before ([`crate::ledger`]); what its root
//! says of the records is [`super::bundle`]'s to compare.

use crate::bundle::Manifest;
use crate::checks::Check;
use crate::digest::Digest;
use crate::ids::TreeSize;
use crate::note::Checkpoint;
use crate::tree;

/// The checkpoints so far.
#[derive(Default)]
pub(super) struct Checkpoints {
    pub count: u64,
    /// Size and root of the newest that holds.
    pub newest: Option<(TreeSize, Digest)>,
    /// When the members cosigned it ([`crate::ledger::Ledger::cosigned_at_ms`]).
    pub cosigned_at_ms: Option<u64>,
    /// Root at the manifest's end, as a checkpoint says.
    pub end_root: Option<Digest>,
    pub policy_missing: Option<String>,
}

impl Checkpoints {
    /// The first is of the manifest's end, each later one larger, up to its head.
    pub(super) fn take(
        &mut self,
        manifest: &Manifest,
        checkpoint: &Checkpoint,
        consistency: &[Digest],
    ) -> Result<(), (Check, String)> {
        let Checkpoint { size, root, .. } = checkpoint;
        let Some(end_root) = self.end_root else {
            let at_end = *size == manifest.end && consistency.is_empty();
            if Check::FirstCheckpointAtEnd.fails(!at_end) {
                let detail = format!(
                    "the first checkpoint is of size {size}, where the bundle ends at {}",
                    manifest.end
                );
                return Err((Check::FirstCheckpointAtEnd, detail));
            }
            self.end_root = Some(*root);
            self.newest = Some((*size, *root));
            return Ok(());
        };
        let newest = self.newest.map_or(TreeSize::EMPTY, |(size, _)| size);
        if Check::LaterCheckpointSize.fails(*size <= newest || *size > manifest.head) {
            let detail = format!(
                "a checkpoint is of size {size}, after one of {newest} and with the head at {}",
                manifest.head
            );
            return Err((Check::LaterCheckpointSize, detail));
        }
        let goes_on = tree::verify_consistency(manifest.end, *size, consistency, &end_root, root);
        if Check::CheckpointGoesOn.fails(!goes_on) {
            let detail = format!(
                "the checkpoint of size {size} does not go on from the one of {}",
                manifest.end
            );
            return Err((Check::CheckpointGoesOn, detail));
        }
        self.newest = Some((*size, *root));
        Ok(())
    }
}
