//! The promise that preceded a record of a small ledger, as its node handed it out.

use crate::ledger::Ledger;
use muniment_evidence::promise::Promise;

pub fn promise(ledger: &Ledger, index: u64) -> Promise {
    let entry = &ledger.entries[index as usize];
    Promise {
        genesis: ledger.genesis(),
        keys: ledger.key_records(index),
        statement: entry.record.statement.clone(),
        signature: entry.record.signature,
        document: entry.document.clone(),
        actor: entry.actor.clone(),
    }
}
