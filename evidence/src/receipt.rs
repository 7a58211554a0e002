//! A receipt: everything needed to check one record offline, for ever.
//!
//! Promises: [`Receipt::decode`] reads only what [`Receipt::encode`] writes, and every
//! field has a limit. Carries the ledger's first record and every change of its keys, so
//! that origin and genesis alone pin it. Leaves verifying to [`crate::verify`].
//!
//! Tests: `evidence/tests/encodings.rs`.

use crate::codec::{DecodeError, Reader, Writer};
use crate::digest::Digest;
use crate::genesis::Genesis;
use crate::opening::Opening;
pub use crate::parts::{OPENING_BYTES_MAX, PATH_MAX};
use crate::parts::{
    read_digests, read_note, read_opening, read_public, read_record, write_digests, write_opening,
};

/// The first line of a receipt file.
pub const MAGIC: &[u8] = b"muniment-receipt/v2\n";

/// The most bytes of a receipt file: three openings, a note, and room for the rest.
pub const RECEIPT_BYTES_MAX: usize = 4 * OPENING_BYTES_MAX;

/// The most KEY records of one receipt or bundle: two changes a week for ten years.
pub const KEYS_MAX: usize = 1024;

/// A KEY record with its public opening, proven to be in the tree of the evidence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRecord {
    /// The raw bytes of the record.
    pub record: Vec<u8>,
    /// The encoding of a [`crate::opening::Document::Key`]; its salt is zero.
    pub opening: Vec<u8>,
    /// From the leaf's sibling up to the root's child.
    pub path: Vec<Digest>,
}

/// The last record under a checkpoint, which counts the KEY records before it: none can be
/// left out of what is shown beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastRecord {
    /// The raw bytes of the record.
    pub record: Vec<u8>,
    /// From the leaf's sibling up to the root's child.
    pub path: Vec<Digest>,
}

/// See FORMAT.md, "Receipt".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    pub genesis: Genesis,
    /// Every OK KEY record below the checkpoint's size, in order.
    pub keys: Vec<KeyRecord>,
    /// The raw bytes of the record that this receipt is about.
    pub record: Vec<u8>,
    /// What was done; `None` when it was erased or is withheld.
    pub document: Option<Opening>,
    /// Who asked; `None` when it was erased or is withheld.
    pub actor: Option<Opening>,
    /// From the leaf's sibling up to the root's child.
    pub path: Vec<Digest>,
    /// The last record under the checkpoint; `None` where this receipt is about that one.
    pub last: Option<LastRecord>,
    /// The signed note over the tree's head.
    pub checkpoint: String,
}

impl Receipt {
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::new();
        w.raw(MAGIC);
        self.genesis.write(&mut w);
        w.list(&self.keys, |w, key| key.write(w));
        w.bytes(&self.record);
        w.option(self.document.as_ref(), write_opening);
        w.option(self.actor.as_ref(), write_opening);
        write_digests(&mut w, &self.path);
        w.option(self.last.as_ref(), |w, last| last.write(w));
        w.text(&self.checkpoint);
        w.finish()
    }

    pub fn decode(bytes: &[u8]) -> Result<Receipt, DecodeError> {
        let mut r = Reader::new(bytes);
        if bytes.len() > RECEIPT_BYTES_MAX {
            return Err(r.error("a receipt of at most 4 MiB"));
        }
        if !bytes.starts_with(MAGIC) {
            return Err(r.error("the line muniment-receipt/v2"));
        }
        r.raw(MAGIC.len())?;
        let receipt = Receipt {
            genesis: Genesis::read(&mut r)?,
            keys: r.list(KeyRecord::read)?,
            record: read_record(&mut r)?,
            document: r.option(read_opening)?,
            actor: r.option(read_opening)?,
            path: read_digests(&mut r)?,
            last: r.option(LastRecord::read)?,
            checkpoint: read_note(&mut r)?,
        };
        if receipt.keys.len() > KEYS_MAX {
            return Err(r.error("at most 1024 KEY records"));
        }
        r.end()?;
        Ok(receipt)
    }
}

impl Receipt {
    /// The three lines that the signatures of the checkpoint sign.
    pub fn checkpoint_text(&self) -> &str {
        let end = self.checkpoint.rfind("\n\n").map_or(0, |at| at + 1);
        &self.checkpoint[..end]
    }
}

impl LastRecord {
    pub(crate) fn write(&self, w: &mut Writer) {
        w.bytes(&self.record);
        write_digests(w, &self.path);
    }

    pub(crate) fn read(r: &mut Reader<'_>) -> Result<LastRecord, DecodeError> {
        Ok(LastRecord {
            record: read_record(r)?,
            path: read_digests(r)?,
        })
    }
}

impl KeyRecord {
    pub(crate) fn write(&self, w: &mut Writer) {
        w.bytes(&self.record).bytes(&self.opening);
        write_digests(w, &self.path);
    }

    pub(crate) fn read(r: &mut Reader<'_>) -> Result<KeyRecord, DecodeError> {
        Ok(KeyRecord {
            record: read_record(r)?,
            opening: read_public(r)?,
            path: read_digests(r)?,
        })
    }
}
