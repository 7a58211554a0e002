//! Invariant: the chain is unbroken, and what was acknowledged survives.
//!
//! After any crashes, power cuts and partitions, once healed: every replica holds the
//! same log and state; that log verifies from its first record to its last; every
//! acknowledged issue has exactly one OK record, the one that was named to its caller;
//! so has what was added to an invoice; every delivered download has its OK record. A failed call may have either outcome, but
//! never two.

use crate::oracle::{self, Seen};
use crate::world::End;
use muniment_evidence::bundle::{BundleParser, Frame};
use muniment_evidence::note::Note;
use muniment_evidence::opening::Document;
use muniment_evidence::record::{Outcome, Record};
use muniment_evidence::report::Verdict;
use muniment_evidence::statement::Kind;
use muniment_evidence::verify::{BundleVerifier, VerifyOptions};
use std::collections::{BTreeMap, BTreeSet};

/// The OK records of a bundle.
#[derive(Default)]
struct Held {
    /// Number to the indexes of its OK ISSUE records.
    issues: BTreeMap<String, Vec<u64>>,
    downloads: BTreeSet<u64>,
    /// What was added to invoices: index and kind.
    amendments: BTreeMap<u64, Kind>,
}

pub fn check(end: &End) -> Result<(), String> {
    let seen = end.cluster.oracle.seen();
    let bundle = same_everywhere(end, &seen)?;
    verifies(end, bundle)?;
    let held = read(bundle)?;
    for (number, index) in &seen.acknowledged {
        let records = held.issues.get(&oracle::name(*number));
        if records != Some(&vec![*index]) {
            return Err(format!(
                "{} was acknowledged as record {index}; its OK records are {records:?}",
                oracle::name(*number)
            ));
        }
    }
    for (number, records) in &held.issues {
        if records.len() != 1 {
            return Err(format!("{number} has the OK records {records:?}"));
        }
    }
    for (index, kind) in &seen.amended {
        let recorded = held.amendments.get(index);
        if recorded != Some(kind) {
            return Err(format!(
                "{kind} was acknowledged as record {index}, which is {recorded:?}"
            ));
        }
    }
    match seen.delivered.difference(&held.downloads).next() {
        Some(index) => Err(format!("download {index} was delivered without a record")),
        None => Ok(()),
    }
}

fn same_everywhere<'a>(end: &End, seen: &'a Seen) -> Result<&'a [u8], String> {
    let first = &end.heads[0];
    for head in &end.heads[1..] {
        let same = head.size == first.size
            && head.root == first.root
            && head.state_hash == first.state_hash;
        if !same {
            return Err(format!("replicas differ: {first:?} and {head:?}"));
        }
    }
    let mut bundles = seen.bundles.iter();
    let Some((node, bundle)) = bundles.next() else {
        return Err("no bundle".into());
    };
    let frames = uncosigned(bundle)?;
    for (other, theirs) in bundles {
        if uncosigned(theirs)? != frames {
            return Err(format!("nodes {node} and {other} export different frames"));
        }
    }
    Ok(bundle)
}

/// The frames of a bundle, its checkpoints without the cosignatures: which of those there
/// are by then differs from node to node, all else must not.
fn uncosigned(bundle: &[u8]) -> Result<Vec<Frame>, String> {
    let mut parser = BundleParser::new();
    parser.push(bundle);
    let mut frames = Vec::new();
    while let Some(mut frame) = parser.next().map_err(|error| error.to_string())? {
        if let Frame::Checkpoint(checkpoint) = &mut frame {
            let text = Note::parse(checkpoint.note.as_bytes()).map_err(|e| e.to_string())?;
            // The lines of the log come first, and Ed25519 signs one way only.
            let log = text.signatures.first().map(|line| line.bytes.clone());
            checkpoint.note = format!("{}{log:?}", text.text);
        }
        frames.push(frame);
    }
    Ok(frames)
}

fn verifies(end: &End, bundle: &[u8]) -> Result<(), String> {
    let mut verifier = BundleVerifier::new(VerifyOptions {
        trust: end.cluster.trust.lock().unwrap().clone(),
        ..VerifyOptions::default()
    });
    verifier.push(bundle);
    let report = verifier.finish();
    let head = &end.heads[0];
    if report.verdict() != Verdict::Verified {
        return Err(format!("the log does not verify:\n{report}"));
    }
    if (report.size, report.root) != (Some(head.size), Some(head.root)) {
        return Err(format!("the bundle is not of the head {head:?}:\n{report}"));
    }
    Ok(())
}

fn read(bundle: &[u8]) -> Result<Held, String> {
    let mut parser = BundleParser::new();
    parser.push(bundle);
    let mut held = Held::default();
    while let Some(frame) = parser.next().map_err(|error| error.to_string())? {
        let Frame::Record(frame) = frame else {
            continue;
        };
        let record = Record::decode(&frame.record).map_err(|error| error.to_string())?;
        if record.outcome != Outcome::Ok {
            continue;
        }
        let index = record.index;
        match record.statement.kind {
            Kind::Issue => {
                let opening = frame.document.ok_or(format!("record {index} is closed"))?;
                let Ok(Document::Issue(issue)) = Document::decode(&opening.bytes) else {
                    return Err(format!("record {index} opens to something else"));
                };
                let number = issue.metadata.identity.number;
                held.issues.entry(number).or_default().push(index.get());
            }
            Kind::Download => {
                held.downloads.insert(index.get());
            }
            kind @ (Kind::Reverse | Kind::Void | Kind::AddRendition) => {
                held.amendments.insert(index.get(), kind);
            }
            _ => {}
        }
    }
    Ok(held)
}
