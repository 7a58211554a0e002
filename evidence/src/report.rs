//! What a verification found: findings by class, and facts that the evidence showed.
//!
//! Promises: a report without findings is the only one that holds; the verdict is that of the
//! gravest class, in whatever order the findings were made; names of verdicts and classes
//! and their exit codes are stable. Leaves words and JSON to whoever prints it
//! (the crate `muniment-audit`).

use crate::checks::Check;
use crate::class::{FindingClass, GRAVEST_FIRST};
use crate::digest::Digest;
use crate::ids::{RecordIndex, TreeSize};
use crate::keychange::RecordedChange;
use crate::lanes::OpenOutbox;
use crate::ledger::Cosigner;
use crate::opening::{Actor, Document};
use crate::record::{Outcome, Record};
use crate::rules::{NotJudged, Ruling};
use crate::statement::Kind;
use std::collections::BTreeMap;
use std::fmt;

/// Findings beyond this are counted, not kept: one broken export must not fill memory.
pub const FINDINGS_MAX: usize = 1000;

/// The level that checks everything inside the evidence; the default.
pub const LEVEL_DEFAULT: u8 = 5;

/// The deepest level: outside anchors too, which need a policy that names witnesses.
pub const LEVEL_MAX: u8 = 6;

/// Unfinished downloads beyond this are counted, not listed.
pub const UNFINISHED_MAX: usize = 100;

/// One fault, and the record at which it shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Which check failed.
    pub check: Check,
    /// That of the check.
    pub class: FindingClass,
    /// `None` for what concerns the whole: the pin, the checkpoint, the stream.
    pub index: Option<RecordIndex>,
    pub detail: String,
}

impl Finding {
    pub(crate) fn at(check: Check, index: RecordIndex, detail: impl Into<String>) -> Finding {
        Finding {
            index: Some(index),
            ..Finding::whole(check, detail)
        }
    }

    pub(crate) fn whole(check: Check, detail: impl Into<String>) -> Finding {
        Finding {
            check,
            class: check.class(),
            index: None,
            detail: detail.into(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.index {
            Some(index) => write!(f, "{} ({}), record {index}: ", self.class, self.check)?,
            None => write!(f, "{} ({}): ", self.class, self.check)?,
        }
        f.write_str(&shown(&self.detail))
    }
}

/// The one-word answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Verified,
    /// Verified in itself; no pin was given.
    Unpinned,
    /// Verified in itself, and pinned; a receipt, without a policy or known changes of keys.
    Unwitnessed,
    /// By the gravest class that was found; UNKNOWN where something is not understood.
    Failed(FindingClass),
}

impl Verdict {
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Verified => "VERIFIED",
            Verdict::Unpinned => "UNPINNED",
            Verdict::Unwitnessed => "UNWITNESSED",
            Verdict::Failed(FindingClass::Unknown) => "UNKNOWN",
            Verdict::Failed(_) => "FAILED",
        }
    }
}

/// What was verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EvidenceKind {
    Receipt,
    Bundle,
    Promise,
}

impl EvidenceKind {
    pub fn name(self) -> &'static str {
        match self {
            EvidenceKind::Receipt => "receipt",
            EvidenceKind::Bundle => "bundle",
            EvidenceKind::Promise => "promise",
        }
    }
}

/// Records by kind and outcome.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Counts(BTreeMap<Kind, [u64; 3]>);

impl Counts {
    pub const OUTCOMES: [&'static str; 3] = ["OK", "REFUSED", "DUPLICATE_OF"];

    pub fn add(&mut self, record: &Record) {
        let outcome = match record.outcome {
            Outcome::Ok => 0,
            Outcome::Refused(_) => 1,
            Outcome::DuplicateOf(_) => 2,
        };
        self.0.entry(record.statement.kind).or_default()[outcome] += 1;
    }

    /// Kinds that occur, with the numbers of OK, refused and duplicate records.
    pub fn rows(&self) -> impl Iterator<Item = (Kind, [u64; 3])> + '_ {
        self.0.iter().map(|(kind, row)| (*kind, *row))
    }

    pub fn total(&self) -> u64 {
        self.0.values().flatten().sum()
    }
}

/// OK downloads that no DOWNLOAD_END names: possibly all delivered, nobody attests it.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Unfinished {
    pub count: u64,
    /// The first [`UNFINISHED_MAX`].
    pub indexes: Vec<RecordIndex>,
    /// DOWNLOAD_END records whose opening was not there: they may end some of these.
    pub ends_unread: u64,
}

/// Everything that one verification has to say.
#[derive(Clone, Debug)]
pub struct Report {
    pub evidence: EvidenceKind,
    pub origin: Option<String>,
    /// Leaf hash of the genesis record.
    pub ledger: Option<Digest>,
    /// Size and root of the tree, as a checkpoint of the ledger's log key says.
    pub size: Option<TreeSize>,
    pub root: Option<Digest>,
    /// Index range of a bundle.
    pub range: Option<(RecordIndex, TreeSize)>,
    /// What a selection was selected by; `None` for a range.
    pub selection: Option<String>,
    /// Depth of checking of a bundle, 0 to 6.
    pub level: u8,
    pub pinned: bool,
    /// Whether more than the evidence itself speaks against a revoked key: a policy, changes
    /// of keys that are known, or all of the log up to a head. A receipt alone has none.
    pub witnessed: bool,
    /// Size of the saved head with which the bundle agrees.
    pub head_size: Option<TreeSize>,
    pub counts: Counts,
    /// Known from level 5 on, when the stream is whole and no record is missing.
    pub unfinished: Option<Unfinished>,
    pub cosigners: Vec<Cosigner>,
    /// The changes from which the keys were learned.
    pub keys: Vec<RecordedChange>,
    /// Whether a checkpoint shows that none of them was left out.
    pub keys_tied: bool,
    /// Endorsements of a record that is not shown beside them, so that nobody can tell here
    /// whether they were given in this history.
    pub unplaced: u64,
    /// Records of which the rules of the ledger make what they say.
    pub ruled: u64,
    /// Those of which that could not be said, by the reason.
    pub not_judged: BTreeMap<NotJudged, u64>,
    /// Whether the signatures meet the policy; `None` when none was given.
    pub policy_met: Option<bool>,
    /// Witnesses of the policy that are not the operator's own and have signed.
    pub outside: Vec<OutsideCosigner>,
    /// ANCHORs by such witnesses that agree with the tree; known at level 6.
    pub anchors: Option<u64>,
    /// The largest size of which one of them speaks: what came later is self-attested.
    pub anchored: Option<TreeSize>,
    /// What nodes had signed and not recorded when they last started.
    pub open_outboxes: Vec<OpenOutbox>,
    /// What the record of a receipt says.
    pub record: Option<OpenedRecord>,
    /// Whether a given document is the record's; `None` when none was given.
    pub document_matches: Option<bool>,
    /// The first [`FINDINGS_MAX`], and the first of each class.
    pub findings: Vec<Finding>,
    pub findings_count: u64,
    /// What is on record and no fault of the evidence; at most [`FINDINGS_MAX`].
    pub told: Vec<Finding>,
    pub told_count: u64,
    found: BTreeMap<FindingClass, Option<RecordIndex>>,
}

/// A record with those of its openings that it commits to. Whether it is proven, the report
/// around it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenedRecord {
    pub record: Record,
    pub document: Option<Document>,
    pub actor: Option<Actor>,
    /// Region and zone of the node, by the genesis and the changes of keys since.
    pub place: Option<(String, String)>,
}

/// A key outside the operator that has signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutsideCosigner {
    pub name: String,
    /// Seconds since 1970: the witness's claim.
    pub time_s: u64,
}

impl Report {
    pub(crate) fn new(evidence: EvidenceKind, level: u8, pinned: bool) -> Report {
        Report {
            evidence,
            origin: None,
            ledger: None,
            size: None,
            root: None,
            range: None,
            selection: None,
            level,
            pinned,
            witnessed: true,
            head_size: None,
            counts: Counts::default(),
            unfinished: None,
            cosigners: Vec::new(),
            keys: Vec::new(),
            keys_tied: false,
            unplaced: 0,
            ruled: 0,
            not_judged: BTreeMap::new(),
            policy_met: None,
            outside: Vec::new(),
            anchors: None,
            anchored: None,
            open_outboxes: Vec::new(),
            record: None,
            document_matches: None,
            findings: Vec::new(),
            findings_count: 0,
            told: Vec::new(),
            told_count: 0,
            found: BTreeMap::new(),
        }
    }

    pub(crate) fn find(&mut self, finding: Finding) {
        if !finding.check.is_asked() {
            return;
        }
        if finding.class.is_told() {
            self.told_count += 1;
            if self.told.len() < FINDINGS_MAX {
                self.told.push(finding);
            }
            return;
        }
        self.fail(finding);
    }

    fn fail(&mut self, finding: Finding) {
        self.findings_count += 1;
        let is_new = !self.found.contains_key(&finding.class);
        let least = self.found.entry(finding.class).or_insert(finding.index);
        *least = match (*least, finding.index) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        if is_new || self.findings.len() < FINDINGS_MAX {
            self.findings.push(finding);
        }
    }

    pub(crate) fn rule(&mut self, index: RecordIndex, ruling: Ruling) {
        match ruling {
            Ruling::Holds => self.ruled += 1,
            Ruling::NotJudged(why) => *self.not_judged.entry(why).or_default() += 1,
            Ruling::Broken(check, detail) => self.find(Finding::at(check, index, detail)),
        }
    }

    /// For who accepts nothing that could not be judged: a rule of the ledger, or the place of
    /// an endorsement. Of a selection, or above level 5, none was.
    #[must_use]
    pub fn require_judged(mut self) -> Report {
        let left: u64 = self.unplaced + self.not_judged.values().sum::<u64>();
        let none = self.level < 5 || self.selection.is_some();
        if left > 0 || none {
            let detail = match none {
                true => "the rules of the ledger are judged of a range, at level 5".to_owned(),
                false => format!("of {left} records a rule could not be judged"),
            };
            self.find(Finding::whole(Check::AllJudged, detail));
        }
        self
    }

    /// The classes that were found, the gravest first, each with the least index at which it
    /// shows. The same for the same bytes and inputs, whoever verifies.
    pub fn classes(&self) -> Vec<(FindingClass, Option<RecordIndex>)> {
        let found = |class: FindingClass| Some((class, *self.found.get(&class)?));
        GRAVEST_FIRST.into_iter().filter_map(found).collect()
    }

    /// A finding of the gravest class, at its least index: what to say where there is room
    /// for one.
    pub fn gravest(&self) -> Option<&Finding> {
        let place = |finding: &Finding| (finding.index.is_none(), finding.index);
        self.findings
            .iter()
            .min_by_key(|finding| (finding.class.gravity(), place(finding)))
    }

    /// For who accepts nothing that is told: it becomes findings.
    #[must_use]
    pub fn strict(mut self) -> Report {
        // Those that were not kept count all the same.
        let kept = self.told.len() as u64;
        self.findings_count += std::mem::take(&mut self.told_count) - kept;
        for told in std::mem::take(&mut self.told) {
            self.fail(told);
        }
        self
    }

    pub fn verdict(&self) -> Verdict {
        match self.gravest() {
            Some(finding) => Verdict::Failed(finding.class),
            None if !self.pinned => Verdict::Unpinned,
            None if !self.witnessed => Verdict::Unwitnessed,
            None => Verdict::Verified,
        }
    }

    /// 0 when all is verified, pinned and witnessed; otherwise the class's code.
    pub fn exit_code(&self) -> u8 {
        match self.verdict() {
            Verdict::Verified => 0,
            Verdict::Unpinned => FindingClass::Unpinned.exit_code(),
            Verdict::Unwitnessed => FindingClass::Unwitnessed.exit_code(),
            Verdict::Failed(class) => class.exit_code(),
        }
    }

    /// No key outside the operator, of those that the auditor's policy names, has signed
    /// what is shown here.
    pub fn is_self_attested(&self) -> bool {
        self.outside.is_empty()
    }

    /// Nothing was found; whether it is the ledger that is meant, the pin says.
    pub fn holds(&self) -> bool {
        self.findings.is_empty()
    }
}

/// In short, for logs and errors: the verdict, and each finding on a line of its own.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.verdict().name())?;
        for finding in self.findings.iter().chain(&self.told) {
            write!(f, "\n  {finding}")?;
        }
        Ok(())
    }
}

/// Text from the evidence as it may be put on a terminal: controls, and characters
/// that turn the direction of writing, are spelt out.
pub fn shown(text: &str) -> String {
    let turns = |c| matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() || turns(c) {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gravest_class_decides_and_unpinned_only_when_there_is_none() {
        let mut report = Report::new(EvidenceKind::Bundle, 5, false);
        assert_eq!(
            (report.verdict(), report.exit_code()),
            (Verdict::Unpinned, 3)
        );
        for index in [9, 4, 7] {
            let index = RecordIndex::new(index);
            report.find(Finding::at(Check::TimeGoesOn, index, "x"));
        }
        assert_eq!(report.exit_code(), 21);
        for _ in 0..FINDINGS_MAX {
            report.find(Finding::at(Check::TimeGoesOn, RecordIndex::new(8), "y"));
        }
        // Far beyond what is kept, and it decides all the same.
        report.find(Finding::whole(Check::HeadOfCheckpoint, "z"));
        assert_eq!(report.exit_code(), 14);
        let time = (FindingClass::Time, Some(RecordIndex::new(4)));
        assert_eq!(report.classes(), [(FindingClass::Fork, None), time]);
        assert_eq!(report.findings.len(), FINDINGS_MAX + 1);
        assert_eq!(report.findings_count, FINDINGS_MAX as u64 + 4);
        assert_eq!(Report::new(EvidenceKind::Receipt, 5, true).exit_code(), 0);
    }

    #[test]
    fn a_loss_is_told_and_counts_for_who_is_strict() {
        let mut report = Report::new(EvidenceKind::Bundle, 5, true);
        report.find(Finding::at(Check::OutboxKept, RecordIndex::new(2), "x"));
        assert!(report.holds());
        assert_eq!((report.exit_code(), report.told_count), (0, 1));
        let mut strict = report.strict();
        assert_eq!(strict.exit_code(), 25);
        strict.find(Finding::whole(Check::RecordsLeadToRoot, "y"));
        assert_eq!(strict.exit_code(), 13);
    }

    #[test]
    fn text_from_evidence_cannot_drive_a_terminal() {
        assert_eq!(shown("a\u{1b}[2J\u{202e}b"), "a\\u{1b}[2J\\u{202e}b");
    }
}
