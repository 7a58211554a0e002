//! How fast damaged and missing bodies are looked for and brought back.

use serde::{Deserialize, Serialize};

/// A chunk is what is read or sent at a time: a lower rate would be a wait of seconds for
/// each.
const BYTES_PER_S_MIN: u64 = 64 << 10;
/// More often than this, a node with few bodies would do nothing else.
const PERIOD_S_MIN: u64 = 60;

/// Per node.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct Repair {
    /// Bytes per second that bodies missing or damaged here are brought with: a tenth of a
    /// Gigabit link, so that callers keep the rest.
    pub repair_bytes_per_s: u64,
    /// Bytes per second that the scrub reads: little beside what one disk can do.
    pub scrub_bytes_per_s: u64,
    /// From the start of one pass of the scrub to the next: a sector that has gone bad is
    /// found while the other copies are young. There is no "off".
    pub scrub_period_s: u64,
}

impl Default for Repair {
    fn default() -> Repair {
        Repair {
            // More would double the p99 of writes while a node joins, on a small machine.
            repair_bytes_per_s: 12 << 20,
            scrub_bytes_per_s: 8 << 20,
            scrub_period_s: 7 * 24 * 3600,
        }
    }
}

impl Repair {
    pub(super) fn check(&self) -> Result<(), String> {
        for (key, least, value) in [
            (
                "repair.repair_bytes_per_s",
                BYTES_PER_S_MIN,
                self.repair_bytes_per_s,
            ),
            (
                "repair.scrub_bytes_per_s",
                BYTES_PER_S_MIN,
                self.scrub_bytes_per_s,
            ),
            ("repair.scrub_period_s", PERIOD_S_MIN, self.scrub_period_s),
        ] {
            if value < least {
                return Err(format!("{key}: {value} is below {least}"));
            }
        }
        Ok(())
    }
}
