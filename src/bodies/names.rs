//! Which record names a body, and which bodies the records name.
//!
//! Promises: only what an OK record names counts, as that record says it is. Reads the
//! applied state alone. Leaves holding the bodies to [`super::complete`].

use crate::domain::ids::{BodyId, RecordIndex};
use crate::ledger::state::{State, Tables};
use crate::store::StoreError;
use crate::store::bodies::Content;
use muniment_evidence::opening::{Document, Rendition};
use muniment_evidence::record::{Outcome, Record};
use muniment_evidence::statement::Kind;
use muniment_evidence::tree::TILE_WIDTH;

/// What some records name.
pub struct Names {
    /// Record and rendition.
    pub named: Vec<(RecordIndex, Rendition)>,
    /// The record to go on from.
    pub next: RecordIndex,
}

/// What the records from `from` to the end of their tile name, below `end`.
pub fn names(
    tables: &Tables<'_>,
    from: RecordIndex,
    end: RecordIndex,
) -> Result<Names, StoreError> {
    let end = end.min(tables.head()?.size.next_index());
    let next = end.min(from.after(TILE_WIDTH - from.get() % TILE_WIDTH));
    let mut named = Vec::new();
    let records = match from < next {
        true => tables.record_range(from, next, (next.get() - from.get()) as usize)?,
        false => Vec::new(),
    };
    for (index, bytes) in from.onwards().zip(records) {
        let names = |kind: Kind| bytes.get(Record::KIND_AT) == Some(&kind.code());
        let may_name = [Kind::Issue, Kind::Reverse, Kind::AddRendition];
        if !may_name.into_iter().any(names) {
            continue;
        }
        let record = Record::decode(&bytes)
            .map_err(|error| StoreError::corrupt_in(format!("record {index}"), error))?;
        if record.outcome != Outcome::Ok {
            continue;
        }
        match tables.document(index)? {
            Document::Issue(issue) | Document::Reverse(issue) => {
                named.extend(issue.renditions.into_iter().map(|r| (index, r)));
            }
            Document::AddRendition(add) => named.push((index, add.rendition)),
            _ => {
                return Err(StoreError::corrupt(format!(
                    "record {index} opens to another kind"
                )));
            }
        }
    }
    Ok(Names { named, next })
}

/// The record that names a body, and what the body is. `None`: nothing that is applied
/// here names it.
pub fn name_of(state: &State, body: BodyId) -> Result<Option<(RecordIndex, Content)>, StoreError> {
    let row = state.read(|tables| tables.named(&body))?;
    Ok(row.map(|row| (row.index, (row.length, row.sha256))))
}

/// Of these, the bodies that are not said to be lost for good.
pub fn still_wanted(
    tables: &Tables<'_>,
    bodies: Vec<(BodyId, Content)>,
) -> Result<Vec<(BodyId, Content)>, StoreError> {
    let mut wanted = Vec::with_capacity(bodies.len());
    for (body, content) in bodies {
        if lost_by(tables, &body)?.is_none() {
            wanted.push((body, content));
        }
    }
    Ok(wanted)
}

/// The record that says that no holder has the body any more.
pub fn lost_by(tables: &Tables<'_>, body: &BodyId) -> Result<Option<RecordIndex>, StoreError> {
    Ok(tables.named(body)?.and_then(|row| row.lost))
}
