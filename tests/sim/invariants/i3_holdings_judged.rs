//! I3: holdings are judged in apply against the membership at that index (both sets while
//! one is being changed); else REFUSED and a retry.
//!
//! Checked with arithmetic of its own when a record is applied first: an OK one has, for
//! each body, holdings that say its name, digest and length, are of an epoch in time and of
//! the disks on record, and meet the level in each set of voters, that of a change in
//! preparation among them. One that was refused for its holdings lacks just that.

use super::Invariant;
use crate::facts::{Fact, Recorded};
use crate::mirror::Mirror;
use muniment_evidence::opening::Rendition;
use muniment_evidence::record::{Outcome, Reason};
use std::collections::BTreeSet;
use std::time::Duration;

#[derive(Default)]
pub struct HoldingsJudged {
    judged: u64,
}

/// Who holds a body, by the holdings that count.
fn holders(recorded: &Recorded, rendition: &Rendition) -> BTreeSet<u64> {
    let ledger = &recorded.ledger;
    let counts = recorded.holdings().iter().filter(|holding| {
        let of_this = holding.body_id == rendition.body_id
            && holding.sha256 == rendition.sha256
            && holding.length == rendition.length
            && holding.ledger == recorded.record.statement.ledger;
        let age = ledger.upload_epoch.checked_sub(holding.epoch.get());
        let disk = ledger.disks.get(&holding.node.get());
        of_this && age.is_some_and(|age| age <= 1) && disk == Some(&holding.incarnation)
    });
    counts.map(|holding| holding.node.get()).collect()
}

impl Invariant for HoldingsJudged {
    fn name(&self) -> &'static str {
        "i3"
    }

    fn take(&mut self, _mirror: &Mirror, fact: &Fact, _now: Duration) -> Result<(), String> {
        let Fact::Recorded(recorded) = fact else {
            return Ok(());
        };
        let index = recorded.record.index;
        let unmet = recorded
            .renditions()
            .iter()
            .find_map(|rendition| recorded.unmet(&holders(recorded, rendition)));
        match (recorded.record.outcome, unmet) {
            (Outcome::Ok, Some(why)) => Err(format!("record {index} is OK although {why}")),
            (Outcome::Refused(Reason::HoldingsInsufficient), None) => Err(format!(
                "record {index} was refused although its holdings meet the level"
            )),
            _ => {
                self.judged += u64::from(!recorded.renditions().is_empty());
                Ok(())
            }
        }
    }

    fn judged(&self) -> u64 {
        self.judged
    }
}
