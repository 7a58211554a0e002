//! Records chosen by a rule that neither auditor nor ledger can bend.
//!
//! Promises: of the OK records (of one kind, where asked), those with the smallest
//! SHA-256("muniment/sample/v1\n" ‖ seed ‖ 0x00 ‖ leaf hash), in order of that hash: the
//! same on every machine and in every program. The ledger cannot foresee a seed that is
//! chosen after the checkpoint. A sample of a selection says that it is one. Memory for the
//! sample alone.

use crate::answer::{AuditAnswer, Audited, Ending};
use crate::json::Value;
use crate::summary;
use muniment_evidence::bundle::Manifest;
use muniment_evidence::digest::{Digest, tag};
use muniment_evidence::ids::{RecordIndex, TreeSize};
use muniment_evidence::record::Outcome;
use muniment_evidence::report::{OpenedRecord, Report, shown};
use muniment_evidence::statement::Kind;
use muniment_evidence::verify::{Observer, SeenRecord};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// The largest sample: some tens of megabytes, and more than anybody looks at.
pub const COUNT_MAX: usize = 10_000;

/// The longest seed: a sentence, or a few dice.
pub const SEED_BYTES_MAX: usize = 1024;

/// See the module.
pub struct RecordSample {
    count: usize,
    seed: String,
    kind: Option<Kind>,
    /// By rank; never more than `count`.
    chosen: BTreeMap<Digest, OpenedRecord>,
    candidates: u64,
    first: RecordIndex,
    end: TreeSize,
    selects: bool,
}

/// A leaf's place in the order of a seed.
pub fn rank(seed: &str, leaf: &Digest) -> Digest {
    Digest::of(&[tag::SAMPLE, seed.as_bytes(), &[0], &leaf.0])
}

impl RecordSample {
    /// `None` when count or seed is not within its limits, or is nothing.
    pub fn new(count: usize, seed: &str, kind: Option<Kind>) -> Option<RecordSample> {
        let usable = (1..=COUNT_MAX).contains(&count) && (1..=SEED_BYTES_MAX).contains(&seed.len());
        usable.then(|| RecordSample {
            count,
            seed: seed.to_owned(),
            kind,
            chosen: BTreeMap::new(),
            candidates: 0,
            first: RecordIndex::FIRST,
            end: TreeSize::EMPTY,
            selects: false,
        })
    }

    pub fn chosen(&self) -> impl Iterator<Item = (&Digest, &OpenedRecord)> {
        self.chosen.iter()
    }

    pub fn conclude(self, report: Report) -> Audited {
        let kind = self.kind.map_or("any kind", Kind::name);
        let mut text = format!(
            "Sample      {} of {} OK records of {kind} in {}..{}, seed {:?}\n",
            self.chosen.len(),
            self.candidates,
            self.first,
            self.end,
            self.seed
        );
        if self.selects {
            text += "The bundle is a selection: whoever made it has chosen before you did.\n";
        }
        for (rank, opened) in &self.chosen {
            let line = format!(
                "{}  record {}: {}",
                &rank.to_hex()[..12],
                opened.record.index,
                summary::sentence(opened)
            );
            let _ = writeln!(text, "  {}", shown(&line));
        }
        let chosen = self.chosen.iter().map(|(rank, opened)| {
            Value::object([
                ("rank", (*rank).into()),
                (
                    "record",
                    summary::to_value(opened, report.holds(), report.pinned),
                ),
            ])
        });
        let value = Value::object([
            ("first", self.first.into()),
            ("end", self.end.into()),
            ("selects", self.selects.into()),
            ("kind", self.kind.map(Kind::name).into()),
            ("seed", self.seed.as_str().into()),
            ("candidates", self.candidates.into()),
            ("chosen", Value::list(chosen)),
        ]);
        let ending = Ending::Answered;
        let answer = AuditAnswer {
            ending,
            text,
            value,
        };
        Audited { report, answer }
    }
}

impl Observer for RecordSample {
    fn begin(&mut self, manifest: &Manifest) {
        (self.first, self.end) = (manifest.first, manifest.end);
        self.selects = !manifest.selection.is_empty();
    }

    fn see(&mut self, seen: SeenRecord<'_>) {
        let wanted = self
            .kind
            .is_none_or(|kind| kind == seen.record.statement.kind);
        if seen.record.outcome != Outcome::Ok || !wanted {
            return;
        }
        self.candidates += 1;
        let rank = rank(&self.seed, seen.leaf);
        let full = self.chosen.len() >= self.count;
        if full && self.chosen.last_key_value().is_some_and(|l| *l.0 < rank) {
            return;
        }
        self.chosen.insert(rank, seen.opened_record());
        if self.chosen.len() > self.count {
            self.chosen.pop_last();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Other programs compute it by the words in docs/auditing.md; this is their vector.
    #[test]
    fn the_rank_is_the_hash_that_is_documented() {
        let leaf = Digest([7; 32]);
        let bytes = [&b"muniment/sample/v1\nspring audit"[..], &[0], &[7; 32]].concat();
        assert_eq!(rank("spring audit", &leaf), Digest::of(&[&bytes]));
        assert_eq!(
            rank("spring audit", &leaf).to_hex(),
            "f3dbe61f015972d2c03cfc406c54bc82ea4082ebbfdee4a6b4e71c5ae3a6c6ee"
        );
        assert_ne!(rank("spring audit", &leaf), rank("spring audi", &leaf));
    }

    #[test]
    fn a_sample_has_limits() {
        assert!(RecordSample::new(0, "s", None).is_none());
        assert!(RecordSample::new(COUNT_MAX + 1, "s", None).is_none());
        assert!(RecordSample::new(1, "", None).is_none());
        assert!(RecordSample::new(1, &"s".repeat(SEED_BYTES_MAX + 1), None).is_none());
        assert!(RecordSample::new(1, "s", Some(Kind::Issue)).is_some());
    }
}
