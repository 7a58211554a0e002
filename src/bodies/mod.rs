//! Bodies beside Raft: safe on the level's holders before an entry names them.
//!
//! A *body* is the bytes of one rendition of an invoice: a PDF, an XML file. Bodies are
//! large and need no order, so they do not travel through Raft: the log names a body by id,
//! length and SHA-256, and the bytes are put where they must be before the log says so.
//!
//! # How bytes come in
//!
//! 1. [`upload`]: the node that a client talks to reserves room on its disk
//!    ([`disk_budget`]), draws an id, and takes the bytes piece by piece.
//! 2. [`writer`]: each full MiB is a *chunk*: hashed, and written to the bodies database.
//! 3. [`fanout`], at the same time: every piece is queued for each other member
//!    ([`queue`]). Members of this region get it from here; of each other region one member
//!    gets it, the *relay*, and passes it on there, so that a body crosses a border once.
//!    What travels is in [`frames`]: a header, pieces, an end with length and digest.
//! 4. The last chunk and the manifest (length, digest, digest of each chunk) are written
//!    and synced. Each holder does the same ([`serve`]), compares the digest in the end
//!    frame with its own, and only then signs a *holding*: "I have these bytes durably". It
//!    signs nothing before it has booted, so that it is in force what it signs with. Whoever
//!    collects holdings verifies each where it arrives, before anything is numbered.
//! 5. When the holdings meet the write level (say, two zones) the upload is over, and the
//!    record may name the body. Slower holders go on in the background.
//!
//! Whatever ends without its end frame leaves nothing. What a crash leaves behind is found
//! by its stamp and deleted once no record can name it any more ([`orphans`]).
//!
//! # How long a slow peer is kept
//!
//! A peer that takes nothing for 2 s ([`queue::STALL_MAX`]) is given up for this body, and
//! so is one that has taken all and has not signed after 20 s ([`fanout::HOLDING_MAX`]);
//! the next body tries it again. Until then it holds at most 4 MiB of one upload and 16 MiB
//! of all ([`queue`]); a client that is faster than disk and peers is held up. A holder
//! gives a sender up after 30 s without a frame ([`serve`]). A peer that was given up gets
//! the body by repair.
//!
//! # How bytes go out
//!
//! [`fetch`] finds a holder, this node first, and gives out chunk by chunk, each compared
//! with its digest before it leaves. A chunk that is missing or damaged here comes from
//! another holder ([`pull`]); one read serves all who want the same chunk
//! ([`chunk_cache`]).
//!
//! # How bytes stay whole
//!
//! [`complete`] follows the log and says up to which record every body is held here. What
//! is missing goes into the [`repair_queue`], as does what a reader or the background
//! [`scrub`] finds damaged, after [`quarantine`] has set it aside; [`repair`] brings it from
//! other holders at a bounded rate ([`rate_limiter`]). While a damaged body is not repaired,
//! the index stands below its record: the node does not vouch for what it does not have.
//!
//! # Where to read on
//!
//! * in: [`upload`], [`writer`], [`fanout`], [`queue`], [`frames`], [`serve`], [`inbound`]
//!   (which bodies are on their way here now), [`disk_budget`]
//! * out: [`fetch`], [`pull`], [`chunk_cache`]
//! * whole: [`complete`], [`quarantine`], [`repair_queue`], [`repair`], [`scrub`],
//!   [`rate_limiter`], [`names`] (which record names a body), [`damage_records`] (damage,
//!   put on record)
//! * gone: [`orphans`], after some upload epochs ([`epochs`])
//!
//! Leaves naming to `service/`, deciding on holdings to apply.

pub mod chunk_cache;
pub mod complete;
pub mod damage_records;
pub mod disk_budget;
pub mod epochs;
pub mod fanout;
pub mod fetch;
pub mod frames;
pub mod inbound;
pub mod names;
pub mod orphans;
mod pull;
pub mod quarantine;
pub mod queue;
pub mod rate_limiter;
pub mod repair;
pub mod repair_queue;
pub mod scrub;
pub mod serve;
pub mod upload;
pub mod writer;

#[cfg(test)]
mod orphans_tests;

use self::chunk_cache::ChunkCache;
use self::disk_budget::DiskBudget;
use self::inbound::InboundBodies;
use self::orphans::Orphans;
use self::queue::IngestBudget;
use self::repair_queue::RepairQueue;
use crate::clock::SharedClock;
use crate::config::Repair;
use crate::domain::ids::{BodyId, NodeId, UploadEpoch};
use crate::objective::disk::Decay;
use crate::objective::write::LevelMember;
use crate::raft::group::RaftGroup;
use crate::raft::progress::AppliedMembers;
use crate::recorder::booted::Booted;
use crate::recorder::holdings::HoldingVerifier;
use crate::stop::Stop;
use crate::store::Blocking;
use crate::store::bodies::BodyStore;
use crate::sync::Shared;
use crate::transport::Transport;
use muniment_evidence::digest::Digest;
use muniment_evidence::key::Signer;
use muniment_evidence::opening::Holding;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// The body plane of a node. Cheap to clone.
#[derive(Clone)]
pub struct Bodies(Arc<BodyPlane>);

/// What the parts of the body plane share.
pub struct BodyPlane {
    pub holder: LocalHolder,
    pub store: BodyStore,
    pub transport: Arc<dyn Transport>,
    /// How often the leader moves the upload epoch while there is reason to.
    pub epoch_interval: Duration,
    pub disk_budget: DiskBudget,
    pub chunk_cache: ChunkCache,
    pub repairs: RepairQueue,
    group: RaftGroup,
    holdings: HoldingVerifier,
    booted: watch::Receiver<Option<Booted>>,
    blocking: Blocking,
    clock: SharedClock,
    stop: Stop,
    decay: Shared<Decay>,
    inbound: InboundBodies,
    ingest: IngestBudget,
    orphans: Orphans,
}

/// Who signs for bodies that are held here.
pub struct LocalHolder {
    pub node: NodeId,
    /// Members of other regions get bodies through a relay.
    pub region: String,
    pub zone: String,
    /// Of the disk that they lie on.
    pub incarnation: [u8; 16],
    pub signer: Arc<dyn Signer>,
}

/// What a body plane is made with.
pub struct BodyContext {
    pub holder: LocalHolder,
    pub store: BodyStore,
    pub group: RaftGroup,
    /// Judges what other holders sign.
    pub holdings: HoldingVerifier,
    /// Before it has booted a node signs nothing.
    pub booted: watch::Receiver<Option<Booted>>,
    pub blocking: Blocking,
    pub transport: Arc<dyn Transport>,
    pub clock: SharedClock,
    pub stop: Stop,
    pub epoch_interval: Duration,
    pub disk_budget: DiskBudget,
    pub repair: Repair,
}

impl std::ops::Deref for Bodies {
    type Target = BodyPlane;

    fn deref(&self) -> &BodyPlane {
        &self.0
    }
}

impl Bodies {
    pub fn new(context: BodyContext) -> Bodies {
        Bodies(Arc::new(BodyPlane {
            holder: context.holder,
            store: context.store,
            transport: context.transport,
            epoch_interval: context.epoch_interval,
            disk_budget: context.disk_budget,
            chunk_cache: ChunkCache::new(),
            repairs: RepairQueue::new(&context.repair),
            group: context.group,
            holdings: context.holdings,
            booted: context.booted,
            blocking: context.blocking,
            clock: context.clock,
            stop: context.stop,
            decay: Shared::default(),
            inbound: InboundBodies::default(),
            ingest: IngestBudget::default(),
            orphans: Orphans::default(),
        }))
    }

    /// All members, as levels see them.
    pub fn members(&self) -> Vec<LevelMember> {
        self.group.level_members()
    }

    /// Who is what, as of the last entry applied here.
    pub fn applied_members(&self) -> AppliedMembers {
        self.group.applied_members()
    }

    /// Signs for a body that is durable here.
    fn sign(&self, ledger: Digest, body: &SealedBody, epoch: UploadEpoch) -> Holding {
        let mut holding = Holding {
            kind: muniment_evidence::opening::HoldingKind::Node,
            ledger,
            body_id: body.id,
            sha256: body.sha256,
            chunk_root: body.chunk_root,
            length: body.length,
            node: self.holder.node,
            incarnation: self.holder.incarnation,
            zone: self.holder.zone.clone(),
            epoch,
            signature: muniment_evidence::key::Signature([0; 64]),
        };
        holding.signature = self.holder.signer.sign(&holding.signed_bytes());
        holding
    }
}

/// A body that is durable here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SealedBody {
    pub id: BodyId,
    pub sha256: Digest,
    /// Root of its chunk tree.
    pub chunk_root: Digest,
    pub length: u64,
}

/// Why a body could not be stored or read.
#[derive(Clone, Debug, thiserror::Error)]
pub enum BodyError {
    /// A passing fault.
    #[error("the body is held by nodes {held:?} only: {why}")]
    TooFewHolders { held: Vec<NodeId>, why: String },
    /// No holder has bytes that match; a passing fault while holders are away.
    #[error("no holder can serve the body: {0}")]
    Unavailable(String),
    /// The source of names repeats itself: final, the node is to stop.
    #[error("a body id was drawn twice")]
    IdDrawnTwice,
    /// Storage is broken; the node is stopping.
    #[error("{0}")]
    Broken(#[from] crate::store::StoreError),
}
