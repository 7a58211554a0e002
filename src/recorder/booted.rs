//! What a node has once its BOOT record is committed; before that it says nothing.

use super::download_ends::DownloadEnds;
use super::lane::Recorder;
use super::outbox::{OutboxLane, Promises};
use crate::domain::ids::TreeSize;
use muniment_evidence::genesis::Genesis;
use std::sync::Arc;

/// See the module. Cheap to clone.
#[derive(Clone)]
pub struct Booted {
    pub recorder: Recorder,
    pub download_ends: DownloadEnds,
    /// `None` below the feature level that knows outboxes.
    pub outbox: Option<OutboxLane>,
    /// What this node has promised, in all its outboxes.
    pub promises: Promises,
    pub genesis: Arc<Genesis>,
    pub origin: String,
    /// Where the sign guard stood when this boot was allowed to sign.
    pub guarded: TreeSize,
}
