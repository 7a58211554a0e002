//! The recorder: the one door through which a node's statements enter the log.
//!
//! # The problem
//!
//! A node says something ("invoice 7 was issued", "invoice 7 was downloaded") and signs it.
//! Each such statement must become exactly one record of the log, and the records of one
//! node must stand in the order in which it spoke. Between the node and the log lies the
//! leader, which may be another node, may change, and may be lost after it took a statement
//! and before it answered. Sending again might record twice; not sending again might lose
//! it. Raft does not solve that: it orders what is proposed, however often it is proposed.
//!
//! # The answer: lanes
//!
//! A statement is numbered in a *lane* (what Raft's thesis, section 6.3, calls a client
//! session). It carries its lane, its number `seq`, and `prev`, the hash of the statement
//! before it. The replicated state holds one row per lane: the number that comes next, the
//! hash of the last statement, and what became of the last 4,096. Apply takes exactly the
//! next number and answers:
//!
//! | what comes | answer | what the sender does |
//! |---|---|---|
//! | the next number, after the right hash | `Recorded`, now | tells its caller |
//! | a number that is taken, the same bytes | `Recorded`, as it was then | tells its caller |
//! | a number beyond the next | `Gap` | looks up, sends again from there |
//! | a number that is taken, other bytes | `Equivocation` | stops the node |
//! | a lane that a later boot has closed | `LaneClosed` | stops the node |
//!
//! So sending again is harmless, as long as it is the same bytes; and nothing overtakes.
//! A node has three kinds of lanes: its boot lane (one for ever: GENESIS and BOOT), a
//! strict lane for each boot, named by the index of the BOOT record, and its outboxes,
//! which outlive boots.
//!
//! # The order
//!
//! 1. A caller hands in an [`Intent`]. Whatever can refuse it comes before this.
//! 2. The lane numbers and signs it ([`StatementSigner`]). From here on it is never shed,
//!    reordered or withdrawn, whatever its caller does.
//! 3. It is put into a batch: at once when nothing is under way, else with what comes in
//!    the next millisecond, up to 512 KiB. A batch becomes one Raft entry.
//! 4. The batch goes over the [`route`]: to this node's own [`intake`] if it leads, else
//!    over one stream to the leader. Up to 8 batches are under way at a time.
//! 5. The leader verifies the signatures, stamps the batch, and queues it for Raft, in the
//!    order in which batches came.
//! 6. Raft commits, apply answers for each statement, the answers travel back by batch.
//! 7. The lane tells each caller the index and outcome of its record.
//!
//! When an answer is a gap, does not come within 3 s, or the stream ends, nothing is
//! guessed. The lane drops the route, asks the quorum for a read index, waits until that
//! is applied here, and then reads its own row: what is below the next number is recorded,
//! all else is sent again from there over a new route. That is go-back-N, as in a sliding
//! window protocol: [`window`] holds what is numbered and sent, [`answers`] reads what the
//! ledger says, both without a clock or a network.
//!
//! # An example
//!
//! Node 2 booted at record 40; its strict lane is `strict:40`. It numbers five statements,
//! 0 to 4, and sends 0–1 and 2–3 to the leader, node 1. The leader records all four
//! at 51–54, but dies before the answer for 2–3 arrives. Node 2 was told 0→51, 1→52.
//! Its stream ends; node 3 is elected. Node 2 gets a read index from node 3, waits until
//! it has applied that, and finds its row: next number 4. So 2→53 and 3→54, read from the
//! row, although no answer ever came. It opens a route to node 3 and sends 4, which names
//! the hash of 3: `Recorded` at 56 (55 is node 3's own LEADER record). Had the entry with
//! 2–3 not survived the election, the row would say 2, and 2, 3 and 4 would be sent again.
//!
//! # The outbox
//!
//! A *deferred* download is answered before its record exists, perhaps while no leader can
//! be reached. So its statement is numbered, signed and synced to a file first, and handed
//! out as a promise; [`outbox`] drains that file into the log later, by the same protocol
//! with one batch under way. Because the file outlives the process, each BOOT says where
//! every outbox of the node stands; one whose file is gone is said to be lost, so that no
//! promise vanishes unnoticed.
//!
//! # What can go wrong
//!
//! * *Another process runs under this node's identity* (a copied disk): the ledger holds
//!   another statement under a number of this lane, or a later BOOT closed the lane. Both
//!   stop the node: it cannot know any more what it has said.
//! * *No quorum*: the lane waits, its queue fills, and callers are turned away before
//!   anything is numbered. What is numbered waits for as long as it takes.
//! * *A restart with statements under way*: the strict lane dies with its process. Its
//!   statements are recorded or not; the BOOT of the next start closes the lane, after
//!   which none can be. Callers ask again by their request id.
//! * *A broken rule* (a number out of order, a record behind a gap) is a panic in the lane,
//!   which ends the node: a number taken twice cannot be taken back.
//!
//! # Where to read on
//!
//! * [`boot`]: a BOOT record before anything else; [`booted`]: what there is afterwards
//! * [`later_boot`]: a node that another process has taken over from
//! * [`lane`]: the strict lane of this boot; [`window`], [`answers`]: its protocol, pure
//! * [`route`]: to the leader, here or elsewhere, in order
//! * [`holdings`]: other nodes' signatures, verified before anything is numbered
//! * [`intake`]: the leader's side: verify, stamp, propose
//! * [`due`]: LEADER and MEMBERSHIP, as they fall due
//! * [`configured`]: CONFIG, once for each boot
//! * [`download_ends`]: DOWNLOAD_END, several in one record
//! * [`outbox`]: the lane of deferred downloads, durable first and recorded later
//! * [`writes`]: how a call gets its statement recorded
//!
//! The ledger's side of a lane is [`crate::ledger::lanes`]. Tests: `window_tests` (the
//! protocol by script), `lane_tests` (nodes, cuts and changes of leaders).

mod answers;
pub mod boot;
pub mod booted;
pub mod configured;
pub mod download_ends;
pub mod due;
pub mod holdings;
pub mod intake;
pub mod lane;
pub mod later_boot;
pub mod outbox;
pub mod route;
mod window;
pub mod writes;

#[cfg(test)]
mod accepted_tests;
#[cfg(test)]
mod configured_tests;
#[cfg(test)]
mod download_ends_tests;
#[cfg(test)]
mod lane_tests;
#[cfg(test)]
mod leaving_tests;
#[cfg(test)]
mod window_tests;

use crate::clock::SharedClock;
use crate::domain::command::Submission;
use crate::domain::ids::{NodeId, RecordIndex, Sequence};
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
    pub index: RecordIndex,
    pub outcome: Outcome,
}

/// Why there is no outcome (yet).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecorderError {
    /// The queue is full: nothing was numbered, try again later.
    Full,
    /// The node is stopping: whether it takes effect is unknown.
    Stopped,
}

/// Who signs, for which ledger.
#[derive(Clone)]
pub struct StatementSigner {
    pub node: NodeId,
    pub ledger: Digest,
    pub signer: Arc<dyn Signer>,
    pub clock: SharedClock,
}

impl StatementSigner {
    /// Numbers and signs.
    pub fn sign(&self, intent: &Intent, lane: Lane, seq: Sequence, prev: Digest) -> Submission {
        let kind = intent.document.kind();
        let (document, actor) = (intent.document.encode(), intent.actor.encode());
        let open = |public, bytes| {
            if public {
                return Opening::public(bytes);
            }
            Opening {
                salt: self.clock.salt(),
                bytes,
            }
        };
        // Who asked is a person, or not: of whatever kind the record is, it can be erased.
        let document = open(kind.is_system(), document);
        let actor = open(kind.is_system() && intent.actor.is_system(), actor);
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
