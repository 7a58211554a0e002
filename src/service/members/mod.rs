//! Members come and go while the ledger serves (I8).
//!
//! One change at a time, in steps that are all on record: PREPARE names the target; who
//! comes in is brought everything, and a majority of the target holds every body; Raft
//! changes; DONE. What cannot be carried through is given up by ABORT, and the members stay
//! what they were. A leader that dies in between leaves the change to the next one.
//!
//! Promises: a target that cannot keep what was promised is refused before PREPARE, with
//! the reason; a change goes on when the caller goes away. Runs on the leader; elsewhere
//! the call says who leads.
//!
//! * [`plan`]: what a wish comes to
//! * [`change`]: carrying it through, or giving it up
//! * [`tend`]: what an earlier leader has left
//! * [`drain`]: a node before its maintenance

pub mod change;
pub mod drain;
pub mod plan;
pub mod tend;

use super::acquaintance::Misfit;
use super::cosigning::Cosigned;
use super::{Core, Error, Principal};
use crate::domain::draft::{self, bad};
use crate::ledger::state::Tables;
use crate::objective::layout::{self, Promise};
use crate::objective::read::ReadLevel;
use crate::raft::group::RaftGroup;
use crate::raft::identity::{self, Standing};
use crate::raft::types::Peer;
use crate::transport::{Class, Method};
use futures::stream::{BoxStream, StreamExt as _};
use plan::{Now, Wish};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};

/// Lines of progress that wait for their reader; one that nobody reads is dropped.
const STEPS_AHEAD: usize = 64;
/// One node's answer how it stands.
const STANDING_MAX: Duration = Duration::from_secs(2);

/// What the verbs of this folder keep; one per node.
pub struct Desk {
    /// Held while a change is carried through here.
    changing: Arc<tokio::sync::Mutex<()>>,
    drained: watch::Sender<bool>,
}

impl Default for Desk {
    fn default() -> Desk {
        Desk {
            changing: Arc::default(),
            drained: watch::channel(false).0,
        }
    }
}

impl Desk {
    /// Whether this node was drained and takes no calls; until it is started again.
    pub fn drained(&self) -> watch::Receiver<bool> {
        self.drained.subscribe()
    }
}

/// A line of progress.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    pub phase: &'static str,
    pub detail: String,
    pub done: bool,
}

/// Progress, then the end: a step that is done, or why it is not.
pub type Steps = BoxStream<'static, Result<Step, Error>>;

/// Where lines of progress go.
#[derive(Clone)]
pub struct Progress(mpsc::Sender<Step>);

impl Progress {
    fn say(&self, phase: &'static str, detail: impl Into<String>) {
        let detail = detail.into();
        tracing::info!(phase, detail, "members");
        // Nobody may be reading any more; the change goes on.
        let _ = self.0.try_send(Step {
            phase,
            detail,
            done: false,
        });
    }
}

/// Runs on by itself; what it says and how it ends come out of the stream.
fn run<F>(work: impl FnOnce(Progress) -> F) -> Steps
where
    F: Future<Output = Result<String, Error>> + Send + 'static,
{
    let (sender, receiver) = mpsc::channel(STEPS_AHEAD);
    let running = tokio::spawn(work(Progress(sender)));
    let end = async move {
        match running.await {
            Ok(Ok(detail)) => Ok(Step {
                phase: "done",
                detail,
                done: true,
            }),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(Error::Unavailable {
                why: "the node is stopping".to_owned(),
                leader_address: None,
            }),
        }
    };
    tokio_stream::wrappers::ReceiverStream::new(receiver)
        .map(Ok)
        .chain(futures::stream::once(end))
        .boxed()
}

/// Adds a node that the ledger knows by its keys; `sync` makes it count for the levels
/// `all` and `regions`, once it holds everything. Without addresses a learner's role is
/// changed.
pub async fn add(
    core: &Arc<Core>,
    principal: &Principal,
    node: u64,
    addresses: Option<(String, String)>,
    sync: bool,
) -> Result<Steps, Error> {
    if let Some((peer, client)) = &addresses {
        draft::required("peer_address", peer)?;
        draft::required("client_address", client)?;
    }
    let wish = Wish::Add { node, sync };
    begin(core, principal, wish, addresses).await
}

pub async fn promote(core: &Arc<Core>, by: &Principal, node: u64) -> Result<Steps, Error> {
    begin(core, by, Wish::Promote(node), None).await
}

pub async fn remove(core: &Arc<Core>, by: &Principal, node: u64) -> Result<Steps, Error> {
    begin(core, by, Wish::Remove(node), None).await
}

pub async fn replace(core: &Arc<Core>, by: &Principal, old: u64, new: u64) -> Result<Steps, Error> {
    begin(core, by, Wish::Replace { old, new }, None).await
}

async fn begin(
    core: &Arc<Core>,
    _principal: &Principal,
    wish: Wish,
    addresses: Option<(String, String)>,
) -> Result<Steps, Error> {
    let booted = core.booted()?;
    if !core.group.is_leader() {
        return Err(core.unavailable("only the leader changes the members"));
    }
    let Ok(turn) = core.members.changing.clone().try_lock_owned() else {
        return Err(under_way());
    };
    core.fresh(ReadLevel::Linearizable).await?;
    let now = now(core).await?;
    if now.mode.preparing.is_some() {
        return Err(under_way());
    }
    let target = wish.target(&now)?;
    let advice = layout::judge(&now.members(&target), &promised(core));
    let advice = advice.map_err(|why| Error::NotNow {
        reason: "LAYOUT",
        detail: format!("{}: {why}", wish.describe()),
    })?;
    let newcomer = newcomer(core, &now, &wish, addresses).await?;
    if wish.leaves() == Some(core.node) {
        core.group.hand_over().await;
        return Err(match core.group.is_leader() {
            true => core.unavailable("no voter could take leadership over yet"),
            false => core.unavailable("leadership was handed over; ask the new leader"),
        });
    }
    let core = core.clone();
    Ok(run(move |progress| async move {
        let _turn = turn;
        for line in advice {
            progress.say("advice", line);
        }
        change::make(&core, &booted, &wish, target, newcomer, &progress).await
    }))
}

fn under_way() -> Error {
    Error::NotNow {
        reason: "CHANGE_UNDER_WAY",
        detail: "another change of the members is under way; see `evidence tail`".to_owned(),
    }
}

/// Where a node to be added is reached, if it is not replicated to yet.
async fn newcomer(
    core: &Core,
    now: &Now,
    wish: &Wish,
    addresses: Option<(String, String)>,
) -> Result<Option<(u64, Peer)>, Error> {
    let Wish::Add { node, .. } = *wish else {
        return Ok(None);
    };
    if now.replicated.contains(&node) {
        return Ok(None);
    }
    let known = core.known_keys().await?;
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
    match core.acquaintance.fits(&address).await {
        Ok(()) => {}
        Err(Misfit::Away(failure)) => {
            return Err(core.unavailable(format!("node {node} at {address}: {failure}")));
        }
        Err(misfit) => {
            return Err(bad("node", format!("{node} at {address}: {misfit}")).into());
        }
    }
    let row = &now.known[&node];
    let peer = Peer {
        address,
        client_address,
        zone: row.zone.clone(),
        region: row.region.clone(),
    };
    Ok(Some((node, peer)))
}

/// The members as of everything applied here.
async fn now(core: &Core) -> Result<Now, Error> {
    let replicated = core.group.status().members.into_keys().collect();
    let read = core.read(|tables: &Tables| {
        let voters = tables.voters()?;
        Ok((voters, tables.mode()?, tables.nodes()?))
    });
    let (voters, mode, nodes) = read.await?;
    let [voters] = <[Vec<u64>; 1]>::try_from(voters.0).map_err(|_| under_way())?;
    Ok(Now {
        voters,
        mode,
        replicated,
        known: nodes.into_iter().collect(),
    })
}

/// The levels that callers were promised, and who.
pub(super) fn promised(core: &Core) -> Vec<Promise> {
    let tenants = core.tenants.iter();
    tenants
        .map(|tenant| (format!("tenant {}", tenant.name), tenant.level()))
        .collect()
}

/// How this node stands.
pub fn standing(group: &RaftGroup, cosigned: &Cosigned) -> Standing {
    // Before the log, so that the index is never beyond it.
    let body_complete = cosigned.body_complete();
    let applied = group.applied();
    Standing {
        node: group.node(),
        disk: *group.disks().own(),
        raft_index: applied.raft_index,
        size: applied.size,
        body_complete,
    }
}

/// How a member stands, asked directly; `None` when it does not answer, or is another disk.
async fn standing_of(core: &Core, node: u64) -> Option<Standing> {
    if node == core.node {
        return Some(standing(&core.group, &core.cosigned));
    }
    let peer = core.group.member(node)?;
    let known = core.group.disks().of(node).await.ok()?;
    let asked = core.bodies.transport.call(
        peer.address,
        Class::Control,
        Method::Member,
        identity::ask(known),
        STANDING_MAX,
    );
    let standing = Standing::decode(&asked.await.ok()?).ok()?;
    let same_disk = known.is_none_or(|known| known == standing.disk);
    (standing.node == node && same_disk).then_some(standing)
}
