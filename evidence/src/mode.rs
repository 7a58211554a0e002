//! What a MODE record says: a change of the members is prepared, done, or given up.
//!
//! Promises one encoding. Voters change in steps that are all on record: PREPARE names the
//! target, DONE says that the members are the target, ABORT that they stay what they were.
//! Leaves the rules (who may be a target, one change at a time) to the ledger.

use crate::codec::{DecodeError, Reader, Writer};
use crate::codes::coded;
use crate::endorsement::{Endorsable, Endorsements};
use crate::ids::{NodeId, RecordIndex};
use crate::opening::begin;
use crate::statement::Kind;
use crate::system::write_nodes;

coded! {
    /// A step of a change.
    pub enum Phase {
        /// From here on bodies and records are brought to who comes in.
        Prepare = 1 "PREPARE",
        /// The members are the target.
        Done = 2 "DONE",
        /// The members stay what they were.
        Abort = 3 "ABORT",
    }
}

/// The document opening of a MODE record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModeDocument {
    pub phase: Phase,
    /// Counts the changes that were prepared, from 0; the same in all steps of one.
    pub number: u64,
    pub voters: Vec<NodeId>,
    /// Learners that count for the levels ALL and REGIONS.
    pub sync_learners: Vec<NodeId>,
    /// Learners that count for no level.
    pub async_learners: Vec<NodeId>,
    /// Index of the PREPARE record; absent in itself.
    pub prepared: Option<RecordIndex>,
    /// In words: what an operator asked for, or why it was given up.
    pub reason: String,
    /// Of an operator who wills it: of a PREPARE, where the ledger has operator keys. Whoever
    /// carries it through says how it ended.
    pub order: Option<Endorsements>,
}

impl Endorsable for ModeDocument {
    fn unendorsed(&self) -> Vec<u8> {
        let mut w = begin(Kind::Mode);
        self.write_unendorsed(&mut w);
        w.finish()
    }
}

impl ModeDocument {
    pub(crate) fn write(&self, w: &mut Writer) {
        self.write_unendorsed(w);
        w.option(self.order.as_ref(), |w, order| order.write(w));
    }

    fn write_unendorsed(&self, w: &mut Writer) {
        w.u8(self.phase as u8).u64(self.number);
        write_nodes(w, &self.voters);
        write_nodes(w, &self.sync_learners);
        write_nodes(w, &self.async_learners);
        w.option(self.prepared.as_ref(), |w, index| {
            w.u64(index.get());
        });
        w.text(&self.reason);
    }

    pub(crate) fn read(r: &mut Reader<'_>) -> Result<ModeDocument, DecodeError> {
        let document = ModeDocument {
            phase: Phase::from_code(r.u8()?).ok_or_else(|| r.error("a phase of a change"))?,
            number: r.u64()?,
            voters: r.list(NodeId::read)?,
            sync_learners: r.list(NodeId::read)?,
            async_learners: r.list(NodeId::read)?,
            prepared: r.option(RecordIndex::read)?,
            reason: r.text()?,
            order: r.option(Endorsements::read)?,
        };
        if document.prepared.is_some() != (document.phase != Phase::Prepare) {
            return Err(r.error("the index of the PREPARE in DONE and ABORT, and there alone"));
        }
        if document.order.is_some() && document.phase != Phase::Prepare {
            return Err(r.error("an order in PREPARE alone"));
        }
        Ok(document)
    }
}
