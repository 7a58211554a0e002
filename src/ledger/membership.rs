//! MODE: who votes and who learns, changed one step at a time (I8).
//!
//! Promises: one change is in preparation at a time; its target is made of nodes that the
//! ledger knows and that never left it, and its new voters have booted; DONE is taken only
//! while the voters in force are the target, in one set; ABORT only while they are what
//! they were. Leaves carrying bodies and records to who comes in, and Raft's own change,
//! to `service/`.

use super::founding::node_key;
use super::rows::{NodeRow, Row, VotersRow};
use super::txn::Txn;
use crate::store::Error;
use crate::store::keys::{StateKey, Table};
use muniment_evidence::codec::{DecodeError, Reader, Writer};
use muniment_evidence::mode::Phase;
use muniment_evidence::opening::ModeDocument;
use muniment_evidence::record::{Outcome, Reason};
use std::collections::BTreeSet;

/// Nodes of one list: each of them is replicated to, so they are few.
const NODES_MAX: usize = 64;

/// The members as changes leave them: one row.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct ModeRow {
    /// The number of the next change.
    pub next: u64,
    pub sync_learners: Vec<u64>,
    pub async_learners: Vec<u64>,
    /// Nodes that have left; their ids are not taken back.
    pub gone: Vec<u64>,
    pub preparing: Option<Preparing>,
}

/// A change between PREPARE and DONE or ABORT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preparing {
    pub number: u64,
    /// Index of the PREPARE record.
    pub index: u64,
    /// The voters that it began from.
    pub from: Vec<u64>,
    pub target: Target,
}

/// Who is to be what.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Target {
    pub voters: Vec<u64>,
    pub sync_learners: Vec<u64>,
    pub async_learners: Vec<u64>,
}

impl Target {
    fn of(document: &ModeDocument) -> Target {
        Target {
            voters: document.voters.clone(),
            sync_learners: document.sync_learners.clone(),
            async_learners: document.async_learners.clone(),
        }
    }

    /// Everybody named, in no order.
    pub fn nodes(&self) -> impl Iterator<Item = u64> + '_ {
        let learners = self.sync_learners.iter().chain(&self.async_learners);
        self.voters.iter().chain(learners).copied()
    }

    /// Some voter, and nobody twice.
    fn is_proper(&self) -> bool {
        let (all, once): (Vec<u64>, BTreeSet<u64>) =
            (self.nodes().collect(), self.nodes().collect());
        !self.voters.is_empty() && all.len() == once.len() && all.len() <= NODES_MAX
    }

    /// Whether these are the voters in force, in one set.
    pub fn is_in_force(&self, voters: &VotersRow) -> bool {
        is_only(voters, &self.voters)
    }
}

/// Whether the voters in force are one set, and this one.
pub fn is_only(voters: &VotersRow, wanted: &[u64]) -> bool {
    let set = |nodes: &[u64]| nodes.iter().copied().collect::<BTreeSet<u64>>();
    matches!(&voters.0[..], [only] if set(only) == set(wanted))
}

pub fn mode_key() -> Vec<u8> {
    StateKey::of(Table::Mode).build()
}

pub(super) fn roles(txn: &Txn<'_>) -> Result<ModeRow, Error> {
    Ok(txn.row(&mode_key())?.unwrap_or_default())
}

pub(super) fn mode(
    txn: &mut Txn<'_>,
    document: &ModeDocument,
    index: u64,
) -> Result<Outcome, Error> {
    let mut row = roles(txn)?;
    let voters: VotersRow = txn.row(&super::apply::voters_key())?.unwrap_or_default();
    let refused = match document.phase {
        Phase::Prepare => prepare(txn, document, index, &voters, &mut row)?,
        Phase::Done | Phase::Abort => conclude(document, &voters, &mut row),
    };
    if let Some(reason) = refused {
        return Ok(Outcome::Refused(reason));
    }
    txn.put_row(mode_key(), &row);
    Ok(Outcome::Ok)
}

/// Why the change may not begin, if it may not.
fn prepare(
    txn: &Txn<'_>,
    document: &ModeDocument,
    index: u64,
    voters: &VotersRow,
    row: &mut ModeRow,
) -> Result<Option<Reason>, Error> {
    let [from] = &voters.0[..] else {
        return Ok(Some(Reason::NotDue));
    };
    if row.preparing.is_some() || document.number != row.next {
        return Ok(Some(Reason::NotDue));
    }
    let target = Target::of(document);
    if !target.is_proper() {
        return Ok(Some(Reason::Malformed));
    }
    for node in target.nodes() {
        let Some(known) = txn.row::<NodeRow>(&node_key(node))? else {
            return Ok(Some(Reason::NotFound));
        };
        let comes_in = target.voters.contains(&node) && !from.contains(&node);
        if row.gone.contains(&node) || (comes_in && known.boot.is_none()) {
            return Ok(Some(Reason::NotFound));
        }
    }
    row.preparing = Some(Preparing {
        number: document.number,
        index,
        from: from.clone(),
        target,
    });
    row.next += 1;
    Ok(None)
}

/// Why the change may not end so, if it may not.
fn conclude(document: &ModeDocument, voters: &VotersRow, row: &mut ModeRow) -> Option<Reason> {
    let Some(preparing) = row.preparing.take() else {
        return Some(Reason::NotDue);
    };
    let same = preparing.number == document.number
        && Some(preparing.index) == document.prepared
        && preparing.target == Target::of(document);
    if !same {
        return Some(Reason::NotDue);
    }
    if document.phase == Phase::Abort {
        return (!is_only(voters, &preparing.from)).then_some(Reason::NotDue);
    }
    if !preparing.target.is_in_force(voters) {
        return Some(Reason::NotDue);
    }
    let learned = row.sync_learners.iter().chain(&row.async_learners);
    let before: BTreeSet<u64> = preparing.from.iter().chain(learned).copied().collect();
    let after: BTreeSet<u64> = preparing.target.nodes().collect();
    row.gone.extend(before.difference(&after));
    row.sync_learners = preparing.target.sync_learners;
    row.async_learners = preparing.target.async_learners;
    None
}

fn write_nodes(w: &mut Writer, nodes: &[u64]) {
    w.list(nodes, |w, node| {
        w.u64(*node);
    });
}

impl Row for ModeRow {
    fn write(&self, w: &mut Writer) {
        w.u8(1).u64(self.next);
        write_nodes(w, &self.sync_learners);
        write_nodes(w, &self.async_learners);
        write_nodes(w, &self.gone);
        w.option(self.preparing.as_ref(), |w, p| {
            w.u64(p.number).u64(p.index);
            write_nodes(w, &p.from);
            write_nodes(w, &p.target.voters);
            write_nodes(w, &p.target.sync_learners);
            write_nodes(w, &p.target.async_learners);
        });
    }

    fn read(r: &mut Reader<'_>) -> Result<ModeRow, DecodeError> {
        if r.u8()? != 1 {
            return Err(r.error("mode row version 1"));
        }
        Ok(ModeRow {
            next: r.u64()?,
            sync_learners: r.list(Reader::u64)?,
            async_learners: r.list(Reader::u64)?,
            gone: r.list(Reader::u64)?,
            preparing: r.option(|r| {
                Ok(Preparing {
                    number: r.u64()?,
                    index: r.u64()?,
                    from: r.list(Reader::u64)?,
                    target: Target {
                        voters: r.list(Reader::u64)?,
                        sync_learners: r.list(Reader::u64)?,
                        async_learners: r.list(Reader::u64)?,
                    },
                })
            })?,
        })
    }
}
