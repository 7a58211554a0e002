//! The rule for following the log record by record: chain, lanes, time.
//!
//! Promises: given records in the order of a bundle, says where one does not follow from
//! those before it, and goes on after a fault so that one fault is one finding. Keeps
//! 40 bytes for each record (up to 120 while their list grows) and one entry for each
//! open lane. Leaves signatures to [`crate::record_checks`] and the tree to [`crate::verify`].
//!
//! Tests: `evidence/tests/tamper.rs`.

use crate::checks::Check;
use crate::digest::Digest;
use crate::ids::{NodeId, RecordIndex};
use crate::lanes::{Lanes, OpenOutbox};
use crate::opening::Document;
use crate::record::{Outcome, Record};
use crate::report::Finding;
use crate::statement::Kind;
use std::collections::BTreeMap;

/// What of a followed record later ones may name.
#[derive(Clone, Copy)]
struct Mark {
    /// Place of the node in `Chain::nodes`.
    node: u32,
    kind: Kind,
    ok: bool,
    ended: bool,
    leaf: Digest,
}

/// Invariants of the log, in the order in which they are checked:
/// * the index counts up by one;
/// * `prev` is the leaf hash of the record before (zero at index 0);
/// * `committed_at` never goes back;
/// * each lane goes on where it stopped ([`Lanes`]), until a record is missing or out of place;
/// * DUPLICATE_OF names an earlier OK record;
/// * DOWNLOAD_END names earlier OK DOWNLOAD records of the same node, each once;
/// * endorsements name a record of this history.
pub struct Chain {
    first: RecordIndex,
    next: RecordIndex,
    /// `None` when the record before is not known.
    prev: Option<Digest>,
    time_ms: u64,
    lanes: Lanes,
    /// One per record from `first`; `None` where it could not be read.
    marks: Vec<Option<Mark>>,
    nodes: BTreeMap<NodeId, u32>,
    whole: bool,
    unplaced: u64,
}

impl Chain {
    /// For records from `first` on; `last` is the leaf hash of the record before, where
    /// it is known.
    pub fn new(first: RecordIndex, last: Option<Digest>) -> Chain {
        Chain {
            first,
            next: first,
            prev: if first == RecordIndex::FIRST {
                Some(Digest::ZERO)
            } else {
                last
            },
            time_ms: 0,
            lanes: Lanes::new(first),
            marks: Vec::new(),
            nodes: BTreeMap::new(),
            whole: true,
            unplaced: 0,
        }
    }

    /// The index that the next record should have.
    pub fn next(&self) -> RecordIndex {
        self.next
    }

    /// Of a selection: the records before `next` are not expected any more.
    pub fn skip_to(&mut self, next: RecordIndex) {
        self.next = next;
    }

    /// Whether every record so far stood at its place, so that a tree can be built.
    pub fn is_whole(&self) -> bool {
        self.whole
    }

    /// Level 0: only whether the record stands at its place.
    pub fn place(&mut self, index: RecordIndex) -> Option<Finding> {
        let expected = self.next;
        if index >= expected {
            self.next = index.next();
        }
        if index == expected {
            return None;
        }
        self.whole = false;
        // Whatever came before is not what this record continues.
        self.prev = None;
        Some(if index > expected {
            let detail = match index.size_before().last() {
                Some(before) if before > expected => {
                    format!("records {expected} to {before} are missing")
                }
                _ => format!("record {expected} is missing before this one"),
            };
            Finding::at(Check::NoneMissing, index, detail)
        } else {
            let detail = format!("repeated or out of order: record {expected} was due");
            Finding::at(Check::NoneRepeated, index, detail)
        })
    }

    /// Level 0, for bytes that are no record: it takes a place all the same.
    pub fn place_unreadable(&mut self, leaf: &Digest) {
        self.next = self.next.next();
        self.prev = Some(*leaf);
        if self.whole {
            self.marks.push(None);
        }
    }

    /// Level 4: everything, [`Chain::place`] included. The document is given when its
    /// opening is there and is what the record commits to; `by_retired` as in [`Lanes::follow`].
    pub fn follow(
        &mut self,
        record: &Record,
        leaf: &Digest,
        document: Option<&Document>,
        by_retired: bool,
    ) -> Vec<Finding> {
        let mut findings: Vec<Finding> = self.place(record.index).into_iter().collect();
        let mut fault = |check, detail: String| {
            findings.push(Finding::at(check, record.index, detail));
        };
        if self.prev.is_some_and(|prev| prev != record.prev) {
            let detail = "does not name the leaf hash of the record before it";
            fault(Check::Chained, detail.to_owned());
        }
        self.prev = Some(*leaf);
        if record.committed_at_ms < self.time_ms {
            let detail = format!(
                "committed at {} ms, before the record ahead of it ({} ms)",
                record.committed_at_ms, self.time_ms
            );
            fault(Check::TimeGoesOn, detail);
        }
        self.time_ms = self.time_ms.max(record.committed_at_ms);
        // What is missing may be what a lane would go on from: a gap is no fault of a node.
        if self.whole {
            if let Err((check, detail)) = self.lanes.follow(record, by_retired) {
                fault(check, detail);
            }
            if let (Outcome::Ok, Some(Document::Boot(boot))) = (record.outcome, document) {
                for (check, detail) in self.lanes.boot(record.statement.node, &boot.outboxes) {
                    fault(check, detail);
                }
            }
        }
        if let Outcome::DuplicateOf(of) = record.outcome {
            let unseen = of < self.first || of >= record.index || !self.whole;
            if Check::DuplicateIsEarlier.fails(of >= record.index) {
                let detail = format!("duplicate of {of}, which is no earlier record");
                fault(Check::DuplicateIsEarlier, detail);
            } else if !unseen && !self.mark(of).is_some_and(|mark| mark.ok) {
                let detail = format!("duplicate of {of}, which is no OK record");
                fault(Check::DuplicateOfOk, detail);
            }
        }
        if let (Outcome::Ok, Some(Document::DownloadEnd(d))) = (record.outcome, document) {
            for end in &d.downloads {
                if let Err((check, detail)) = self.end(record, end.download) {
                    fault(check, detail);
                }
            }
        }
        let endorsed = document.filter(|_| record.outcome == Outcome::Ok);
        if let Some(endorsements) = endorsed.and_then(Document::endorsements) {
            let named = self.mark(endorsements.after).filter(|_| self.whole);
            match named.map(|mark| mark.leaf) {
                Some(leaf) if endorsements.leaf != leaf => {
                    let detail = format!(
                        "its endorsements name another record {} than there is",
                        endorsements.after
                    );
                    findings.push(Finding::at(Check::EndorsedHere, record.index, detail));
                }
                Some(_) => {}
                None => self.unplaced += 1,
            }
        }
        self.remember(record, leaf);
        findings
    }

    /// The leaf hash of a record that was followed.
    pub fn leaf(&self, index: RecordIndex) -> Option<Digest> {
        self.mark(index).map(|mark| mark.leaf)
    }

    /// Endorsements that name a record which is not among those followed.
    pub fn unplaced(&self) -> u64 {
        self.unplaced
    }

    /// Indexes of the OK DOWNLOAD records that no DOWNLOAD_END named.
    pub fn unfinished(&self) -> impl Iterator<Item = RecordIndex> + '_ {
        self.marks
            .iter()
            .zip(self.first.onwards())
            .filter_map(|(mark, i)| {
                let mark = mark.as_ref()?;
                (mark.ok && !mark.ended && mark.kind == Kind::Download).then_some(i)
            })
    }

    /// Outboxes whose last statements, as a BOOT named them, are not recorded yet.
    pub fn open_outboxes(&self) -> Vec<OpenOutbox> {
        self.lanes.open_outboxes()
    }

    fn end(&mut self, record: &Record, download: RecordIndex) -> Result<(), (Check, String)> {
        if Check::EndIsLater.fails(download >= record.index) {
            let detail = format!("ends the download {download}, which is not earlier");
            return Err((Check::EndIsLater, detail));
        }
        if download < self.first || !self.whole {
            return Ok(());
        }
        let node = self.nodes.get(&record.statement.node).copied();
        let at = download.distance_from(self.first);
        let mark = at.and_then(|at| self.marks.get_mut(at));
        let Some(mark) = mark.and_then(Option::as_mut) else {
            // That record could not be read, which was said there.
            return Ok(());
        };
        let own = mark.ok && mark.kind == Kind::Download && Some(mark.node) == node;
        if Check::EndOfOwnDownload.fails(!own) {
            let detail =
                format!("ends the download {download}, which is no OK DOWNLOAD of its node");
            return Err((Check::EndOfOwnDownload, detail));
        }
        if std::mem::replace(&mut mark.ended, true) {
            let detail = format!("ends the download {download} a second time");
            return Err((Check::EndedOnce, detail));
        }
        Ok(())
    }

    fn mark(&self, index: RecordIndex) -> Option<&Mark> {
        let at = index.distance_from(self.first)?;
        self.marks.get(at)?.as_ref()
    }

    /// After a gap, places and marks no longer agree; then nothing more is kept.
    fn remember(&mut self, record: &Record, leaf: &Digest) {
        if !self.whole {
            return;
        }
        let slots = u32::try_from(self.nodes.len()).unwrap_or(u32::MAX);
        let node = *self.nodes.entry(record.statement.node).or_insert(slots);
        self.marks.push(Some(Mark {
            node,
            kind: record.statement.kind,
            ok: record.outcome == Outcome::Ok,
            ended: false,
            leaf: *leaf,
        }));
    }
}
