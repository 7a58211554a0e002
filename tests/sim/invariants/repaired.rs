//! Invariant I10: what is found damaged is repaired, and both are on record.
//!
//! One node's disk changes or loses what is stored of bodies while the node is down. By the
//! end no body is marked as damaged anywhere (the world waits for that), every finding has
//! its repair in the one log, and no reader was ever given a wrong byte (callers compare).
//! A finding of a node whose disk the world took away afterwards went with that disk.

use crate::world::End;
use muniment::domain::ids::{BodyId, RecordIndex};
use muniment::ledger::state::Tables;
use muniment::store::StoreError;
use muniment_evidence::opening::{Document, ScrubOutcome};
use muniment_evidence::record::Outcome;
use muniment_evidence::statement::Kind;
use std::collections::BTreeSet;

/// How many findings there were.
pub fn check(end: &End) -> Result<usize, String> {
    let (found, repaired) = scrubs(end).map_err(|error| error.to_string())?;
    match found.difference(&repaired).next() {
        Some((body, chunk)) => Err(format!("{body:?} chunk {chunk:?} was never repaired")),
        None => Ok(found.len()),
    }
}

type Places = BTreeSet<(BodyId, Option<u32>)>;

fn scrubs(end: &End) -> Result<(Places, Places), StoreError> {
    end.log.read(|tables| places(tables, &end.gone))
}

fn places(tables: &Tables<'_>, gone: &BTreeSet<u64>) -> Result<(Places, Places), StoreError> {
    let (mut found, mut repaired) = (Places::new(), Places::new());
    for index in (0..tables.head()?.size.get()).map(RecordIndex::new) {
        let record = tables.expect_record(index)?;
        if record.statement.kind != Kind::Scrub || record.outcome != Outcome::Ok {
            continue;
        }
        if let Document::Scrub(scrub) = tables.document(index)? {
            let finder = record.statement.node.get();
            let places = match scrub.outcome {
                ScrubOutcome::Quarantined if gone.contains(&finder) => continue,
                ScrubOutcome::Quarantined => &mut found,
                ScrubOutcome::Repaired { .. } => &mut repaired,
            };
            places.insert((scrub.body_id, scrub.chunk));
        }
    }
    Ok((found, repaired))
}
