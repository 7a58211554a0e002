//! A record: position + outcome + statement + signature; the leaf of the log.
//!
//! Promises: a fixed layout of [`Record::LENGTH`] bytes. Position and outcome are given
//! by apply, equal on every replica; the statement and its signature are the node's.
//! The leaf hash is at once the link that the next record names as `prev`.
//!
//! Tests: `evidence/tests/encodings.rs`.

use crate::codec::{DecodeError, Reader, Writer};
use crate::digest::Digest;
use crate::endorsement::Place;
use crate::ids::RecordIndex;
use crate::key::Signature;
use crate::statement::{Kind, Statement};
use crate::tree;
use std::fmt;

/// Why a numbered statement took no effect. Codes are never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// No invoice under that uid.
    NotFound,
    /// The identity is taken by an invoice of other content.
    IdentityTaken,
    /// The request id was used for other content.
    RequestIdReused,
    /// The holdings do not meet the level under the membership at this index.
    HoldingsInsufficient,
    /// The reversals would exceed the original amount, or its currency differs.
    ReversalExceeds,
    /// The invoice is void.
    AlreadyVoid,
    /// The invoice has been reversed, in part or in full.
    AlreadyReversed,
    /// A rendition in that role exists with other bytes.
    RenditionTaken,
    /// The tenant is not known to the ledger.
    UnknownTenant,
    /// The statement does not hold what its kind needs.
    Malformed,
    /// The item is not due, or no longer.
    NotDue,
    /// The feature is above the ledger's feature level.
    FeatureLevel,
    /// An alternative id belongs to another invoice.
    AlternativeIdTaken,
    /// A reversal cannot itself be reversed.
    NotReversible,
    /// Another change of keys came first.
    KeySerial,
    /// The change of keys is not one that the ledger's key history allows.
    KeyChange,
    /// Those who must endorse the change of keys did not.
    KeyEndorsement,
    /// The key signs for a node that is running under it.
    KeyInUse,
    /// It is not for this node to say.
    NotEntitled,
    /// The invoice has as many renditions or reversals as one may have.
    LimitReached,
    /// The amount has another exponent than the original amount.
    AmountExponent,
    /// A reason that came after this version.
    Later(u16),
}

impl Reason {
    pub const ALL: [Reason; 21] = [
        Reason::NotFound,
        Reason::IdentityTaken,
        Reason::RequestIdReused,
        Reason::HoldingsInsufficient,
        Reason::ReversalExceeds,
        Reason::AlreadyVoid,
        Reason::AlreadyReversed,
        Reason::RenditionTaken,
        Reason::UnknownTenant,
        Reason::Malformed,
        Reason::NotDue,
        Reason::FeatureLevel,
        Reason::AlternativeIdTaken,
        Reason::NotReversible,
        Reason::KeySerial,
        Reason::KeyChange,
        Reason::KeyEndorsement,
        Reason::KeyInUse,
        Reason::NotEntitled,
        Reason::LimitReached,
        Reason::AmountExponent,
    ];

    /// `None` for 0, which stands where there is no reason.
    pub fn from_code(code: u16) -> Option<Reason> {
        let place = usize::from(code.checked_sub(1)?);
        Some(
            Reason::ALL
                .get(place)
                .copied()
                .unwrap_or(Reason::Later(code)),
        )
    }

    /// Counted from 1 in the order of [`Reason::ALL`], which only grows at its end.
    pub fn code(self) -> u16 {
        match (self, Reason::ALL.iter().position(|reason| *reason == self)) {
            (Reason::Later(code), _) => code,
            (_, place) => place.map_or(0, |place| place as u16 + 1),
        }
    }

    /// Stable upper-case name, also the reason code in gRPC error details.
    pub fn name(self) -> &'static str {
        match self {
            Reason::NotFound => "NOT_FOUND",
            Reason::IdentityTaken => "IDENTITY_TAKEN",
            Reason::RequestIdReused => "REQUEST_ID_REUSED",
            Reason::HoldingsInsufficient => "HOLDINGS_INSUFFICIENT",
            Reason::ReversalExceeds => "REVERSAL_EXCEEDS",
            Reason::AlreadyVoid => "ALREADY_VOID",
            Reason::AlreadyReversed => "ALREADY_REVERSED",
            Reason::RenditionTaken => "RENDITION_TAKEN",
            Reason::UnknownTenant => "UNKNOWN_TENANT",
            Reason::Malformed => "MALFORMED",
            Reason::NotDue => "NOT_DUE",
            Reason::FeatureLevel => "FEATURE_LEVEL",
            Reason::AlternativeIdTaken => "ALTERNATIVE_ID_TAKEN",
            Reason::NotReversible => "NOT_REVERSIBLE",
            Reason::KeySerial => "KEY_SERIAL",
            Reason::KeyChange => "KEY_CHANGE",
            Reason::KeyEndorsement => "KEY_ENDORSEMENT",
            Reason::KeyInUse => "KEY_IN_USE",
            Reason::NotEntitled => "NOT_ENTITLED",
            Reason::LimitReached => "LIMIT_REACHED",
            Reason::AmountExponent => "AMOUNT_EXPONENT",
            Reason::Later(_) => "LATER",
        }
    }
}

/// What apply made of a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It took effect: only now may one say "issued" or "downloaded".
    Ok,
    /// It took no effect.
    Refused(Reason),
    /// The same was done before, by the record at this index.
    DuplicateOf(RecordIndex),
}

impl Outcome {
    /// Code, reason and index: 11 bytes, unused parts zero.
    pub fn write(&self, w: &mut Writer) {
        let (code, reason, of) = match self {
            Outcome::Ok => (0, 0, 0),
            Outcome::Refused(reason) => (1, reason.code(), 0),
            Outcome::DuplicateOf(index) => (2, 0, index.get()),
        };
        w.u8(code).u16(reason).u64(of);
    }

    pub fn read(r: &mut Reader<'_>) -> Result<Outcome, DecodeError> {
        match (r.u8()?, r.u16()?, r.u64()?) {
            (0, 0, 0) => Ok(Outcome::Ok),
            (1, code, 0) => match Reason::from_code(code) {
                Some(reason) => Ok(Outcome::Refused(reason)),
                None => Err(r.error("a known reason")),
            },
            (2, 0, index) => Ok(Outcome::DuplicateOf(RecordIndex::new(index))),
            _ => Err(r.error("an outcome")),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Ok => f.write_str("OK"),
            Outcome::Refused(reason) => write!(f, "REFUSED({})", reason.name()),
            Outcome::DuplicateOf(index) => write!(f, "DUPLICATE_OF({index})"),
        }
    }
}

/// One leaf of the log; see FORMAT.md for the layout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Position in the log, from 0.
    pub index: RecordIndex,
    /// Leaf hash of the record before; zero at index 0.
    pub prev: Digest,
    /// The leader's clock when it proposed, clamped so that it never goes back: a claim.
    pub committed_at_ms: u64,
    /// OK KEY records before this one: whoever shows a later record cannot leave one out.
    pub keys: u64,
    pub outcome: Outcome,
    pub statement: Statement,
    pub signature: Signature,
}

impl Record {
    pub const VERSION: u8 = 2;
    pub const LENGTH: usize = 68 + Statement::LENGTH + 64;
    /// Offset of the outcome's code.
    pub const OUTCOME_AT: usize = 57;
    /// Offset of the statement's kind.
    pub const KIND_AT: usize = 69;

    pub fn encode(&self) -> [u8; Record::LENGTH] {
        let mut w = Writer::new();
        w.u8(Record::VERSION)
            .u64(self.index.get())
            .digest(&self.prev)
            .u64(self.committed_at_ms)
            .u64(self.keys);
        self.outcome.write(&mut w);
        w.raw(&self.statement.encode()).raw(&self.signature.0);
        w.finish()
            .try_into()
            .expect("the layout above has a fixed length")
    }

    pub fn decode(bytes: &[u8]) -> Result<Record, DecodeError> {
        let mut r = Reader::new(bytes);
        if r.u8()? != Record::VERSION {
            return Err(r.error("record version 2"));
        }
        let index = RecordIndex::read(&mut r)?;
        let prev = r.digest()?;
        let committed_at_ms = r.u64()?;
        let keys = r.u64()?;
        let outcome = Outcome::read(&mut r)?;
        let statement = Statement::decode(r.raw(Statement::LENGTH)?)?;
        let signature = Signature(r.array()?);
        r.end()?;
        Ok(Record {
            index,
            prev,
            committed_at_ms,
            keys,
            outcome,
            statement,
            signature,
        })
    }

    /// Where it stands, as endorsements ask.
    pub fn place(&self) -> Place {
        Place {
            index: self.index,
            committed_at_ms: self.committed_at_ms,
        }
    }

    /// OK KEY records up to this one and with it.
    pub fn keys_through(&self) -> u64 {
        let is_change = self.statement.kind == Kind::Key && self.outcome == Outcome::Ok;
        self.keys.saturating_add(u64::from(is_change))
    }

    /// SHA-256(0x00 ‖ record): the tree's leaf hash and the chain link.
    pub fn leaf_hash(&self) -> Digest {
        tree::leaf_hash(&self.encode())
    }
}
