//! What an operator's wish comes to: who votes and who learns afterwards. Pure.
//!
//! Promises: a target is made of nodes that the ledger knows and that never left; a new
//! voter has learned and booted before; what cannot be is refused with what to do instead.
//! Leaves to [`crate::objective::layout`] whether the target keeps what was promised.

use super::accepted::Accepted;
use crate::domain::call_error::CallError;
use crate::domain::draft::bad;
use crate::domain::ids::NodeId;
use crate::ledger::roles::{ModeRow, Target};
use crate::ledger::rows::NodeRow;
use crate::objective::write::{LevelMember, MemberRole};
use muniment_evidence::mode::Phase;
use muniment_evidence::opening::ModeDocument;
use std::collections::{BTreeMap, BTreeSet};

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// A further node learns, or a learner counts for more or less.
    Add { node: NodeId, sync: bool },
    /// A learner votes.
    Promote(NodeId),
    /// A member leaves, for good.
    Remove(NodeId),
    /// A learner votes in the place of a voter, which leaves for good.
    Replace { old: NodeId, new: NodeId },
}

/// A change, and what is accepted that it costs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub wish: Wish,
    pub accepted: Accepted,
}

/// At no cost.
impl From<Wish> for Wanted {
    fn from(wish: Wish) -> Wanted {
        Wanted {
            wish,
            accepted: Accepted::default(),
        }
    }
}

impl Wanted {
    /// The first step of the change, as it will be on record.
    pub fn prepare(&self, number: u64, target: &Target) -> ModeDocument {
        ModeDocument {
            phase: Phase::Prepare,
            number,
            voters: target.voters.clone(),
            sync_learners: target.sync_learners.clone(),
            async_learners: target.async_learners.clone(),
            prepared: None,
            reason: self.accepted.reason(self.wish.describe()),
            order: None,
        }
    }
}

/// The members as they are.
#[derive(Clone, Debug, Default)]
pub struct CurrentMembers {
    pub voters: Vec<NodeId>,
    pub mode: ModeRow,
    /// Nodes that Raft replicates to.
    pub replicated: BTreeSet<NodeId>,
    /// Nodes whose keys the ledger names.
    pub known: BTreeMap<NodeId, NodeRow>,
}

impl Wish {
    /// The node that has to give up leadership before, if it leads.
    pub fn leaves(&self) -> Option<NodeId> {
        match *self {
            Wish::Remove(node) | Wish::Replace { old: node, .. } => Some(node),
            Wish::Add { .. } | Wish::Promote(_) => None,
        }
    }

    /// In words, for the record.
    pub fn describe(&self) -> String {
        match self {
            Wish::Add { node, sync: true } => format!("add node {node} as a sync learner"),
            Wish::Add { node, sync: false } => format!("add node {node} as an async learner"),
            Wish::Promote(node) => format!("promote node {node}"),
            Wish::Remove(node) => format!("remove node {node}"),
            Wish::Replace { old, new } => format!("replace node {old} by node {new}"),
        }
    }

    pub fn target(&self, now: &CurrentMembers) -> Result<Target, CallError> {
        let mut target = now.roles();
        match *self {
            Wish::Add { node, sync } => {
                now.may_join(node)?;
                if now.voters.contains(&node) {
                    return Err(bad("node", format!("{node} is a voter")).into());
                }
                let same = match sync {
                    true => &now.mode.sync_learners,
                    false => &now.mode.async_learners,
                };
                if same.contains(&node) {
                    return Err(bad("node", format!("{node} learns like that already")).into());
                }
                target.drop(node);
                match sync {
                    true => target.sync_learners.push(node),
                    false => target.async_learners.push(node),
                }
            }
            Wish::Promote(node) => {
                now.may_vote("node", node)?;
                target.drop(node);
                target.voters.push(node);
            }
            Wish::Remove(node) => {
                now.must_be_member("node", node)?;
                target.drop(node);
            }
            Wish::Replace { old, new } => {
                if !now.voters.contains(&old) {
                    return Err(bad("old", format!("node {old} is no voter")).into());
                }
                now.may_vote("new", new)?;
                target.drop(old);
                target.drop(new);
                target.voters.push(new);
            }
        }
        target.voters.sort_unstable();
        Ok(target)
    }
}

impl CurrentMembers {
    /// Who is what now.
    pub fn roles(&self) -> Target {
        Target {
            voters: self.voters.clone(),
            sync_learners: self.mode.sync_learners.clone(),
            async_learners: self.mode.async_learners.clone(),
        }
    }

    fn may_join(&self, node: NodeId) -> Result<(), CallError> {
        if self.mode.gone.contains(&node) {
            let why = format!("{node} has left the ledger: ids are not taken back, use another");
            return Err(bad("node", why).into());
        }
        if !self.known.contains_key(&node) {
            let why = format!(
                "{node} has no keys in the ledger; on that node: muniment keys draft --add \
                 statement:FILE:{node} --add cosignature:FILE:{node} --region R --zone Z"
            );
            return Err(bad("node", why).into());
        }
        Ok(())
    }

    fn is_member(&self, node: NodeId) -> bool {
        let learners = self
            .mode
            .sync_learners
            .iter()
            .chain(&self.mode.async_learners);
        self.voters.iter().chain(learners).any(|n| *n == node)
    }

    fn must_be_member(&self, field: &str, node: NodeId) -> Result<(), CallError> {
        match self.is_member(node) {
            true => Ok(()),
            false => Err(bad(field, format!("node {node} is no member")).into()),
        }
    }

    fn may_vote(&self, field: &str, node: NodeId) -> Result<(), CallError> {
        if self.voters.contains(&node) {
            return Err(bad(field, format!("node {node} is a voter already")).into());
        }
        let not_now = |reason, detail| Err(CallError::NotNow { reason, detail });
        if !self.is_member(node) || !self.replicated.contains(&node) {
            let why = format!("node {node} does not learn yet: add it first");
            return not_now("NOT_LEARNING", why);
        }
        if self.known.get(&node).is_none_or(|row| row.boot.is_none()) {
            let why = format!("node {node} has not booted yet: wait until it is ready");
            return not_now("NOT_BOOTED", why);
        }
        Ok(())
    }

    /// The members in these roles, as layouts see them.
    pub fn with(&self, target: &Target) -> Vec<LevelMember> {
        let of = |nodes: &[NodeId], role| {
            let known = nodes.iter().filter_map(|node| {
                let row = self.known.get(node)?;
                Some(LevelMember {
                    node: *node,
                    zone: row.zone.clone(),
                    region: row.region.clone(),
                    role,
                })
            });
            known.collect::<Vec<_>>()
        };
        let mut members = of(&target.voters, MemberRole::Voter);
        members.extend(of(&target.sync_learners, MemberRole::SyncLearner));
        members.extend(of(&target.async_learners, MemberRole::AsyncLearner));
        members
    }
}

impl Target {
    fn drop(&mut self, node: NodeId) {
        for list in [
            &mut self.voters,
            &mut self.sync_learners,
            &mut self.async_learners,
        ] {
            list.retain(|n| *n != node);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::RecordIndex;
    use muniment_evidence::key::PublicKey;

    fn now() -> CurrentMembers {
        let row = |node: u64, boot| NodeRow {
            region: "r".into(),
            zone: format!("z{node}"),
            statement_key: PublicKey([0; 32]),
            boot,
            incarnation: [0; 16],
        };
        CurrentMembers {
            voters: [1, 2, 3].map(NodeId::new).to_vec(),
            mode: ModeRow {
                sync_learners: vec![NodeId::new(4)],
                async_learners: vec![NodeId::new(5)],
                gone: vec![NodeId::new(9)],
                ..ModeRow::default()
            },
            replicated: (1..=5).map(NodeId::new).collect(),
            known: (1..=6)
                .map(|n| {
                    (
                        NodeId::new(n),
                        row(n, (n != 5).then_some(RecordIndex::new(n))),
                    )
                })
                .collect(),
        }
    }

    fn nodes(ids: &[u64]) -> Vec<NodeId> {
        ids.iter().copied().map(NodeId::new).collect()
    }

    fn target(voters: &[u64], sync: &[u64], asyn: &[u64]) -> Target {
        Target {
            voters: nodes(voters),
            sync_learners: nodes(sync),
            async_learners: nodes(asyn),
        }
    }

    #[test]
    fn a_wish_comes_to_a_target() {
        let now = now();
        let comes_to = |wish: Wish, wanted: Target| assert_eq!(wish.target(&now), Ok(wanted));
        let add = Wish::Add {
            node: NodeId::new(6),
            sync: false,
        };
        comes_to(add, target(&[1, 2, 3], &[4], &[5, 6]));
        // An operator turns a sync learner async, and back.
        let turn = Wish::Add {
            node: NodeId::new(4),
            sync: false,
        };
        comes_to(turn, target(&[1, 2, 3], &[], &[5, 4]));
        comes_to(
            Wish::Promote(NodeId::new(4)),
            target(&[1, 2, 3, 4], &[], &[5]),
        );
        comes_to(Wish::Remove(NodeId::new(2)), target(&[1, 3], &[4], &[5]));
        comes_to(Wish::Remove(NodeId::new(5)), target(&[1, 2, 3], &[4], &[]));
        let replace = Wish::Replace {
            old: NodeId::new(3),
            new: NodeId::new(4),
        };
        comes_to(replace, target(&[1, 2, 4], &[], &[5]));
        assert_eq!(replace.leaves(), Some(NodeId::new(3)));
    }

    #[test]
    fn what_cannot_be_is_refused_with_what_to_do() {
        let now = now();
        let refused = |wish: Wish, with: &str| {
            let why = wish.target(&now).unwrap_err().to_string();
            assert!(why.contains(with), "{why}");
        };
        refused(
            Wish::Add {
                node: NodeId::new(7),
                sync: true,
            },
            "keys draft",
        );
        refused(
            Wish::Add {
                node: NodeId::new(9),
                sync: true,
            },
            "not taken back",
        );
        refused(
            Wish::Add {
                node: NodeId::new(1),
                sync: true,
            },
            "voter",
        );
        refused(
            Wish::Add {
                node: NodeId::new(4),
                sync: true,
            },
            "already",
        );
        refused(Wish::Promote(NodeId::new(6)), "add it first");
        refused(Wish::Promote(NodeId::new(5)), "has not booted");
        // These pass with time: not the caller's mistake.
        let not_now = |wish: Wish, reason: &str| match wish.target(&now) {
            Err(CallError::NotNow { reason: why, .. }) => assert_eq!(why, reason),
            other => panic!("{other:?}"),
        };
        not_now(Wish::Promote(NodeId::new(6)), "NOT_LEARNING");
        not_now(Wish::Promote(NodeId::new(5)), "NOT_BOOTED");
        refused(Wish::Promote(NodeId::new(1)), "voter already");
        refused(Wish::Remove(NodeId::new(6)), "no member");
        refused(
            Wish::Replace {
                old: NodeId::new(4),
                new: NodeId::new(5),
            },
            "no voter",
        );
    }
}
