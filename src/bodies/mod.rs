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
//! * [`hot`]: one read for all who want the same chunk
//! * [`arriving`]: which bodies others are sending here now
//! * [`room`]: whether the disk has a place for them
//! * [`orphans`]: bodies that no record names, collected by upload epoch
//! * [`quarantine`]: reading what is held here, with damage taken for what it is
//! * [`repair`], [`backlog`]: what is missing or damaged here, brought from other holders
//! * [`scrub`]: all of it read in the background, now and again
//! * [`names`]: which record names a body; [`pace`]: bytes per second
//! * [`damage_records`]: damage, put on record; [`epochs`]: upload epochs, moved by the leader
//! * [`complete`]: up to which record every body named is held here

pub mod arriving;
pub mod backlog;
pub mod complete;
pub mod damage_records;
pub mod epochs;
pub mod fanout;
pub mod fetch;
pub mod hot;
pub mod names;
pub mod orphans;
pub mod pace;
mod pull;
pub mod quarantine;
pub mod queue;
pub mod repair;
pub mod room;
pub mod scrub;
pub mod serve;
pub mod upload;
pub mod writer;

#[cfg(test)]
mod story;

use crate::clock::SharedClock;
use crate::objective::write::Member;
use crate::raft::group::Group;
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
    pub group: Group,
    pub blocking: Blocking,
    pub transport: Arc<dyn Transport>,
    pub signer: Arc<dyn Signer>,
    pub clock: SharedClock,
    pub hot: Arc<hot::Hot>,
    pub arriving: arriving::Arriving,
    pub repairs: Arc<backlog::Repairs>,
    /// Where this node is: members of other regions get bodies through a relay.
    pub region: String,
    pub flow: Arc<queue::Flow>,
    pub orphans: orphans::Orphans,
    /// How often the leader moves the upload epoch while there is reason to.
    pub epoch_interval: Duration,
    pub room: room::Room,
}

impl Bodies {
    /// All members, as levels see them.
    pub fn members(&self) -> Vec<Member> {
        self.group.level_members()
    }

    /// Signs for a body that is durable here.
    fn sign(&self, ledger: Digest, body: &Sealed, epoch: u64) -> Holding {
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
pub struct Sealed {
    pub id: [u8; 16],
    pub sha256: Digest,
    pub length: u64,
}

/// Why a body could not be stored or read.
#[derive(Clone, Debug)]
pub enum Error {
    /// Too few holders in time; a passing fault.
    TooFewHolders { held: Vec<u64>, why: String },
    /// No holder has bytes that match; a passing fault while holders are away.
    Unavailable(String),
    /// Storage is broken; the node is stopping.
    Broken(String),
}

impl From<crate::store::Error> for Error {
    fn from(error: crate::store::Error) -> Error {
        Error::Broken(error.to_string())
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Error::TooFewHolders { held, why } => {
                write!(f, "the body is held by nodes {held:?} only: {why}")
            }
            Error::Unavailable(why) => write!(f, "no holder can serve the body: {why}"),
            Error::Broken(why) => f.write_str(why),
        }
    }
}
