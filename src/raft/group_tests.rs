//! Groups of nodes in one process, on memory, with lines between them that can be cut.
//!
//! Time is tokio's and paused: it moves when everybody waits. What a node does with a
//! frame is a [`Serve`], so that layers above can join in ([`TestCluster::serve`]).

use super::codec;
use super::context::Context;
use super::group::{GroupSettings, RaftGroup};
use super::identity::KnownDiskNotice;
use super::leadership::{Leadership, TransferError};
use super::proposals::GroupRefusal;
use super::reader::ReadBarrier;
use super::types::{Peer, TypeConfig, Vote};
use crate::clock::{SeededClock, SharedClock};
use crate::domain::command::Command;
use crate::domain::ids::{LogIndex, NodeId};
use crate::keyring::guard::SignedHead;
use crate::ledger::state::State;
use crate::misconduct::Misconduct;
use crate::objective::timing::Profile;
use crate::signatures::Signatures;
use crate::stop::{Stop, Why};
use crate::store::Blocking;
use crate::store::flush::Flusher;
use crate::store::log::LogStore;
use crate::store::memory::MemoryEngine;
use crate::store::watermark::WatermarkFile;
use crate::telemetry::Metrics;
use crate::transport::{Class, Destination, Failure, FrameEnds, Frames, Method, Serve, Transport};
use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt as _};
use futures::stream::{BoxStream, StreamExt as _};
use openraft::raft::VoteRequest;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::UnboundedReceiverStream;

/// Longer than an election and a lost route take together.
pub(crate) const LONG: Duration = Duration::from_secs(30);

/// Before the node id in the address of a node that moved.
pub(super) const MOVED: &str = "moved-";

/// Who serves, and which lines are cut.
#[derive(Default)]
struct Lines {
    serving: Mutex<HashMap<u64, Arc<dyn Serve>>>,
    /// From and to.
    cut: watch::Sender<HashSet<(u64, u64)>>,
    /// Nodes that are reached at another address than they were founded with.
    moved: Mutex<HashSet<u64>>,
    /// Nodes that stand still: what is under way to and from them waits, and no line breaks.
    still: watch::Sender<HashSet<u64>>,
}

impl Lines {
    fn reach(&self, from: u64, address: &str) -> Result<(u64, Arc<dyn Serve>), Failure> {
        let to = address.trim_start_matches(MOVED).parse();
        let to: u64 = to.expect("an address is a node id here");
        if self.moved.lock().unwrap().contains(&to) != address.starts_with(MOVED) {
            return Err(Failure::Unreachable("nobody is there".into()));
        }
        let serving = self.serving.lock().expect("nobody panics with it");
        self.unless_cut(from, to)?;
        match serving.get(&to) {
            Some(serve) => Ok((to, serve.clone())),
            None => Err(Failure::Unreachable("nobody serves there".into())),
        }
    }

    fn unless_cut(&self, from: u64, to: u64) -> Result<(), Failure> {
        match self.cut.borrow().contains(&(from, to)) {
            true => Err(Failure::Unreachable("the line is cut".into())),
            false => Ok(()),
        }
    }

    /// Waits while one of them stands still.
    async fn moving(&self, ends: [u64; 2]) {
        let mut still = self.still.subscribe();
        // The sender lives as long as the cluster.
        let moving = still.wait_for(|still| !ends.iter().any(|node| still.contains(node)));
        let _ = moving.await;
    }
}

/// One node's end of the lines.
struct LineEnd {
    node: u64,
    lines: Arc<Lines>,
}

impl LineEnd {
    /// Ends what passes through it when the line is cut.
    fn while_whole<T: Send + 'static>(
        &self,
        from: u64,
        to: u64,
        frames: BoxStream<'static, T>,
    ) -> BoxStream<'static, T> {
        let mut cut = self.lines.cut.subscribe();
        let ended = async move {
            // The sender lives as long as the cluster.
            let _ = cut.wait_for(|cut| cut.contains(&(from, to))).await;
        };
        // A connection takes what is sent before the other end reads it.
        let (taken, under_way) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            let sending = async {
                let mut frames = frames;
                while let Some(frame) = frames.next().await {
                    // Its reader may be gone: what watches for that ends this.
                    let _ = taken.send(frame);
                }
            };
            tokio::select! {
                () = sending => {}
                () = taken.closed() => {}
            }
        });
        let lines = self.lines.clone();
        let under_way = UnboundedReceiverStream::new(under_way);
        let held = under_way.then(move |frame| {
            let lines = lines.clone();
            async move {
                lines.moving([from, to]).await;
                frame
            }
        });
        held.take_until(ended.boxed()).boxed()
    }
}

impl Transport for LineEnd {
    fn call(
        &self,
        to: Destination,
        _class: Class,
        method: Method,
        body: Bytes,
        deadline: Duration,
    ) -> BoxFuture<'static, Result<Bytes, Failure>> {
        let (from, lines) = (self.node, self.lines.clone());
        async move {
            let ends = ends(from, &to);
            let (to, serve) = lines.reach(from, &to.address)?;
            let answering = async {
                lines.moving([from, to]).await;
                serve.call(ends, method, body).await
            };
            let answered = tokio::time::timeout(deadline, answering).await;
            // The answer comes back by the same line.
            lines.unless_cut(to, from)?;
            answered.unwrap_or(Err(Failure::Timeout))
        }
        .boxed()
    }

    fn stream(
        &self,
        to: Destination,
        _class: Class,
        method: Method,
        frames: BoxStream<'static, Bytes>,
    ) -> BoxFuture<'static, Result<Frames, Failure>> {
        let end = LineEnd {
            node: self.node,
            lines: self.lines.clone(),
        };
        async move {
            let from = end.node;
            let ends = ends(from, &to);
            let (to, serve) = end.lines.reach(from, &to.address)?;
            end.lines.moving([from, to]).await;
            let frames = end.while_whole(from, to, frames.map(Ok).boxed());
            let answers = serve.stream(ends, method, frames).await?;
            Ok(end.while_whole(to, from, answers))
        }
        .boxed()
    }
}

fn ends(from: u64, to: &Destination) -> FrameEnds {
    FrameEnds {
        from: NodeId::new(from),
        to: to.node,
    }
}

/// Serves Raft alone.
struct ServeRaft(RaftGroup);

impl Serve for ServeRaft {
    fn call(
        &self,
        ends: FrameEnds,
        method: Method,
        body: Bytes,
    ) -> BoxFuture<'static, Result<Bytes, Failure>> {
        let group = self.0.clone();
        async move {
            group.hear(ends, method)?;
            group.serve_call(ends.from, method, body).await
        }
        .boxed()
    }

    fn stream(
        &self,
        ends: FrameEnds,
        method: Method,
        frames: Frames,
    ) -> BoxFuture<'static, Result<Frames, Failure>> {
        let group = self.0.clone();
        async move {
            group.hear(ends, method)?;
            match method {
                Method::Append => Ok(group.serve_append(ends.from, frames)),
                Method::Snapshot => group.serve_snapshot(ends.from, frames),
                _ => Err(Failure::Refused("not a stream of Raft".into())),
            }
        }
        .boxed()
    }
}

/// One node, in memory.
pub(crate) struct TestNode {
    pub node: u64,
    pub group: RaftGroup,
    pub reader: ReadBarrier,
    pub state: State,
    pub transport: Arc<dyn Transport>,
    pub clock: SharedClock,
    pub stop: Stop,
}

impl TestNode {
    pub fn context(&self) -> Context {
        Context {
            group: self.group.clone(),
            state: self.state.clone(),
            blocking: Blocking::Inline,
            clock: self.clock.clone(),
            stop: self.stop.clone(),
            transport: self.transport.clone(),
            signatures: Signatures::default(),
        }
    }
}

/// See the module.
pub(crate) struct TestCluster {
    pub nodes: Vec<TestNode>,
    lines: Arc<Lines>,
}

fn settings(node: u64, clock: SharedClock) -> GroupSettings {
    let misconduct = Misconduct::new(Metrics::new().peer_misdeeds, clock.clone());
    GroupSettings {
        node: NodeId::new(node),
        clock,
        timing: Profile::Lan.timing(),
        snapshot_after_entries: 50,
        log_entries_kept: 10,
        snapshots: None,
        has_disk_space: Arc::new(|| true),
        incarnation: [node as u8; 16],
        misconduct,
    }
}

impl TestCluster {
    /// Nodes from 1 on, founded as one group, one of which leads.
    pub(crate) async fn start(nodes: u64) -> TestCluster {
        let mut cluster = TestCluster {
            nodes: Vec::new(),
            lines: Arc::default(),
        };
        for node in 1..=nodes {
            cluster.join(node).await;
        }
        let members = (1..=nodes)
            .map(|node| (NodeId::new(node), peer(node)))
            .collect();
        cluster.node(1).group.initialize(members).await.unwrap();
        cluster.leader().await;
        cluster
    }

    async fn join(&mut self, node: u64) {
        let transport: Arc<dyn Transport> = Arc::new(LineEnd {
            node,
            lines: self.lines.clone(),
        });
        let (engine, stop) = (Arc::new(MemoryEngine::new()), Stop::new());
        let clock: SharedClock = Arc::new(SeededClock::new(node));
        let silent = Arc::new(|_| {});
        let blocking = Blocking::Inline;
        let flusher = Flusher::start("test", engine.clone(), blocking, stop.clone(), silent);
        let watermark = WatermarkFile::in_memory();
        let log = LogStore::start(engine.clone(), blocking, flusher, watermark, stop.clone());
        let group = RaftGroup::start(
            settings(node, clock.clone()),
            engine.clone(),
            blocking,
            log,
            transport.clone(),
            stop.clone(),
            SignedHead::default(),
        );
        let group = group.await.unwrap();
        let reader = ReadBarrier::start(group.clone(), transport.clone(), clock.clone());
        self.serve(node, Arc::new(ServeRaft(group.clone())));
        self.nodes.push(TestNode {
            node,
            group,
            reader,
            state: State::new(engine),
            transport,
            clock,
            stop,
        });
    }

    /// Has a node serve its peers in another way.
    pub(crate) fn serve(&self, node: u64, serve: Arc<dyn Serve>) {
        let mut serving = self.lines.serving.lock().unwrap();
        serving.insert(node, serve);
    }

    pub(crate) fn node(&self, node: u64) -> &TestNode {
        &self.nodes[node as usize - 1]
    }

    /// The node that all who can be reached agree to be led by.
    pub(crate) async fn leader(&self) -> u64 {
        self.leader_of(|_| true).await
    }

    /// ... where only some are asked.
    pub(crate) async fn leader_of(&self, asked: impl Fn(u64) -> bool) -> u64 {
        let agreed = async {
            loop {
                let views = self.nodes.iter().filter(|n| asked(n.node));
                let views = views.map(|n| n.group.leader().map(|(node, _)| node.get()));
                let views: BTreeSet<Option<u64>> = views.collect();
                if let (1, Some(Some(leader))) = (views.len(), views.first())
                    && asked(*leader)
                    && self.node(*leader).group.is_leader()
                {
                    return *leader;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let agreed = tokio::time::timeout(LONG, agreed).await;
        agreed.expect("somebody leads in time")
    }

    /// Cuts a node off from all others, or connects it again.
    pub(crate) fn cut_off(&self, node: u64, cut: bool) {
        self.lines.cut.send_modify(|lines| {
            for other in self.nodes.iter().map(|n| n.node).filter(|o| *o != node) {
                for line in [(node, other), (other, node)] {
                    match cut {
                        true => lines.insert(line),
                        false => lines.remove(&line),
                    };
                }
            }
        });
    }

    /// Has a node stand still, as SIGSTOP does, or go on.
    pub(crate) fn suspend(&self, node: u64, suspended: bool) {
        self.lines.still.send_modify(|still| {
            match suspended {
                true => still.insert(node),
                false => still.remove(&node),
            };
        });
    }

    /// Has a node be reached at [`MOVED`] and its number from now on, and there alone.
    pub(super) async fn move_node(&self, node: u64) {
        self.cut_off(node, true);
        self.lines.moved.lock().unwrap().insert(node);
        // What is open breaks, and is opened anew in vain.
        tokio::time::sleep(Duration::from_secs(1)).await;
        self.cut_off(node, false);
    }

    /// Somebody other than `node`.
    pub(crate) fn another(&self, node: u64) -> u64 {
        node % self.nodes.len() as u64 + 1
    }
}

pub(super) fn peer(node: u64) -> Peer {
    Peer {
        address: node.to_string(),
        client_address: format!("client-{node}"),
        zone: format!("zone-{node}"),
        region: "region".into(),
    }
}

/// A command that says nothing.
fn nothing() -> Bytes {
    nothing_at(1)
}

pub(crate) fn nothing_at(proposed_at_ms: u64) -> Bytes {
    let command = Command {
        proposed_at_ms,
        submissions: Vec::new(),
    };
    Bytes::from(command.encode())
}

pub(super) async fn propose(group: &RaftGroup) -> Result<LogIndex, GroupRefusal> {
    let done = group.queue(nothing()).await?.done().await?;
    Ok(done.raft_index)
}

#[tokio::test(start_paused = true)]
async fn commands_are_applied_in_the_order_of_the_queue_and_everywhere() {
    let cluster = TestCluster::start(3).await;
    let leader = cluster.leader().await;
    let group = &cluster.node(leader).group;
    let mut tickets = Vec::new();
    for _ in 0..20 {
        tickets.push(group.queue(nothing()).await.unwrap());
    }
    let mut last = LogIndex::START;
    for ticket in tickets {
        let done = ticket.done().await.unwrap();
        assert!(done.raft_index > last);
        assert!(
            group.applied().raft_index >= done.raft_index,
            "applied here"
        );
        last = done.raft_index;
    }
    for node in &cluster.nodes {
        assert!(
            node.group.wait_applied(last, LONG).await,
            "node {}",
            node.node
        );
        let hash = node.group.state_hash_at(last);
        assert_eq!(hash, group.state_hash_at(last), "one state");
    }
    assert_eq!(group.status().voters, [1, 2, 3].map(NodeId::new));
}

#[tokio::test(start_paused = true)]
async fn a_follower_proposes_nothing_and_names_the_leader() {
    let cluster = TestCluster::start(3).await;
    let leader = cluster.leader().await;
    let follower = &cluster.node(cluster.another(leader)).group;
    match propose(follower).await {
        Err(GroupRefusal::NotLeader(Some((node, _)))) => assert_eq!(node, NodeId::new(leader)),
        other => panic!("{other:?}"),
    }
    let refused = follower.leader_read_index().await;
    assert!(matches!(refused, Err(GroupRefusal::NotLeader(_))));
    // It reads by asking the leader, and has applied what was acknowledged before.
    let index = propose(&cluster.node(leader).group).await.unwrap();
    let read = cluster
        .node(cluster.another(leader))
        .reader
        .linearizable(LONG)
        .await;
    assert!(read.unwrap() >= index);
    assert!(follower.applied().raft_index >= index);
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_is_cut_off_answers_no_read_and_another_takes_over() {
    let cluster = TestCluster::start(3).await;
    let old = cluster.leader().await;
    cluster.cut_off(old, true);
    // What it says now has an unknown outcome, and it must not say that it is fresh.
    let read = cluster
        .node(old)
        .reader
        .linearizable(Duration::from_secs(2))
        .await;
    assert!(read.is_err());
    let new = cluster.leader_of(|node| node != old).await;
    assert_ne!(new, old);
    let index = propose(&cluster.node(new).group).await.unwrap();
    cluster.cut_off(old, false);
    assert!(cluster.node(old).group.wait_applied(index, LONG).await);
    assert_eq!(cluster.leader().await, new);
}

#[tokio::test(start_paused = true)]
async fn leadership_is_handed_to_a_voter_that_has_caught_up() {
    let cluster = TestCluster::start(3).await;
    let old = cluster.leader().await;
    let group = &cluster.node(old).group;
    propose(group).await.unwrap();
    assert!(matches!(
        group.transfer(NodeId::new(9)).await,
        Err(TransferError::NotVoter(node)) if node == NodeId::new(9)
    ));
    let before = group.leadership_changed(None).await;
    group.hand_over().await;
    assert!(!group.is_leader());
    let new = cluster.leader().await;
    assert_ne!(new, old);
    let after = tokio::time::timeout(LONG, group.leadership_changed(Some(before))).await;
    let Leadership { term, .. } = after.expect("it is told");
    assert!(term > before.term);
}

#[tokio::test(start_paused = true)]
async fn members_come_and_go_one_change_at_a_time() {
    let mut cluster = TestCluster::start(3).await;
    cluster.join(4).await;
    let leader = cluster.leader_of(|node| node < 4).await;
    let group = &cluster.node(leader).group;
    group.add_learner(NodeId::new(4), peer(4)).await.unwrap();
    let index = propose(group).await.unwrap();
    assert!(cluster.node(4).group.wait_applied(index, LONG).await);
    assert_eq!(group.status().voters, [1, 2, 3].map(NodeId::new));
    group
        .change_voters((1..=4).map(NodeId::new).collect())
        .await
        .unwrap();
    assert_eq!(group.status().voters, [1, 2, 3, 4].map(NodeId::new));
    // Who stops voting is no member any longer.
    let gone = cluster.another(leader).min(3);
    let gone = if gone == leader { 4 } else { gone };
    let voters = (1..=4)
        .filter(|node| *node != gone)
        .map(NodeId::new)
        .collect();
    group.change_voters(voters).await.unwrap();
    assert!(group.member(NodeId::new(gone)).is_none());
}

/// A number in a message is its sender's, or the message is not heard.
#[tokio::test(start_paused = true)]
async fn nobody_votes_in_the_name_of_another() {
    let cluster = TestCluster::start(3).await;
    let group = &cluster.node(1).group;
    let request = VoteRequest::<TypeConfig>::new(Vote::new(99, NodeId::new(2)), None);
    let body = Bytes::from(codec::encode(&request));
    for method in [Method::Vote, Method::PreVote] {
        let refused = group.serve_call(NodeId::new(3), method, body.clone()).await;
        let why = refused.unwrap_err().to_string();
        assert!(why.contains("node 3 speaks as node 2"), "{why}");
        let heard = group.serve_call(NodeId::new(2), method, body.clone()).await;
        assert!(heard.is_ok());
    }
}

/// One peer may say what it likes about the disk of another: that ends nobody (I2).
#[tokio::test(start_paused = true)]
async fn i2_a_node_that_one_peer_calls_a_stranger_goes_on() {
    let cluster = TestCluster::start(3).await;
    let node = cluster.node(1);
    let notice = KnownDiskNotice {
        known: [0xee; 16],
        voters: [1, 2, 3].map(NodeId::new).into(),
    };
    let tell = |from| {
        let (group, body) = (node.group.clone(), notice.encode());
        async move {
            let told = group.serve_call(NodeId::new(from), Method::StrangeDisk, body);
            told.await.unwrap();
        }
    };
    for from in [2, 2, 9] {
        tell(from).await;
        assert_eq!(node.stop.why(), None);
    }
    tell(3).await;
    assert!(matches!(node.stop.why(), Some(Why::Broken(_))));
}
