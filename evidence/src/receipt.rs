//! A receipt: everything needed to check one record offline, for ever.
//!
//! Promises: [`Receipt::decode`] reads only what [`Receipt::encode`] writes, and every
//! field has a limit. [`Genesis`] names the keys of the ledger and is checked to be
//! whole in itself. Leaves the judgement to [`crate::verify`], and whether this genesis
//! is the right one to the auditor's pin ([`crate::trust`]).

use crate::codec::{DecodeError, Reader, Writer};
use crate::digest::Digest;
use crate::note::{NOTE_BYTES_MAX, is_key_name};
use crate::opening::{Document, GenesisDocument, Opening, PUBLIC_SALT, commit_document};
use crate::record::{Outcome, Record};
use crate::report::Class;
use crate::statement::{Kind, Lane};
use crate::tree;
use std::collections::BTreeSet;
use std::fmt;

/// The first line of a receipt file.
pub const MAGIC: &[u8] = b"muniment-receipt/v0\n";

/// The most bytes of one opening: gRPC messages end at 4 MiB, and invoices' metadata far
/// below; so three openings and a record fit one bundle frame.
pub const OPENING_BYTES_MAX: usize = 1024 * 1024;

/// The most bytes of a receipt file: three openings, a note, and room for the rest.
pub const RECEIPT_BYTES_MAX: usize = 4 * OPENING_BYTES_MAX;

/// The longest audit path: one hash per binary level of a tree of 2^64 leaves.
pub const PATH_MAX: usize = 64;

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

/// See FORMAT.md, "Receipt".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    pub genesis: Genesis,
    /// The raw bytes of the record that this receipt is about.
    pub record: Vec<u8>,
    /// What was done; `None` when it was erased or is withheld.
    pub document: Option<Opening>,
    /// Who asked; `None` when it was erased or is withheld.
    pub actor: Option<Opening>,
    /// From the leaf's sibling up to the root's child.
    pub path: Vec<Digest>,
    /// The signed note over the tree's head.
    pub checkpoint: String,
}

impl Receipt {
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::new();
        w.raw(MAGIC);
        self.genesis.write(&mut w);
        w.bytes(&self.record);
        w.option(self.document.as_ref(), write_opening);
        w.option(self.actor.as_ref(), write_opening);
        w.list(&self.path, |w, hash| {
            w.digest(hash);
        });
        w.text(&self.checkpoint);
        w.finish()
    }

    pub fn decode(bytes: &[u8]) -> Result<Receipt, DecodeError> {
        let mut r = Reader::new(bytes);
        if bytes.len() > RECEIPT_BYTES_MAX {
            return Err(r.error("a receipt of at most 4 MiB"));
        }
        if !bytes.starts_with(MAGIC) {
            return Err(r.error("the line muniment-receipt/v0"));
        }
        r.raw(MAGIC.len())?;
        let receipt = Receipt {
            genesis: Genesis::read(&mut r)?,
            record: read_record(&mut r)?,
            document: r.option(read_opening)?,
            actor: r.option(read_opening)?,
            path: read_digests(&mut r)?,
            checkpoint: read_note(&mut r)?,
        };
        r.end()?;
        Ok(receipt)
    }
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
        let first = record.index == 0
            && record.prev == Digest::ZERO
            && record.outcome == Outcome::Ok
            && statement.kind == Kind::Genesis
            && statement.ledger == Digest::ZERO
            && statement.lane == Lane::Boot
            && statement.seq == 0
            && statement.prev == Digest::ZERO;
        if !first {
            return Err(GenesisError::NotFirst);
        }
        if commit_document(&PUBLIC_SALT, &self.opening) != statement.document {
            return Err(GenesisError::Commitment);
        }
        let document = match Document::decode(&self.opening) {
            Ok(Document::Genesis(document)) => document,
            Ok(_) => return Err(GenesisError::NotFirst),
            Err(e) => return Err(GenesisError::Opening(e)),
        };
        check_names(&document)?;
        let founder = document
            .members
            .iter()
            .find(|member| member.node == statement.node)
            .ok_or(GenesisError::NoFounder(statement.node))?;
        if !statement.verify(&founder.statement_key, &record.signature) {
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
            opening: read_bounded(r, OPENING_BYTES_MAX, "an opening of at most 1 MiB")?,
        })
    }
}

/// Keys that strict verification could not use, or two members of one number, would
/// make later findings ambiguous; so they are refused here.
fn check_names(document: &GenesisDocument) -> Result<(), GenesisError> {
    if !is_key_name(&document.origin) || document.origin.len() > ORIGIN_BYTES_MAX {
        return Err(GenesisError::Origin);
    }
    let mut nodes = BTreeSet::new();
    let usable = document.log_key.is_valid()
        && document.members.iter().all(|member| {
            nodes.insert(member.node)
                && member.statement_key.is_valid()
                && member.cosignature_key.is_valid()
        });
    if usable {
        Ok(())
    } else {
        Err(GenesisError::Keys)
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
    /// The origin is no key name.
    Origin,
    /// A key is unusable or a member is named twice.
    Keys,
    /// The founding node is not among the members.
    NoFounder(u64),
    Signature,
}

impl GenesisError {
    pub fn class(&self) -> Class {
        match self {
            GenesisError::Record(_)
            | GenesisError::Opening(_)
            | GenesisError::NotFirst
            | GenesisError::Origin => Class::Structure,
            GenesisError::Commitment => Class::Opening,
            GenesisError::Keys | GenesisError::NoFounder(_) => Class::UnknownKey,
            GenesisError::Signature => Class::BadSignature,
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
            GenesisError::Commitment => {
                f.write_str("the genesis opening is not what the genesis record commits to")
            }
            GenesisError::Origin => f.write_str("the genesis names no usable origin"),
            GenesisError::Keys => {
                f.write_str("the genesis names an unusable key, or a member twice")
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

impl std::error::Error for GenesisError {}

pub(crate) fn write_opening(w: &mut Writer, opening: &Opening) {
    w.raw(&opening.salt).bytes(&opening.bytes);
}

pub(crate) fn read_opening(r: &mut Reader<'_>) -> Result<Opening, DecodeError> {
    Ok(Opening {
        salt: r.array()?,
        bytes: read_bounded(r, OPENING_BYTES_MAX, "an opening of at most 1 MiB")?,
    })
}

pub(crate) fn read_record(r: &mut Reader<'_>) -> Result<Vec<u8>, DecodeError> {
    let record = read_bounded(r, Record::LENGTH, "a record of 290 bytes")?;
    if record.len() == Record::LENGTH {
        Ok(record)
    } else {
        Err(r.error("a record of 290 bytes"))
    }
}

pub(crate) fn read_digests(r: &mut Reader<'_>) -> Result<Vec<Digest>, DecodeError> {
    let digests = r.list(Reader::digest)?;
    if digests.len() > PATH_MAX {
        return Err(r.error("at most 64 hashes"));
    }
    Ok(digests)
}

pub(crate) fn read_note(r: &mut Reader<'_>) -> Result<String, DecodeError> {
    let note = r.text()?;
    if note.len() > NOTE_BYTES_MAX {
        return Err(r.error("a note of at most 64 KiB"));
    }
    Ok(note)
}

fn read_bounded(
    r: &mut Reader<'_>,
    limit: usize,
    expected: &'static str,
) -> Result<Vec<u8>, DecodeError> {
    let bytes = r.bytes()?;
    if bytes.len() > limit {
        return Err(r.error(expected));
    }
    Ok(bytes.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receipt_has_one_encoding() {
        assert_eq!(Record::LENGTH, 290, "the error texts name it");
        let receipt = Receipt {
            genesis: Genesis {
                record: vec![1; Record::LENGTH],
                opening: vec![2; 9],
            },
            record: vec![3; Record::LENGTH],
            document: Some(Opening {
                salt: [4; 32],
                bytes: vec![5],
            }),
            actor: None,
            path: vec![Digest([6; 32])],
            checkpoint: "note\n".into(),
        };
        let bytes = receipt.encode();
        assert_eq!(Receipt::decode(&bytes), Ok(receipt.clone()));
        for length in 0..bytes.len() {
            assert!(Receipt::decode(&bytes[..length]).is_err());
        }
        assert!(Receipt::decode(&[&bytes[..], &[0]].concat()).is_err());
        let mut short = receipt.clone();
        short.record.pop();
        assert!(Receipt::decode(&short.encode()).is_err());
        let mut long = receipt;
        long.path = vec![Digest::ZERO; PATH_MAX + 1];
        assert!(Receipt::decode(&long.encode()).is_err());
    }
}
