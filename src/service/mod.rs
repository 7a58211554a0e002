//! The verbs: what a node does for its callers, one file each.
//!
//! Each takes checked domain values and the few [`Parts`] of the node that its body uses,
//! flows down once and comes back once. Knows no gRPC type. Every verb that changes or
//! reveals leaves its evidence through the recorder before it answers. Nothing here runs
//! by itself: what runs beside the calls lives in the layers before it.
//!
//! * [`issue`], [`reverse`], [`add_rendition`], [`void`]: changes
//! * [`issue_many`]: many issues over one stream
//! * [`download`]: bytes, evidence first; [`deferred`]: its promise now, its record later
//! * [`lookup`], [`list`], [`check`], [`watch`]: reading; [`find`]: by any name
//! * [`prove`], [`records`], [`checkpoints`], [`export`], [`policy`]: handing over
//!   evidence, never judging it
//! * [`founding`]: a ledger comes into being; [`status`]: how this node is, and the others
//! * [`drills`]: what was broken on purpose; [`scrub`]: all bodies read now
//! * [`keys`]: the ledger's keys, and changing them; [`declare`]: what an operator says of all of it
//! * [`levels`]: how durable a write is
//! * [`tenants`]: who may leave out what; [`admission`]: which calls are let in;
//!   [`singleflight`]: two calls that are the same one

pub mod add_rendition;
pub mod admission;
pub mod check;
pub mod checkpoints;
mod comparison;
pub mod declare;
pub mod deferred;
pub mod download;
pub mod drills;
pub mod export;
pub mod find;
pub mod founding;
pub mod issue;
pub mod issue_many;
pub mod keys;
pub mod levels;
pub mod list;
pub mod lookup;
pub mod policy;
pub mod progress;
pub mod prove;
pub mod records;
pub mod reverse;
pub mod scrub;
pub mod singleflight;
pub mod status;
pub mod tenants;
pub mod void;
pub mod watch;

use crate::bodies::Bodies;
use crate::checkpoint::Cosigning;
use crate::checkpoint::keys::KeysInForce;
use crate::config::Deferred;
use crate::membership::MembershipChanges;
use crate::objective::timing::Profile;
use crate::raft::reads::Reads;
use crate::recorder::boot;
use crate::recorder::writes::Writes;
use crate::status::leader_monitor::LeaderMonitor;
use crate::status::peer_monitor::PeerMonitor;
use crate::status::table::StatusTable;
use crate::witness::source::WitnessNotes;
use admission::CallAdmission;
use muniment_evidence::opening::Actor;
use std::sync::Arc;
use tenants::Tenants;

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    pub name: String,
    pub address: String,
    pub agent: String,
}

impl Principal {
    /// Nobody in particular, until callers authenticate.
    pub fn anonymous(address: String, agent: String) -> Principal {
        Principal {
            name: "anonymous".to_owned(),
            address,
            agent,
        }
    }

    pub(crate) fn actor(&self) -> Actor {
        Actor {
            subject: self.name.clone(),
            address: self.address.clone(),
            agent: self.agent.clone(),
            ..Actor::default()
        }
    }
}

/// What this node knows of the cluster around it.
pub struct ClusterMonitor {
    pub status: StatusTable,
    pub peers: PeerMonitor,
    pub leader: LeaderMonitor,
    pub profile: Profile,
}

/// What founding needs beyond the other parts.
pub struct Founder {
    /// The ledger that this node is configured for.
    pub origin: String,
    pub means: boot::BootContext,
}

/// The parts of a node that verbs use; one of each per node.
pub struct Parts {
    pub reads: Reads,
    pub writes: Writes,
    pub bodies: Bodies,
    pub tenants: Tenants,
    pub admission: CallAdmission,
    pub deferred: Deferred,
    pub keys: Arc<KeysInForce>,
    pub cosigning: Cosigning,
    pub cluster: ClusterMonitor,
    pub membership: MembershipChanges,
    pub witnesses: Arc<WitnessNotes>,
    pub founder: Founder,
}
