//! The ledger's first record: names its origin and its first keys.
//!
//! Promises: [`Genesis::document`] checks everything that a genesis shows of itself.
//! Whether it is the right one is for the auditor's pin ([`crate::trust`]) to say.

use crate::checks::Check;
use crate::codec::{DecodeError, Reader, Writer};
use crate::digest::Digest;
use crate::ids::{NodeId, RecordIndex, Sequence};
use crate::key::PublicKey;
use crate::keys::{KeyHistory, is_place};
use crate::name;
use crate::note::is_key_name;
use crate::opening::{Document, GenesisDocument, Member, PUBLIC_SALT, commit_document};
use crate::parts::{read_public, read_record};
use crate::record::{Outcome, Record};
use crate::statement::{Kind, Lane};
use crate::tree;
use std::collections::BTreeSet;
use std::fmt;

/// The longest origin: it is printed, and stands in every checkpoint.
pub const ORIGIN_BYTES_MAX: usize = 255;

/// The ledger's first record with its public opening: names the keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Genesis {
    /// The raw bytes of a record.
    pub record: Vec<u8>,
    /// The encoding of a [`Document::Genesis`]; its salt is zero.
    pub opening: Vec<u8>,
}

impl Genesis {
    /// The ledger's id.
    pub fn leaf_hash(&self) -> Digest {
        tree::leaf_hash(&self.record)
    }

    /// Checks everything about the genesis that it shows of itself.
    pub fn document(&self) -> Result<GenesisDocument, GenesisError> {
        let record = Record::decode(&self.record).map_err(GenesisError::Record)?;
        let statement = &record.statement;
        let first = record.index == RecordIndex::FIRST
            && record.prev == Digest::ZERO
            && record.outcome == Outcome::Ok
            && statement.kind == Kind::Genesis
            && statement.ledger == Digest::ZERO
            && statement.lane == Lane::Boot
            && statement.seq == Sequence::FIRST
            && statement.prev == Digest::ZERO;
        if Check::GenesisIsFirst.fails(!first) {
            return Err(GenesisError::NotFirst);
        }
        let committed = commit_document(&PUBLIC_SALT, &self.opening);
        if Check::GenesisOpeningIsCommitted.fails(committed != statement.document) {
            return Err(GenesisError::Commitment);
        }
        let document = match Document::decode(&self.opening) {
            Ok(Document::Genesis(document)) => document,
            Ok(_) => return Err(GenesisError::OtherKind),
            Err(e) => return Err(GenesisError::Opening(e)),
        };
        let founder = admissible(&document, statement.node)?;
        let signed = statement.verify(&founder.statement_key, &record.signature);
        if Check::GenesisSignature.fails(!signed) {
            return Err(GenesisError::Signature);
        }
        Ok(document)
    }

    pub(crate) fn write(&self, w: &mut Writer) {
        w.bytes(&self.record).bytes(&self.opening);
    }

    pub(crate) fn read(r: &mut Reader<'_>) -> Result<Genesis, DecodeError> {
        Ok(Genesis {
            record: read_record(r)?,
            opening: read_public(r)?,
        })
    }
}

/// What a genesis must be before anybody signs it, and ever after: the founder among its
/// members, who is given back, and names and keys that can be relied on.
pub fn admissible(document: &GenesisDocument, founder: NodeId) -> Result<&Member, GenesisError> {
    check_names(document)?;
    let mut members = document.members.iter();
    let member = members.find(|member| member.node == founder);
    member.ok_or(GenesisError::NoFounder(founder))
}

/// Names that would make key names ambiguous, keys that strict verification could not
/// use, and one key in two places would make later findings ambiguous; so they are
/// refused here.
fn check_names(document: &GenesisDocument) -> Result<(), GenesisError> {
    let all_named = is_key_name(&document.origin)
        && name::check(&document.origin).is_ok()
        && document.origin.len() <= ORIGIN_BYTES_MAX
        && document
            .members
            .iter()
            .all(|member| is_place(&member.region) && is_place(&member.zone));
    if Check::GenesisNames.fails(!all_named) {
        return Err(GenesisError::Origin);
    }
    let mut nodes = BTreeSet::new();
    let own = document
        .members
        .iter()
        .flat_map(|member| [member.statement_key, member.cosignature_key]);
    let of_all = document.root_keys.iter().chain(&document.operator_keys);
    let mut keys: Vec<_> = own.chain(of_all.copied()).collect();
    keys.push(document.log_key);
    let usable = keys.iter().all(PublicKey::is_valid)
        && keys.iter().collect::<BTreeSet<_>>().len() == keys.len()
        && document
            .members
            .iter()
            .all(|member| member.node != NodeId::NONE && nodes.insert(member.node))
        && KeyHistory::founded(document).check_whole().is_ok();
    match Check::GenesisKeys.fails(!usable) {
        true => Err(GenesisError::Keys),
        false => Ok(()),
    }
}

/// Why a genesis cannot be relied on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GenesisError {
    Record(DecodeError),
    Opening(DecodeError),
    /// Not an OK record of kind GENESIS at the very beginning.
    NotFirst,
    /// The opening is not what the record commits to.
    Commitment,
    /// The opening is that of another kind.
    OtherKind,
    /// The origin, a region or a zone cannot stand in a key name.
    Origin,
    /// A key is unusable or stands twice, a member does, or the threshold of the root
    /// keys cannot be met.
    Keys,
    /// The founding node is not among the members.
    NoFounder(NodeId),
    Signature,
}

impl GenesisError {
    /// The check that it fails.
    pub fn check(&self) -> Check {
        match self {
            GenesisError::Record(_) => Check::GenesisRecordReads,
            GenesisError::NotFirst => Check::GenesisIsFirst,
            GenesisError::Commitment => Check::GenesisOpeningIsCommitted,
            GenesisError::Opening(_) | GenesisError::OtherKind => Check::GenesisOpeningReads,
            GenesisError::Origin => Check::GenesisNames,
            GenesisError::Keys => Check::GenesisKeys,
            GenesisError::NoFounder(_) => Check::GenesisFounder,
            GenesisError::Signature => Check::GenesisSignature,
        }
    }
}

impl fmt::Display for GenesisError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GenesisError::Record(e) => write!(f, "the genesis record cannot be read: {e}"),
            GenesisError::Opening(e) => write!(f, "the genesis opening cannot be read: {e}"),
            GenesisError::NotFirst => {
                f.write_str("the genesis is not an OK record of kind GENESIS at index 0")
            }
            GenesisError::OtherKind => f.write_str("the genesis opening is of another kind"),
            GenesisError::Commitment => {
                f.write_str("the genesis opening is not what the genesis record commits to")
            }
            GenesisError::Origin => f.write_str(
                "the genesis names an origin, region or zone that cannot stand in a key name",
            ),
            GenesisError::Keys => {
                f.write_str("the genesis names an unusable key, or one key or member twice")
            }
            GenesisError::NoFounder(node) => write!(
                f,
                "the genesis is signed by node {node}, which it does not name as a member"
            ),
            GenesisError::Signature => {
                f.write_str("the signature of the genesis statement does not hold")
            }
        }
    }
}

impl std::error::Error for GenesisError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            GenesisError::Record(e) | GenesisError::Opening(e) => Some(e),
            _ => None,
        }
    }
}
