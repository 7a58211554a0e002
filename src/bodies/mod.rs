//! Bodies beside Raft: safe on the level's holders before an entry names them.
//!
//! A body is cut into chunks and hashed as it arrives, stored here and sent to the other
//! voters at the same time; each holder fsyncs and signs a holding. When the holdings
//! meet the write level the body may be named. Leaves naming to `service/`, judging
//! holdings to apply.
//!
//! * [`upload`]: one body on its way in
//! * [`fanout`], [`queue`]: to several peers at once, each bounded in bytes
//! * [`writer`]: chunks, digests, manifest
//! * [`serve`]: what a holder does for its peers
//! * [`fetch`]: bytes on their way out, from here or by proxy, each chunk checked
//! * [`pull`]: one body asked of one other holder
//! * [`chunk_cache`]: one read for all who want the same chunk
//! * [`inbound`]: which bodies others are sending here now
//! * [`disk_budget`]: whether the disk has a place for them
//! * [`orphans`]: bodies that no record names, collected by upload epoch
//! * [`quarantine`]: reading what is held here, with damage taken for what it is
//! * [`repair`], [`repair_queue`]: what is missing or damaged here, brought from other holders
//! * [`scrub`]: all of it read in the background, now and again
//! * [`names`]: which record names a body; [`rate_limiter`]: bytes per second
//! * [`complete`]: up to which record every body named is held here

pub mod chunk_cache;
pub mod complete;
pub mod disk_budget;
pub mod fanout;
pub mod fetch;
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

use crate::clock::SharedClock;
use crate::objective::write::Member;
use crate::raft::group::RaftGroup;
use crate::store::Blocking;
use crate::store::bodies::BodyStore;
use crate::transport::Transport;
use muniment_evidence::digest::Digest;
use muniment_evidence::key::Signer;
use muniment_evidence::opening::Holding;
use std::sync::Arc;
use std::time::Duration;

/// What the body plane of a node works with. Cheap to clone.
#[derive(Clone)]
pub struct Bodies {
    pub node: u64,
    pub zone: String,
    pub incarnation: [u8; 16],
    pub store: BodyStore,
    pub group: RaftGroup,
    pub blocking: Blocking,
    pub transport: Arc<dyn Transport>,
    pub signer: Arc<dyn Signer>,
    pub clock: SharedClock,
    pub chunk_cache: Arc<chunk_cache::ChunkCache>,
    pub inbound: inbound::InboundBodies,
    pub repairs: Arc<repair_queue::RepairQueue>,
    /// Where this node is: members of other regions get bodies through a relay.
    pub region: String,
    pub ingest: Arc<queue::IngestBudget>,
    pub orphans: orphans::Orphans,
    /// How often the leader moves the upload epoch while there is reason to.
    pub epoch_interval: Duration,
    pub disk_budget: disk_budget::DiskBudget,
}

impl Bodies {
    /// All members, as levels see them.
    pub fn members(&self) -> Vec<Member> {
        self.group.level_members()
    }

    /// Signs for a body that is durable here.
    fn sign(&self, ledger: Digest, body: &SealedBody, epoch: u64) -> Holding {
        let mut holding = Holding {
            ledger,
            body_id: body.id,
            sha256: body.sha256,
            length: body.length,
            node: self.node,
            incarnation: self.incarnation,
            zone: self.zone.clone(),
            epoch,
            signature: muniment_evidence::key::Signature([0; 64]),
        };
        holding.signature = self.signer.sign(&holding.signed_bytes());
        holding
    }
}

/// A body that is durable here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SealedBody {
    pub id: [u8; 16],
    pub sha256: Digest,
    pub length: u64,
}

/// Why a body could not be stored or read.
#[derive(Clone, Debug)]
pub enum BodyError {
    /// Too few holders in time; a passing fault.
    TooFewHolders { held: Vec<u64>, why: String },
    /// No holder has bytes that match; a passing fault while holders are away.
    Unavailable(String),
    /// Storage is broken; the node is stopping.
    Broken(String),
}

impl From<crate::store::Error> for BodyError {
    fn from(error: crate::store::Error) -> BodyError {
        BodyError::Broken(error.to_string())
    }
}

impl std::fmt::Display for BodyError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            BodyError::TooFewHolders { held, why } => {
                write!(f, "the body is held by nodes {held:?} only: {why}")
            }
            BodyError::Unavailable(why) => write!(f, "no holder can serve the body: {why}"),
            BodyError::Broken(why) => f.write_str(why),
        }
    }
}
