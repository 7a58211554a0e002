//! Founding: a ledger comes into being.
//!
//! Promises: a ledger is founded once, on an empty node, with members that can meet the
//! levels that its tenants are promised, whose ways fit the timing profile.
//! Tests: `tests/sim/main.rs`, `tests/cluster/profiles.rs`.

use super::{Parts, prove};
use crate::domain::call_error::CallError;
use crate::domain::draft::{self, bad};
use crate::domain::ids::{NodeId, TreeSize};
use crate::objective::write;
use crate::raft::types::Peer;
use crate::recorder::StatementSigner;
use crate::status::peer_monitor::IncompatiblePeer;
use crate::transport::Destination;
use muniment_evidence::digest::Digest;
use muniment_evidence::genesis;
use muniment_evidence::key::PublicKey;
use muniment_evidence::keychange::Role;
use muniment_evidence::opening::{Document, GenesisDocument, Member};
use muniment_evidence::trust::Trust;
use std::collections::BTreeMap;
use std::time::Duration;

/// How long founding may take: an election and a few commits.
const FOUNDING_MAX: Duration = Duration::from_secs(30);
/// Members of a founding; more are added later.
const MEMBERS_MAX: usize = 64;

const NO_MAJORITY: &str = "no majority of the members answered; start them and make the call again";

/// A founding member.
#[derive(Clone, Debug)]
pub struct MemberSpec {
    pub node: NodeId,
    pub region: String,
    pub zone: String,
    pub peer_address: String,
    pub client_address: String,
    pub statement_key: PublicKey,
    pub cosignature_key: PublicKey,
}

/// What is to be founded.
#[derive(Clone, Debug)]
pub struct Founding {
    pub origin: String,
    pub members: Vec<MemberSpec>,
    pub root_keys: Vec<PublicKey>,
    /// Root keys that must sign a change of keys.
    pub threshold: u8,
    pub operator_keys: Vec<PublicKey>,
}

/// Founds the ledger.
pub async fn found(parts: &Parts, founding: Founding) -> Result<Trust, CallError> {
    let group = &parts.reads.context.group;
    check(parts, &founding)?;
    check_roots(&founding.root_keys, founding.threshold)?;
    check_layout(parts, &founding.members)?;
    let keyring = parts.keys.keyring();
    let log_keys = keyring.public(Role::Log);
    let log_key = log_keys
        .first()
        .ok_or_else(|| parts.keys.without_log_key())?;
    let genesis = genesis(&founding, *log_key);
    check_genesis(&genesis, group.node())?;
    let head = parts.reads.read(|tables| tables.head()).await?;
    if head.size > TreeSize::EMPTY {
        return Err(CallError::NotNow {
            reason: "ALREADY_FOUNDED",
            detail: format!("a ledger is founded here already: {}", head.ledger),
        });
    }
    if !group.is_initialized().await {
        check_ways(parts, &founding.members).await?;
    }
    if !group.is_initialized().await {
        let founded = group.initialize(peers(&founding.members)).await;
        founded.map_err(|why| parts.reads.unavailable(why))?;
    }
    lead(parts).await?;
    let signer = StatementSigner {
        node: group.node(),
        ledger: Digest::ZERO,
        signer: keyring.clone(),
        clock: parts.reads.context.clock.clone(),
    };
    let recording = parts.founder.means.found(&signer, genesis);
    match tokio::time::timeout(FOUNDING_MAX, recording).await {
        Ok(Ok(())) => {}
        Ok(Err(why)) => return Err(parts.reads.unavailable(why.to_string())),
        Err(_) => {
            return Err(parts.reads.unavailable(NO_MAJORITY));
        }
    }
    let mut booted = parts.writes.booted.clone();
    let ready = booted.wait_for(Option::is_some);
    match tokio::time::timeout(FOUNDING_MAX, ready).await {
        Ok(Ok(_)) => prove::trust(&parts.writes),
        _ => Err(parts
            .reads
            .unavailable("founded, but this node has not booted in time")),
    }
}

/// GENESIS is taken from within alone, so whoever leads the empty group founds: waits until
/// this node does, or says who does.
async fn lead(parts: &Parts) -> Result<(), CallError> {
    let group = &parts.reads.context.group;
    let mut seen = None;
    let led = async {
        loop {
            let now = group.leadership_changed(seen).await;
            match now.leader {
                Some(leader) => return leader,
                None => seen = Some(now),
            }
        }
    };
    match tokio::time::timeout(FOUNDING_MAX, led).await {
        Ok(leader) if leader == group.node() => Ok(()),
        Ok(leader) => Err(parts.reads.unavailable(format!(
            "node {leader} leads the group that is to be founded: make the call there"
        ))),
        Err(_) => Err(parts.reads.unavailable(NO_MAJORITY)),
    }
}

fn peers(members: &[MemberSpec]) -> BTreeMap<NodeId, Peer> {
    let peers = members.iter().map(|member| {
        let peer = Peer {
            address: member.peer_address.clone(),
            client_address: member.client_address.clone(),
            zone: member.zone.clone(),
            region: member.region.clone(),
        };
        (member.node, peer)
    });
    peers.collect()
}

fn genesis(founding: &Founding, log_key: PublicKey) -> GenesisDocument {
    let members = founding.members.iter().map(|member| Member {
        node: member.node,
        region: member.region.clone(),
        zone: member.zone.clone(),
        statement_key: member.statement_key,
        cosignature_key: member.cosignature_key,
    });
    GenesisDocument {
        origin: founding.origin.clone(),
        log_key,
        threshold: founding.threshold,
        root_keys: founding.root_keys.clone(),
        operator_keys: founding.operator_keys.clone(),
        members: members.collect(),
    }
}

/// By the rule of every verifier, before anything is begun: a ledger that is founded against
/// it would have no receipt that verifies.
fn check_genesis(genesis: &GenesisDocument, founder: NodeId) -> Result<(), CallError> {
    genesis::admissible(genesis, founder).map_err(|why| bad("members", why))?;
    let within = Document::Genesis(genesis.clone()).within_limits();
    Ok(within.map_err(|unfit| bad("members", unfit))?)
}

fn check(parts: &Parts, founding: &Founding) -> Result<(), CallError> {
    let Founding {
        origin, members, ..
    } = founding;
    if *origin != parts.founder.origin {
        let own = &parts.founder.origin;
        let why = format!("is {origin:?}, but this node is configured for {own:?}");
        return Err(bad("origin", why).into());
    }
    if members.is_empty() || members.len() > MEMBERS_MAX {
        return Err(bad("members", format!("are 1 to {MEMBERS_MAX}")).into());
    }
    for (at, member) in members.iter().enumerate() {
        let field = |name: &str| format!("members[{at}].{name}");
        if member.node == NodeId::NONE || members[..at].iter().any(|m| m.node == member.node) {
            return Err(bad(&field("node"), "is a number from 1 on, each once").into());
        }
        draft::name(&field("zone"), &member.zone)?;
        draft::name(&field("region"), &member.region)?;
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
    let (place, keyring) = (&parts.reads.place, parts.keys.keyring());
    let holds = |role, key| keyring.find(role, key).is_some();
    let own = members.iter().find(|m| m.node == place.node);
    let fits = own.is_some_and(|m| {
        m.zone == place.zone
            && m.region == place.region
            && holds(Role::Statement, &m.statement_key)
            && holds(Role::Cosignature, &m.cosignature_key)
    });
    if !fits {
        let node = place.node;
        let why = format!("do not hold this node ({node}) with its zone, region and keys");
        return Err(bad("members", why).into());
    }
    Ok(())
}

/// Measures the way to each member: a profile that does not fit is refused before anybody
/// relies on it.
async fn check_ways(parts: &Parts, members: &[MemberSpec]) -> Result<(), CallError> {
    for member in members.iter().filter(|m| m.node != parts.reads.place.node) {
        let (node, address) = (member.node, &member.peer_address);
        let to = Destination {
            node,
            address: address.clone(),
        };
        match parts.cluster.peers.fits(&to).await {
            Ok(()) => {}
            Err(IncompatiblePeer::Away(failure)) => {
                return Err(parts.reads.unavailable(format!(
                    "node {node} at {address}: {failure}; start all members and make the \
                     call again"
                )));
            }
            Err(IncompatiblePeer::Profile(why)) => {
                return Err(bad("profile", format!("node {node} at {address}: {why}")).into());
            }
            Err(IncompatiblePeer::Configuration(why)) => {
                return Err(bad("members", format!("node {node} at {address}: {why}")).into());
            }
        }
    }
    Ok(())
}

fn check_layout(parts: &Parts, members: &[MemberSpec]) -> Result<(), CallError> {
    let voters = members.iter().map(|member| write::LevelMember {
        node: member.node,
        zone: member.zone.clone(),
        region: member.region.clone(),
        role: write::MemberRole::Voter,
    });
    let voters: Vec<_> = voters.collect();
    match parts.membership.check_layout(&voters) {
        Ok(advice) => {
            for line in advice {
                tracing::warn!("{line}");
            }
            Ok(())
        }
        Err(why) => Err(bad("members", why).into()),
    }
}

fn check_roots(root_keys: &[PublicKey], threshold: u8) -> Result<(), CallError> {
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
