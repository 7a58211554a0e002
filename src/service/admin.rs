//! Founding, status, leadership: what operators ask for.
//!
//! Promises: a ledger is founded once, on an empty node, with members that can meet the
//! default level; status is this node's own view and never waits for another.

use super::acquaintance::{Misfit, TimingView};
use super::standing::messages::Standing;
use super::{Core, Error, Principal};
use crate::config::Tenant;
use crate::domain::draft::{self, bad};
use crate::ledger::rows::Head;
use crate::ledger::state::Tables;
use crate::objective::lag::Lag;
use crate::objective::layout;
use crate::objective::loss::{Holder, Loss, by_zone};
use crate::objective::write::{self, WriteLevel};
use crate::raft::status::GroupStatus;
use crate::raft::types::Peer;
use crate::recorder::StatementSigner;
use crate::recorder::boot;
use muniment_evidence::digest::Digest;
use muniment_evidence::key::PublicKey;
use muniment_evidence::keychange::Role;
use muniment_evidence::opening::{GenesisDocument, Member};
use muniment_evidence::trust::Trust;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// How long founding may take: an election and a few commits.
const FOUNDING_MAX: Duration = Duration::from_secs(30);
/// Members of a founding; more are added later.
const MEMBERS_MAX: usize = 64;

/// What founding needs beyond the core.
pub struct Founder {
    pub origin: String,
    pub means: boot::BootContext,
}

/// A founding member.
#[derive(Clone, Debug)]
pub struct MemberSpec {
    pub node: u64,
    pub region: String,
    pub zone: String,
    pub peer_address: String,
    pub client_address: String,
    pub statement_key: PublicKey,
    pub cosignature_key: PublicKey,
}

/// Founds the ledger.
pub async fn init(
    core: &Core,
    _principal: &Principal,
    origin: &str,
    members: Vec<MemberSpec>,
    root_keys: Vec<PublicKey>,
    threshold: u8,
) -> Result<Trust, Error> {
    check(core, origin, &members)?;
    check_roots(&root_keys, threshold)?;
    check_layout(core, &members)?;
    let head = core.read(Tables::head).await?;
    if head.size > 0 {
        return Err(Error::NotNow {
            reason: "ALREADY_FOUNDED",
            detail: format!("a ledger is founded here already: {}", head.ledger),
        });
    }
    if !core.group.is_initialized().await {
        check_ways(core, &members).await?;
    }
    let peers: BTreeMap<u64, Peer> = members
        .iter()
        .map(|member| {
            let peer = Peer {
                address: member.peer_address.clone(),
                client_address: member.client_address.clone(),
                zone: member.zone.clone(),
                region: member.region.clone(),
            };
            (member.node, peer)
        })
        .collect();
    if !core.group.is_initialized().await {
        let founded = core.group.initialize(peers).await;
        founded.map_err(|why| core.unavailable(why.to_string()))?;
    }
    let genesis = GenesisDocument {
        origin: origin.to_owned(),
        log_key: *core
            .keys
            .public(Role::Log)
            .first()
            .ok_or_else(|| core.without_log_key())?,
        threshold,
        root_keys,
        members: members
            .into_iter()
            .map(|member| Member {
                node: member.node,
                region: member.region,
                zone: member.zone,
                statement_key: member.statement_key,
                cosignature_key: member.cosignature_key,
            })
            .collect(),
    };
    let signer = StatementSigner {
        node: core.node,
        ledger: Digest::ZERO,
        signer: core.keys.clone(),
        clock: core.clock.clone(),
    };
    let found = core.founder.means.found(&signer, genesis);
    match tokio::time::timeout(FOUNDING_MAX, found).await {
        Ok(Ok(())) => {}
        Ok(Err(why)) => return Err(core.unavailable(why)),
        Err(_) => {
            return Err(core.unavailable(
                "no majority of the members answered; start them and make the call again",
            ));
        }
    }
    let mut booted = core.booted.clone();
    let ready = booted.wait_for(Option::is_some);
    match tokio::time::timeout(FOUNDING_MAX, ready).await {
        Ok(Ok(_)) => super::prove::trust(core, _principal),
        _ => Err(core.unavailable("founded, but this node has not booted in time")),
    }
}

fn check(core: &Core, origin: &str, members: &[MemberSpec]) -> Result<(), Error> {
    if origin != core.founder.origin {
        let own = &core.founder.origin;
        let why = format!("is {origin:?}, but this node is configured for {own:?}");
        return Err(bad("origin", why).into());
    }
    if members.is_empty() || members.len() > MEMBERS_MAX {
        return Err(bad("members", format!("are 1 to {MEMBERS_MAX}")).into());
    }
    for (at, member) in members.iter().enumerate() {
        let field = |name: &str| format!("members[{at}].{name}");
        if member.node == 0 || members[..at].iter().any(|m| m.node == member.node) {
            return Err(bad(&field("node"), "is a number from 1 on, each once").into());
        }
        draft::required(&field("zone"), &member.zone)?;
        draft::required(&field("region"), &member.region)?;
        draft::required(&field("peer_address"), &member.peer_address)?;
        for (name, key) in [
            ("statement_key", &member.statement_key),
            ("cosignature_key", &member.cosignature_key),
        ] {
            if !key.is_valid() {
                return Err(bad(&field(name), "is not an Ed25519 public key").into());
            }
        }
    }
    let own = members.iter().find(|m| m.node == core.node);
    let fits = own.is_some_and(|m| {
        m.zone == core.zone
            && m.region == core.region
            && core.keys.find(Role::Statement, &m.statement_key).is_some()
            && core
                .keys
                .find(Role::Cosignature, &m.cosignature_key)
                .is_some()
    });
    if !fits {
        let node = core.node;
        let why = format!("do not hold this node ({node}) with its zone, region and keys");
        return Err(bad("members", why).into());
    }
    Ok(())
}

/// Measures the way to each member: a profile that does not fit is refused before anybody
/// relies on it.
async fn check_ways(core: &Core, members: &[MemberSpec]) -> Result<(), Error> {
    for member in members.iter().filter(|m| m.node != core.node) {
        let (node, address) = (member.node, &member.peer_address);
        match core.acquaintance.fits(address).await {
            Ok(()) => {}
            Err(Misfit::Away(failure)) => {
                return Err(core.unavailable(format!(
                    "node {node} at {address}: {failure}; start all members and make the \
                     call again"
                )));
            }
            Err(Misfit::Profile(why)) => {
                return Err(bad("profile", format!("node {node} at {address}: {why}")).into());
            }
            Err(Misfit::Configuration(why)) => {
                return Err(bad("members", format!("node {node} at {address}: {why}")).into());
            }
        }
    }
    Ok(())
}

fn check_layout(core: &Core, members: &[MemberSpec]) -> Result<(), Error> {
    let voters = members.iter().map(|member| write::Member {
        node: member.node,
        zone: member.zone.clone(),
        region: member.region.clone(),
        role: write::Role::Voter,
    });
    let voters: Vec<_> = voters.collect();
    match layout::judge(&voters, &super::members::promised(core)) {
        Ok(advice) => {
            for line in advice {
                tracing::warn!("{line}");
            }
            Ok(())
        }
        Err(why) => Err(bad("members", why).into()),
    }
}

fn check_roots(root_keys: &[PublicKey], threshold: u8) -> Result<(), Error> {
    if let Some(key) = root_keys.iter().find(|key| !key.is_valid()) {
        return Err(bad("root_keys", format!("{key:?} is not an Ed25519 public key")).into());
    }
    let (least, most) = (usize::from(!root_keys.is_empty()), root_keys.len());
    if !(least..=most).contains(&usize::from(threshold)) {
        let why = format!("is {least} to {most}, the number of root keys");
        return Err(bad("root_threshold", why).into());
    }
    Ok(())
}

/// A node's view of itself and its group.
pub struct View {
    pub group: GroupStatus,
    /// How every node stands, how old that is, and how far it is behind this one.
    pub standings: Vec<(Standing, Duration, Lag)>,
    pub zones: Vec<Zone>,
    pub write_level: WriteLevel,
    pub head: Head,
    pub applied_index: u64,
    pub ready: Result<(), Vec<String>>,
}

pub async fn status(core: &Core, _principal: &Principal) -> Result<View, Error> {
    let group = core.group.status();
    // State hash and applied index belong together: read again if apply moved between.
    loop {
        let before = core.group.applied();
        let head = core.read(Tables::head).await?;
        if core.group.applied() == before {
            return Ok(View {
                standings: standings(core),
                zones: zones(core),
                write_level: core.tenant("default")?.level(),
                ready: ready(core),
                group,
                head,
                applied_index: before.raft_index,
            });
        }
        tokio::task::yield_now().await;
    }
}

fn standings(core: &Core) -> Vec<(Standing, Duration, Lag)> {
    let now = core.clock.monotonic();
    let board = core.standings.board().into_values();
    board
        .map(|seen| {
            let lag = core.standings.lag(seen.standing.body_complete);
            (seen.standing, now.saturating_sub(seen.at), lag)
        })
        .collect()
}

/// A zone: how far it is behind, and what would be lost with it.
pub struct Zone {
    pub loss: Loss,
    /// Of the best of its nodes.
    pub behind: Lag,
    pub lost: Lag,
}

/// One row per zone. A node that has not been heard of for a while counts with what it held
/// then: that does not go away.
pub fn zones(core: &Core) -> Vec<Zone> {
    let board = core.standings.board();
    let complete = |node: &u64| board.get(node).map(|seen| seen.standing.body_complete);
    let holders: Vec<Holder> = core
        .bodies
        .members()
        .into_iter()
        .map(|member| Holder {
            complete: complete(&member.node),
            member,
        })
        .collect();
    let level = core.tenant("default").map(Tenant::level);
    by_zone(&holders, level.unwrap_or_default())
        .into_iter()
        .map(|loss| {
            let best = loss.nodes.iter().filter_map(complete).max().unwrap_or(0);
            Zone {
                behind: core.standings.lag(best),
                lost: core.standings.lag(loss.held_elsewhere),
                loss,
            }
        })
        .collect()
}

/// Whether this node may serve, or why not.
pub fn ready(core: &Core) -> Result<(), Vec<String>> {
    let mut reasons = Vec::new();
    if core.booted.borrow().is_none() {
        reasons.push("not booted into a ledger".to_owned());
    }
    if *core.draining.borrow() {
        reasons.push("stopping".to_owned());
    }
    if *core.members.drained().borrow() {
        reasons.push("drained".to_owned());
    }
    if core.group.leader().is_none() {
        reasons.push("no leader is known".to_owned());
    }
    let leaderless = core.vigil.leaderless().as_millis() as u64;
    if leaderless > core.profile.timing().worst_leaderless_ms() {
        reasons.push(format!("no leader has been heard for {leaderless} ms"));
    }
    reasons.extend(core.key_book.trouble());
    reasons.extend(core.acquaintance.trouble());
    reasons.extend(core.nearly_full());
    if reasons.is_empty() {
        Ok(())
    } else {
        Err(reasons)
    }
}

/// The profile beside what is measured; this node's own view.
pub fn timing_view(core: &Core) -> TimingView {
    core.acquaintance.view()
}

pub async fn transfer(core: &Arc<Core>, _principal: &Principal, to: u64) -> Result<u64, Error> {
    if !core.group.is_leader() {
        return Err(core.unavailable("only the leader hands leadership over"));
    }
    match core.group.transfer(to).await {
        Ok(()) => Ok(to),
        Err(why) if !core.group.status().voters.contains(&to) => {
            Err(bad("to", why.to_string()).into())
        }
        // It is behind, or did not answer: later it may.
        Err(why) => Err(core.unavailable(why.to_string())),
    }
}
