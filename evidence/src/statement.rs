//! A statement: what one node attests about one event it witnessed.
//!
//! Promises: a fixed layout of [`Statement::LENGTH`] bytes that encodes and decodes one
//! way only. Everything that enters the log is a statement; whether it took effect is
//! the record's outcome ([`crate::record`]). The details stand behind two commitments
//! ([`crate::opening`]).
//!
//! Tests: `evidence/tests/encodings.rs`, `evidence/tests/formats.rs`, `evidence/tests/tamper.rs`.

use crate::codec::{DecodeError, Reader};
use crate::codes::coded;
use crate::digest::{Digest, tag};
use crate::ids::{NodeId, OutboxId, RecordIndex, Sequence};
use crate::key::{PublicKey, Signature};
use std::fmt;

coded! {
    /// What kind of event a statement speaks of.
    pub enum Kind {
        /// The first record: the origin, the members and their keys.
        Genesis = 1 "GENESIS",
        /// A node has started; closes its older strict lanes.
        Boot = 2 "BOOT",
        /// An invoice is to be issued.
        Issue = 3 "ISSUE",
        /// A further rendition of an issued invoice.
        AddRendition = 4 "ADD_RENDITION",
        /// The node is about to send a range of a rendition.
        Download = 5 "DOWNLOAD",
        /// Ranges whose bytes were handed to the transport.
        DownloadEnd = 6 "DOWNLOAD_END",
        /// An invoice that reverses another, in part or in full.
        Reverse = 7 "REVERSE",
        /// An unreversed invoice is declared void.
        Void = 8 "VOID",
        /// The members changed, as seen at a log position.
        Membership = 9 "MEMBERSHIP",
        /// A leader took office at a log position.
        Leader = 10 "LEADER",
        /// Keys were added, retired or revoked.
        Key = 11 "KEY",
        /// An outside witness has cosigned a checkpoint.
        Anchor = 12 "ANCHOR",
        /// What somebody wanted to know of an invoice, and was told.
        Check = 13 "CHECK",
        /// A change of the members is prepared, done or given up.
        Mode = 14 "MODE",
        /// Settings of the ledger itself.
        Policy = 15 "POLICY",
        // Named and placed, and without an opening.
        Snapshot = 16 "SNAPSHOT",
        /// The ledger goes on from a backup.
        Restore = 17 "RESTORE",
        /// The ledger goes on from what a survivor has.
        Recovery = 18 "RECOVERY",
        /// Damage to a stored body.
        Scrub = 19 "SCRUB",
        /// An exercise, and what was measured.
        Drill = 20 "DRILL",
        /// A disclosure of many records.
        Export = 21 "EXPORT",
        /// Nothing of these invoices is erased.
        Hold = 22 "HOLD",
        /// How long invoices are kept.
        Retention = 23 "RETENTION",
        /// What is to be erased,
        Erase = 24 "ERASE",
        /// and was, in one place.
        Erased = 25 "ERASED",
        Gap = 26 "GAP",
        /// What a tenant is from here on.
        Tenant = 27 "TENANT",
        /// A subject may do something, or may not any more.
        Grant = 28 "GRANT",
        /// By what a node is configured.
        Config = 29 "CONFIG",
        /// An administrative call, done or refused.
        Admin = 30 "ADMIN",
        /// No holder has a body any more.
        BodyLost = 31 "BODY_LOST",
        /// The seal of a month.
        Month = 32 "MONTH",
        /// A record that no check lets pass is known, and the ledger goes on.
        Waiver = 33 "WAIVER",
        ..Later "LATER"
    }
}

/// From this code on, a kind that is not known may change what a chain or a key means.
pub const CRITICAL_KIND: u8 = 128;

impl Kind {
    /// System kinds have public openings: zero salts, never erased, in every bundle. Of a later
    /// kind nobody knows it, so nothing is asked of its openings.
    pub fn is_system(self) -> bool {
        matches!(
            self,
            Kind::Genesis
                | Kind::Boot
                | Kind::Membership
                | Kind::Leader
                | Kind::Key
                | Kind::Anchor
                | Kind::Mode
                | Kind::Policy
                | Kind::Snapshot
                | Kind::Restore
                | Kind::Recovery
                | Kind::Scrub
                | Kind::Drill
                | Kind::Erased
                | Kind::Gap
                | Kind::Waiver
        )
    }

    /// Whether this version knows no opening of the kind: its commitment alone is checked.
    pub fn is_reserved(self) -> bool {
        matches!(self, Kind::Snapshot | Kind::Gap | Kind::Later(_))
    }

    /// Whether an OK record of the kind changes what chain and keys mean in a way that this
    /// version does not understand.
    pub fn is_critical(self) -> bool {
        match self {
            Kind::Restore | Kind::Recovery => true,
            kind => kind.code() >= CRITICAL_KIND,
        }
    }

    /// The feature level that a ledger must have reached before it takes a statement of the kind;
    /// `None` where no level has it yet.
    pub fn first_level(self) -> Option<u64> {
        if self == Kind::Config {
            return Some(2);
        }
        let planned = matches!(
            self,
            Kind::Check
                | Kind::Restore
                | Kind::Recovery
                | Kind::Export
                | Kind::Hold
                | Kind::Retention
                | Kind::Erase
                | Kind::Erased
                | Kind::Tenant
                | Kind::Grant
                | Kind::Admin
                | Kind::Month
        );
        (!planned && !self.is_reserved()).then_some(1)
    }
}

/// Whether bytes waited for their record (evidence mode).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Mode {
    /// Nothing was released by this statement.
    None = 0,
    /// The record commits before the first byte leaves.
    Strict = 1,
    /// The signed statement is durable at the node before the first byte leaves.
    Deferred = 2,
}

/// The write level asked: a class and its number of zones or regions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Level {
    /// The kind knows no level.
    None,
    Quorum,
    Zones(u8),
    Regions(u8),
    All,
}

impl Level {
    /// Class and number, as they stand in the statement.
    pub fn code(self) -> (u8, u8) {
        match self {
            Level::None => (0, 0),
            Level::Quorum => (1, 0),
            Level::Zones(k) => (2, k),
            Level::Regions(k) => (3, k),
            Level::All => (4, 0),
        }
    }

    pub fn from_code(class: u8, k: u8) -> Option<Level> {
        match (class, k) {
            (0, 0) => Some(Level::None),
            (1, 0) => Some(Level::Quorum),
            (2, k) if k > 0 => Some(Level::Zones(k)),
            (3, k) if k > 0 => Some(Level::Regions(k)),
            (4, 0) => Some(Level::All),
            _ => None,
        }
    }
}

/// Which of a node's series a statement belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Lane {
    /// The node's BOOT statements (and, at the founding node, GENESIS before them).
    Boot,
    /// The lane of one boot; named by the index of that boot's BOOT record.
    Strict(RecordIndex),
    /// The lane of one outbox.
    Outbox(OutboxId),
}

impl Lane {
    pub fn code(self) -> (u8, u64) {
        match self {
            Lane::Boot => (0, 0),
            Lane::Strict(boot) => (1, boot.get()),
            Lane::Outbox(outbox) => (2, outbox.get()),
        }
    }

    pub fn from_code(kind: u8, id: u64) -> Option<Lane> {
        match (kind, id) {
            (0, 0) => Some(Lane::Boot),
            (1, boot) => Some(Lane::Strict(RecordIndex::new(boot))),
            (2, outbox) => Some(Lane::Outbox(OutboxId::new(outbox))),
            _ => None,
        }
    }
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Lane::Boot => f.write_str("boot"),
            Lane::Strict(boot) => write!(f, "strict({boot})"),
            Lane::Outbox(outbox) => write!(f, "outbox({outbox})"),
        }
    }
}

/// See the module and FORMAT.md for the layout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    pub kind: Kind,
    pub mode: Mode,
    pub level: Level,
    /// Hash of the GENESIS leaf; zero inside GENESIS itself.
    pub ledger: Digest,
    pub node: NodeId,
    pub lane: Lane,
    /// Counts up by one from 0 within the lane.
    pub seq: Sequence,
    /// [`Statement::hash`] of the lane's statement before this; zero at seq 0.
    pub prev: Digest,
    /// The node's clock when it witnessed the event: milliseconds since 1970, a claim.
    pub witnessed_at_ms: u64,
    /// Commits to what was done.
    pub document: Digest,
    /// Commits to who asked for it.
    pub actor: Digest,
}

impl Statement {
    pub const VERSION: u8 = 1;
    pub const LENGTH: usize = 166;

    pub fn encode(&self) -> [u8; Statement::LENGTH] {
        let mut bytes = [0; Statement::LENGTH];
        self.fill(&mut bytes);
        bytes
    }

    /// In place, since a verifier does it for every record.
    fn fill(&self, bytes: &mut [u8]) {
        let (class, k) = self.level.code();
        let (lane_kind, lane_id) = self.lane.code();
        let mut rest = bytes;
        let mut put = |part: &[u8]| {
            let (head, tail) = std::mem::take(&mut rest).split_at_mut(part.len());
            head.copy_from_slice(part);
            rest = tail;
        };
        put(&[Statement::VERSION, self.kind.code(), self.mode as u8]);
        put(&[class, k]);
        put(&self.ledger.0);
        put(&self.node.get().to_be_bytes());
        put(&[lane_kind]);
        put(&lane_id.to_be_bytes());
        put(&self.seq.get().to_be_bytes());
        put(&self.prev.0);
        put(&self.witnessed_at_ms.to_be_bytes());
        put(&self.document.0);
        put(&self.actor.0);
        assert!(rest.is_empty(), "the layout above has a fixed length");
    }

    pub fn decode(bytes: &[u8]) -> Result<Statement, DecodeError> {
        let mut r = Reader::new(bytes);
        if r.u8()? != Statement::VERSION {
            return Err(r.error("statement version 1"));
        }
        let kind = Kind::from_code(r.u8()?).ok_or_else(|| r.error("a known kind"))?;
        let mode = match r.u8()? {
            0 => Mode::None,
            1 => Mode::Strict,
            2 => Mode::Deferred,
            _ => return Err(r.error("an evidence mode")),
        };
        let level = Level::from_code(r.u8()?, r.u8()?).ok_or_else(|| r.error("a write level"))?;
        let ledger = r.digest()?;
        let node = NodeId::read(&mut r)?;
        let lane = Lane::from_code(r.u8()?, r.u64()?).ok_or_else(|| r.error("a lane"))?;
        let statement = Statement {
            kind,
            mode,
            level,
            ledger,
            node,
            lane,
            seq: Sequence::read(&mut r)?,
            prev: r.digest()?,
            witnessed_at_ms: r.u64()?,
            document: r.digest()?,
            actor: r.digest()?,
        };
        r.end()?;
        Ok(statement)
    }

    /// What the lane's next statement names as `prev`, and what tells a repetition
    /// from an equivocation.
    pub fn hash(&self) -> Digest {
        Digest::of(&[tag::STATEMENT_HASH, &self.encode()])
    }

    /// The bytes that the node signs.
    pub fn signed_bytes(&self) -> [u8; tag::STATEMENT.len() + Statement::LENGTH] {
        let mut bytes = [0; tag::STATEMENT.len() + Statement::LENGTH];
        let (before, statement) = bytes.split_at_mut(tag::STATEMENT.len());
        before.copy_from_slice(tag::STATEMENT);
        self.fill(statement);
        bytes
    }

    /// Strict Ed25519 verification, as FORMAT.md prescribes.
    pub fn verify(&self, key: &PublicKey, signature: &Signature) -> bool {
        key.verify(&self.signed_bytes(), signature)
    }
}
