//! Who the other members are, how they are configured, and how far away.
//!
//! Promises: every member is asked for its status about once a second, one question in
//! flight for each; a node whose cluster configuration differs from that of most of those
//! it knows is not ready and says so; one wrong node never makes the others unready. Round
//! trips are measured on the connection that heartbeats use. Leaves judging a profile to
//! `objective/timing`, acting on a slow disk to [`super::disk_health`].

use super::messages::{NodeIdentity, NodeStatus};
use super::own::OwnStatus;
use crate::domain::ids::NodeId;
use crate::objective::disk::quantile;
use crate::objective::timing::{Contradiction, Profile};
use crate::supervise;
use crate::transport::{Destination, Failure};
use muniment_evidence::digest::Digest;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::time::Instant;

/// Between two questions to a member: three of them make a slow disk known in seconds.
const EVERY: Duration = Duration::from_secs(1);
/// A member that has not answered by then is away.
const ANSWER_MAX: Duration = Duration::from_secs(2);
/// What was heard longer ago than this says nothing about now.
const FRESH_MAX: Duration = Duration::from_secs(5);
/// Round trips remembered of each member: half a minute.
const ROUND_TRIPS: usize = 32;
/// Questions at most when a distance is measured, until one answer comes as soon as the profile
/// allows; the first, which may have to dial, is not counted.
const QUESTIONS_MAX: usize = 27;

/// A member as this node knows it.
#[derive(Clone, Debug)]
pub struct PeerView {
    pub status: NodeStatus,
    pub round_trip_median: Duration,
    pub round_trip_p99: Duration,
    /// Its wall clock less this node's, as of its last answer.
    pub clock_ahead_ms: i64,
    /// How long ago it answered.
    pub ago: Duration,
}

/// What was measured of a peer, once.
#[derive(Clone, Debug)]
pub struct MeasuredPeer {
    pub identity: NodeIdentity,
    /// The least of a few: load makes a way longer, and nothing makes it shorter.
    pub round_trip: Duration,
}

/// How the profile stands beside what is measured.
#[derive(Clone, Debug)]
pub struct TimingView {
    pub profile: Profile,
    pub worst_leaderless_ms: u64,
    /// For a node that saw a longer log than its own.
    pub worst_leaderless_behind_ms: u64,
    pub fsync_p99: Option<Duration>,
    pub slow: bool,
    pub peers: Vec<PeerView>,
    /// Members whose round trips contradict the profile now, and why.
    pub contradictions: Vec<(NodeId, Contradiction)>,
}

/// Cheap to clone.
#[derive(Clone)]
pub struct PeerMonitor(Arc<Inner>);

struct Inner {
    own: OwnStatus,
    known: Mutex<BTreeMap<NodeId, KnownPeer>>,
}

struct KnownPeer {
    status: NodeStatus,
    round_trips: VecDeque<Duration>,
    clock_ahead_ms: i64,
    at: Instant,
}

impl PeerMonitor {
    /// Asks the members until the node stops.
    pub fn start(own: OwnStatus) -> PeerMonitor {
        let monitor = PeerMonitor(Arc::new(Inner {
            own,
            known: Mutex::default(),
        }));
        let running = monitor.clone();
        let stop = running.0.own.context().stop.clone();
        supervise::restart(&stop, "the questions to the members", move || {
            let running = running.clone();
            async move { running.run().await }
        });
        monitor
    }

    /// Who answered, and how.
    pub fn peers(&self) -> Vec<PeerView> {
        self.known().values().map(KnownPeer::view).collect()
    }

    /// The same, of those who answered just now.
    pub fn recent_peers(&self) -> Vec<PeerView> {
        let mut peers = self.peers();
        peers.retain(|peer| peer.ago <= FRESH_MAX);
        peers
    }

    /// Why this node is not ready, if it is the odd one out.
    pub fn reason_not_ready(&self) -> Option<String> {
        let own = self.0.own.identity();
        let peers: Vec<NodeIdentity> = self
            .recent_peers()
            .into_iter()
            .map(|peer| peer.status.identity)
            .collect();
        let others: Vec<_> = peers.iter().map(|p| (p.node, p.config_digest)).collect();
        let most = most_differ(&own.config_digest, &others)?;
        let nodes: Vec<_> = most.iter().map(NodeId::to_string).collect();
        let of = format!(
            "the cluster configuration differs from that of nodes {}",
            nodes.join(", ")
        );
        let profile = peers
            .iter()
            .find(|peer| most.contains(&peer.node) && peer.profile != own.profile);
        Some(match profile {
            Some(peer) => format!(
                "{of}: cluster.profile is {} here and {} there",
                own.profile, peer.profile
            ),
            None => of,
        })
    }

    pub fn view(&self) -> TimingView {
        let profile = self.0.own.identity().profile;
        let (fsync_p99, slow) = self.0.own.disk().now();
        let peers = self.peers();
        TimingView {
            profile,
            worst_leaderless_ms: profile.timing().worst_leaderless_ms(),
            worst_leaderless_behind_ms: profile.timing().worst_leaderless_behind_ms(),
            fsync_p99,
            slow,
            contradictions: peers
                .iter()
                .filter_map(|peer| {
                    let found = profile.contradicted_by(Some(peer.round_trip_median), None);
                    Some((peer.status.node(), found?))
                })
                .collect(),
            peers,
        }
    }

    /// Measures the way to a peer: the least of a few questions, until one fits the profile.
    pub async fn measure(&self, to: &Destination) -> Result<MeasuredPeer, Failure> {
        let mut best: Option<MeasuredPeer> = None;
        for number in 0..=QUESTIONS_MAX {
            let (reply, took) = self.0.own.exchange(to.clone(), false, ANSWER_MAX).await?;
            if number == 0 || best.as_ref().is_some_and(|best| best.round_trip <= took) {
                continue;
            }
            let measured = MeasuredPeer {
                identity: reply.own.identity,
                round_trip: took,
            };
            let fits = self.contradiction(&measured).is_none();
            best = Some(measured);
            if fits {
                break;
            }
        }
        best.ok_or(Failure::Timeout)
    }

    /// Whether this node may be a member of this cluster: it is configured
    /// alike, and what is measured does not contradict the profile.
    pub async fn fits(&self, to: &Destination) -> Result<(), IncompatiblePeer> {
        let measured = self.measure(to).await;
        let measured = measured.map_err(IncompatiblePeer::Away)?;
        let (own, there) = (self.0.own.identity(), &measured.identity);
        if there.profile != own.profile {
            return Err(IncompatiblePeer::Profile(format!(
                "cluster.profile is {} there and {} here",
                there.profile, own.profile
            )));
        }
        if there.config_digest != own.config_digest {
            return Err(IncompatiblePeer::Configuration(
                "its cluster configuration differs from that of this node".into(),
            ));
        }
        match self.contradiction(&measured) {
            Some(contradiction) => Err(IncompatiblePeer::Profile(contradiction.to_string())),
            None => Ok(()),
        }
    }

    fn contradiction(&self, measured: &MeasuredPeer) -> Option<Contradiction> {
        let profile = self.0.own.identity().profile;
        profile.contradicted_by(Some(measured.round_trip), None)
    }

    async fn run(&self) {
        let asked = Arc::new(Mutex::new(BTreeSet::new()));
        let mut said = None;
        let group = &self.0.own.context().group;
        loop {
            let members = group.status().members;
            self.known().retain(|node, _| members.contains_key(node));
            for (node, peer) in members {
                if node == group.node() || !lock(&asked).insert(node) {
                    continue;
                }
                let (monitor, asked) = (self.clone(), asked.clone());
                tokio::spawn(async move {
                    let _asking = Asking { asked, node };
                    monitor.ask(peer.destination(node)).await;
                });
            }
            tokio::time::sleep(EVERY).await;
            let reason = self.reason_not_ready();
            if reason != said {
                match &reason {
                    Some(why) => tracing::error!(%why, "this node is the odd one out: not ready"),
                    None => tracing::info!("configured like the others again"),
                }
                said = reason;
            }
        }
    }

    async fn ask(&self, to: Destination) {
        let node = to.node.get();
        match self.0.own.exchange(to, false, ANSWER_MAX).await {
            Ok((reply, took)) => self.note(reply.own, took),
            // Another node at its address, or another disk under its id.
            Err(failure @ Failure::Refused(_)) => {
                tracing::warn!(node, %failure, "what answers for a member is not believed");
            }
            Err(failure) => tracing::debug!(node, %failure, "a member did not say its status"),
        }
    }

    fn note(&self, status: NodeStatus, took: Duration) {
        let clock_ahead_ms = {
            // It was read half way through the exchange, as far as anybody can tell.
            let then_ms = self.0.own.context().clock.now_ms();
            let then_ms = then_ms.saturating_sub(took.as_millis() as u64 / 2);
            (i128::from(status.clock_ms) - i128::from(then_ms)) as i64
        };
        let mut known = self.known();
        let node = status.node();
        let profile = self.0.own.identity().profile;
        let mut round_trips = known
            .remove(&node)
            .map_or_else(VecDeque::new, |k| k.round_trips);
        if round_trips.len() == ROUND_TRIPS {
            round_trips.pop_front();
        }
        round_trips.push_back(took);
        let known = known.entry(node).or_insert(KnownPeer {
            status,
            round_trips,
            clock_ahead_ms,
            at: Instant::now(),
        });
        // Once a window, so that a distance that has grown is in the log and does not fill it.
        if known.round_trips.len() == ROUND_TRIPS {
            let median = known.view().round_trip_median;
            if let Some(found) = profile.contradicted_by(Some(median), None) {
                tracing::warn!(node = node.get(), %found, "the profile does not fit the way to a member");
                known.round_trips.clear();
                known.round_trips.push_back(median);
            }
        }
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<NodeId, KnownPeer>> {
        lock(&self.0.known)
    }
}

/// A question under way; however it ends, the member is asked again.
struct Asking {
    asked: Arc<Mutex<BTreeSet<NodeId>>>,
    node: NodeId,
}

impl Drop for Asking {
    fn drop(&mut self) {
        lock(&self.asked).remove(&self.node);
    }
}

/// Why a node does not fit this cluster.
#[derive(Clone, Debug)]
pub enum IncompatiblePeer {
    /// It did not answer, so nothing is known.
    Away(Failure),
    /// The profile is another, or does not fit what was measured.
    Profile(String),
    /// Something else that must be equal differs.
    Configuration(String),
}

impl std::fmt::Display for IncompatiblePeer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            IncompatiblePeer::Away(failure) => write!(f, "it does not answer: {failure}"),
            IncompatiblePeer::Profile(why) | IncompatiblePeer::Configuration(why) => {
                f.write_str(why)
            }
        }
    }
}

/// The nodes that agree on another digest than `own`, if they are most of all heard,
/// this node included.
fn most_differ(own: &Digest, others: &[(NodeId, Digest)]) -> Option<Vec<NodeId>> {
    let all = others.len() + 1;
    others.iter().find_map(|(_, digest)| {
        let alike: Vec<NodeId> = others
            .iter()
            .filter(|(_, other)| other == digest)
            .map(|(node, _)| *node)
            .collect();
        (digest != own && 2 * alike.len() > all).then_some(alike)
    })
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().expect("nobody panics with it")
}

impl KnownPeer {
    fn view(&self) -> PeerView {
        let mut times: Vec<_> = self.round_trips.iter().copied().collect();
        PeerView {
            status: self.status.clone(),
            round_trip_median: quantile(&mut times, 50).unwrap_or_default(),
            round_trip_p99: quantile(&mut times, 99).unwrap_or_default(),
            clock_ahead_ms: self.clock_ahead_ms,
            ago: self.at.elapsed(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(n: u8) -> Digest {
        Digest([n; 32])
    }

    /// One wrong node must not stop those that agree, whoever it is.
    #[test]
    fn only_the_node_that_differs_from_most_is_not_ready() {
        let (a, b, c) = (digest(1), digest(2), digest(3));
        // All alike; alone; one other that differs: nobody can tell who is wrong.
        assert_eq!(
            most_differ(&a, &[(NodeId::new(2), a), (NodeId::new(3), a)]),
            None
        );
        assert_eq!(most_differ(&a, &[]), None);
        assert_eq!(most_differ(&a, &[(NodeId::new(2), b)]), None);
        // One of three: it sees two that agree, each of them sees one that does not.
        assert_eq!(
            most_differ(&a, &[(NodeId::new(2), b), (NodeId::new(3), b)]),
            Some([2, 3].map(NodeId::new).to_vec())
        );
        assert_eq!(
            most_differ(&b, &[(NodeId::new(1), a), (NodeId::new(3), b)]),
            None
        );
        // Three ways of three: no majority.
        assert_eq!(
            most_differ(&a, &[(NodeId::new(2), b), (NodeId::new(3), c)]),
            None
        );
        // Two of five.
        let two = [(2, a), (3, b), (4, b), (5, b)].map(|(node, d)| (NodeId::new(node), d));
        assert_eq!(
            most_differ(&a, &two),
            Some([3, 4, 5].map(NodeId::new).to_vec())
        );
        // Two against two, as in the middle of a change of all nodes.
        assert_eq!(
            most_differ(
                &a,
                &[
                    (NodeId::new(2), a),
                    (NodeId::new(3), b),
                    (NodeId::new(4), b)
                ]
            ),
            None
        );
    }
}
