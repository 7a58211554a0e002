//! Policy: whose cosignatures make a checkpoint survive the loss of zones.
//!
//! Promises: the members' keys in force now, a group for each zone, and a quorum of zones
//! that any verifier of C2SP tlog-policy checks. ML-DSA keys are those that the nodes say are
//! theirs: no record names them. Leaves it to the auditor to get the
//! policy from someone he trusts, as he does with the pin.

use crate::checkpoint::Cosigning;
use crate::checkpoint::keys::KeysInForce;
use crate::domain::call_error::CallError;
use crate::domain::draft::bad;
use crate::objective::read::ReadLevel;
use crate::raft::reads::{Answered, Reads};
use crate::recorder::writes::Writes;
use muniment_evidence::ledger::cosigner_key_name;
use muniment_evidence::note::VerifierKey;
use muniment_evidence::policy::{Policy, PolicyBuilder, PolicyError, Threshold};
use std::collections::BTreeMap;

/// What is asked of the cosignatures.
pub struct PolicyWanted {
    /// So many zones must have cosigned; 0: two, or one where there is only one.
    pub zones: u32,
    /// Each node with its ML-DSA key too.
    pub post_quantum: bool,
}

/// The policy, as things are now.
pub async fn policy(
    reads: &Reads,
    writes: &Writes,
    keys: &KeysInForce,
    cosigning: &Cosigning,
    wanted: PolicyWanted,
) -> Result<(Policy, Answered), CallError> {
    let booted = writes.booted()?;
    reads.fresh(ReadLevel::Linearizable).await?;
    let answered = reads.answered(true);
    let known = keys.now().await?;
    let voters = reads.read(|tables| tables.voters()).await?;
    let mut announced = match wanted.post_quantum {
        true => {
            let keys = cosigning.ml_dsa_keys().await;
            Some(keys.map_err(|failure| reads.unavailable(failure))?)
        }
        false => None,
    };
    let failed = |error: PolicyError| reads.unavailable(error.to_string());
    let mut builder = Policy::builder();
    for key in known.history.log_keys_at(answered.log_size) {
        let key = VerifierKey::log(&booted.origin, *key);
        builder.log(key, None).map_err(failed)?;
    }
    let mut by_zone: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (node, member) in &known.history.members {
        if !voters.0.iter().any(|set| set.contains(node)) {
            continue;
        }
        let name = cosigner_key_name(&booted.origin, &member.region, &member.zone, *node);
        let active = member.cosignature.iter().filter(|life| life.is_active());
        let active = active.map(|life| VerifierKey::cosigner(&name, life.key));
        // While keys overlap, each of them vouches for the node.
        let mut vouching =
            witnesses(&mut builder, &format!("node-{node}"), active).map_err(failed)?;
        if let Some(announced) = &mut announced {
            let keys = announced.remove(node).unwrap_or_default();
            if keys.is_empty() {
                let why =
                    format!("node {node} says no ML-DSA key: is it up, with post_quantum on?");
                return Err(reads.unavailable(why));
            }
            let keys = keys
                .into_iter()
                .map(|key| VerifierKey::ml_dsa_cosigner(&name, key));
            let quantum =
                witnesses(&mut builder, &format!("node-{node}-ml-dsa"), keys).map_err(failed)?;
            let both = format!("node-{node}-both");
            let classic =
                any(&mut builder, &format!("node-{node}-any"), vouching).map_err(failed)?;
            let quantum =
                any(&mut builder, &format!("node-{node}-ml-dsa-any"), quantum).map_err(failed)?;
            builder
                .group(&both, Threshold::All, &[&classic, &quantum])
                .map_err(failed)?;
            vouching = vec![both];
        }
        let zone = format!("zone-{}-{}", member.region, member.zone);
        by_zone.entry(zone).or_default().extend(vouching);
    }
    let wanted = match wanted.zones as usize {
        0 => by_zone.len().min(2),
        zones => zones,
    };
    if wanted == 0 || wanted > by_zone.len() {
        let why = format!("is 1 to {}, the number of zones", by_zone.len());
        return Err(bad("zones", why).into());
    }
    for (zone, witnesses) in &by_zone {
        let members: Vec<&str> = witnesses.iter().map(String::as_str).collect();
        builder
            .group(zone, Threshold::Any, &members)
            .map_err(failed)?;
    }
    let quorum = format!("{wanted}-zones");
    let zones: Vec<&str> = by_zone.keys().map(String::as_str).collect();
    builder
        .group(&quorum, Threshold::AtLeast(wanted), &zones)
        .map_err(failed)?;
    builder.quorum(&quorum).map_err(failed)?;
    Ok((builder.build().map_err(failed)?, answered))
}

/// The names of new witnesses: `base`, and for further keys `base-1`, ….
fn witnesses(
    builder: &mut PolicyBuilder,
    base: &str,
    keys: impl Iterator<Item = VerifierKey>,
) -> Result<Vec<String>, PolicyError> {
    let mut names = Vec::new();
    for (turn, key) in keys.enumerate() {
        let name = match turn {
            0 => base.to_owned(),
            turn => format!("{base}-{turn}"),
        };
        builder.witness(&name, key, None)?;
        names.push(name);
    }
    Ok(names)
}

/// One name for any of several, which is the one's where there is only one.
fn any(
    builder: &mut PolicyBuilder,
    group: &str,
    names: Vec<String>,
) -> Result<String, PolicyError> {
    if let [name] = &names[..] {
        return Ok(name.clone());
    }
    let members: Vec<&str> = names.iter().map(String::as_str).collect();
    builder.group(group, Threshold::Any, &members)?;
    Ok(group.to_owned())
}
