//! Several checkpoints: whether they are of one history of one ledger.
//!
//! Promises: a checkpoint counts only when a log key in force at its size has signed it.
//! The same size with another root is FORK, and the two notes are the proof. Different
//! sizes agree only where the records of a bundle, or a consistency proof, lead from one
//! to the other; where nothing does, that is said, and is no agreement. Leaves obtaining
//! notes and proofs to the programs.
//!
//! Tests: `audit/tests/questions.rs` (heads agree, fork or cannot be compared).

use crate::answer::{AuditAnswer, Audited, Ending};
use crate::json::Value;
use crate::summary::words::utc;
use muniment_evidence::bundle::Manifest;
use muniment_evidence::class::FindingClass;
use muniment_evidence::digest::Digest;
use muniment_evidence::ids::{RecordIndex, TreeSize};
use muniment_evidence::ledger::{Ledger, Vouched};
use muniment_evidence::note::{Checkpoint, Note};
use muniment_evidence::opening::Document;
use muniment_evidence::receipt::Receipt;
use muniment_evidence::record::Record;
use muniment_evidence::report::{Report, shown};
use muniment_evidence::tree::{self, Frontier};
use muniment_evidence::verify::{self, Expected, Observer, SeenRecord};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// Notes compared at once: one of each day of a year, of 64 KiB at the most each.
pub const HEADS_MAX: usize = 400;

/// A note, and what the caller calls it: a file, or an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedNote {
    pub name: String,
    pub note: Vec<u8>,
}

/// See the module.
#[derive(Default)]
pub struct Heads {
    heads: Vec<NamedNote>,
    ledger: Option<Ledger>,
    /// Sizes whose roots are looked for in a bundle.
    wanted: BTreeSet<TreeSize>,
    /// `None` when nothing is replayed, or no longer.
    frontier: Option<Frontier>,
    /// What the records lead to.
    roots: BTreeMap<TreeSize, Digest>,
    /// The records of the bundle.
    range: Option<(RecordIndex, TreeSize)>,
    /// By older and newer size.
    proofs: BTreeMap<(TreeSize, TreeSize), Vec<Digest>>,
}

/// What is wrong with the heads, beside what is wrong with the evidence.
struct HeadFault {
    class: FindingClass,
    detail: String,
}

impl HeadFault {
    fn new(class: FindingClass, detail: impl Into<String>) -> HeadFault {
        let detail = detail.into();
        HeadFault { class, detail }
    }
}

/// A note that a log key in force has signed.
struct Signed<'a> {
    name: &'a str,
    vouched: Vouched,
}

impl Heads {
    /// To look on while a bundle is verified, from which the ledger's keys are learned too.
    pub fn new(heads: Vec<NamedNote>) -> Heads {
        let sizes = heads.iter().filter_map(|head| size_of(&head.note));
        Heads {
            wanted: sizes.collect(),
            heads,
            ..Heads::default()
        }
    }

    /// The sizes that the notes name, in order.
    pub fn sizes(&self) -> impl Iterator<Item = TreeSize> + '_ {
        self.wanted.iter().copied()
    }

    /// The note of the largest size.
    pub fn largest(&self) -> Option<&[u8]> {
        let heads = self.heads.iter();
        let largest = heads.max_by_key(|head| size_of(&head.note));
        largest.map(|head| &head.note[..])
    }

    /// A consistency proof between two of the sizes.
    pub fn prove(&mut self, old_size: TreeSize, new_size: TreeSize, hashes: Vec<Digest>) {
        self.proofs.insert((old_size, new_size), hashes);
    }

    /// Without a bundle: origin and keys from a receipt of the same ledger, of any record.
    pub fn conclude_by_receipt(mut self, receipt: &[u8], expected: Expected<'_>) -> Audited {
        let mut report = verify::receipt(receipt, expected);
        // The heads are what it is held against.
        report.witnessed = true;
        if report.holds() {
            self.ledger = ledger_of(receipt);
        }
        self.conclude(report)
    }

    pub fn conclude(self, report: Report) -> Audited {
        let (signed, findings) = self.compare();
        let gravest = findings.iter().min_by_key(|fault| fault.class.gravity());
        let worst = gravest.map(|fault| fault.class);
        let ending = match worst {
            Some(class) => Ending::Fault(class),
            None => Ending::Answered,
        };
        let mut text = format!("Heads       {}\n", self.heads.len());
        for head in &signed {
            let checkpoint = &head.vouched.checkpoint;
            let line = format!(
                "{} records, root {}: {}",
                checkpoint.size, checkpoint.root, head.name
            );
            let _ = writeln!(text, "  {}", shown(&line));
            for cosigner in &head.vouched.cosigners {
                let line = format!(
                    "cosigned by node {} in zone {} at {}",
                    cosigner.node,
                    cosigner.zone,
                    utc(cosigner.time_s.saturating_mul(1000))
                );
                let _ = writeln!(text, "    {}", shown(&line));
            }
        }
        let agree = report.holds() && findings.is_empty();
        text += match worst {
            None if agree => "They agree: all are of one history.\n",
            Some(FindingClass::Fork) => "FORK: the ledger has signed two histories.\n",
            _ => "Their agreement is not shown.\n",
        };
        for finding in &findings {
            let line = format!("{}: {}", finding.class, finding.detail);
            let _ = writeln!(text, "  {}", shown(&line));
        }
        let heads = signed.iter().map(|head| {
            let checkpoint = &head.vouched.checkpoint;
            let nodes = head.vouched.cosigners.iter().map(|cosigner| cosigner.node);
            Value::object([
                ("name", head.name.into()),
                ("size", checkpoint.size.into()),
                ("root", checkpoint.root.into()),
                ("cosigned_by", Value::list(nodes)),
            ])
        });
        let findings = findings.iter().map(|finding| {
            Value::object([
                ("class", finding.class.name().into()),
                ("detail", finding.detail.as_str().into()),
            ])
        });
        let value = Value::object([
            ("agree", agree.into()),
            ("heads", Value::list(heads)),
            ("findings", Value::list(findings)),
        ]);
        let answer = AuditAnswer {
            ending,
            text,
            value,
        };
        Audited { report, answer }
    }

    /// The notes that are the ledger's, by size, and what is wrong: forks first, since one
    /// unreadable file must not hide them; what is merely missing last.
    fn compare(&self) -> (Vec<Signed<'_>>, Vec<HeadFault>) {
        let (mut signed, mut faults) = (Vec::new(), Vec::new());
        for head in &self.heads {
            let vouched = match &self.ledger {
                Some(ledger) => ledger
                    .checkpoint(&head.note)
                    .map_err(|(check, why)| (check.class(), why)),
                None => Err((
                    FindingClass::MissingData,
                    "cannot be checked, since the ledger's keys are not known".to_owned(),
                )),
            };
            match vouched {
                Ok(vouched) => signed.push(Signed {
                    name: &head.name,
                    vouched,
                }),
                Err((class, why)) => {
                    faults.push(HeadFault::new(class, format!("{} {why}", head.name)));
                }
            }
        }
        signed.sort_by_key(|head| head.vouched.checkpoint.size);
        let (mut forks, mut missing) = (Vec::new(), Vec::new());
        for (place, head) in signed.iter().enumerate() {
            let checkpoint = &head.vouched.checkpoint;
            let at_size = |other: &&Signed<'_>| other.vouched.checkpoint.size == checkpoint.size;
            // Each against the first of its size: one finding for each that differs.
            if let Some(first) = signed[..place].iter().find(at_size) {
                let root = first.vouched.checkpoint.root;
                if root != checkpoint.root {
                    let detail = format!(
                        "for its first {} records the ledger signed the root {root} in {} and \
                         the root {} in {}",
                        checkpoint.size, first.name, checkpoint.root, head.name
                    );
                    forks.push(HeadFault::new(FindingClass::Fork, detail));
                }
                continue;
            }
            match (self.roots.get(&checkpoint.size), self.range) {
                (Some(root), _) if *root != checkpoint.root => {
                    let detail = format!(
                        "the ledger signed the root {} for its first {} records in {}; the \
                         bundle's records lead to {root}",
                        checkpoint.root, checkpoint.size, head.name
                    );
                    forks.push(HeadFault::new(FindingClass::Fork, detail));
                }
                (None, Some((first, end))) => {
                    let detail = format!(
                        "{} is of size {}, to which the records {first}..{end} of the bundle have \
                         nothing to compare",
                        head.name, checkpoint.size
                    );
                    missing.push(HeadFault::new(FindingClass::MissingData, detail));
                }
                (Some(_), _) | (None, None) => {}
            }
        }
        if self.range.is_none() {
            self.follow_proofs(&signed, &mut faults, &mut missing);
        }
        forks.extend(faults);
        forks.extend(missing);
        (signed, forks)
    }

    /// From each size to the next larger one.
    fn follow_proofs(
        &self,
        signed: &[Signed<'_>],
        faults: &mut Vec<HeadFault>,
        missing: &mut Vec<HeadFault>,
    ) {
        for pair in signed.windows(2) {
            let (old, new) = (&pair[0].vouched.checkpoint, &pair[1].vouched.checkpoint);
            if old.size == new.size {
                continue;
            }
            let names = format!("{} and {}", pair[0].name, pair[1].name);
            match self.proofs.get(&(old.size, new.size)) {
                None => {
                    let detail = format!(
                        "{names} are of the sizes {} and {}: without the records between them \
                         they cannot be compared",
                        old.size, new.size
                    );
                    missing.push(HeadFault::new(FindingClass::MissingData, detail));
                }
                Some(hashes) => {
                    let goes_on =
                        tree::verify_consistency(old.size, new.size, hashes, &old.root, &new.root);
                    if !goes_on {
                        let detail = format!(
                            "the consistency proof between {names} does not lead from the size \
                             {} to {}",
                            old.size, new.size
                        );
                        faults.push(HeadFault::new(FindingClass::BadTree, detail));
                    }
                }
            }
        }
    }

    /// Notes the root when the tree has a size that is looked for.
    fn note_root(&mut self) {
        if let Some(frontier) = &self.frontier
            && self.wanted.contains(&frontier.size())
        {
            self.roots.insert(frontier.size(), frontier.root());
        }
    }
}

impl Observer for Heads {
    fn begin(&mut self, manifest: &Manifest) {
        self.range = Some((manifest.first, manifest.end));
        if manifest.selection.is_empty() {
            self.frontier =
                Frontier::from_parts(manifest.first.size_before(), manifest.peaks.clone());
            self.note_root();
        }
    }

    fn see(&mut self, seen: SeenRecord<'_>) {
        // After a gap, which the verifier reports, no root is worth anything.
        let Some(frontier) = &mut self.frontier else {
            return;
        };
        if frontier.size().next_index() != seen.record.index {
            self.frontier = None;
            return;
        }
        frontier.append(*seen.leaf);
        self.note_root();
    }

    fn end(&mut self, ledger: Option<&Ledger>) {
        self.ledger = ledger.cloned();
    }
}

fn size_of(note: &[u8]) -> Option<TreeSize> {
    let note = Note::parse(note).ok()?;
    let checkpoint = Checkpoint::parse(&note.text).ok()?;
    Some(checkpoint.size)
}

/// The ledger of a receipt that was verified.
fn ledger_of(receipt: &[u8]) -> Option<Ledger> {
    let receipt = Receipt::decode(receipt).ok()?;
    let mut ledger = Ledger::open(&receipt.genesis).ok()?;
    for key in &receipt.keys {
        let record = Record::decode(&key.record).ok()?;
        let Ok(Document::Key(document)) = Document::decode(&key.opening) else {
            return None;
        };
        ledger.learn(record.place(), &document).ok()?;
    }
    Some(ledger)
}
