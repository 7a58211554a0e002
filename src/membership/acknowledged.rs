//! At which levels records were acknowledged, and how many at each.
//!
//! A change that loses a level is refused where a record needs it, so somebody has to know. The
//! records say it themselves, and nothing else does: a counter in the replicated state would be
//! one more row for every invoice, and know nothing of those that came before it. So they are
//! read, from the first one on, when a change loses a level for the first time; that is rare,
//! and a million of them take a second or two. Promises: what was counted is not read again by
//! this process; every visit and every call is bounded, and a call that ends early leaves what
//! it has counted to the next; nothing is told before everything is counted. Leaves to
//! [`super::costs`] which levels are asked about.

use crate::domain::call_error::CallError;
use crate::domain::ids::{RecordIndex, TreeSize};
use crate::ledger::state::Tables;
use crate::objective::write::WriteLevel;
use crate::raft::reads::Reads;
use crate::store::StoreError;
use muniment_evidence::record::{Outcome, Record};
use muniment_evidence::statement::Kind;
use std::collections::HashMap;
use std::time::Duration;
use tokio::time::Instant;

/// Records read in one visit to the state: about a megabyte, some ms.
const RECORDS_AT_A_TIME: usize = 4096;
/// One call counts for so long: below what a command waits for, and tens of millions of records.
const COUNTING_MAX: Duration = Duration::from_secs(10);

/// Records that were acknowledged at a level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AtLevel {
    pub records: u64,
    pub newest: RecordIndex,
}

/// The records below a size, by level: a few levels, whatever the size.
#[derive(Debug, Default)]
struct Tally {
    size: TreeSize,
    by_level: HashMap<WriteLevel, AtLevel>,
}

impl Tally {
    fn at(&self, level: WriteLevel) -> Option<AtLevel> {
        self.by_level.get(&level).copied()
    }

    /// The next one: of those that put bytes somewhere, and took effect.
    fn take(&mut self, record: &Record) {
        self.size = record.index.size_through();
        let keeps = matches!(
            record.statement.kind,
            Kind::Issue | Kind::Reverse | Kind::AddRendition
        );
        let level = WriteLevel::from_statement(record.statement.level);
        let level = level.filter(|_| keeps && record.outcome == Outcome::Ok);
        let Some(level) = level else { return };
        let newest = record.index;
        let at = (self.by_level.entry(level)).or_insert(AtLevel { records: 0, newest });
        at.records += 1;
        at.newest = newest;
    }
}

/// What this process has counted. Held over a whole count: a second call waits for the first.
#[derive(Default)]
pub struct Acknowledged(tokio::sync::Mutex<Tally>);

impl Acknowledged {
    /// Counts to the end of the log; those of these levels that records were acknowledged at.
    pub async fn records_at(
        &self,
        reads: &Reads,
        levels: &[WriteLevel],
    ) -> Result<Vec<(WriteLevel, AtLevel)>, CallError> {
        let mut tally = self.0.lock().await;
        let began = Instant::now();
        loop {
            let from = tally.size;
            let read = reads.read(move |tables: &Tables<'_>| page(tables, from));
            let (records, size) = read.await?;
            records.iter().for_each(|record| tally.take(record));
            if tally.size >= size {
                let at = |level: &WriteLevel| Some((*level, tally.at(*level)?));
                return Ok(levels.iter().filter_map(at).collect());
            }
            if began.elapsed() > COUNTING_MAX {
                let counted = tally.size;
                return Err(reads.unavailable(format!(
                    "the levels of {counted} of {size} records are counted: ask again"
                )));
            }
        }
    }
}

/// The records from a size on, as many as one visit reads, and how many there are in all.
fn page(tables: &Tables<'_>, from: TreeSize) -> Result<(Vec<Record>, TreeSize), StoreError> {
    let size = tables.head()?.size;
    let (from, end) = (from.next_index(), size.next_index());
    let found = tables.record_range(from, end, RECORDS_AT_A_TIME)?;
    let records = found.iter().zip(from.get()..).map(|(bytes, index)| {
        let record = Record::decode(bytes)
            .map_err(|error| StoreError::corrupt_in(format!("record {index}"), error))?;
        match record.index.get() == index {
            true => Ok(record),
            false => Err(StoreError::corrupt(format!("record {index} is missing"))),
        }
    });
    let records: Vec<Record> = records.collect::<Result<_, _>>()?;
    match records.is_empty() && from < end {
        true => Err(StoreError::corrupt(format!("record {from} is missing"))),
        false => Ok((records, size)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::state::State;
    use crate::ledger::tests::membership_tests::{four, issue};
    use muniment_evidence::statement::Level;

    #[test]
    fn records_are_counted_by_the_level_that_they_took_effect_at() {
        let (mut ledger, mut lane) = four();
        let held = [(1, 1), (2, 2), (3, 3)];
        let first = ledger.head().size;
        for (number, level, holders) in [
            (1, Level::Zones(2), &held[..]),
            (2, Level::Zones(3), &held[..]),
            (3, Level::Zones(2), &held[..]),
            // Refused: too few hold it.
            (4, Level::Zones(3), &held[..1]),
        ] {
            let said = issue(&ledger, &mut lane, number, level, holders);
            ledger.apply(0, vec![said]);
        }
        let state = State::new(ledger.engine.clone());
        let mut tally = Tally::default();
        let (records, size) = state.read(|tables| page(tables, tally.size)).unwrap();
        records.iter().for_each(|record| tally.take(record));
        assert_eq!((tally.size, size), (ledger.head().size, ledger.head().size));
        let at = |records, newest| {
            let newest = RecordIndex::new(first.get() + newest);
            Some(AtLevel { records, newest })
        };
        assert_eq!(tally.at(WriteLevel::Zones(2)), at(2, 2));
        assert_eq!(tally.at(WriteLevel::Zones(3)), at(1, 1));
        assert_eq!(tally.at(WriteLevel::Regions(2)), None);
        // The rest is read from where the count stands.
        let (none, _) = state.read(|tables| page(tables, tally.size)).unwrap();
        assert!(none.is_empty());
    }
}
