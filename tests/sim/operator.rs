//! The operator: adds, promotes, replaces and removes nodes, and moves leadership.
//!
//! Promises to use the verbs that an operator has, on whichever node leads, and to ask
//! again until the members are what he wants or the run ends: a leader that dies midway, a
//! refusal that passes and an answer that is lost are part of his day. What is a step too
//! far already is seen from the members in force. Leaves judging to the invariants.

use crate::cluster::{self, Cluster};
use crate::oracle::Phase;
use futures::stream::StreamExt as _;
use muniment::domain::call_error::CallError;
use muniment::domain::ids::NodeId;
use muniment::membership::accepted::Accepted;
use muniment::membership::{ChangeSteps, plan};
use muniment::service::{Parts, keys, status};
use muniment_evidence::endorsement::Endorsements;
use muniment_evidence::key::{SecretKey, Signer as _};
use muniment_evidence::keychange::{Action, KeyChange, KeyDocument, Role};
use muniment_evidence::opening::{Document, ModeDocument};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How long an order holds: longer than any clock of the run is off.
const ORDER_MS: u64 = 24 * 60 * 60 * 1000;
/// A node that is to leave and does not say what it promised is asked for so often before its
/// promises are given up: one that crashed is back by then.
const PATIENCE: u32 = 20;
/// Between two looks whether there is something to do.
const LOOK_PAUSE: Duration = Duration::from_millis(100);

/// One thing that the operator wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// The ledger knows the node's keys.
    Keys(u64),
    Learn {
        node: u64,
        sync: bool,
    },
    Promote(u64),
    Replace {
        old: u64,
        new: u64,
    },
    Remove(u64),
}

/// What is wanted, in order, and how far it has come.
#[derive(Default)]
pub struct Orders(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    wishes: Vec<Wish>,
    done: usize,
    /// The node that is at it.
    busy: Option<u64>,
    transfer: Option<u64>,
    transferred: u64,
    last_refusal: Option<String>,
    /// How often nobody knew what a node had promised.
    unknown: BTreeMap<u64, u32>,
}

impl Orders {
    pub fn want(&self, wishes: Vec<Wish>) {
        self.0.lock().unwrap().wishes.extend(wishes);
    }

    /// Leadership is to go to this node, if it can.
    pub fn transfer(&self, to: u64) {
        self.0.lock().unwrap().transfer = Some(to);
    }

    /// Wishes that came true, of how many.
    pub fn progress(&self) -> (usize, usize) {
        let inner = self.0.lock().unwrap();
        (inner.done, inner.wishes.len())
    }

    pub fn transferred(&self) -> u64 {
        self.0.lock().unwrap().transferred
    }

    /// Nodes that have left by a wish that came true.
    pub fn left(&self) -> Vec<u64> {
        let inner = self.0.lock().unwrap();
        let done = inner.wishes[..inner.done].iter();
        done.filter_map(|wish| match wish {
            Wish::Remove(node) | Wish::Replace { old: node, .. } => Some(*node),
            _ => None,
        })
        .collect()
    }

    /// Nodes whose promises were no longer waited for.
    pub fn given_up(&self) -> Vec<u64> {
        let inner = self.0.lock().unwrap();
        let unknown = inner.unknown.iter();
        let impatient = unknown.filter(|(_, times)| **times > PATIENCE);
        impatient.map(|(node, _)| *node).collect()
    }

    /// Whether it is worth waiting until this node says what it promised.
    fn waits_for(&self, node: NodeId) -> bool {
        let mut inner = self.0.lock().unwrap();
        let times = inner.unknown.entry(node.get()).or_default();
        *times += 1;
        *times <= PATIENCE
    }

    pub fn last_refusal(&self) -> Option<String> {
        self.0.lock().unwrap().last_refusal.clone()
    }

    /// A node is gone: what it was at is taken up by another.
    pub fn forget(&self, node: u64) {
        let mut inner = self.0.lock().unwrap();
        if inner.busy == Some(node) {
            inner.busy = None;
        }
    }

    fn begin(&self, node: u64) -> Option<Wish> {
        let mut inner = self.0.lock().unwrap();
        if inner.busy.is_some() {
            return None;
        }
        let wish = inner.wishes.get(inner.done).copied()?;
        inner.busy = Some(node);
        Some(wish)
    }

    fn end(&self, ended: Result<(), String>) {
        let mut inner = self.0.lock().unwrap();
        inner.busy = None;
        match ended {
            Ok(()) => inner.done += 1,
            Err(why) => inner.last_refusal = Some(why),
        }
    }
}

pub fn start(parts: &Arc<Parts>, cluster: &Arc<Cluster>) {
    tokio::spawn(transfer(parts.clone(), cluster.clone()));
    tokio::spawn(work(parts.clone(), cluster.clone()));
}

async fn transfer(parts: Arc<Parts>, cluster: Arc<Cluster>) {
    loop {
        tokio::time::sleep(LOOK_PAUSE).await;
        if !parts.reads.context.group.is_leader() {
            continue;
        }
        let wanted = cluster.orders.0.lock().unwrap().transfer.take();
        let Some(to) = wanted.filter(|to| *to != parts.reads.place.node.get()) else {
            continue;
        };
        if status::transfer(&parts.reads.context.group, NodeId::new(to))
            .await
            .is_ok()
        {
            cluster.orders.0.lock().unwrap().transferred += 1;
        }
    }
}

async fn work(parts: Arc<Parts>, cluster: Arc<Cluster>) {
    loop {
        tokio::time::sleep(LOOK_PAUSE).await;
        let working = matches!(cluster.oracle.phase(), Phase::Load | Phase::Finish);
        if !working || parts.writes.booted().is_err() || !parts.reads.context.group.is_leader() {
            continue;
        }
        let Some(wish) = cluster.orders.begin(parts.reads.place.node.get()) else {
            continue;
        };
        let ended = fulfil(&parts, &cluster, wish).await;
        cluster
            .orders
            .end(ended.map_err(|error| format!("{wish:?}: {error}")));
    }
}

async fn fulfil(parts: &Arc<Parts>, cluster: &Cluster, wish: Wish) -> Result<(), CallError> {
    let roles = parts.reads.context.group.roles();
    let voters = parts.reads.context.group.status().voters;
    let settled = roles.preparing.is_none();
    let learns = |node: &u64, sync: bool| match sync {
        true => roles.sync_learners.contains(&NodeId::new(*node)),
        false => roles.async_learners.contains(&NodeId::new(*node)),
    };
    let node_of = NodeId::new;
    let wish = match wish {
        Wish::Keys(node) => return add_keys(parts, cluster, node).await,
        Wish::Learn { node, sync }
            if settled && (learns(&node, sync) || voters.contains(&node_of(node))) =>
        {
            return Ok(());
        }
        Wish::Promote(node) if settled && voters.contains(&node_of(node)) => return Ok(()),
        Wish::Replace { old, new }
            if settled && voters.contains(&node_of(new)) && !voters.contains(&node_of(old)) =>
        {
            return Ok(());
        }
        Wish::Remove(node) if settled && roles.gone.contains(&node_of(node)) => return Ok(()),
        Wish::Learn { node, sync } => plan::Wish::Add {
            node: node_of(node),
            sync,
        },
        Wish::Promote(node) => plan::Wish::Promote(node_of(node)),
        Wish::Replace { old, new } => plan::Wish::Replace {
            old: node_of(old),
            new: node_of(new),
        },
        Wish::Remove(node) => plan::Wish::Remove(node_of(node)),
    };
    let addresses = match wish {
        plan::Wish::Add { node, .. } => {
            Some((cluster::address(node.get()), cluster::name(node.get())))
        }
        _ => None,
    };
    let wanted = at_its_cost(parts, cluster, wish).await?;
    let order = order(parts, cluster, wanted.clone()).await?;
    end(parts
        .membership
        .change(wanted, addresses, Some(order))
        .await?)
    .await
}

/// The change, with what its refusals say that it costs: he means it, once a node that is to leave
/// has had time to come back.
async fn at_its_cost(
    parts: &Parts,
    cluster: &Cluster,
    wish: plan::Wish,
) -> Result<plan::Wanted, CallError> {
    let mut named: Vec<String> = Vec::new();
    loop {
        let accepted = Accepted::parse(&named)?;
        let wanted = plan::Wanted { wish, accepted };
        let Err(refused) = parts.membership.draft(wanted.clone()).await else {
            return Ok(wanted);
        };
        let told = match (&refused, wish.leaves()) {
            (CallError::NotNow { reason, detail }, _) if *reason == "LEVEL_UNMET" => detail,
            (CallError::NotNow { reason, detail }, Some(node))
                if *reason == "OUTBOX_UNKNOWN" && !cluster.orders.waits_for(node) =>
            {
                detail
            }
            _ => return Err(refused),
        };
        let costs = told.split("--accept ").skip(1);
        let costs = costs.filter_map(|rest| rest.split_whitespace().next());
        let before = named.len();
        named.extend(costs.map(str::to_owned));
        assert!(
            named.len() > before,
            "what can be accepted is named: {told}"
        );
    }
}

/// What the leader has drafted, signed as it is: the operator's own key is nowhere else.
async fn order(
    parts: &Parts,
    cluster: &Cluster,
    wanted: plan::Wanted,
) -> Result<ModeDocument, CallError> {
    let draft = parts.membership.draft(wanted).await?;
    let Document::Mode(document) = draft.document.clone() else {
        panic!("a change of the members is drafted");
    };
    let mut order = draft.endorsements(draft.committed_at_ms + ORDER_MS);
    order.sign(&draft.ledger, &document, &cluster.operator_key());
    let order = Some(order);
    Ok(ModeDocument { order, ..document })
}

async fn end(mut steps: ChangeSteps) -> Result<(), CallError> {
    while let Some(step) = steps.next().await {
        step?;
    }
    Ok(())
}

async fn add_keys(parts: &Parts, cluster: &Cluster, node: u64) -> Result<(), CallError> {
    let view = keys::list(parts).await?;
    if view.known.history.members.contains_key(&NodeId::new(node)) {
        return Ok(());
    }
    let keys = [
        (Role::Statement, cluster.statement_key(node)),
        (Role::Cosignature, cluster.cosignature_key(node)),
    ];
    let change = |(role, key): &(Role, SecretKey)| KeyChange {
        action: Action::Add,
        role: *role,
        node: NodeId::new(node),
        region: cluster::region(node),
        zone: cluster::zone(node),
        key: key.public(),
    };
    let mut document = KeyDocument {
        serial: view.known.history.serial,
        changes: keys.iter().map(change).collect(),
        threshold: 0,
        endorsements: Endorsements::new(view.after, view.leaf, view.committed_at_ms + ORDER_MS),
    };
    // Who comes in agrees, and where there are no root keys a majority of the members decides.
    for (_, key) in &keys {
        document.endorse(&view.ledger, key);
    }
    for member in view.known.history.members.keys() {
        document.endorse(&view.ledger, &cluster.statement_key(member.get()));
    }
    keys::change(parts, document).await.map(|_| ())
}
