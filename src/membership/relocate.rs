//! A member that is reached at another address.
//!
//! **Why a command.** The members' addresses stand in Raft's configuration, and the leader
//! connects to the others there: a node that moved cannot say so, since nobody hears it.
//! Promises: an address is changed only to one at which that member answers, on the disk that
//! the ledger knows, configured as the others, and only while no other process answers for it
//! at the old one; the leader uses it at once, whoever leads next from its first message. Who votes and learns stays. Nothing is put on record: evidence
//! names nodes by their keys. Leaves more moved nodes than the others can outvote to
//! an operator who brings one back.

use super::{ChangeSteps, MembershipChanges, done_at_once, under_way};
use crate::domain::call_error::CallError;
use crate::domain::draft::{self, bad};
use crate::domain::ids::NodeId;
use crate::raft::types::Peer;
use crate::status::peer_monitor::IncompatiblePeer;
use crate::transport::Destination;

impl MembershipChanges {
    /// Has everybody reach a member at these addresses.
    pub async fn relocate(
        &self,
        node: NodeId,
        address: String,
        client_address: String,
    ) -> Result<ChangeSteps, CallError> {
        draft::required("peer_address", &address)?;
        draft::required("client_address", &client_address)?;
        if !self.group().is_leader() {
            return Err(self.unavailable("only the leader changes the members"));
        }
        let Ok(_turn) = self.0.changing.clone().try_lock_owned() else {
            return Err(under_way());
        };
        if self.current().await?.mode.preparing.is_some() {
            return Err(under_way());
        }
        let Some(peer) = self.group().member(node) else {
            return Err(bad("node", format!("node {node} is no member")).into());
        };
        let moved = Peer {
            address: address.clone(),
            client_address,
            ..peer
        };
        // What a leader says of itself, only others could try.
        if node != self.group().node() {
            let to = Destination { node, address };
            match self.0.parts.peers.fits(&to).await {
                Ok(()) => self.must_be_at_one_place(&to, &peer.address).await?,
                Err(IncompatiblePeer::Away(failure)) => {
                    let why = format!("node {node} at {}: {failure}", to.address);
                    return Err(self.unavailable(why));
                }
                Err(incompatible) => {
                    let why = format!("{node} at {}: {incompatible}", to.address);
                    return Err(bad("node", why).into());
                }
            }
        }
        let detail = format!("node {node} is reached at {}", moved.address);
        let changed = self.group().set_address(node, moved).await;
        changed.map_err(|why| self.unavailable(why))?;
        Ok(done_at_once(detail))
    }

    /// One process may be reached at two addresses; two processes are a node and its copy.
    async fn must_be_at_one_place(&self, to: &Destination, old: &str) -> Result<(), CallError> {
        let before = Destination {
            node: to.node,
            address: old.to_owned(),
        };
        let peers = &self.0.parts.peers;
        let (Ok(before), Ok(now)) = (peers.measure(&before).await, peers.measure(to).await) else {
            return Ok(());
        };
        if before.identity.process == now.identity.process {
            return Ok(());
        }
        let why = format!(
            "another process answers for node {} at {old}: one is a copy; stop it first",
            to.node
        );
        Err(bad("node", why).into())
    }
}
