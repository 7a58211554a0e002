//! Members come and go while the ledger serves (I8).
//!
//! **The problem.** A change of the voters must neither lose what was acknowledged nor stop
//! the ledger. Raft alone knows who votes; it does not know whether a new voter already
//! holds the bodies of invoices, whether the members that are left can still meet the
//! write levels that callers were promised, or who asked for the change. And the node that
//! carries a change through may die in the middle of it.
//!
//! **The messages.** A change is a sequence of MODE records in the ledger itself: PREPARE
//! names the target (who votes, who learns and counts for levels, who only learns), then
//! DONE or ABORT ends it. Between them the leader uses Raft's own changes of membership,
//! and asks members for their status (`status/`).
//!
//! **The order.** 1 The wish of an operator becomes a target ([`plan`]), which he signs
//! ([`order`]); one that cannot keep what was promised is refused here, with the reason. 2 PREPARE
//! is recorded: from now on no other change begins. 3 Whoever comes in learns, and is waited for
//! until it holds every record and body up to PREPARE, and until a majority of the target's voters
//! does; whoever leaves promises nothing more, and is waited for until what it promised is
//! recorded. 4 Raft's voters become the target's. 5 DONE is recorded, and Raft forgets whoever
//! left. What fails before 4 is given up: learners that were added are dropped, ABORT is
//! recorded, and the members are what they were. From 4 on there is only forward.
//!
//! **An example.** Nodes 1, 2 and 3 vote; node 4 has learned and is to replace node 3.
//! PREPARE {voters 1, 2, 4} is record 900. Node 4 holds 880 records with their bodies; a
//! second later 901. Raft changes to voters 1, 2, 4 through a joint configuration. DONE is
//! record 905; node 3 is no member any more, and its id is never used again.
//!
//! **What can go wrong.** The leader dies or loses its office: the next leader finds the
//! PREPARE in its state and goes on, or gives up ([`resume`]). A node that comes in stands
//! still: after a while without progress the change is given up. The caller goes away: the
//! change goes on. The node that leaves is the leader: it hands leadership over first.
//! Another disk answers under a member's id: its answers do not count.
//!
//! * [`plan`]: what a wish comes to
//! * [`costs`], [`accepted`], [`acknowledged`]: what it costs those who were promised something
//! * [`order`]: what an operator signs for it
//! * [`change`]: carrying it through, or giving it up
//! * [`resume`]: what an earlier leader has left
//! * [`leaving`]: what a node that leaves has promised is recorded first
//! * [`quorum`]: whether those who are up can complete it
//! * [`drain`]: a node before its maintenance
//! * [`relocate`]: a node that is reached elsewhere
//!
//! Tests: `tests/cluster/members.rs`, `tests/cluster/joining.rs`.

pub mod accepted;
mod acknowledged;
pub mod change;
mod costs;
pub mod drain;
mod leaving;
pub mod order;
pub mod plan;
pub mod quorum;
pub mod relocate;
pub mod resume;

use crate::checkpoint::keys::KeysInForce;
use crate::domain::call_error::CallError;
use crate::domain::cause::AnyError;
use crate::domain::draft::{self, bad};
use crate::domain::ids::NodeId;
use crate::ledger::roles::Target;
use crate::ledger::state::Tables;
use crate::objective::layout::{self, LayoutGuarantee};
use crate::objective::read::ReadLevel;
use crate::objective::write::LevelMember;
use crate::raft::group::RaftGroup;
use crate::raft::reads::Reads;
use crate::raft::types::Peer;
use crate::recorder::writes::Writes;
use crate::status::peer_monitor::{IncompatiblePeer, PeerMonitor};
use crate::status::table::StatusTable;
use crate::transport::Destination;
use acknowledged::Acknowledged;
use futures::stream::{BoxStream, StreamExt as _};
use muniment_evidence::opening::ModeDocument;
use plan::{CurrentMembers, Wanted, Wish};
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio::sync::{mpsc, watch};

/// Lines of progress that wait for their reader; one that nobody reads is dropped.
const STEPS_AHEAD: usize = 64;

/// What changing the members needs of its node.
pub struct MembershipParts {
    pub reads: Reads,
    pub writes: Writes,
    pub keys: Arc<KeysInForce>,
    pub status: StatusTable,
    pub peers: PeerMonitor,
    /// The levels that callers were promised, and who.
    pub promised: Vec<LayoutGuarantee>,
}

/// See the module; one per node. Cheap to clone.
#[derive(Clone)]
pub struct MembershipChanges(Arc<Inner>);

struct Inner {
    parts: MembershipParts,
    /// Held while a change is carried through here.
    changing: Arc<tokio::sync::Mutex<()>>,
    drained: watch::Sender<bool>,
    acknowledged: Acknowledged,
}

/// A line of progress.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangeStep {
    pub phase: &'static str,
    pub detail: String,
    pub done: bool,
}

/// Progress, then the end: a step that is done, or why it is not.
pub type ChangeSteps = BoxStream<'static, Result<ChangeStep, CallError>>;

/// Where lines of progress go.
#[derive(Clone)]
pub struct Progress(mpsc::Sender<ChangeStep>);

impl Progress {
    fn say(&self, phase: &'static str, detail: impl Into<String>) {
        let detail = detail.into();
        tracing::info!(phase, detail, "members");
        // Nobody may be reading any more; the change goes on.
        let _ = self.0.try_send(ChangeStep {
            phase,
            detail,
            done: false,
        });
    }
}

/// Runs on by itself; what it says and how it ends come out of the stream.
fn run<F>(work: impl FnOnce(Progress) -> F) -> ChangeSteps
where
    F: Future<Output = Result<String, CallError>> + Send + 'static,
{
    let (sender, receiver) = mpsc::channel(STEPS_AHEAD);
    let running = tokio::spawn(work(Progress(sender)));
    let end = async move {
        match running.await {
            Ok(Ok(detail)) => Ok(ChangeStep {
                phase: "done",
                detail,
                done: true,
            }),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(CallError::Unavailable {
                why: "the node is stopping".into(),
                leader_address: None,
            }),
        }
    };
    tokio_stream::wrappers::ReceiverStream::new(receiver)
        .map(Ok)
        .chain(futures::stream::once(end))
        .boxed()
}

/// The only line of a change that is done when it is answered.
fn done_at_once(detail: String) -> ChangeSteps {
    tracing::info!(detail, "members");
    let done = ChangeStep {
        phase: "done",
        detail,
        done: true,
    };
    futures::stream::once(std::future::ready(Ok(done))).boxed()
}

impl MembershipChanges {
    pub fn new(parts: MembershipParts) -> MembershipChanges {
        MembershipChanges(Arc::new(Inner {
            parts,
            changing: Arc::default(),
            drained: watch::channel(false).0,
            acknowledged: Acknowledged::default(),
        }))
    }

    /// Whether this node was drained and takes no calls; until it is started again.
    pub fn drained(&self) -> watch::Receiver<bool> {
        self.0.drained.subscribe()
    }

    /// Begins a change of the members. A node that is added and no member yet is reached at the
    /// addresses; the order is an operator's, where the ledger has operator keys.
    pub async fn change(
        &self,
        wanted: Wanted,
        addresses: Option<(String, String)>,
        order: Option<ModeDocument>,
    ) -> Result<ChangeSteps, CallError> {
        let wish = wanted.wish;
        if let Some((peer, client)) = &addresses {
            draft::required("peer_address", peer)?;
            draft::required("client_address", client)?;
        }
        let booted = self.0.parts.writes.booted()?;
        if !self.group().is_leader() {
            return Err(self.unavailable("only the leader changes the members"));
        }
        let Ok(turn) = self.0.changing.clone().try_lock_owned() else {
            return Err(under_way());
        };
        self.0.parts.reads.fresh(ReadLevel::Linearizable).await?;
        let members = self.current().await?;
        if members.mode.preparing.is_some() {
            return Err(under_way());
        }
        let target = wish.target(&members)?;
        let advice = match self.check_layout(&members.with(&target)) {
            Ok(advice) => advice,
            Err(why) => {
                return Err(CallError::NotNow {
                    reason: "LAYOUT",
                    detail: format!("{}: {why}", wish.describe()),
                });
            }
        };
        self.must_be_accepted(&wanted, &members, &target).await?;
        self.must_have_a_word(&wanted).await?;
        let newcomer = self.newcomer(&members, &wish, addresses).await?;
        self.must_be_completable(&wish, &members, &target).await?;
        let prepare = wanted.prepare(members.mode.next, &target);
        let prepare = self.ordered(prepare, order).await?;
        if wish.leaves() == Some(self.group().node()) {
            self.group().hand_over().await;
            return Err(match self.group().is_leader() {
                true => self.unavailable("no voter could take leadership over yet"),
                false => self.unavailable("leadership was handed over; ask the new leader"),
            });
        }
        let changes = self.clone();
        Ok(run(move |progress| async move {
            let _turn = turn;
            for line in advice {
                progress.say("advice", line);
            }
            changes.make(&booted, prepare, newcomer, &progress).await
        }))
    }

    /// Whether these members can keep what callers were promised; what to mind where they
    /// can.
    pub fn check_layout(&self, members: &[LevelMember]) -> Result<Vec<String>, String> {
        layout::judge(members, &self.0.parts.promised)
    }

    /// Refuses at once what those who answer now could not complete.
    async fn must_be_completable(
        &self,
        wish: &Wish,
        now: &CurrentMembers,
        target: &Target,
    ) -> Result<(), CallError> {
        let mut rising = quorum::rising(&now.voters, &now.mode, target);
        // A newcomer was asked where it is said to be.
        rising.retain(|node| now.replicated.contains(node));
        let asked: BTreeSet<NodeId> = (now.voters.iter().chain(&target.voters).chain(&rising))
            .copied()
            .collect();
        let answers = asked.iter().map(|node| self.0.parts.status.ask(*node));
        let answers = futures::future::join_all(answers).await.into_iter();
        let up = answers.flatten().map(|status| status.node()).collect();
        match quorum::judge(&now.voters, target, &rising, &up) {
            Ok(()) => Ok(()),
            Err(why) => Err(CallError::NotNow {
                reason: "TOO_FEW_UP",
                detail: format!("{}: {why}", wish.describe()),
            }),
        }
    }

    /// Where a node to be added is reached, if it is not replicated to yet.
    async fn newcomer(
        &self,
        members: &CurrentMembers,
        wish: &Wish,
        addresses: Option<(String, String)>,
    ) -> Result<Option<(NodeId, Peer)>, CallError> {
        let Wish::Add { node, .. } = *wish else {
            return Ok(None);
        };
        if members.replicated.contains(&node) {
            return Ok(None);
        }
        let known = self.0.parts.keys.now().await?;
        let member = known.history.members.get(&node);
        let cosigns = member.is_some_and(|m| {
            m.cosignature
                .iter()
                .any(muniment_evidence::keys::KeyLife::is_active)
        });
        if !cosigns {
            let why = format!("{node} has no cosignature key in the ledger: add one as well");
            return Err(bad("node", why).into());
        }
        let Some((address, client_address)) = addresses else {
            return Err(bad("peer_address", "is needed for a node that is no member yet").into());
        };
        let to = Destination {
            node,
            address: address.clone(),
        };
        match self.0.parts.peers.fits(&to).await {
            Ok(()) => {}
            Err(IncompatiblePeer::Away(failure)) => {
                return Err(self.unavailable(format!("node {node} at {address}: {failure}")));
            }
            Err(incompatible) => {
                let why = format!("{node} at {address}: {incompatible}");
                return Err(bad("node", why).into());
            }
        }
        let row = &members.known[&node];
        let peer = Peer {
            address,
            client_address,
            zone: row.zone.clone(),
            region: row.region.clone(),
        };
        Ok(Some((node, peer)))
    }

    /// The members as of everything applied here.
    async fn current(&self) -> Result<CurrentMembers, CallError> {
        let replicated = self.group().status().members.into_keys().collect();
        let read = self.0.parts.reads.read(|tables: &Tables<'_>| {
            let voters = tables.voters()?;
            Ok((voters, tables.mode()?, tables.nodes()?))
        });
        let (voters, mode, nodes) = read.await?;
        let [voters] = <[Vec<NodeId>; 1]>::try_from(voters.0).map_err(|_| under_way())?;
        Ok(CurrentMembers {
            voters,
            mode,
            replicated,
            known: nodes.into_iter().collect(),
        })
    }

    fn group(&self) -> &RaftGroup {
        &self.0.parts.reads.context.group
    }

    fn unavailable(&self, why: impl Into<Box<AnyError>>) -> CallError {
        self.group().unavailable(why)
    }
}

fn under_way() -> CallError {
    CallError::NotNow {
        reason: "CHANGE_UNDER_WAY",
        detail: "another change of the members is under way; see `evidence tail`".to_owned(),
    }
}
