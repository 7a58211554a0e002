//! Drills: what an operator broke on purpose goes on record.
//!
//! Promises a DRILL record signed by this node and witnessed like any other. The figures
//! are the operator's; who asked stands beside them. Leaves breaking and measuring to the
//! command line.

use super::Principal;
use crate::domain::call_error::CallError;
use crate::domain::draft::{self, bad};
use crate::domain::ids::RecordIndex;
use crate::raft::reads::{Answered, Reads};
use crate::recorder::Intent;
use crate::recorder::writes::Writes;
use muniment_evidence::opening::{Document, DrillDocument};
use muniment_evidence::record::Outcome;

/// Nodes, and read levels, that one drill may name.
const ITEMS_MAX: usize = 64;

/// Records a drill; the index of its record.
pub async fn record(
    reads: &Reads,
    writes: &Writes,
    principal: &Principal,
    drill: DrillDocument,
) -> Result<(RecordIndex, Answered), CallError> {
    let booted = writes.booted()?;
    for (field, allowed, given) in [
        ("target", &["leader", "zone", "node"][..], &drill.target),
        ("mode", &["crash", "pause"][..], &drill.mode),
    ] {
        if !allowed.contains(&given.as_str()) {
            return Err(bad(field, format!("is none of {}", allowed.join(", "))).into());
        }
    }
    draft::required("write_level", &drill.write_level)?;
    if drill.nodes.len() > ITEMS_MAX || drill.reads.len() > ITEMS_MAX {
        return Err(bad("nodes", format!("and reads are at most {ITEMS_MAX}")).into());
    }
    for read in &drill.reads {
        draft::required("reads.level", &read.level)?;
    }
    let intent = Intent {
        actor: principal.actor(),
        ..Intent::system(Document::Drill(drill))
    };
    let recorded = writes.record(&booted, intent).await?;
    match recorded.outcome {
        Outcome::Ok => Ok((recorded.index, reads.answered(true))),
        Outcome::Refused(reason) => Err(CallError::refused(reason, "the drill")),
        Outcome::DuplicateOf(_) => Err(reads.unavailable("a drill was taken for another")),
    }
}
