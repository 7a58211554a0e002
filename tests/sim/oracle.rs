//! What the callers saw, kept outside the nodes: the yardstick of the invariants.
//!
//! Promises: a call that failed counts as unknown, never as absent; what was acknowledged
//! is noted in the step in which the caller learnt it. An answer that contradicts what a
//! caller was told before is a breach at once. Leaves the end state to `invariants/`.

use crate::rng::Rng;
use crate::trace::digest;
use bytes::Bytes;
use muniment_evidence::digest::Digest;
use muniment_evidence::opening::{Identity, Metadata};
use muniment_evidence::record::{Outcome, Record};
use muniment_evidence::statement::{Kind, Statement};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard};

/// What the callers do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Issue and download.
    Load,
    /// Repeat what has no outcome yet, until nothing is left.
    Finish,
    Rest,
    /// Each node hands over its whole log once.
    Export,
}

/// Everything seen in one run.
#[derive(Default)]
pub struct Seen {
    /// Numbers that were asked for, in order.
    pub asked: u64,
    /// Asked for, without an outcome yet: each is repeated until there is one.
    pub open: BTreeSet<u64>,
    /// Number to record index.
    pub acknowledged: BTreeMap<u64, u64>,
    /// Number to the digest of the record in its receipt.
    pub receipts: BTreeMap<u64, u64>,
    /// Index and kind of the records by which something was added to an invoice, as callers
    /// were told.
    pub amended: BTreeMap<u64, Kind>,
    /// Number to the digest of the record in the receipt of what was added to it.
    pub amendments: BTreeMap<u64, u64>,
    /// Calls with other content that were refused as they must be.
    pub refused: u64,
    /// Record indexes of downloads of which the caller has every byte.
    pub delivered: BTreeSet<u64>,
    /// Size to root of every cosigned note that a caller was given.
    pub notes: BTreeMap<u64, Digest>,
    /// Statements that callers were given in place of a receipt.
    pub promised: Vec<Statement>,
    pub failed_calls: u64,
    /// The last passing fault of each node, for a run that does not finish.
    pub last_failures: BTreeMap<u64, String>,
    pub bundles: BTreeMap<u64, Vec<u8>>,
    pub breaches: Vec<String>,
}

impl Seen {
    /// What callers had acknowledged, and must not lose.
    pub fn writes(&self) -> usize {
        self.acknowledged.len() + self.amended.len()
    }
}

/// Shared by the callers on all nodes.
pub struct Oracle {
    seen: Mutex<Seen>,
    phase: Mutex<Phase>,
}

impl Oracle {
    pub fn new() -> Oracle {
        Oracle {
            seen: Mutex::default(),
            phase: Mutex::new(Phase::Load),
        }
    }

    pub fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap()
    }

    pub fn phase(&self) -> Phase {
        *self.phase.lock().unwrap()
    }

    pub fn set_phase(&self, phase: Phase) {
        *self.phase.lock().unwrap() = phase;
    }

    /// A number to issue: a new one, or one that has no outcome yet, maybe because
    /// another caller is at it right now.
    pub fn number_to_issue(&self, rng: &mut Rng) -> Option<u64> {
        let phase = self.phase();
        let mut seen = self.seen();
        let again = !seen.open.is_empty() && rng.below(2) == 0;
        if phase == Phase::Load && !again {
            seen.asked += 1;
            let number = seen.asked;
            seen.open.insert(number);
            return Some(number);
        }
        let open: Vec<u64> = seen.open.iter().copied().collect();
        let at = rng.below(open.len().max(1) as u64) as usize;
        open.get(at).copied()
    }

    /// One that was acknowledged, if any.
    pub fn number_known(&self, rng: &mut Rng) -> Option<u64> {
        let seen = self.seen();
        let known: Vec<u64> = seen.acknowledged.keys().copied().collect();
        let at = rng.below(known.len().max(1) as u64) as usize;
        known.get(at).copied()
    }

    pub fn issued(&self, number: u64, index: u64, record: &[u8]) {
        let mut seen = self.seen();
        seen.open.remove(&number);
        let first = *seen.acknowledged.entry(number).or_insert(index);
        if first != index {
            let what = format!("{number} was acknowledged as record {first}, then as {index}");
            seen.breaches.push(what);
        }
        let receipt = digest(record);
        if *seen.receipts.entry(number).or_insert(receipt) != receipt {
            let what = format!("i7: {number} has receipts for two records");
            seen.breaches.push(what);
        }
    }

    /// Something was added to an invoice; a repetition is told of the same record.
    pub fn amended(&self, kind: Kind, number: u64, record: &[u8]) {
        let mut seen = self.seen();
        match Record::decode(record) {
            Ok(record) if record.outcome == Outcome::Ok => {
                seen.amended.insert(record.index.get(), kind);
            }
            other => {
                let what = format!("the receipt for {kind} of {number} has {other:?}");
                seen.breaches.push(what);
            }
        }
        let receipt = digest(record);
        if *seen.amendments.entry(number).or_insert(receipt) != receipt {
            let what = format!("i7: {kind} of {number} has receipts for two records");
            seen.breaches.push(what);
        }
    }

    /// Bytes were released on this word; its record is to follow.
    pub fn promised(&self, statement: &Statement) {
        self.seen().promised.push(statement.clone());
    }

    /// `index` where the record came first.
    pub fn downloaded(&self, number: u64, index: Option<u64>, sha256: Digest) {
        let mut seen = self.seen();
        if sha256 != Digest::of(&[&body(number)]) {
            let what = format!("download {index:?} of {number} has other bytes");
            seen.breaches.push(what);
        }
        if let Some(index) = index
            && !seen.delivered.insert(index)
        {
            let what = format!("two downloads share the record {index}");
            seen.breaches.push(what);
        }
    }

    /// A note that covers record `index`, under the ledger's keys.
    pub fn noted(&self, index: u64, size: u64, root: Digest) {
        let mut seen = self.seen();
        if size <= index {
            let what = format!("a note of size {size} was given for record {index}");
            seen.breaches.push(what);
        }
        let first = *seen.notes.entry(size).or_insert(root);
        if first != root {
            let what = format!("two notes of size {size} have the roots {first} and {root}");
            seen.breaches.push(what);
        }
    }

    pub fn failed(&self, node: u64, why: String) {
        let mut seen = self.seen();
        seen.failed_calls += 1;
        seen.last_failures.insert(node, why);
    }

    pub fn breach(&self, what: String) {
        self.seen().breaches.push(what);
    }
}

/// The invoice's number as callers write it.
pub fn name(number: u64) -> String {
    format!("S-{number}")
}

pub fn identity(number: u64) -> Identity {
    Identity {
        tenant: "default".into(),
        scheme: "generic".into(),
        issuer: "local".into(),
        number: name(number),
        ..Identity::default()
    }
}

pub fn metadata(number: u64) -> Metadata {
    Metadata {
        identity: identity(number),
        type_code: "380".into(),
        issue_date: "2026-01-31".into(),
        ..Metadata::default()
    }
}

/// The same number has the same bytes, whoever hands them in.
pub fn body(number: u64) -> Bytes {
    let mut rng = Rng::new(number);
    let length = 200 + rng.below(6_000);
    (0..length).map(|_| rng.below(256) as u8).collect()
}
