//! What must hold of apply, whatever a command says: the ledger takes it, and goes on.
//!
//! An input is read as steps on a filled ledger ([`program`]). Promises that each step is held
//! against what the ledger says of its lanes ([`running`]), and that at the end the records
//! that came are chained, counted and in the tree. Leaves signatures to the leader, which
//! verifies them before it proposes, and evidence of such records to the evidence crate.

mod filled;
mod program;
mod running;
pub mod seeds;

#[path = "../../../evidence/tests/ledger/mod.rs"]
mod ledger;

use filled::FILLED;
use libfuzzer_sys as _;
use program::Program;

/// What became of an input's submissions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reached {
    /// Records that came to be, and those of them whose outcome is OK.
    pub records: u64,
    pub ok: u64,
}

/// Runs an input; ends the process when a promise is broken.
pub fn apply(data: &[u8]) -> Reached {
    let mut running = FILLED.begin();
    Program::of(data).run(&mut running);
    running.check()
}
