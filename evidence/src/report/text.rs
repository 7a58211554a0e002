//! A report in words, for people.

use super::{LEVEL_DEFAULT, Report, Verdict, shown};
use crate::account::{Account, utc};
use std::fmt;

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
        if self.level < LEVEL_DEFAULT {
            writeln!(
                f,
                "Only the checks up to level {} of {LEVEL_DEFAULT} were made.",
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
            for witness in &self.outside {
                writeln!(
                    f,
                    "  witnessed by {} at {}",
                    shown(&witness.name),
                    utc(witness.time_s.saturating_mul(1000))
                )?;
            }
        }
        if let Some(anchors) = self.anchors {
            writeln!(
                f,
                "Anchors     {anchors} by outside witnesses of the policy agree"
            )?;
        }
        if let Some(met) = self.policy_met {
            writeln!(f, "Policy      {}", if met { "met" } else { "not met" })?;
        }
        if self.key_records > 0 {
            writeln!(f, "Keys        changed by {} records", self.key_records)?;
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
        if self.is_self_attested() {
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
        if let Some(selection) = &self.selection {
            writeln!(
                f,
                "Selection   {}\n  It proves what it holds, not that nothing was left out.",
                shown(selection)
            )?;
        }
        for open in &self.open_outboxes {
            writeln!(
                f,
                "Open outbox {} of node {}: {} statements signed, not recorded here",
                open.outbox, open.node, open.pending
            )?;
        }
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
