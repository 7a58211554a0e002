//! What a verification found: findings by class, one exit code for each, and the words.
//!
//! Promises: names and exit codes are stable; the report never says that something was
//! issued or downloaded unless an OK record that verifies says so. Leaves reading and
//! printing to the caller.

use crate::account::{Account, utc};
use crate::digest::Digest;
use crate::json::Value;
use crate::ledger::Cosigner;
use crate::record::{Outcome, Record};
use crate::statement::Kind;
use std::fmt;

/// Findings beyond this are counted, not kept: one broken export must not fill memory.
pub const FINDINGS_MAX: usize = 1000;

/// The deepest level of checking, and the default.
pub const LEVEL_MAX: u8 = 5;

/// Unfinished downloads beyond this are counted, not listed.
pub const UNFINISHED_MAX: usize = 100;

/// What kind of fault, and the exit code of the verifier. Never renumbered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Class {
    /// Everything holds, but no pin says that this is the right ledger. Not a fault of
    /// the evidence, so never among the findings.
    Unpinned = 3,
    /// Bytes that are not in the format.
    Structure = 10,
    BadSignature = 11,
    /// A record does not follow from those before it.
    BrokenChain = 12,
    /// A root or inclusion path does not lead to the checkpoint.
    BadTree = 13,
    /// The ledger contradicts a head that it signed before.
    Fork = 14,
    /// Something is not there: truncated, a gap, a public opening withheld.
    MissingData = 15,
    /// A node's lane has a gap, a repetition, or goes on after it was closed.
    Lane = 16,
    /// A key or node that the genesis does not name.
    UnknownKey = 17,
    /// No checkpoint that the ledger's log key signed.
    Checkpoint = 18,
    /// An opening is not what the record commits to, or contradicts it.
    Opening = 19,
    /// The given document is not the one that the record speaks of.
    Document = 20,
    /// Time goes back.
    Time = 21,
    /// The pin names another ledger.
    Untrusted = 22,
}

impl Class {
    pub const ALL: [Class; 14] = [
        Class::Unpinned,
        Class::Structure,
        Class::BadSignature,
        Class::BrokenChain,
        Class::BadTree,
        Class::Fork,
        Class::MissingData,
        Class::Lane,
        Class::UnknownKey,
        Class::Checkpoint,
        Class::Opening,
        Class::Document,
        Class::Time,
        Class::Untrusted,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Class::Unpinned => "UNPINNED",
            Class::Structure => "STRUCTURE",
            Class::BadSignature => "BAD_SIGNATURE",
            Class::BrokenChain => "BROKEN_CHAIN",
            Class::BadTree => "BAD_TREE",
            Class::Fork => "FORK",
            Class::MissingData => "MISSING_DATA",
            Class::Lane => "LANE",
            Class::UnknownKey => "UNKNOWN_KEY",
            Class::Checkpoint => "CHECKPOINT",
            Class::Opening => "OPENING",
            Class::Document => "DOCUMENT",
            Class::Time => "TIME",
            Class::Untrusted => "UNTRUSTED",
        }
    }

    pub fn exit_code(self) -> u8 {
        self as u8
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One fault, and the record at which it shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub class: Class,
    /// `None` for what concerns the whole: the pin, the checkpoint, the stream.
    pub index: Option<u64>,
    pub detail: String,
}

impl Finding {
    pub fn at(class: Class, index: u64, detail: impl Into<String>) -> Finding {
        Finding {
            class,
            index: Some(index),
            detail: detail.into(),
        }
    }

    pub fn whole(class: Class, detail: impl Into<String>) -> Finding {
        Finding {
            class,
            index: None,
            detail: detail.into(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.index {
            Some(index) => write!(f, "{}, record {index}: ", self.class)?,
            None => write!(f, "{}: ", self.class)?,
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
    /// By the class of the first finding.
    Failed(Class),
}

impl Verdict {
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Verified => "VERIFIED",
            Verdict::Unpinned => "UNPINNED",
            Verdict::Failed(_) => "FAILED",
        }
    }
}

/// What was verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evidence {
    Receipt,
    Bundle,
}

impl Evidence {
    pub fn name(self) -> &'static str {
        match self {
            Evidence::Receipt => "receipt",
            Evidence::Bundle => "bundle",
        }
    }
}

/// Records by kind and outcome.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Counts([[u64; 3]; Kind::ALL.len()]);

impl Counts {
    pub const OUTCOMES: [&'static str; 3] = ["OK", "REFUSED", "DUPLICATE_OF"];

    pub fn add(&mut self, record: &Record) {
        let outcome = match record.outcome {
            Outcome::Ok => 0,
            Outcome::Refused(_) => 1,
            Outcome::DuplicateOf(_) => 2,
        };
        let kind = Kind::ALL
            .iter()
            .position(|kind| *kind == record.statement.kind)
            .expect("ALL lists every kind");
        self.0[kind][outcome] += 1;
    }

    /// Kinds that occur, with the numbers of OK, refused and duplicate records.
    pub fn rows(&self) -> impl Iterator<Item = (Kind, [u64; 3])> + '_ {
        Kind::ALL
            .into_iter()
            .zip(self.0)
            .filter(|(_, row)| *row != [0; 3])
    }

    pub fn total(&self) -> u64 {
        self.0.iter().flatten().sum()
    }
}

/// OK downloads that no DOWNLOAD_END names: possibly all delivered, nobody attests it.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Unfinished {
    pub count: u64,
    /// The first [`UNFINISHED_MAX`].
    pub indexes: Vec<u64>,
    /// DOWNLOAD_END records whose opening was not there: they may end some of these.
    pub ends_unread: u64,
}

/// Everything that one verification has to say.
#[derive(Clone, Debug)]
pub struct Report {
    pub evidence: Evidence,
    pub origin: Option<String>,
    /// Leaf hash of the genesis record.
    pub ledger: Option<Digest>,
    /// Size and root of the tree, as a checkpoint of the ledger's log key says.
    pub size: Option<u64>,
    pub root: Option<Digest>,
    /// Index range of a bundle.
    pub range: Option<(u64, u64)>,
    /// Depth of checking of a bundle, 0 to 5.
    pub level: u8,
    pub pinned: bool,
    /// Size of the saved head with which the bundle agrees.
    pub head_size: Option<u64>,
    pub counts: Counts,
    /// Known from level 5 on, when the stream is whole and no record is missing.
    pub unfinished: Option<Unfinished>,
    pub cosigners: Vec<Cosigner>,
    /// What the record of a receipt says.
    pub account: Option<Account>,
    /// Whether a given document is the record's; `None` when none was given.
    pub document_matches: Option<bool>,
    /// The first [`FINDINGS_MAX`], in order of occurrence and index.
    pub findings: Vec<Finding>,
    pub findings_count: u64,
    /// No key outside the operator has signed anything; version 0 knows no such keys.
    pub self_attested: bool,
}

impl Report {
    pub(crate) fn new(evidence: Evidence, level: u8, pinned: bool) -> Report {
        Report {
            evidence,
            origin: None,
            ledger: None,
            size: None,
            root: None,
            range: None,
            level,
            pinned,
            head_size: None,
            counts: Counts::default(),
            unfinished: None,
            cosigners: Vec::new(),
            account: None,
            document_matches: None,
            findings: Vec::new(),
            findings_count: 0,
            self_attested: true,
        }
    }

    pub(crate) fn find(&mut self, finding: Finding) {
        self.findings_count += 1;
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(finding);
        }
    }

    pub fn verdict(&self) -> Verdict {
        match self.findings.first() {
            Some(first) => Verdict::Failed(first.class),
            None if self.pinned => Verdict::Verified,
            None => Verdict::Unpinned,
        }
    }

    /// 0 when all is verified and pinned; otherwise the class's code.
    pub fn exit_code(&self) -> u8 {
        match self.verdict() {
            Verdict::Verified => 0,
            Verdict::Unpinned => Class::Unpinned.exit_code(),
            Verdict::Failed(class) => class.exit_code(),
        }
    }

    fn holds(&self) -> bool {
        self.findings.is_empty()
    }

    pub fn to_json(&self) -> String {
        self.to_value().to_string()
    }

    pub fn to_value(&self) -> Value {
        let class = match self.verdict() {
            Verdict::Verified => Value::Null,
            Verdict::Unpinned => Class::Unpinned.name().into(),
            Verdict::Failed(class) => class.name().into(),
        };
        let counts = self.counts.rows().map(|(kind, row)| {
            let row = Counts::OUTCOMES.iter().zip(row);
            let row = row.map(|(name, n)| ((*name).to_owned(), n.into()));
            (kind.name().to_owned(), Value::Object(row.collect()))
        });
        let cosigners = self.cosigners.iter().map(|cosigner| {
            Value::object([
                ("node", cosigner.node.into()),
                ("zone", cosigner.zone.as_str().into()),
                ("time_s", cosigner.time_s.into()),
            ])
        });
        let findings = self.findings.iter().map(|finding| {
            Value::object([
                ("class", finding.class.name().into()),
                ("exit_code", u64::from(finding.class.exit_code()).into()),
                ("index", finding.index.into()),
                ("detail", finding.detail.as_str().into()),
            ])
        });
        let unfinished = self.unfinished.as_ref().map(|unfinished| {
            Value::object([
                ("count", unfinished.count.into()),
                ("first", Value::list(unfinished.indexes.iter().copied())),
                ("ends_unread", unfinished.ends_unread.into()),
            ])
        });
        Value::object([
            ("evidence", self.evidence.name().into()),
            ("verdict", self.verdict().name().into()),
            ("class", class),
            ("exit_code", u64::from(self.exit_code()).into()),
            ("pinned", self.pinned.into()),
            ("self_attested", self.self_attested.into()),
            ("level", u64::from(self.level).into()),
            ("origin", self.origin.clone().into()),
            ("ledger", self.ledger.into()),
            ("size", self.size.into()),
            ("root", self.root.into()),
            ("first", self.range.map(|range| range.0).into()),
            ("end", self.range.map(|range| range.1).into()),
            ("head_size", self.head_size.into()),
            ("cosigners", Value::list(cosigners)),
            ("records", self.counts.total().into()),
            ("counts", Value::Object(counts.collect())),
            ("downloads_without_end", unfinished.into()),
            (
                "record",
                self.account
                    .as_ref()
                    .map(|account| account.to_value(self.holds(), self.pinned))
                    .into(),
            ),
            ("document_matches", self.document_matches.into()),
            ("findings", Value::list(findings)),
            ("findings_count", self.findings_count.into()),
        ])
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.evidence.name();
        match self.verdict() {
            Verdict::Verified => writeln!(f, "VERIFIED: every check of this {name} holds.")?,
            Verdict::Unpinned => writeln!(
                f,
                "UNPINNED: every check of this {name} holds, but nothing says that this is the\n\
                 ledger you mean. Get the trust file from someone you trust; give it with --trust."
            )?,
            Verdict::Failed(class) => {
                writeln!(f, "FAILED ({class}): this {name} does not verify.")?;
            }
        }
        if self.level < LEVEL_MAX {
            writeln!(
                f,
                "Only the checks up to level {} of {LEVEL_MAX} were made.",
                self.level
            )?;
        }
        if let (Some(origin), Some(ledger)) = (&self.origin, self.ledger) {
            writeln!(f, "\nLedger      {}\n  genesis   {ledger}", shown(origin))?;
        }
        if let (Some(size), Some(root)) = (self.size, self.root) {
            writeln!(f, "Checkpoint  {size} records\n  root      {root}")?;
            for cosigner in &self.cosigners {
                writeln!(
                    f,
                    "  cosigned  by node {} in zone {} at {}",
                    cosigner.node,
                    shown(&cosigner.zone),
                    utc(cosigner.time_s.saturating_mul(1000))
                )?;
            }
        }
        if let Some(account) = &self.account {
            self.write_account(f, account)?;
        }
        if let Some(range) = self.range {
            self.write_bundle(f, range)?;
        }
        if self.findings_count > 0 {
            writeln!(f, "\nFindings    {}", self.findings_count)?;
            for finding in &self.findings {
                writeln!(f, "  {finding}")?;
            }
            let more = self.findings_count - self.findings.len() as u64;
            if more > 0 {
                writeln!(f, "  and {more} more")?;
            }
        }
        if self.self_attested {
            writeln!(
                f,
                "\nSelf-attested: only keys of the ledger's own operator have signed this."
            )?;
        }
        Ok(())
    }
}

impl Report {
    fn write_account(&self, f: &mut fmt::Formatter<'_>, account: &Account) -> fmt::Result {
        if self.holds() {
            writeln!(f, "\n{}", shown(&account.sentence()))?;
        } else {
            writeln!(f, "\nThe record claims the following, which is not proven:")?;
        }
        for (name, text) in account.lines() {
            writeln!(f, "  {name:<13} {}", shown(&text))?;
        }
        match self.document_matches {
            Some(true) if self.holds() => {
                writeln!(
                    f,
                    "The given document has the bytes that the record speaks of."
                )
            }
            Some(false) => writeln!(
                f,
                "The given document was not found to be the one that the record speaks of."
            ),
            _ => Ok(()),
        }
    }

    fn write_bundle(&self, f: &mut fmt::Formatter<'_>, range: (u64, u64)) -> fmt::Result {
        let (first, end) = range;
        let total = self.counts.total();
        writeln!(
            f,
            "Range       from {first} up to {end} (exclusive); {total} records read, level {}",
            self.level
        )?;
        if let Some(size) = self.head_size {
            writeln!(f, "Saved head  agrees at {size} records")?;
        }
        if total > 0 && !self.holds() {
            writeln!(f, "The records claim the following, which is not proven:")?;
        }
        if total > 0 {
            writeln!(
                f,
                "\n  {:<14}{:>12}{:>12}{:>12}",
                "kind", "OK", "refused", "duplicate"
            )?;
        }
        for (kind, [ok, refused, duplicate]) in self.counts.rows() {
            writeln!(
                f,
                "  {:<14}{ok:>12}{refused:>12}{duplicate:>12}",
                kind.name()
            )?;
        }
        let Some(unfinished) = &self.unfinished else {
            return Ok(());
        };
        if unfinished.count > 0 {
            let list: Vec<String> = unfinished.indexes.iter().map(u64::to_string).collect();
            let more = unfinished.count > unfinished.indexes.len() as u64;
            writeln!(
                f,
                "\nDownloads without a DOWNLOAD_END (possibly delivered in full): {}\n  {}{}",
                unfinished.count,
                list.join(" "),
                if more { " …" } else { "" }
            )?;
        }
        if unfinished.ends_unread > 0 {
            writeln!(
                f,
                "DOWNLOAD_END records whose opening is not there: {}",
                unfinished.ends_unread
            )?;
        }
        Ok(())
    }
}

/// Text from the evidence as it may be put on a terminal: controls, and characters
/// that turn the direction of writing, are spelt out.
pub(crate) fn shown(text: &str) -> String {
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
    fn the_first_finding_decides_and_unpinned_only_when_there_is_none() {
        let mut report = Report::new(Evidence::Bundle, 5, false);
        assert_eq!(
            (report.verdict(), report.exit_code()),
            (Verdict::Unpinned, 3)
        );
        report.find(Finding::at(Class::Time, 4, "x"));
        for _ in 0..FINDINGS_MAX {
            report.find(Finding::whole(Class::Fork, "y"));
        }
        assert_eq!(report.exit_code(), 21);
        assert_eq!(report.findings.len(), FINDINGS_MAX);
        assert_eq!(report.findings_count, FINDINGS_MAX as u64 + 1);
        assert!(report.to_string().contains("and 1 more"));
        assert_eq!(Report::new(Evidence::Receipt, 5, true).exit_code(), 0);
    }

    #[test]
    fn classes_have_names_and_codes_of_their_own() {
        for (i, a) in Class::ALL.iter().enumerate() {
            for b in &Class::ALL[i + 1..] {
                assert!(a.name() != b.name() && a.exit_code() != b.exit_code());
            }
        }
    }

    #[test]
    fn text_from_evidence_cannot_drive_a_terminal() {
        assert_eq!(shown("a\u{1b}[2J\u{202e}b"), "a\\u{1b}[2J\\u{202e}b");
    }
}
