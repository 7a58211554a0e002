//! The bad member itself.

use crate::harness::{Node, SOON};
use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt as _};
use futures::stream::StreamExt as _;
use muniment::assemble::{Running, assemble};
use muniment::clock::{SharedClock, SystemClock};
use muniment::config::Config;
use muniment::domain::ids::NodeId;
use muniment::keyring::Keyring;
use muniment::node::{self, Listeners};
use muniment::recorder::booted::Booted;
use muniment::rpc::dial::Dialer;
use muniment::rpc::server;
use muniment::stop::Stop;
use muniment::telemetry::Metrics;
use muniment::transport::{Destination, Failure, FrameEnds, Frames, Method, Serve, Transport};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The number of the bad member.
pub const CULPRIT: u64 = 3;

/// As what it does its deed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Follower,
    Leader,
}

impl Role {
    pub const BOTH: [Role; 2] = [Role::Follower, Role::Leader];
}

/// Where the member departs from an honest one, once the deed has begun.
pub trait Twist: Send + Sync + 'static {
    /// A frame with which it answers a peer.
    fn answer(&self, _method: Method, frame: Bytes) -> Bytes {
        frame
    }
}

/// No departure: what is done is done by the test.
pub struct Honest;

impl Twist for Honest {}

/// A twist, and whether the deed has begun.
#[derive(Clone)]
struct Armed {
    twist: Arc<dyn Twist>,
    begun: Arc<AtomicBool>,
}

impl Armed {
    fn now(&self) -> Option<&dyn Twist> {
        self.begun.load(Ordering::SeqCst).then_some(&*self.twist)
    }

    fn answer(&self, method: Method, frame: Bytes) -> Bytes {
        match self.now() {
            Some(twist) => twist.answer(method, frame),
            None => frame,
        }
    }
}

pub struct BadMember {
    pub running: Running,
    pub keyring: Arc<Keyring>,
    /// Reaches peers under its own number.
    pub transport: Arc<dyn Transport>,
    pub clock: SharedClock,
    armed: Armed,
    /// Never ends it: it would stop itself for some of what it does.
    _stop: Stop,
}

impl BadMember {
    /// Takes the place of a node that does not run.
    pub async fn start(node: &Node, twist: impl Twist) -> BadMember {
        let armed = Armed {
            twist: Arc::new(twist),
            begun: Arc::default(),
        };
        let config = Config::load(&node.config).unwrap();
        let stop = Stop::new();
        let metrics = Arc::new(Metrics::new());
        let clock: SharedClock = Arc::new(SystemClock);
        let listeners = Listeners::bind(&config).await.unwrap();
        let seams = node::seams(&config, clock.clone(), metrics.clone(), stop.clone());
        let seams = seams.await.unwrap();
        let keyring = seams.keyring.clone();
        let transport = seams.transport.clone();
        let assembled = assemble(seams, &config).await.unwrap();
        let peers: Arc<dyn Serve> = Arc::new(TwistedServe {
            inner: assembled.peers.clone(),
            armed: armed.clone(),
        });
        let (origin, limits) = (config.cluster.origin.clone(), config.limits.clone());
        tokio::spawn(async move {
            let never = std::future::pending();
            server::serve_peers(origin, peers, &limits, listeners.peer, never).await
        });
        let running = assembled.start();
        let parts = running.parts.clone();
        tokio::spawn(async move {
            let never = std::future::pending();
            server::serve_clients(parts, metrics, listeners.client, never).await
        });
        let member = BadMember {
            running,
            keyring,
            transport,
            clock,
            armed,
            _stop: stop,
        };
        member.booted().await;
        member
    }

    /// From here on the twist is in force.
    pub fn begin(&self) {
        self.armed.begun.store(true, Ordering::SeqCst);
    }

    pub async fn booted(&self) -> Booted {
        let mut booted = self.running.parts.writes.booted.clone();
        let ready = tokio::time::timeout(SOON, booted.wait_for(Option::is_some));
        ready.await.unwrap().unwrap().clone().unwrap()
    }

    /// Another member, as this one knows it.
    pub fn peer(&self, node: u64) -> Destination {
        let group = &self.running.parts.reads.context.group;
        let node = NodeId::new(node);
        let address = group.member(node).expect("a member").address;
        Destination { node, address }
    }

    /// Reaches peers under another's number.
    pub fn speaking_as(&self, node: u64) -> Dialer {
        let origin = self.running.parts.founder.origin.clone();
        Dialer::new(NodeId::new(node), origin, 4 << 20)
    }
}

struct TwistedServe {
    inner: Arc<dyn Serve>,
    armed: Armed,
}

impl Serve for TwistedServe {
    fn call(
        &self,
        ends: FrameEnds,
        method: Method,
        body: Bytes,
    ) -> BoxFuture<'static, Result<Bytes, Failure>> {
        let (served, armed) = (self.inner.call(ends, method, body), self.armed.clone());
        async move { Ok(armed.answer(method, served.await?)) }.boxed()
    }

    fn stream(
        &self,
        ends: FrameEnds,
        method: Method,
        frames: Frames,
    ) -> BoxFuture<'static, Result<Frames, Failure>> {
        let (served, armed) = (self.inner.stream(ends, method, frames), self.armed.clone());
        let answered = async move {
            let frames = served.await?;
            let answered = frames.map(move |frame| Ok(armed.answer(method, frame?)));
            Ok::<Frames, Failure>(answered.boxed())
        };
        answered.boxed()
    }
}
