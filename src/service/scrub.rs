//! Scrub: an operator has this node read every body that it holds, now.

use crate::bodies::Bodies;
use crate::domain::call_error::CallError;
use crate::recorder::writes::Writes;

/// Begins a pass of the scrub at this node now; false when one is under way, after which
/// another begins.
pub fn scrub(writes: &Writes, bodies: &Bodies) -> Result<bool, CallError> {
    writes.booted()?;
    Ok(bodies.repairs.ask_scrub())
}
