//! The bad member itself.

use crate::harness::{Node, SOON};
use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt as _};
use futures::stream::{BoxStream, StreamExt as _};
use muniment::assemble::{Running, assemble};
use muniment::clock::{Clock, SharedClock, SystemClock};
use muniment::config::Config;
use muniment::domain::command::Submission;
use muniment::domain::ids::NodeId;
use muniment::keyring::Keyring;
use muniment::node::{self, Listeners};
use muniment::recorder::booted::Booted;
use muniment::recorder::{Intent, Recorded, StatementSigner};
use muniment::rpc::dial::Dialer;
use muniment::rpc::server;
use muniment::stop::Stop;
use muniment::telemetry::Metrics;
use muniment::transport::{
    Class, Destination, Failure, FrameEnds, Frames, Method, Serve, Transport,
};
use muniment_evidence::key::Signature;
use muniment_evidence::opening::{Document, VoidDocument};
use muniment_evidence::statement::Lane;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How long a statement of its own is given to be recorded.
const RECORD_MAX: Duration = Duration::from_secs(3);
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
    /// A frame that it sends to a peer.
    fn send(&self, _method: Method, frame: Bytes) -> Bytes {
        frame
    }

    /// A frame with which it answers a peer.
    fn answer(&self, _method: Method, frame: Bytes) -> Bytes {
        frame
    }

    /// Milliseconds that its clock is ahead.
    fn ahead_ms(&self) -> u64 {
        0
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

    fn send(&self, method: Method, frame: Bytes) -> Bytes {
        match self.now() {
            Some(twist) => twist.send(method, frame),
            None => frame,
        }
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
    /// Reaches peers under its own number, without the twist.
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
        let clock: SharedClock = Arc::new(TwistedClock(armed.clone()));
        let listeners = Listeners::bind(&config).await.unwrap();
        let seams = node::seams(&config, clock.clone(), metrics.clone(), stop.clone());
        let mut seams = seams.await.unwrap();
        let keyring = seams.keyring.clone();
        let transport = seams.transport.clone();
        seams.transport = Arc::new(TwistedTransport {
            inner: transport.clone(),
            armed: armed.clone(),
        });
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

    /// Signs and submits what no verb of it would say; `None` where it is not taken.
    pub async fn record(&self, intent: Intent) -> Option<Recorded> {
        let booted = self.booted().await;
        let recorded = booted.recorder.record(intent);
        tokio::time::timeout(RECORD_MAX, recorded).await.ok()?.ok()
    }

    pub async fn booted(&self) -> Booted {
        let mut booted = self.running.parts.writes.booted.clone();
        let ready = tokio::time::timeout(SOON, booted.wait_for(Option::is_some));
        ready.await.unwrap().unwrap().clone().unwrap()
    }

    /// The next statement of a node's strict lane, under a signature that is none.
    pub fn unsigned(&self, node: NodeId) -> Submission {
        let context = &self.running.parts.reads.context;
        let (lane, row) = context
            .state
            .read(|tables| {
                let boot = tables.node(node)?.and_then(|row| row.boot);
                let lane = Lane::Strict(boot.expect("it has booted"));
                let row = tables.lane(node, lane)?;
                Ok((lane, row.expect("its boot opened it")))
            })
            .unwrap();
        let signer = StatementSigner {
            node,
            ledger: context.group.applied().ledger,
            signer: self.keyring.clone(),
            clock: self.clock.clone(),
        };
        let intent = Intent::system(Document::Void(VoidDocument {
            tenant: "default".into(),
            uid: [1; 16],
            request_id: "nobody signed this".into(),
            reason: String::new(),
        }));
        let mut submission = signer.sign(&intent, lane, row.next_seq, row.last);
        submission.signature = Signature([0; 64]);
        submission
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

struct TwistedClock(Armed);

impl Clock for TwistedClock {
    fn now_ms(&self) -> u64 {
        let ahead_ms = self.0.now().map_or(0, Twist::ahead_ms);
        SystemClock.now_ms() + ahead_ms
    }

    fn monotonic(&self) -> Duration {
        SystemClock.monotonic()
    }

    fn random(&self, bytes: &mut [u8]) {
        SystemClock.random(bytes);
    }
}

struct TwistedTransport {
    inner: Arc<dyn Transport>,
    armed: Armed,
}

impl Transport for TwistedTransport {
    fn call(
        &self,
        to: Destination,
        class: Class,
        method: Method,
        body: Bytes,
        deadline: Duration,
    ) -> BoxFuture<'static, Result<Bytes, Failure>> {
        let body = self.armed.send(method, body);
        self.inner.call(to, class, method, body, deadline)
    }

    fn stream(
        &self,
        to: Destination,
        class: Class,
        method: Method,
        frames: BoxStream<'static, Bytes>,
    ) -> BoxFuture<'static, Result<Frames, Failure>> {
        let armed = self.armed.clone();
        let frames = frames.map(move |frame| armed.send(method, frame)).boxed();
        self.inner.stream(to, class, method, frames)
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
