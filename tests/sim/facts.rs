//! What the invariants are told: first what a part of the run saw, then what it means.
//!
//! An [`Event`] is raw (a batch was written); the mirror makes [`Fact`]s of it (a record is
//! there for the first time). Both keep the order in which things happened.

use crate::disk::{Visit, Which};
use crate::mirror::Ledger;
pub use muniment::domain::ids::BodyId;
use muniment::store::engine::Batch;
use muniment_evidence::opening::{Document, Holding, Rendition};
use muniment_evidence::record::{Outcome, Record};
use muniment_evidence::statement::Level;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

/// What a part of the run saw.
#[derive(Clone, Debug)]
pub enum Event {
    Wrote {
        node: u64,
        which: Which,
        visit: Visit,
        batch: Arc<Batch>,
    },
    Synced {
        node: u64,
        which: Which,
    },
    SyncFailed {
        node: u64,
    },
    BodiesVisited {
        node: u64,
        visit: Visit,
    },
    /// The process is gone. A power cut keeps that many unsynced writes of each database;
    /// a mere end of the process keeps all.
    Down {
        node: u64,
        kept: Option<(usize, usize)>,
    },
    Up {
        node: u64,
    },
    /// The disk was replaced by an empty one.
    Wiped {
        node: u64,
    },
    /// The state on the disk was changed: it is not what the log says.
    Diverged {
        node: u64,
    },
    Full {
        node: u64,
        full: bool,
    },
    /// The node took an invoice in: its caller was told so.
    Issued {
        node: u64,
        number: u64,
        index: u64,
        /// Its bytes were taken in here; else an earlier call had brought them.
        took_body: bool,
        /// When the call began, in microseconds.
        began_us: u64,
    },
    /// A node sent a chunk of a body to another.
    ChunkSent {
        node: u64,
        digest: u64,
    },
}

/// Shared by all parts of one run. Cheap to clone.
#[derive(Clone, Default)]
pub struct Events(Arc<Mutex<Vec<Event>>>);

impl Events {
    pub fn push(&self, event: Event) {
        self.0.lock().unwrap().push(event);
    }

    pub fn take(&self) -> Vec<Event> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

/// Who votes and who learns, as of an applied index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members {
    /// Two sets while they change.
    pub voters: Vec<BTreeSet<u64>>,
    pub learners: BTreeSet<u64>,
}

/// What it means.
#[derive(Clone, Debug)]
pub enum Fact {
    /// A record was applied for the first time anywhere.
    Recorded(Arc<Recorded>),
    /// A node applied an entry, or installed the state as of it.
    Applied {
        node: u64,
        visit: Visit,
        raft_index: u64,
        size: u64,
        state_hash: [u8; 32],
        installed: bool,
    },
    /// A membership entry was written to a log for the first time anywhere.
    MembersLogged {
        members: Members,
    },
    /// A chunk of a body was written.
    ChunkWritten {
        node: u64,
        body: BodyId,
        number: u32,
        digest: u64,
    },
    /// All of a body is durable on the node, from now on.
    BodyHeld {
        node: u64,
        body: BodyId,
    },
    /// All of a body goes.
    BodyDeleted {
        node: u64,
        body: BodyId,
        /// It had a manifest.
        sealed: bool,
        /// Its upload epoch, while no record named it.
        stamp: Option<u64>,
    },
    /// A batch wrote below a generation that is not in force.
    PieceWritten {
        node: u64,
        generation: u32,
        /// Keys outside of that generation in the same batch.
        others: usize,
    },
    /// Another generation is in force; what else the batch wrote.
    Flipped {
        node: u64,
        from: u32,
        to: u32,
        others: usize,
    },
    /// A generation was deleted while another, durable or not, was in force.
    GenerationDeleted {
        node: u64,
        generation: u32,
        durable: u32,
    },
    VoteWritten {
        node: u64,
    },
    /// What an event says by itself.
    Raw(Event),
}

/// A record and what was in force when it was applied.
#[derive(Debug)]
pub struct Recorded {
    pub record: Record,
    pub document: Option<Document>,
    /// What the records before it come to.
    pub ledger: Ledger,
    pub members: Members,
}

impl Recorded {
    pub fn is_ok(&self) -> bool {
        self.record.outcome == Outcome::Ok
    }

    /// The bodies that it names, as it says them.
    pub fn renditions(&self) -> &[Rendition] {
        match &self.document {
            Some(Document::Issue(issue) | Document::Reverse(issue)) => &issue.renditions,
            Some(Document::AddRendition(add)) => std::slice::from_ref(&add.rendition),
            _ => &[],
        }
    }

    pub fn holdings(&self) -> &[Holding] {
        match &self.document {
            Some(Document::Issue(issue) | Document::Reverse(issue)) => &issue.holdings,
            Some(Document::AddRendition(add)) => &add.holdings,
            _ => &[],
        }
    }

    /// The sets of voters that must hold what it names: those in force, and those of a
    /// change in preparation.
    pub fn voter_sets(&self) -> Vec<BTreeSet<u64>> {
        let mut sets = self.members.voters.clone();
        if let Some((_, mode)) = &self.ledger.preparing {
            sets.push(mode.voters.iter().map(|node| node.get()).collect());
        }
        sets
    }

    /// Why these holders do not meet the level in one of the sets of voters, if so.
    pub fn unmet(&self, holders: &BTreeSet<u64>) -> Option<String> {
        let sets = self.voter_sets();
        sets.iter().find_map(|set| self.unmet_in(set, holders))
    }

    fn unmet_in(&self, voters: &BTreeSet<u64>, holders: &BTreeSet<u64>) -> Option<String> {
        let holding: BTreeSet<u64> = voters.intersection(holders).copied().collect();
        if 2 * holding.len() <= voters.len() {
            return Some(format!(
                "{holding:?} of the voters {voters:?} are no majority"
            ));
        }
        let sync: BTreeSet<u64> = self.ledger.sync_learners.iter().copied().collect();
        let counted: BTreeSet<u64> = sync.intersection(holders).copied().collect();
        let places = |nodes: &mut dyn Iterator<Item = &u64>, zone: bool| {
            let of = nodes.filter_map(|node| self.ledger.places.get(node));
            of.map(|(r, z)| if zone { z } else { r })
                .collect::<BTreeSet<_>>()
                .len()
        };
        let met = match self.record.statement.level {
            Level::None => false,
            Level::Quorum => true,
            Level::Zones(k) => places(&mut holding.iter(), true) >= usize::from(k),
            Level::Regions(k) => {
                places(&mut holding.iter().chain(&counted), false) >= usize::from(k)
            }
            Level::All => voters.is_subset(holders) && sync.is_subset(holders),
        };
        let level = self.record.statement.level;
        (!met).then(|| format!("{holding:?} of the voters {voters:?} do not meet {level:?}"))
    }
}
