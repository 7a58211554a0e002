//! Invariant: no record is of a time to come, whoever led.
//!
//! The clock of one node at a time is wrong, by up to a day. A majority of the voters takes in
//! an entry only if its time is not too far ahead of their own clocks, so that `committed_at` is
//! never further ahead of the true time than that bound; and it never goes back.

use super::Invariant;
use crate::clock::EPOCH_MS;
use crate::facts::Fact;
use crate::mirror::Mirror;
use muniment::objective::clock::AHEAD_MAX;
use std::time::Duration;

#[derive(Default)]
pub struct TimeBounded {
    judged: u64,
    last_ms: u64,
}

impl Invariant for TimeBounded {
    fn name(&self) -> &'static str {
        "time"
    }

    fn take(&mut self, _mirror: &Mirror, fact: &Fact, now: Duration) -> Result<(), String> {
        let Fact::Recorded(recorded) = fact else {
            return Ok(());
        };
        self.judged += 1;
        let (index, at_ms) = (recorded.record.index, recorded.record.committed_at_ms);
        let true_ms = EPOCH_MS as u64 + now.as_millis() as u64;
        let ahead_ms = at_ms.saturating_sub(true_ms);
        if u128::from(ahead_ms) > AHEAD_MAX.as_millis() {
            return Err(format!("record {index} is {ahead_ms} ms ahead of its time"));
        }
        if at_ms < self.last_ms {
            return Err(format!(
                "record {index} is of a time before the one ahead of it"
            ));
        }
        self.last_ms = at_ms;
        Ok(())
    }

    fn judged(&self) -> u64 {
        self.judged
    }
}
