//! One record by itself, for those who follow the log and hold its tree themselves.
//!
//! Promises the checks that a bundle makes of each record before it looks at the next one:
//! ledger, signature, openings, holdings. Leaves to the caller that the record stands in the
//! log, and what one record means for another.

use crate::ledger::Ledger;
use crate::opening::Opening;
use crate::record::Record;
use crate::record_checks::{openings, statement};
use crate::report::Finding;

/// What is wrong with a record of `ledger`, of which all changes of keys up to it are known.
pub fn record(
    ledger: &Ledger,
    record: &Record,
    document: Option<&Opening>,
    actor: Option<&Opening>,
) -> Vec<Finding> {
    let by_itself = statement(ledger, record);
    let opened = openings(ledger, record, document, actor);
    let faults = by_itself.chain(opened.faults);
    faults
        .map(|(check, detail)| Finding::at(check, record.index, detail))
        .collect()
}
