//! A promise: a node's signed word that it will record a download whose bytes it sends.
//!
//! Promises: [`Promise::decode`] reads only what [`Promise::encode`] writes, and every
//! field has a limit. Carries the ledger's first record and its changes of keys so far, so
//! that origin and genesis alone pin it. Leaves verifying to [`crate::verify`], and
//! the question whether it was kept to whoever has a bundle.
//!
//! Tests: `evidence/tests/encodings.rs`.

use crate::codec::{DecodeError, Reader, Writer};
use crate::genesis::Genesis;
use crate::key::Signature;
use crate::opening::Opening;
use crate::parts::{read_opening, read_public, read_record, write_opening};
use crate::receipt::{KEYS_MAX, KeyRecord, RECEIPT_BYTES_MAX};
use crate::statement::Statement;

/// The first line of a promise file.
pub const MAGIC: &[u8] = b"muniment-promise/v2\n";

/// The most bytes of a promise file: what a receipt may have.
pub const PROMISE_BYTES_MAX: usize = RECEIPT_BYTES_MAX;

/// See FORMAT.md, "Promise file".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Promise {
    pub genesis: Genesis,
    /// OK KEY records that the node knew, in order. They have no path: a promise has no
    /// checkpoint, and endorsements tell which changes count.
    pub keys: Vec<KeyRecord>,
    pub statement: Statement,
    pub signature: Signature,
    /// What is promised to be recorded.
    pub document: Opening,
    /// Who asked.
    pub actor: Opening,
}

impl Promise {
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::new();
        w.raw(MAGIC);
        self.genesis.write(&mut w);
        w.list(&self.keys, |w, key| {
            w.bytes(&key.record).bytes(&key.opening);
        });
        w.raw(&self.statement.encode()).raw(&self.signature.0);
        write_opening(&mut w, &self.document);
        write_opening(&mut w, &self.actor);
        w.finish()
    }

    pub fn decode(bytes: &[u8]) -> Result<Promise, DecodeError> {
        let mut r = Reader::new(bytes);
        if bytes.len() > PROMISE_BYTES_MAX {
            return Err(r.error("a promise of at most 4 MiB"));
        }
        if !bytes.starts_with(MAGIC) {
            return Err(r.error("the line muniment-promise/v2"));
        }
        r.raw(MAGIC.len())?;
        let promise = Promise {
            genesis: Genesis::read(&mut r)?,
            keys: r.list(|r| {
                Ok(KeyRecord {
                    record: read_record(r)?,
                    opening: read_public(r)?,
                    path: Vec::new(),
                })
            })?,
            statement: Statement::decode(r.raw(Statement::LENGTH)?)?,
            signature: Signature(r.array()?),
            document: read_opening(&mut r)?,
            actor: read_opening(&mut r)?,
        };
        if promise.keys.len() > KEYS_MAX {
            return Err(r.error("at most 1024 KEY records"));
        }
        r.end()?;
        Ok(promise)
    }
}
