//! The roles of the members, and the change of them that is in preparation: one row.
//!
//! Promises that what is asked for can be compared with what is in force. Leaves what may
//! follow on what to [`super::membership`].

use super::rows::{Row, VotersRow};
use crate::domain::ids::{NodeId, RecordIndex};
use muniment_evidence::codec::{DecodeError, Reader, Writer};
use muniment_evidence::limits::NODES_MAX;
use muniment_evidence::opening::ModeDocument;
use std::collections::BTreeSet;

/// The members as changes leave them: one row.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct ModeRow {
    /// The number of the next change.
    pub next: u64,
    pub sync_learners: Vec<NodeId>,
    pub async_learners: Vec<NodeId>,
    /// Nodes that have left; their ids are not taken back.
    pub gone: Vec<NodeId>,
    pub preparing: Option<Preparing>,
}

/// A change between PREPARE and DONE or ABORT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preparing {
    pub number: u64,
    /// Index of the PREPARE record.
    pub index: RecordIndex,
    /// The voters that it began from.
    pub from: Vec<NodeId>,
    pub target: Target,
}

/// Who is to be what.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Target {
    pub voters: Vec<NodeId>,
    pub sync_learners: Vec<NodeId>,
    pub async_learners: Vec<NodeId>,
}

impl Preparing {
    /// Who leaves by it, of those who had these roles when it began.
    pub fn leaving(&self, roles: &ModeRow) -> BTreeSet<NodeId> {
        let learned = roles.sync_learners.iter().chain(&roles.async_learners);
        let before: BTreeSet<NodeId> = self.from.iter().chain(learned).copied().collect();
        let after: BTreeSet<NodeId> = self.target.nodes().collect();
        before.difference(&after).copied().collect()
    }
}

impl Target {
    pub(super) fn of(document: &ModeDocument) -> Target {
        Target {
            voters: document.voters.clone(),
            sync_learners: document.sync_learners.clone(),
            async_learners: document.async_learners.clone(),
        }
    }

    /// Everybody named, in no order.
    pub fn nodes(&self) -> impl Iterator<Item = NodeId> + '_ {
        let learners = self.sync_learners.iter().chain(&self.async_learners);
        self.voters.iter().chain(learners).copied()
    }

    /// Some voter, and nobody twice.
    pub(super) fn is_proper(&self) -> bool {
        let (all, once): (Vec<NodeId>, BTreeSet<NodeId>) =
            (self.nodes().collect(), self.nodes().collect());
        !self.voters.is_empty() && all.len() == once.len() && all.len() <= NODES_MAX
    }

    /// Whether these are the voters in force, in one set.
    pub fn is_in_force(&self, voters: &VotersRow) -> bool {
        is_only(voters, &self.voters)
    }
}

/// Whether the voters in force are one set, and this one.
pub fn is_only(voters: &VotersRow, wanted: &[NodeId]) -> bool {
    let set = |nodes: &[NodeId]| nodes.iter().copied().collect::<BTreeSet<NodeId>>();
    matches!(&voters.0[..], [only] if set(only) == set(wanted))
}

fn write_nodes(w: &mut Writer, nodes: &[NodeId]) {
    w.list(nodes, |w, node| {
        w.u64(node.get());
    });
}

impl Row for ModeRow {
    fn write(&self, w: &mut Writer) {
        w.u8(1).u64(self.next);
        write_nodes(w, &self.sync_learners);
        write_nodes(w, &self.async_learners);
        write_nodes(w, &self.gone);
        w.option(self.preparing.as_ref(), |w, p| {
            w.u64(p.number).u64(p.index.get());
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
            sync_learners: r.list(NodeId::read)?,
            async_learners: r.list(NodeId::read)?,
            gone: r.list(NodeId::read)?,
            preparing: r.option(|r| {
                Ok(Preparing {
                    number: r.u64()?,
                    index: RecordIndex::read(r)?,
                    from: r.list(NodeId::read)?,
                    target: Target {
                        voters: r.list(NodeId::read)?,
                        sync_learners: r.list(NodeId::read)?,
                        async_learners: r.list(NodeId::read)?,
                    },
                })
            })?,
        })
    }
}
