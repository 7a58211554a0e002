//! Policy: whose cosignatures make a checkpoint survive the loss of zones.
//!
//! Promises: the members' keys in force now, a group for each zone, and a quorum of zones
//! that any verifier of C2SP tlog-policy checks. Leaves it to the auditor to get the
//! policy from someone he trusts, as he does with the pin.

use crate::checkpoint::keys::KeysInForce;
use crate::domain::call_error::CallError;
use crate::domain::draft::bad;
use crate::objective::read::ReadLevel;
use crate::raft::reads::{Answered, Reads};
use crate::recorder::writes::Writes;
use muniment_evidence::ledger::cosigner_key_name;
use muniment_evidence::note::VerifierKey;
use muniment_evidence::policy::{Policy, Threshold};
use std::collections::BTreeMap;

/// `zones` of them must have cosigned; 0: two, or one where there is only one.
pub async fn policy(
    reads: &Reads,
    writes: &Writes,
    keys: &KeysInForce,
    zones: u32,
) -> Result<(Policy, Answered), CallError> {
    let booted = writes.booted()?;
    reads.fresh(ReadLevel::Linearizable).await?;
    let answered = reads.answered(true);
    let known = keys.now().await?;
    let voters = reads.read(|tables| tables.voters()).await?;
    let failed =
        |error: muniment_evidence::policy::PolicyError| reads.unavailable(error.to_string());
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
        for (turn, life) in active.enumerate() {
            // While keys overlap, each of them vouches for the node.
            let witness = match turn {
                0 => format!("node-{node}"),
                turn => format!("node-{node}-{turn}"),
            };
            let key = VerifierKey::cosigner(&name, life.key);
            builder.witness(&witness, key, None).map_err(failed)?;
            let zone = format!("zone-{}-{}", member.region, member.zone);
            by_zone.entry(zone).or_default().push(witness);
        }
    }
    let wanted = match zones as usize {
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
