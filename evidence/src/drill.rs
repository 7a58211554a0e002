//! The document of a DRILL record: what was broken on purpose, and how long what took.
//!
//! Promises one encoding, as in [`crate::opening`]. A system kind: public, and without any
//! tenant's data. Leaves measuring to the program that held the drill; the record shows
//! that it was held, when, and what its operator says of it.

use crate::codec::{DecodeError, Reader, Writer};
use crate::ids::NodeId;
use crate::system::write_nodes;

/// The tenant of a drill's own writes, which every ledger has: probes, and nobody's invoices.
/// They are kept apart by that name wherever invoices are listed or counted.
pub const DRILL_TENANT: &str = "drill";

/// How long a read level was without a good answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadGap {
    /// Such as `linearizable` or `local`.
    pub level: String,
    /// The longest time between two good reads from the stop on; absent where it was the
    /// pace of the load.
    pub gap_ms: Option<u64>,
}

/// What a drill came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DrillDocument {
    /// `leader`, `zone` or `node`.
    pub target: String,
    /// `crash` or `pause`.
    pub mode: String,
    /// The nodes that were stopped.
    pub nodes: Vec<NodeId>,
    /// The write level of the load, such as `zones:2`.
    pub write_level: String,
    /// Writes acknowledged during the drill.
    pub acknowledged: u64,
    /// Of these, how many could not be read back afterwards.
    pub missing: u64,
    /// The longest time between two acknowledged writes from the stop on; absent where it
    /// was the pace of the load.
    pub write_gap_ms: Option<u64>,
    pub reads: Vec<ReadGap>,
}

impl DrillDocument {
    pub(crate) fn write(&self, w: &mut Writer) {
        w.text(&self.target).text(&self.mode);
        write_nodes(w, &self.nodes);
        w.text(&self.write_level);
        w.u64(self.acknowledged).u64(self.missing);
        w.option(self.write_gap_ms.as_ref(), |w, ms| {
            w.u64(*ms);
        });
        w.list(&self.reads, |w, read| {
            w.text(&read.level).option(read.gap_ms.as_ref(), |w, ms| {
                w.u64(*ms);
            });
        });
    }

    pub(crate) fn read(r: &mut Reader<'_>) -> Result<DrillDocument, DecodeError> {
        Ok(DrillDocument {
            target: r.text()?,
            mode: r.text()?,
            nodes: r.list(NodeId::read)?,
            write_level: r.text()?,
            acknowledged: r.u64()?,
            missing: r.u64()?,
            write_gap_ms: r.option(Reader::u64)?,
            reads: r.list(|r| {
                Ok(ReadGap {
                    level: r.text()?,
                    gap_ms: r.option(Reader::u64)?,
                })
            })?,
        })
    }
}
