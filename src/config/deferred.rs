//! Downloads whose record comes later: whether, and within which bounds.

use serde::{Deserialize, Serialize};

/// Statements that may wait in one outbox at most: they are kept in memory too, at about
/// a kilobyte each.
const PENDING_MAX: u64 = 100_000;
/// A day: what waits for longer belongs into the hands of people.
const MS_MAX: u64 = 24 * 60 * 60 * 1000;

/// Equal on every node.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct Deferred {
    /// Whether a caller may ask for it. What was promised before is recorded all the same.
    pub allowed: bool,
    /// Releases that a node may have promised and not recorded: what losing its disk
    /// would leave untold at most.
    pub max_pending: u64,
    /// Age of the oldest of them after which the node promises no more: ten minutes, so
    /// that an outage is noticed by a refusal while it is young.
    pub max_age_ms: u64,
    /// How stale a node may be that hands out bytes cut off from the leader: five
    /// minutes, for an invoice that was declared void since is handed out as valid.
    pub max_staleness_ms: u64,
}

impl Default for Deferred {
    fn default() -> Deferred {
        Deferred {
            allowed: true,
            max_pending: 10_000,
            max_age_ms: 600_000,
            max_staleness_ms: 300_000,
        }
    }
}

impl Deferred {
    pub(super) fn check(&self) -> Result<(), String> {
        for (key, value, most) in [
            ("deferred.max_pending", self.max_pending, PENDING_MAX),
            ("deferred.max_age_ms", self.max_age_ms, MS_MAX),
            ("deferred.max_staleness_ms", self.max_staleness_ms, MS_MAX),
        ] {
            if value == 0 || value > most {
                return Err(format!("{key}: is 1 to {most}"));
            }
        }
        Ok(())
    }
}
