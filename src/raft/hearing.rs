//! Whom this node hears: the two ends of every frame, held against the members it knows.
//!
//! Promises: a frame that is meant for another node, or comes from a node that has left, is
//! refused whatever it says; so is one from a node that is no member, but for what a node
//! must hear to learn who the members are now; nobody speaks as another node. Why a frame
//! is not heard is a value, [`Unheard`]. Leaves proving that a number in a frame is its
//! sender's to the connection.

use super::group::RaftGroup;
use crate::domain::cause::Cause;
use crate::domain::ids::NodeId;
use crate::misconduct::Misdeed;
use crate::transport::{Failure, FrameEnds, Method};

/// Why what a peer says is not heard.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Unheard {
    #[error("this is node {own}, not node {meant}")]
    OtherNode { own: NodeId, meant: NodeId },
    #[error("node {0} has left this ledger")]
    Gone(NodeId),
    #[error("node {0} is no member of this ledger")]
    Stranger(NodeId),
    #[error("node {node} speaks as node {claimed}")]
    SpeaksAs { node: NodeId, claimed: NodeId },
    #[error("node {node} is on another disk than the ledger knows")]
    OtherDisk {
        node: NodeId,
        known: super::identity::Disk,
    },
    #[error("it cannot be told who speaks: {0}")]
    Unknown(#[source] Cause),
}

impl From<Unheard> for Failure {
    fn from(unheard: Unheard) -> Failure {
        Failure::Refused(Cause::new(unheard))
    }
}

/// Whether a method is heard from a node that is no member as far as this node knows. Raft
/// needs it: a node that was away while members came, or that is new, hears of them by the
/// votes, appends and snapshots of leaders that it does not know. A status is asked before
/// a founding or a join, and gives away nothing of the ledger. Word of the own disk comes
/// to a node whose disk is empty, which knows nobody; it needs a majority.
fn is_for_strangers(method: Method) -> bool {
    match method {
        Method::Vote
        | Method::PreVote
        | Method::Append
        | Method::Snapshot
        | Method::Status
        | Method::StrangeDisk => true,
        Method::TransferLeader
        | Method::ReadIndex
        | Method::Submit
        | Method::PutBody
        | Method::GetBody
        | Method::Cosign
        | Method::Note
        | Method::DivergenceNotice
        | Method::WantNote
        | Method::Durable
        | Method::Announce
        | Method::Promised
        | Method::ClockNotice => false,
    }
}

/// The rule; pure.
fn judge(
    own: NodeId,
    ends: FrameEnds,
    method: Method,
    is_member: impl Fn(NodeId) -> bool,
    gone: &[NodeId],
) -> Result<(), Unheard> {
    let FrameEnds { from, to } = ends;
    if to != own {
        return Err(Unheard::OtherNode { own, meant: to });
    }
    if from == own {
        // What this node says to itself goes over no line.
        return Err(Unheard::SpeaksAs {
            node: from,
            claimed: own,
        });
    }
    if gone.contains(&from) {
        return Err(Unheard::Gone(from));
    }
    match is_for_strangers(method) || is_member(from) {
        true => Ok(()),
        false => Err(Unheard::Stranger(from)),
    }
}

/// Whether `claimed`, which stands in what `from` says, is its own number.
fn own_number(from: NodeId, claimed: NodeId) -> Result<(), Unheard> {
    match from == claimed {
        true => Ok(()),
        false => Err(Unheard::SpeaksAs {
            node: from,
            claimed,
        }),
    }
}

impl Unheard {
    /// What no honest member is refused for. A node may be a member before this one hears of
    /// it, another's disk may be a restored copy, and an address may have passed on. Whoever
    /// speaks to this node under its own number has not said who it is.
    fn misdeed(&self) -> Option<(NodeId, Misdeed)> {
        match *self {
            Unheard::SpeaksAs { node, claimed } => {
                (node != claimed).then_some((node, Misdeed::SpokeAsAnother))
            }
            Unheard::Gone(node) => Some((node, Misdeed::SpokeAfterLeaving)),
            Unheard::Stranger(_)
            | Unheard::OtherNode { .. }
            | Unheard::OtherDisk { .. }
            | Unheard::Unknown(_) => None,
        }
    }
}

impl RaftGroup {
    /// Whether a frame of this method is heard, by the members as they are known here.
    pub fn hear(&self, ends: FrameEnds, method: Method) -> Result<(), Unheard> {
        let is_member = |node| self.member(node).is_some();
        let judged = judge(self.node(), ends, method, is_member, &self.roles().gone);
        judged.inspect_err(|unheard| self.note_unheard(unheard))
    }

    /// Whether `claimed`, which stands in what `from` says, is its own number.
    pub fn own_number(&self, from: NodeId, claimed: NodeId) -> Result<(), Unheard> {
        own_number(from, claimed).inspect_err(|unheard| self.note_unheard(unheard))
    }

    fn note_unheard(&self, unheard: &Unheard) {
        if let Some((node, misdeed)) = unheard.misdeed() {
            self.misconduct().saw(node, misdeed, unheard);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Node 1 hears; 2 and 3 are members with it, 4 has left, 9 was never one.
    fn heard(from: u64, to: u64, method: Method) -> Result<(), String> {
        let ends = FrameEnds {
            from: NodeId::new(from),
            to: NodeId::new(to),
        };
        let is_member = |node: NodeId| (1..=3).contains(&node.get());
        let judged = judge(NodeId::new(1), ends, method, is_member, &[NodeId::new(4)]);
        judged.map_err(|unheard| unheard.to_string())
    }

    #[test]
    fn members_are_heard_and_nobody_who_has_left() {
        for method in Method::ALL {
            assert_eq!(heard(2, 1, method), Ok(()), "{method:?}");
            let left = heard(4, 1, method).unwrap_err();
            assert!(left.contains("has left"), "{method:?}: {left}");
        }
    }

    #[test]
    fn a_frame_for_another_node_or_from_this_one_is_refused() {
        for method in Method::ALL {
            assert!(heard(2, 3, method).unwrap_err().contains("not node 3"));
            // An older build, or nobody's.
            assert!(heard(2, 0, method).is_err());
            assert!(heard(1, 1, method).is_err());
        }
    }

    /// A stranger gets no body and no read index, and has nothing recorded.
    #[test]
    fn a_stranger_is_heard_only_where_raft_needs_it() {
        let heard_of_9: Vec<Method> = Method::ALL
            .into_iter()
            .filter(|method| heard(9, 1, *method).is_ok())
            .collect();
        assert_eq!(
            heard_of_9,
            [
                Method::Vote,
                Method::PreVote,
                Method::Append,
                Method::Snapshot,
                Method::StrangeDisk,
                Method::Status
            ]
        );
    }
}
