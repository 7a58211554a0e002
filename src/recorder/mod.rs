//! The recorder: the one door through which a node's statements enter the log.
//!
//! It numbers, signs, batches and submits; it resends the same bytes until it knows what
//! became of them. Promises: what was numbered is never shed, reordered or withdrawn,
//! whatever its caller does; each submission is answered with the record it became.
//! Numbering and signing come last, after every check that could refuse.
//!
//! * [`boot`]: a BOOT record before anything else; [`booted`]: what there is afterwards
//! * [`lane`]: the strict lane of this boot, go-back-N
//! * [`route`]: to the leader, here or elsewhere, in order
//! * [`intake`]: the leader's side: verify, stamp, propose
//! * [`due`]: LEADER and MEMBERSHIP, as they fall due
//! * [`endings`]: DOWNLOAD_END, several in one record
//! * [`outbox`]: the lane of deferred downloads, durable first and recorded later
//! * [`writes`]: how a call gets its statement recorded

pub mod boot;
pub mod booted;
pub mod due;
pub mod endings;
pub mod intake;
pub mod lane;
pub mod outbox;
pub mod route;
pub mod writes;

use crate::clock::SharedClock;
use crate::domain::command::Submission;
use muniment_evidence::digest::Digest;
use muniment_evidence::key::Signer;
use muniment_evidence::opening::{Actor, Document, Opening, commit_actor, commit_document};
use muniment_evidence::record::Outcome;
use muniment_evidence::statement::{Lane, Level, Mode, Statement};
use std::sync::Arc;

/// What is to be attested.
#[derive(Clone, Debug)]
pub struct Intent {
    pub document: Document,
    /// Empty for the system itself.
    pub actor: Actor,
    pub mode: Mode,
    pub level: Level,
}

impl Intent {
    /// Of the node itself, about itself.
    pub fn system(document: Document) -> Intent {
        Intent {
            document,
            actor: Actor::default(),
            mode: Mode::None,
            level: Level::None,
        }
    }
}

/// The record that a statement became.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recorded {
    pub index: u64,
    pub outcome: Outcome,
}

/// Why there is no outcome (yet).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// The queue is full: nothing was numbered, try again later.
    Full,
    /// The node is stopping: whether it takes effect is unknown.
    Stopped,
}

/// Who signs, for which ledger.
#[derive(Clone)]
pub struct Pen {
    pub node: u64,
    pub ledger: Digest,
    pub signer: Arc<dyn Signer>,
    pub clock: SharedClock,
}

impl Pen {
    /// Numbers and signs.
    pub fn write(&self, intent: &Intent, lane: Lane, seq: u64, prev: Digest) -> Submission {
        let kind = intent.document.kind();
        let (document, actor) = (intent.document.encode(), intent.actor.encode());
        let open = |bytes| {
            if kind.is_system() {
                return Opening::public(bytes);
            }
            Opening {
                salt: self.clock.salt(),
                bytes,
            }
        };
        let (document, actor) = (open(document), open(actor));
        let statement = Statement {
            kind,
            mode: intent.mode,
            level: intent.level,
            ledger: self.ledger,
            node: self.node,
            lane,
            seq,
            prev,
            witnessed_at_ms: self.clock.now_ms(),
            document: commit_document(&document.salt, &document.bytes),
            actor: commit_actor(&actor.salt, &actor.bytes),
        };
        let signature = self.signer.sign(&statement.signed_bytes());
        Submission {
            statement,
            signature,
            document,
            actor,
        }
    }
}
