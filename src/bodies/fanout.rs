//! One body to several peers at once, and their holdings back.
//!
//! Promises: members of this node's region get the body from here, those of any other
//! region through one of them, the relay, so that a body crosses to a region once; a peer
//! that stalls is given up without holding up the others; holdings are told as they come.
//! Which member relays changes from body to body, so that a retry finds another. Leaves
//! deciding on holdings to whoever asked.

use super::Bodies;
use super::frames::BodyHeader;
use super::queue::{IngestPermit, PeerQueue};
use crate::domain::cause::Cause;
use crate::domain::ids::{BodyId, NodeId};
use crate::raft::types::Peer;
use crate::transport::{Class, Destination, Failure, Frames, Method};
use bytes::Bytes;
use futures::stream::StreamExt as _;
use muniment_evidence::opening::Holding;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::mpsc;

/// A holding must come within this time after the last frame was taken.
pub const HOLDING_MAX: Duration = Duration::from_secs(20);
/// Holdings and ends that may wait to be looked at: a few per member.
const REPORTS_AHEAD: usize = 64;

/// A peer that is sent the body, and those that it is to pass it on to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FanoutRoute {
    pub node: NodeId,
    pub address: String,
    pub relays: Vec<NodeId>,
}

/// Who is sent a body by whom: pure.
pub fn routes(
    own: NodeId,
    region: &str,
    members: &BTreeMap<NodeId, Peer>,
    body: &BodyId,
) -> Vec<FanoutRoute> {
    let mut by_region: BTreeMap<&str, Vec<(NodeId, &Peer)>> = BTreeMap::new();
    for (node, peer) in members.iter().filter(|(node, _)| **node != own) {
        let there = by_region.entry(&peer.region).or_default();
        there.push((*node, peer));
    }
    let mut routes = Vec::new();
    for (there, peers) in by_region {
        let direct = |(node, peer): &(NodeId, &Peer), relays| FanoutRoute {
            node: *node,
            address: peer.address.clone(),
            relays,
        };
        if there == region {
            routes.extend(peers.iter().map(|peer| direct(peer, Vec::new())));
            continue;
        }
        // The last byte of a UUIDv7 is random.
        let chosen = usize::from(body.as_bytes()[15]) % peers.len();
        let others = peers.iter().map(|(node, _)| *node);
        let others = others.filter(|node| *node != peers[chosen].0);
        routes.push(direct(&peers[chosen], others.collect()));
    }
    routes
}

enum Report {
    Holding(NodeId, Box<Holding>),
    /// No more comes from this peer.
    Ended(NodeId, Option<Failure>),
}

/// See the module. Dropped before its end, it leaves nothing at the peers.
pub struct Fanout {
    /// Those that are still sent to.
    peers: Vec<PeerQueue>,
    reports: mpsc::Receiver<Report>,
    /// Peers whose answer has not ended.
    open: usize,
}

/// What came back.
#[derive(Debug)]
pub enum FanoutAnswer {
    /// By way of a node: its own, or of one that it relays to.
    Holding {
        via: NodeId,
        holding: Box<Holding>,
    },
    Failed {
        via: NodeId,
        failure: Failure,
    },
}

impl Bodies {
    /// Begins to send a body along these routes.
    pub(super) fn fan_out(&self, header: &BodyHeader, routes: Vec<FanoutRoute>) -> Fanout {
        let (report, reports) = mpsc::channel(REPORTS_AHEAD);
        let mut peers = Vec::new();
        for route in routes {
            let (queue, taken) = self.ingest.queue(route.node);
            // Whose holdings it may bring.
            let mut of = route.relays.clone();
            of.push(route.node);
            let header = BodyHeader {
                relays: route.relays,
                ..*header
            };
            let head = futures::stream::iter([Bytes::from(header.encode())]);
            let opening = self.transport.stream(
                Destination {
                    node: route.node,
                    address: route.address,
                },
                Class::Bulk,
                Method::PutBody,
                head.chain(taken).boxed(),
            );
            let (watched, report, via) = (queue.clone(), report.clone(), route.node);
            tokio::spawn(async move {
                let ended = tokio::select! {
                    ended = listen(via, &of, opening, &report) => ended,
                    () = watched.stalled(HOLDING_MAX) => Some(Failure::Timeout),
                };
                watched.give_up();
                // The upload may have been answered already: this holder came later.
                let _ = report.send(Report::Ended(via, ended)).await;
            });
            peers.push(queue);
        }
        Fanout {
            open: peers.len(),
            peers,
            reports,
        }
    }

    /// The routes of a relay: straight to each member that it is to pass the body on to.
    pub(super) fn relay_routes(&self, relays: &[NodeId]) -> Vec<FanoutRoute> {
        let known = |node: &NodeId| {
            let peer = self.group.member(*node)?;
            (*node != self.holder.node).then_some(FanoutRoute {
                node: *node,
                address: peer.address,
                relays: Vec::new(),
            })
        };
        relays.iter().filter_map(known).collect()
    }
}

/// Tells of each holding that comes; how the answer ended.
async fn listen(
    via: NodeId,
    of: &[NodeId],
    opening: futures::future::BoxFuture<'static, Result<Frames, Failure>>,
    report: &mpsc::Sender<Report>,
) -> Option<Failure> {
    let mut answers = match opening.await {
        Ok(answers) => answers,
        Err(failure) => return Some(failure),
    };
    let mut any = false;
    loop {
        let frame = match answers.next().await {
            Some(Ok(frame)) => frame,
            Some(Err(failure)) => return Some(failure),
            None if any => return None,
            None => return Some(Failure::Refused("ended without a holding".into())),
        };
        let holding = match Holding::decode(&frame) {
            Ok(holding) if of.contains(&holding.node) => holding,
            Ok(_) => return Some(Failure::Refused("it signs as somebody else".into())),
            Err(error) => return Some(Failure::Refused(Cause::new(error))),
        };
        any = true;
        // Nobody may be waiting any more; the peers that are slower go on all the same.
        let _ = report.send(Report::Holding(via, Box::new(holding))).await;
    }
}

impl Fanout {
    /// Sends a frame to all who still take it; waits until each has room for it.
    pub async fn push(&mut self, frame: &Bytes, held: Option<&IngestPermit>) {
        let sending = self
            .peers
            .iter()
            .map(|peer| peer.push(frame.clone(), held.cloned()));
        let sent = futures::future::join_all(sending).await;
        let mut sent = sent.into_iter();
        self.peers.retain(|_| sent.next() == Some(true));
    }

    /// Sends the last frame.
    pub fn end(&mut self, frame: &Bytes) {
        for peer in self.peers.drain(..) {
            peer.end(frame.clone());
        }
    }

    /// What comes back next; `None` when nothing is outstanding.
    pub async fn next(&mut self) -> Option<FanoutAnswer> {
        while self.open > 0 {
            match self.reports.recv().await? {
                Report::Holding(via, holding) => {
                    return Some(FanoutAnswer::Holding { via, holding });
                }
                Report::Ended(via, ended) => {
                    self.open -= 1;
                    if let Some(failure) = ended {
                        return Some(FanoutAnswer::Failed { via, failure });
                    }
                }
            }
        }
        None
    }
}

impl Drop for Fanout {
    fn drop(&mut self) {
        // Without an end frame the peers forget the body.
        for peer in self.peers.drain(..) {
            peer.give_up();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(regions: &[(u64, &str)]) -> BTreeMap<NodeId, Peer> {
        let member = |(node, region): &(u64, &str)| {
            let peer = Peer {
                address: format!("node-{node}"),
                client_address: String::new(),
                zone: format!("zone-{node}"),
                region: (*region).to_owned(),
            };
            (NodeId::new(*node), peer)
        };
        regions.iter().map(member).collect()
    }

    #[test]
    fn a_region_gets_a_body_once_and_every_member_gets_it() {
        let members = members(&[(1, "a"), (2, "a"), (3, "b"), (4, "b"), (5, "b"), (6, "c")]);
        let mut relays = std::collections::BTreeSet::new();
        for random in 0..6 {
            let mut body = [0; 16];
            body[15] = random;
            let routes = routes(NodeId::new(1), "a", &members, &BodyId::new(body));
            // Straight to the own region, once to each of the two others.
            assert_eq!(routes.len(), 3);
            let mut reached: Vec<NodeId> = Vec::new();
            for route in &routes {
                reached.push(route.node);
                reached.extend(&route.relays);
                if route.relays.len() > 1 {
                    relays.insert(route.node);
                }
            }
            reached.sort_unstable();
            assert_eq!(reached, [2, 3, 4, 5, 6].map(NodeId::new), "{routes:?}");
            assert!(routes[0].relays.is_empty() && routes[2].relays.is_empty());
        }
        assert_eq!(relays.len(), 3, "another attempt finds another relay");
    }
}
