//! One invoice: what happened to it, and who downloaded it.
//!
//! Promises: takes every OK record about the invoice, in order, and joins each DOWNLOAD to
//! the DOWNLOAD_END that names it. Says that nobody else downloaded it only when every OK
//! DOWNLOAD from record 0 on was shown; else says what cannot be excluded, and why. Leaves
//! the words to `words` beside it. Why all is replayed, and no counter is kept:
//! docs/decisions/0005-who-downloaded-by-replay.md.
//!
//! Tests: `audit/tests/questions.rs`.

mod words;

use crate::answer::Ending;
use muniment_evidence::bundle::Manifest;
use muniment_evidence::digest::{Digest, unhex};
use muniment_evidence::ids::{RecordIndex, TreeSize};
use muniment_evidence::opening::{Delivered, Document, Identity, IssueDocument, Money};
use muniment_evidence::record::Outcome;
use muniment_evidence::report::OpenedRecord;
use muniment_evidence::statement::Kind;
use muniment_evidence::verify::{Observer, SeenRecord};
use std::collections::{HashMap, HashSet};

/// Records listed for one invoice; further ones are counted. A hundred megabytes at the
/// most, and more than a person reads.
pub const EVENTS_MAX: usize = 100_000;

/// Invoices listed under one number; further ones are counted.
pub const FOUND_MAX: usize = 100;

/// WhichInvoice invoice is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WhichInvoice {
    Uid([u8; 16]),
    /// What is `None` may be anything.
    Number {
        number: String,
        tenant: Option<String>,
        scheme: Option<String>,
        issuer: Option<String>,
        period: Option<String>,
    },
}

impl WhichInvoice {
    /// A uid in its usual writing, of either case; `None` for any other text.
    pub fn uid(text: &str) -> Option<WhichInvoice> {
        let parts: Vec<&str> = text.split('-').collect();
        let lengths: Vec<usize> = parts.iter().map(|part| part.len()).collect();
        if lengths != [8, 4, 4, 4, 12] {
            return None;
        }
        let bytes = unhex(&parts.concat())?;
        Some(WhichInvoice::Uid(bytes.try_into().ok()?))
    }

    fn names(&self, uid: &[u8; 16], identity: &Identity) -> bool {
        let is = |asked: &Option<String>, text: &str| asked.as_ref().is_none_or(|a| a == text);
        match self {
            WhichInvoice::Uid(asked) => asked == uid,
            WhichInvoice::Number {
                number,
                tenant,
                scheme,
                issuer,
                period,
            } => {
                *number == identity.number
                    && is(tenant, &identity.tenant)
                    && is(scheme, &identity.scheme)
                    && is(issuer, &identity.issuer)
                    && is(period, &identity.period)
            }
        }
    }
}

/// What a DOWNLOAD_END said of a DOWNLOAD.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The record that says so.
    pub index: RecordIndex,
    pub bytes: u64,
    pub complete: bool,
}

/// One record about the invoice.
#[derive(Clone, Debug)]
pub struct InvoiceEvent {
    pub opened: OpenedRecord,
    /// Of a DOWNLOAD, where an end is on record.
    pub delivery: Option<Delivery>,
    /// Of a DOWNLOAD of the same bytes under another invoice: that one's uid.
    pub under: Option<[u8; 16]>,
}

/// One invoice and the records about it.
#[derive(Clone, Debug)]
pub struct FoundInvoice {
    pub uid: [u8; 16],
    /// `None` when it was issued before the records begin, or its opening is not shown.
    pub identity: Option<Identity>,
    pub events: Vec<InvoiceEvent>,
    /// Beyond [`EVENTS_MAX`].
    pub more: u64,
    bytes: HashSet<Digest>,
}

impl FoundInvoice {
    pub fn downloads(&self) -> impl Iterator<Item = &InvoiceEvent> {
        let is = |event: &&InvoiceEvent| event.opened.record.statement.kind == Kind::Download;
        self.events.iter().filter(is)
    }
}

/// See the module.
pub struct InvoiceQuestion {
    which: WhichInvoice,
    found: Vec<FoundInvoice>,
    /// Beyond [`FOUND_MAX`].
    more: u64,
    /// Place among the found and their events, by index of a DOWNLOAD.
    pending: HashMap<RecordIndex, (usize, usize)>,
    /// Asked by number, the uids of all invoices issued so far: a download of any other
    /// may be of one that takes the number later.
    issued: HashSet<[u8; 16]>,
    first: RecordIndex,
    end: TreeSize,
    selects: bool,
    coverage: Coverage,
}

/// What was not shown, and so could be about the invoice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Coverage {
    /// OK DOWNLOAD records, and how many of them were not shown.
    pub downloads: u64,
    pub downloads_withheld: u64,
    /// OK ISSUE and REVERSE records that were not shown.
    pub issues_withheld: u64,
    /// OK ADD_RENDITION and VOID records that were not shown.
    pub others_withheld: u64,
    /// OK DOWNLOAD_END records that were not shown.
    pub ends_withheld: u64,
    /// Asked by number: OK downloads of what had not been issued before.
    pub strays: u64,
}

impl InvoiceQuestion {
    pub fn new(which: WhichInvoice) -> InvoiceQuestion {
        InvoiceQuestion {
            which,
            found: Vec::new(),
            more: 0,
            pending: HashMap::new(),
            issued: HashSet::new(),
            first: RecordIndex::FIRST,
            end: TreeSize::EMPTY,
            selects: false,
            coverage: Coverage::default(),
        }
    }

    pub fn found(&self) -> &[FoundInvoice] {
        &self.found
    }

    pub fn coverage(&self) -> Coverage {
        self.coverage
    }

    pub fn ending(&self) -> Ending {
        match self.found.len() {
            0 => Ending::NotFound,
            1 => Ending::Answered,
            _ => Ending::Several,
        }
    }

    /// Why others than those listed cannot be excluded; empty when they are.
    pub fn doubts(&self) -> Vec<String> {
        let mut doubts = Vec::new();
        let mut doubt = |holds: bool, why: String| {
            if holds {
                doubts.push(why);
            }
        };
        doubt(
            self.selects,
            "the bundle is a selection, which may leave records out".to_owned(),
        );
        doubt(
            self.first != RecordIndex::FIRST,
            format!("the bundle begins at record {}, not at 0", self.first),
        );
        let Coverage {
            downloads,
            downloads_withheld: withheld,
            issues_withheld,
            strays,
            ..
        } = self.coverage;
        doubt(
            withheld > 0,
            format!("of {downloads} downloads, {withheld} are not shown (erased or withheld)"),
        );
        doubt(
            issues_withheld > 0 && self.by_number(),
            format!(
                "{issues_withheld} invoices are not shown (erased or withheld) and may have \
                 this number"
            ),
        );
        doubt(
            strays > 0 && self.first == RecordIndex::FIRST && issues_withheld == 0,
            format!("{strays} downloads are of invoices that had not been issued"),
        );
        let more: u64 = self.found.iter().map(|found| found.more).sum();
        doubt(
            more > 0,
            format!("{more} further records are not listed here"),
        );
        doubts
    }

    fn by_number(&self) -> bool {
        matches!(self.which, WhichInvoice::Number { .. })
    }

    /// Takes the record for the invoice at a place.
    fn keep(&mut self, at: usize, seen: &SeenRecord<'_>, under: Option<[u8; 16]>) {
        let found = &mut self.found[at];
        if found.events.len() >= EVENTS_MAX {
            found.more += 1;
            return;
        }
        if seen.record.statement.kind == Kind::Download {
            let place = (at, found.events.len());
            self.pending.insert(seen.record.index, place);
        }
        found.events.push(InvoiceEvent {
            opened: seen.opened_record(),
            delivery: None,
            under,
        });
    }

    /// The place of the invoice; a uid that was asked for has one from its first record on.
    fn place(&mut self, uid: &[u8; 16]) -> Option<usize> {
        let at = self.found.iter().position(|found| found.uid == *uid);
        if at.is_none() && self.which == WhichInvoice::Uid(*uid) {
            self.found.push(FoundInvoice::new(*uid));
            return Some(self.found.len() - 1);
        }
        at
    }

    fn issue(
        &mut self,
        uid: &[u8; 16],
        identity: &Identity,
        seen: &SeenRecord<'_>,
    ) -> Option<usize> {
        if self.by_number() {
            self.issued.insert(*uid);
        }
        if !self.which.names(uid, identity) {
            return None;
        }
        let at = match self.place(uid) {
            Some(at) => at,
            None if self.found.len() >= FOUND_MAX => {
                self.more += 1;
                return None;
            }
            None => {
                self.found.push(FoundInvoice::new(*uid));
                self.found.len() - 1
            }
        };
        self.found[at]
            .identity
            .get_or_insert_with(|| identity.clone());
        self.keep(at, seen, None);
        Some(at)
    }

    fn end_downloads(&mut self, index: RecordIndex, ends: &[Delivered]) {
        for end in ends {
            // Of several ends the first counts; the verifier has found the second.
            if let Some((at, event)) = self.pending.remove(&end.download) {
                self.found[at].events[event].delivery = Some(Delivery {
                    index,
                    bytes: end.bytes,
                    complete: end.complete,
                });
            }
        }
    }

    fn withheld(&mut self, kind: Kind) {
        let coverage = &mut self.coverage;
        match kind {
            Kind::Download => coverage.downloads_withheld += 1,
            Kind::Issue | Kind::Reverse => coverage.issues_withheld += 1,
            Kind::DownloadEnd => coverage.ends_withheld += 1,
            Kind::AddRendition | Kind::Void => coverage.others_withheld += 1,
            _ => {}
        }
    }
}

impl FoundInvoice {
    fn new(uid: [u8; 16]) -> FoundInvoice {
        FoundInvoice {
            uid,
            identity: None,
            events: Vec::new(),
            more: 0,
            bytes: HashSet::new(),
        }
    }
}

impl Observer for InvoiceQuestion {
    fn begin(&mut self, manifest: &Manifest) {
        (self.first, self.end) = (manifest.first, manifest.end);
        self.selects = !manifest.selection.is_empty();
    }

    fn see(&mut self, seen: SeenRecord<'_>) {
        if seen.record.outcome != Outcome::Ok {
            return;
        }
        let kind = seen.record.statement.kind;
        self.coverage.downloads += u64::from(kind == Kind::Download);
        let Some(document) = seen.document else {
            return self.withheld(kind);
        };
        match document {
            Document::Issue(d) | Document::Reverse(d) => {
                if let Some(at) = self.issue(&d.uid, &d.metadata.identity, &seen) {
                    let bytes = d.renditions.iter().map(|rendition| rendition.sha256);
                    self.found[at].bytes.extend(bytes);
                }
                for uid in reversed(document) {
                    if let Some(at) = self.place(&uid) {
                        self.keep(at, &seen, None);
                    }
                }
            }
            Document::AddRendition(d) => {
                if let Some(at) = self.place(&d.uid) {
                    self.found[at].bytes.insert(d.rendition.sha256);
                    self.keep(at, &seen, None);
                }
            }
            Document::Void(d) => {
                if let Some(at) = self.place(&d.uid) {
                    self.keep(at, &seen, None);
                }
            }
            Document::Download(d) => {
                let stray = self.by_number() && !self.issued.contains(&d.uid);
                self.coverage.strays += u64::from(stray);
                if let Some(at) = self.place(&d.uid) {
                    return self.keep(at, &seen, None);
                }
                let same = |found: &FoundInvoice| found.bytes.contains(&d.sha256);
                if let Some(at) = self.found.iter().position(same) {
                    self.keep(at, &seen, Some(d.uid));
                }
            }
            Document::DownloadEnd(d) => self.end_downloads(seen.record.index, &d.downloads),
            _ => {}
        }
    }
}

/// The invoices that a REVERSE takes back; none for any other document.
fn reversed(document: &Document) -> Vec<[u8; 16]> {
    match document {
        Document::Reverse(d) => reversals(d).map(|(uid, _)| uid).collect(),
        _ => Vec::new(),
    }
}

/// Which invoice a REVERSE takes back, and how much of it; all that is left where it does not
/// say.
pub(crate) fn reversal(d: &IssueDocument) -> Option<([u8; 16], Option<&Money>)> {
    reversals(d).next()
}

fn reversals(d: &IssueDocument) -> impl Iterator<Item = ([u8; 16], Option<&Money>)> {
    let references = d.metadata.references.iter();
    references
        .filter(|reference| reference.relation == "REVERSES")
        .filter_map(|reference| match WhichInvoice::uid(&reference.target) {
            Some(WhichInvoice::Uid(uid)) => Some((uid, reference.amount.as_ref())),
            _ => None,
        })
}
