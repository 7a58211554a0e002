//! A report in words, for people.
//!
//! Tests: `audit/tests/program.rs`.

use crate::summary;
use crate::summary::words::utc;
use muniment_evidence::class::FindingClass;
use muniment_evidence::ids::{RecordIndex, TreeSize};
use muniment_evidence::report::{LEVEL_DEFAULT, OpenedRecord, Report, Verdict, shown};
use muniment_evidence::rules::NotJudged;
use std::fmt;

/// From this level on a checkpoint ties the records to the log.
const LEVEL_OF_CHECKPOINTS: u8 = 2;

/// The report as people read it; ends in a line feed.
///
/// ```
/// use muniment_audit::report::to_text;
/// use muniment_evidence::verify::{self, Expected};
///
/// let report = verify::receipt(b"no receipt", Expected::default());
/// assert!(to_text(&report).starts_with("FAILED (STRUCTURE)"));
/// ```
pub fn to_text(report: &Report) -> String {
    Text(report).to_string()
}

/// A report as it is printed.
struct Text<'a>(&'a Report);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let report = self.0;
        let name = report.evidence.name();
        match report.verdict() {
            Verdict::Verified => writeln!(f, "VERIFIED: every check of this {name} holds.")?,
            Verdict::Unpinned => writeln!(
                f,
                "UNPINNED: every check of this {name} holds, but nothing says that this is the\n\
                 ledger you mean. Get the trust file from someone you trust; give it with --trust."
            )?,
            Verdict::Unwitnessed => writeln!(
                f,
                "UNWITNESSED: every check of this {name} holds, but it cannot show which keys were\n\
                 revoked since. Say who must have signed it (--policy), or give newer evidence that\n\
                 you have (--keys)."
            )?,
            Verdict::Failed(FindingClass::Unknown) => writeln!(
                f,
                "UNKNOWN: this {name} has what this version does not understand, and nothing that is\n\
                 said of it here is certain. Get a newer version."
            )?,
            Verdict::Failed(class) => {
                writeln!(f, "FAILED ({class}): this {name} does not verify.")?;
            }
        }
        write_depth(f, report.level)?;
        if let (Some(origin), Some(ledger)) = (&report.origin, report.ledger) {
            writeln!(f, "\nLedger      {}\n  genesis   {ledger}", shown(origin))?;
        }
        if let (Some(size), Some(root)) = (report.size, report.root) {
            writeln!(f, "Checkpoint  {size} records\n  root      {root}")?;
            for cosigner in &report.cosigners {
                writeln!(
                    f,
                    "  cosigned  by node {} in zone {} at {}",
                    cosigner.node,
                    shown(&cosigner.zone),
                    utc(cosigner.time_s.saturating_mul(1000))
                )?;
            }
            for witness in &report.outside {
                writeln!(
                    f,
                    "  witnessed by {} at {}",
                    shown(&witness.name),
                    utc(witness.time_s.saturating_mul(1000))
                )?;
            }
        }
        if let Some(anchors) = report.anchors {
            writeln!(
                f,
                "Anchors     {anchors} by outside witnesses of the policy agree"
            )?;
            if let Some(size) = report.anchored {
                writeln!(
                    f,
                    "  what came after the first {size} records is self-attested"
                )?;
            }
        }
        if let Some(met) = report.policy_met {
            writeln!(f, "Policy      {}", if met { "met" } else { "not met" })?;
        }
        match (report.keys.len(), report.keys_tied) {
            (0, true) => {}
            (changes, true) => {
                writeln!(
                    f,
                    "Keys        changed by {changes} records, all of them shown"
                )?;
            }
            (changes, false) => writeln!(
                f,
                "Keys        not tied to a checkpoint: {changes} changes are shown, there may be \
                 others"
            )?,
        }
        if let Some(opened) = &report.record {
            write_record(f, report, opened)?;
        }
        if let Some(range) = report.range {
            write_bundle(f, report, range)?;
        }
        write_findings(f, report)?;
        if report.is_self_attested() {
            writeln!(
                f,
                "\nSelf-attested: only keys of the ledger's own operator have signed this."
            )?;
        }
        Ok(())
    }
}

/// What was not looked at.
fn write_depth(f: &mut fmt::Formatter<'_>, level: u8) -> fmt::Result {
    if level < LEVEL_DEFAULT {
        writeln!(
            f,
            "Only the checks up to level {level} of {LEVEL_DEFAULT} were made."
        )?;
    }
    if level < LEVEL_OF_CHECKPOINTS {
        writeln!(
            f,
            "No checkpoint was looked at: nothing here shows that these records are the log's."
        )?;
    }
    Ok(())
}

fn write_record(f: &mut fmt::Formatter<'_>, report: &Report, opened: &OpenedRecord) -> fmt::Result {
    if report.holds() {
        writeln!(f, "\n{}", shown(&summary::sentence(opened)))?;
    } else {
        writeln!(f, "\nThe record claims the following, which is not proven:")?;
    }
    for (name, text) in summary::lines(opened) {
        writeln!(f, "  {name:<13} {}", shown(&text))?;
    }
    match report.document_matches {
        Some(true) if report.holds() => {
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

/// What was found, and what is told beside it.
fn write_findings(f: &mut fmt::Formatter<'_>, report: &Report) -> fmt::Result {
    if report.findings_count > 0 {
        writeln!(f, "\nFindings    {}", report.findings_count)?;
        for finding in &report.findings {
            writeln!(f, "  {finding}")?;
        }
        let more = report.findings_count - report.findings.len() as u64;
        if more > 0 {
            writeln!(f, "  and {more} more")?;
        }
    }
    if report.told_count > 0 {
        writeln!(
            f,
            "\nTold        {}, on record and no fault of the evidence (--strict takes them \
             for one)",
            report.told_count
        )?;
        for told in &report.told {
            writeln!(f, "  {told}")?;
        }
    }
    Ok(())
}

/// What the rules of the ledger make of its records.
fn write_rules(f: &mut fmt::Formatter<'_>, report: &Report) -> fmt::Result {
    let left: u64 = report.not_judged.values().sum();
    if report.ruled == 0 && left == 0 {
        return Ok(());
    }
    write!(
        f,
        "Rules       of {} records the ledger's rules make what they say",
        report.ruled
    )?;
    if left > 0 {
        let why = report.not_judged.iter().map(|(why, count)| {
            let what = match why {
                NotJudged::Slice => "what came before is not shown",
                NotJudged::Withheld => "an opening is not there",
                NotJudged::MembersChange => "members were changing",
            };
            format!("{count}: {what}")
        });
        let why: Vec<String> = why.collect();
        write!(f, "; not judged of {left} ({})", why.join("; "))?;
    }
    writeln!(f)
}

fn write_bundle(
    f: &mut fmt::Formatter<'_>,
    report: &Report,
    range: (RecordIndex, TreeSize),
) -> fmt::Result {
    let (first, end) = range;
    let (total, level) = (report.counts.total(), report.level);
    match &report.selection {
        None => writeln!(
            f,
            "Range       from {first} up to {end} (exclusive); {total} records read, level {level}"
        )?,
        Some(words) => writeln!(
            f,
            "Selection   of the first {end} records; {total} records read, level {level}\n  It \
             proves what it holds, not that nothing was left out.\n  Not signed by anybody, the \
             exporter's words for it: {}",
            shown(words)
        )?,
    }
    for open in &report.open_outboxes {
        writeln!(
            f,
            "Open outbox {} of node {}: {} statements signed, not recorded here",
            open.outbox, open.node, open.pending
        )?;
    }
    if let Some(size) = report.head_size {
        writeln!(f, "Saved head  agrees at {size} records")?;
    }
    write_rules(f, report)?;
    if total > 0 && !report.holds() {
        writeln!(f, "The records claim the following, which is not proven:")?;
    }
    if total > 0 {
        writeln!(
            f,
            "\n  {:<14}{:>12}{:>12}{:>12}",
            "kind", "OK", "refused", "duplicate"
        )?;
    }
    for (kind, [ok, refused, duplicate]) in report.counts.rows() {
        writeln!(
            f,
            "  {:<14}{ok:>12}{refused:>12}{duplicate:>12}",
            kind.to_string()
        )?;
    }
    let Some(unfinished) = &report.unfinished else {
        return Ok(());
    };
    if unfinished.count > 0 {
        let list: Vec<String> = unfinished
            .indexes
            .iter()
            .map(RecordIndex::to_string)
            .collect();
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
